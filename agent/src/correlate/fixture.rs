//! For tests: exchanges made by hand, and those of the recorded gateway (`testdata/kong-3.9.1/`).

use std::net::SocketAddr;

use kongtap_common::record::ConnId;
use serde_json::Value;

use crate::capture::event::KernelTime;
use crate::http::anomaly::Anomalies;
use crate::http::exchange::{Body, ConnInfo, Exchange, HeadState, Leg, Outcome, Request, Response, Version};
use crate::http::headers::Headers;

const TRANSCRIPT: &str = include_str!("../../../testdata/kong-3.9.1/transcript.txt");
const UPSTREAM_REQUESTS: &str = include_str!("../../../testdata/kong-3.9.1/upstream-requests.jsonl");
const PLUGIN_POSTS: &str = include_str!("../../../testdata/kong-3.9.1/runscope-plugin-posts.jsonl");

const SERIALIZER_POSTS: &str = include_str!("../../../testdata/kong-3.9.1/http-log-post.jsonl");

/// One `###` section of the transcript.
pub(super) struct Call {
    pub(super) name: String,
    pub(super) client: Exchange,
}

pub(super) fn headers(lines: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in lines {
        headers.push((*name).to_owned(), (*value).to_owned());
    }
    headers
}

pub(super) fn request(headers: Headers, started: u64) -> Request {
    Request {
        method: "GET".into(),
        target: "/".into(),
        version: Version::Http11,
        head: HeadState::Whole,
        trailers: Headers::default(),
        headers,
        body: Body::default(),
        started: KernelTime(started),
        ended: KernelTime(started),
    }
}

pub(super) fn response(status: u16, headers: Headers, started: u64) -> Response {
    Response {
        status,
        reason: "".into(),
        version: Version::Http11,
        head: HeadState::Whole,
        trailers: Headers::default(),
        headers,
        body: Body::default(),
        started: KernelTime(started),
        ended: KernelTime(started),
    }
}

/// `serial` becomes the connection's generation, by which a test knows the exchange again.
pub(super) fn exchange(
    leg: Leg,
    worker: u32,
    serial: u64,
    request: Option<Request>,
    response: Option<Response>,
) -> Exchange {
    let address = SocketAddr::from(([127, 0, 0, 1], 8000));
    Exchange {
        conn: ConnInfo {
            id: ConnId {
                tgid: worker,
                fd: 7,
                generation_ns: serial,
            },
            local: address,
            remote: address,
            tls: false,
        },
        leg,
        outcome: match response {
            Some(_) => Outcome::Complete,
            None => Outcome::ResponseAbsent,
        },
        stream: None,
        reset: None,
        left_by: None,
        anomalies: Anomalies::NONE,
        request,
        response,
    }
}

/// What the recorded clients sent and got, in order.
pub(super) fn recorded_calls() -> Vec<Call> {
    TRANSCRIPT
        .split("### ")
        .skip(1)
        .zip(1..)
        .map(|(section, serial)| {
            let (name, rest) = section.split_once('\n').expect("a section has lines");
            let sent: Vec<&str> = rest
                .lines()
                .filter_map(|line| line.strip_prefix("> "))
                .skip(1)
                .collect();
            let got: Vec<&str> = rest.lines().filter_map(|line| line.strip_prefix("< ")).collect();
            // A 100 Continue comes before the final response.
            let last_status_line = got
                .iter()
                .rposition(|line| line.starts_with("HTTP/"))
                .expect("a section has a response");
            let status = got[last_status_line]
                .split(' ')
                .nth(1)
                .and_then(|status| status.parse().ok())
                .expect("a status line has a status");
            let got = fields(&got[last_status_line + 1..]);
            Call {
                name: name.trim().to_owned(),
                client: exchange(
                    Leg::Downstream,
                    1,
                    serial,
                    Some(request(fields(&sent), serial)),
                    Some(response(status, got, serial)),
                ),
            }
        })
        .collect()
}

/// The upstream legs of the recording, in the order of their arrival at the services. `/reset` closed without a response.
pub(super) fn recorded_upstream_legs() -> Vec<Exchange> {
    records(UPSTREAM_REQUESTS)
        .zip(1001..)
        .map(|(record, serial)| {
            let mut received = Headers::default();
            let raw = record["rawHeaders"].as_array().expect("rawHeaders is a list");
            for pair in raw.chunks_exact(2) {
                received.push(text(&pair[0]), text(&pair[1]));
            }
            let answer = (record["url"] != "/reset").then(|| response(200, Headers::default(), serial));
            exchange(Leg::Upstream, 1, serial, Some(request(received, serial)), answer)
        })
        .collect()
}

/// The bodies that the old plugin posted.
pub(super) fn recorded_posts() -> Vec<Value> {
    records(PLUGIN_POSTS)
        .map(|post| serde_json::from_str(&text(&post["body"])).expect("the plugin posted JSON"))
        .collect()
}

/// What Kong's own log serializer posted.
pub(super) fn recorded_serializer_posts() -> Vec<Value> {
    records(SERIALIZER_POSTS)
        .map(|post| serde_json::from_str(&text(&post["body"])).expect("the plugin posted JSON"))
        .collect()
}

/// The field lines of a head, as curl prints them.
fn fields(lines: &[&str]) -> Headers {
    let mut headers = Headers::default();
    for line in lines.iter().take_while(|line| !line.trim().is_empty()) {
        let (name, value) = line.split_once(':').expect("a field line has a colon");
        headers.push(name.to_owned(), value.trim().to_owned());
    }
    headers
}

fn records(lines: &'static str) -> impl Iterator<Item = Value> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("one JSON value a line"))
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}
