//! A recording runs through the whole pipeline again, on any machine and without root, and gives the messages that the running
//! agent shipped; its credentials never reach the disk.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kongtap_tests::client::{self, Content, Request, Scheme};
use kongtap_tests::compare::compare;
use kongtap_tests::kernel::require_kernel;
use kongtap_tests::lab::global_configuration;
use kongtap_tests::load::exchange_many;
use kongtap_tests::processes::{Process, Start, run_to_end};
use kongtap_tests::programs::programs;
use kongtap_tests::samples;
use kongtap_tests::scene::{Scene, TOKEN};
use kongtap_tests::shipped::Shipped;
use kongtap_tests::template::fill;
use kongtap_tests::wait::eventually;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// The plugin configuration of the replay.
const PLUGINS: &str = include_str!("../../testdata/lab/runscope.yml");

/// How long a recorder may take to place its probes, or to take them off.
const PROBES: Duration = Duration::from_secs(60);

/// Fields of a message that are of its agent's own making: when its own probes ran, and what it derives from that.
const OF_THE_AGENT: [&str; 4] = ["timestamp", "response_time", "latencies", "unique_identifier"];

/// Where recordings are made and replayed: everybody may enter, as a replay runs as nobody.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        Self(directory)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Starts to record into `name`.
    async fn record(&self, name: &'static str, scene: &Scene, more: &[&str]) -> Process {
        let log = self.at(&format!("{name}.log"));
        let mut arguments = vec!["record".to_owned(), "--output".to_owned()];
        arguments.push(self.at(name).display().to_string());
        arguments.extend(scene.gateway_arguments());
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        let mut recorder = Process::start(Start {
            name: "kongtap record",
            program: &programs().unwrap().kongtap,
            arguments,
            environment: vec![],
            log: log.clone(),
        })
        .unwrap();
        // It says when the probes are placed.
        let placed = recorder.ready("the recording to begin", PROBES, async || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            if said.contains("Recording") {
                Ok(())
            } else {
                Err(said)
            }
        });
        placed.await.unwrap();
        recorder
    }

    /// Puts what a replay needs where nobody can read it: a copy of the program, and the configurations.
    fn prepare(&self, scene: &Scene) {
        fs::copy(&programs().unwrap().kongtap, self.at("kongtap")).unwrap();
        fs::copy(scene.gateway.configuration_file(), self.at("kong.yml")).unwrap();
        let environment = global_configuration("http://127.0.0.1:9", TOKEN);
        let bucket = environment.iter().find(|(name, _)| *name == "KONGTAP_BUCKET_KEY");
        let values = [
            ("ENDPOINT", "http://127.0.0.1:9".to_owned()),
            ("TOKEN", TOKEN.to_owned()),
            ("BUCKET", bucket.unwrap().1.clone()),
        ];
        fs::write(self.at("runscope.yml"), fill(PLUGINS, &values).unwrap()).unwrap();
        for name in ["kong.yml", "runscope.yml"] {
            fs::set_permissions(self.at(name), Permissions::from_mode(0o644)).unwrap();
        }
    }

    /// Replays as nobody; gives the text that came out and what was said.
    async fn replay(&self, name: &str) -> (String, String) {
        fs::set_permissions(self.at(name), Permissions::from_mode(0o644)).unwrap();
        let output = self.at(&format!("{name}.jsonl"));
        let _absent = fs::remove_file(&output);
        let path = |path: PathBuf| path.display().to_string();
        let arguments = [
            "--reuid=65534".to_owned(),
            "--regid=65534".to_owned(),
            "--clear-groups".to_owned(),
            "--".to_owned(),
            path(self.at("kongtap")),
            "replay".to_owned(),
            path(self.at(name)),
            "--gateway-config".to_owned(),
            path(self.at("kong.yml")),
            "--plugins".to_owned(),
            path(self.at("runscope.yml")),
            "--output".to_owned(),
            path(output.clone()),
        ];
        let program = Path::new("setpriv");
        let arguments = arguments.iter().map(String::as_str);
        let finished = run_to_end(program, arguments, &[], Duration::from_secs(60))
            .await
            .unwrap();
        assert_eq!(finished.code, Some(0), "{finished:?}");
        (fs::read_to_string(output).unwrap(), finished.stderr)
    }
}

fn messages(lines: &str) -> Vec<Value> {
    let message = |line: &str| serde_json::from_str::<Value>(line).unwrap()["message"].take();
    lines.lines().map(message).collect()
}

