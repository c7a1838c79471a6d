//! The Runscope messages API: <https://www.runscope.com/docs/api/messages> as far as it is known, for posting and reading.
//!
//! In: requests with a bearer token. Out: Runscope's envelope. Also the two routes for machines that need no token.
//! Deliberately absent: deleting and sharing messages, and everything of Runscope's that is not about messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use crate::app::{App, QueryError};

mod read;
mod receive;

/// The API's routes.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/buckets/{key}/messages", post(receive::receive).get(read::list))
        .route("/buckets/{key}/messages/{uuid}", get(read::one))
        .route("/healthz", get(health))
        .route("/status", get(status))
}

/// The longest bucket key.
const BUCKET_KEY_BYTES: usize = 128;

/// What is done about a request that is refused.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) more_info: Option<&'static str>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            more_info: None,
        }
    }

    const fn more(mut self, info: &'static str) -> Self {
        self.more_info = Some(info);
        self
    }

    /// The envelope's `error`.
    fn to_json(&self) -> Value {
        json!({ "status": self.status.as_u16(), "message": self.message, "more_info": self.more_info })
    }

    pub(crate) fn into_response(self) -> Response {
        let envelope = json!({ "meta": { "status": "error" }, "data": null, "error": self.to_json() });
        let mut response = (self.status, Json(envelope)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, http::HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<QueryError> for Failure {
    fn from(_: QueryError) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The store failed; the log says how.",
        )
    }
}

fn success(data: &Value) -> Response {
    Json(json!({ "data": data, "error": null, "meta": { "status": "success" } })).into_response()
}

/// Refuses a request without a known token.
fn authorize(app: &App, headers: &HeaderMap) -> Result<(), Failure> {
    let presented = headers
        .get(header::AUTHORIZATION)
        .map(http::HeaderValue::as_bytes);
    if app.tokens.admits(presented) {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::UNAUTHORIZED,
        "Invalid or missing Authorization header.",
    )
    .more("Send `Authorization: Bearer TOKEN` with a token that the inspector was started with."))
}

/// A bucket key that may be used.
fn bucket_key(key: &str) -> Result<&str, Failure> {
    if key.len() > BUCKET_KEY_BYTES || key.chars().any(char::is_control) {
        return Err(Failure::new(
            StatusCode::NOT_FOUND,
            "There is no such bucket: a key has at most 128 bytes and no control characters.",
        ));
    }
    Ok(key)
}

/// Any address that is not known.
pub(crate) async fn not_found() -> Response {
    Failure::new(StatusCode::NOT_FOUND, "There is nothing at this address.").into_response()
}

/// Any method that an address does not know.
pub(crate) async fn method_not_allowed() -> Response {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "This address does not know that method.",
    )
    .into_response()
}

/// Whether the inspector can do its work: it can, if the store answers.
async fn health(State(app): State<Arc<App>>) -> Response {
    match app.query(|store| store.newest()).await {
        Ok(_) => "ok\n".into_response(),
        Err(error) => Failure::from(error).into_response(),
    }
}

/// Counts since the start, and what is kept now.
async fn status(State(app): State<Arc<App>>) -> Response {
    let totals = match app.query(|store| Ok(store.totals())).await {
        Ok(totals) => totals,
        Err(error) => return Failure::from(error).into_response(),
    };
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counts = app.writer.counts();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "durable": app.durable,
        "kept": {
            "messages": totals.messages,
            "bytes": totals.bytes,
            "max_messages": app.retention.messages,
            "max_bytes": app.retention.bytes,
            "max_age_s": app.retention.age.map(|age| age.as_secs()),
        },
        "messages": {
            "kept": count(&counts.kept),
            "repeated": count(&counts.repeated),
            "pruned": count(&counts.pruned),
        },
        "failed_commits": count(&counts.failed_commits),
        "refused_posts": {
            "unauthorized": count(&app.refused.unauthorized),
            "invalid": count(&app.refused.invalid),
            "too_large": count(&app.refused.too_large),
            "overloaded": count(&app.refused.overloaded),
        },
    }))
    .into_response()
}
