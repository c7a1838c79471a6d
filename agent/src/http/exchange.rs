//! One request with its response, as one leg of the gateway showed them.

use std::net::SocketAddr;

use bytes::Bytes;
use kongtap_common::record::ConnId;

use crate::capture::event::KernelTime;
use crate::http::anomaly::Anomalies;
use crate::http::headers::Headers;

/// Which side of the gateway a connection is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leg {
    /// Client to gateway: the gateway receives requests.
    Downstream,
    /// Gateway to service: the gateway sends requests.
    Upstream,
}

/// The connection that an exchange travelled on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnInfo {
    /// Its identity; `tgid` is the worker.
    pub id: ConnId,
    /// The gateway's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Whether it carried TLS.
    pub tls: bool,
}

/// One request and what became of it, on one leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Where it travelled.
    pub conn: ConnInfo,
    /// Which side of the gateway.
    pub leg: Leg,
    /// The request; `None` when its head was lost.
    pub request: Option<Request>,
    /// The final response (1xx answers are passed over, 101 is final); `None` when there was none or its head was lost.
    pub response: Option<Response>,
    /// How it ended.
    pub outcome: Outcome,
    /// Its stream on an HTTP/2 connection.
    pub stream: Option<u32>,
    /// Who broke it off (HTTP/2's RST_STREAM), if anybody did.
    pub reset: Option<Reset>,
    /// Who ended the connection before the response had ended; `None` if nobody did, or if it cannot be told.
    pub left_by: Option<Peer>,
    /// What was odd about either message.
    pub anomalies: Anomalies,
}

/// An HTTP/2 stream was broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// By whom.
    pub by: Peer,
    /// RFC 9113 section 7; 8 (CANCEL) is what a client sends that went away.
    pub code: u32,
}

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Who sends requests.
    Client,
    /// Who answers them.
    Server,
}

/// What of a head is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HeadState {
    /// All of it.
    #[default]
    Whole,
    /// Some of it: an HTTP/2 head that refers to fields which were sent before the connection was watched, or one with a
    /// hole. `method` and `target` are empty where they are not known; unknown fields are left out.
    Partial,
    /// It was partial, and was filled in with what the upstream leg shows.
    FromUpstream,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What of the head is known.
    pub head: HeadState,
    /// Method as sent; empty where what stood in its place was none, as `target`.
    pub method: Bytes,
    /// Request target as sent: origin, absolute, authority or asterisk form.
    pub target: Bytes,
    /// HTTP version.
    pub version: Version,
    /// Header fields. HTTP/2's pseudo fields are not among them; its `:authority` is, as `host`.
    pub headers: Headers,
    /// Body.
    pub body: Body,
    /// Fields after the body: HTTP/2's, and those of chunked bodies.
    pub trailers: Headers,
    /// When its first byte moved.
    pub started: KernelTime,
    /// When its last byte moved (the newest seen, if it did not end).
    pub ended: KernelTime,
}

impl Request {
    /// Whether it is known what was asked, and of whom, as far as the client said so.
    #[must_use]
    pub fn names_its_target(&self) -> bool {
        let has_all = !self.method.is_empty() && !self.target.is_empty() && self.headers.contains("host");
        self.head == HeadState::Whole || has_all
    }
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// What of the head is known.
    pub head: HeadState,
    /// Status code, 100 to 999.
    pub status: u16,
    /// Reason phrase as sent, possibly empty.
    pub reason: Bytes,
    /// HTTP version.
    pub version: Version,
    /// Header fields. HTTP/2's pseudo fields are not among them; its `:authority` is, as `host`.
    pub headers: Headers,
    /// Body.
    pub body: Body,
    /// Fields after the body: HTTP/2's, and those of chunked bodies.
    pub trailers: Headers,
    /// When its first byte moved.
    pub started: KernelTime,
    /// When its last byte moved (the newest seen, if it did not end).
    pub ended: KernelTime,
}

/// HTTP version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

/// A body, de-chunked but otherwise as it was sent (content coding kept).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// The first bytes, at most `limits.body_bytes` of them and none after the first that is missing.
    pub bytes: Bytes,
    /// Its length as far as it moved, whether it was copied or not; without chunk framing, but for what was left uncopied
    /// of a chunked body together with its framing.
    pub total_bytes: u64,
    /// The same with chunk framing: what nginx counts as `$body_bytes_sent`.
    pub wire_bytes: u64,
    /// How many of `total_bytes` are lost.
    pub hole_bytes: u64,
    /// Whether more of it moved unseen, of which it is not known how much; `total_bytes` is the least then.
    pub has_open_hole: bool,
    /// Position of its first missing byte.
    pub first_hole_at: Option<u64>,
    /// Its length as the head declared it (`Content-Length`); `None` where something else frames it.
    pub declared_bytes: Option<u64>,
    /// Whether its framing said that it was complete.
    pub complete: bool,
}

impl Body {
    /// Whether every byte of it is in `bytes`.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.complete && !self.has_open_hole && u64::try_from(self.bytes.len()) == Ok(self.total_bytes)
    }
}

/// How an exchange ended, as far as its leg shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Request and response ended as their framing said.
    Complete,
    /// The connection ended, or was given up, before the response began.
    ResponseAbsent,
    /// The response began and its framing was never satisfied.
    ResponseCut,
    /// A head was lost in a hole.
    HeadLost,
    /// The connection changed protocol (101, or a 2xx to CONNECT); what follows is not HTTP.
    Upgraded,
}
