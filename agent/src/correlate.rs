//! Joins the two legs of the gateway: a client's exchange with the upstream attempts that served it.
//!
//! In: finished exchanges of either leg, in any order, and the time. Out: every one of them exactly once, as part of a
//! [`JoinedExchange`] or as an orphan. The join key is the worker and `X-Kong-Request-Id`, which Kong puts on the upstream
//! request and on the client's response (3.5 on, when both of its `headers` switches are at their defaults). Legs that no id ties
//! (older gateways, a client that left before its response began) are joined by worker, order and time where only one answer is
//! possible (`order`); otherwise they go out alone and are counted.
//!
//! Deliberately absent: guessing.

mod held;
pub mod merge;
mod order;
pub mod provenance;
mod recover;
mod shelf;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::capture::event::KernelTime;
use crate::correlate::order::{Due, Order};
use crate::correlate::shelf::{Key, Shelf};
use crate::http::exchange::{Exchange, HeadState, Leg};
use crate::http::open::OpenRequest;

/// The header that both legs of one request share.
pub(crate) const REQUEST_ID: &str = "X-Kong-Request-Id";
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

/// What the two legs were joined by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinedBy {
    /// Both name the same request id.
    RequestId,
    /// The worker, the order of its calls and what the gateway passed on left one answer only.
    Order,
}

impl JoinedExchange {
    /// What the legs were joined by; `None` when there is one leg only.
    #[must_use]
    pub fn joined_by(&self) -> Option<JoinedBy> {
        let last = self.upstream.last()?;
        let id = key_of(&self.client);
        Some(if id.is_some() && id == key_of(last) {
            JoinedBy::RequestId
        } else {
            JoinedBy::Order
        })
    }
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
    /// Finished upstream legs held for their client's exchange, those with an id and those without apart; over it the oldest
    /// leaves as an orphan.
    pub upstream_legs: usize,
    /// How long an upstream leg is held, in nanoseconds. A client that reads its response for longer is not joined.
    pub upstream_age_ns: u64,
    /// Client exchanges waiting for an upstream leg, those with an id and those without apart; over it the oldest leaves with
    /// what there is.
    pub waiting: usize,
    /// Bytes of everything that waits; over it the oldest leaves, of those that hold most together.
    pub bytes: usize,
    /// How long a client exchange that may have been proxied waits for its upstream leg, in nanoseconds.
    pub grace_ns: u64,
}

impl Default for CorrelatorLimits {
    fn default() -> Self {
        Self {
            upstream_legs: 65_536,
            upstream_age_ns: 60_000_000_000,
            waiting: 16_384,
            bytes: 64 << 20,
            grace_ns: 500_000_000,
        }
    }
}

/// What became of what was offered.
///
/// Each client exchange that left is in exactly one of `joined`, `answered_by_gateway`, `without_request_id`,
/// `grace_expired` and `duplicate_ids`; each upstream leg that left is in `joined` (one each), `retries` or `orphans`.
/// With the two gauges these make up everything offered. `evicted`, `joined_by_order` and `left_apart` count some of them a
/// second time.
#[derive(Clone, Copy, Debug, Default)]
pub struct CorrelatorStats {
    /// Client exchanges that left with at least one upstream leg.
    pub joined: u64,
    /// Client exchanges that the gateway answered without an upstream.
    pub answered_by_gateway: u64,
    /// Of these, those that no request id ties: one answer only was possible.
    pub joined_by_order: u64,
    /// Client exchanges without a request id that left without an upstream leg.
    pub without_request_id: u64,
    /// Client exchanges that left alone although a leg was there that may be theirs: another answer was possible too.
    pub left_apart: u64,
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
    /// Bytes of both.
    pub held_bytes: u64,
}

