//! Where kongtap probes a running gateway's TLS library, as `/status` says it, and that every exchange arrives either way.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]
#![expect(clippy::unwrap_used, reason = "a test")]

use kongtap_tests::client::Scheme;
use kongtap_tests::kernel::require_kernel;
use kongtap_tests::lab::global_configuration;
use kongtap_tests::load::exchange_many;
use kongtap_tests::scene::{Scene, TOKEN};

/// Exchanges over TLS, with kongtap configured by `toml`; what `/status` then says of each worker's TLS.
async fn exchanges_over_tls(test: &str, toml: &str) -> Option<Vec<String>> {
    let turn = require_kernel(test).unwrap()?;
    let scene = Scene::set(turn).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("kongtap.toml");
    std::fs::write(&config, toml).unwrap();
    let arguments = vec!["--config".to_owned(), config.display().to_string()];
    let environment = global_configuration(&scene.receiver.endpoint(), TOKEN);
    let kongtap = scene.attach_with(arguments, environment).await.unwrap();
    let gateway = scene.listeners().of(Scheme::Https).unwrap();
    let expected = exchange_many(gateway, Scheme::Https, 7, 50).await.unwrap();
    scene.require_all(&kongtap, &expected).await.unwrap();
    let status = kongtap.status().await.unwrap();
    let workers = status.gateways.iter().flat_map(|gateway| &gateway.workers);
    Some(workers.map(|worker| worker.tls.clone()).collect())
}

#[tokio::test]
async fn probes_sit_where_they_cost_least_once_that_is_proven() {
    let Some(workers) = exchanges_over_tls("placed TLS probes", "").await else {
        return;
    };
    assert_eq!(workers.len(), 2);
    for tls in workers {
        assert!(tls.contains("8 functions placed, self-test passed"), "{tls}");
    }
}

#[tokio::test]
async fn probes_sit_on_first_instructions_when_that_is_asked_for() {
    let toml = "[capture]\nplacement = \"entry\"\n";
    let Some(workers) = exchanges_over_tls("TLS probes on entries", toml).await else {
        return;
    };
    assert_eq!(workers.len(), 2);
    for tls in workers {
        assert!(tls.contains("0 functions placed, 8 single-stepped)"), "{tls}");
    }
}
