//! `GET /buckets/{key}/messages` and `GET /buckets/{key}/messages/{uuid}`.
//!
//! Out: the messages as they were posted, with what Runscope's answers add: ids, the URL's parts, header values as arrays.
//! A list leaves bodies out.

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, StatusCode};
use kongtap_content::Verdict;
use serde_json::{Map, Value, json};
use url::Url;
use uuid::Uuid;

use super::{Failure, authorize, bucket_key, success};
use crate::app::App;
use crate::content::Content;
use crate::store::filter::{Order, Parameters};
use crate::store::{Entry, Query};

/// How many messages a list has when `count` is not given.
const DEFAULT_COUNT: u32 = 50;
/// The largest `count`.
const MAX_COUNT: u32 = 1_000;
/// A list ends early when the messages read for it reach this; the next page begins with `before=` the last uuid.
const LIST_BYTES: usize = 32 << 20;

/// Lists a bucket's messages, newest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    key: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    respond(list_of(&app, key, query, &headers).await)
}

/// One message, whole.
pub(super) async fn one(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    respond(one_of(&app, path, &headers).await)
}

fn respond(answer: Result<Value, Failure>) -> Response {
    match answer {
        Ok(data) => success(&data),
        Err(failure) => failure.into_response(),
    }
}

async fn list_of(
    app: &App,
    key: Result<Path<String>, PathRejection>,
    query: Option<String>,
    headers: &HeaderMap,
) -> Result<Value, Failure> {
    authorize(app, headers)?;
    let Path(key) = key.map_err(|_not_utf8| not_found())?;
    let mut parameters = Parameters::parse(query.as_deref().unwrap_or_default())
        .map_err(|bad| Failure::new(StatusCode::BAD_REQUEST, bad.to_string()))?;
    let count = parameters.count.unwrap_or(DEFAULT_COUNT);
    if !(1..=MAX_COUNT).contains(&count) {
        return Err(Failure::new(
            StatusCode::BAD_REQUEST,
            format!("count: must be from 1 to {MAX_COUNT}"),
        ));
    }
    parameters.filter.bucket = Some(bucket_key(&key)?.to_owned());
    let query = Query {
        filter: parameters.filter,
        since: parameters.since,
        before: parameters.before,
        order: Order::Time,
        most: count,
    };
    let messages = app
        .query(move |store| {
            let mut messages = Vec::new();
            let mut left = LIST_BYTES;
            store.visit(&query, &mut |entry, json| {
                messages.push(message(entry, json, Bodies::Omitted));
                left = left.saturating_sub(json.len());
                if left == 0 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
            Ok(messages)
        })
        .await?;
    Ok(Value::Array(messages))
}

async fn one_of(
    app: &App,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: &HeaderMap,
) -> Result<Value, Failure> {
    authorize(app, headers)?;
    let Path((key, uuid)) = path.map_err(|_not_utf8| not_found())?;
    let uuid = Uuid::parse_str(&uuid).map_err(|_not_a_uuid| not_found())?;
    let found = app.query(move |store| store.find(uuid)).await?;
    let (entry, json) = found
        .filter(|(entry, _)| entry.bucket == key)
        .ok_or_else(not_found)?;
    Ok(message(&entry, &json, Bodies::Included))
}

fn not_found() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "There is no such message in this bucket.")
}

/// Whether a message comes with its bodies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bodies {
    Included,
    Omitted,
}

/// A message as the API shows it.
fn message(entry: &Entry, json: &str, bodies: Bodies) -> Value {
    // It was checked when it was received, so it is an object.
    let mut message: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
    for half in ["request", "response"] {
        if let Some(Value::Object(half)) = message.get_mut(half) {
            match bodies {
                Bodies::Included => decoded_body(half),
                Bodies::Omitted => {
                    half.remove("body");
                }
            }
            headers_as_arrays(half);
            url_parts(half);
        }
    }
    message.insert("uuid".to_owned(), json!(entry.uuid.to_string()));
    message.insert("bucket_key".to_owned(), json!(entry.bucket));
    message.insert(
        "unique_identifier".to_owned(),
        json!(entry.summary.unique_identifier),
    );
    let warnings: Vec<&str> = entry.warnings.iter().map(|warning| warning.code()).collect();
    message.insert("warnings".to_owned(), json!(warnings));
    Value::Object(message)
}

/// `body_decoded`, beside a body that is under a content coding or in another charset. The body itself stays as it was posted.
fn decoded_body(half: &mut Map<String, Value>) {
    let Some(content) = Content::of(half) else {
        return;
    };
    let text = content.text();
    let charset = text.as_ref().and_then(|text| text.charset);
    let is_cut = text.as_ref().is_some_and(|text| text.is_cut);
    if content.undone.is_empty() && content.verdict == Verdict::Whole && charset.is_none() {
        return;
    }
    let state = match &content.verdict {
        Verdict::Whole if is_cut => "limited",
        Verdict::Whole => "whole",
        Verdict::Truncated => "cut",
        Verdict::Limited(_) => "limited",
        Verdict::Damaged { .. } => "damaged",
        Verdict::Unknown(_) => "unknown_coding",
    };
    let codings: Vec<&str> = content.undone.iter().map(|coding| coding.name()).collect();
    let mut decoded = Map::from_iter([
        ("state".to_owned(), json!(state)),
        ("codings".to_owned(), json!(codings)),
    ]);
    if let Some(charset) = charset {
        decoded.insert("charset".to_owned(), json!(charset));
    }
    // Without anything undone there is nothing but what `body` says.
    match text {
        Some(text) if !codings.is_empty() || charset.is_some() => {
            decoded.insert("body".to_owned(), json!(text.text));
        }
        None if !codings.is_empty() => {
            decoded.insert("body".to_owned(), json!(BASE64.encode(content.bytes())));
            decoded.insert("body_encoding".to_owned(), json!("base64"));
        }
        Some(_) | None => {}
    }
    half.insert("body_decoded".to_owned(), Value::Object(decoded));
}

fn headers_as_arrays(half: &mut Map<String, Value>) {
    if let Some(Value::Object(headers)) = half.get_mut("headers") {
        for value in headers.values_mut() {
            if !value.is_array() {
                *value = Value::Array(vec![value.take()]);
            }
        }
    }
}

/// What Runscope's detail shows of a request's URL. A URL that cannot be read has no parts.
fn url_parts(request: &mut Map<String, Value>) {
    let Some(url) = request.get("url").and_then(|url| Url::parse(url.as_str()?).ok()) else {
        return;
    };
    let mut params: Map<String, Value> = Map::new();
    for (name, value) in url.query_pairs() {
        let values = params
            .entry(name.into_owned())
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(values) = values {
            values.push(Value::String(value.into_owned()));
        }
    }
    request.insert("scheme".to_owned(), json!(url.scheme()));
    request.insert("host".to_owned(), json!(url.host_str()));
    request.insert("path".to_owned(), json!(url.path()));
    request.insert("params".to_owned(), Value::Object(params));
}