impl CorrelatorStats {
    /// Every figure with its name.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("joined", self.joined),
            ("joined_by_order", self.joined_by_order),
            ("left_apart", self.left_apart),
            ("answered_by_gateway", self.answered_by_gateway),
            ("without_request_id", self.without_request_id),
            ("grace_expired", self.grace_expired),
            ("orphans", self.orphans),
            ("retries", self.retries),
            ("evicted", self.evicted),
            ("duplicate_ids", self.duplicate_ids),
            ("upstream_held", self.upstream_held),
            ("waiting", self.waiting),
            ("held_bytes", self.held_bytes),
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
    /// Exchanges of either leg that no id can tie.
    order: Order,
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
            order: Order::default(),
        }
    }

    /// Takes in a finished exchange, and puts out what it completes or displaces.
    pub fn offer(&mut self, exchange: Exchange, now: KernelTime, out: &mut Vec<Joined>) {
        match exchange.leg {
            Leg::Downstream => self.offer_client(exchange, now, out),
            Leg::Upstream => self.offer_upstream(exchange, now, out),
        }
        self.lighten(now, out);
    }

    /// Whether [`Correlator::sweep`] will have to know which requests are under way.
    #[must_use]
    pub fn asks_for_open_requests(&self, now: KernelTime) -> bool {
        let is_due =
            self.order.is_due(now, self.limits.grace_ns) || self.waiting.is_due(now, self.limits.grace_ns);
        is_due && (self.order.legs() > 0 || self.upstream.len() > 0)
    }

    /// Puts out what was held for long enough. To be called a few times within [`CorrelatorLimits::grace_ns`]. `open` are the
    /// clients' requests that are under way, if they were asked for.
    pub fn sweep(&mut self, now: KernelTime, open: &[OpenRequest], out: &mut Vec<Joined>) {
        let mut due = Vec::new();
        while let Some((key, client)) = self.waiting.pop_aged(now, self.limits.grace_ns) {
            self.release_or_ask(key, client, now, &mut due, out);
        }
        while let Some(client) = self.order.pop_due(now, self.limits.grace_ns) {
            due.push(client);
        }
        self.settle(due, open, out);
        while let Some((_, leg)) = self.upstream.pop_aged(now, self.limits.upstream_age_ns) {
            self.give_up(leg, out);
        }
        while let Some(leg) = self.order.pop_aged_leg(now, self.limits.upstream_age_ns) {
            self.orphan(leg, out);
        }
        self.order.age(now, self.limits.upstream_age_ns);
    }

    /// Puts out everything held: the recording ended, or the agent stops.
    pub fn flush(&mut self, out: &mut Vec<Joined>) {
        let mut due = Vec::new();
        while let Some((key, client)) = self.waiting.pop_oldest() {
            self.release_or_ask(key, client, KernelTime(u64::MAX), &mut due, out);
        }
        while let Some(client) = self.order.pop_client() {
            due.push(client);
        }
        self.settle(due, &[], out);
        while let Some((_, leg)) = self.upstream.pop_oldest() {
            self.give_up(leg, out);
        }
        while let Some(leg) = self.order.pop_leg() {
            self.orphan(leg, out);
        }
    }

    /// What became of everything offered so far.
    #[must_use]
    pub fn stats(&self) -> CorrelatorStats {
        CorrelatorStats {
            upstream_held: count(self.upstream.len() + self.order.legs()),
            waiting: count(self.waiting.len() + self.order.clients()),
            held_bytes: count(self.held_bytes()),
            ..self.counters
        }
    }

    fn offer_client(&mut self, client: Exchange, now: KernelTime, out: &mut Vec<Joined>) {
        let Some(key) = key_of(&client) else {
            self.offer_nameless_client(client, now, out);
            return;
        };
        if self.waiting.contains(&key) {
            // The first to come keeps its claim on the legs.
            self.counters.duplicate_ids += 1;
            out.push(alone(client, Some(key.id)));
        } else if is_answered(&client, &self.upstream, &key) {
            self.release(&key, client, out);
        } else if self.upstream.contains(&key) || !client.response.as_ref().is_some_and(provenance::says_own)
        {
            let bytes = held::bytes_of(&client);
            self.waiting.put(key, now, client, bytes);
            while self.waiting.len() > self.limits.waiting {
                self.evict_waiting(now, out);
            }
        } else {
            self.counters.answered_by_gateway += 1;
            out.push(alone(client, Some(key.id)));
        }
    }

    fn offer_upstream(&mut self, leg: Exchange, now: KernelTime, out: &mut Vec<Joined>) {
        let Some(key) = key_of(&leg) else {
            self.offer_nameless_leg(leg, now, out);
            return;
        };
        let bytes = held::bytes_of(&leg);
        self.upstream.put(key.clone(), now, leg, bytes);
        let completes = self
            .waiting
            .of(&key)
            .any(|client| is_answered(client, &self.upstream, &key));
        if completes {
            for client in self.waiting.take(&key) {
                self.release(&key, client, out);
            }
        }
        while self.upstream.len() > self.limits.upstream_legs {
            self.evict_leg(out);
        }
    }

    fn offer_nameless_client(&mut self, client: Exchange, now: KernelTime, out: &mut Vec<Joined>) {
        if client.response.as_ref().is_some_and(provenance::says_own) {
            self.counters.answered_by_gateway += 1;
            out.push(alone(client, None));
            return;
        }
        if client.request.is_none() {
            // Whatever went upstream until now may have been for it.
            self.order.forget_client(now);
            self.counters.without_request_id += 1;
            out.push(alone(client, None));
            return;
        }
        self.order.hold_client(client, now);
        while self.order.clients() > self.limits.waiting {
            self.evict_nameless_client(out);
        }
    }

    fn offer_nameless_leg(&mut self, leg: Exchange, now: KernelTime, out: &mut Vec<Joined>) {
        if !Order::takes(&leg) {
            if leg
                .request
                .as_ref()
                .is_none_or(|request| request.head != HeadState::Whole)
            {
                // It may have been anybody's.
                self.order.forget_leg(now);
            }
            self.orphan(leg, out);
            return;
        }
        self.order.hold_leg(leg, now);
        while self.order.legs() > self.limits.upstream_legs {
            self.evict_nameless_leg(out);
        }
    }

    /// The oldest client with an id makes room.
    fn evict_waiting(&mut self, now: KernelTime, out: &mut Vec<Joined>) {
        if let Some((oldest, displaced)) = self.waiting.pop_oldest() {
            self.counters.evicted += 1;
            self.order.forget_client(now);
            self.release(&oldest, displaced, out);
        }
    }

    /// The oldest leg with an id makes room.
    fn evict_leg(&mut self, out: &mut Vec<Joined>) {
        if let Some((_, displaced)) = self.upstream.pop_oldest() {
            self.counters.evicted += 1;
            self.give_up(displaced, out);
        }
    }

    /// The oldest client without an id makes room.
    fn evict_nameless_client(&mut self, out: &mut Vec<Joined>) {
        if let Some(displaced) = self.order.pop_client() {
            self.counters.evicted += 1;
            self.counters.without_request_id += 1;
            self.order.forget_client(displaced.since);
            out.push(alone(displaced.client, None));
        }
    }

    /// The oldest leg without an id makes room.
    fn evict_nameless_leg(&mut self, out: &mut Vec<Joined>) {
        if let Some(displaced) = self.order.pop_leg() {
            self.counters.evicted += 1;
            self.orphan(displaced, out);
        }
    }

    /// A client with an id has waited for long enough: it leaves with the legs of its id, or it is asked whether a leg without
    /// one is its own.
    fn release_or_ask(
        &mut self,
        key: Key,
        client: Exchange,
        since: KernelTime,
        due: &mut Vec<Due>,
        out: &mut Vec<Joined>,
    ) {
        if self.upstream.contains(&key) || client.request.is_none() {
            self.release(&key, client, out);
        } else {
            due.push(Due {
                key: Some(key),
                since,
                client,
            });
        }
    }

    /// Puts out clients that no id ties to a leg, with what is certainly theirs.
    fn settle(&mut self, due: Vec<Due>, open: &[OpenRequest], out: &mut Vec<Joined>) {
        for settled in self.order.settle(due, &mut self.upstream, &self.waiting, open) {
            self.counters.left_apart += u64::from(settled.is_ambiguous);
            let own_id = settled.due.key.map(|key| key.id);
            let attempts = count(settled.upstream.len());
            if attempts > 0 {
                self.counters.joined += 1;
                self.counters.joined_by_order += 1;
                self.counters.retries += attempts - 1;
            } else if own_id.is_some() {
                self.counters.grace_expired += 1;
            } else {
                self.counters.without_request_id += 1;
            }
            let request_id = own_id.or_else(|| settled.upstream.last().and_then(key_of).map(|key| key.id));
            out.push(Joined::Exchange(JoinedExchange {
                client: settled.due.client,
                upstream: settled.upstream,
                request_id,
            }));
        }
    }

    /// A leg with an id leaves that nobody claimed.
    fn give_up(&mut self, leg: Exchange, out: &mut Vec<Joined>) {
        if let Some(started) = request_start(&leg) {
            self.order.forget_leg(started);
        }
        self.orphan(leg, out);
    }

    /// Puts out a proxied client exchange with whatever legs are there. They are taken, so no later exchange can have them.
    fn release(&mut self, key: &Key, mut client: Exchange, out: &mut Vec<Joined>) {
        let mut upstream = self.upstream.take(key);
        upstream.sort_by_key(request_start);
        recover::from_upstream(&mut client, &upstream);
        match count(upstream.len()) {
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

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
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
