//! The main job on the real kernel: kongtap attached to a running gateway with two workers, plain and TLS, both legs.
//!
//! Each test takes its turn on the machine ([`kongtap_tests::kernel`]), and ends by comparing everything that client and
//! upstream saw with everything that arrived. Every test runs on each of the three sources of socket bytes.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::HashMap;
use std::time::Duration;

use kongtap_tests::client::{Connection, Request, Scheme, once};
use kongtap_tests::compare::{Expected, Verdict, compare};
use kongtap_tests::kernel::require_kernel;
use kongtap_tests::load::{exchange_many, plan};
use kongtap_tests::payload::Numbers;
use kongtap_tests::samples;
use kongtap_tests::scene::Scene;
use kongtap_tests::shipped::Scope;
use kongtap_tests::wait::eventually;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Connections of the main test, half of them TLS.
const CONNECTIONS: u64 = 32;
/// Exchanges on each: 32 × 64 = 2,048.
const EXCHANGES: usize = 64;

/// Makes a test of each function for each source of socket bytes: `function::sock` and so on.
macro_rules! on_each_source {
    ($($test:ident,)*) => {
        $(
            mod $test {
                on_each_source!(@ $test sock);
                on_each_source!(@ $test syscalls);
                on_each_source!(@ $test uprobes);
            }
        )*
    };
    (@ $test:ident $source:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $source() {
            super::$test(stringify!($source)).await;
        }
    };
}

on_each_source! {
    every_exchange_of_two_thousand_arrives_once_and_as_it_was,
    every_kind_of_exchange_arrives_even_those_that_the_gateway_answers_itself,
    one_client_exchange_is_one_message_however_often_the_gateway_tries,
    workers_that_a_reload_starts_are_followed,
    connections_that_were_open_before_kongtap_are_seen,
    scoped_configurations_decide_what_is_shipped,
}

/// `CONNECTIONS` connections at once, `exchanges` on each.
async fn load(scene: &Scene, exchanges: usize) -> Vec<Expected> {
    let mut connections = JoinSet::new();
    for number in 0..CONNECTIONS {
        let scheme = if number % 2 == 0 {
            Scheme::Http
        } else {
            Scheme::Https
        };
        let gateway = scene.listeners().of(scheme).unwrap();
        connections.spawn(exchange_many(gateway, scheme, number, exchanges));
    }
    let mut expected = Vec::new();
    while let Some(done) = connections.join_next().await {
        expected.extend(
            done.unwrap()
                .unwrap_or_else(|error| panic!("{error:#}\n{}", scene.gateway.log())),
        );
    }
    expected
}

/// The upstream got what the client sent, once each: otherwise the comparison would judge a broken gateway.
fn require_sound_gateway(scene: &Scene, expected: &[Expected]) {
    let mut seen = HashMap::new();
    for request in scene.upstream.take() {
        let id = request.field("X-Lab-Id").unwrap().to_owned();
        assert!(
            seen.insert(id, request).is_none(),
            "the gateway sent a request twice"
        );
    }
    for expected in expected {
        let request = seen
            .get(&expected.id)
            .unwrap_or_else(|| panic!("{} did not reach the upstream", expected.url));
        assert_eq!(request.body, expected.request_body, "{}", expected.url);
    }
}

async fn every_exchange_of_two_thousand_arrives_once_and_as_it_was(sockets: &str) {
    let Some(turn) = require_kernel("the main test").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let mut kongtap = scene.attach_by(sockets).await.unwrap();
    let expected = load(&scene, EXCHANGES).await;
    assert!(expected.len() >= 2_000);
    require_sound_gateway(&scene, &expected);
    let shipped = scene.require_all(&kongtap, &expected).await.unwrap();
    for message in &shipped {
        let seconds = message.response_time.unwrap();
        assert!(
            (0.0..60.0).contains(&seconds),
            "{} s for {}",
            seconds,
            message.url
        );
        assert!(
            message.request_timestamp > 1_700_000_000.0,
            "{}",
            message.request_timestamp
        );
    }
    assert!(kongtap.stop().await.unwrap().success(), "{}", kongtap.log_tail());
}

async fn every_kind_of_exchange_arrives_even_those_that_the_gateway_answers_itself(sockets: &str) {
    let Some(turn) = require_kernel("the samples").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let kongtap = scene.attach_by(sockets).await.unwrap();
    let mut expected = Vec::new();
    for sample in samples::all() {
        expected.push(samples::send(&sample, scene.listeners()).await.unwrap());
    }
    for status in [401, 404, 502, 204] {
        assert!(
            expected.iter().any(|expected| expected.status == status),
            "no sample with status {status}"
        );
    }
    scene.require_all(&kongtap, &expected).await.unwrap();
}

