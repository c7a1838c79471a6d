//! Credentials of a gateway that shows them, of one that does not, and of one from before 1.0.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde_json::{Value, json};

use super::{LONG, client, dialects};
use crate::gateway::entities::CredentialKind;
use crate::gateway::source::Reading;

/// Lists by path; what is not there is answered with 403.
type Lists = BTreeMap<&'static str, Value>;

async fn list(State(lists): State<Arc<Lists>>, Path(name): Path<String>) -> axum::response::Response {
    match lists.get(name.as_str()) {
        Some(data) => axum::Json(json!({"data": data, "next": null})).into_response(),
        None => StatusCode::FORBIDDEN.into_response(),
    }
}

async fn read(version: &'static str, mut lists: Lists) -> Reading {
    for name in ["services", "routes", "apis", "consumers"] {
        lists.entry(name).or_insert(json!([]));
    }
    let root = json!({"version": version, "tagline": "Welcome to kong", "configuration": {}});
    let app = axum::Router::new()
        .route("/", axum::routing::get(|| async move { axum::Json(root) }))
        .route("/{name}", axum::routing::get(list))
        .with_state(Arc::new(lists));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(tokio::spawn(async move { axum::serve(listener, app).await }));
    let api = client(format!("http://{address}"), None, LONG);
    api.fetch().await.expect("a reading")
}

fn said(reading: &Reading) -> Vec<String> {
    let credentials = reading.entities.credentials.iter();
    let mut said: Vec<_> = credentials
        .map(|it| format!("{:?} {} of {}", it.kind, it.identity.expose(), it.consumer_id))
        .collect();
    said.sort();
    said
}

#[tokio::test]
async fn credentials_are_read_of_the_plugins_that_ask_for_them() {
    let lists = Lists::from([
        (
            "plugins",
            json!([{"name": "key-auth"}, {"name": "oauth2"}, {"name": "jwt", "enabled": false}]),
        ),
        (
            "key-auths",
            json!([{"id": "k", "key": "a-key", "consumer": {"id": "C1"}}]),
        ),
        ("jwts", json!([{"key": "iss", "consumer": {"id": "c1"}}])),
        (
            "oauth2",
            json!([{"id": "app", "client_id": "x", "consumer": {"id": "c2"}}]),
        ),
        (
            "oauth2_tokens",
            json!([{"access_token": "t", "credential": {"id": "app"}}, {"access_token": "u"}]),
        ),
    ]);
    let reading = read("3.9.1", lists).await;
    assert_eq!(said(&reading), ["Key a-key of c1", "Token t of c2"]);
    assert!(reading.entities.unread_credentials.is_empty());
}

#[tokio::test]
async fn lists_that_may_not_be_seen_are_no_failure() {
    let lists = Lists::from([
        ("plugins", json!([{"name": "key-auth"}, {"name": "basic-auth"}])),
        (
            "basic-auths",
            json!([{"username": "al", "consumer": {"id": "c1"}}]),
        ),
    ]);
    let reading = read("3.9.1", lists).await;
    assert_eq!(said(&reading), ["Basic al of c1"]);
    let unread: Vec<_> = reading.entities.unread_credentials.iter().copied().collect();
    assert_eq!(unread, [CredentialKind::Key]);
    let notes: Vec<_> = reading.notes.iter().map(ToString::to_string).collect();
    assert!(
        notes.len() == 1
            && notes[0].starts_with("plugin key-auth has credentials that cannot be read (http://"),
        "{notes:?}"
    );
    assert!(notes[0].contains("/key-auths: answered 403)"), "{notes:?}");
}

/// The same key may be given to somebody in each workspace.
#[tokio::test]
async fn each_workspace_has_its_own() {
    let mut document = dialects::document("3.4-enterprise");
    let alice = "4d924084-1adb-40a5-c042-63b19db421d1";
    document["lists"]["key-auths"] = json!([{"key": "k", "consumer": {"id": alice}}]);
    document["lists"]["basic-auths"] = json!([{"username": "nobody asks", "consumer": {"id": alice}}]);
    for (refused, expected, unread) in [
        (vec![], vec![None, Some("team")], 0),
        (vec![("/team/key-auths", 403)], vec![None], 1),
        (
            vec![("/default/key-auths", 500), ("/team/key-auths", 404)],
            vec![],
            1,
        ),
    ] {
        let gateway = dialects::serve(document.clone(), 1000, refused, Vec::new()).await;
        let api = client(format!("http://{}", gateway.address), None, LONG);
        let reading = api.fetch().await.expect("a reading");
        let entities = &reading.entities;
        let spaces: Vec<_> = entities
            .credentials
            .iter()
            .map(|it| it.workspace.as_deref())
            .collect();
        assert_eq!(spaces, expected);
        for credential in &entities.credentials {
            let is_known = entities
                .consumers
                .iter()
                .any(|it| it.id == credential.consumer_id);
            assert!(is_known, "{credential:?}");
        }
        assert_eq!(entities.unread_credentials.len(), unread);
        assert_eq!(reading.notes.len(), unread, "one note a plugin");
        assert_eq!(gateway.asked("/team/basic-auths"), 0, "no plugin asks for them");
    }
}

#[tokio::test]
async fn before_1_0_they_name_their_consumers_by_id() {
    let lists = Lists::from([
        ("plugins", json!([{"name": "key-auth"}, {"name": "oauth2"}])),
        ("key-auths", json!([{"key": "k", "consumer_id": "c1"}])),
        ("oauth2", json!([{"id": "app", "consumer_id": "c1"}])),
        (
            "oauth2_tokens",
            json!([{"access_token": "t", "credential_id": "app"}]),
        ),
    ]);
    let reading = read("0.13.1", lists).await;
    assert_eq!(said(&reading), ["Key k of c1", "Token t of c1"]);
}

/// Another key is another reading, though no entity changed.
#[tokio::test]
async fn a_credential_that_changed_changes_the_fingerprint() {
    let with = |key: &str| {
        Lists::from([
            ("plugins", json!([{"name": "key-auth"}])),
            ("key-auths", json!([{"key": key, "consumer": {"id": "c1"}}])),
        ])
    };
    let (one, same, other) = (
        read("3.9.1", with("a")).await,
        read("3.9.1", with("a")).await,
        read("3.9.1", with("b")).await,
    );
    assert_eq!(one.fingerprint.contents, same.fingerprint.contents);
    assert_ne!(one.fingerprint.contents, other.fingerprint.contents);
    let none = Lists::from([
        ("plugins", json!([{"name": "key-auth"}])),
        ("key-auths", json!([])),
    ]);
    let refused = Lists::from([("plugins", json!([{"name": "key-auth"}]))]);
    let (none, refused) = (read("3.9.1", none).await, read("3.9.1", refused).await);
    assert_ne!(none.fingerprint.contents, refused.fingerprint.contents);
}
