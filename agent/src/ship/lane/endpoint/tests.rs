//! What the log and `/status` say of an endpoint.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::{Change, Endpoint, Line};
use crate::clock;
use crate::ship::failure::Failure;
use crate::ship::lane::health::{Backlog, Ended, EndpointState};
use crate::ship::{BreakerLimits, ShipLimits};
use crate::telemetry::ledger::DropReason;

const OK: Ended = Ended::Answered {
    took: Duration::from_millis(5),
};

/// An endpoint whose breaker opens at the first failure, for about a second each time.
fn endpoint(now: Instant) -> Endpoint {
    let limits = ShipLimits {
        breaker: BreakerLimits {
            failures: 1,
            open: Duration::from_secs(1),
            most: Duration::from_secs(1),
        },
        ..ShipLimits::default()
    };
    Endpoint::new(&limits, Rng::with_seed(1), now)
}

fn attempt(endpoint: &mut Endpoint, ended: Ended, now: Instant) -> Change {
    let failure = (ended == Ended::Failed).then(|| Failure::without_attempt(DropReason::Timeout));
    let begun = endpoint.started(Backlog::None, now);
    endpoint.ended(begun, ended, failure, now)
}

#[test]
fn the_log_says_how_an_endpoint_is_and_seldom() {
    let start = clock::instant();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let mut endpoint = endpoint(start);
    let mut told = |seconds: u64, ended: Option<Ended>| -> Option<String> {
        if let Some(ended) = ended {
            attempt(&mut endpoint, ended, at(seconds));
        }
        endpoint.tell(at(seconds)).map(|line| match line {
            Line::Fails { detail, .. } => detail,
            Line::Answers { after } => format!("answers after {} s", after.as_secs()),
        })
    };
    let fails = || Some("timeout: not attempted".to_owned());
    let failed = Some(Ended::Failed);
    assert_eq!(told(0, Some(OK)), None);
    assert_eq!(told(1, failed), fails());
    assert_eq!(told(3, failed), None, "it is known");
    assert_eq!(told(5, Some(OK)), None, "too soon after the last line");
    assert_eq!(told(7, failed), None, "and known again");
    assert_eq!(told(9, Some(OK)), None);
    assert_eq!(told(10, None), None);
    assert_eq!(
        told(11, None),
        Some("answers after 8 s".to_owned()),
        "held back until now"
    );
    assert_eq!(told(12, failed), None);
    assert_eq!(told(21, None), fails());
    assert_eq!(told(40, None), None);
    assert_eq!(told(41, Some(OK)), Some("answers after 29 s".to_owned()));
}

#[test]
fn what_is_shown_follows_what_happens() {
    let start = clock::instant();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let mut endpoint = endpoint(start);
    let begun = endpoint.started(Backlog::None, start);
    let shown = endpoint.stats("http://h", at(7));
    assert_eq!(
        (shown.state, shown.since_ms, shown.until_ms),
        (EndpointState::Closed, 7, None)
    );
    assert_eq!((shown.allowed, shown.in_flight, shown.opened), (1, 1, 0));
    assert_eq!(shown.last_failure, None);

    let failure = Failure::without_attempt(DropReason::Timeout);
    assert_eq!(
        endpoint.ended(begun, Ended::Failed, Some(failure), at(10)),
        Change::Opened
    );
    let shown = endpoint.stats("http://h", at(30));
    assert_eq!((shown.state, shown.since_ms), (EndpointState::Open, 20));
    assert_eq!((shown.allowed, shown.in_flight, shown.opened), (0, 0, 1));
    assert!(shown.until_ms.unwrap() <= 980, "{shown:?}");
    let failure = shown.last_failure.unwrap();
    assert_eq!((failure.reason, failure.ago_ms), ("timeout", 20));

    let shown = endpoint.stats("http://h", at(1_010));
    assert_eq!(
        (shown.state, shown.allowed, shown.until_ms),
        (EndpointState::HalfOpen, 1, None)
    );
    assert_eq!(attempt(&mut endpoint, Ended::Failed, at(1_010)), Change::None);
    assert_eq!(
        endpoint.stats("http://h", at(1_020)).opened,
        1,
        "it did not close between"
    );
    assert_eq!(attempt(&mut endpoint, OK, at(3_000)), Change::Closed);
    let shown = endpoint.stats("http://h", at(3_000));
    assert_eq!((shown.state, shown.since_ms), (EndpointState::Closed, 0));
}
