//! `/exchanges/{uuid}`: one exchange, whole.

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value};
use url::Url;
use uuid::Uuid;

use super::body::{BodyView, view};
use super::row::Row;
use super::text::{Lines, clock_time, duration, full_time, line, size, visible};
use super::{html, json_text, problem, store_failed};
use crate::app::App;
use crate::clock::UnixMicros;
use crate::content::Content;
use crate::message::completeness_marks;
use crate::store::Entry;

/// The longest value shown of a header, a form field or a parameter.
const VALUE_BYTES: usize = 16 * 1024;
/// The longest name shown.
const NAME_BYTES: usize = 256;
/// Lines shown of a table; messages of more are whole in the API.
const LINES: usize = 500;
/// The most of the message's own JSON that the page shows.
const RAW_BYTES: usize = 256 * 1024;
/// How deep `kong` and members that are not known here are shown.
const DEPTH: usize = 6;

#[derive(Template)]
#[template(path = "exchange.html")]
struct Page {
    title: String,
    row: Row,
    url: String,
    reason: String,
    facts: Vec<Line>,
    /// What is missing or was changed, said plainly.
    marks: Vec<String>,
    others: Vec<Row>,
    request: Option<Half>,
    response: Option<Half>,
    kong: Vec<Line>,
    rest: Vec<Line>,
    raw: String,
    raw_cut: bool,
    bucket_href: String,
}

/// A name and its value.
struct Line {
    name: String,
    value: String,
}

/// A request or a response.
struct Half {
    query: Vec<Line>,
    headers: Vec<Line>,
    form: Vec<Line>,
    /// Members that are not known here.
    rest: Vec<Line>,
    body: BodyPart,
}

/// What there is of a body.
enum BodyPart {
    /// The message has no such member.
    Absent,
    /// It is there, and empty.
    Empty,
    /// Something to read.
    Shown(BodyView),
}

/// The page.
pub(super) async fn page(State(app): State<Arc<App>>, uuid: Result<Path<String>, PathRejection>) -> Response {
    let Some(uuid) = uuid.ok().and_then(|Path(uuid)| Uuid::parse_str(&uuid).ok()) else {
        return not_found();
    };
    let answer = app
        .query(move |store| {
            let Some((entry, json)) = store.find(uuid)? else {
                return Ok(None);
            };
            let others = store.same_exchange(&entry)?;
            // Here, on a thread that may take its time: bodies are decoded and laid out.
            Ok(Some(make(&entry, &json, &others)))
        })
        .await;
    match answer {
        Ok(Some(page)) => html(StatusCode::OK, &page),
        Ok(None) => not_found(),
        Err(_) => store_failed(),
    }
}

fn not_found() -> Response {
    problem(
        StatusCode::NOT_FOUND,
        "No such exchange",
        "It is not in the store. The oldest exchanges are removed when the store is full.",
    )
}

fn make(entry: &Entry, json: &str, others: &[Entry]) -> Page {
    // It was checked when it was received, so it is an object.
    let mut message: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
    let mut take = |name| {
        if let Value::Object(half) = message.remove(name)? {
            Some(half)
        } else {
            None
        }
    };
    let (mut request, mut response) = (take("request"), take("response"));
    let kong = message.remove("kong");
    message.remove("unique_identifier");
    let mut marks: Vec<String> = entry
        .warnings
        .iter()
        .map(|warning| warning.message().to_owned())
        .collect();
    if let Some(kong) = &kong {
        marks.extend(
            completeness_marks(kong)
                .iter()
                .map(|mark| line(mark, VALUE_BYTES)),
        );
    }
    let text_of = |half: &mut Option<Map<String, Value>>, name| {
        if let Value::String(text) = half.as_mut()?.remove(name)? {
            Some(text)
        } else {
            None
        }
    };
    let url = text_of(&mut request, "url").unwrap_or_default();
    let reason = text_of(&mut response, "reason").unwrap_or_default();
    let row = Row::of(entry);
    let laid = json_text::pretty(json, RAW_BYTES);
    let (raw, raw_cut) = laid.map_or((String::new(), true), |laid| (laid.text, laid.cut));
    Page {
        title: format!("{} {}{}", row.method, row.origin, row.path)
            .trim()
            .to_owned(),
        facts: facts(entry, response.as_ref(), kong.as_ref()),
        url: line(&url, VALUE_BYTES),
        reason: line(&reason, NAME_BYTES),
        marks,
        others: others.iter().map(Row::of).collect(),
        request: request.map(|request| half(request, &url)),
        response: response.map(|response| half(response, "")),
        kong: kong.map(|kong| flat(&kong)).unwrap_or_default(),
        rest: flat(&Value::Object(message)),
        raw: visible(&raw, RAW_BYTES, Lines::Kept).into_owned(),
        raw_cut,
        bucket_href: format!(
            "/?{}",
            url::form_urlencoded::Serializer::new(String::new())
                .append_pair("bucket", &entry.bucket)
                .finish()
        ),
        row,
    }
}

