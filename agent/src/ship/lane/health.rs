//! How an endpoint bears what it is sent, and how many attempts it may therefore have at once.
//!
//! In: that attempts began and how they ended. Out: a number: none while its [breaker] is open or while it asked for a
//! pause, one while it is tried again, else what it [keeps up with](pace). No clock.

pub(crate) mod breaker;
pub(crate) mod pace;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use fastrand::Rng;
use serde::Serialize;

use crate::ship::ShipLimits;
use crate::ship::lane::health::breaker::{Breaker, Lets};
use crate::ship::lane::health::pace::Pace;

/// The longest pause that an endpoint gets by asking for it (Retry-After), milliseconds. After that it is asked again,
/// by as few attempts as after an overload.
const LONGEST_PAUSE_MS: u64 = 5 * 60 * 1000;

/// How long an endpoint that is sent nothing is remembered.
const REMEMBERED: Duration = Duration::from_mins(10);

/// How an attempt ended, as far as the endpoint's health goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was answered: taken, or refused for what it was (a 400-class answer).
    Answered {
        /// From its first byte to the answer's last.
        took: Duration,
    },
    /// It was told to come back later (429, 503).
    Overloaded {
        /// After how long, if that was said.
        after: Option<Duration>,
    },
    /// It failed: no connection, no answer in time, a broken one, another 5xx.
    Failed,
}

/// Whether there was more to send when an attempt began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backlog {
    None,
    Some,
}

/// An attempt under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    number: u64,
    backlog: Backlog,
}

/// What an endpoint is allowed, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// The breaker is closed: as many attempts as it keeps up with.
    Closed,
    /// It asked for a pause.
    Paused,
    /// The breaker is open: none.
    Open,
    /// One attempt is to tell whether it is back.
    HalfOpen,
}

impl EndpointState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Closed, Self::Paused, Self::Open, Self::HalfOpen];

    /// As metrics label it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Paused => "paused",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Health {
    breaker: Breaker,
    pace: Pace,
    paused_until: Option<Instant>,
    /// The number of the next attempt.
    next: u64,
    last_used: Instant,
    rng: Rng,
}

impl Health {
    pub(crate) fn new(limits: &ShipLimits, rng: Rng, now: Instant) -> Self {
        Self {
            breaker: Breaker::new(limits.breaker),
            pace: Pace::new(limits.in_flight),
            paused_until: None,
            next: 0,
            last_used: now,
            rng,
        }
    }

    /// How many attempts it may have at once now.
    pub(crate) fn allowed(&self, now: Instant) -> usize {
        match self.state(now) {
            EndpointState::Closed => self.pace.limit(),
            EndpointState::HalfOpen => 1,
            EndpointState::Paused | EndpointState::Open => 0,
        }
    }

    pub(crate) fn state(&self, now: Instant) -> EndpointState {
        match self.breaker.lets(now) {
            Lets::None => EndpointState::Open,
            Lets::All | Lets::One if self.pause(now).is_some() => EndpointState::Paused,
            Lets::One => EndpointState::HalfOpen,
            Lets::All => EndpointState::Closed,
        }
    }

    /// When `allowed` changes by itself, if it does.
    pub(crate) fn next_change(&self, now: Instant) -> Option<Instant> {
        let opens = self.breaker.open_until().filter(|until| *until > now);
        opens.max(self.pause(now))
    }

    /// An attempt begins.
    pub(crate) fn started(&mut self, backlog: Backlog, now: Instant) -> Begun {
        let number = self.next;
        self.next += 1;
        self.last_used = now;
        self.breaker.started(number, now);
        Begun { number, backlog }
    }

    /// An attempt ended.
    pub(crate) fn ended(&mut self, begun: Begun, ended: Ended, now: Instant) {
        let was_closed = self.breaker.is_closed();
        match ended {
            Ended::Answered { took } => {
                self.breaker.answered(self.next);
                if begun.backlog == Backlog::Some && !took.is_zero() {
                    self.pace.answered(begun.number, took, self.next, now);
                }
            }
            Ended::Overloaded { after: Some(after) } if !after.is_zero() => {
                // It is there and says what it wants.
                self.breaker.answered(self.next);
                self.pace.failed(begun.number, self.next);
                let until = now + after.min(Duration::from_millis(LONGEST_PAUSE_MS));
                self.paused_until = self.paused_until.max(Some(until));
            }
            // One that says nothing but "too much" to one attempt at a time is no better than one that fails.
            Ended::Overloaded { .. } | Ended::Failed => {
                self.breaker.failed(begun.number, &mut self.rng, now);
                self.pace.failed(begun.number, self.next);
            }
        }
        if was_closed && !self.breaker.is_closed() {
            self.pace.restart(self.next);
        }
    }

    /// An attempt was broken off and tells nothing.
    pub(crate) fn abandoned(&mut self, begun: Begun, now: Instant) {
        self.breaker.abandoned(begun.number, now);
    }

    /// Whether what it tells is of use still.
    pub(crate) fn is_worth_keeping(&self, now: Instant) -> bool {
        self.next_change(now).is_some() || now.saturating_duration_since(self.last_used) < REMEMBERED
    }

    /// Whether its breaker is closed.
    pub(crate) const fn is_well(&self) -> bool {
        self.breaker.is_closed()
    }

    /// When it was last sent something.
    pub(crate) const fn last_used(&self) -> Instant {
        self.last_used
    }

    fn pause(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }
}
