//! Where an exchange's time went, as `kong.latencies`.
//!
//! In: a joined exchange. Out: `Serialize`, milliseconds. Times are measured on the legs; what only the upstream leg shows is taken from
//! Kong's own header fields where that leg was not seen, or is absent. `request`, `kong` and `upstream` mean what Kong's log serializer and
//! its header fields mean (3.9 `kong/runloop/handler.lua`, `kong/init.lua`): the balancer is asked anew for each attempt, so the time of
//! attempts that failed counts as Kong's and `upstream` is that of the last one. The other four are the split that Kong does not
//! tell. All of them are differences of two moments, and none is negative: what is out of order comes to zero.

use serde::Serialize;
use serde::ser::Serializer;

use crate::capture::event::KernelTime;
use crate::correlate::{JoinedExchange, provenance};
use crate::http::exchange::{Exchange, Request, Response};
use crate::message::answer;

/// The object `kong.latencies`.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Latencies {
    /// First byte of the request to last byte of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Milliseconds>,
    /// First byte of the request until it went upstream for the last time; until the answer, if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    kong: Option<Milliseconds>,
    /// From then until the first byte of the upstream's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<Milliseconds>,
    /// First to last byte of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_receive: Option<Milliseconds>,
    /// Attempts that failed: the first one's request until the last one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<Milliseconds>,
    /// First to last byte of the upstream's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_receive: Option<Milliseconds>,
    /// First to last byte of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_send: Option<Milliseconds>,
    /// What is left for the gateway itself: from having the request until it went upstream for the first time, and from the
    /// upstream's first byte until the client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<Milliseconds>,
}

impl Latencies {
    pub(super) fn new(joined: &JoinedExchange) -> Self {
        let request = joined.client.request.as_ref();
        let response = joined.client.response.as_ref();
        let started = request.map(|request| request.started);
        let attempts = Attempts::of(joined);
        let header = |name: &str| response.and_then(|response| header_ms(response, name));
        let until = |moment: Option<KernelTime>| between(started, moment);

        let is_own = joined.upstream.is_empty() && response.is_some_and(provenance::says_own);
        let own_answer = response.filter(|_| is_own).map(|response| response.started);
        Self {
            request: until(response.map(|response| response.ended)),
            kong: until(attempts.last)
                .or_else(|| header(answer::PROXY_LATENCY))
                .or_else(|| header(answer::RESPONSE_LATENCY))
                .or_else(|| until(own_answer)),
            upstream: between(attempts.last, attempts.answered).or_else(|| header(answer::UPSTREAM_LATENCY)),
            request_receive: request.and_then(|request| between(Some(request.started), Some(request.ended))),
            retries: (joined.upstream.len() > 1)
                .then(|| between(attempts.first, attempts.last))
                .flatten(),
            upstream_receive: between(attempts.answered, attempts.ended),
            response_send: response
                .and_then(|response| between(Some(response.started), Some(response.ended))),
            gateway: gateway(request, response, &attempts, is_own),
        }
    }
}

/// What the upstream legs show.
#[derive(Debug)]
struct Attempts {
    /// When the first request went upstream.
    first: Option<KernelTime>,
    /// When the last one did.
    last: Option<KernelTime>,
    /// When its answer began.
    answered: Option<KernelTime>,
    /// When its answer ended.
    ended: Option<KernelTime>,
}

impl Attempts {
    fn of(joined: &JoinedExchange) -> Self {
        let asked = |leg: &Exchange| leg.request.as_ref().map(|request| request.started);
        let answer = joined.upstream.last().and_then(|leg| leg.response.as_ref());
        Self {
            first: joined.upstream.first().and_then(asked),
            last: joined.upstream.last().and_then(asked),
            answered: answer.map(|response| response.started),
            ended: answer.map(|response| response.ended),
        }
    }
}

/// The time that neither the client nor an upstream was waited for.
fn gateway(
    request: Option<&Request>,
    response: Option<&Response>,
    attempts: &Attempts,
    is_own: bool,
) -> Option<Milliseconds> {
    let (request, response) = (request?, response?);
    // Passed on while it still came, a request was at hand from its first byte.
    let at_hand = |taken_up: KernelTime| {
        if request.ended <= taken_up {
            request.ended
        } else {
            request.started
        }
    };
    let ns = if is_own {
        response.started.ns_since(at_hand(response.started))
    } else {
        let first = attempts.first?;
        let answered = attempts.answered?;
        first.ns_since(at_hand(first)) + response.started.ns_since(answered)
    };
    Some(Milliseconds::from_ns(ns))
}

fn between(from: Option<KernelTime>, to: Option<KernelTime>) -> Option<Milliseconds> {
    Some(Milliseconds::from_ns(to?.ns_since(from?)))
}

fn header_ms(response: &Response, name: &str) -> Option<Milliseconds> {
    let ms: u32 = response.headers.text(name)?.parse().ok()?;
    Some(Milliseconds::from_ns(u64::from(ms) * 1_000_000))
}

/// A number of milliseconds with three decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Milliseconds {
    us: u64,
}

impl Milliseconds {
    const fn from_ns(ns: u64) -> Self {
        Self { us: ns / 1_000 }
    }
}

impl Serialize for Milliseconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A microsecond is to a millisecond what a millisecond is to a second.
        serializer.serialize_f64(std::time::Duration::from_millis(self.us).as_secs_f64())
    }
}

#[cfg(test)]
mod tests;
