//! Hosts as the `traditional` router compares them.
//!
//! In: a request's `Host`, a route's `hosts`. Out: the forms that are compared. Before 2.0 ports are cut off; since then a host
//! without a port is right for any.

use crate::gateway::router::profile::Era;
use crate::gateway::router::request::Prepared;

/// `Host` of a request, taken apart.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// Whether there was one at all.
    pub(super) is_there: bool,
    /// What hosts are looked up by: as sent, or before 2.0 without the port.
    pub(super) raw: &'a [u8],
    /// Without port and brackets.
    pub(super) name: &'a [u8],
    /// With the scheme's default port filled in; what wildcards are held against.
    pub(super) with_port: Vec<u8>,
}

impl<'a> Asked<'a> {
    pub(super) fn of(request: &Prepared<'a>, era: Era) -> Self {
        let raw = request.host.unwrap_or_default();
        if era < Era::V2_0 {
            let colon = raw.iter().skip(1).position(|byte| *byte == b':');
            let name = colon.map_or(raw, |at| raw.get(..=at).unwrap_or(raw));
            return Self {
                is_there: request.host.is_some(),
                raw: name,
                name,
                with_port: name.to_vec(),
            };
        }
        let (name, base, has_port) = split_port(raw);
        let mut with_port = base.to_vec();
        if !has_port {
            let default: &[u8] = if request.tls { b"443" } else { b"80" };
            if with_port.last() != Some(&b':') {
                with_port.push(b':');
            }
            with_port.extend(default);
        }
        Self {
            is_there: request.host.is_some(),
            raw,
            name,
            with_port,
        }
    }
}

/// One of a route's hosts.
#[derive(Debug)]
pub(super) struct Term {
    pub(super) text: Vec<u8>,
    pub(super) wildcard: Option<Wildcard>,
}

/// `*` stands for at least one byte.
#[derive(Debug)]
pub(super) struct Wildcard {
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Without a port any is right.
    pub(super) has_port: bool,
}

impl Term {
    pub(super) fn new(host: &str) -> Self {
        let wildcard = host.split_once('*').map(|(head, tail)| Wildcard {
            head: head.as_bytes().to_vec(),
            tail: tail.as_bytes().to_vec(),
            has_port: split_port(host.as_bytes()).2,
        });
        Self {
            text: host.as_bytes().to_vec(),
            wildcard,
        }
    }
}

impl Wildcard {
    pub(super) fn holds(&self, host: &[u8], era: Era) -> bool {
        let fits = |host: &[u8]| {
            let inner = host.strip_prefix(self.head.as_slice());
            let inner = inner.and_then(|inner| inner.strip_suffix(self.tail.as_slice()));
            inner.is_some_and(|inner| !inner.is_empty())
        };
        if fits(host) {
            return true;
        }
        if era < Era::V2_0 || self.has_port {
            return false;
        }
        let colon = host.iter().rposition(|byte| *byte == b':');
        let name = colon.and_then(|at| {
            let port = host.get(at.saturating_add(1)..)?;
            let is_port = !port.is_empty() && port.iter().all(u8::is_ascii_digit);
            is_port.then(|| host.get(..at))?
        });
        name.is_some_and(fits)
    }
}

/// The name without port and brackets, what a port is appended to, and whether there was a port [K@3.9 split_port].
pub(super) fn split_port(host: &[u8]) -> (&[u8], &[u8], bool) {
    let digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    if let Some(inner) = host.strip_prefix(b"[") {
        if let Some(name) = inner.strip_suffix(b"]") {
            return (name, host, false);
        }
        let close = inner.windows(2).position(|pair| pair == b"]:");
        let Some(close) = close else {
            return (host, host, false);
        };
        let name = inner.get(..close).unwrap_or_default();
        let port = inner.get(close.saturating_add(2)..).unwrap_or_default();
        return match port {
            [] => (name, host, false),
            port if digits(port) => (name, host, true),
            _ => (host, host, false),
        };
    }
    let Some(colon) = host.iter().position(|byte| *byte == b':') else {
        return (host, host, false);
    };
    let name = host.get(..colon).unwrap_or_default();
    match host.get(colon.saturating_add(1)..).unwrap_or_default() {
        [] => (name, name, false),
        port if digits(port) => (name, host, true),
        _ => (host, host, false),
    }
}
