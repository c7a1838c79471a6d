//! Joins the two legs of the gateway: a client's exchange with the upstream attempts that served it.
//!
//! In: finished exchanges of either leg, in any order, and the time. Out: every one of them exactly once, as part of a
//! [`JoinedExchange`] or as an orphan. The join key is the worker and `X-Kong-Request-Id`, which Kong puts on the upstream
//! request and on the client's response (3.5 on, when both of its `headers` switches are at their defaults).
//!
//! Deliberately absent: guessing. Legs without an id (older gateways, a client that left before its response began) are
//! never matched by time, address or target; they go out alone and are counted.

pub mod merge;
mod recover;
mod shelf;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::capture::event::KernelTime;
use crate::correlate::shelf::{Key, Shelf};
use crate::http::exchange::{Exchange, Leg};

/// The header that both legs of one request share.
const REQUEST_ID: &str = "X-Kong-Request-Id";
/// Longest request id that is believed, in bytes. Kong's has 32; nothing longer is hashed or kept as a key.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// From this status on, a response may be the gateway's own verdict on attempts that brought no answer.
const GATEWAY_ERROR_STATUS_MIN: u16 = 500;

/// A client's exchange with the upstream attempts that served it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedExchange {
    /// The downstream leg.
    pub client: Exchange,
    /// The upstream legs in the order of their requests; the last one is the answer. Empty when the gateway answered by
    /// itself, or when the upstream leg was not seen.
    pub upstream: Vec<Exchange>,
    /// `X-Kong-Request-Id`, when the gateway sets it.
    pub request_id: Option<Bytes>,
}

/// What leaves the correlator.
#[derive(Debug)]
pub enum Joined {
    /// A client's exchange, with its upstream legs as far as they were seen.
    Exchange(JoinedExchange),
    /// An upstream leg that no client's exchange claimed: a call of the gateway's own, or the other leg was lost.
    Orphan(Exchange),
}

/// How much is held, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct CorrelatorLimits {
    /// Finished upstream legs held for their client's exchange; over it the oldest leaves as an orphan.
    pub upstream_legs: usize,
    /// How long an upstream leg is held, in nanoseconds. A client that reads its response for longer is not joined.
    pub upstream_age_ns: u64,
    /// Client exchanges waiting for an upstream leg; over it the oldest leaves with what there is.
    pub waiting: usize,
    /// How long a proxied client exchange waits for its upstream leg, in nanoseconds.
    pub grace_ns: u64,
}

impl Default for CorrelatorLimits {
    fn default() -> Self {
        Self {
            upstream_legs: 65_536,
            upstream_age_ns: 60_000_000_000,
            waiting: 16_384,
            grace_ns: 500_000_000,
        }
    }
}

/// What became of what was offered.
///
/// Each client exchange that left is in exactly one of `joined`, `answered_by_gateway`, `without_request_id`,
/// `grace_expired` and `duplicate_ids`; each upstream leg that left is in `joined` (one each), `retries` or `orphans`.
/// With the two gauges these make up everything offered. `evicted` counts some of them a second time.
#[derive(Clone, Copy, Debug, Default)]
pub struct CorrelatorStats {
    /// Client exchanges that left with at least one upstream leg.
    pub joined: u64,
    /// Client exchanges that the gateway answered without an upstream.
    pub answered_by_gateway: u64,
    /// Client exchanges whose response carried no request id, or that had no response.
    pub without_request_id: u64,
    /// Proxied client exchanges that left without an upstream leg, because none came (a service that refuses connections
    /// has none).
    pub grace_expired: u64,
    /// Upstream legs that no client exchange claimed.
    pub orphans: u64,
    /// Upstream legs joined beyond the first of their client exchange.
    pub retries: u64,
    /// Exchanges of either leg that left early because a limit on their number was reached.
    pub evicted: u64,
    /// Client exchanges that left alone because another one with the same id was still waiting.
    pub duplicate_ids: u64,
    /// Upstream legs held now.
    pub upstream_held: u64,
    /// Client exchanges waiting now.
    pub waiting: u64,
}

impl CorrelatorStats {
    /// Every figure with its name.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("joined", self.joined),
            ("answered_by_gateway", self.answered_by_gateway),
            ("without_request_id", self.without_request_id),
            ("grace_expired", self.grace_expired),
            ("orphans", self.orphans),
            ("retries", self.retries),
            ("evicted", self.evicted),
            ("duplicate_ids", self.duplicate_ids),
            ("upstream_held", self.upstream_held),
            ("waiting", self.waiting),
        ]
        .into_iter()
    }
}

/// Joins legs. Both legs of a request, and its retries, are handled by one worker of the gateway, so one correlator may
/// serve any number of whole workers.
#[derive(Debug)]
pub struct Correlator {
    limits: CorrelatorLimits,
    /// The counters; its gauges are filled in by [`Correlator::stats`].
    counters: CorrelatorStats,
    /// Finished upstream legs, until their client's exchange takes them.
    upstream: Shelf<Exchange>,
    /// Client exchanges that lack an upstream leg; at most one a key.
    waiting: Shelf<Exchange>,
}

impl Correlator {
    /// An empty one.
    #[must_use]
    pub fn new(limits: CorrelatorLimits) -> Self {
        Self {
            limits,
            counters: CorrelatorStats::default(),
            upstream: Shelf::default(),
            waiting: Shelf::default(),
        }
    }

    /// Takes in a finished exchange, and puts out what it completes or displaces.
    pub fn offer(&mut self, exchange: Exchange, now: KernelTime, out: &mut Vec<Joined>) {
        match exchange.leg {
            Leg::Downstream => self.offer_client(exchange, now, out),
            Leg::Upstream => self.offer_upstream(exchange, now, out),
        }
    }

