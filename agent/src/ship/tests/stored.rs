//! Shipping with a spool: across restarts and kills, with endpoints that are away, and with a queue that is too small.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::{Run, eventually};
use crate::clock::{self, WallClock};
use crate::message::redact::{DECODED_BYTES, Redaction};
use crate::message::tests::{config, exchange, nowhere};
use crate::message::{BuildInput, Message, Profile, build};
use crate::plugin::Destination;
use crate::ship::ShipLimits;
use crate::ship::retry::RetryLimits;
use crate::ship::spool::{Recovery, SpoolError, SpoolOptions};
use crate::telemetry::ledger::LedgerSnapshot;

/// An endpoint at an address of its own choice that keeps what it takes, as (number, identifier) in its order.
struct Receiver {
    taken: Arc<Mutex<Vec<(u64, String)>>>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Takes every message but each `refused`th, once, which it answers with 503; 0: takes all.
    async fn start(address: SocketAddr, refused: u64) -> Self {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&taken);
        let calls = Arc::new(AtomicU64::new(0));
        let router = axum::Router::new().fallback(move |body: axum::body::Bytes| {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            let is_refused = refused > 0 && call.is_multiple_of(refused);
            if !is_refused {
                kept.lock().unwrap().push(identity(&body));
            }
            async move {
                if is_refused {
                    StatusCode::SERVICE_UNAVAILABLE
                } else {
                    StatusCode::OK
                }
            }
        });
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { taken, task }
    }

    fn numbers(&self) -> Vec<u64> {
        self.taken
            .lock()
            .unwrap()
            .iter()
            .map(|(number, _)| *number)
            .collect()
    }
}

/// A message's number and its identifier.
fn identity(json: &[u8]) -> (u64, String) {
    let message: Value = serde_json::from_slice(json).unwrap();
    let number = message["request"]["url"]
        .as_str()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap();
    let identifier = message["unique_identifier"].as_str().unwrap();
    (number.parse().unwrap(), identifier.to_owned())
}

/// An address that nobody listens at.
fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn destination(address: SocketAddr) -> Arc<Destination> {
    Arc::clone(&config(true, &format!("http://{address}/buckets/b/messages")).destination)
}

/// The message numbered `number`, whose identifier is its own.
fn message(to: &Arc<Destination>, number: u64) -> Message {
    message_of(to, number, Profile::Extended)
}

