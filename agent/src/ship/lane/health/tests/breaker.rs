//! Failures in a row, probes, pauses.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::clock;
use crate::ship::ShipLimits;
use crate::ship::lane::health::breaker::BreakerLimits;
use crate::ship::lane::health::{Backlog, Begun, Ended, EndpointState, Health, LONGEST_PAUSE_MS, REMEMBERED};

const MS: fn(u64) -> Duration = Duration::from_millis;
const OK: Ended = Ended::Answered { took: MS_5 };
const MS_5: Duration = Duration::from_millis(5);
const BUSY: Ended = Ended::Overloaded { after: None };

const fn later(ms: u64) -> Ended {
    Ended::Overloaded {
        after: Some(Duration::from_millis(ms)),
    }
}

/// An endpoint and the time.
struct Case {
    health: Health,
    now: Instant,
}

impl Case {
    fn new(seed: u64) -> Self {
        let limits = ShipLimits {
            in_flight: 32,
            breaker: BreakerLimits {
                failures: 3,
                open: MS(1_000),
                most: MS(10_000),
            },
            ..ShipLimits::default()
        };
        let now = clock::instant();
        Self {
            health: Health::new(&limits, Rng::with_seed(seed), now),
            now,
        }
    }

    fn begin(&mut self) -> Begun {
        self.health.started(Backlog::Some, self.now)
    }

    fn end(&mut self, begun: Begun, ended: Ended) {
        self.health.ended(begun, ended, self.now);
    }

    /// One attempt after the other.
    fn all(&mut self, all: &[Ended]) {
        for ended in all {
            let begun = self.begin();
            self.end(begun, *ended);
        }
    }

    fn state(&self) -> (EndpointState, usize) {
        (self.health.state(self.now), self.health.allowed(self.now))
    }

    /// Lets the time pass until something changes by itself; gives how long that was.
    fn wait(&mut self) -> Duration {
        let change = self.health.next_change(self.now).expect("a change to wait for");
        let waited = change - self.now;
        assert_eq!(
            self.health.allowed(change.checked_sub(MS(1)).unwrap()),
            0,
            "too early"
        );
        self.now = change;
        assert_eq!(self.health.next_change(self.now), None);
        waited
    }
}

#[test]
fn what_counts_as_a_failure_in_a_row() {
    let check = |ended: &[Ended], expected: EndpointState| {
        let mut case = Case::new(1);
        case.all(ended);
        assert_eq!(case.state().0, expected, "{ended:?}");
    };
    use Ended::Failed;
    check(&[Failed; 2], EndpointState::Closed);
    check(&[Failed; 3], EndpointState::Open);
    check(&[Failed, Failed, OK, Failed, Failed], EndpointState::Closed);
    check(&[Failed, Failed, OK, Failed, Failed, Failed], EndpointState::Open);
    check(&[BUSY; 3], EndpointState::Open);
    check(&[Failed, BUSY, Failed], EndpointState::Open);
    check(&[later(1_000); 30], EndpointState::Paused);
    check(
        &[Failed, Failed, later(1_000), Failed, Failed],
        EndpointState::Paused,
    );
    // "At once" is no pause, and no reason to go on asking for ever.
    check(&[later(0); 3], EndpointState::Open);
    check(&[OK; 30], EndpointState::Closed);
}

#[test]
fn one_attempt_decides_and_each_failure_of_it_costs_about_twice_the_time() {
    for seed in 0..50 {
        let mut case = Case::new(seed);
        case.all(&[OK; 40]);
        assert!(case.state().1 > 1);
        case.all(&[Ended::Failed; 3]);
        for whole in [1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
            assert_eq!(case.state(), (EndpointState::Open, 0));
            let waited = case.wait();
            assert!(
                waited >= MS(whole) / 2 && waited <= MS(whole),
                "{waited:?} of {whole}"
            );
            assert_eq!(case.state(), (EndpointState::HalfOpen, 1));
            let probe = case.begin();
            assert_eq!(case.state(), (EndpointState::HalfOpen, 1));
            case.end(probe, Ended::Failed);
        }
        case.wait();
        let probe = case.begin();
        case.end(probe, OK);
        assert_eq!(
            case.state(),
            (EndpointState::Closed, 1),
            "it begins anew with one"
        );
        case.all(&[Ended::Failed; 3]);
        assert!(case.wait() <= MS(1_000), "and with the shortest time");
    }
}

