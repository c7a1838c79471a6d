//! Against a fake of the documented core-entities lists.

use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::{Konnect, address_of};
use crate::gateway::entities::CredentialKind;
use crate::gateway::router::{RouterFlavor, RouterProfile};
use crate::gateway::source::api_client::{ApiOptions, ApiTls, Credential, SecretAt};
use crate::gateway::source::{Fingerprint, Look, Source};
use crate::telemetry::secret::Secret;

const ID: &str = "9524ec7d-36d9-465d-a8c5-83a3c9390458";
const PAGE: usize = 2;

fn entities(kind: &str) -> Vec<Value> {
    let service = |n: u32| {
        json!({"id": format!("00000000-0000-4000-8000-00000000000{n}"), "name": format!("s{n}"),
        "host": "h", "port": 80, "protocol": "http", "path": null, "enabled": true, "tags": null, "created_at": 1700000000})
    };
    match kind {
        "services" => (1..=3).map(service).collect(),
        "routes" => vec![
            json!({"id": "10000000-0000-4000-8000-000000000001", "name": "r", "paths": ["~/r/\\d+"], "hosts": null,
            "service": {"id": "00000000-0000-4000-8000-000000000003"}, "strip_path": true, "protocols": ["http", "https"]}),
        ],
        "consumers" => vec![
            json!({"id": "20000000-0000-4000-8000-000000000001", "username": "alice", "custom_id": null}),
        ],
        "plugins" => vec![
            json!({"id": "30000000-0000-4000-8000-000000000001", "name": "openid-connect", "enabled": true,
            "service": null, "route": {"id": "10000000-0000-4000-8000-000000000001"}, "consumer": null, "consumer_group": null,
            "config": {"client_secret": ["PLANTED"], "session_cookie_name": "s"}, "protocols": ["http"]}),
            json!({"id": "30000000-0000-4000-8000-000000000002", "name": "key-auth", "enabled": true, "config": {}}),
            json!({"id": "30000000-0000-4000-8000-000000000003", "name": "jwt", "enabled": true, "config": {}}),
        ],
        "key-auths" => vec![
            json!({"id": "40000000-0000-4000-8000-000000000001", "key": "k1", "consumer": {"id": "20000000-0000-4000-8000-000000000001"}}),
            json!({"id": "40000000-0000-4000-8000-000000000002", "key": "k2", "consumer": {"id": "20000000-0000-4000-8000-000000000001"}}),
            json!({"id": "40000000-0000-4000-8000-000000000003", "key": "k3", "consumer": {"id": "20000000-0000-4000-8000-000000000001"}}),
        ],
        "consumer_groups" => {
            vec![json!({"id": "50000000-0000-4000-8000-000000000001", "name": "gold", "tags": null})]
        }
        "consumer_groups/50000000-0000-4000-8000-000000000001/consumers" => entities("consumers"),
        other => panic!("{other} is not asked for"),
    }
}

async fn list(
    State(status): State<u16>,
    Path((id, kind)): Path<(String, String)>,
    Query(query): Query<std::collections::HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if status != 200 {
        return StatusCode::from_u16(status).expect("a status").into_response();
    }
    if headers
        .get("authorization")
        .is_none_or(|token| token != "Bearer kpat_x")
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    assert_eq!(id, ID);
    if kind == "jwts" {
        return StatusCode::FORBIDDEN.into_response();
    }
    assert_eq!(query["size"], "1000");
    let all = entities(&kind);
    let from = query
        .get("offset")
        .map_or(0, |offset| offset.parse().expect("our own offset"));
    let page: Vec<_> = all.iter().skip(from).take(PAGE).cloned().collect();
    let end = from + PAGE;
    let answer = if end < all.len() {
        let next = format!("/v2/control-planes/{id}/core-entities/{kind}?offset={end}");
        json!({"data": page, "next": next, "offset": end.to_string()})
    } else {
        json!({"data": page, "next": null})
    };
    axum::Json(answer).into_response()
}

async fn konnect(status: u16, token: &str, path: &str) -> Konnect {
    let app = axum::Router::new()
        .route("/v2/control-planes/{id}/core-entities/{*kind}", get(list))
        .with_state(status);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(tokio::spawn(async move { axum::serve(listener, app).await }));
    let token = Credential {
        prefix: "Bearer ",
        value: SecretAt::Text(Secret::new(token)),
    };
    let options = ApiOptions {
        url: format!("http://{address}{path}"),
        headers: vec![("authorization".to_owned(), token)],
        timeout: Duration::from_secs(20),
        tls: ApiTls::default(),
    };
    let profile = RouterProfile::from(RouterFlavor::Expressions);
    Konnect::new(options, ID.to_owned(), profile).expect("an address")
}

#[tokio::test]
async fn the_core_entities_are_read_page_by_page() {
    let konnect = konnect(200, "kpat_x", "").await;
    let reading = konnect.fetch().await.expect("it answers");
    let entities = &reading.entities;
    assert_eq!(entities.services.len(), 3, "two pages");
    assert_eq!(
        entities.routes[0].service_id.as_ref(),
        Some(&entities.services[2].id)
    );
    assert_eq!(entities.routes[0].paths, ["~/r/\\d+"]);
    assert_eq!(entities.consumers[0].username.as_deref(), Some("alice"));
    assert_eq!(
        entities.plugins[0].scope.route_id.as_ref(),
        Some(&entities.routes[0].id)
    );
    let keys: Vec<_> = entities
        .credentials
        .iter()
        .map(|it| it.identity.expose())
        .collect();
    assert_eq!(keys, ["k1", "k2", "k3"], "of two pages");
    assert!(
        entities
            .credentials
            .iter()
            .all(|it| it.consumer_id == entities.consumers[0].id)
    );
    assert_eq!(
        entities.unread_credentials.iter().collect::<Vec<_>>(),
        [&CredentialKind::Jwt]
    );
    let groups = &entities.consumer_groups;
    assert_eq!(groups.groups[0].name.as_deref(), Some("gold"));
    assert_eq!(groups.members[0].consumer_id, entities.consumers[0].id);
    assert!(groups.exist && !groups.is_partial);
    assert_eq!(entities.plugins[0].config, json!({"session_cookie_name": "s"}));
    assert_eq!(reading.profile.flavor, RouterFlavor::Expressions);
    assert!(
        reading.facts.is_none(),
        "a control plane says nothing of this gateway"
    );
    assert!(
        konnect.to_string().ends_with(&format!("control plane {ID}")),
        "{konnect}"
    );
    let source = Source::Konnect(konnect);
    let Ok(Look::Changed(first)) = source.look(&Fingerprint::default()).await else {
        panic!("the first look reads")
    };
    let second = source.look(&first.fingerprint).await;
    assert!(matches!(second, Ok(Look::Unchanged(None, _))), "{second:?}");
}

#[tokio::test]
async fn refusals_say_what_to_write() {
    for (status, token, expected) in [
        (200, "kpat_y", "answered 401; the token is not valid"),
        (
            403,
            "kpat_x",
            "answered 403; the token may not read this control plane",
        ),
        (
            404,
            "kpat_x",
            "answered 404; there is no such control plane in this region",
        ),
        (429, "kpat_x", "answered 429; it limits requests"),
    ] {
        let error = konnect(status, token, "")
            .await
            .fetch()
            .await
            .expect_err("refused")
            .to_string();
        assert!(error.contains(expected) && !error.contains(token), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn regions_have_addresses() {
    assert_eq!(address_of("eu"), "https://eu.api.konghq.com");
}
