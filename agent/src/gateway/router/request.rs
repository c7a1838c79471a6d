//! What the router needs of a request, and the forms of it that the engines compare.
//!
//! In: an [`Exchange`] of the client leg. Out: [`RequestFacts`]. Nothing is copied but a path that needs normalising.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use crate::gateway::router::path::normalise;
use crate::gateway::router::profile::RouterProfile;
use crate::http::exchange::Exchange;
use crate::http::headers::Headers;

/// How many header lines Kong looks at: `lua_max_req_headers` by default.
const MAX_ROUTED_HEADERS: usize = 100;

/// The server name that a TLS client asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerName<'a> {
    /// This one.
    Named(&'a [u8]),
    /// None: a plain connection, or a client that names nothing.
    Absent,
    /// It was not seen.
    #[default]
    Unknown,
}

/// The facts that a route may depend on.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    /// Whether the client's connection is TLS: the scheme is `https`.
    pub tls: bool,
    /// The server name of its handshake.
    pub server_name: ServerName<'a>,
    /// Method as sent.
    pub method: &'a [u8],
    /// Request target as sent.
    pub target: &'a [u8],
    /// `Host` as sent, port included.
    pub host: Option<&'a [u8]>,
    /// All header fields.
    pub headers: &'a Headers,
    /// The other end of the connection.
    pub client: SocketAddr,
    /// The gateway's end: the listener.
    pub local: SocketAddr,
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
            server_name: if exchange.conn.tls {
                ServerName::Unknown
            } else {
                ServerName::Absent
            },
            method: &request.method,
            target: &request.target,
            host: host.map(|host| &**host),
            headers: &request.headers,
            client: exchange.conn.remote,
            local: exchange.conn.local,
        })
    }
}

/// A request in the forms that are compared.
pub(super) struct Prepared<'a> {
    pub(super) tls: bool,
    pub(super) server_name: ServerName<'a>,
    pub(super) method: &'a [u8],
    pub(super) path: Cow<'a, [u8]>,
    /// What follows the `?`.
    pub(super) query: Option<&'a [u8]>,
    pub(super) host: Option<&'a [u8]>,
    /// The client's address as the gateway has it, if that is certain.
    pub(super) client: Option<SocketAddr>,
    pub(super) local: SocketAddr,
    headers: &'a Headers,
}

impl<'a> Prepared<'a> {
    pub(super) fn new(facts: &RequestFacts<'a>, profile: &RouterProfile) -> Self {
        let (path, query) = split(facts.target);
        let client = profile.believes(canonical(facts.client.ip()));
        Self {
            tls: facts.tls,
            server_name: facts.server_name,
            method: facts.method,
            path: if profile.normalises_requests() {
                normalise(path)
            } else {
                Cow::Borrowed(path)
            },
            query,
            host: facts.host,
            client: client.map(|ip| SocketAddr::new(ip, facts.client.port())),
            local: SocketAddr::new(canonical(facts.local.ip()), facts.local.port()),
            headers: facts.headers,
        }
    }

    /// The values of a header. OpenResty finds a name with underscores as it is, and if there is none, with dashes.
    pub(super) fn header<'s>(
        &'s self,
        name: &'s str,
        dashed: &'s str,
    ) -> impl Iterator<Item = &'s [u8]> + 's {
        let named = move |wanted: &'s str| {
            let lines = self.headers.0.iter().take(MAX_ROUTED_HEADERS);
            lines
                .filter(move |header| header.name.eq_ignore_ascii_case(wanted.as_bytes()))
                .map(|header| &*header.value)
        };
        let wanted = if name == dashed || named(name).next().is_some() {
            name
        } else {
            dashed
        };
        named(wanted)
    }
}

/// An address as nginx prints it: one of IPv4 on a socket of IPv6 is taken for what it is.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Path and query of a request target: the path from `scheme://authority` on, up to a `?` (which Kong looks for from the second
/// byte on).
fn split(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    let target = match target.windows(3).position(|part| part == b"://") {
        Some(at) if !target.starts_with(b"/") => {
            let rest = target.get(at.saturating_add(3)..).unwrap_or_default();
            let slash = rest.iter().position(|byte| *byte == b'/');
            slash.and_then(|slash| rest.get(slash..)).unwrap_or(b"/")
        }
        Some(_) | None => target,
    };
    let mark = target.iter().enumerate().skip(1).find(|(_, byte)| **byte == b'?');
    let Some((at, _)) = mark else {
        return (target, None);
    };
    let path = target.get(..at).unwrap_or_default();
    (path, target.get(at.saturating_add(1)..))
}