#[test]
fn attempts_from_before_tell_only_that_it_is_there() {
    let mut case = Case::new(1);
    let old: Vec<Begun> = (0..8).map(|_| case.begin()).collect();
    for begun in &old[..3] {
        case.end(*begun, Ended::Failed);
    }
    let until = case.health.next_change(case.now);
    case.end(old[3], Ended::Failed);
    assert_eq!(case.health.next_change(case.now), until, "not for longer");
    case.wait();
    let probe = case.begin();
    case.end(old[4], Ended::Failed);
    assert_eq!(case.state().0, EndpointState::HalfOpen, "not the probe's");
    case.end(old[5], OK);
    assert_eq!(case.state().0, EndpointState::Closed, "it answers");
    for begun in [probe, old[6], old[7]] {
        case.end(begun, Ended::Failed);
    }
    assert_eq!(
        case.state().0,
        EndpointState::Closed,
        "they were begun before that"
    );
    case.all(&[Ended::Failed; 3]);
    assert_eq!(case.state().0, EndpointState::Open);
}

#[test]
fn a_probe_that_is_broken_off_is_made_again() {
    let mut case = Case::new(1);
    case.all(&[Ended::Failed; 3]);
    case.wait();
    let probe = case.begin();
    case.health.abandoned(probe, case.now);
    assert_eq!(case.state(), (EndpointState::HalfOpen, 1));
    case.all(&[OK]);
    assert_eq!(case.state().0, EndpointState::Closed);
}

#[test]
fn a_pause_is_as_long_as_was_asked_for_within_reason() {
    let check = |ms: u64, expected: u64| {
        let mut case = Case::new(1);
        case.all(&[later(ms)]);
        assert_eq!(case.state(), (EndpointState::Paused, 0));
        assert_eq!(case.wait(), MS(expected), "{ms}");
        assert_eq!(case.state(), (EndpointState::Closed, 1));
    };
    check(1, 1);
    check(2_000, 2_000);
    check(LONGEST_PAUSE_MS, LONGEST_PAUSE_MS);
    check(u64::MAX, LONGEST_PAUSE_MS);
    // A shorter one does not end a longer one.
    let mut case = Case::new(1);
    case.all(&[later(2_000), later(1_000)]);
    assert_eq!(case.wait(), MS(2_000));
}

#[test]
fn failures_halve_the_number_once_a_round_trip() {
    let check = |ended: Ended| {
        let mut case = Case::new(1);
        case.all(&[OK; 400]);
        assert_eq!(case.state().1, 32);
        let begun: Vec<Begun> = (0..32).map(|_| case.begin()).collect();
        for (at, begun) in begun.into_iter().enumerate() {
            case.end(begun, if at % 3 == 0 { ended } else { OK });
        }
        case.now += MS(3_000);
        assert_eq!(case.state().1, 16, "{ended:?}");
        case.all(&[ended]);
        case.now += MS(3_000);
        assert_eq!(case.state().1, 8, "{ended:?}");
    };
    check(Ended::Failed);
    check(BUSY);
    check(later(1_000));
}

#[test]
fn what_was_learnt_is_remembered_for_a_while() {
    let check = |ended: &[Ended], remembered: Duration| {
        let mut case = Case::new(1);
        case.all(ended);
        let until = case.now + remembered;
        assert!(case.health.is_worth_keeping(until - MS(1)), "{ended:?}");
        assert!(!case.health.is_worth_keeping(until), "{ended:?}");
    };
    check(&[OK], REMEMBERED);
    check(&[Ended::Failed; 3], REMEMBERED);
    check(&[later(5_000)], REMEMBERED);
}
