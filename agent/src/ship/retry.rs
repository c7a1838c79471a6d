//! Whether and when a message is sent again.
//!
//! In: a failure, the message it befell, random numbers. Out: the time of the next attempt, or that there is none. No clock.
//!
//! Pauses grow exponentially and are jittered, so that messages and agents that failed together do not come back
//! together. Of the two usual kinds of jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015) this is the
//! *equal* one, half of a pause fixed and half of it random: full jitter may repeat at once, which would spend attempts
//! on an endpoint that has only just failed, and what it does better (fewer calls under contention) the endpoint's
//! `lane::health` does here.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use fastrand::Rng;

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
    rng: &mut Rng,
    now: Instant,
) -> Option<Instant> {
    let after = match failure.again {
        Again::Never => return None,
        Again::Always { after } => after,
        Again::WhereRecognised if ticket.message().is_recognisable() => None,
        Again::WhereRecognised => return None,
    };
    let tried = Tried {
        queued: ticket.queued(),
        attempts: ticket.attempts(),
    };
    tried.next(after, limits, rng, now)
}

/// What was done for a message so far.
#[derive(Clone, Copy, Debug)]
struct Tried {
    queued: Instant,
    attempts: u32,
}

impl Tried {
    /// The next attempt: after a jittered pause and not before the endpoint said (RFC 9110 section 10.2.3). A pause that
    /// would pass the end of `max_age` ends there, so that the last attempt makes use of all the time there is.
    fn next(
        self,
        after: Option<Duration>,
        limits: &RetryLimits,
        rng: &mut Rng,
        now: Instant,
    ) -> Option<Instant> {
        let last = self.queued.checked_add(limits.max_age)?;
        // What is left is less than any pause: this attempt was the last one.
        let shortest = limits.first.min(limits.max_age) / 2;
        if last.checked_duration_since(now)? < shortest.max(Duration::from_nanos(1)) {
            return None;
        }
        let pause = backoff(limits.first, limits.most, self.attempts, rng);
        let due = match after {
            // A little later than it said: all that were told the same would come in the same moment.
            Some(after) => {
                let told = now.checked_add(after).filter(|told| *told <= last)?;
                (told + backoff(limits.first, limits.first, 1, rng)).max(now + pause)
            }
            None => now + pause,
        };
        Some(due.min(last))
    }
}

/// How long to wait after the `times`th failure in a row: `first`, doubled each time up to `most`; between half and all
/// of that.
pub(super) fn backoff(first: Duration, most: Duration, times: u32, rng: &mut Rng) -> Duration {
    let doubled = 1_u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX);
    let whole = first.saturating_mul(doubled).min(most);
    let half = whole / 2;
    let random = u64::try_from((whole - half).as_nanos()).unwrap_or(u64::MAX);
    half + Duration::from_nanos(rng.u64(0..=random))
}
