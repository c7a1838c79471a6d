//! The guard on the real thing: under load the agent comes down to its limit, says what it leaves out, and comes back.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kongtap_tests::client::Scheme;
use kongtap_tests::kernel::require_kernel;
use kongtap_tests::kongtap::Kongtap;
use kongtap_tests::lab::global_configuration;
use kongtap_tests::load::exchange_many;
use kongtap_tests::scene::{Scene, TOKEN};
use kongtap_tests::status::Status;
use kongtap_tests::wait::eventually;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// Cores that the agent may take. Without optimisation it takes most of that only to read what the load moves.
const LIMIT: f64 = if cfg!(debug_assertions) { 0.2 } else { 0.05 };
/// Connections at once.
const CONNECTIONS: u64 = 4;
/// Exchanges of one turn of a connection.
const TOGETHER: usize = 4;
/// How often each takes its turn: several times more than the limit allows to ship.
const TURN: Duration = Duration::from_millis(if cfg!(debug_assertions) { 40 } else { 8 });
/// How long the guard may take for what it takes some seconds for.
const PATIENCE: Duration = Duration::from_secs(90);
/// The first step at which exchanges are left out.
const SAMPLING: u64 = 4;

#[derive(Clone, Copy, Debug)]
struct Cpu {
    share: f64,
    index: u64,
}

fn cpu(status: &Status) -> Cpu {
    let of = |name: &str| status.guard.pointer(&format!("/cpu/{name}")).unwrap();
    Cpu {
        share: of("share").as_f64().unwrap(),
        index: of("index").as_u64().unwrap(),
    }
}

/// Asks for the status until `is_so`.
async fn until(kongtap: &Kongtap, what: &str, is_so: fn(&Status) -> bool) -> Status {
    let status = eventually(what, PATIENCE, async || {
        let status = kongtap.status().await.map_err(|error| format!("{error:#}"))?;
        if is_so(&status) {
            Ok(status)
        } else {
            Err(format!(
                "{} {:?} {:?}",
                status.guard, status.exchanges, status.joins
            ))
        }
    });
    status
        .await
        .unwrap_or_else(|error| panic!("{error:#}\n{}", kongtap.log_tail()))
}

/// Load until told to stop. Every answer is compared with what the service sent; gives how many there were.
async fn load(scene: &Scene, stop: Arc<AtomicBool>) -> JoinSet<usize> {
    let mut connections = JoinSet::new();
    for number in 0..CONNECTIONS {
        let (stop, gateway) = (Arc::clone(&stop), scene.listeners().of(Scheme::Http).unwrap());
        connections.spawn(async move {
            let mut turns = interval(TURN);
            turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut done, mut seed) = (0, number << 32);
            while !stop.load(Ordering::Relaxed) {
                turns.tick().await;
                seed += 1;
                let turn = exchange_many(gateway, Scheme::Http, seed, TOGETHER).await;
                done += turn.unwrap().len();
            }
            done
        });
    }
    connections
}

#[expect(clippy::print_stderr, reason = "figures for whoever runs it")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_the_agent_comes_down_to_its_limit_and_back() {
    let Some(turn) = require_kernel("guard").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let mut environment = global_configuration(&scene.receiver.endpoint(), TOKEN);
    environment.push(("KONGTAP_CPU_LIMIT", LIMIT.to_string()));
    let kongtap = scene.attach_with(vec![], environment).await.unwrap();
    until(&kongtap, "the work of starting to be over", |status| {
        cpu(status).index == 0
    })
    .await;
    eprintln!("idle: {:?}", cpu(&kongtap.status().await.unwrap()));

    let stop = Arc::new(AtomicBool::new(false));
    let mut connections = load(&scene, Arc::clone(&stop)).await;
    let first = until(&kongtap, "a step", |status| cpu(status).index > 0).await;
    eprintln!("first step: {:?}", cpu(&first));
    until(&kongtap, "exchanges to be sampled", |status| {
        cpu(status).index >= SAMPLING
    })
    .await;
    let held = until(&kongtap, "the limit to be kept", |status| {
        cpu(status).index >= SAMPLING && cpu(status).share <= LIMIT
    })
    .await;
    eprintln!("held: {:?}", cpu(&held));
    assert!(cpu(&first).share > LIMIT);
    assert!(
        held.problems
            .iter()
            .any(|problem| problem.to_string().contains("limits.cpu"))
    );

    stop.store(true, Ordering::Relaxed);
    let mut made = 0;
    while let Some(done) = connections.join_next().await {
        made += u64::try_from(done.unwrap()).unwrap();
    }
    let status = until(&kongtap, "everything to be back and accounted for", |status| {
        cpu(status).index == 0 && status.exchanges.queued == 0 && status.require_balance().is_ok()
    })
    .await;
    let exchanges = &status.exchanges;
    let sampled = exchanges.filtered["sampled_cpu"];
    eprintln!(
        "{made} made, {} shipped, {sampled} left out: {:?}",
        exchanges.shipped,
        cpu(&status)
    );
    assert_eq!(status.lost_bytes(), 0, "{:?}", status.bytes);
    assert_eq!(
        (exchanges.seen, exchanges.shipped + sampled),
        (made, made),
        "{exchanges:?}"
    );
    assert!(
        status.bytes.left["over_budget"] > 0 || status.bytes.left["skipped"] > 0,
        "{:?}",
        status.bytes
    );

    // What is said of the rate adds up to what was made, within what chance leaves.
    let (mut scaled, mut shed) = (0.0, 0);
    for post in scene.receiver.posts() {
        let message: serde_json::Value = serde_json::from_slice(&post.body).unwrap();
        let kong = &message["kong"];
        scaled += 1.0 / kong["sampling"].as_f64().unwrap_or(1.0);
        let is_shed = |part: &str| kong["completeness"][part]["shed"] == "cpu";
        shed += usize::from(is_shed("request") || is_shed("response"));
    }
    let made = f64::from(u32::try_from(made).unwrap());
    eprintln!("{scaled:.0} by the rates, {shed} messages with bodies cut");
    assert!((0.5..1.5).contains(&(scaled / made)), "{scaled} of {made}");
    assert!(shed > 0);
    assert_eq!(
        scene.shipped().unwrap().len(),
        usize::try_from(exchanges.shipped).unwrap()
    );
}
