//! What the extended profile adds: `unique_identifier`, and the object `kong`.
//!
//! In: [`BuildInput`]. Out: `Serialize`. Times here are milliseconds (`latencies`), as Kong's own log serializer has them; the
//! plugin's fields keep the plugin's seconds.

use std::net::SocketAddr;

use serde::Serialize;
use serde::ser::Serializer;
use uuid::Uuid;

use crate::clock::WallClock;
use crate::correlate::{JoinedBy, JoinedExchange, REQUEST_ID};
use crate::gateway::snapshot::{ConsumerMatch, KnownBy, RouteMatch};
use crate::guard::Resource;
use crate::guard::levels::Shed;
use crate::http::anomaly::Anomalies;
use crate::http::exchange::{Body, HeadState, Peer, Version};
use crate::http::h1::Side;
use crate::http::headers::Headers;
use crate::http::verdict::Verdict;
use crate::message::BuildInput;
use crate::message::answer::{self, AnsweredBy};
use crate::message::fields::HeaderObject;
use crate::message::latencies::Latencies;
use crate::message::redact::Rules;
use crate::message::shed::{Noted, Part, Sheet};
use crate::message::shedding::cut;

/// Longest request id that is taken for one; Kong's has 32 characters.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Names the exchange, the same way each time the message is made.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum UniqueIdentifier<'a> {
    /// The gateway's request id.
    RequestId(&'a str),
    /// An id of the connection and the times of the exchange.
    Derived(String),
}

impl<'a> UniqueIdentifier<'a> {
    pub(super) fn of(joined: &'a JoinedExchange, wall: WallClock) -> Self {
        request_id(joined).map_or_else(|| Self::Derived(derived_id(joined, wall)), Self::RequestId)
    }
}

/// The request id, if it is the gateway's and looks like one: visible ASCII of sane length.
///
/// A gateway that makes none passes on a client's, or a service's. Whoever says the same one twice would have its second exchange
/// taken for a repeat of the first.
fn request_id(joined: &JoinedExchange) -> Option<&str> {
    let id = joined.request_id.as_ref()?;
    let is_sane = (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
    let say_so = |headers: &Headers| headers.all(REQUEST_ID).any(|said| said == id);
    let is_clients = joined
        .client
        .request
        .as_ref()
        .is_some_and(|request| say_so(&request.headers));
    // A service may well say what the gateway told it.
    let is_services = joined.upstream.last().is_some_and(|leg| {
        leg.response
            .as_ref()
            .is_some_and(|response| say_so(&response.headers))
            && !leg
                .request
                .as_ref()
                .is_some_and(|request| say_so(&request.headers))
    });
    let is_gateways = !is_clients && !is_services;
    str::from_utf8(id).ok().filter(|_| is_sane && is_gateways)
}

/// Pipelined requests share the time at which they were read, so the answer's times and the upstream connection are part
/// of the name too. Connection times are Unix time, which tells hosts apart.
fn derived_id(joined: &JoinedExchange, wall: WallClock) -> String {
    let client = &joined.client;
    let mut name: Vec<u8> = Vec::with_capacity(256);
    let mut add = |part: u64| name.extend_from_slice(&part.to_be_bytes());
    for exchange in std::iter::once(client).chain(&joined.upstream) {
        let conn = exchange.conn.id;
        add(conn.tgid.into());
        add(u64::from(conn.fd.unsigned_abs()));
        add(wall.boot_unix_ns.wrapping_add(conn.generation_ns));
        if let Some(request) = &exchange.request {
            add(request.started.0);
            add(request.ended.0);
        }
        if let Some(response) = &exchange.response {
            add(response.started.0);
            add(response.ended.0);
        }
    }
    if let Some(request) = &client.request {
        name.extend_from_slice(&request.method);
        name.push(b' ');
        name.extend_from_slice(&request.target);
    }
    // A digest: the name holds the query, which may hold credentials.
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &name).simple().to_string()
}