/// By the id that the gateway gave to each.
fn by_request_id(messages: Vec<Value>) -> BTreeMap<String, Value> {
    messages
        .into_iter()
        .map(|message| {
            let id = message["kong"]["request_id"].as_str().unwrap().to_owned();
            (id, message)
        })
        .collect()
}

/// Where two messages differ, apart from what is an agent's own. A value that `masked` says is masked may differ from what it
/// stands for.
fn difference(path: &str, live: &Value, replayed: &Value, masked: bool) -> Result<(), String> {
    let differ = || Err(format!("{path}: {live} live, {replayed} replayed"));
    match (live, replayed) {
        (Value::Object(live), Value::Object(replayed)) => {
            if !live.keys().eq(replayed.keys()) {
                return differ();
            }
            live.iter()
                .filter(|(name, _)| !OF_THE_AGENT.contains(&name.as_str()))
                .try_for_each(|(name, value)| {
                    let path = format!("{path}/{name}");
                    difference(&path, value, &replayed[name], masked)
                })
        }
        (Value::Array(live), Value::Array(replayed)) if live.len() == replayed.len() => live
            .iter()
            .zip(replayed)
            .try_for_each(|(live, replayed)| difference(path, live, replayed, masked)),
        (Value::String(live), Value::String(replayed)) if masked => {
            let is_mask = |(live, replayed): (char, char)| live == replayed || matches!(replayed, 'x' | '9');
            if live.len() == replayed.len() && live.chars().zip(replayed.chars()).all(is_mask) {
                Ok(())
            } else {
                differ()
            }
        }
        _ if live == replayed => Ok(()),
        _ => differ(),
    }
}

