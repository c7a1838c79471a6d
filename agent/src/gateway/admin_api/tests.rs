//! Against a small Admin API that serves the answers of a real one, in pages of any size, and misbehaves on demand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use serde_json::{Value, json};

use super::AdminApi;
use crate::gateway::entities::Entities;
use crate::gateway::router::RouterFlavor;
use crate::gateway::source::api_client::{
    ApiOptions, ApiTls, Credential, MAX_ANSWER_BYTES, MAX_PAGES, SecretAt, offset_of,
};
use crate::gateway::source::{Fingerprint, Look, Reading, Source, SourceError};
use crate::telemetry::secret::Secret;

mod apis;
mod credentials;
pub(crate) mod dialects;
mod reach;

/// How the fake behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Good,
    WantsToken,
    GoesInCircles,
    NeverEnds,
    Junk,
    NotAnObject,
    Other,
    NoData,
    WrongTypes,
    NotFound,
    Redirects,
    Hangs,
    Huge,
}

pub(crate) struct Fake {
    behaviour: Behaviour,
    page_size: usize,
    pub(crate) requests: AtomicUsize,
}

const ADMIN: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../testdata/kong-yml/lab-3.9.1/admin"
);

fn recorded(name: &str) -> Value {
    let text = std::fs::read_to_string(format!("{ADMIN}/{name}.json")).expect("a recorded answer");
    serde_json::from_str(&text).expect("JSON")
}

type Queries = Query<std::collections::HashMap<String, String>>;

async fn root(State(fake): State<Arc<Fake>>, headers: HeaderMap) -> axum::response::Response {
    fake.requests.fetch_add(1, Ordering::SeqCst);
    match fake.behaviour {
        Behaviour::WantsToken
            if headers
                .get("kong-admin-token")
                .is_none_or(|token| token != "right") =>
        {
            StatusCode::UNAUTHORIZED.into_response()
        }
        Behaviour::Junk => "<html>hello".into_response(),
        Behaviour::NotAnObject => "[1]".into_response(),
        Behaviour::Other => axum::Json(json!({"version": "1", "name": "elsewhere"})).into_response(),
        Behaviour::NotFound => StatusCode::NOT_FOUND.into_response(),
        Behaviour::Redirects => (StatusCode::FOUND, [(header::LOCATION, "/elsewhere")]).into_response(),
        Behaviour::Hangs => std::future::pending().await,
        Behaviour::Huge => vec![b' '; MAX_ANSWER_BYTES + 1].into_response(),
        Behaviour::Good
        | Behaviour::WantsToken
        | Behaviour::GoesInCircles
        | Behaviour::NeverEnds
        | Behaviour::NoData
        | Behaviour::WrongTypes => axum::Json(recorded("root")).into_response(),
    }
}

async fn collection(
    State(fake): State<Arc<Fake>>,
    Path(name): Path<String>,
    Query(query): Queries,
) -> axum::response::Response {
    fake.requests.fetch_add(1, Ordering::SeqCst);
    if name == "status" {
        return axum::Json(recorded("status")).into_response();
    }
    assert_eq!(
        query.get("size").map(String::as_str),
        Some("1000"),
        "the size is asked for on every page"
    );
    if fake.behaviour == Behaviour::NeverEnds {
        let number = fake.requests.load(Ordering::SeqCst);
        return axum::Json(json!({"next": format!("/x?offset={number}"), "data": []})).into_response();
    }
    // Nobody may see credentials here.
    if !std::path::Path::new(&format!("{ADMIN}/list-{name}.json")).exists() {
        return StatusCode::NOT_FOUND.into_response();
    }
    let all = recorded(&format!("list-{name}"));
    let all = all["data"].as_array().expect("a list");
    let offset: usize = query.get("offset").map_or(0, |offset| {
        offset.trim_matches('=').parse().expect("our own offset")
    });
    let page: Vec<_> = all.iter().skip(offset).take(fake.page_size).cloned().collect();
    let more = offset + fake.page_size;
    let answer = if fake.behaviour == Behaviour::NoData {
        json!({"next": null})
    } else if fake.behaviour == Behaviour::WrongTypes {
        json!({"next": null, "data": [{"id": 7}]})
    } else if fake.behaviour == Behaviour::GoesInCircles {
        json!({"next": "/x?offset=0", "data": []})
    } else if page.len() == fake.page_size {
        // As Kong has it: at the end of full pages comes an empty one, and an offset may need escaping.
        let next = format!("/{name}?offset={more}%3D&size=1");
        json!({"next": next, "offset": format!("{more}="), "data": page})
    } else {
        let data = if page.is_empty() { json!({}) } else { json!(page) };
        json!({"next": null, "data": data})
    };
    axum::Json(answer).into_response()
}

