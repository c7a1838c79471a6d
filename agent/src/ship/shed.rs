//! What gives way when the queue is full: the operator's policy, and the counts of what it cost.
//!
//! In: the policy of `[ship.shed]`, and each body and message that goes. Out: [`ShedStats`]. Which message it is that gives
//! way, `lane::waiting` knows.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::message::Outcome;
use crate::telemetry::ledger::DropReason;

/// In which order what waits gives way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShedPolicy {
    /// Whether bodies are left out before messages are dropped for want of bytes.
    pub bodies: bool,
    /// Whether successes give way before errors.
    pub errors_last: bool,
    /// Which of those that are alike.
    pub first: GoesFirst,
}

/// Which of several messages that are alike gives way first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoesFirst {
    /// The one that came last: what waits longest is kept, and is sent in whole.
    Newest,
    /// The one that has waited longest: what is kept is recent.
    Oldest,
}

impl Default for ShedPolicy {
    fn default() -> Self {
        Self {
            bodies: true,
            errors_last: true,
            first: GoesFirst::Newest,
        }
    }
}

/// Why a body was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShedCause {
    /// The queue is full by bytes.
    QueueFull,
    /// It would have had room, had the bound not been lowered for the sake of the host.
    Pressure,
}

impl ShedCause {
    const ALL: [Self; 2] = [Self::QueueFull, Self::Pressure];

    const fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full_bytes",
            Self::Pressure => "pressure",
        }
    }
}

/// Bodies and messages that were given up, so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ShedStats {
    /// Messages whose bodies were left out, and the bytes that this saved, by cause.
    pub bodies: Vec<ShedBodies>,
    /// Messages that were not delivered, by the ledger's reason.
    pub dropped: Vec<DroppedMessages>,
}

/// Messages whose bodies were left out for one cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ShedBodies {
    /// `queue_full_bytes` or `pressure`.
    pub cause: &'static str,
    /// How many.
    pub messages: u64,
    /// By how much they became shorter, together.
    pub bytes: u64,
}

/// Messages that were not delivered for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DroppedMessages {
    /// As the ledger labels it.
    pub reason: &'static str,
    /// Of exchanges that were answered with a status below 400.
    pub successes: u64,
    /// Of others.
    pub errors: u64,
}

/// The counters.
#[derive(Debug, Default)]
pub(super) struct ShedCounts {
    bodies: [[AtomicU64; 2]; ShedCause::ALL.len()],
    dropped: [[AtomicU64; 2]; DropReason::ALL.len()],
}

impl ShedCounts {
    /// A message lost its bodies.
    pub(super) fn shed_bodies(&self, cause: ShedCause, bytes: usize) {
        let at = ShedCause::ALL.iter().position(|other| *other == cause);
        if let Some([messages, all_bytes]) = at.and_then(|at| self.bodies.get(at)) {
            messages.fetch_add(1, Ordering::Relaxed);
            all_bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// A message will not be delivered.
    pub(super) fn drop_message(&self, reason: DropReason, outcome: Outcome) {
        let at = DropReason::ALL.iter().position(|other| *other == reason);
        if let Some([successes, errors]) = at.and_then(|at| self.dropped.get(at)) {
            match outcome {
                Outcome::Success => successes.fetch_add(1, Ordering::Relaxed),
                Outcome::Error => errors.fetch_add(1, Ordering::Relaxed),
            };
        }
    }

    pub(super) fn stats(&self) -> ShedStats {
        let now = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ShedStats {
            bodies: ShedCause::ALL
                .iter()
                .zip(&self.bodies)
                .map(|(cause, [messages, bytes])| ShedBodies {
                    cause: cause.label(),
                    messages: now(messages),
                    bytes: now(bytes),
                })
                .collect(),
            dropped: DropReason::ALL
                .iter()
                .zip(&self.dropped)
                .map(|(reason, [successes, errors])| DroppedMessages {
                    reason: reason.label(),
                    successes: now(successes),
                    errors: now(errors),
                })
                .collect(),
        }
    }
}
