//! A recording runs through the whole pipeline again, on any machine and without root, and gives the same messages.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use kongtap_tests::compare::compare;
use kongtap_tests::kernel::require_kernel;
use kongtap_tests::lab::global_configuration;
use kongtap_tests::load::exchange_many;
use kongtap_tests::processes::{Process, Start, run_to_end};
use kongtap_tests::programs::programs;
use kongtap_tests::scene::{Scene, TOKEN};
use kongtap_tests::shipped::Shipped;
use kongtap_tests::template::fill;
use kongtap_tests::{client, samples};

/// The plugin configuration of the replay.
const PLUGINS: &str = include_str!("../../testdata/lab/runscope.yml");

#[tokio::test]
async fn a_recording_gives_the_messages_of_what_was_recorded() {
    let Some(turn) = require_kernel("record and replay").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let at = |name: &str| directory.path().join(name);

    let mut recorder = Process::start(Start {
        name: "kongtap record",
        program: &programs().unwrap().kongtap,
        arguments: vec![
            "record".to_owned(),
            "--pid".to_owned(),
            scene.gateway.master().to_string(),
            "--output".to_owned(),
            at("lab.rec").display().to_string(),
        ],
        environment: vec![],
        log: at("record.log"),
    })
    .unwrap();
    // It says when the probes are placed.
    let log = at("record.log");
    let placed = recorder.ready("the recording to begin", Duration::from_secs(30), async || {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        if said.contains("Recording") {
            Ok(())
        } else {
            Err(said)
        }
    });
    placed.await.unwrap();
    let mut expected = Vec::new();
    for sample in samples::all() {
        expected.push(samples::send(&sample, scene.listeners()).await.unwrap());
    }
    let tls = scene.listeners().tls.unwrap();
    expected.extend(exchange_many(tls, client::Scheme::Https, 5, 40).await.unwrap());
    assert!(
        recorder.stop(Duration::from_secs(20)).await.unwrap().success(),
        "{}",
        recorder.log_tail()
    );

    // Nobody is root here: another user, and a copy of the program that it may run.
    let kongtap = at("kongtap");
    std::fs::copy(&programs().unwrap().kongtap, &kongtap).unwrap();
    std::fs::copy(scene.gateway.configuration_file(), at("kong.yml")).unwrap();
    let environment = global_configuration("http://127.0.0.1:9", TOKEN);
    let values = [
        ("ENDPOINT", "http://127.0.0.1:9".to_owned()),
        ("TOKEN", TOKEN.to_owned()),
        (
            "BUCKET",
            environment
                .iter()
                .find(|(name, _)| *name == "KONGTAP_BUCKET_KEY")
                .unwrap()
                .1
                .clone(),
        ),
    ];
    std::fs::write(at("runscope.yml"), fill(PLUGINS, &values).unwrap()).unwrap();
    for name in ["lab.rec", "kong.yml", "runscope.yml"] {
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    drop(scene);

    let mut outputs = Vec::new();
    for run in ["first.jsonl", "second.jsonl"] {
        let paths = [at("lab.rec"), at("kong.yml"), at("runscope.yml"), at(run)]
            .map(|path| path.display().to_string());
        let [recording, kong, plugins, output] = &paths;
        let program = kongtap.display().to_string();
        let arguments = [
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--",
            &program,
            "replay",
            recording,
        ];
        let more = ["--gateway-config", kong, "--plugins", plugins, "--output", output];
        let all = arguments.into_iter().chain(more);
        let finished = run_to_end(Path::new("setpriv"), all, &[], Duration::from_secs(60))
            .await
            .unwrap();
        assert_eq!(finished.code, Some(0), "{finished:?}");
        outputs.push(std::fs::read_to_string(output).unwrap());
    }
    let shipped: Vec<_> = outputs
        .first()
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| Shipped::read(&line["message"]).unwrap())
        .collect();
    let report = compare(&expected, &shipped);
    assert!(report.is_clean(), "{}", report.complaints(12));
    assert!(
        outputs.windows(2).all(|pair| pair.first() == pair.last()),
        "a replay is repeatable"
    );
}
