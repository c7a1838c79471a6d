//! Load: one keep-alive connection's worth of exchanges of random shapes, each with an id and bodies of its own.
//!
//! In: a gateway with the lab's kong.yml. Out: what has to arrive. What the client got is checked against what the upstream
//! was asked to send, so that a broken gateway is not taken for a broken kongtap.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use bytes::Bytes;

use crate::client::{Answer, Connection, Content, Request, Scheme};
use crate::compare::Expected;
use crate::payload::{Kind, Numbers, bytes};
use crate::shipped::Scope;

/// Largest body, bytes: more than nginx's buffers hold, so that some go through its temporary files.
const LARGE_BYTES: u64 = 40_000;
/// Most bodies are smaller than this, bytes.
const SMALL_BYTES: u64 = 1_500;

/// One planned exchange.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What is sent.
    pub request: Request,
    /// The body that the upstream will answer with.
    pub response_body: Bytes,
    /// Where it belongs.
    pub scope: Scope,
}

/// The next exchange of a sequence.
pub fn plan(numbers: &mut Numbers) -> Planned {
    let (path, service, route, key) = match numbers.below(4) {
        0 => ("/keyed", "keyed-svc", "keyed", Some(("alice", "alice-key-2"))),
        1 => ("/keyed", "keyed-svc", "keyed", Some(("bob", "bob-key-1"))),
        2 => ("/tlsup", "tls-upstream-svc", "tlsup", None),
        _ => ("/plain", "plain-svc", "plain", None),
    };
    let (size, seed) = (body_size(numbers), numbers.draw());
    let (kind, kind_name) = kind(numbers);
    let framing = match numbers.below(3) {
        0 => "chunked",
        _ => "length",
    };
    let target = format!("{path}/bytes?size={size}&seed={seed}&kind={kind_name}&framing={framing}");
    let mut request = match numbers.below(3) {
        0 => Request::new("GET", &target),
        _ => Request::new("POST", &target).content("application/octet-stream", content(numbers)),
    };
    if let Some((_, key)) = key {
        request = request.field("apikey", key);
    }
    Planned {
        request,
        response_body: bytes(kind, seed, size),
        scope: Scope {
            service: Some(service.to_owned()),
            route: Some(route.to_owned()),
            consumer: key.map(|(consumer, _)| consumer.to_owned()),
        },
    }
}

fn body_size(numbers: &mut Numbers) -> usize {
    let limit = if numbers.below(3) == 0 {
        LARGE_BYTES
    } else {
        SMALL_BYTES
    };
    usize::try_from(numbers.below(limit)).unwrap_or(0)
}

fn kind(numbers: &mut Numbers) -> (Kind, &'static str) {
    match numbers.below(2) {
        0 => (Kind::Text, "text"),
        _ => (Kind::Binary, "binary"),
    }
}

fn content(numbers: &mut Numbers) -> Content {
    let (kind, _) = kind(numbers);
    let size = body_size(numbers);
    let body = bytes(kind, numbers.draw(), size);
    if numbers.below(3) == 0 {
        Content::Chunked(body, 1 + size / 7)
    } else {
        Content::Sized(body)
    }
}

/// Makes `count` exchanges on one connection; every fourth is sent together with the next (pipelined).
///
/// # Errors
/// When the gateway breaks off or answers with something else than the upstream's body.
pub async fn exchange_many(
    gateway: SocketAddr,
    scheme: Scheme,
    seed: u64,
    count: usize,
) -> anyhow::Result<Vec<Expected>> {
    let mut numbers = Numbers::new(seed);
    let mut connection = Connection::open(gateway, scheme).await?;
    let mut expected = Vec::with_capacity(count);
    while expected.len() < count {
        let together = if numbers.below(4) == 0 { 2 } else { 1 };
        let planned: Vec<_> = (0..together).map(|_| plan(&mut numbers)).collect();
        for one in &planned {
            connection.send(&one.request).await?;
        }
        for one in &planned {
            let answer = connection.answer(&one.request.method).await?;
            expected.push(one.expected((scheme, gateway), &answer)?);
        }
    }
    Ok(expected)
}

impl Planned {
    /// What has to arrive, after the client got this answer.
    ///
    /// # Errors
    /// When the answer is not the upstream's.
    pub fn expected(&self, listener: (Scheme, SocketAddr), answer: &Answer) -> anyhow::Result<Expected> {
        ensure!(
            answer.status == 200,
            "{}: status {}",
            self.request.target,
            answer.status
        );
        ensure!(
            answer.body.bytes == self.response_body,
            "{}: the client did not get what the upstream sent",
            self.request.target
        );
        answer
            .field("X-Kong-Request-Id")
            .context("an answer without X-Kong-Request-Id")?;
        Ok(Expected::of(
            "load",
            listener,
            &self.request,
            answer,
            Some(self.scope.clone()),
        ))
    }
}