/// The object `kong`.
#[derive(Debug, Serialize)]
pub(super) struct Kong<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<Named<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Named<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer: Option<ConsumerObject<'a>>,
    #[serde(skip_serializing_if = "is_false")]
    consumer_unknown: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_by: Option<AnsweredBy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    joined_by: Option<&'static str>,
    client: Client,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<Upstream>,
    latencies: Latencies,
    /// The part of all exchanges that is shipped, when that is not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    sampling: Option<f64>,
    completeness: Completeness<'a>,
    #[serde(skip_serializing_if = "Anomalies::is_empty")]
    anomalies: Anomalies,
    #[serde(skip_serializing_if = "Option::is_none")]
    reset: Option<ResetObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trailers: Option<HeaderObject<'a>>,
}

/// An HTTP/2 stream that was broken off.
#[derive(Debug, Serialize)]
struct ResetObject {
    by: &'static str,
    code: u32,
}

#[derive(Debug, Serialize)]
struct Named<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ConsumerObject<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_id: Option<&'a str>,
    by: KnownBy,
}

#[derive(Debug, Serialize)]
struct Client {
    address: Address,
    tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_version: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Upstream {
    address: Address,
    tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    attempts: usize,
}

#[derive(Debug, Serialize)]
struct Completeness<'a> {
    #[serde(flatten)]
    verdict: VerdictObject,
    request: Noted<'a, Captured>,
    response: Noted<'a, Captured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'static str>,
}

/// The verdict's name under `verdict`, and its particulars beside it.
#[derive(Debug, Serialize)]
struct VerdictObject {
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    side: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<u64>,
}

impl VerdictObject {
    fn new(joined: &JoinedExchange) -> Self {
        let verdict = verdict_of(joined);
        let (side, at, of) = match verdict {
            Verdict::BodyCut { side, at, of } => (Some(side), Some(at), of),
            Verdict::Hole { side, at } => (Some(side), Some(at), None),
            Verdict::Whole | Verdict::HeadLost | Verdict::ResponseAbsent | Verdict::ClientGone => {
                (None, None, None)
            }
        };
        Self {
            verdict: verdict.name(),
            side: side.map(|side| match side {
                Side::Request => "request",
                Side::Response => "response",
            }),
            at,
            of,
        }
    }
}

/// The client leg's verdict. nginx learns without a call that its client has left (`EPOLLRDHUP`), so that leg may not tell who
/// gave up; but nginx then leaves the upstream too, which it does for no other reason without an answer to its client (it
/// answers 504 after a timeout).
fn verdict_of(joined: &JoinedExchange) -> Verdict {
    let verdict = joined.client.verdict();
    let left_upstream = joined
        .upstream
        .last()
        .is_some_and(|last| last.verdict() == Verdict::ClientGone);
    if verdict == Verdict::ResponseAbsent && left_upstream {
        Verdict::ClientGone
    } else {
        verdict
    }
}

#[derive(Debug, Serialize)]
struct Captured {
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<&'static str>,
    state: CaptureState,
    captured_bytes: u64,
    total_bytes: u64,
    /// What the agent is short of, if it cuts bodies for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    shed: Option<&'static str>,
    #[serde(skip_serializing_if = "is_false")]
    withheld: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// How much of a body was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum CaptureState {
    /// All of it.
    Whole,
    /// Its first bytes, up to `limits.body_bytes`.
    Truncated,
    /// Bytes of it moved unseen.
    Holes,
    /// It ended before its framing said so.
    Cut,
    /// There was no head.
    Absent,
}

