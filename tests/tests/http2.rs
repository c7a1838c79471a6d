//! HTTP/2 through a running gateway: a client's streams over TLS, a connection that was open before kongtap came, gRPC on both
//! legs.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::net::SocketAddr;
use std::sync::Arc;

use kongtap_tests::client::Scheme;
use kongtap_tests::compare::Expected;
use kongtap_tests::http2::Http2;
use kongtap_tests::kernel::require_kernel;
use kongtap_tests::load::plan;
use kongtap_tests::payload::Numbers;
use kongtap_tests::scene::Scene;
use tokio::task::JoinSet;

/// Connections of the main test.
const CONNECTIONS: u64 = 8;
/// Streams under way at once on each.
const STREAMS: u64 = 16;
/// Exchanges one after the other in the place of each: 8 × 16 × 8 = 1,024.
const EXCHANGES: usize = 8;

/// `exchanges` one after the other, beside others on the same connection.
async fn some(gateway: SocketAddr, connection: Arc<Http2>, seed: u64, exchanges: usize) -> Vec<Expected> {
    let mut numbers = Numbers::new(seed);
    let mut expected = Vec::new();
    for _ in 0..exchanges {
        let planned = plan(&mut numbers);
        let answer = connection.exchange(&planned.request).await.unwrap();
        expected.push(planned.expected((Scheme::Https, gateway), &answer).unwrap());
    }
    expected
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stream_arrives_once_and_as_it_was() {
    let Some(turn) = require_kernel("HTTP/2").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let mut kongtap = scene.attach().await.unwrap();
    let gateway = scene.listeners().tls.unwrap();
    let mut streams = JoinSet::new();
    for number in 0..CONNECTIONS {
        let connection = Arc::new(Http2::open(gateway, Scheme::Https).await.unwrap());
        for stream in 0..STREAMS {
            let seed = number * STREAMS + stream;
            streams.spawn(some(gateway, Arc::clone(&connection), seed, EXCHANGES));
        }
    }
    let mut expected = Vec::new();
    while let Some(done) = streams.join_next().await {
        expected.extend(done.unwrap_or_else(|error| panic!("{error}\n{}", scene.gateway.log())));
    }
    let shipped = scene.require_all(&kongtap, &expected).await.unwrap();
    assert_eq!(shipped.len(), 1_024);
    assert!(kongtap.stop().await.unwrap().success(), "{}", kongtap.log_tail());
}

#[tokio::test]
async fn what_a_connection_said_before_is_found_on_the_upstream_leg() {
    let Some(turn) = require_kernel("HTTP/2, joined late").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let gateway = scene.listeners().tls.unwrap();
    let connection = Arc::new(Http2::open(gateway, Scheme::Https).await.unwrap());
    // The client's table fills, with keys and names that it will only refer to afterwards.
    let _before = some(gateway, Arc::clone(&connection), 1, 24).await;
    let kongtap = scene.attach().await.unwrap();
    let expected = some(gateway, Arc::clone(&connection), 1, 24).await;
    scene.require_all(&kongtap, &expected).await.unwrap();
}
