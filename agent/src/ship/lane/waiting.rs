//! What waits in one lane: messages in the order they came, and those that are to be sent again at their time.
//!
//! In: tickets. Out: the next ones to send, and those that give way when the queue is full. No clock, no lock.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crate::ship::account::Ticket;
use crate::telemetry::ledger::DropReason;

/// What the queue is short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Short {
    Messages,
    Bytes,
}

impl Short {
    pub(crate) const fn reason(self) -> DropReason {
        match self {
            Self::Messages => DropReason::QueueFullCount,
            Self::Bytes => DropReason::QueueFullBytes,
        }
    }
}

/// The most that one POST takes. One message always fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Portion {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Waiting {
    fresh: VecDeque<Ticket>,
    /// To be sent again, by when; the number tells those of the same moment apart.
    again: BTreeMap<(Instant, u64), Ticket>,
    put_back: u64,
    bytes: usize,
}

impl Waiting {
    pub(crate) fn push(&mut self, ticket: Ticket) {
        self.bytes += ticket.message().json().len();
        self.fresh.push_back(ticket);
    }

    /// Takes back one that is to be sent again, not before `due`.
    pub(crate) fn put_back(&mut self, ticket: Ticket, due: Instant) {
        self.bytes += ticket.message().json().len();
        self.put_back += 1;
        self.again.insert((due, self.put_back), ticket);
    }

    /// The next messages to send: repeats that are due first, then those that have waited longest.
    pub(crate) fn take(&mut self, now: Instant, portion: Portion) -> Vec<Ticket> {
        let mut taken = Vec::new();
        let mut bytes = 0_usize;
        while taken.len() < portion.messages.max(1) {
            let next = self.first(now).map(|ticket| ticket.message().json().len());
            let Some(length) = next.filter(|length| taken.is_empty() || bytes + length <= portion.bytes)
            else {
                break;
            };
            bytes += length;
            taken.extend(self.pop(now));
        }
        taken
    }

    /// How many could be taken now.
    pub(crate) fn ready(&self, now: Instant) -> usize {
        self.fresh.len() + self.again.range(..=(now, u64::MAX)).count()
    }

    /// When the first repeat falls due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.again.first_key_value().map(|((due, _), _)| *due)
    }

    /// How much of what is short it holds.
    pub(crate) fn held(&self, short: Short) -> usize {
        match short {
            Short::Messages => self.fresh.len() + self.again.len(),
            Short::Bytes => self.bytes,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.again.is_empty()
    }

    /// The message that gives way to another.
    pub(crate) fn give_way(&mut self) -> Option<Ticket> {
        let ticket = self
            .fresh
            .pop_back()
            .or_else(|| self.again.pop_last().map(|(_, ticket)| ticket))?;
        self.bytes -= ticket.message().json().len();
        Some(ticket)
    }

    fn first(&self, now: Instant) -> Option<&Ticket> {
        match self.again.first_key_value() {
            Some(((due, _), ticket)) if *due <= now => Some(ticket),
            Some(_) | None => self.fresh.front(),
        }
    }

    fn pop(&mut self, now: Instant) -> Option<Ticket> {
        let ticket = match self.again.first_entry() {
            Some(first) if first.key().0 <= now => first.remove(),
            Some(_) | None => self.fresh.pop_front()?,
        };
        self.bytes -= ticket.message().json().len();
        Some(ticket)
    }
}