fn message_of(to: &Arc<Destination>, number: u64, profile: Profile) -> Message {
    let path = format!("/{number}");
    let mut joined = exchange("GET", &path, &[("host", "h")], "", 200, &[], &"x".repeat(500));
    joined.client.conn.id.generation_ns = number;
    let mut config = config(true, to.url.as_str());
    config.destination = Arc::clone(to);
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

fn limits() -> ShipLimits {
    ShipLimits {
        // One at a time, so that the order is that of the queue.
        in_flight: 1,
        retry: RetryLimits {
            max_age: Duration::from_secs(1),
            first: Duration::from_millis(5),
            most: Duration::from_millis(20),
        },
        drain_timeout: Duration::from_millis(1),
        ..ShipLimits::default()
    }
}

fn options(path: &Path) -> SpoolOptions {
    SpoolOptions {
        path: path.to_owned(),
        bytes: 256 << 20,
        segment_bytes: 1 << 20,
        max_age: Duration::from_secs(3600),
        sync: Duration::from_millis(100),
    }
}

fn start(limits: ShipLimits, options: SpoolOptions, to: &[Arc<Destination>]) -> (Run, Recovery) {
    let run = Run::start(limits);
    let recovery = run.handle.open_spool(options).unwrap();
    run.handle.configured(to);
    (run, recovery)
}

/// Stops a shipper that may leave something in the spool.
async fn stop(run: Run) -> LedgerSnapshot {
    run.cancel.cancel();
    tokio::time::timeout(super::BUDGET, run.task)
        .await
        .unwrap()
        .unwrap();
    let snapshot = run.ledger.snapshot();
    assert!(snapshot.is_balanced(), "{snapshot:?}");
    snapshot
}

fn dropped(snapshot: &LedgerSnapshot) -> Vec<(&'static str, u64)> {
    super::fates(snapshot).1
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_endpoint_did_not_take_before_a_stop_it_gets_after_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let to = destination(nobody());
    let (run, _) = start(limits(), options(directory.path()), &[Arc::clone(&to)]);
    (0..300).for_each(|number| run.offer(message(&to, number)));
    let before = stop(run).await;
    assert_eq!((before.seen, before.queued, dropped(&before)), (300, 300, vec![]));

    // Nobody posts there any more, then somebody does again.
    let address = to.url.socket_addrs(|| None).unwrap()[0];
    let receiver = Receiver::start(address, 0).await;
    let (run, recovery) = start(limits(), options(directory.path()), &[]);
    assert_eq!((recovery.recovered.messages, recovery.ended_well), (300, true));
    let stats = run.handle.stats().spool.unwrap();
    assert_eq!(
        (stats.waiting.messages, stats.destinations[0].is_configured),
        (300, false)
    );
    assert!(receiver.numbers().is_empty());
    run.handle.configured(&[Arc::clone(&to)]);
    let after = run.settle().await;
    assert_eq!((after.seen, after.shipped, dropped(&after)), (300, 300, vec![]));
    assert_eq!(receiver.numbers(), (0..300).collect::<Vec<_>>());
    assert_eq!(run.handle.stats().spool.unwrap().stored.messages, 0);
    stop(run).await;
    let (run, recovery) = start(limits(), options(directory.path()), &[to]);
    assert_eq!(recovery.recovered.messages, 0);
    stop(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_memory_has_no_room_for_waits_on_the_disk_and_arrives_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let away = destination(nobody());
    let here = destination(nobody());
    let receiver = Receiver::start(here.url.socket_addrs(|| None).unwrap()[0], 0).await;
    let small = ShipLimits {
        queue_messages: 20,
        ..limits()
    };
    let (run, _) = start(
        small,
        options(directory.path()),
        &[Arc::clone(&away), Arc::clone(&here)],
    );
    for number in 0..3000 {
        run.offer(message(&away, number));
        if number % 10 == 0 {
            run.offer(message(&here, number));
        }
        assert!(run.handle.stats().queued_messages <= 20);
    }
    // The one that is away does not hold the other up.
    eventually("the other endpoint to have all", || {
        run.ledger.snapshot().shipped == 300
    })
    .await;
    assert_eq!(receiver.numbers(), (0..300).map(|at| at * 10).collect::<Vec<_>>());
    let now = run.ledger.snapshot();
    assert_eq!((now.shipped, now.queued, dropped(&now)), (300, 3000, vec![]));
    assert!(now.is_balanced());
    let waiting = run.handle.stats().spool.unwrap().waiting.messages;
    assert!(waiting >= 2980, "{waiting}");

    let late = Receiver::start(away.url.socket_addrs(|| None).unwrap()[0], 0).await;
    let all = run.settle().await;
    assert_eq!((all.shipped, dropped(&all)), (3300, vec![]));
    let mut numbers = late.numbers();
    // What was in memory is sent again at its own time; what was not comes in its order.
    let from_disk: Vec<u64> = numbers.iter().copied().filter(|number| *number >= 1000).collect();
    assert_eq!(from_disk, (1000..3000).collect::<Vec<_>>());
    numbers.sort_unstable();
    assert_eq!(numbers, (0..3000).collect::<Vec<_>>());
    stop(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_is_full_says_what_it_lost() {
    let directory = tempfile::tempdir().unwrap();
    let to = destination(nobody());
    let small = SpoolOptions {
        bytes: 1 << 20,
        segment_bytes: 256 << 10,
        ..options(directory.path())
    };
    let limits = ShipLimits {
        queue_messages: 20,
        ..limits()
    };
    let (run, _) = start(limits, small.clone(), &[Arc::clone(&to)]);
    (0..5000).for_each(|number| run.offer(message(&to, number)));
    eventually("the spool to be full", || {
        !dropped(&run.ledger.snapshot()).is_empty()
    })
    .await;
    let before = stop(run).await;
    let [("spool_full", lost)] = dropped(&before)[..] else {
        panic!("{before:?}")
    };
    assert_eq!((before.seen, before.queued), (5000, 5000 - lost));
    let receiver = Receiver::start(to.url.socket_addrs(|| None).unwrap()[0], 0).await;
    let (run, recovery) = start(limits, small, &[to]);
    // What was in memory had lost its place on the disk, and was given another one when the agent stopped.
    assert_eq!(recovery.recovered.messages, before.queued);
    let after = run.settle().await;
    assert_eq!(after.shipped, before.queued);
    assert_eq!(u64::try_from(receiver.numbers().len()).unwrap(), before.queued);
    stop(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_cannot_be_opened_does_not_stop_shipping() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "").unwrap();
    let to = destination(nobody());
    let receiver = Receiver::start(to.url.socket_addrs(|| None).unwrap()[0], 0).await;
    let run = Run::start(limits());
    let refused = run.handle.open_spool(options(&path));
    assert!(matches!(refused, Err(SpoolError::Disk { .. })), "{refused:?}");
    run.handle.configured(&[Arc::clone(&to)]);
    run.offer(message(&to, 1));
    assert_eq!(run.settle().await.shipped, 1);
    assert_eq!(receiver.numbers(), [1]);
    assert!(run.handle.stats().spool.unwrap().fault.unwrap().is_current);
    fs::remove_file(&path).unwrap();
    run.handle.open_spool(options(&path)).unwrap();
    assert!(run.handle.stats().spool.unwrap().fault.is_none());
    run.offer(message(&to, 2));
    assert_eq!(run.settle().await.shipped, 2);
    assert!(
        run.handle.stats().spool.unwrap().counts["spool_accepted"] > 0,
        "it is found by its messages too"
    );
    stop(run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_at_a_stop_comes_again_only_where_its_receiver_can_tell() {
    for (profile, expected) in [(Profile::Extended, (3, 0)), (Profile::Plugin, (2, 1))] {
        let directory = tempfile::tempdir().unwrap();
        let endpoint = super::Endpoint::start(super::Behaviour::Silent).await;
        let to = Arc::clone(&config(true, &endpoint.url()).destination);
        let (run, _) = start(limits(), options(directory.path()), &[Arc::clone(&to)]);
        (0..3).for_each(|number| run.offer(message_of(&to, number, profile)));
        eventually("the first to be posted", || endpoint.accepted() == 1).await;
        eventually("its post to be under way", || run.handle.stats().in_flight == 1).await;
        let before = stop(run).await;
        let shutdown: u64 = dropped(&before).iter().map(|(_, count)| count).sum();
        assert_eq!((before.queued, shutdown), expected, "{profile:?} {before:?}");
        let (run, recovery) = start(limits(), options(directory.path()), &[]);
        assert_eq!(recovery.recovered.messages, expected.0, "{profile:?}");
        stop(run).await;
    }
}

/// The variables that make [`shipper`] one.
const SPOOL: &str = "KONGTAP_TEST_SHIPPER_SPOOL";
const ADDRESS: &str = "KONGTAP_TEST_SHIPPER_ADDRESS";

/// Not a test of its own: the process that [`a_shipper_that_is_killed_sends_again_what_was_not_answered`] kills. It begins with what its
/// predecessor left, and goes on offering messages, faster than they are taken.
#[test]
fn shipper() {
    let Some((path, address)) = std::env::var_os(SPOOL).zip(std::env::var(ADDRESS).ok()) else {
        return;
    };
    let path = Path::new(&path);
    let to = destination(address.parse().unwrap());
    let mut diary = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path.join("diary"))
        .unwrap();
    let first = diary_of(path).last().map_or(0, |(last, _)| last + 1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let small = ShipLimits {
            queue_messages: 50,
            in_flight: 4,
            ..limits()
        };
        let (run, recovery) = start(small, options(&path.join("spool")), &[Arc::clone(&to)]);
        let lost = recovery.lost.messages + recovery.damaged.messages;
        diary.write_all(format!("lost {lost}\n").as_bytes()).unwrap();
        for number in first.. {
            run.offer(message(&to, number));
            diary
                .write_all(format!("{number} {}\n", now_ms()).as_bytes())
                .unwrap();
            if number % 16 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path.join("diary")).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| line.trim().to_owned()).collect()
}

/// The numbers of all messages that were offered, and when.
fn diary_of(path: &Path) -> Vec<(u64, u64)> {
    lines(path)
        .iter()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(number, at)| Some((number.parse().ok()?, at.parse().ok()?)))
        .collect()
}

fn now_ms() -> u64 {
    clock::kernel_now().0 / 1_000_000
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shipper_that_is_killed_sends_again_what_was_not_answered() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let address = nobody();
    let receiver = Receiver::start(address, 7).await;
    let mut kills = Vec::new();
    for round in 0..8_u32 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["ship::tests::stored::shipper", "--exact", "--nocapture"])
            .env(SPOOL, path)
            .env(ADDRESS, address.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (offered, taken) = (diary_of(path).len(), receiver.numbers().len());
        eventually("the child to offer and ship", || {
            diary_of(path).len() > offered + 500 && receiver.numbers().len() > taken + 100
        })
        .await;
        let waiting = clock::instant();
        while waiting.elapsed() < Duration::from_micros((round * 1733).into()) {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills.push(now_ms());
    }
    let to = destination(address);
    let (handle_limits, spool) = (limits(), options(&path.join("spool")));
    let (run, recovery) = start(handle_limits, spool, &[to]);
    assert!(!recovery.ended_well);
    let snapshot = run.settle().await;
    let lost_now = recovery.lost.messages + recovery.damaged.messages;
    assert_eq!(snapshot.shipped, recovery.recovered.messages);
    assert_eq!(snapshot.seen, snapshot.shipped + lost_now);
    assert_eq!(recovery.damaged.messages, 0);
    stop(run).await;

    let offered: BTreeMap<u64, u64> = diary_of(path).into_iter().collect();
    let mut identifiers: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for (number, identifier) in receiver.taken.lock().unwrap().iter() {
        identifiers.entry(*number).or_default().insert(identifier.clone());
    }
    // What came twice says that it is the same.
    assert!(identifiers.values().all(|all| all.len() == 1));
    let distinct: BTreeSet<&String> = identifiers.values().flatten().collect();
    assert_eq!(distinct.len(), identifiers.len(), "no two share an identifier");
    // What is missing was offered in the last moments of one of the children, and at least what the next one said.
    let missing: Vec<(u64, u64)> = offered
        .into_iter()
        .filter(|(number, _)| !identifiers.contains_key(number))
        .collect();
    for (number, at) in &missing {
        let kill = kills.iter().find(|kill| *kill >= at).unwrap();
        // A hundredth of a second, and what a loaded machine adds to it.
        assert!(
            kill - at < 1000,
            "{number} was offered {} ms before its kill",
            kill - at
        );
    }
    let told: u64 = lines(path)
        .iter()
        .filter_map(|line| line.strip_prefix("lost ")?.parse::<u64>().ok())
        .sum::<u64>()
        + lost_now;
    assert!(
        told <= u64::try_from(missing.len()).unwrap() + 9,
        "{told} of {missing:?}"
    );
}
