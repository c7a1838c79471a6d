//! Shipping to endpoints that misbehave: whatever happens, the ledger balances.

mod accounting;
mod answers;
mod batch;
mod endpoint;
mod list_endpoint;
mod proxy;
mod queue;
mod retry;
mod send;
mod shed;
mod stored;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::account::Ticket;
use super::probe::{ProbeError, probe};
use super::queue::Queue;
use super::queue::claim::Claim;
use super::retry::RetryLimits;
use super::{BreakerLimits, ShipHandle, ShipLimits, Shipper, new};
use crate::clock::{self, WallClock};
use crate::message::redact::{DECODED_BYTES, Redaction};
use crate::message::tests::{config, exchange, nowhere};
use crate::message::{BuildInput, Message, Profile, build};
use crate::plugin::Destination;
use crate::plugin::transport::ProxyChoice;
use crate::telemetry::ledger::{ExchangeLedger, LedgerSnapshot};
use endpoint::{Behaviour, Endpoint, OK};

/// How long a test waits for what must come.
const BUDGET: Duration = Duration::from_secs(20);

fn destination(url: &str) -> Destination {
    Destination::clone(&config(true, url).destination)
}

/// A message of about `bytes` for `destination`.
fn message(destination: &Destination, bytes: usize) -> Message {
    message_of(destination, bytes, Profile::Plugin)
}

fn message_of(destination: &Destination, bytes: usize, profile: Profile) -> Message {
    let joined = exchange("GET", "/a", &[("host", "h")], "", 200, &[], &"x".repeat(bytes));
    let mut config = config(true, destination.url.as_str());
    config.destination = Arc::new(destination.clone());
    build(&BuildInput {
        joined: &joined,
        request_headers: &joined.client.request.as_ref().unwrap().headers,
        resolution: &nowhere(),
        config: &config,
        profile,
        redaction: &Redaction::Default,
        decoded_bytes: DECODED_BYTES,
        wall: WallClock { boot_unix_ns: 0 },
    })
}

/// Limits under which nothing is sent twice, and no endpoint is left alone.
fn once() -> ShipLimits {
    ShipLimits {
        breaker: BreakerLimits {
            failures: u32::MAX,
            ..BreakerLimits::default()
        },
        retry: RetryLimits {
            max_age: Duration::ZERO,
            ..RetryLimits::default()
        },
        ..ShipLimits::default()
    }
}

