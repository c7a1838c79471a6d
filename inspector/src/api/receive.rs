//! `POST /buckets/{key}/messages`.
//!
//! In: one message or a list of them. Out: what became of each, in order, once the good ones are committed. The old
//! plugin's habits are accepted: no User-Agent, raw bytes in JSON strings, an extra CRLF after the body (which the HTTP
//! library passes over).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError};

use super::{Failure, authorize, bucket_key};
use crate::app::App;
use crate::clock;
use crate::message::{Checked, Invalid, Warning, check};
use crate::store::NewMessage;
use crate::writer::Refused;

/// Posts over this are checked on a thread of their own, one at a time.
const LARGE_POST_BYTES: usize = 256 * 1024;
/// Bytes of a refused post that are read and thrown away, so that its sender gets to see the answer.
const DISCARD_BYTES: usize = 64 << 20;
/// For how long.
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// Receives a post.
pub(super) async fn receive(
    State(app): State<Arc<App>>,
    key: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match accept(&app, key, &headers, body).await {
        Ok(response) => response,
        Err(failure) => {
            if let Some(counter) = counter(&app, failure.status) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            failure.into_response()
        }
    }
}

fn counter(app: &App, status: StatusCode) -> Option<&AtomicU64> {
    let refused = &app.refused;
    match status {
        StatusCode::UNAUTHORIZED => Some(&refused.unauthorized),
        StatusCode::BAD_REQUEST => Some(&refused.invalid),
        StatusCode::PAYLOAD_TOO_LARGE => Some(&refused.too_large),
        StatusCode::SERVICE_UNAVAILABLE => Some(&refused.overloaded),
        _ => None,
    }
}

async fn accept(
    app: &Arc<App>,
    key: Result<Path<String>, PathRejection>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    authorize(app, headers)?;
    let Path(key) =
        key.map_err(|_not_utf8| Failure::new(StatusCode::NOT_FOUND, "There is no such bucket."))?;
    bucket_key(&key)?;
    let limit = app.limits.post_bytes;
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > limit) {
        discard(body).await;
        return Err(too_large(limit));
    }
    let mut room = room(app, announced.unwrap_or(limit))?;
    let bytes = read(body, limit, app.limits.post_time).await?;
    // A post of unknown length held room for the largest.
    drop(room.split(room.num_permits().saturating_sub(kibibytes(bytes.len()))));

    let post_messages = app.limits.post_messages;
    let checked = if bytes.len() > LARGE_POST_BYTES {
        let Ok(_turn) = app.large_posts.acquire().await else {
            return Err(overloaded());
        };
        tokio::task::spawn_blocking(move || check_post(bytes, post_messages))
            .await
            .map_err(|_panicked| {
                Failure::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "The post could not be checked.",
                )
            })?
    } else {
        check_post(bytes, post_messages)
    };
    let items = checked.map_err(|invalid| Failure::new(StatusCode::BAD_REQUEST, invalid.to_string()))?;
    keep(app, &key, items, room).await
}

/// One message of a post: its text and its summary, or why it is refused.
type Item = Result<(String, Checked), Invalid>;

/// Splits a post into messages and checks each.
fn check_post(bytes: Bytes, most: usize) -> Result<Vec<Item>, Invalid> {
    let (text, damaged) = match String::from_utf8(Vec::from(bytes)) {
        Ok(text) => (text, false),
        Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), true),
    };
    let whole = |problem: String| Invalid {
        path: "$".to_owned(),
        problem: problem.into(),
    };
    let text = text.trim_start_matches('\u{feff}').trim();
    let not_json = |error: serde_json::Error| whole(format!("not JSON: {error}"));
    let texts: Vec<&RawValue> = if text.starts_with('[') {
        serde_json::from_str(text).map_err(not_json)?
    } else {
        vec![serde_json::from_str(text).map_err(not_json)?]
    };
    if texts.is_empty() || texts.len() > most {
        return Err(whole(format!(
            "must be one message, or a list of 1 to {most} messages"
        )));
    }
    let items = texts.into_iter().map(|text| {
        let text = text.get();
        let mut checked = check(text)?;
        if damaged && text.contains('\u{fffd}') {
            checked.warnings.push(Warning::InvalidUtf8);
        }
        Ok((text.to_owned(), checked))
    });
    Ok(items.collect())
}

