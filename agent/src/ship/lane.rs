//! One destination's messages and what decides how they are sent.

pub(super) mod endpoint;
pub(super) mod health;
pub(super) mod waiting;

use std::sync::Arc;
use std::time::Instant;

use crate::plugin::Destination;
use crate::ship::ShipLimits;
use crate::ship::account::Ticket;
use crate::ship::lane::waiting::Waiting;

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) waiting: Waiting,
    /// Senders at work.
    pub(super) senders: usize,
    /// Of these, senders that have taken nothing yet.
    pub(super) coming: usize,
    /// Whether it stands in its endpoint's `turn`.
    pub(super) in_turn: bool,
    /// Scheme, host and port: what lanes share an endpoint by.
    pub(super) origin: Arc<str>,
}

/// A message that is to be sent again, and when.
#[derive(Debug)]
pub(super) struct Lent {
    pub(super) ticket: Ticket,
    pub(super) due: Instant,
}

impl Lane {
    pub(super) fn new(destination: &Destination) -> Self {
        Self {
            waiting: Waiting::default(),
            senders: 0,
            coming: 0,
            in_turn: false,
            origin: Arc::from(destination.url.origin().ascii_serialization()),
        }
    }

    /// How many senders it could use beside those that it has, when what is due by `due` may be sent, so many messages in one
    /// POST.
    pub(super) fn wants(&mut self, due: Instant, messages: usize, limits: &ShipLimits) -> usize {
        let portions = self.waiting.ready(due).div_ceil(messages.max(1));
        portions
            .saturating_sub(self.coming)
            .min(limits.in_flight.saturating_sub(self.senders))
    }
}
