//! One posted message: checked, and summed up for lists.
//!
//! In: the JSON text of one message. Out: a [`Summary`] and warnings, or what is wrong and where. The shape is the old
//! plugin's and the Runscope API's (`request`, `response`, both optional but not both absent); members that are not known
//! here are left alone. Deliberately absent: any change to the text, which is kept as it came.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::clock::{UnixMicros, micros_of_seconds};

mod completeness;
#[cfg(test)]
mod tests;

pub use completeness::completeness_marks;

/// The longest URL kept in a [`Summary`]; the message itself keeps all of it.
pub const SUMMARY_URL_BYTES: usize = 4 * 1024;
/// The longest method or entity name kept in a [`Summary`].
pub const SUMMARY_NAME_BYTES: usize = 256;
/// The longest `unique_identifier` accepted.
pub const IDENTIFIER_BYTES: usize = 256;
/// The longest path that an [`Invalid`] names: header names come from the wire.
const PATH_CHARS: usize = 160;

/// The most JSON values in one message: parsed, each takes many times the room of its text.
pub const VALUES: usize = 100_000;

/// What a list shows of a message, and what it is looked up by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The sender's own id for the exchange, by which repeats are recognised.
    pub unique_identifier: Option<String>,
    /// Which halves of the exchange the message holds.
    pub halves: Halves,
    /// When the exchange began, by the message (the request's time, else the response's); `None` when it does not say.
    pub at: Option<UnixMicros>,
    /// Request method.
    pub method: Option<String>,
    /// Request URL, cut at [`SUMMARY_URL_BYTES`].
    pub url: Option<String>,
    /// Response status; 0 when the gateway never set one.
    pub status: Option<u16>,
    /// Response time in microseconds.
    pub response_time_us: Option<i64>,
    /// Response size as the message says.
    pub size_bytes: Option<i64>,
    /// `kong.route`: its name, else its id.
    pub route: Option<String>,
    /// `kong.service`: its name, else its id.
    pub service: Option<String>,
    /// `kong.consumer`: its username, else its custom id, else its id.
    pub consumer: Option<String>,
    /// Whether `kong.completeness` says that something is missing.
    pub incomplete: bool,
}

/// Which halves of an exchange a message holds. Some senders post request and response apart, under one identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Halves {
    /// The request only.
    Request,
    /// The response only.
    Response,
    /// Both.
    Both,
}

/// Something about an accepted message that its sender should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Warning {
    /// The JSON text was not UTF-8 (the old plugin copied bodies raw): U+FFFD stands for what could not be read.
    InvalidUtf8,
    /// A body is marked base64 and is not; it is shown as text.
    BodyNotBase64,
}

impl Warning {
    /// Every warning.
    pub const ALL: &[Self] = &[Self::InvalidUtf8, Self::BodyNotBase64];

    /// The stable name, in answers and in the store.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidUtf8 => "invalid_utf8",
            Self::BodyNotBase64 => "body_not_base64",
        }
    }

    /// What it means.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::InvalidUtf8 => {
                "The message was not valid UTF-8; each unreadable sequence was replaced by U+FFFD."
            }
            Self::BodyNotBase64 => {
                "A body is marked base64 but does not decode; it is kept and shown as text."
            }
        }
    }
}

/// Why a message is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{path}: {problem}")]
pub struct Invalid {
    /// Where, as a JSON path (`request.headers.accept[1]`; `$` is the whole message).
    pub path: String,
    /// What is wrong, in one sentence that says what would be right.
    pub problem: Cow<'static, str>,
}

impl Invalid {
    fn new(path: impl AsRef<str>, problem: impl Into<Cow<'static, str>>) -> Self {
        let path = path.as_ref();
        let mut clipped: String = path.chars().take(PATH_CHARS).collect();
        if clipped.len() < path.len() {
            clipped.push('…');
        }
        Self {
            path: clipped,
            problem: problem.into(),
        }
    }
}

/// A message that may be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What lists show of it.
    pub summary: Summary,
    /// What its sender should know.
    pub warnings: Vec<Warning>,
}