impl<'a> Kong<'a> {
    /// `is_withheld`: redaction could not search the request's body.
    pub(super) fn new(
        input: &BuildInput<'a>,
        rules: &Rules<'_>,
        is_withheld: bool,
        shed: Shed,
        sheet: &'a Sheet,
    ) -> Self {
        let joined = input.joined;
        let client = &joined.client;
        let request = client
            .request
            .as_ref()
            .map(|request| (request.head, &request.body));
        let response = client
            .response
            .as_ref()
            .map(|response| (response.head, &response.body));
        let rate = shed.rate();
        // Where no bodies are wanted, none is missed.
        let shed = if input.config.log_body {
            shed
        } else {
            Shed::default()
        };
        Self {
            route: match &input.resolution.route {
                RouteMatch::Matched(route) => Some(Named {
                    id: &route.id,
                    name: route.name.as_deref(),
                }),
                RouteMatch::NoRoute | RouteMatch::Unknown(_) => None,
            },
            service: input.resolution.service.as_deref().map(|service| Named {
                id: &service.id,
                name: service.name.as_deref(),
            }),
            consumer: match &input.resolution.consumer {
                ConsumerMatch::Known(consumer, by) => Some(ConsumerObject {
                    by: *by,
                    id: &consumer.id,
                    username: consumer.username.as_deref(),
                    custom_id: consumer.custom_id.as_deref(),
                }),
                ConsumerMatch::Nobody | ConsumerMatch::Unknown => None,
            },
            consumer_unknown: match &input.resolution.consumer {
                ConsumerMatch::Unknown => true,
                ConsumerMatch::Known(..) | ConsumerMatch::Nobody => false,
            },
            request_id: request_id(joined),
            answered_by: answer::answered_by(joined),
            joined_by: joined.joined_by().map(|by| match by {
                JoinedBy::RequestId => "request_id",
                JoinedBy::Order => "order",
            }),
            client: Client {
                address: Address(client.conn.remote),
                tls: client.conn.tls,
                http_version: client
                    .request
                    .as_ref()
                    .map(|request| version_text(request.version)),
            },
            upstream: joined.upstream.last().map(|last| Upstream {
                address: Address(last.conn.remote),
                tls: last.conn.tls,
                status: last.response.as_ref().map(|response| response.status),
                attempts: joined.upstream.len(),
            }),
            latencies: Latencies::new(joined),
            sampling: rate.leaves_out().then(|| rate.part()),
            completeness: Completeness {
                verdict: VerdictObject::new(joined),
                request: sheet.note(
                    Part::RequestCompleteness,
                    Captured::new(request, is_withheld, shed),
                ),
                response: sheet.note(Part::ResponseCompleteness, Captured::new(response, false, shed)),
                upstream: answer::is_upstream_unseen(joined).then_some("not_seen"),
            },
            anomalies: client.anomalies,
            reset: client.reset.map(|reset| ResetObject {
                by: match reset.by {
                    Peer::Client => "client",
                    Peer::Server => "server",
                },
                code: reset.code,
            }),
            trailers: client
                .response
                .as_ref()
                .map(|response| &response.trailers)
                .filter(|trailers| !trailers.0.is_empty())
                .map(|trailers| HeaderObject::of_trailers(trailers, rules)),
        }
    }
}

const fn version_text(version: Version) -> &'static str {
    match version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
        Version::Http2 => "2",
    }
}

impl Captured {
    fn new(message: Option<(HeadState, &Body)>, withheld: bool, shed: Shed) -> Self {
        let Some((head, body)) = message else {
            return Self {
                head: None,
                state: CaptureState::Absent,
                captured_bytes: 0,
                total_bytes: 0,
                shed: None,
                withheld,
            };
        };
        let body = cut(body, shed);
        let state = if body.hole_bytes > 0 || body.has_open_hole {
            CaptureState::Holes
        } else if !body.complete {
            CaptureState::Cut
        } else if !body.is_whole() {
            CaptureState::Truncated
        } else {
            CaptureState::Whole
        };
        Self {
            head: match head {
                HeadState::Whole => None,
                HeadState::Partial => Some("partial"),
                HeadState::FromUpstream => Some("from_upstream"),
            },
            state,
            captured_bytes: u64::try_from(body.bytes.len()).unwrap_or(u64::MAX),
            total_bytes: body.total_bytes,
            shed: match state {
                CaptureState::Truncated => shed.cuts_bodies_for().map(Resource::label),
                CaptureState::Whole | CaptureState::Holes | CaptureState::Cut | CaptureState::Absent => None,
            },
            withheld,
        }
    }
}

/// `address:port`.
#[derive(Clone, Copy, Debug)]
struct Address(SocketAddr);

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
