//! One destination's messages and what decides how they are sent.

pub(super) mod health;
pub(super) mod waiting;

use std::sync::Arc;
use std::time::Instant;

use crate::plugin::Destination;
use crate::ship::account::Ticket;
use crate::ship::lane::waiting::Waiting;

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) waiting: Waiting,
    /// Senders at work.
    pub(super) senders: usize,
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
            origin: Arc::from(destination.url.origin().ascii_serialization()),
        }
    }
}