pub(crate) async fn serve(behaviour: Behaviour, page_size: usize) -> (SocketAddr, Arc<Fake>) {
    let fake = Arc::new(Fake {
        behaviour,
        page_size,
        requests: AtomicUsize::new(0),
    });
    let inner = axum::Router::new()
        .route("/", get(root))
        .route("/{name}", get(collection))
        .with_state(Arc::clone(&fake));
    let app = inner.clone().nest("/team", inner);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(tokio::spawn(async move { axum::serve(listener, app).await }));
    (address, fake)
}

pub(crate) fn client(url: String, token: Option<&str>, timeout: Duration) -> AdminApi {
    let token = token.map(|text| ("Kong-Admin-Token", text));
    AdminApi::new(options(&url, token, timeout), Vec::new()).expect("an address")
}

/// How an API at `url` is asked, with a header.
pub(crate) fn options(url: &str, header: Option<(&str, &str)>, timeout: Duration) -> ApiOptions {
    let value = |text| SecretAt::Text(Secret::new(text));
    let credential = |text| Credential {
        prefix: "",
        value: value(text),
    };
    ApiOptions {
        url: url.to_owned(),
        headers: header
            .into_iter()
            .map(|(name, text)| (name.to_owned(), credential(text)))
            .collect(),
        timeout,
        tls: ApiTls::default(),
    }
}

const LONG: Duration = Duration::from_secs(20);

async fn fetch(behaviour: Behaviour, page_size: usize, timeout: Duration) -> Result<Reading, SourceError> {
    let (address, _) = serve(behaviour, page_size).await;
    client(format!("http://{address}"), None, timeout).fetch().await
}

/// Entities without the address that they came from.
fn placeless(mut entities: Entities) -> Entities {
    for plugin in &mut entities.plugins {
        plugin.place.clear();
    }
    entities
}

#[tokio::test]
async fn pages_of_any_size_give_the_same_entities() {
    let whole = fetch(Behaviour::Good, 1000, LONG).await.expect("it answers");
    let sizes = |reading: &Reading| {
        let entities = &reading.entities;
        [
            entities.services.len(),
            entities.routes.len(),
            entities.consumers.len(),
            entities.plugins.len(),
        ]
    };
    assert_eq!(sizes(&whole), [16, 18, 6, 14]);
    assert_eq!(whole.profile.flavor, RouterFlavor::TraditionalCompatible);
    let facts = whole.facts.as_ref().expect("facts");
    assert_eq!(
        (facts.version.as_str(), facts.master, facts.workers.len()),
        ("3.9.1", Some(23534), 2)
    );
    assert_eq!(facts.admin_listeners[0].port, Some(8001));
    assert!(
        facts
            .proxy_listeners
            .iter()
            .any(|listener| listener.tls && listener.port == Some(8443))
    );
    assert_eq!(
        facts.configuration_hash.as_deref(),
        Some("91163edf3726073179353efa46d5fdcb")
    );
    for page_size in [1, 2, 3, 7] {
        let paged = fetch(Behaviour::Good, page_size, LONG).await.expect("it answers");
        assert_eq!(
            placeless(paged.entities),
            placeless(whole.entities.clone()),
            "pages of {page_size}"
        );
        assert_eq!(paged.fingerprint, whole.fingerprint, "pages of {page_size}");
    }
}

#[test]
fn recorded_pages_lead_to_each_other() {
    let mut names = Vec::new();
    for number in 1..=7 {
        let page = recorded(&format!("page-consumers-size1-0{number}"));
        let page = page.as_object().expect("an object");
        names.push(offset_of(page));
        assert_eq!(offset_of(page).is_some(), number < 7);
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 7, "every page has its own offset");
    let absolute = json!({"next": "http://h:8001/plugins?size=1&offset=a%2Bb%3D"});
    assert_eq!(
        offset_of(absolute.as_object().expect("an object")).as_deref(),
        Some("a+b=")
    );
}

#[tokio::test]
async fn a_base_path_is_kept() {
    let (address, _) = serve(Behaviour::Good, 2).await;
    for base in ["/team", "/team/"] {
        let api = client(format!("http://{address}{base}?x=1#y"), None, LONG);
        assert_eq!(
            api.fetch()
                .await
                .map(|reading| reading.entities.services.len())
                .ok(),
            Some(16),
            "{base}"
        );
    }
}