/// Checks the JSON text of one message.
///
/// # Errors
/// The first field that is wrong.
pub fn check(json: &str) -> Result<Checked, Invalid> {
    if value_count(json) > VALUES {
        return Err(Invalid::new("$", format!("must hold at most {VALUES} values")));
    }
    let message: Value =
        serde_json::from_str(json).map_err(|error| Invalid::new("$", format!("not JSON: {error}")))?;
    let Value::Object(message) = message else {
        return Err(Invalid::new(
            "$",
            "must be an object with `request`, `response` or both",
        ));
    };
    let mut warnings = Vec::new();
    let request = object(&message, "request", "request")?;
    let response = object(&message, "response", "response")?;
    let halves = match (request, response) {
        (Some(_), Some(_)) => Halves::Both,
        (Some(_), None) => Halves::Request,
        (None, Some(_)) => Halves::Response,
        (None, None) => return Err(Invalid::new("$", "needs `request`, `response` or both")),
    };
    let mut summary = Summary {
        unique_identifier: identifier(&message)?,
        halves,
        at: None,
        method: None,
        url: None,
        status: None,
        response_time_us: None,
        size_bytes: None,
        route: None,
        service: None,
        consumer: None,
        incomplete: false,
    };
    if let Some(response) = response {
        check_response(response, &mut summary, &mut warnings)?;
    }
    if let Some(request) = request {
        check_request(request, &mut summary, &mut warnings)?;
    }
    if let Some(kong) = message.get("kong") {
        summary.route = entity(kong, "route", &["name", "id"]);
        summary.service = entity(kong, "service", &["name", "id"]);
        summary.consumer = entity(kong, "consumer", &["username", "custom_id", "id"]);
        summary.incomplete = !completeness_marks(kong).is_empty();
    }
    Ok(Checked { summary, warnings })
}

fn check_request(
    request: &Map<String, Value>,
    summary: &mut Summary,
    warnings: &mut Vec<Warning>,
) -> Result<(), Invalid> {
    let method = required_text(request, "method", "request.method")?;
    let url = required_text(request, "url", "request.url")?;
    check_fields(request.get("headers"), "request.headers", FieldKind::Header)?;
    check_fields(request.get("form"), "request.form", FieldKind::Form)?;
    check_body(request, "request", warnings)?;
    summary.at = timestamp(request, "request.timestamp")?.or(summary.at);
    summary.method = Some(clipped(method, SUMMARY_NAME_BYTES));
    summary.url = Some(clipped(url, SUMMARY_URL_BYTES));
    Ok(())
}

fn check_response(
    response: &Map<String, Value>,
    summary: &mut Summary,
    warnings: &mut Vec<Warning>,
) -> Result<(), Invalid> {
    let status = response
        .get("status")
        .and_then(whole_number)
        .and_then(|status| u16::try_from(status).ok())
        .filter(|status| *status < 1_000)
        .ok_or_else(|| Invalid::new("response.status", "must be a whole number from 0 to 999"))?;
    text(response, "reason", "response.reason")?;
    check_fields(response.get("headers"), "response.headers", FieldKind::Header)?;
    check_body(response, "response", warnings)?;
    summary.status = Some(status);
    summary.at = timestamp(response, "response.timestamp")?;
    summary.size_bytes = match present(response, "size_bytes") {
        None => None,
        // The old plugin sent nginx's variable as it was: a string of digits.
        Some(value) => Some(whole_number(value).ok_or_else(|| {
            Invalid::new(
                "response.size_bytes",
                "must be a whole number, or a string of digits",
            )
        })?),
    };
    summary.response_time_us = match present(response, "response_time") {
        None => None,
        Some(value) => Some(number(value).and_then(micros_of_seconds).ok_or_else(|| {
            Invalid::new(
                "response.response_time",
                "must be a number of seconds, not negative",
            )
        })?),
    };
    Ok(())
}

/// How many values a JSON text holds, give or take the empty containers; counted without parsing it.
fn value_count(json: &str) -> usize {
    let (mut count, mut in_string, mut escaped) = (1, false, false);
    for byte in json.bytes() {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b',' | b'[' | b'{') => count += 1,
            _ => {}
        }
    }
    count
}

/// A member that is there and not null.
fn present<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

fn object<'a>(
    object: &'a Map<String, Value>,
    name: &str,
    path: &str,
) -> Result<Option<&'a Map<String, Value>>, Invalid> {
    match present(object, name) {
        None => Ok(None),
        Some(Value::Object(found)) => Ok(Some(found)),
        Some(_) => Err(Invalid::new(path, "must be an object")),
    }
}

fn text<'a>(object: &'a Map<String, Value>, name: &str, path: &str) -> Result<Option<&'a str>, Invalid> {
    match present(object, name) {
        None => Ok(None),
        Some(Value::String(found)) => Ok(Some(found)),
        Some(_) => Err(Invalid::new(path, "must be a string")),
    }
}

