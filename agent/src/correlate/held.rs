//! Keeps what waits in the correlator within its bound of bytes.
//!
//! In: exchanges that begin to wait. Out: the oldest of those that hold most together, as if their number had been too great. Deliberately absent: what
//! leaves because of its number or age.

use super::{Correlator, Joined};
use crate::capture::event::KernelTime;
use crate::http::exchange::{Body, Exchange};
use crate::http::headers::Headers;

/// Memory that an exchange takes, as far as it is counted: texts, bodies, and what holds them.
pub(super) fn bytes_of(exchange: &Exchange) -> usize {
    let message = |headers: &Headers, trailers: &Headers, body: &Body| {
        headers.held_bytes() + trailers.held_bytes() + body.bytes.len()
    };
    let request = exchange.request.as_ref().map_or(0, |request| {
        request.target.len() + message(&request.headers, &request.trailers, &request.body)
    });
    let response = exchange.response.as_ref().map_or(0, |response| {
        message(&response.headers, &response.trailers, &response.body)
    });
    size_of::<Exchange>() + request + response
}

/// The four places where exchanges wait.
#[derive(Clone, Copy, Debug)]
enum Place {
    Upstream,
    Waiting,
    NamelessClients,
    NamelessLegs,
}

impl Correlator {
    /// Bytes of everything that waits.
    pub(super) const fn held_bytes(&self) -> usize {
        self.upstream
            .bytes()
            .saturating_add(self.waiting.bytes())
            .saturating_add(self.order.client_bytes())
            .saturating_add(self.order.leg_bytes())
    }

    /// Gets what waits down to its bound.
    pub(super) fn lighten(&mut self, now: KernelTime, out: &mut Vec<Joined>) {
        while self.held_bytes() > self.limits.bytes {
            let places = [
                (self.upstream.bytes(), Place::Upstream),
                (self.waiting.bytes(), Place::Waiting),
                (self.order.client_bytes(), Place::NamelessClients),
                (self.order.leg_bytes(), Place::NamelessLegs),
            ];
            let Some((1.., fullest)) = places.into_iter().max_by_key(|(bytes, _)| *bytes) else {
                return;
            };
            match fullest {
                Place::Upstream => self.evict_leg(out),
                Place::Waiting => self.evict_waiting(now, out),
                Place::NamelessClients => self.evict_nameless_client(out),
                Place::NamelessLegs => self.evict_nameless_leg(out),
            }
        }
    }
}