/// A shipper at work.
struct Run {
    handle: ShipHandle,
    ledger: Arc<ExchangeLedger>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Run {
    fn start(limits: ShipLimits) -> Self {
        let (handle, ledger, shipper) = idle(limits);
        let cancel = CancellationToken::new();
        let task = tokio::spawn(shipper.run(cancel.clone()));
        Self {
            handle,
            ledger,
            cancel,
            task,
        }
    }

    fn offer(&self, message: Message) {
        self.ledger.saw();
        self.handle.offer(message);
    }

    /// Waits until nothing is queued.
    async fn settle(&self) -> LedgerSnapshot {
        eventually("the queue to empty", || self.ledger.snapshot().queued == 0).await;
        self.ledger.snapshot()
    }

    async fn stop(self) -> LedgerSnapshot {
        self.cancel.cancel();
        tokio::time::timeout(BUDGET, self.task).await.unwrap().unwrap();
        let snapshot = self.ledger.snapshot();
        assert_eq!(snapshot.queued, 0, "{snapshot:?}");
        assert!(snapshot.is_balanced(), "{snapshot:?}");
        assert_eq!(self.handle.stats().queued_bytes, 0);
        assert_eq!(self.handle.stats().in_flight, 0);
        snapshot
    }
}

fn idle(limits: ShipLimits) -> (ShipHandle, Arc<ExchangeLedger>, Shipper) {
    let ledger = Arc::new(ExchangeLedger::default());
    let (handle, shipper) = new(limits, Arc::clone(&ledger));
    (handle, ledger, shipper)
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + BUDGET;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Shipped, and what was dropped for which reason.
fn fates(snapshot: &LedgerSnapshot) -> (u64, Vec<(&'static str, u64)>) {
    let dropped = snapshot
        .dropped
        .iter()
        .copied()
        .filter(|(_, count)| *count > 0)
        .collect();
    (snapshot.shipped, dropped)
}

fn dropped(reason: &'static str, count: u64) -> (u64, Vec<(&'static str, u64)>) {
    (0, vec![(reason, count)])
}

/// The next message of a claim.
fn taken(claim: &Claim) -> Option<Ticket> {
    claim.next(clock::instant()).pop()
}

#[tokio::test]
async fn a_message_arrives_as_one_post() {
    let endpoint = Endpoint::start(OK).await;
    let run = Run::start(once());
    let sent = message(&destination(&endpoint.url()), 10);
    run.offer(sent.clone());
    assert_eq!(fates(&run.settle().await), (1, vec![]));
    let stats = run.handle.stats();
    assert_eq!((stats.attempts, stats.latency_count), (1, 1));
    assert!(stats.latency_us_sum > 0);
    assert!(stats.last_errors.is_empty());
    run.stop().await;

    let received = endpoint.received();
    assert_eq!(received.len(), 1);
    assert_eq!(&received[0].body[..], &sent.json()[..]);
    let head = &received[0].head;
    assert!(
        head.starts_with("POST /buckets/b/messages HTTP/1.1\r\n"),
        "{head}"
    );
    for line in [
        "authorization: Bearer token",
        "content-type: application/json",
        concat!("user-agent: kongtap/", env!("CARGO_PKG_VERSION")),
        &format!("host: {}", endpoint.address),
    ] {
        assert!(head.lines().any(|other| other == line), "{line} in {head}");
    }
}

#[tokio::test]
async fn many_messages_arrive_once_each() {
    let endpoint = Endpoint::start(OK).await;
    let limits = ShipLimits {
        in_flight: 4,
        ..once()
    };
    let run = Run::start(limits);
    let destination = destination(&endpoint.url());
    for bytes in 0..500 {
        run.offer(message(&destination, bytes));
    }
    assert_eq!(fates(&run.settle().await), (500, vec![]));
    let mut lengths: Vec<usize> = endpoint
        .received()
        .iter()
        .map(|request| request.body.len())
        .collect();
    assert_eq!(lengths.len(), 500);
    lengths.sort_unstable();
    lengths.dedup();
    assert_eq!(lengths.len(), 500, "each has a length of its own");
    run.stop().await;
}

async fn check(behaviour: Behaviour, timeout_ms: u64, expected: (u64, Vec<(&'static str, u64)>)) {
    let endpoint = Endpoint::start(behaviour).await;
    let run = Run::start(once());
    let mut destination = destination(&endpoint.url());
    destination.timeout_ms = timeout_ms;
    for _ in 0..3 {
        run.offer(message(&destination, 10));
    }
    assert_eq!(fates(&run.settle().await), expected, "{behaviour:?}");
    let stats = run.handle.stats();
    assert_eq!(stats.attempts, 3, "{behaviour:?}");
    // No redirect was followed and nothing was sent again.
    assert!(endpoint.received().len() <= 3, "{behaviour:?}");
    let counted: Vec<(&str, u64)> = stats
        .last_errors
        .iter()
        .map(|error| (error.reason, error.count))
        .collect();
    assert_eq!(counted, expected.1, "{behaviour:?}");
    for error in &stats.last_errors {
        assert!(!error.detail.contains("buckets"), "{error:?}");
    }
    run.stop().await;
}

#[tokio::test]
async fn every_misbehaviour_has_its_reason() {
    use Behaviour::{Answers, AnswersAndCloses, AnswersAndResets, HangsUp, Silent, Trickles};
    let patient = 10_000;
    check(Silent, 50, dropped("timeout", 3)).await;
    check(Trickles, 100, dropped("timeout", 3)).await;
    check(HangsUp, patient, dropped("bad_answer", 3)).await;
    check(
        Answers("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno"),
        patient,
        dropped("unauthorized", 3),
    )
    .await;
    check(
        Answers("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"),
        patient,
        dropped("invalid", 3),
    )
    .await;
    check(
        Answers("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"),
        patient,
        dropped("endpoint_error", 3),
    )
    .await;
    check(
        Answers("HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"),
        patient,
        dropped("bad_answer", 3),
    )
    .await;
    check(
        Answers("HTTP/1.1 200 OK\r\ncontent-length: 29\r\n\r\n{\"data\":[{\"status\":\"error\"}]}"),
        patient,
        dropped("invalid", 3),
    )
    .await;
    check(
        AnswersAndCloses("HTTP/1.1 200 OK\r\ncontent-length: 29\r\n\r\n{\"data\":"),
        patient,
        dropped("bad_answer", 3),
    )
    .await;
    check(
        AnswersAndResets("HTTP/1.1 200 OK\r\ncontent-length: 29\r\n\r\n{\"data\":"),
        patient,
        dropped("bad_answer", 3),
    )
    .await;
    check(
        AnswersAndCloses("ICY 200 OK\r\n\r\n"),
        patient,
        dropped("bad_answer", 3),
    )
    .await;
    check(Answers("HTTP/1.1 204 No Content\r\n\r\n"), u64::MAX, (3, vec![])).await;
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let endpoint = Endpoint::start(OK).await;
    let url = endpoint.url();
    let address = endpoint.address;
    drop(endpoint);
    eventually("the listener to close", || {
        std::net::TcpStream::connect(address).is_err()
    })
    .await;
    let run = Run::start(once());
    run.offer(message(&destination(&url), 10));
    assert_eq!(fates(&run.settle().await), dropped("unreachable", 1));
    let errors = run.handle.stats().last_errors;
    assert!(errors[0].detail.contains("refused"), "{errors:?}");
    assert!(errors[0].at_unix_ms > 1_700_000_000_000);
    run.stop().await;
}

#[tokio::test]
async fn a_token_that_no_header_can_carry_is_counted() {
    let endpoint = Endpoint::start(OK).await;
    let run = Run::start(once());
    let mut destination = destination(&endpoint.url());
    destination.access_token = crate::telemetry::secret::Secret::new("a\nb");
    run.offer(message(&destination, 10));
    assert_eq!(fates(&run.settle().await), dropped("unreachable", 1));
    run.stop().await;
    assert_eq!(endpoint.accepted(), 0);
}

#[tokio::test]
async fn no_more_than_the_bound_is_read_of_an_answer() {
    let endpoint = Endpoint::start(Behaviour::Answers(
        "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n0123456789abcdef",
    ))
    .await;
    let run = Run::start(ShipLimits {
        answer_bytes: 8,
        ..once()
    });
    run.offer(message(&destination(&endpoint.url()), 10));
    assert_eq!(fates(&run.settle().await), (1, vec![]));
    run.stop().await;
}

#[tokio::test]
async fn certificates_are_verified_unless_the_configuration_says_not_to() {
    let endpoint = Endpoint::start_tls(OK).await;
    let run = Run::start(once());
    let mut destination = destination(&endpoint.url());
    run.offer(message(&destination, 10));
    assert_eq!(fates(&run.settle().await), dropped("unreachable", 1));
    destination.tls_verify = false;
    run.offer(message(&destination, 10));
    assert_eq!(fates(&run.settle().await), (1, vec![("unreachable", 1)]));
    assert_eq!(endpoint.received().len(), 1);
    run.stop().await;
}

#[tokio::test]
async fn a_destination_that_never_answers_does_not_hold_up_another() {
    let silent = Endpoint::start(Behaviour::Silent).await;
    let good = Endpoint::start(OK).await;
    let run = Run::start(ShipLimits {
        in_flight: 2,
        drain_timeout: Duration::from_millis(10),
        ..once()
    });
    for _ in 0..20 {
        run.offer(message(&destination(&silent.url()), 10));
    }
    for _ in 0..20 {
        run.offer(message(&destination(&good.url()), 10));
    }
    eventually("the good endpoint's messages", || {
        run.ledger.snapshot().shipped == 20
    })
    .await;
    eventually("the silent one's sender", || run.handle.stats().in_flight == 1).await;
    assert_eq!(run.ledger.snapshot().queued, 20);
    assert_eq!(fates(&run.stop().await), (20, vec![("shutdown", 20)]));
    assert!(silent.accepted() <= 2, "{}", silent.accepted());
}

#[tokio::test]
async fn stopping_sends_what_is_held() {
    let endpoint = Endpoint::start(OK).await;
    let run = Run::start(ShipLimits {
        in_flight: 1,
        ..once()
    });
    let destination = destination(&endpoint.url());
    for _ in 0..50 {
        run.offer(message(&destination, 10));
    }
    let handle = run.handle.clone();
    let ledger = Arc::clone(&run.ledger);
    assert_eq!(fates(&run.stop().await), (50, vec![]));
    ledger.saw();
    handle.offer(message(&destination, 10));
    let snapshot = ledger.snapshot();
    assert_eq!(fates(&snapshot), (50, vec![("shutdown", 1)]));
    assert!(snapshot.is_balanced());
}

#[tokio::test]
async fn connections_are_kept_for_keepalive_and_no_longer() {
    let endpoint = Endpoint::start(OK).await;
    let run = Run::start(once());
    let mut destination = destination(&endpoint.url());
    destination.keepalive_ms = 60_000;
    for sent in 1..=5 {
        run.offer(message(&destination, 10));
        assert_eq!(run.settle().await.shipped, sent);
    }
    assert_eq!(endpoint.accepted(), 1);

    destination.keepalive_ms = 1;
    run.offer(message(&destination, 10));
    run.settle().await;
    assert_eq!(endpoint.accepted(), 2, "another keepalive has another pool");
    eventually("the idle connection to be closed", || endpoint.open() == 1).await;
    run.offer(message(&destination, 10));
    run.settle().await;
    assert_eq!(endpoint.accepted(), 3);

    destination.keepalive_ms = 0;
    for _ in 0..2 {
        run.offer(message(&destination, 10));
        run.settle().await;
    }
    assert_eq!(endpoint.accepted(), 5);
    assert_eq!(fates(&run.stop().await), (9, vec![]));
}

#[tokio::test]
async fn a_probe_tells_what_stands_in_the_way() {
    let good = Endpoint::start(Behaviour::Answers(
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
    ))
    .await;
    let reached = probe(&destination(&good.url()), &ProxyChoice::Direct)
        .await
        .unwrap();
    assert_eq!(reached.status, 404);
    let head = good.received()[0].head.clone();
    assert!(head.starts_with("HEAD / HTTP/1.1\r\n"), "{head}");
    assert!(!head.contains("authorization"), "{head}");

    let silent = Endpoint::start(Behaviour::Silent).await;
    let mut impatient = destination(&silent.url());
    impatient.timeout_ms = 50;
    let error = probe(&impatient, &ProxyChoice::Direct).await.unwrap_err();
    assert!(matches!(error, ProbeError::Timeout { timeout_ms: 50 }), "{error}");

    let unknown = Endpoint::start_tls(OK).await;
    let mut verified = destination(&unknown.url());
    let error = probe(&verified, &ProxyChoice::Direct)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("unreachable: "), "{error}");
    assert!(error.contains("certificate"), "{error}");
    verified.tls_verify = false;
    assert_eq!(probe(&verified, &ProxyChoice::Direct).await.unwrap().status, 200);

    let garbage = Endpoint::start(Behaviour::AnswersAndCloses("ICY\r\n\r\n")).await;
    let error = probe(&destination(&garbage.url()), &ProxyChoice::Direct)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("bad_answer: "), "{error}");
}
