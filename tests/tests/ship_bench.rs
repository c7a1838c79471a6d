//! The bench of shipping works: every case that this kongtap knows has its figures, and every message arrives. How large the figures are
//! is not judged here.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum as _;
use kongtap_tests::bench::ship::ONE_A_POST;
use kongtap_tests::bench::ship::case::Case;
use kongtap_tests::bench::ship::messages::{BYTES, make};
use kongtap_tests::bench::ship::sender::configured;
use kongtap_tests::processes::run_to_end;
use serde_json::Value;

/// How long it may take.
const BUDGET: Duration = Duration::from_secs(300);

#[tokio::test]
async fn every_case_has_its_figures() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("figures.json").display().to_string();
    let bench = Path::new(env!("CARGO_BIN_EXE_kongtap-bench-ship"));
    // It fails when sender and receiver do not agree about a number of messages.
    let finished = run_to_end(bench, ["--quick", "--json", &json], &[], BUDGET)
        .await
        .unwrap();
    assert_eq!(finished.code, Some(0), "{}\n{}", finished.stdout, finished.stderr);

    let figures: Vec<Value> = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    for case in Case::value_variants() {
        let is_known = configured(*case, directory.path()).is_ok()
            && !(case.is_list() && finished.stdout.contains(ONE_A_POST));
        for kind in ["cpu", "messages_a_post"] {
            let name = format!("{}.{kind}", case.name());
            let figure = figures.iter().find(|figure| figure["name"] == name.as_str());
            assert_eq!(figure.is_some(), is_known, "{name}:\n{}", finished.stdout);
            let Some(figure) = figure else { continue };
            let number = |key: &str| figure[key].as_f64().unwrap_or(f64::NAN);
            let (low, value, high) = (number("low"), number("value"), number("high"));
            assert!(0.0 < low && low <= value && value <= high, "{figure}");
            assert!(figure["unit"].is_string(), "{figure}");
        }
    }
    let value = |name: &str| {
        let figure = figures.iter().find(|figure| figure["name"] == name).unwrap();
        figure["value"].as_f64().unwrap()
    };
    let message_bytes = value("single.bytes_rate") / value("single.rate");
    assert!((1843.0..2253.0).contains(&message_bytes), "{message_bytes}");
    assert!(value("single.messages_a_post") == 1.0);
}

#[test]
fn messages_are_kongtaps_own() {
    let messages = make("http://127.0.0.1:9/base").unwrap();
    let values: Vec<Value> = messages
        .iter()
        .map(|message| serde_json::from_slice(message.json()).unwrap())
        .collect();
    for (value, message) in values.iter().zip(&messages) {
        assert!(message.json().len().abs_diff(BYTES) < BYTES / 10);
        assert_eq!(value["response"]["status"], 200);
        assert_eq!(value["kong"]["service"]["name"], "plain-svc", "{value}");
        assert!(
            value["response"]["body"]
                .as_str()
                .is_some_and(|body| !body.is_empty()),
            "{value}"
        );
        assert_eq!(
            message.destination().url.as_str(),
            "http://127.0.0.1:9/base/buckets/bench/messages"
        );
    }
    let mut identifiers: Vec<_> = values
        .iter()
        .map(|value| value["unique_identifier"].as_str().unwrap())
        .collect();
    identifiers.sort_unstable();
    identifiers.dedup();
    assert_eq!(
        identifiers.len(),
        messages.len(),
        "each is an exchange of its own"
    );
}