fn required_text<'a>(object: &'a Map<String, Value>, name: &str, path: &str) -> Result<&'a str, Invalid> {
    text(object, name, path)?
        .filter(|found| !found.is_empty())
        .ok_or_else(|| Invalid::new(path, "must be there, and not empty"))
}

/// A number, or a string that holds one.
fn number(value: &Value) -> Option<f64> {
    if let Value::String(text) = value {
        text.parse().ok()
    } else {
        value.as_f64()
    }
}

/// A whole number that is not negative, or a string of digits. `22.0` counts: Lua has no integers to send.
fn whole_number(value: &Value) -> Option<i64> {
    let found = match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
            format!("{float:.0}").parse().ok()
        }),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    found.filter(|number| *number >= 0)
}

fn timestamp(object: &Map<String, Value>, path: &str) -> Result<Option<UnixMicros>, Invalid> {
    match present(object, "timestamp") {
        None => Ok(None),
        Some(value) => number(value)
            .and_then(UnixMicros::from_seconds)
            .map(Some)
            .ok_or_else(|| {
                Invalid::new(
                    path,
                    "must be Unix time in seconds (a fraction is fine, milliseconds are not)",
                )
            }),
    }
}

fn identifier(message: &Map<String, Value>) -> Result<Option<String>, Invalid> {
    let found = text(message, "unique_identifier", "unique_identifier")?.filter(|found| !found.is_empty());
    match found {
        Some(found) if found.len() > IDENTIFIER_BYTES => Err(Invalid::new(
            "unique_identifier",
            format!("must be at most {IDENTIFIER_BYTES} bytes long"),
        )),
        Some(found) => Ok(Some(found.to_owned())),
        None => Ok(None),
    }
}

fn check_body(
    half: &Map<String, Value>,
    name: &'static str,
    warnings: &mut Vec<Warning>,
) -> Result<(), Invalid> {
    let body = text(half, "body", &format!("{name}.body"))?;
    let path = format!("{name}.body_encoding");
    match text(half, "body_encoding", &path)? {
        None | Some("plaintext") => {}
        Some("base64") => {
            if body.is_some_and(|body| BASE64.decode(body).is_err())
                && !warnings.contains(&Warning::BodyNotBase64)
            {
                warnings.push(Warning::BodyNotBase64);
            }
        }
        Some(_) => return Err(Invalid::new(path, "must be `plaintext` or `base64`")),
    }
    Ok(())
}

/// What the values of a map of fields may be.
#[derive(Clone, Copy)]
enum FieldKind {
    /// Text (or a number, which some senders write for `content-length`).
    Header,
    /// Text, or `true` for a key without `=`.
    Form,
}

fn check_fields(fields: Option<&Value>, path: &str, kind: FieldKind) -> Result<(), Invalid> {
    let fields = match fields {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(fields)) => fields,
        // An empty map, as encoders of languages without a type for it write it.
        Some(Value::Array(items)) if items.is_empty() => return Ok(()),
        Some(_) => {
            return Err(Invalid::new(
                path,
                "must be an object of strings or arrays of strings",
            ));
        }
    };
    for (name, value) in fields {
        if is_field_value(value, kind) {
            continue;
        }
        let Value::Array(items) = value else {
            return Err(Invalid::new(
                format!("{path}.{name}"),
                "must be a string or an array of strings",
            ));
        };
        if let Some(bad) = items.iter().position(|item| !is_field_value(item, kind)) {
            return Err(Invalid::new(format!("{path}.{name}[{bad}]"), "must be a string"));
        }
    }
    Ok(())
}

const fn is_field_value(value: &Value, kind: FieldKind) -> bool {
    match value {
        Value::String(_) | Value::Number(_) => true,
        Value::Bool(_) => matches!(kind, FieldKind::Form),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// The first of an entity's names that is a string. Never an error: `kong` is an extension, and extensions vary.
fn entity(kong: &Value, name: &str, keys: &[&str]) -> Option<String> {
    let entity = kong.get(name)?;
    keys.iter()
        .filter_map(|key| entity.get(key)?.as_str())
        .chain(entity.as_str())
        .find(|found| !found.is_empty())
        .map(|found| clipped(found, SUMMARY_NAME_BYTES))
}

/// At most `most` bytes of `text`, cut between characters.
#[must_use]
pub fn clipped(text: &str, most: usize) -> String {
    text.get(..text.floor_char_boundary(most))
        .unwrap_or_default()
        .to_owned()
}
