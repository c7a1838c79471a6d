//! What is sent again, and endpoints that are left alone, with real connections: each message arrives or is counted, once.

use super::*;
use crate::ship::account::Account;
use crate::ship::batch::AnswerForm;
use crate::ship::failure::{Again, Failure};
use crate::ship::lane::Lent;
use crate::ship::lane::health::Ended;
use crate::ship::queue::claim::End;
use crate::ship::{BreakerLimits, EndpointState};
use crate::telemetry::ledger::DropReason;

const UNAVAILABLE: Behaviour =
    Behaviour::Answers("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
const REFUSED: Behaviour = Behaviour::Answers("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
const LATER: Behaviour =
    Behaviour::Answers("HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n");

/// Limits under which repeats come soon, and the breaker does not open in the first hundred failures.
fn soon() -> ShipLimits {
    ShipLimits {
        retry: RetryLimits {
            max_age: Duration::from_secs(60),
            first: Duration::from_millis(20),
            most: Duration::from_millis(100),
        },
        breaker: BreakerLimits {
            failures: 100,
            ..BreakerLimits::default()
        },
        ..ShipLimits::default()
    }
}

/// Limits under which the breaker opens after two failures.
fn fragile(open_ms: u64) -> ShipLimits {
    ShipLimits {
        breaker: BreakerLimits {
            failures: 2,
            open: Duration::from_millis(open_ms),
            most: Duration::from_millis(open_ms),
        },
        ..soon()
    }
}

/// Sends one message to an endpoint that does these things, one for each request.
async fn check(
    script: &'static [Behaviour],
    profile: Profile,
    expected: (u64, Vec<(&'static str, u64)>),
    attempts: u64,
) -> Duration {
    let endpoint = Endpoint::start(Behaviour::Script(script)).await;
    let run = Run::start(soon());
    let mut destination = destination(&endpoint.url());
    destination.timeout_ms = 100;
    let begun = clock::instant();
    run.offer(message_of(&destination, 10, profile));
    assert_eq!(fates(&run.settle().await), expected, "{script:?}");
    let took = clock::instant() - begun;
    let stats = run.handle.stats();
    assert_eq!(
        (stats.attempts, stats.repeats),
        (attempts, attempts - 1),
        "{script:?}"
    );
    let received = endpoint.received();
    assert_eq!(u64::try_from(received.len()).unwrap(), attempts, "{script:?}");
    assert!(
        received.iter().all(|request| request.body == received[0].body),
        "the same message, byte by byte"
    );
    run.stop().await;
    took
}

#[tokio::test]
async fn what_did_not_arrive_is_sent_again_until_it_does() {
    use Behaviour::{AnswersAndCloses, HangsUp, Silent};
    use Profile::{Extended, Plugin};
    check(&[UNAVAILABLE, OK], Plugin, (1, vec![]), 2).await;
    check(
        &[UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, OK],
        Plugin,
        (1, vec![]),
        4,
    )
    .await;
    // It may have arrived: only a receiver that can tell may get it twice.
    check(&[Silent, OK], Extended, (1, vec![]), 2).await;
    check(&[Silent, OK], Plugin, dropped("timeout", 1), 1).await;
    check(&[HangsUp, OK], Extended, (1, vec![]), 2).await;
    check(&[HangsUp, OK], Plugin, dropped("bad_answer", 1), 1).await;
    check(&[AnswersAndCloses("ICY\r\n\r\n"), OK], Extended, (1, vec![]), 2).await;
    // Refused for what it is: the answer would be the same.
    check(&[REFUSED, OK], Extended, dropped("invalid", 1), 1).await;
}

#[tokio::test]
async fn what_an_endpoint_says_of_when_is_waited_for() {
    let took = check(&[LATER, OK], Profile::Plugin, (1, vec![]), 2).await;
    assert!(took >= Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn an_endpoint_that_asks_for_a_pause_gets_it_from_all_messages() {
    let endpoint = Endpoint::start(Behaviour::Script(&[LATER, OK])).await;
    let run = Run::start(soon());
    let destination = destination(&endpoint.url());
    run.offer(message(&destination, 10));
    let state = || {
        run.handle
            .stats()
            .endpoints
            .first()
            .map(|endpoint| endpoint.state)
    };
    eventually("the pause", || state() == Some(EndpointState::Paused)).await;
    for _ in 0..20 {
        run.offer(message(&destination, 10));
    }
    assert_eq!(endpoint.received().len(), 1);
    let stats = run.handle.stats();
    let shown = &stats.endpoints[0];
    assert_eq!((shown.allowed, shown.waiting, shown.repeats), (0, 21, 1));
    assert!(shown.until_ms.unwrap() <= 1_000, "{shown:?}");
    assert_eq!(fates(&run.settle().await), (21, vec![]));
    run.stop().await;
}

#[tokio::test]
async fn one_that_begins_to_listen_gets_all() {
    let endpoint = Endpoint::start(OK).await;
    let (address, url) = (endpoint.address, endpoint.url());
    drop(endpoint);
    eventually("the listener to close", || {
        std::net::TcpStream::connect(address).is_err()
    })
    .await;
    let run = Run::start(fragile(50));
    let destination = destination(&url);
    for _ in 0..20 {
        run.offer(message(&destination, 10));
    }
    eventually("the breaker to open", || run.handle.stats().breaker_opened == 1).await;
    let endpoint = Endpoint::start_at(address, OK).await;
    assert_eq!(fates(&run.settle().await), (20, vec![]));
    assert_eq!(endpoint.received().len(), 20);
    let stats = run.handle.stats();
    assert_eq!((stats.breaker_opened, stats.breaker_closed), (1, 1));
    run.stop().await;
}

#[tokio::test]
async fn an_open_breaker_lets_probes_through_and_nothing_else() {
    let endpoint = Endpoint::start(UNAVAILABLE).await;
    let run = Run::start(ShipLimits {
        breaker: BreakerLimits {
            failures: 5,
            open: Duration::from_millis(50),
            most: Duration::from_mins(1),
        },
        ..soon()
    });
    let destination = destination(&endpoint.url());
    for _ in 0..200 {
        run.offer(message(&destination, 10));
    }
    let shown = || run.handle.stats().endpoints.first().cloned();
    // Pauses of about 50, 100, 200 ms follow the five failures, and a probe each.
    eventually("three probes", || endpoint.received().len() >= 8).await;
    let stats = run.handle.stats();
    assert!(stats.attempts <= 9, "{stats:?}");
    assert!(stats.looks < 60, "it does not spin: {}", stats.looks);
    assert_eq!((stats.breaker_opened, stats.breaker_closed), (1, 0));
    eventually("an open breaker", || {
        shown().is_some_and(|shown| shown.state == EndpointState::Open)
    })
    .await;
    let shown = shown().unwrap();
    assert_eq!(
        shown.origin,
        destination.url.origin().ascii_serialization(),
        "without the path"
    );
    assert_eq!((shown.allowed, shown.in_flight, shown.waiting), (0, 0, 200));
    assert_eq!(shown.opened, 1);
    assert!(shown.repeats >= 1 && shown.repeats <= 9, "{shown:?}");
    assert!(shown.until_ms.is_some());
    assert_eq!(shown.last_failure.unwrap().reason, "endpoint_error");
    // Stopping does not wait for what cannot be.
    let begun = clock::instant();
    let snapshot = run.stop().await;
    assert_eq!(fates(&snapshot), dropped("shutdown", 200));
    assert!(clock::instant() - begun < ShipLimits::default().drain_timeout);
}

#[tokio::test]
async fn what_grows_too_old_is_dropped_for_its_last_reason() {
    let endpoint = Endpoint::start(UNAVAILABLE).await;
    let run = Run::start(ShipLimits {
        retry: RetryLimits {
            max_age: Duration::from_millis(300),
            ..soon().retry
        },
        ..soon()
    });
    let destination = destination(&endpoint.url());
    for _ in 0..5 {
        run.offer(message(&destination, 10));
    }
    let begun = clock::instant();
    assert_eq!(fates(&run.settle().await), dropped("endpoint_error", 5));
    let took = clock::instant() - begun;
    assert!(took >= Duration::from_millis(290), "not early: {took:?}");
    assert!(endpoint.received().len() >= 15, "{}", endpoint.received().len());
    run.stop().await;
}

#[tokio::test]
async fn what_waited_too_long_behind_a_breaker_is_given_up_without_another_attempt() {
    let endpoint = Endpoint::start(UNAVAILABLE).await;
    let ledger = Arc::new(ExchangeLedger::default());
    let account = Arc::new(Account::new(Arc::clone(&ledger)));
    let queue = Arc::new(Queue::new(fragile(1_000), account));
    let destination = destination(&endpoint.url());
    for _ in 0..3 {
        ledger.saw();
        queue.offer(message(&destination, 10));
    }
    let start = clock::instant();
    let later = |seconds: u64| start + Duration::from_secs(seconds);
    let claim = queue.claims(start).remove(0);
    for _ in 0..2 {
        let mut tickets = claim.next(start);
        let failure = a_failure();
        for ticket in &mut tickets {
            ticket.begin_attempt();
            ticket.postpone(failure.clone());
        }
        let again = tickets
            .into_iter()
            .map(|ticket| Lent {
                ticket,
                due: later(1),
            })
            .collect();
        claim.finish(failed(failure), again, start);
    }
    assert!(claim.next(start).is_empty(), "the breaker is open");
    drop(claim);
    assert!(queue.claims(start).is_empty());
    let wake = queue.next_due().unwrap();
    assert!(wake > start && wake <= later(1));
    // The one that was never tried is no repeat and is never too late.
    let claim = queue.claims(later(100)).remove(0);
    let tickets = claim.next(later(100));
    assert_eq!(tickets.len(), 1);
    assert_eq!(tickets[0].attempts(), 0);
    assert_eq!(fates(&ledger.snapshot()), dropped("endpoint_error", 2));
}

#[tokio::test]
async fn stopping_tries_once_more_what_waits_for_its_time() {
    let check = |script: &'static [Behaviour], expected: (u64, Vec<(&'static str, u64)>)| async move {
        let endpoint = Endpoint::start(Behaviour::Script(script)).await;
        let hour = Duration::from_hours(1);
        let run = Run::start(ShipLimits {
            retry: RetryLimits {
                max_age: hour,
                first: hour,
                most: hour,
            },
            ..soon()
        });
        run.offer(message(&destination(&endpoint.url()), 10));
        eventually("the first attempt", || run.handle.stats().repeats == 1).await;
        let begun = clock::instant();
        assert_eq!(fates(&run.stop().await), expected, "{script:?}");
        assert_eq!(endpoint.received().len(), 2, "{script:?}");
        assert!(clock::instant() - begun < ShipLimits::default().drain_timeout);
    };
    check(&[UNAVAILABLE, OK], (1, vec![])).await;
    check(&[UNAVAILABLE, UNAVAILABLE], dropped("shutdown", 1)).await;
}

#[tokio::test]
async fn the_lanes_of_an_endpoint_take_turns() {
    let ledger = Arc::new(ExchangeLedger::default());
    let account = Arc::new(Account::new(Arc::clone(&ledger)));
    let queue = Arc::new(Queue::new(soon(), account));
    let paths = ["a", "b", "c"];
    for path in paths {
        let destination = destination(&format!("http://127.0.0.1:9/{path}"));
        for _ in 0..40 {
            ledger.saw();
            queue.offer(message(&destination, 10));
        }
    }
    // The endpoint takes one at a time, for 30 ms each.
    let mut now = clock::instant();
    let mut sent: Vec<String> = Vec::new();
    for _ in 0..30 {
        let claims = queue.claims(now);
        assert_eq!(claims.len(), 1, "one sender for all three");
        for claim in claims {
            while let Some(ticket) = claim.next(now).pop() {
                sent.push(claim.destination().url.path().to_owned());
                ticket.ship();
                now += Duration::from_millis(30);
                claim.finish(busy(), Vec::new(), now);
            }
        }
    }
    assert_eq!(sent.len(), 30);
    for (at, path) in sent.iter().enumerate() {
        assert_eq!(*path, format!("/{}", paths[at % 3]), "{sent:?}");
    }
}

#[tokio::test]
async fn time_alone_never_makes_it_look_twice() {
    let ledger = Arc::new(ExchangeLedger::default());
    let account = Arc::new(Account::new(Arc::clone(&ledger)));
    let queue = Arc::new(Queue::new(fragile(1_000), account));
    let mut rng = fastrand::Rng::with_seed(1);
    for path in 0..20 {
        let destination = destination(&format!("http://127.0.0.1:{}/{path}", 1 + path % 5));
        for _ in 0..20 {
            ledger.saw();
            queue.offer(message(&destination, 10));
        }
    }
    let mut now = clock::instant();
    let mut looks = 0;
    while ledger.snapshot().queued > 0 {
        looks += 1;
        assert!(looks < 20_000, "it makes progress");
        let claims = queue.claims(now);
        let wake = queue.next_due();
        assert!(wake.is_none_or(|wake| wake > now), "waiting would be in vain");
        if claims.is_empty() {
            now = wake.expect("something to wait for");
        }
        for claim in claims {
            for mut ticket in claim.next(now) {
                ticket.begin_attempt();
                if rng.u8(0..4) == 0 {
                    ticket.ship();
                    claim.finish(answered(), Vec::new(), now);
                } else {
                    ticket.postpone(a_failure());
                    let due = now + Duration::from_millis(rng.u64(1..500));
                    claim.finish(failed(a_failure()), vec![Lent { ticket, due }], now);
                }
            }
        }
    }
    assert_eq!(ledger.snapshot().queued, 0);
}

#[tokio::test]
async fn endpoints_without_lanes_are_bounded() {
    let ledger = Arc::new(ExchangeLedger::default());
    let account = Arc::new(Account::new(Arc::clone(&ledger)));
    let queue = Arc::new(Queue::new(fragile(1_000), account));
    let now = clock::instant();
    for port in 0..200 {
        ledger.saw();
        queue.offer(message(
            &destination(&format!("http://127.0.0.1:{}/", 1 + port)),
            10,
        ));
        let claim = queue.claims(now).remove(0);
        let ticket = claim.next(now).pop().unwrap();
        let failure = a_failure();
        ticket.give_up(&failure);
        claim.finish(failed(failure), Vec::new(), now);
        drop(claim);
        assert_eq!(queue.stats().endpoints.len(), (1 + port).min(64));
    }
}

fn a_failure() -> Failure {
    Failure {
        again: Again::Always { after: None },
        ..Failure::without_attempt(DropReason::EndpointError)
    }
}

fn failed(failure: Failure) -> End {
    End {
        ended: Ended::Failed,
        form: AnswerForm::Other,
        last_failure: Some(failure),
    }
}

fn answered() -> End {
    End {
        ended: Ended::Answered {
            took: Duration::from_millis(5),
        },
        form: AnswerForm::Other,
        last_failure: None,
    }
}

/// An answer that leaves the number of attempts at one.
fn busy() -> End {
    End {
        ended: Ended::Answered { took: Duration::ZERO },
        form: AnswerForm::Other,
        last_failure: None,
    }
}
