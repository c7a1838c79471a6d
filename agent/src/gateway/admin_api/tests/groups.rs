//! Consumer groups of an Enterprise gateway, in both forms of members, and of gateways that have or show none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::{LONG, client};
use crate::gateway::entities::Reference;
use crate::gateway::snapshot::Snapshot;
use crate::gateway::source::{Reading, SourceError};

/// Answers by path and query; a number is a status.
type Answers = BTreeMap<&'static str, Value>;

struct Fake {
    answers: Answers,
    asked: Mutex<Vec<String>>,
}

async fn answer(State(fake): State<Arc<Fake>>, request: Request) -> Response {
    let uri = request.uri();
    let query = uri.query().unwrap_or_default().replace("size=1000", "");
    let path = format!("{}{query}", uri.path());
    fake.asked.lock().expect("the lock").push(path.clone());
    match fake.answers.get(path.as_str()) {
        Some(Value::Number(status)) => {
            let status = u16::try_from(status.as_u64().expect("a status")).expect("a status");
            StatusCode::from_u16(status).expect("a status").into_response()
        }
        Some(answer) => axum::Json(answer.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn read(version: &str, groups: Answers) -> (Result<Reading, SourceError>, Vec<String>) {
    let consumers = json!([
        {"id": "c1", "username": "alice"}, {"id": "C2", "username": "bob"}, {"id": "c3", "username": "carol"},
    ]);
    let mut answers = groups;
    let root = json!({"version": version, "tagline": "Welcome to kong", "configuration": {}});
    answers.insert("/", root);
    for list in ["/services", "/routes"] {
        answers.insert(list, json!({"data": [], "next": null}));
    }
    answers.insert(
        "/plugins",
        json!({"data": [{"name": "runscope", "consumer_group": {"id": "G1"}, "config": {}}]}),
    );
    answers.insert("/consumers", json!({"data": consumers, "next": null}));
    let fake = Arc::new(Fake {
        answers,
        asked: Mutex::default(),
    });
    let app = axum::Router::new().fallback(answer).with_state(Arc::clone(&fake));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(tokio::spawn(async move { axum::serve(listener, app).await }));
    let reading = client(format!("http://{address}"), None, LONG).fetch().await;
    let asked = fake.asked.lock().expect("the lock").clone();
    (reading, asked)
}

const ENTERPRISE: &str = "3.4.1.0-enterprise-edition";

/// Who is in what, and whether that is all.
fn said(reading: &Reading) -> (Vec<String>, bool) {
    let (snapshot, _) = Snapshot::build(reading.entities.clone(), &reading.profile);
    let groups = |name: &str| {
        let consumer = snapshot
            .consumer(&Reference::Name(name.to_owned()))
            .expect("a consumer");
        let titles: Vec<_> = consumer.groups.iter().map(|group| group.title()).collect();
        (
            format!("{name}: {}", titles.join(" ")),
            consumer.groups.is_partial(),
        )
    };
    let all = ["alice", "bob", "carol"].map(groups);
    let is_partial = all.iter().any(|(_, is_partial)| *is_partial);
    (all.map(|(text, _)| text).to_vec(), is_partial)
}

fn two_groups() -> Value {
    json!({"data": [{"id": "G1", "name": "silver"}, {"id": "g2", "name": "gold", "tags": null}], "next": null})
}

#[tokio::test]
async fn members_are_read_in_the_forms_of_all_versions() {
    let old = Answers::from([
        ("/consumer_groups", two_groups()),
        (
            "/consumer_groups/g1/consumers",
            json!({"consumers": [{"id": "C1"}, {"id": "c2"}]}),
        ),
        (
            "/consumer_groups/g2/consumers",
            json!({"consumers": [{"id": "c1"}, {"id": "gone"}]}),
        ),
    ]);
    let new = Answers::from([
        ("/consumer_groups", two_groups()),
        (
            "/consumer_groups/g1/consumers",
            json!({"data": [{"id": "c1"}], "next": "/consumer_groups/g1/consumers?offset=1", "offset": "1"}),
        ),
        (
            "/consumer_groups/g1/consumers&offset=1",
            json!({"data": [{"id": "c2"}], "next": null}),
        ),
        ("/consumer_groups/g2/consumers", json!({"data": [{"id": "c1"}]})),
    ]);
    for (form, answers) in [("before 3.5", old), ("since 3.5", new)] {
        let reading = read(ENTERPRISE, answers).await.0.expect("a reading");
        let (groups, is_partial) = said(&reading);
        assert_eq!(groups, ["alice: gold silver", "bob: silver", "carol: "], "{form}");
        assert!(!is_partial && reading.notes.is_empty(), "{form}");
        let scope = &reading.entities.plugins[0].scope;
        assert_eq!(scope.consumer_group_id.as_deref(), Some("g1"), "{form}");
    }
}

#[tokio::test]
async fn a_group_without_members_and_one_that_is_just_removed_are_empty() {
    let answers = Answers::from([
        ("/consumer_groups", two_groups()),
        // Lua's JSON leaves out what is nil.
        ("/consumer_groups/g1/consumers", json!({})),
    ]);
    let reading = read(ENTERPRISE, answers).await.0.expect("a reading");
    assert_eq!(
        said(&reading),
        (["alice: ", "bob: ", "carol: "].map(str::to_owned).to_vec(), false)
    );
    assert_eq!(reading.entities.consumer_groups.groups.len(), 2);
}

#[tokio::test]
async fn a_change_of_members_alone_is_a_change() {
    let with = |members: Value| {
        Answers::from([
            ("/consumer_groups", two_groups()),
            ("/consumer_groups/g1/consumers", members),
        ])
    };
    let mut contents = Vec::new();
    for members in [
        json!([]),
        json!([{"id": "c1"}]),
        json!([{"id": "c2"}]),
        json!([{"id": "c2"}]),
    ] {
        let (reading, _) = read(ENTERPRISE, with(json!({"data": members}))).await;
        contents.push(reading.expect("a reading").fingerprint.contents);
    }
    assert_eq!(contents[2], contents[3]);
    contents.dedup();
    assert_eq!(contents.len(), 3);
}

#[tokio::test]
async fn gateways_without_groups_are_read_as_ever() {
    let (reading, asked) = read("3.9.1", Answers::new()).await;
    assert!(!reading.expect("a reading").entities.consumer_groups.exist);
    assert!(
        !asked.iter().any(|path| path.contains("consumer_groups")),
        "{asked:?}"
    );
    let (reading, asked) = read("2.1.0-enterprise-edition", Answers::new()).await;
    let reading = reading.expect("404 means none");
    assert!(!reading.entities.consumer_groups.exist && reading.notes.is_empty());
    assert!(asked.iter().any(|path| path == "/consumer_groups"), "{asked:?}");
}

#[tokio::test]
async fn what_may_not_be_seen_is_noted_and_what_fails_fails_the_reading() {
    let refused = |list: u16, members: u16| {
        let list = if list == 200 { two_groups() } else { json!(list) };
        let members = json!(members);
        Answers::from([
            ("/consumer_groups", list),
            ("/consumer_groups/g1/consumers", members.clone()),
            ("/consumer_groups/g2/consumers", members),
        ])
    };
    for (list, members) in [(403, 200), (200, 401), (200, 403)] {
        let reading = read(ENTERPRISE, refused(list, members))
            .await
            .0
            .expect("a reading");
        assert!(said(&reading).1, "{list} {members}");
        let [note] = reading.notes.as_slice() else {
            panic!("{list} {members}: {:?}", reading.notes)
        };
        assert!(
            note.to_string()
                .starts_with("consumer groups cannot all be read (http://"),
            "{note}"
        );
    }
    for (list, members) in [(500, 200), (200, 500)] {
        let failed = read(ENTERPRISE, refused(list, members)).await.0;
        let is_told = matches!(failed, Err(SourceError::Status { status: 500, .. }));
        assert!(is_told, "{list} {members}: {failed:?}");
    }
    let odd = Answers::from([("/consumer_groups", json!({"data": [{"id": 7}]}))]);
    let failed = read(ENTERPRISE, odd).await.0;
    assert!(matches!(failed, Err(SourceError::Malformed { .. })), "{failed:?}");
}
