//! One destination's messages and what decides how they are sent.

pub(super) mod health;
pub(super) mod waiting;

use std::sync::Arc;
use std::time::Instant;

use crate::plugin::Destination;
use crate::ship::ShipLimits;
use crate::ship::account::Ticket;
use crate::ship::batch::Batch;
use crate::ship::lane::waiting::{Portion, Waiting};

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) waiting: Waiting,
    /// Whether several messages may travel in one POST.
    pub(super) batch: Batch,
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
            batch: Batch::default(),
            senders: 0,
            origin: Arc::from(destination.url.origin().ascii_serialization()),
        }
    }

    /// What one POST may take.
    pub(super) fn portion(&self, limits: &ShipLimits) -> Portion {
        Portion {
            messages: self.batch.most(limits),
            bytes: limits.batch_bytes,
        }
    }
}