#[track_caller]
fn require_same(live: &BTreeMap<String, Value>, replayed: &BTreeMap<String, Value>, masked: bool) {
    assert!(
        live.keys().eq(replayed.keys()),
        "{} live, {} replayed",
        live.len(),
        replayed.len()
    );
    let differences: Vec<String> = live
        .iter()
        .filter_map(|(id, message)| difference("", message, &replayed[id], masked).err())
        .take(10)
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// A recording's last item: the recorder's account of it.
fn trailer(recording: &[u8]) -> anyhow::Result<Value> {
    let mut lines = recording.splitn(3, |byte| *byte == b'\n');
    let mut rest = lines.nth(2).context("no header")?;
    loop {
        let (head, after) = rest.split_first_chunk::<5>().context("no trailer")?;
        let [tag, length @ ..] = *head;
        let length = usize::try_from(u32::from_le_bytes(length))?;
        ensure!(length <= after.len(), "it breaks off");
        let (item, next) = after.split_at(length);
        if tag == b'T' {
            ensure!(next.is_empty(), "something follows the trailer");
            return Ok(serde_json::from_slice(item)?);
        }
        rest = next;
    }
}

/// What the probes copied is in the file, or it says why not.
#[track_caller]
fn require_balance(recording: &[u8]) -> Value {
    let trailer = trailer(recording).unwrap();
    let (kernel, counts) = (&trailer["kernel"], &trailer["counts"]);
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{trailer}"));
    let recorded = number(&counts["payload_bytes"])
        + number(&counts["dropped_bytes"])
        + number(&counts["mask"]["left_out_bytes"]);
    assert_eq!(number(&kernel["copied_bytes"]), recorded, "{trailer}");
    assert_eq!(number(&counts["mask"]["unknown_records"]), 0, "{trailer}");
    trailer
}

fn holds(recording: &[u8], text: &str) -> bool {
    recording.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Secrets that nothing but these requests holds, each in another place.
const SECRETS: [&str; 7] = [
    "alice-key-2",
    "five-key-1",
    "a-bearer-token",
    "a-session-id",
    "a-form-password",
    "a-json-password",
    "a-multipart-password",
];

fn secret_requests() -> Vec<Request> {
    let [header, query, bearer, session, form, json, multipart] = SECRETS;
    let content = |text: String| Content::Sized(text.into());
    let part =
        format!("--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n{multipart}\r\n--b--\r\n");
    vec![
        Request::new("GET", "/keyed/json").field("ApiKey", header),
        Request::new("GET", &format!("/keyed/json?a=1&apikey={query}&b=2")),
        Request::new("GET", "/plain/json")
            .field("Authorization", &format!("Bearer {bearer}"))
            .field("Cookie", &format!("theme=dark; session={session}")),
        Request::new("POST", "/plain/echo").content(
            "application/x-www-form-urlencoded",
            content(format!("user=u&password={form}&more=m")),
        ),
        Request::new("POST", "/plain/echo").content(
            "application/json",
            content(format!("{{\"user\":\"u\",\"password\":\"{json}\"}}")),
        ),
        Request::new("POST", "/plain/bytes?size=10&seed=1")
            .content("multipart/form-data; boundary=b", content(part)),
    ]
}

#[tokio::test]
async fn a_replay_gives_the_messages_of_the_running_agent_with_credentials_masked() {
    let Some(turn) = require_kernel("record and replay").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let place = Place::new();
    let mut live = scene.attach().await.unwrap();
    let mut clear = place.record("clear.rec", &scene, &["--no-redact"]).await;
    let mut masked = place.record("masked.rec", &scene, &[]).await;

    let mut expected = Vec::new();
    for sample in samples::all() {
        expected.push(samples::send(&sample, scene.listeners()).await.unwrap());
    }
    let tls = scene.listeners().tls.unwrap();
    expected.extend(exchange_many(tls, Scheme::Https, 5, 40).await.unwrap());
    let plain = scene.listeners().plain.unwrap();
    for request in secret_requests() {
        for (gateway, scheme) in [(plain, Scheme::Http), (tls, Scheme::Https)] {
            let answer = client::once(gateway, scheme, &request).await.unwrap();
            assert_eq!(answer.status, 200, "{request:?}");
        }
    }
    let count = expected.len() + 2 * secret_requests().len();
    scene.settle(&live, count).await.unwrap();
    for recorder in [&mut clear, &mut masked] {
        let ended = recorder.stop(PROBES).await.unwrap();
        assert!(ended.success(), "{}", recorder.log_tail());
    }
    assert!(live.stop().await.unwrap().success());
    assert!(
        clear.log_text().contains("WITHOUT REDACTION"),
        "{}",
        clear.log_text()
    );

    let shipped = scene.receiver.posts();
    let shipped = shipped
        .iter()
        .map(|post| serde_json::from_slice(&post.body).unwrap());
    let shipped = by_request_id(shipped.collect());
    assert_eq!(shipped.len(), count);
    place.prepare(&scene);
    drop(scene);

    let (lines, _) = place.replay("clear.rec").await;
    let (again, _) = place.replay("clear.rec").await;
    assert_eq!(lines, again, "a replay is repeatable");
    let of_clear = messages(&lines);
    let sampled: Vec<Shipped> = of_clear
        .iter()
        .map(|message| Shipped::read(message).unwrap())
        .collect();
    let sampled: Vec<Shipped> = sampled
        .into_iter()
        .filter(|message| expected.iter().any(|it| Some(&it.id) == message.id.as_ref()))
        .collect();
    let report = compare(&expected, &sampled);
    assert!(report.is_clean(), "{}", report.complaints(12));
    require_same(&shipped, &by_request_id(of_clear), false);

    let (lines, said) = place.replay("masked.rec").await;
    require_same(&shipped, &by_request_id(messages(&lines)), true);
    assert!(said.contains("masked"), "{said}");

    let (clear, masked) = (
        fs::read(place.at("clear.rec")).unwrap(),
        fs::read(place.at("masked.rec")).unwrap(),
    );
    for secret in SECRETS {
        assert!(
            holds(&clear, secret),
            "{secret} was never recorded, so its absence says nothing"
        );
        assert!(!holds(&masked, secret), "{secret} is in the recording");
    }
    for recording in [clear, masked] {
        assert_eq!(require_balance(&recording)["ended"], "signal");
    }
}

#[tokio::test]
async fn a_recorder_that_is_killed_leaves_what_it_had() {
    let Some(turn) = require_kernel("a killed recorder").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let place = Place::new();
    let mut recorder = place.record("killed.rec", &scene, &[]).await;
    let plain = scene.listeners().plain.unwrap();
    for number in 0..20 {
        let request = Request::new("GET", &format!("/plain/json?number={number}"));
        client::once(plain, Scheme::Http, &request).await.unwrap();
    }
    // Both legs of the last one, and the end of its connection.
    let all = eventually(
        "the last request to be in the file",
        Duration::from_secs(10),
        async || {
            let recording = fs::read(place.at("killed.rec")).unwrap();
            let records = recording.windows(9).filter(|part| *part == b"number=19").count();
            if records >= 3 {
                Ok(())
            } else {
                Err(format!("{records} times"))
            }
        },
    );
    all.await.unwrap();
    recorder.signal(Signal::KILL).unwrap();
    recorder.wait(PROBES).await.unwrap();

    place.prepare(&scene);
    let recording = fs::read(place.at("killed.rec")).unwrap();
    assert!(trailer(&recording).is_err());
    let (lines, said) = place.replay("killed.rec").await;
    assert_eq!(messages(&lines).len(), 20);
    assert!(said.contains("killed"), "{said}");
    // And one that breaks off within a record.
    fs::write(place.at("cut.rec"), &recording[..recording.len() - 7]).unwrap();
    let (lines, said) = place.replay("cut.rec").await;
    assert!(messages(&lines).len() >= 19);
    assert!(said.contains("breaks off"), "{said}");
}

#[tokio::test]
async fn a_recording_ends_at_its_bound_and_says_so() {
    const BOUND: u64 = 1 << 20;
    let Some(turn) = require_kernel("a recording's bound").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let place = Place::new();
    let bound = BOUND.to_string();
    let mut recorder = place.record("full.rec", &scene, &["--max-bytes", &bound]).await;
    let plain = scene.listeners().plain.unwrap();
    let request = Request::new("GET", "/plain/bytes?size=100000&seed=1");
    for _ in 0..10 {
        client::once(plain, Scheme::Http, &request).await.unwrap();
    }
    // Nobody tells it to.
    let ended = recorder.wait(PROBES).await.unwrap();
    assert!(ended.success(), "{}", recorder.log_tail());
    assert!(
        recorder.log_text().contains("reached its bound"),
        "{}",
        recorder.log_text()
    );
    let recording = fs::read(place.at("full.rec")).unwrap();
    assert!(u64::try_from(recording.len()).unwrap() <= BOUND);
    assert_eq!(trailer(&recording).unwrap()["ended"], "full");
    place.prepare(&scene);
    let (lines, _) = place.replay("full.rec").await;
    assert!(
        (3..10).contains(&messages(&lines).len()),
        "{}",
        messages(&lines).len()
    );
}

/// Where the recording is that the agent's own tests replay, on any machine.
const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/recordings");

/// Set to 1 to make it anew.
const RENEW: &str = "KONGTAP_RENEW_RECORDINGS";

/// What must not change from one making to the next: methods, statuses and scopes, in any order.
fn outline(lines: &str) -> Vec<String> {
    let of = |message: &Value| {
        let message = Shipped::read(message).unwrap();
        let status = message.status.unwrap_or_default();
        format!("{} {status} {}", message.method, message.scope)
    };
    let mut outline: Vec<String> = messages(lines).iter().map(of).collect();
    outline.sort();
    outline
}

#[tokio::test]
async fn the_committed_recording_is_what_the_lab_gives() {
    let Some(turn) = require_kernel("the committed recording").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let place = Place::new();
    let mut recorder = place.record("lab.rec", &scene, &[]).await;
    let is_small = |name: &str| !name.contains("chunked") && !name.contains("large");
    for sample in samples::all().iter().filter(|sample| is_small(sample.name)) {
        samples::send(sample, scene.listeners()).await.unwrap();
    }
    let plain = scene.listeners().plain.unwrap();
    let chunks = Content::Chunked("a few words in small chunks".into(), 4);
    let chunked = [
        Request::new("POST", "/plain/echo").content("text/plain", chunks),
        Request::new("GET", "/plain/bytes?size=3500&seed=2&framing=chunked"),
    ];
    for request in secret_requests().into_iter().chain(chunked) {
        client::once(plain, Scheme::Http, &request).await.unwrap();
    }
    assert!(
        recorder.stop(PROBES).await.unwrap().success(),
        "{}",
        recorder.log_tail()
    );
    place.prepare(&scene);
    drop(scene);
    let (lines, _) = place.replay("lab.rec").await;
    let committed = Path::new(COMMITTED);
    if std::env::var(RENEW).as_deref() == Ok("1") {
        fs::create_dir_all(committed).unwrap();
        for name in ["lab.rec", "kong.yml", "runscope.yml"] {
            fs::copy(place.at(name), committed.join(name)).unwrap();
        }
        fs::write(committed.join("lab.jsonl"), &lines).unwrap();
    }
    let expected = fs::read_to_string(committed.join("lab.jsonl")).unwrap();
    assert_eq!(outline(&lines), outline(&expected), "make it anew with {RENEW}=1");
}
