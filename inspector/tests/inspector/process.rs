//! The program: its exit codes, its end, and what is left after a crash.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::time::timeout;

use crate::support::{BUDGET, TOKEN, client, message};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kongtap-inspector"));
    command.env_remove("KONGTAP_INSPECTOR_TOKEN").stdin(Stdio::null());
    command
}

/// A running inspector that does not outlive its test.
struct Running {
    child: Child,
    base: String,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = program()
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .env("KONGTAP_INSPECTOR_TOKEN", TOKEN)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let (_, base) = line
            .trim()
            .split_once(" on ")
            .unwrap_or_else(|| panic!("no address: {line:?}"));
        Self {
            base: base.trim_end_matches('/').to_owned(),
            child,
        }
    }

    fn with_store(path: &Path) -> Self {
        Self::start(&["--store", path.to_str().unwrap()])
    }

    fn terminate(mut self, signal: &str) -> ExitStatus {
        let pid = self.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid])
            .status();
        assert!(sent.unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn exit_codes_and_reasons() {
    let directory = tempfile::tempdir().unwrap();
    let not_a_store = directory.path().join("text");
    std::fs::write(&not_a_store, "text, not a database; ".repeat(20)).unwrap();
    let not_a_store = not_a_store.to_str().unwrap();
    for (arguments, code, said) in [
        (&[][..], 2, "Usage"),
        (&["--help"], 0, "Exit codes"),
        (&["--version"], 0, "kongtap-inspector"),
        (&["serve", "--help"], 0, "point a `runscope` plugin"),
        (&["serve", "--colour"], 2, "unexpected argument"),
        (
            &["serve", "--max-messages", "many", "--token", "t"],
            2,
            "invalid value",
        ),
        (&["serve"], 64, "--token-file PATH"),
        (
            &["serve", "--token", "t", "--listen", "0.0.0.0:0"],
            64,
            "no log-in",
        ),
        (
            &["serve", "--token", "t", "--listen", "here"],
            64,
            "127.0.0.1:8012",
        ),
        (&["serve", "--token", "t", "--max-age", "7"], 64, "7d"),
        (
            &[
                "serve",
                "--token",
                "t",
                "--listen",
                "127.0.0.1:0",
                "--store",
                not_a_store,
            ],
            1,
            "not one of an inspector",
        ),
        (
            &[
                "serve",
                "--token",
                "t",
                "--listen",
                "192.0.2.1:1",
                "--allow-remote",
            ],
            1,
            "cannot listen on 192.0.2.1:1",
        ),
    ] {
        let output = program().args(arguments).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(said), "{arguments:?}: {text}");
    }
}

#[test]
fn the_token_of_the_environment_is_not_in_the_help() {
    let output = program()
        .args(["serve", "--help"])
        .env("KONGTAP_INSPECTOR_TOKEN", "a-secret-of-the-host")
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("a-secret-of-the-host"));
}

#[tokio::test]
async fn it_stops_when_asked_and_keeps_what_it_had() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    for signal in ["TERM", "INT"] {
        let running = Running::with_store(&path);
        let posted = client()
            .post(format!("{}/buckets/b/messages", running.base))
            .bearer_auth(TOKEN)
            .body(message("http://a/", 1.0, 200).to_string())
            .send()
            .await
            .unwrap();
        assert!(posted.status().is_success());
        assert_eq!(running.terminate(signal).code(), Some(0), "{signal}");
    }
    let running = Running::with_store(&path);
    assert_eq!(uuids(&running.base).await.len(), 2);
}

/// Lists, so that commits take a while and the kill falls into one more often than not.
const POST_MESSAGES: usize = 100;

/// Acknowledged means on disk: nothing that was answered with 200 may be gone after SIGKILL at any moment.
#[tokio::test]
async fn a_kill_during_load_loses_nothing_that_was_acknowledged() {
    const SENDERS: usize = 4;
    const ENOUGH: usize = 1_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let mut acknowledged = HashSet::new();
    for round in 0..2 {
        let mut running = Running::with_store(&path);
        let count = Arc::new(AtomicUsize::new(0));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (url, count) = (format!("{}/buckets/b/messages", running.base), Arc::clone(&count));
                tokio::spawn(send_until_refused(url, format!("{round}-{sender}"), count))
            })
            .collect();
        timeout(BUDGET, async {
            while count.load(Ordering::Relaxed) < ENOUGH {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("too slow");
        running.child.kill().unwrap();
        running.child.wait().unwrap();
        for sender in senders {
            acknowledged.extend(timeout(BUDGET, sender).await.expect("hangs").unwrap());
        }
    }
    assert!(acknowledged.len() >= 2 * ENOUGH);
    let running = Running::with_store(&path);
    let kept = uuids(&running.base).await;
    let lost: Vec<_> = acknowledged.difference(&kept).collect();
    assert!(lost.is_empty(), "{} of {} lost", lost.len(), acknowledged.len());
    // At most the posts that were under way can be there without an acknowledgement.
    assert!(kept.len() <= acknowledged.len() + 2 * SENDERS * POST_MESSAGES);
}

async fn send_until_refused(url: String, name: String, count: Arc<AtomicUsize>) -> Vec<String> {
    let client = client();
    let mut acknowledged = Vec::new();
    loop {
        let posted = acknowledged.len();
        let list: Vec<Value> = (posted..posted + POST_MESSAGES)
            .map(|number| {
                let mut message = message("http://a/", 1.0, 200);
                message["unique_identifier"] = Value::from(format!("{name}-{number}"));
                message
            })
            .collect();
        let body = Value::Array(list).to_string();
        let Ok(response) = client.post(&url).bearer_auth(TOKEN).body(body).send().await else {
            return acknowledged;
        };
        assert!(response.status().is_success());
        let Ok(answer) = response.json::<Value>().await else {
            return acknowledged;
        };
        let items = answer["data"].as_array().unwrap().iter();
        acknowledged.extend(items.map(|item| item["uuid"].as_str().unwrap().to_owned()));
        count.fetch_add(POST_MESSAGES, Ordering::Relaxed);
    }
}

/// Every message of the bucket, page by page.
async fn uuids(base: &str) -> HashSet<String> {
    let client = client();
    let (mut found, mut before) = (HashSet::new(), String::new());
    loop {
        let url = format!("{base}/buckets/b/messages?count=1000{before}");
        let answer: Value = client
            .get(url)
            .bearer_auth(TOKEN)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let page = answer["data"].as_array().unwrap().clone();
        let Some(last) = page.last() else { return found };
        before = format!("&before={}", last["uuid"].as_str().unwrap());
        found.extend(page.iter().map(|item| item["uuid"].as_str().unwrap().to_owned()));
    }
}
