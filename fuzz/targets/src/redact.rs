//! Redaction: whatever a request holds, its message is JSON, and no field that is to be hidden shows its value.

use bytes::Bytes;
use kongtap::capture::event::{CaptureEvent, ConnOpen, DataChunk, Direction, KernelTime};
use kongtap::message::Profile;
use kongtap::message::redact::MARK;
use serde_json::Value;

use crate::flow::{CONN, len};
use crate::gateway::{self, HIDDEN_FIELDS};

/// Content types, the first being chosen by 0.
const TYPES: [&str; 6] = [
    "application/x-www-form-urlencoded",
    "application/json",
    "text/plain",
    "multipart/form-data; boundary=b",
    "application/x-www-form-urlencoded; application/json",
    "application/problem+json\r\nContent-Encoding: identity",
];

/// Makes a message of a request. First byte: its content type, and in its upper half the profile and the route. Then its query, its
/// cookies and its body, with a zero byte between them.
///
/// # Panics
/// When the message is no JSON, or shows the value of a field that is to be hidden.
pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let mut parts = rest.splitn(3, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (query, cookies, body) = (part(), part(), part());
    let content_type = TYPES
        .get(usize::from(first & 15) % TYPES.len())
        .copied()
        .unwrap_or_default();
    let profile = if first & 16 == 0 {
        Profile::Extended
    } else {
        Profile::Plugin
    };
    let path: &[u8] = if first & 32 == 0 { b"/keyed" } else { b"/" };
    let request = [
        b"POST ",
        path,
        b"?",
        &without_breaks(query, b"\r\n\t #"),
        b" HTTP/1.1\r\nHost: a.test\r\nAuthorization: Basic c2VjcmV0\r\nX-Secret: s\r\nContent-Type: ",
        content_type.as_bytes(),
        b"\r\nCookie: ",
        &without_breaks(cookies, b"\r\n"),
        format!("\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
        body,
    ]
    .concat();
    let Some(json) = message(request.into(), profile) else {
        return;
    };
    let message = serde_json::from_slice::<Value>(&json);
    assert!(message.is_ok(), "no JSON: {}", json.escape_ascii());
    let message = message.unwrap_or_default();
    let field = |name: &str| {
        message
            .pointer(&format!("/request/{name}"))
            .unwrap_or(&Value::Null)
    };
    check_headers(field("headers"));
    if let Some((_, query)) = text(field("url")).split_once('?') {
        check_pairs(query.as_bytes());
    }
    let is_text = *field("body_encoding") != "base64" && profile == Profile::Extended;
    let shown = text(field("body"));
    if is_text && content_type == "application/x-www-form-urlencoded" {
        check_pairs(shown.as_bytes());
    }
    if is_text && content_type == "application/json" {
        check_fields(&serde_json::from_str(shown).unwrap_or_default());
    }
    check_fields(field("form"));
}

fn message(request: Bytes, profile: Profile) -> Option<Bytes> {
    let (mut pipeline, ledger) = gateway::pipeline(profile);
    let at = KernelTime(1);
    let end = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    pipeline.apply(CaptureEvent::Open(ConnOpen {
        conn: CONN,
        at,
        local: end(8000),
        remote: end(40_000),
        tls: false,
        late: false,
    }));
    let answer = Bytes::from_static(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    for (direction, bytes) in [(Direction::Ingress, request), (Direction::Egress, answer)] {
        pipeline.apply(CaptureEvent::Data(DataChunk {
            conn: CONN,
            at,
            direction,
            pos: 0,
            len: len(&bytes),
            bytes,
        }));
    }
    pipeline.flush(at);
    assert!(ledger.snapshot().is_balanced());
    pipeline
        .into_sink()
        .messages
        .first()
        .map(|message| message.json().clone())
}

/// What a fuzzer puts into a head must not end it.
fn without_breaks(bytes: &[u8], breaks: &[u8]) -> Vec<u8> {
    let kept = |byte: &&u8| **byte >= b' ' && **byte != 0x7f && !breaks.contains(byte);
    bytes.iter().filter(kept).copied().collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn is_hidden(name: &str) -> bool {
    HIDDEN_FIELDS
        .iter()
        .any(|hidden| name.eq_ignore_ascii_case(hidden))
}

fn check_headers(headers: &Value) {
    for (name, value) in headers.as_object().into_iter().flatten() {
        if ["authorization", "x-secret"].contains(&name.to_ascii_lowercase().as_str()) {
            assert_eq!(value, MARK, "{name}");
        }
        if name.eq_ignore_ascii_case("cookie") {
            for cookie in text(value).split(';') {
                let session = cookie.trim().strip_prefix("session=");
                assert!(session.is_none_or(|value| value == MARK), "{cookie}");
            }
        }
    }
}

/// Pairs as the standard of URLs reads them (<https://url.spec.whatwg.org/#urlencoded-parsing>).
fn check_pairs(pairs: &[u8]) {
    for (name, value) in url::form_urlencoded::parse(pairs) {
        assert!(
            !is_hidden(&name) || value.is_empty() || value == MARK,
            "{name}={value}"
        );
    }
}

/// The top-level fields of an object.
fn check_fields(fields: &Value) {
    for (name, value) in fields
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| is_hidden(name))
    {
        let values = value
            .as_array()
            .map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
        // A name without `=` has no value to hide.
        let hides = |value: &Value| *value == MARK || *value == true;
        assert!(values.iter().all(hides), "{name}: {value}");
    }
}
