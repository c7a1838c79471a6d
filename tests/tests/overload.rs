//! Far more than the ring holds: what is lost is declared, and nothing is shipped as if it were whole.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::HashMap;
use std::time::Duration;

use kongtap_tests::client::Scheme;
use kongtap_tests::compare::{Expected, Verdict, compare};
use kongtap_tests::kernel::require_kernel;
use kongtap_tests::lab::global_configuration;
use kongtap_tests::load::exchange_many;
use kongtap_tests::scene::{Scene, TOKEN};
use kongtap_tests::wait::eventually;
use tokio::task::JoinSet;

/// A ring that holds a handful of exchanges, for a load that fills it many times between two looks.
const CONFIGURATION: &str = "[capture]\nring_bytes = 65536\npoll_ms = 5\n";
/// Connections at once, half of them TLS.
const CONNECTIONS: u64 = 16;
/// Exchanges on each.
const EXCHANGES: usize = 60;
/// The least that an exchange's heads are, bytes: one that nobody knows of is at least this much of what is lost.
const HEADS_BYTES: u64 = 300;

async fn load(scene: &Scene) -> Vec<Expected> {
    let mut connections = JoinSet::new();
    for number in 0..CONNECTIONS {
        let scheme = if number % 2 == 0 {
            Scheme::Http
        } else {
            Scheme::Https
        };
        let gateway = scene.listeners().of(scheme).unwrap();
        connections.spawn(exchange_many(gateway, scheme, 1000 + number, EXCHANGES));
    }
    let mut expected = Vec::new();
    while let Some(done) = connections.join_next().await {
        expected.extend(done.unwrap().unwrap());
    }
    expected
}

/// Whether a message says of itself that something is missing.
fn is_marked(message: &serde_json::Value) -> bool {
    let whole =
        |part: &str| message.pointer(&format!("/kong/completeness/{part}/state")) == Some(&"whole".into());
    !whole("request") || !whole("response") || message.pointer("/kong/upstream").is_none()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_overload_every_loss_is_declared() {
    let Some(turn) = require_kernel("overload").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kongtap.toml");
    std::fs::write(&file, CONFIGURATION).unwrap();
    let arguments = vec!["--config".to_owned(), file.display().to_string()];
    let environment = global_configuration(&scene.receiver.endpoint(), TOKEN);
    let kongtap = scene.attach_with(arguments, environment).await.unwrap();

    let expected = load(&scene).await;
    // The gateway goes too, so that every connection is over, and every end that was lost must be found out.
    let master = kongtap_tests::processes::pid(scene.gateway.master()).unwrap();
    rustix::process::kill_process(master, rustix::process::Signal::TERM).unwrap();
    let status = eventually("no connection to be open", Duration::from_secs(30), async || {
        let status = kongtap.status().await.map_err(|error| format!("{error:#}"))?;
        let is_none = |gauge: Option<&u64>| gauge == Some(&0);
        let is_over = is_none(status.connections.get("open"))
            && is_none(status.joins.get("waiting"))
            && status.exchanges.queued == 0;
        match status.require_balance() {
            Ok(()) if is_over => Ok(status),
            Ok(()) => Err(format!(
                "{:?} {:?} {:?}",
                status.connections, status.joins, status.exchanges
            )),
            Err(error) => Err(format!("{error:#}")),
        }
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}\n{}", kongtap.log_tail()));

    let lost = status.lost_bytes();
    assert!(lost > 0, "that was no overload: {:?}", status.bytes);
    assert_eq!(
        status.lost_bytes_besides("ring_full"),
        0,
        "{:?}",
        status.bytes.lost
    );

    let messages: HashMap<String, serde_json::Value> = scene
        .receiver
        .posts()
        .iter()
        .map(|post| serde_json::from_slice(&post.body).unwrap())
        .filter_map(|message: serde_json::Value| {
            let id = message.pointer("/request/headers/x-lab-id")?.as_str()?.to_owned();
            Some((id, message))
        })
        .collect();
    let report = compare(&expected, &scene.shipped().unwrap());
    assert_eq!(report.strangers, [""; 0], "{}", report.complaints(12));
    let (mut same, mut marked, mut missing) = (0_u64, 0_u64, 0_u64);
    for row in &report.rows {
        match &row.verdict {
            Verdict::Same => same += 1,
            Verdict::Missing => missing += 1,
            Verdict::HalfSeen => marked += 1,
            Verdict::Different(how) => {
                let message = &messages[&row.expected.id];
                assert!(is_marked(message), "{how:?} and no word of it: {message}");
                marked += 1;
            }
            Verdict::Doubled(times) => panic!("{} came {times} times", row.expected.url),
        }
    }
    assert!(
        same > 0 && missing + marked > 0,
        "{same} whole, {marked} marked, {missing} missing"
    );
    // What is neither shipped nor dropped was seen by nobody: then its heads are among the lost bytes.
    let unknown = missing.saturating_sub(status.dropped());
    assert!(
        unknown * HEADS_BYTES <= lost,
        "{missing} missing, {} dropped, {lost} bytes lost",
        status.dropped()
    );
}
