//! Whether and when a message is sent again.
//!
//! In: a failure and the message it befell. Out: the time of the next attempt, or that there is none. No clock.

use std::time::{Duration, Instant};

use crate::ship::account::Ticket;
use crate::ship::failure::{Again, Failure};

/// Bounds on repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryLimits {
    /// From when a message was queued to its last attempt. Zero: it is never sent again.
    pub max_age: Duration,
    /// How long the first repeat waits, about.
    pub first: Duration,
    /// How long any repeat waits, at most.
    pub most: Duration,
}

impl Default for RetryLimits {
    fn default() -> Self {
        Self {
            max_age: Duration::from_mins(5),
            first: Duration::from_millis(500),
            most: Duration::from_secs(30),
        }
    }
}

/// When `ticket` is sent again after `failure`, if it is.
pub(super) fn next_attempt(
    failure: &Failure,
    ticket: &Ticket,
    limits: &RetryLimits,
    now: Instant,
) -> Option<Instant> {
    let after = match failure.again {
        Again::Never => return None,
        Again::Always { after } => after.unwrap_or_default(),
        Again::WhereRecognised if ticket.message().is_recognisable() => Duration::ZERO,
        Again::WhereRecognised => return None,
    };
    let factor = 1_u32
        .checked_shl(ticket.attempts().saturating_sub(1))
        .unwrap_or(u32::MAX);
    let due = now + limits.first.saturating_mul(factor).min(limits.most).max(after);
    (due.saturating_duration_since(ticket.queued()) <= limits.max_age).then_some(due)
}