async fn one_client_exchange_is_one_message_however_often_the_gateway_tries(sockets: &str) {
    let Some(turn) = require_kernel("retries").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let kongtap = scene.attach_by(sockets).await.unwrap();
    let request = Request::new("GET", "/plain/reset");
    let gateway = scene.listeners().plain.unwrap();
    let answer = once(gateway, Scheme::Http, &request).await.unwrap();
    assert_eq!((answer.status, scene.upstream.seen(&request.id).len()), (502, 6));
    let scope = Scope {
        service: Some("plain-svc".to_owned()),
        route: Some("plain".to_owned()),
        consumer: None,
    };
    let expected = Expected::of("retried", (Scheme::Http, gateway), &request, &answer, Some(scope));
    scene.require_all(&kongtap, &[expected]).await.unwrap();
}

/// Sends on one connection until told to stop. Where the gateway closed a kept connection, opens another one, as clients do.
/// Gives each exchange with the moment at which it began.
async fn keep_sending(
    scene: &Scene,
    scheme: Scheme,
    seed: u64,
    stop: &tokio::sync::watch::Receiver<bool>,
) -> anyhow::Result<Vec<(Instant, Expected)>> {
    let gateway = scene.listeners().of(scheme).unwrap();
    let (mut numbers, mut expected) = (Numbers::new(seed), Vec::new());
    let mut connection = Connection::open(gateway, scheme).await?;
    while !*stop.borrow() {
        let planned = plan(&mut numbers);
        let began = Instant::now();
        match connection.exchange(&planned.request).await {
            Ok(answer) => expected.push((began, planned.expected((scheme, gateway), &answer)?)),
            Err(error) => {
                let seen = scene.upstream.seen(&planned.request.id).len();
                anyhow::ensure!(
                    seen == 0,
                    "the gateway broke off a request that it had passed on: {error:#}"
                );
                connection = Connection::open(gateway, scheme).await?;
            }
        }
    }
    Ok(expected)
}

async fn workers_that_a_reload_starts_are_followed(sockets: &str) {
    let Some(turn) = require_kernel("reload").unwrap() else {
        return;
    };
    let mut scene = Scene::set(turn).await.unwrap();
    let kongtap = scene.attach_by(sockets).await.unwrap();
    let master = scene.gateway.master();
    let (stop, stopped) = tokio::sync::watch::channel(false);

    // The gateway is reloaded twice while four connections send. `reload` needs the scene for itself, so the signal goes by
    // pid, as `kong reload` sends it.
    let reloads = async {
        let mut reloaded = Vec::new();
        for _ in 0..2 {
            let before = kongtap_tests::gateway::children(master).unwrap();
            reach_traffic(&scene).await;
            let master = kongtap_tests::processes::pid(master).unwrap();
            reloaded.push(Instant::now());
            rustix::process::kill_process(master, rustix::process::Signal::HUP).unwrap();
            eventually(
                "new workers, seen by kongtap too",
                Duration::from_secs(10),
                async || {
                    let now = scene.gateway.workers().map_err(|error| error.to_string())?;
                    let new: Vec<_> = now
                        .into_iter()
                        .filter(|worker| !before.contains(worker))
                        .collect();
                    let status = kongtap.status().await.map_err(|error| format!("{error:#}"))?;
                    let watched: Vec<_> = status
                        .gateways
                        .iter()
                        .flat_map(|gateway| &gateway.workers)
                        .map(|worker| worker.pid)
                        .collect();
                    if new.len() == 2 && new.iter().all(|worker| watched.contains(worker)) {
                        Ok(())
                    } else {
                        Err(format!("new workers {new:?}, watched {watched:?}"))
                    }
                },
            )
            .await
            .unwrap();
            tokio::time::sleep(BLIND).await;
            reach_traffic(&scene).await;
        }
        stop.send(true).unwrap();
        reloaded
    };
    let (first, second, third, fourth, reloaded) = tokio::join!(
        keep_sending(&scene, Scheme::Http, 1, &stopped),
        keep_sending(&scene, Scheme::Http, 2, &stopped),
        keep_sending(&scene, Scheme::Https, 3, &stopped),
        keep_sending(&scene, Scheme::Https, 4, &stopped),
        reloads,
    );
    let expected: Vec<_> = [first, second, third, fourth]
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    let is_blind = |began: Instant| reloaded.iter().any(|at| (*at..*at + BLIND).contains(&began));
    let sighted = expected.iter().filter(|(began, _)| !is_blind(*began)).count();
    assert!(
        sighted > 40,
        "{sighted} of {} exchanges are outside the blind time",
        expected.len()
    );

    let status = scene.settle(&kongtap, sighted).await.unwrap();
    // A TLS call of a new worker may be seen before one that says which socket it works on; that is in the blind time, too.
    assert_eq!(
        (status.lost_bytes_besides("tls_unbound"), status.dropped()),
        (0, 0),
        "{status:?}"
    );
    let (began, expected): (Vec<_>, Vec<_>) = expected.into_iter().unzip();
    let report = compare(&expected, &scene.shipped().unwrap());
    assert_eq!(report.strangers, [""; 0], "{}", report.complaints(12));
    for (row, began) in report.rows.iter().zip(began) {
        let is_fine = match row.verdict {
            Verdict::Same => true,
            Verdict::Missing | Verdict::HalfSeen => is_blind(began),
            Verdict::Doubled(_) | Verdict::Different(_) => false,
        };
        assert!(
            is_fine,
            "{} {}\n{}",
            row.expected.url,
            row.verdict,
            kongtap.log_tail()
        );
    }
    scene.gateway.reload().await.unwrap();
}

