//! The command line: what a user does wrong gets one clear line, with what to do, and a documented exit code.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use kongtap_tests::gateway::free_port;
use kongtap_tests::kernel::require_kernel;
use kongtap_tests::kongtap::Kongtap;
use kongtap_tests::lab::global_configuration;
use kongtap_tests::processes::{Finished, run_to_end};
use kongtap_tests::programs::programs;
use kongtap_tests::scene::Scene;
use kongtap_tests::wait::eventually;
use tempfile::TempDir;

/// Exit codes as `kongtap --help` documents them.
const USAGE: i32 = 2;
const CONFIGURATION: i32 = 64;
const UNAVAILABLE: i32 = 69;
const NO_PRIVILEGE: i32 = 77;

/// Everything here ends by itself, and soon.
const BUDGET: Duration = Duration::from_secs(60);

async fn kongtap(arguments: &[&str]) -> Finished {
    run_to_end(&programs().unwrap().kongtap, arguments, &[], BUDGET)
        .await
        .unwrap()
}

/// The environment's global configuration, so that nothing but the case's own mistake stands in the way.
fn configured() -> Vec<(&'static str, String)> {
    global_configuration("http://127.0.0.1:9", "token-that-must-not-be-printed")
}

async fn run_configured(program: &Path, arguments: &[&str]) -> Finished {
    let environment = configured();
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    run_to_end(program, arguments, &environment, BUDGET)
        .await
        .unwrap()
}

/// One clear line: it names what is wrong, and nothing else is said on standard error.
fn require_one_line(finished: &Finished, code: i32, expect: &[&str]) {
    let lines: Vec<_> = finished
        .stderr
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    assert_eq!(finished.code, Some(code), "{finished:?}");
    assert_eq!(lines.len(), 1, "{finished:?}");
    for word in expect {
        assert!(finished.stderr.contains(word), "no {word:?} in {finished:?}");
    }
    require_no_secret(finished);
}

fn require_no_secret(finished: &Finished) {
    for text in [&finished.stdout, &finished.stderr] {
        assert!(!text.contains("token-that-must-not-be-printed"), "{text}");
    }
}

/// A pid that nobody has: its process has just ended.
fn dead_pid() -> String {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id().to_string()
}

fn file(directory: &TempDir, name: &str, text: &str) -> String {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn help_teaches_and_usage_errors_have_their_code() {
    let help = kongtap(&["--help"]).await;
    assert_eq!(help.code, Some(0), "{help:?}");
    for verb in ["run", "check-config", "doctor", "record", "replay"] {
        assert!(help.stdout.contains(verb), "no {verb} in {}", help.stdout);
    }
    let help = kongtap(&["run", "--help"]).await;
    for word in [
        "--pid",
        "--gateway-config",
        "--admin-url",
        "--plugins",
        "69",
        "77",
    ] {
        assert!(help.stdout.contains(word), "no {word} in {}", help.stdout);
    }
    let wrong = kongtap(&["run", "--no-such-flag"]).await;
    assert_eq!(wrong.code, Some(USAGE), "{wrong:?}");
    assert!(wrong.stderr.contains("--no-such-flag"), "{wrong:?}");
    let wrong = kongtap(&["run", "--pid", "x"]).await;
    assert_eq!(wrong.code, Some(USAGE), "{wrong:?}");
}

#[tokio::test]
async fn every_mistake_in_the_configuration_is_said_at_once_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let kong = file(
        &directory,
        "kong.yml",
        "_format_version: '3.0'\n\
         services:\n\
         - name: one\n  enabled: perhaps\n\
         - name: two\n  url: http://127.0.0.1:1\n  routes:\n  - { name: r, paths: 7 }\n",
    );
    let plugins = file(
        &directory,
        "runscope.yml",
        "plugins:\n\
         - { name: runscope, config: { bucket_key: b } }\n\
         - { name: runscope, config: { access_token: token-that-must-not-be-printed, timeout: soon } }\n",
    );
    for verb in ["check-config", "run"] {
        let arguments = [verb, "--gateway-config", &kong, "--plugins", &plugins];
        let finished = kongtap(&arguments).await;
        assert_eq!(finished.code, Some(CONFIGURATION), "{verb}: {finished:?}");
        let said = format!("{}{}", finished.stdout, finished.stderr);
        for (place, problem) in [
            ("services[0]", "enabled"),
            ("services[1].routes[0]", "paths"),
            ("plugins[0]", "access_token"),
            ("plugins[1]", "bucket_key"),
            ("plugins[1]", "timeout"),
        ] {
            let is_said = said
                .lines()
                .any(|line| line.contains(place) && line.contains(problem));
            assert!(is_said, "{verb}: nothing about {problem} at {place} in\n{said}");
        }
        assert!(
            said.contains("kong.yml") && said.contains("runscope.yml"),
            "{said}"
        );
        require_no_secret(&finished);
    }
}

