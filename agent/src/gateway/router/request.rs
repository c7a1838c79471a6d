//! What the router needs of a request, and the forms of it that the engines compare.
//!
//! In: an [`Exchange`] of the client leg. Out: [`RequestFacts`]. Nothing is copied but a path that needs normalising.

use std::borrow::Cow;

use crate::gateway::router::path::normalise;
use crate::gateway::router::profile::PathRules;
use crate::http::exchange::Exchange;
use crate::http::headers::Headers;

/// The facts that a route may depend on.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    /// Whether the client's connection is TLS: the scheme is `https`.
    pub tls: bool,
    /// Method as sent.
    pub method: &'a [u8],
    /// Request target as sent.
    pub target: &'a [u8],
    /// `Host` as sent, port included.
    pub host: Option<&'a [u8]>,
    /// All header fields.
    pub headers: &'a Headers,
    /// The port of the listener that accepted the connection.
    pub local_port: u16,
}

impl<'a> RequestFacts<'a> {
    /// The facts of a client leg; `None` when its request head was lost.
    #[must_use]
    pub fn of(exchange: &'a Exchange) -> Option<Self> {
        let request = exchange.request.as_ref()?;
        let host = request
            .headers
            .first("host")
            .or_else(|| request.headers.first(":authority"));
        Some(Self {
            tls: exchange.conn.tls,
            method: &request.method,
            target: &request.target,
            host: host.map(|host| &**host),
            headers: &request.headers,
            local_port: exchange.conn.local.port(),
        })
    }
}

/// A request in the forms that are compared.
pub(super) struct Prepared<'a> {
    pub(super) tls: bool,
    pub(super) method: &'a [u8],
    pub(super) path: Cow<'a, [u8]>,
    pub(super) host: Option<&'a [u8]>,
    pub(super) headers: &'a Headers,
    pub(super) local_port: u16,
}

impl<'a> Prepared<'a> {
    pub(super) fn new(facts: &RequestFacts<'a>, rules: PathRules) -> Self {
        let path = path_of(facts.target);
        Self {
            tls: facts.tls,
            method: facts.method,
            path: if rules.normalise_request {
                normalise(path)
            } else {
                Cow::Borrowed(path)
            },
            host: facts.host,
            headers: facts.headers,
            local_port: facts.local_port,
        }
    }
}

/// The path of a request target: from `scheme://authority` on, up to a `?` (which Kong looks for from the second byte on).
fn path_of(target: &[u8]) -> &[u8] {
    let target = match target.windows(3).position(|part| part == b"://") {
        Some(at) if !target.starts_with(b"/") => {
            let rest = target.get(at.saturating_add(3)..).unwrap_or_default();
            let slash = rest.iter().position(|byte| *byte == b'/');
            slash.and_then(|slash| rest.get(slash..)).unwrap_or(b"/")
        }
        Some(_) | None => target,
    };
    let query = target.iter().enumerate().skip(1).find(|(_, byte)| **byte == b'?');
    query.and_then(|(at, _)| target.get(..at)).unwrap_or(target)
}