fn facts(entry: &Entry, response: Option<&Map<String, Value>>, kong: Option<&Value>) -> Vec<Line> {
    let summary = &entry.summary;
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            facts.push(Line {
                name: name.to_owned(),
                value,
            });
        }
    };
    fact("Began", Some(full_time(entry.at)));
    let ended = response
        .and_then(|response| response.get("timestamp")?.as_f64())
        .and_then(UnixMicros::from_seconds);
    fact("Ended", ended.map(clock_time));
    fact("Took", summary.response_time_us.map(duration));
    let bytes = summary.size_bytes.and_then(|bytes| u64::try_from(bytes).ok());
    fact("Response size", bytes.map(size));
    let name = |name: &Option<String>| name.as_deref().map(|name| line(name, NAME_BYTES));
    fact("Service", name(&summary.service));
    fact("Route", name(&summary.route));
    fact("Consumer", name(&summary.consumer));
    let groups = kong.and_then(|kong| kong.get("consumer")?.get("groups")?.as_array());
    let groups = groups.map(|groups| {
        let names: Vec<_> = groups.iter().filter_map(Value::as_str).collect();
        line(&names.join(", "), NAME_BYTES)
    });
    fact("Consumer groups", groups);
    let request_id = kong.and_then(|kong| kong.get("request_id")?.as_str());
    fact("Request id", request_id.map(|id| line(id, NAME_BYTES)));
    fact("Identifier", name(&summary.unique_identifier));
    fact("Received", Some(full_time(entry.received)));
    facts
}

/// Takes a half apart; what is left over is shown as it is.
fn half(mut half: Map<String, Value>, url: &str) -> Half {
    let body = Content::of(&half).map_or(BodyPart::Absent, |content| {
        if content.sent.is_empty() {
            BodyPart::Empty
        } else {
            BodyPart::Shown(view(&content))
        }
    });
    let headers = half.remove("headers");
    for shown in [
        "body",
        "body_encoding",
        "method",
        "status",
        "timestamp",
        "response_time",
        "size_bytes",
    ] {
        half.remove(shown);
    }
    Half {
        query: query(url),
        headers: fields(headers.as_ref()),
        form: fields(half.remove("form").as_ref()),
        rest: flat(&Value::Object(half)),
        body,
    }
}

fn query(url: &str) -> Vec<Line> {
    let Ok(url) = Url::parse(url) else {
        return Vec::new();
    };
    let pairs = url.query_pairs().take(LINES);
    pairs
        .map(|(name, value)| Line {
            name: line(&name, NAME_BYTES),
            value: line(&value, VALUE_BYTES),
        })
        .collect()
}

/// Headers or form fields: a line for each value.
fn fields(fields: Option<&Value>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (name, value) in fields.and_then(Value::as_object).into_iter().flatten() {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                std::slice::from_ref(value)
            }
        };
        for value in values {
            if lines.len() >= LINES {
                return lines;
            }
            lines.push(Line {
                name: line(name, NAME_BYTES),
                value: scalar(value),
            });
        }
    }
    lines
}

/// Any JSON as lines of `path: value`.
fn flat(value: &Value) -> Vec<Line> {
    let mut lines = Vec::new();
    flatten(value, String::new(), DEPTH, &mut lines);
    lines
}

fn flatten(value: &Value, path: String, depth: usize, lines: &mut Vec<Line>) {
    if lines.len() >= LINES {
        return;
    }
    match value {
        Value::Object(members) if depth > 0 => {
            for (name, member) in members {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(
                    member,
                    format!("{path}{dot}{}", line(name, NAME_BYTES)),
                    depth - 1,
                    lines,
                );
            }
        }
        Value::Array(items) if depth > 0 => {
            for (index, item) in items.iter().enumerate().take(LINES) {
                flatten(item, format!("{path}[{index}]"), depth - 1, lines);
            }
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            lines.push(Line {
                name: path,
                value: scalar(value),
            });
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => line(text, VALUE_BYTES),
        Value::Bool(true) => "true (no value)".to_owned(),
        Value::Null | Value::Bool(false) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            line(&value.to_string(), VALUE_BYTES)
        }
    }
}