#[tokio::test]
async fn files_that_are_not_there_or_no_yaml_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let broken = file(&directory, "broken.yml", "services: [ {\n");
    let missing = directory.path().join("missing.yml").display().to_string();
    for path in [&broken, &missing] {
        let finished = kongtap(&["check-config", "--gateway-config", path]).await;
        require_one_line(&finished, CONFIGURATION, &[path]);
    }
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_said() {
    let Some(turn) = require_kernel("no gateway").unwrap() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let kong = file(&directory, "kong.yml", "_format_version: '3.0'\nservices: []\n");
    let program = &programs().unwrap().kongtap;

    let pid = dead_pid();
    let finished = run_configured(program, &["run", "--pid", &pid, "--gateway-config", &kong]).await;
    require_one_line(&finished, UNAVAILABLE, &[&pid]);

    // In a pid namespace of its own nothing but itself can be found, whatever runs on the host.
    let path = program.display().to_string();
    let alone = [
        "--pid",
        "--fork",
        "--mount-proc",
        "--",
        &path,
        "run",
        "--gateway-config",
        &kong,
    ];
    let finished = run_configured(Path::new("unshare"), &alone).await;
    require_one_line(&finished, UNAVAILABLE, &["gateway", "--pid"]);
    drop(turn);
}

#[tokio::test]
async fn without_privilege_it_says_which() {
    let Some(turn) = require_kernel("no privilege").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    // Where nobody may read and run it.
    let directory = tempfile::tempdir().unwrap();
    let program: PathBuf = directory.path().join("kongtap");
    std::fs::copy(&programs().unwrap().kongtap, &program).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    let kong = file(
        &directory,
        "kong.yml",
        &std::fs::read_to_string(scene.gateway.configuration_file()).unwrap(),
    );
    let master = scene.gateway.master().to_string();
    let path = program.display().to_string();
    let nobody = [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--",
        &path,
        "run",
        "--pid",
        &master,
    ];
    let arguments: Vec<_> = nobody.into_iter().chain(["--gateway-config", &kong]).collect();
    let finished = run_configured(Path::new("setpriv"), &arguments).await;
    require_one_line(&finished, NO_PRIVILEGE, &["CAP_BPF"]);
}

#[tokio::test]
async fn an_admin_api_that_does_not_answer_is_a_problem_and_no_end() {
    let Some(turn) = require_kernel("unreachable Admin API").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let url = format!("http://127.0.0.1:{}", free_port().unwrap());
    // With a pid, and without one: the pids that the Admin API would have told are then found in /proc.
    let named = vec!["--pid".to_owned(), scene.gateway.master().to_string()];
    for pid in [named, Vec::new()] {
        require_a_problem_and_no_end(pid, &url).await;
    }
}

async fn require_a_problem_and_no_end(mut arguments: Vec<String>, url: &str) {
    arguments.extend(["--admin-url".to_owned(), url.to_owned()]);
    let mut kongtap = Kongtap::start_only(&programs().unwrap().kongtap, arguments, configured()).unwrap();
    let listen = kongtap.listen();
    let said = kongtap
        .process()
        .ready("/status to name the Admin API", BUDGET, async || {
            let status = kongtap_tests::status::status(listen)
                .await
                .map_err(|error| format!("{error:#}"))?;
            let problems = format!("{:?}", status.problems);
            if problems.contains(url) {
                Ok(())
            } else {
                Err(problems)
            }
        });
    said.await.unwrap();
    assert!(
        kongtap_tests::status::ready(listen).await.is_err(),
        "not ready without a configuration"
    );
}

#[tokio::test]
async fn it_ends_when_it_is_asked_to() {
    let Some(turn) = require_kernel("signals").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut kongtap = scene.attach().await.unwrap();
        kongtap.process().signal(signal).unwrap();
        let status = kongtap.process().wait(Duration::from_secs(10)).await.unwrap();
        assert!(status.success(), "{signal:?}: {status}\n{}", kongtap.log_tail());
    }
    // The gateway runs on.
    eventually(
        "the gateway to have its workers",
        Duration::from_secs(1),
        async || match scene.gateway.workers() {
            Ok(workers) if workers.len() == 2 => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await
    .unwrap();
}