/// How long after a reload the traffic of the new workers may pass unseen.
const BLIND: Duration = Duration::from_secs(1);

/// Waits until twenty more requests went through.
async fn reach_traffic(scene: &Scene) {
    let goal = scene.upstream.count() + 20;
    eventually("traffic", Duration::from_secs(20), async || {
        let count = scene.upstream.count();
        if count >= goal {
            Ok(())
        } else {
            Err(format!("{count} of {goal} requests"))
        }
    })
    .await
    .unwrap();
}

async fn connections_that_were_open_before_kongtap_are_seen(sockets: &str) {
    let Some(turn) = require_kernel("late join").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    // Both legs are open, and have carried an exchange, before kongtap comes.
    let mut open = Vec::new();
    for scheme in [Scheme::Http, Scheme::Https] {
        let gateway = scene.listeners().of(scheme).unwrap();
        for _ in 0..4 {
            let mut connection = Connection::open(gateway, scheme).await.unwrap();
            let answer = connection
                .exchange(&Request::new("GET", "/plain/json"))
                .await
                .unwrap();
            assert_eq!(answer.status, 200);
            open.push((scheme, gateway, connection));
        }
    }
    let kongtap = scene.attach_by(sockets).await.unwrap();
    let (mut numbers, mut expected) = (Numbers::new(99), Vec::new());
    for (scheme, gateway, connection) in &mut open {
        for _ in 0..5 {
            let planned = plan(&mut numbers);
            let answer = connection.exchange(&planned.request).await.unwrap();
            expected.push(planned.expected((*scheme, *gateway), &answer).unwrap());
        }
    }
    scene.require_all(&kongtap, &expected).await.unwrap();
}

async fn scoped_configurations_decide_what_is_shipped(sockets: &str) {
    let Some(turn) = require_kernel("scopes").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("runscope.yml");
    let config = format!(
        "api_endpoint: '{}', access_token: {}, bucket_key: lab",
        scene.receiver.endpoint(),
        kongtap_tests::scene::TOKEN
    );
    // Bodies for bob on the keyed route, none for others there; nothing anywhere else.
    let plugins = format!(
        "plugins:\n- {{ name: runscope, route: keyed, config: {{ {config}, log_body: false }} }}\n\
         - {{ name: runscope, route: keyed, consumer: bob, config: {{ {config}, log_body: true }} }}\n"
    );
    std::fs::write(&file, plugins).unwrap();
    let mut arguments = kongtap_tests::scene::by(sockets);
    arguments.extend(["--plugins".to_owned(), file.display().to_string()]);
    let kongtap = scene.attach_with(arguments, vec![]).await.unwrap();
    let gateway = scene.listeners().plain.unwrap();
    let send = async |target: &str, key: Option<&str>| {
        let mut request = Request::new("GET", target);
        if let Some(key) = key {
            request = request.field("apikey", key);
        }
        (once(gateway, Scheme::Http, &request).await.unwrap(), request.id)
    };
    let (bobs, bob) = send("/keyed/json", Some("bob-key-1")).await;
    let (_, alice) = send("/keyed/json", Some("alice-key-1")).await;
    let (_, refused) = send("/keyed/json", None).await;
    let (_, elsewhere) = send("/plain/json", None).await;
    let (_, unrouted) = send("/nothing-here", None).await;

    let settled = eventually(
        "five exchanges to be accounted for",
        Duration::from_secs(20),
        async || {
            let status = kongtap.status().await.map_err(|error| format!("{error:#}"))?;
            if status.exchanges.seen >= 5 && status.exchanges.queued == 0 && status.require_balance().is_ok()
            {
                Ok(status)
            } else {
                Err(format!("{:?}", status.exchanges))
            }
        },
    );
    let status = settled.await.unwrap();
    let body_of: HashMap<_, _> = scene
        .shipped()
        .unwrap()
        .into_iter()
        .map(|message| (message.id.unwrap(), message.response_body))
        .collect();
    assert_eq!(body_of.get(&bob), Some(&Some(bobs.body.bytes.to_vec())));
    let is_empty = |id| {
        body_of
            .get(id)
            .is_some_and(|body| body.as_deref().unwrap_or_default().is_empty())
    };
    assert!(is_empty(&alice), "bodies are off on the route");
    assert!(is_empty(&refused), "a 401 is shipped too");
    assert!(!body_of.contains_key(&elsewhere) && !body_of.contains_key(&unrouted));
    assert_eq!(
        status.exchanges.filtered.get("no_configuration"),
        Some(&2),
        "{:?}",
        status.exchanges
    );
}