    /// Puts out what was held for long enough. To be called a few times within [`CorrelatorLimits::grace_ns`].
    pub fn sweep(&mut self, now: KernelTime, out: &mut Vec<Joined>) {
        while let Some((key, client)) = self.waiting.pop_aged(now, self.limits.grace_ns) {
            self.release(&key, client, out);
        }
        while let Some((_, leg)) = self.upstream.pop_aged(now, self.limits.upstream_age_ns) {
            self.orphan(leg, out);
        }
    }

    /// Puts out everything held: the recording ended, or the agent stops.
    pub fn flush(&mut self, out: &mut Vec<Joined>) {
        while let Some((key, client)) = self.waiting.pop_oldest() {
            self.release(&key, client, out);
        }
        while let Some((_, leg)) = self.upstream.pop_oldest() {
            self.orphan(leg, out);
        }
    }

    /// What became of everything offered so far.
    #[must_use]
    pub fn stats(&self) -> CorrelatorStats {
        CorrelatorStats {
            upstream_held: u64::try_from(self.upstream.len()).unwrap_or(u64::MAX),
            waiting: u64::try_from(self.waiting.len()).unwrap_or(u64::MAX),
            ..self.counters
        }
    }

    fn offer_client(&mut self, client: Exchange, now: KernelTime, out: &mut Vec<Joined>) {
        let Some(key) = key_of(&client) else {
            self.counters.without_request_id += 1;
            out.push(alone(client, None));
            return;
        };
        if self.waiting.contains(&key) {
            // The first to come keeps its claim on the legs.
            self.counters.duplicate_ids += 1;
            out.push(alone(client, Some(key.id)));
        } else if is_answered(&client, &self.upstream, &key) {
            self.release(&key, client, out);
        } else if was_proxied(&client) || self.upstream.contains(&key) {
            self.waiting.put(key, now, client);
            while self.waiting.len() > self.limits.waiting
                && let Some((oldest, displaced)) = self.waiting.pop_oldest()
            {
                self.counters.evicted += 1;
                self.release(&oldest, displaced, out);
            }
        } else {
            self.counters.answered_by_gateway += 1;
            out.push(alone(client, Some(key.id)));
        }
    }

    fn offer_upstream(&mut self, leg: Exchange, now: KernelTime, out: &mut Vec<Joined>) {
        let Some(key) = key_of(&leg) else {
            self.orphan(leg, out);
            return;
        };
        self.upstream.put(key.clone(), now, leg);
        let completes = self
            .waiting
            .of(&key)
            .any(|client| is_answered(client, &self.upstream, &key));
        if completes {
            for client in self.waiting.take(&key) {
                self.release(&key, client, out);
            }
        }
        while self.upstream.len() > self.limits.upstream_legs
            && let Some((_, displaced)) = self.upstream.pop_oldest()
        {
            self.counters.evicted += 1;
            self.orphan(displaced, out);
        }
    }

    /// Puts out a proxied client exchange with whatever legs are there. They are taken, so no later exchange can have them.
    fn release(&mut self, key: &Key, mut client: Exchange, out: &mut Vec<Joined>) {
        let mut upstream = self.upstream.take(key);
        upstream.sort_by_key(request_start);
        recover::from_upstream(&mut client, &upstream);
        match u64::try_from(upstream.len()).unwrap_or(u64::MAX) {
            0 => self.counters.grace_expired += 1,
            attempts => {
                self.counters.joined += 1;
                self.counters.retries += attempts - 1;
            }
        }
        out.push(Joined::Exchange(JoinedExchange {
            client,
            upstream,
            request_id: Some(key.id.clone()),
        }));
    }

    fn orphan(&mut self, leg: Exchange, out: &mut Vec<Joined>) {
        self.counters.orphans += 1;
        out.push(Joined::Orphan(leg));
    }
}

/// A client's exchange that leaves without upstream legs.
const fn alone(client: Exchange, request_id: Option<Bytes>) -> Joined {
    Joined::Exchange(JoinedExchange {
        client,
        upstream: Vec::new(),
        request_id,
    })
}

/// The worker and the request id: from the response towards the client (a client may send a false one, which Kong
/// overwrites), from the request towards the upstream.
fn key_of(exchange: &Exchange) -> Option<Key> {
    let headers = match exchange.leg {
        Leg::Downstream => exchange.response.as_ref().map(|response| &response.headers),
        Leg::Upstream => exchange.request.as_ref().map(|request| &request.headers),
    };
    let id = headers?.first(REQUEST_ID)?;
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()).then(|| Key {
        worker: exchange.conn.id.tgid,
        id: id.clone(),
    })
}

/// Whether the response shows that an upstream was tried: Kong sets these two only then, on its own 502 as well
/// (`testdata/kong-3.9.1/transcript.txt`). Both can be switched off in Kong with `headers`.
fn was_proxied(client: &Exchange) -> bool {
    client.response.as_ref().is_some_and(|response| {
        response.headers.contains("Via") || response.headers.contains("X-Kong-Upstream-Latency")
    })
}

/// Whether the newest leg of `key` is the attempt that served `client`. One without a response is a failed attempt: unless
/// the client got an error for it, the attempt that succeeded is still to come.
fn is_answered(client: &Exchange, upstream: &Shelf<Exchange>, key: &Key) -> bool {
    let got_error = client
        .response
        .as_ref()
        .is_some_and(|response| response.status >= GATEWAY_ERROR_STATUS_MIN);
    upstream
        .of(key)
        .max_by_key(|leg| request_start(leg))
        .is_some_and(|newest| got_error || newest.response.is_some())
}

fn request_start(leg: &Exchange) -> Option<KernelTime> {
    leg.request.as_ref().map(|request| request.started)
}
