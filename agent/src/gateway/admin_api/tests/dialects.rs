//! Each version's answers, served in that version's pages, through the real client.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::{LONG, client, options};
use crate::gateway::admin_api::AdminApi;
use crate::gateway::entities::{Entities, PathHandling};
use crate::gateway::router::{ClientAddress, RouterFlavor};
use crate::gateway::source::{Reading, SourceError};

const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/admin-api");

/// A fake Admin API of some version.
pub(crate) struct Gateway {
    document: Value,
    page_size: usize,
    pub(crate) address: SocketAddr,
    /// Paths that answer with a status of their own.
    refused: Vec<(&'static str, u16)>,
    /// What each path was asked how often.
    asked: Mutex<HashMap<String, usize>>,
    /// Hashes of the configuration, one for each asking; the last one stays.
    hashes: Mutex<Vec<&'static str>>,
}

impl Gateway {
    /// How often a path was asked.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.asked
            .lock()
            .expect("the lock")
            .get(path)
            .copied()
            .unwrap_or(0)
    }

    fn answer(&self, path: &str, query: &HashMap<String, String>) -> Response {
        *self
            .asked
            .lock()
            .expect("the lock")
            .entry(path.to_owned())
            .or_default() += 1;
        if let Some((_, status)) = self.refused.iter().find(|(refused, _)| *refused == path) {
            return StatusCode::from_u16(*status).expect("a status").into_response();
        }
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        let workspaces = self.document["workspaces"].as_array();
        let is_workspace = |name: &str| {
            let all = workspaces.into_iter().flatten();
            all.clone().any(|workspace| workspace["name"] == name)
        };
        match parts[..] {
            [""] => axum::Json(self.document["root"].clone()).into_response(),
            ["status"] => axum::Json(self.status()).into_response(),
            ["config"] if self.document["config"].is_string() => {
                axum::Json(json!({"config": self.document["config"]})).into_response()
            }
            ["workspaces"] if workspaces.is_some() => self.page("workspaces", path, query, workspaces),
            // The default workspace has the document's entities, any other a copy with ids and names of its own.
            [workspace, list] if is_workspace(workspace) => {
                let items = self.document["lists"][list].to_string();
                let items = if workspace == "default" {
                    items
                } else {
                    items
                        .replace("-bbf1-", "-0002-")
                        .replace("-8f26-", "-0002-")
                        .replace("-1adb-", "-0002-")
                        .replace("-19dc-", "-0002-")
                };
                let items: Value = serde_json::from_str(&items).expect("JSON");
                self.page(list, path, query, items.as_array())
            }
            [list] if self.document["lists"][list].is_array() => {
                self.page(list, path, query, self.document["lists"][list].as_array())
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn status(&self) -> Value {
        let mut status = self.document["status"].clone();
        let mut hashes = self.hashes.lock().expect("the lock");
        if let Some(hash) = hashes.first().copied() {
            if hashes.len() > 1 {
                hashes.remove(0);
            }
            status["configuration_hash"] = json!(hash);
        }
        status
    }

    fn page(
        &self,
        list: &str,
        path: &str,
        query: &HashMap<String, String>,
        items: Option<&Vec<Value>>,
    ) -> Response {
        assert_eq!(query.get("size").map(String::as_str), Some("1000"), "{path}");
        let items = items.expect("a list");
        let from = query.get("offset").map_or(0, |offset| {
            offset.trim_matches('=').parse::<usize>().expect("our own offset")
        });
        let page: Vec<_> = items.iter().skip(from).take(self.page_size).collect();
        let next = from + self.page_size;
        let is_old = match self.document["pages"].as_str() {
            Some("mixed") => !["services", "routes"].contains(&list),
            _ => false,
        };
        let has_more = if is_old {
            next < items.len()
        } else {
            page.len() == self.page_size
        };
        let mut answer = json!({"data": page});
        if is_old {
            answer["total"] = json!(items.len());
            if has_more {
                answer["next"] = json!(format!("http://{}{path}?offset={next}%3D%3D", self.address));
                answer["offset"] = json!(format!("{next}=="));
            }
        } else if has_more {
            answer["next"] = json!(format!("/{list}?offset={next}%3D"));
            answer["offset"] = json!(format!("{next}="));
        } else {
            answer["next"] = Value::Null;
        }
        if page.is_empty() {
            answer["data"] = json!({});
        }
        axum::Json(answer).into_response()
    }
}

async fn any(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let query = url::form_urlencoded::parse(query.as_bytes());
    gateway.answer(request.uri().path(), &query.into_owned().collect())
}

pub(crate) fn document(name: &str) -> Value {
    let text = std::fs::read_to_string(format!("{TESTDATA}/{name}.json")).expect("a document");
    serde_json::from_str(&text).expect("JSON")
}

/// Serves a document in pages.
pub(crate) async fn serve(
    document: Value,
    page_size: usize,
    refused: Vec<(&'static str, u16)>,
    hashes: Vec<&'static str>,
) -> Arc<Gateway> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let gateway = Arc::new(Gateway {
        document,
        page_size,
        address: listener.local_addr().expect("an address"),
        refused,
        asked: Mutex::default(),
        hashes: Mutex::new(hashes),
    });
    let app = axum::Router::new().fallback(any).with_state(Arc::clone(&gateway));
    drop(tokio::spawn(async move { axum::serve(listener, app).await }));
    gateway
}

async fn read(gateway: &Gateway, workspaces: &[&str]) -> Result<Reading, SourceError> {
    let url = format!("http://{}", gateway.address);
    let workspaces = workspaces.iter().map(|&name| name.to_owned()).collect();
    AdminApi::new(options(&url, None, LONG), workspaces)
        .expect("an address")
        .fetch()
        .await
}

pub(super) async fn read_document(name: &str, page_size: usize) -> Reading {
    let gateway = serve(document(name), page_size, Vec::new(), Vec::new()).await;
    read(&gateway, &[])
        .await
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What every version's document must come to.
fn check_common(name: &str, entities: &Entities) {
    let service = &entities.services[0];
    assert_eq!(service.name.as_deref(), Some("orders-service"), "{name}");
    assert_eq!(service.upstream.host.as_deref(), Some("orders.test"), "{name}");
    assert_eq!(service.upstream.path.as_deref(), Some("/base"), "{name}");
    let route = &entities.routes[0];
    assert_eq!(route.service_id.as_ref(), Some(&service.id), "{name}");
    assert!(route.id_is_known && route.created_at.is_some(), "{name}");
    if route.expression.is_none() {
        assert_eq!(route.paths, ["~/orders/\\d+"], "{name}");
        assert_eq!(route.hosts, ["api.example.test"], "{name}");
        assert_eq!(route.regex_priority, 10, "{name}");
    }
    let [alice, other] = &entities.consumers[..2] else {
        panic!("{name}: two consumers")
    };
    assert_eq!(
        (alice.username.as_deref(), alice.custom_id.as_deref()),
        (Some("alice"), None),
        "{name}"
    );
    assert_eq!(
        (other.username.as_deref(), other.custom_id.as_deref()),
        (None, Some("c-2")),
        "{name}"
    );
    let limit = entities
        .plugins
        .iter()
        .find(|plugin| plugin.name == "rate-limiting");
    let limit = limit.expect("rate-limiting");
    assert!(!limit.enabled, "{name}");
    assert_eq!(limit.scope.route_id.as_ref(), Some(&route.id), "{name}");
    assert_eq!(limit.scope.consumer_id.as_ref(), Some(&alice.id), "{name}");
}

#[tokio::test]
async fn every_version_is_read_in_its_own_form_and_pages() {
    use RouterFlavor::{Expressions, Traditional, TraditionalCompatible};
    // name; services, routes, consumers, plugins; router; master, workers; client addresses; ports
    for (name, sizes, flavor, pids, client, port) in [
        (
            "0.13.1",
            [1, 2, 2, 3],
            Traditional,
            (None, 2),
            ClientAddress::Peer,
            None,
        ),
        (
            "0.14.1",
            [1, 2, 2, 3],
            Traditional,
            (None, 2),
            ClientAddress::Peer,
            None,
        ),
        (
            "1.5.1",
            [1, 1, 2, 2],
            Traditional,
            (None, 2),
            ClientAddress::Unknown,
            None,
        ),
        (
            "2.8.1",
            [1, 1, 2, 2],
            Traditional,
            (Some(1), 2),
            ClientAddress::Peer,
            Some(80),
        ),
        (
            "3.4-enterprise",
            [2, 2, 4, 4],
            Expressions,
            (Some(1), 2),
            ClientAddress::Peer,
            None,
        ),
        (
            "3.9-control-plane",
            [1, 1, 2, 2],
            TraditionalCompatible,
            (None, 0),
            ClientAddress::Unknown,
            None,
        ),
    ] {
        for page_size in [1, 2, 1000] {
            let reading = read_document(name, page_size).await;
            check_common(name, &reading.entities);
            let entities = &reading.entities;
            let counted = [
                entities.services.len(),
                entities.routes.len(),
                entities.consumers.len(),
                entities.plugins.len(),
            ];
            assert_eq!(counted, sizes, "{name} in pages of {page_size}");
            assert_eq!(reading.profile.flavor, flavor, "{name}");
            assert_eq!(reading.profile.client_address, client, "{name}");
            let facts = reading.facts.as_ref().expect("facts");
            assert_eq!((facts.master, facts.workers.len()), pids, "{name}");
            assert_eq!(facts.port_maps.outer(8000), port, "{name}");
            let is_of_a_control_plane = name == "3.9-control-plane";
            assert_eq!(facts.admin_listeners.is_empty(), is_of_a_control_plane, "{name}");
        }
    }
}

#[tokio::test]
async fn apis_of_0_13_have_their_own_names_for_things() {
    for name in ["0.13.1", "0.14.1"] {
        let reading = read_document(name, 1).await;
        let entities = &reading.entities;
        let legacy = entities
            .routes
            .iter()
            .find(|route| route.api.is_some())
            .expect("the API");
        assert_eq!(legacy.name.as_deref(), Some("legacy"));
        assert_eq!(legacy.paths, ["/legacy", "~/v\\d+"]);
        assert_eq!(legacy.methods, Vec::<String>::new());
        let upstream = &legacy.api.as_ref().expect("an API").upstream;
        assert_eq!(
            (upstream.port, upstream.path.as_deref()),
            (Some(8080), Some("/root"))
        );
        let key_auth = entities
            .plugins
            .iter()
            .find(|plugin| plugin.name == "key-auth")
            .expect("key-auth");
        assert_eq!(key_auth.scope.route_id.as_ref(), Some(&legacy.id));
        let runscope = entities
            .plugins
            .iter()
            .find(|plugin| plugin.name == "runscope")
            .expect("runscope");
        assert_eq!(runscope.config["bucket_key"], "B");
    }
}

#[tokio::test]
async fn later_versions_fields_are_read() {
    let one = read_document("1.5.1", 1000).await.entities;
    assert_eq!(one.routes[0].path_handling, Some(PathHandling::V1));
    let two = read_document("2.8.1", 1000).await;
    assert_eq!(two.entities.routes[0].headers["x-tier"], ["gold"]);
    assert_eq!(
        two.fingerprint.cheap.as_deref(),
        Some("779742c3d7afee2e38f977044d2ed96b")
    );
    let three = read_document("3.4-enterprise", 1000).await.entities;
    assert_eq!(three.routes[0].priority, 10);
    assert!(three.routes[0].expression.is_some());
}

#[tokio::test]
async fn all_workspaces_are_read_or_those_that_are_named() {
    let whole = read_document("3.4-enterprise", 1).await;
    let spaces: Vec<_> = whole
        .entities
        .routes
        .iter()
        .map(|route| route.workspace.as_deref())
        .collect();
    assert_eq!(spaces, [None, Some("team")]);
    let spaces: Vec<_> = whole
        .entities
        .plugins
        .iter()
        .map(|plugin| plugin.workspace.as_deref())
        .collect();
    assert_eq!(spaces, [None, None, Some("team"), Some("team")]);

    let gateway = serve(document("3.4-enterprise"), 1000, Vec::new(), Vec::new()).await;
    let named = read(&gateway, &["team"]).await.expect("it answers");
    assert_eq!(named.entities.routes.len(), 1);
    assert_eq!(named.entities.routes[0].workspace.as_deref(), Some("team"));
    assert!(
        named.notes[0].text.contains("gateway.workspaces"),
        "{:?}",
        named.notes
    );
    let unknown = read(&gateway, &["nobody"])
        .await
        .expect_err("there is none")
        .to_string();
    assert!(
        unknown.contains("/nobody/services: answered 404; is a workspace"),
        "{unknown}"
    );

    let by_address = client(format!("http://{}/team", gateway.address), None, LONG);
    assert!(
        by_address.fetch().await.is_err(),
        "`/team/` itself tells nothing here"
    );

    // Without a licence there is no list of workspaces; without the right to read it, it is said.
    let free = serve(
        document("3.4-enterprise"),
        1000,
        vec![("/workspaces", 404)],
        Vec::new(),
    )
    .await;
    assert_eq!(
        read(&free, &[]).await.expect("it answers").entities.routes.len(),
        1
    );
    let refused = serve(
        document("3.4-enterprise"),
        1000,
        vec![("/workspaces", 403)],
        Vec::new(),
    )
    .await;
    let error = read(&refused, &[]).await.expect_err("it is refused").to_string();
    assert!(
        error.contains("/workspaces: answered 403") && error.contains("gateway.workspaces"),
        "{error}"
    );
}

#[tokio::test]
async fn a_db_less_gateway_that_refuses_its_lists_is_read_by_its_config() {
    let recorded = super::recorded("config");
    let mut document = document("2.8.1");
    document["config"] = recorded["config"].clone();
    let refused = vec![("/routes", 403)];
    let gateway = serve(document.clone(), 1000, refused.clone(), Vec::new()).await;
    let reading = read(&gateway, &[]).await.expect("GET /config tells everything");
    let lists = super::fetch(super::Behaviour::Good, 1000, LONG)
        .await
        .expect("it answers");
    let ids = |reading: &Reading| {
        let mut ids: Vec<_> = reading
            .entities
            .routes
            .iter()
            .map(|route| Arc::clone(&route.id))
            .collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&reading), ids(&lists), "the very entities of the lists");
    assert_eq!(reading.entities.plugins.len(), lists.entities.plugins.len());
    assert_eq!(reading.entities.consumers.len(), lists.entities.consumers.len());

    document["root"]["configuration"]["database"] = json!("postgres");
    let gateway = serve(document, 1000, refused, Vec::new()).await;
    let error = read(&gateway, &[])
        .await
        .expect_err("a database has no /config")
        .to_string();
    assert!(error.contains("/routes: answered 403"), "{error}");
}

#[tokio::test]
async fn a_configuration_that_changes_between_pages_is_read_again() {
    // What `/status` answers before the pages and after them.
    for (hashes, readings, cheap) in [
        (vec!["a"], 1, Some("a")),
        (vec!["a", "b"], 2, Some("b")),
        (vec!["a", "b", "c", "d", "e", "f"], 3, None),
    ] {
        let gateway = serve(document("2.8.1"), 1000, Vec::new(), hashes.clone()).await;
        let reading = read(&gateway, &[]).await.expect("it answers");
        assert_eq!(gateway.asked("/routes"), readings, "{hashes:?}");
        assert_eq!(reading.fingerprint.cheap.as_deref(), cheap, "{hashes:?}");
    }
}

#[tokio::test]
async fn secrets_of_plugins_do_not_survive_a_reading() {
    for name in ["0.13.1", "1.5.1", "2.8.1"] {
        let reading = read_document(name, 1000).await;
        let kept: Vec<_> = reading
            .entities
            .plugins
            .iter()
            .map(|plugin| plugin.config.to_string())
            .collect();
        assert!(!kept.concat().contains("PLANTED"), "{name}: {kept:?}");
    }
}