/// Has the good messages committed and answers for all.
async fn keep(
    app: &App,
    key: &str,
    items: Vec<Item>,
    room: OwnedSemaphorePermit,
) -> Result<Response, Failure> {
    let received = clock::now();
    let mut answers = Vec::with_capacity(items.len());
    let mut messages = Vec::new();
    for item in items {
        answers.push(item.map(|(json, Checked { summary, warnings })| {
            let answer = (summary.unique_identifier.clone(), warnings.clone());
            messages.push(NewMessage {
                uuid: clock::message_uuid(),
                bucket: key.to_owned(),
                received,
                summary,
                warnings,
                json,
            });
            answer
        }));
    }
    let mut kept = Vec::new();
    if !messages.is_empty() {
        let fate = app.writer.submit(messages, room).map_err(refused)?;
        kept = fate
            .await
            .map_err(|_stopped| refused(Refused::StoreFailed))?
            .map_err(refused)?;
    }
    let mut kept = kept.into_iter();
    let mut counts = Counts::default();
    let data: Vec<Value> = answers
        .into_iter()
        .map(|answer| match answer {
            Ok((identifier, warnings)) => {
                let uuid = kept.next().map(|kept| kept.uuid().to_string());
                accepted(uuid, identifier, &warnings, &mut counts)
            }
            Err(invalid) => rejected(&invalid, &mut counts),
        })
        .collect();
    Ok(answer(app, &data, &counts))
}

#[derive(Default)]
struct Counts {
    success: u64,
    warning: u64,
    error: u64,
}

fn accepted(
    uuid: Option<String>,
    identifier: Option<String>,
    warnings: &[Warning],
    counts: &mut Counts,
) -> Value {
    let warning = warnings
        .first()
        .map(|warning| json!({ "code": warning.code(), "message": warning.message(), "more_info": null }));
    let status = if warning.is_some() {
        counts.warning += 1;
        "warning"
    } else {
        counts.success += 1;
        "success"
    };
    json!({ "status": status, "uuid": uuid, "unique_identifier": identifier, "warning": warning, "error": null })
}

fn rejected(invalid: &Invalid, counts: &mut Counts) -> Value {
    counts.error += 1;
    let error = json!({
        "code": "invalid_message", "message": invalid.to_string(), "path": invalid.path, "more_info": null,
    });
    json!({ "status": "error", "uuid": null, "unique_identifier": null, "warning": null, "error": error })
}

/// 200 when something was kept; when nothing was, the envelope of an error too, for clients that look only there.
fn answer(app: &App, data: &[Value], counts: &Counts) -> Response {
    let nothing = counts.success + counts.warning == 0;
    let status = if nothing { "error" } else { "success" };
    let mut envelope = json!({
        "data": data,
        "meta": {
            "status": status,
            "success_count": counts.success,
            "warning_count": counts.warning,
            "error_count": counts.error,
        },
    });
    if !nothing {
        return Json(envelope).into_response();
    }
    app.refused.invalid.fetch_add(1, Ordering::Relaxed);
    let reason = data
        .first()
        .and_then(|first| first.pointer("/error/message")?.as_str())
        .unwrap_or_default();
    let failure = Failure::new(StatusCode::BAD_REQUEST, reason);
    if let Some(members) = envelope.as_object_mut() {
        members.insert("error".to_owned(), failure.to_json());
    }
    (StatusCode::BAD_REQUEST, Json(envelope)).into_response()
}

fn kibibytes(bytes: usize) -> usize {
    bytes / 1024 + 1
}

/// Takes room for a post, or says that there is none now.
fn room(app: &App, bytes: usize) -> Result<OwnedSemaphorePermit, Failure> {
    let wanted = u32::try_from(kibibytes(bytes)).unwrap_or(u32::MAX);
    match Arc::clone(&app.room).try_acquire_many_owned(wanted) {
        Ok(room) => Ok(room),
        Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => Err(overloaded()),
    }
}

async fn read(body: Body, limit: usize, time: Duration) -> Result<Bytes, Failure> {
    let reading = Limited::new(body, limit).collect();
    match tokio::time::timeout(time, reading).await {
        Ok(Ok(read)) => Ok(read.to_bytes()),
        Ok(Err(error))
            if error.is::<LengthLimitError>()
                || error
                    .source()
                    .is_some_and(<dyn std::error::Error>::is::<LengthLimitError>) =>
        {
            Err(too_large(limit))
        }
        Ok(Err(_)) => Err(Failure::new(StatusCode::BAD_REQUEST, "$: the post broke off")),
        Err(_) => Err(Failure::new(
            StatusCode::REQUEST_TIMEOUT,
            "The post took too long to arrive.",
        )),
    }
}

/// Closing a connection on a client that still sends would reset it, and the answer would be lost.
async fn discard(mut body: Body) {
    let reading = async {
        let mut left = DISCARD_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // Either way the answer follows.
    drop(tokio::time::timeout(DISCARD_TIME, reading).await);
}

fn too_large(limit: usize) -> Failure {
    Failure::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("A post may have at most {limit} bytes."),
    )
}

fn overloaded() -> Failure {
    refused(Refused::Overloaded)
}

fn refused(refused: Refused) -> Failure {
    let message = match refused {
        Refused::Overloaded => "Too many posts are waiting to be kept; come again.",
        Refused::StoreFailed => "The store failed; nothing of this post was kept.",
    };
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, message)
}
