//! Sent against received: every exchange has to arrive once, and as it was.
//!
//! In: what client and upstream saw ([`Expected`]) and what the receiver has ([`Shipped`]). Out: a [`Report`] with a row for
//! each exchange. No clock, no IO: the end-to-end tests and `kongtap-lab --once` judge by this alone.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::client::{Answer, Request, Scheme};
use crate::shipped::{Scope, Shipped};

/// An exchange as client and upstream saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What tables call it.
    pub name: String,
    /// The id that the client sent.
    pub id: String,
    /// Method.
    pub method: String,
    /// URL as the plugin writes it: with the listener's port.
    pub url: String,
    /// Status that the client got.
    pub status: u16,
    /// Body that the client sent.
    pub request_body: Bytes,
    /// Body that the client got, without chunk framing.
    pub response_body: Bytes,
    /// The same on the wire, with chunk framing.
    pub response_wire_bytes: u64,
    /// Kong's request id, from the client's answer.
    pub request_id: Option<String>,
    /// Names of service, route and consumer; `None` where they are not to be compared.
    pub scope: Option<Scope>,
}

impl Expected {
    /// The exchange as the client saw it, sent to this listener.
    #[must_use]
    pub fn of(
        name: &str,
        (scheme, listener): (Scheme, SocketAddr),
        request: &Request,
        answer: &Answer,
        scope: Option<Scope>,
    ) -> Self {
        // The plugin's rule: the host without its port, in lower case, then the listener's port.
        let host = request.host.as_deref().map_or_else(
            || listener.ip().to_string(),
            |host| host.split(':').next().unwrap_or(host).to_ascii_lowercase(),
        );
        Self {
            name: name.to_owned(),
            id: request.id.clone(),
            method: request.method.clone(),
            url: format!("{}://{host}:{}{}", scheme.name(), listener.port(), request.target),
            status: answer.status,
            request_body: Bytes::copy_from_slice(request.body()),
            response_body: answer.body.bytes.clone(),
            response_wire_bytes: u64::try_from(answer.body.wire_bytes).unwrap_or(u64::MAX),
            request_id: answer.field("X-Kong-Request-Id").map(str::to_owned),
            scope,
        }
    }
}

/// What became of an expected exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It arrived once, as it was.
    Same,
    /// It did not arrive.
    Missing,
    /// It arrived more than once.
    Doubled(usize),
    /// It arrived once, marked as one whose upstream leg was not seen, and without the consumer, whom only that leg names;
    /// otherwise as it was.
    HalfSeen,
    /// It arrived once, but not as it was: each difference in words.
    Different(Vec<String>),
}

/// One expected exchange and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What was expected.
    pub expected: Expected,
    /// What became of it.
    pub verdict: Verdict,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// In the order in which they were expected.
    pub rows: Vec<Row>,
    /// Messages that nobody expected, by method and URL.
    pub strangers: Vec<String>,
}

impl Report {
    /// Whether everything arrived once, as it was, and nothing else did.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.strangers.is_empty() && self.rows.iter().all(|row| row.verdict == Verdict::Same)
    }

    /// What is wrong, at most `limit` lines and a count.
    #[must_use]
    pub fn complaints(&self, limit: usize) -> String {
        let wrong: Vec<String> = self
            .rows
            .iter()
            .filter(|row| row.verdict != Verdict::Same)
            .map(|row| {
                format!(
                    "{} {} {}: {}",
                    row.expected.name, row.expected.method, row.expected.url, row.verdict
                )
            })
            .chain(
                self.strangers
                    .iter()
                    .map(|stranger| format!("unexpected: {stranger}")),
            )
            .collect();
        let shown: Vec<_> = wrong.iter().take(limit).cloned().collect();
        format!(
            "{} of {} exchanges are wrong\n{}",
            wrong.len(),
            self.rows.len(),
            shown.join("\n")
        )
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("same"),
            Self::Missing => f.write_str("MISSING"),
            Self::Doubled(times) => write!(f, "ARRIVED {times} TIMES"),
            Self::HalfSeen => f.write_str("HALF SEEN: no consumer, for want of the upstream leg"),
            Self::Different(differences) => write!(f, "DIFFERENT: {}", differences.join("; ")),
        }
    }
}

/// Compares.
#[must_use]
pub fn compare(expected: &[Expected], shipped: &[Shipped]) -> Report {
    let mut by_id: HashMap<&str, Vec<&Shipped>> = HashMap::new();
    for message in shipped {
        by_id
            .entry(message.id.as_deref().unwrap_or_default())
            .or_default()
            .push(message);
    }
    let rows = expected
        .iter()
        .map(|expected| Row {
            verdict: match by_id.remove(expected.id.as_str()).as_deref() {
                None | Some([]) => Verdict::Missing,
                Some([message]) => verdict(expected, message),
                Some(messages) => Verdict::Doubled(messages.len()),
            },
            expected: expected.clone(),
        })
        .collect();
    let strangers = by_id
        .into_values()
        .flatten()
        .map(|message| format!("{} {}", message.method, message.url))
        .collect();
    Report { rows, strangers }
}

fn verdict(expected: &Expected, message: &Shipped) -> Verdict {
    let differences = differences(expected, message);
    if differences.is_empty() {
        return Verdict::Same;
    }
    if message.lacks_upstream_leg && message.scope.consumer.is_none() {
        let mut anonymous = expected.clone();
        if let Some(scope) = &mut anonymous.scope {
            scope.consumer = None;
        }
        if self::differences(&anonymous, message).is_empty() {
            return Verdict::HalfSeen;
        }
    }
    Verdict::Different(differences)
}

fn differences(expected: &Expected, message: &Shipped) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |what: &str, expected: &dyn fmt::Display, received: &dyn fmt::Display| {
        let (expected, received) = (expected.to_string(), received.to_string());
        if expected != received {
            found.push(format!("{what} {received} instead of {expected}"));
        }
    };
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    check("method", &expected.method, &message.method);
    check("url", &expected.url, &message.url);
    check(
        "status",
        &expected.status,
        &or_none(message.status.map(|status| status.to_string())),
    );
    check(
        "request body",
        &Digest(&expected.request_body),
        &Digest(message.request_body.as_deref().unwrap_or_default()),
    );
    check(
        "response body",
        &Digest(&expected.response_body),
        &Digest(message.response_body.as_deref().unwrap_or_default()),
    );
    check(
        "size_bytes",
        &expected.response_wire_bytes,
        &or_none(message.size_bytes.map(|size| size.to_string())),
    );
    if let Some(scope) = &expected.scope {
        check("scope", scope, &message.scope);
        check(
            "request id",
            &or_none(expected.request_id.clone()),
            &or_none(message.request_id.clone()),
        );
    }
    found
}

/// Tells bodies apart without printing them: length and a hash of all their bytes (FNV-1a).
struct Digest<'a>(&'a [u8]);

impl fmt::Display for Digest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = self.0.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        write!(f, "of {} bytes ({hash:016x})", self.0.len())
    }
}

#[cfg(test)]
mod tests;
