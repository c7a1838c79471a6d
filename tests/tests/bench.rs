//! The bench works: every row of kongtap's own is there, and its figures are ones. How large they are is not judged here.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]

use std::path::Path;
use std::time::Duration;

use kongtap_tests::kernel::require_kernel;
use kongtap_tests::processes::run_to_end;
use kongtap_tests::programs::programs;
use serde_json::Value;

/// How long it may take, the waiting for its turn included.
const BUDGET: Duration = Duration::from_secs(300);
/// What the quick bench has figures for, whatever this build of kongtap and this machine can do besides.
const NAMES: [&str; 12] = [
    "plain.base",
    "plain.sock",
    "reader.sock",
    "tls.base",
    "tls.sockets",
    "bodies_off.small",
    "bodies_off.large",
    "unrelated.socket_call_base",
    "unrelated.socket_call.sock",
    "completeness.whole",
    "completeness.completed",
    "completeness.lost_bytes",
];

#[tokio::test]
async fn every_row_has_its_figures() {
    // The bench takes the turn itself; this only asks whether it can be had at all.
    let Some(turn) = require_kernel("every_row_has_its_figures").unwrap() else {
        return;
    };
    drop(turn);
    let kongtap = programs().unwrap().kongtap.display().to_string();
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("figures.json").display().to_string();
    let arguments = ["--kongtap", &kongtap, "--quick", "--json", &json];
    let bench = Path::new(env!("CARGO_BIN_EXE_kongtap-bench"));
    let finished = run_to_end(bench, arguments, &[], BUDGET).await.unwrap();
    assert_eq!(finished.code, Some(0), "{}\n{}", finished.stdout, finished.stderr);

    let figures: Vec<Value> = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let figure = |name: &str| {
        let found = figures.iter().find(|figure| figure["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}:\n{}", finished.stdout))
    };
    for name in NAMES {
        let figure = figure(name);
        let number = |key: &str| figure[key].as_f64().unwrap_or(f64::NAN);
        let (low, value, high) = (number("low"), number("value"), number("high"));
        assert!(low <= value && value <= high, "{figure}");
        assert!(figure["unit"].is_string(), "{figure}");
    }
    let value = |name| figure(name)["value"].as_f64().unwrap();
    for base in ["plain.base", "tls.base", "completeness.completed"] {
        assert!(value(base) > 0.0, "{base}");
    }
    // On a machine that is busy with other things something may be lost, but not without being counted.
    assert!(
        value("completeness.whole") == 100.0 || value("completeness.lost_bytes") > 0.0,
        "{}",
        finished.stdout
    );
}