#[tokio::test]
async fn the_token_is_sent() {
    let (address, _) = serve(Behaviour::WantsToken, 1000).await;
    assert!(
        client(format!("http://{address}"), Some("right"), LONG)
            .fetch()
            .await
            .is_ok()
    );
    let refused = client(format!("http://{address}"), Some("wrong"), LONG)
        .fetch()
        .await;
    let text = refused.expect_err("the token is wrong").to_string();
    assert!(
        text.contains("answered 401; it wants to know who asks: give its token"),
        "{text}"
    );
}

#[tokio::test]
async fn what_misbehaves_gives_a_typed_error_that_says_what_to_do() {
    let short = Duration::from_millis(300);
    for (behaviour, timeout, expected) in [
        (
            Behaviour::Junk,
            LONG,
            "is not Kong's Admin API (the answer is not JSON",
        ),
        (
            Behaviour::NotAnObject,
            LONG,
            "is not Kong's Admin API (the answer is not a JSON object)",
        ),
        (
            Behaviour::Other,
            LONG,
            "is not Kong's Admin API (its `/` has no configuration)",
        ),
        (Behaviour::NotFound, LONG, "answered 404; is a workspace"),
        (
            Behaviour::Redirects,
            LONG,
            "answered 302; it leads elsewhere, and a token is not taken along",
        ),
        (Behaviour::GoesInCircles, LONG, "the pages go round in a circle"),
        (Behaviour::NoData, LONG, "the page has no list `data`"),
        (
            Behaviour::WrongTypes,
            LONG,
            "services[0].id: must be a string, not a number",
        ),
        (Behaviour::Hangs, short, "no whole answer within"),
        (Behaviour::Huge, LONG, "is larger than 33554432 bytes"),
    ] {
        let error = fetch(behaviour, 1000, timeout).await.expect_err("it misbehaves");
        assert!(error.to_string().contains(expected), "{behaviour:?}: {error}");
    }
    let nobody = client("http://127.0.0.1:1".to_owned(), None, LONG).fetch().await;
    assert!(
        matches!(nobody, Err(SourceError::Unreachable { .. })),
        "{nobody:?}"
    );
    for url in [
        "",
        "localhost:8001",
        "ftp://h/",
        "http://",
        "unix:",
        "unix:relative.sock",
        "http://unix:",
    ] {
        let refused = AdminApi::new(options(url, None, LONG), Vec::new());
        assert!(matches!(refused, Err(SourceError::BadUrl { .. })), "{url}");
    }
}

#[tokio::test]
async fn an_answer_that_stops_half_way_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut asked = [0; 1024];
        tokio::io::AsyncReadExt::read(&mut stream, &mut asked)
            .await
            .expect("a request");
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{";
        tokio::io::AsyncWriteExt::write_all(&mut stream, head)
            .await
            .expect("it is written");
        std::future::pending::<()>().await;
    }));
    let error = client(format!("http://{address}"), None, Duration::from_millis(300))
        .fetch()
        .await;
    assert!(matches!(error, Err(SourceError::Timeout { .. })), "{error:?}");
}

#[tokio::test]
async fn pages_are_bounded_in_number() {
    let (address, fake) = serve(Behaviour::NeverEnds, 1).await;
    let error = client(format!("http://{address}"), None, LONG)
        .fetch()
        .await
        .expect_err("it never ends");
    assert!(
        matches!(error, SourceError::TooLarge { unit: "pages", .. }),
        "{error}"
    );
    assert!(fake.requests.load(Ordering::SeqCst) <= MAX_PAGES + 2);
}

#[tokio::test]
async fn an_unchanged_hash_spares_the_pages() {
    let (address, fake) = serve(Behaviour::Good, 1000).await;
    let source = Source::AdminApi(client(format!("http://{address}"), None, LONG));
    let Ok(Look::Changed(reading)) = source.look(&Fingerprint::default()).await else {
        panic!("the first look reads everything");
    };
    let before = fake.requests.load(Ordering::SeqCst);
    let second = source.look(&reading.fingerprint).await;
    assert!(matches!(second, Ok(Look::Unchanged(Some(_), _))), "{second:?}");
    assert_eq!(
        fake.requests.load(Ordering::SeqCst) - before,
        2,
        "`/` and `/status`"
    );
    let no_hash = Fingerprint {
        cheap: None,
        contents: reading.fingerprint.contents,
    };
    assert!(
        matches!(source.look(&no_hash).await, Ok(Look::Unchanged(Some(_), _))),
        "the same contents"
    );
}
