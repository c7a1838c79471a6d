//! A recording runs through the whole pipeline again, on any machine and without root, and gives the messages that the running
//! agent shipped; its credentials never reach the disk.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]

use std::fs;
use std::path::Path;

use kongtap_tests::client::{self, Content, Request, Scheme};
use kongtap_tests::compare::compare;
use kongtap_tests::kernel::require_kernel;
use kongtap_tests::load::exchange_many;
use kongtap_tests::recording::same::{Masking, by_request_id, require_same};
use kongtap_tests::recording::{
    PROBES, Place, SECRETS, holds, messages, require_balance, secret_requests, trailer,
};
use kongtap_tests::samples;
use kongtap_tests::scene::Scene;
use kongtap_tests::shipped::Shipped;
use kongtap_tests::wait::eventually;
use rustix::process::Signal;
use serde_json::Value;

#[tokio::test]
async fn a_replay_gives_the_messages_of_the_running_agent_with_credentials_masked() {
    let Some(turn) = require_kernel("record and replay").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let place = Place::new().unwrap();
    let mut live = scene.attach().await.unwrap();
    let mut clear = place.record("clear.rec", &scene, &["--no-redact"]).await.unwrap();
    let mut masked = place.record("masked.rec", &scene, &[]).await.unwrap();

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

    let posts = scene.receiver.posts();
    let shipped = posts
        .iter()
        .map(|post| serde_json::from_slice(&post.body).unwrap());
    let shipped = by_request_id(shipped.collect()).unwrap();
    assert_eq!(shipped.len(), count);
    place.prepare(&scene).unwrap();
    drop(scene);

    let replayed = place.replay("clear.rec").await.unwrap();
    let again = place.replay("clear.rec").await.unwrap();
    assert!(replayed.lines == again.lines, "a replay is repeatable");
    let sampled: Vec<Shipped> = replayed
        .messages()
        .unwrap()
        .iter()
        .map(|message| Shipped::read(message).unwrap())
        .filter(|message| expected.iter().any(|it| Some(&it.id) == message.id.as_ref()))
        .collect();
    let report = compare(&expected, &sampled);
    assert!(report.is_clean(), "{}", report.complaints(12));
    let of_clear = by_request_id(replayed.messages().unwrap()).unwrap();
    require_same(&shipped, &of_clear, Masking::None).unwrap();

    let replayed = place.replay("masked.rec").await.unwrap();
    let of_masked = by_request_id(replayed.messages().unwrap()).unwrap();
    require_same(&shipped, &of_masked, Masking::Allowed).unwrap();
    assert!(replayed.said.contains("masked"), "{}", replayed.said);

    let clear = fs::read(place.at("clear.rec")).unwrap();
    let masked = fs::read(place.at("masked.rec")).unwrap();
    for secret in SECRETS {
        assert!(
            holds(&clear, secret),
            "{secret} was never recorded, so its absence says nothing"
        );
        assert!(!holds(&masked, secret), "{secret} is in the recording");
    }
    for recording in [clear, masked] {
        assert_eq!(require_balance(&recording).unwrap()["ended"], "signal");
    }
}

