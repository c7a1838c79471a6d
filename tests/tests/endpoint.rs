//! Endpoints that do not take what they are sent: the gateway goes on as if nothing were, and every message is counted.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use kongtap_tests::client::{Connection, Request, Scheme};
use kongtap_tests::gateway::free_port;
use kongtap_tests::kernel::require_kernel;
use kongtap_tests::receiver::Manner;
use kongtap_tests::scene::{Scene, TOKEN};
use kongtap_tests::wait::eventually;

/// Exchanges in each case.
const COUNT: u64 = 10;

/// Sends `COUNT` requests with an endpoint that is no good, and requires each to be counted under `reason`.
async fn check(manner: Option<Manner>, reason: &str) {
    let Some(turn) = require_kernel(reason).unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let endpoint = match manner {
        Some(manner) => {
            scene.receiver.behave(manner);
            scene.receiver.endpoint()
        }
        None => format!("http://127.0.0.1:{}", free_port().unwrap()),
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("runscope.yml");
    std::fs::write(
        &file,
        format!(
            "plugins:\n- name: runscope\n  config: {{ api_endpoint: '{endpoint}', access_token: {TOKEN}, bucket_key: lab, timeout: 300 }}\n"
        ),
    )
    .unwrap();
    let kongtap = scene
        .attach_with(vec!["--plugins".to_owned(), file.display().to_string()], vec![])
        .await
        .unwrap();
    let mut connection = Connection::open(scene.listeners().plain.unwrap(), Scheme::Http)
        .await
        .unwrap();
    for _ in 0..COUNT {
        let answer = connection
            .exchange(&Request::new("GET", "/plain/json"))
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "the gateway does not notice");
    }
    let counted = eventually(
        "every message to be counted",
        Duration::from_secs(90),
        async || {
            let status = kongtap.status().await.map_err(|error| format!("{error:#}"))?;
            let exchanges = &status.exchanges;
            if exchanges.seen == COUNT && exchanges.queued == 0 {
                Ok(status)
            } else {
                Err(format!("{exchanges:?}"))
            }
        },
    );
    let status = counted.await.unwrap();
    status.require_balance().unwrap();
    assert_eq!(status.exchanges.shipped, 0);
    assert_eq!(
        status.exchanges.dropped.get(reason),
        Some(&COUNT),
        "{:?}",
        status.exchanges
    );
}

#[tokio::test]
async fn nobody_listens() {
    check(None, "unreachable").await;
}

#[tokio::test]
async fn the_token_is_refused() {
    check(Some(Manner::Refuse(401)), "unauthorized").await;
}

#[tokio::test]
async fn the_endpoint_fails() {
    check(Some(Manner::Refuse(503)), "endpoint_error").await;
}

#[tokio::test]
async fn the_endpoint_never_answers() {
    check(Some(Manner::Stall), "timeout").await;
}
