//! What the upstream answers, by path:
//!
//! | path | answer |
//! |---|---|
//! | `/json` | a small JSON document |
//! | `/headers` | what it received, as JSON |
//! | `/echo` | the request's body with its media type (JSON, forms, anything) |
//! | `/bytes?size=N&seed=S&kind=text\|binary&framing=length\|chunked\|close` | deterministic bytes ([`crate::payload`]) |
//! | `/gzip` | a gzipped JSON document |
//! | `/status/N` | that status; with a small JSON body where the status may have one |
//! | `/slow?ms=N` | `/json`, later |
//! | `/reset` | nothing: the connection ends |
//!
//! HEAD of any of them is its head. Anything else is a 404 of the upstream's own.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::payload::{self, Kind};
use crate::upstream::Seen;
use crate::wire::{Wire, chunked};

/// Chunked answers come in chunks of this size.
const CHUNK_BYTES: usize = 3000;

/// Always the same, so that nobody who makes up a date of his own goes unnoticed.
const DATE: &str = "Thu, 01 Jan 1970 00:00:00 GMT";

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It is kept.
    Keep,
    /// It ends.
    Close,
}

/// How an answer's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
    Close,
    /// The status allows no body.
    Bodiless,
}

struct Reply {
    status: u16,
    media_type: &'static str,
    fields: Vec<(&'static str, String)>,
    body: Bytes,
    framing: Framing,
}

impl Reply {
    fn json(status: u16, value: &serde_json::Value) -> Self {
        Self::of(status, "application/json", value.to_string().into())
    }

    const fn of(status: u16, media_type: &'static str, body: Bytes) -> Self {
        Self {
            status,
            media_type,
            fields: Vec::new(),
            body,
            framing: Framing::Length,
        }
    }
}

/// Answers `request`.
///
/// # Errors
/// When the gateway ended the connection.
pub async fn answer(wire: &mut Wire, request: &Seen) -> anyhow::Result<After> {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let reply = match path {
        "/reset" => return Ok(After::Close),
        "/json" => document(path, query),
        "/slow" => {
            let ms = parameter(query, "ms")
                .and_then(|ms| ms.parse().ok())
                .unwrap_or(50);
            tokio::time::sleep(Duration::from_millis(ms)).await;
            document(path, query)
        }
        "/headers" => Reply::json(
            200,
            &json!({"method": request.method, "url": request.target, "fields": request.fields}),
        ),
        "/gzip" => gzip()?,
        "/bytes" => generated(query),
        _ if path.starts_with("/echo") => echo(request),
        _ => path
            .strip_prefix("/status/")
            .and_then(|status| status.parse().ok())
            .map_or_else(|| Reply::json(404, &json!({"upstream": "no such path"})), status),
    };
    wire.send(&encode(&reply, request)).await?;
    Ok(match reply.framing {
        Framing::Close => After::Close,
        Framing::Length | Framing::Chunked | Framing::Bodiless => After::Keep,
    })
}

fn encode(reply: &Reply, request: &Seen) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", reply.status, reason(reply.status));
    if reply.framing != Framing::Bodiless {
        head.push_str(&format!("Content-Type: {}\r\n", reply.media_type));
    }
    match reply.framing {
        Framing::Length => head.push_str(&format!("Content-Length: {}\r\n", reply.body.len())),
        Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
        Framing::Close => head.push_str("Connection: close\r\n"),
        Framing::Bodiless => {}
    }
    for (name, value) in &reply.fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Date: {DATE}\r\n\r\n"));
    let mut bytes = head.into_bytes();
    if request.method != "HEAD" {
        match reply.framing {
            Framing::Length | Framing::Close => bytes.extend_from_slice(&reply.body),
            Framing::Chunked => bytes.extend_from_slice(&chunked(&reply.body, CHUNK_BYTES)),
            Framing::Bodiless => {}
        }
    }
    bytes
}

fn document(path: &str, query: &str) -> Reply {
    Reply::json(200, &json!({"ok": true, "path": path, "query": query}))
}

fn echo(request: &Seen) -> Reply {
    let mut reply = Reply::of(200, media_type(request), request.body.clone());
    reply.fields.push(("X-Echo-Method", request.method.clone()));
    reply
}

/// One of the media types that the lab sends, so that an answer's head holds nothing of the request's making.
fn media_type(request: &Seen) -> &'static str {
    match request.field("content-type") {
        Some("application/json") => "application/json",
        Some("application/x-www-form-urlencoded") => "application/x-www-form-urlencoded",
        Some("text/plain") => "text/plain",
        Some(_) | None => "application/octet-stream",
    }
}

fn gzip() -> anyhow::Result<Reply> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(
        json!({"compressed": true, "padding": "x".repeat(2000)})
            .to_string()
            .as_bytes(),
    )?;
    let mut reply = Reply::of(200, "application/json", encoder.finish()?.into());
    reply.fields.push(("Content-Encoding", "gzip".to_owned()));
    Ok(reply)
}

fn generated(query: &str) -> Reply {
    let number = |name| {
        parameter(query, name)
            .and_then(|value| value.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let size = usize::try_from(number("size")).unwrap_or(0);
    let (kind, media_type) = match parameter(query, "kind") {
        Some("binary") => (Kind::Binary, "application/octet-stream"),
        Some(_) | None => (Kind::Text, "text/plain"),
    };
    let mut reply = Reply::of(200, media_type, payload::bytes(kind, number("seed"), size));
    reply.framing = match parameter(query, "framing") {
        Some("chunked") => Framing::Chunked,
        Some("close") => Framing::Close,
        Some(_) | None => Framing::Length,
    };
    reply
}

fn status(status: u16) -> Reply {
    let mut reply = Reply::json(status, &json!({"status": status}));
    if matches!(status, 204 | 304) {
        reply.framing = Framing::Bodiless;
        reply.body = Bytes::new();
    }
    reply
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        304 => "Not Modified",
        404 => "Not Found",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