#[tokio::test]
async fn a_recorder_that_is_killed_leaves_what_it_had() {
    let Some(turn) = require_kernel("a killed recorder").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let place = Place::new().unwrap();
    let mut recorder = place.record("killed.rec", &scene, &[]).await.unwrap();
    let plain = scene.listeners().plain.unwrap();
    for number in 0..20 {
        let request = Request::new("GET", &format!("/plain/json?number={number}"));
        client::once(plain, Scheme::Http, &request).await.unwrap();
    }
    // Both legs of the last request, and the answer on one of them, which repeats the query.
    let written = eventually("the last request to be in the file", PROBES, async || {
        let recording = fs::read(place.at("killed.rec")).unwrap_or_default();
        let times = recording.windows(9).filter(|part| *part == b"number=19").count();
        if times >= 4 {
            Ok(())
        } else {
            Err(format!("it is there {times} times"))
        }
    });
    written.await.unwrap();
    recorder.signal(Signal::KILL).unwrap();
    recorder.wait(PROBES).await.unwrap();

    place.prepare(&scene).unwrap();
    let recording = fs::read(place.at("killed.rec")).unwrap();
    assert!(trailer(&recording).is_err());
    let replayed = place.replay("killed.rec").await.unwrap();
    assert_eq!(replayed.messages().unwrap().len(), 20);
    assert!(replayed.said.contains("killed"), "{}", replayed.said);
    // And one that breaks off within a record.
    fs::write(place.at("cut.rec"), &recording[..recording.len() - 7]).unwrap();
    let replayed = place.replay("cut.rec").await.unwrap();
    assert!(replayed.messages().unwrap().len() >= 19);
    assert!(replayed.said.contains("breaks off"), "{}", replayed.said);
}

#[tokio::test]
async fn a_recording_ends_at_its_bound_and_says_so() {
    const BOUND: usize = 1 << 20;
    let Some(turn) = require_kernel("a recording's bound").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let place = Place::new().unwrap();
    let bound = BOUND.to_string();
    let recorder = place.record("full.rec", &scene, &["--max-bytes", &bound]).await;
    let mut recorder = recorder.unwrap();
    let plain = scene.listeners().plain.unwrap();
    let request = Request::new("GET", "/plain/bytes?size=100000&seed=1");
    for _ in 0..10 {
        client::once(plain, Scheme::Http, &request).await.unwrap();
    }
    // Nobody tells it to.
    let ended = recorder.wait(PROBES).await.unwrap();
    assert!(ended.success(), "{}", recorder.log_tail());
    let said = recorder.log_text();
    assert!(said.contains("reached its bound"), "{said}");
    let recording = fs::read(place.at("full.rec")).unwrap();
    assert!(recording.len() <= BOUND);
    assert_eq!(trailer(&recording).unwrap()["ended"], "full");
    place.prepare(&scene).unwrap();
    let replayed = place.replay("full.rec").await.unwrap();
    let count = replayed.messages().unwrap().len();
    assert!((3..10).contains(&count), "{count}");
}

/// Where the recording is that the agent's own tests replay, on any machine.
const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/recordings");

/// Set to 1 to make it anew.
const RENEW: &str = "KONGTAP_RENEW_RECORDINGS";

#[tokio::test]
async fn the_committed_recording_is_what_the_lab_gives() {
    let Some(turn) = require_kernel("the committed recording").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let place = Place::new().unwrap();
    let mut recorder = place.record("lab.rec", &scene, &[]).await.unwrap();
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
    let ended = recorder.stop(PROBES).await.unwrap();
    assert!(ended.success(), "{}", recorder.log_tail());
    place.prepare(&scene).unwrap();
    drop(scene);
    let replayed = place.replay("lab.rec").await.unwrap();
    let committed = Path::new(COMMITTED);
    if std::env::var(RENEW).as_deref() == Ok("1") {
        fs::create_dir_all(committed).unwrap();
        for name in ["lab.rec", "kong.yml", "runscope.yml"] {
            fs::copy(place.at(name), committed.join(name)).unwrap();
        }
        fs::write(committed.join("lab.jsonl"), &replayed.lines).unwrap();
    }
    let expected = fs::read_to_string(committed.join("lab.jsonl")).unwrap();
    // What does not change from one making to the next: methods, statuses and scopes.
    let outline = |messages: &[Value]| {
        let of = |message: &Value| {
            let message = Shipped::read(message).unwrap();
            let status = message.status.unwrap_or_default();
            format!("{} {status} {}", message.method, message.scope)
        };
        let mut outline: Vec<String> = messages.iter().map(of).collect();
        outline.sort();
        outline
    };
    assert_eq!(
        outline(&replayed.messages().unwrap()),
        outline(&messages(&expected).unwrap()),
        "make it anew with {RENEW}=1"
    );
}
