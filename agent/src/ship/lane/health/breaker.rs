//! The circuit breaker of one endpoint: after failures in a row it is left alone for a while, then tried by one attempt.
//!
//! In: that attempts began, by number, and how they ended. Out: whether attempts may be made. No clock.
//!
//! ```text
//! closed ── failures in a row ──► open ── time is up, an attempt begins ──► trying
//!    ▲                             ▲                                          │
//!    │                             └──────────── it fails: longer ────────────┤
//!    └───────────────────────────── an answer, to whichever attempt ──────────┘
//! ```

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::ship::retry::backoff;

/// When an endpoint is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerLimits {
    /// Failures in a row after which it is.
    pub failures: u32,
    /// For how long at first, about; about twice as long each further time.
    pub open: Duration,
    /// For how long at most.
    pub most: Duration,
}

impl Default for BreakerLimits {
    fn default() -> Self {
        Self {
            failures: 5,
            open: Duration::from_secs(1),
            most: Duration::from_mins(1),
        }
    }
}

/// How many attempts may be in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lets {
    All,
    One,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed {
        /// Failures since the last answer.
        in_a_row: u32,
    },
    Open {
        until: Instant,
        times: u32,
    },
    /// The attempt with this number says how it goes on.
    Trying {
        attempt: u64,
        times: u32,
    },
}

#[derive(Debug)]
pub(crate) struct Breaker {
    limits: BreakerLimits,
    state: State,
    /// Failures of attempts before this one tell of a time that has been judged already.
    counts_from: u64,
}

impl Breaker {
    pub(crate) const fn new(limits: BreakerLimits) -> Self {
        Self {
            limits,
            state: State::Closed { in_a_row: 0 },
            counts_from: 0,
        }
    }

    pub(crate) fn lets(&self, now: Instant) -> Lets {
        match self.state {
            State::Closed { .. } => Lets::All,
            State::Open { until, .. } if now < until => Lets::None,
            State::Open { .. } | State::Trying { .. } => Lets::One,
        }
    }

    /// Until when nothing is attempted.
    pub(crate) const fn open_until(&self) -> Option<Instant> {
        match self.state {
            State::Open { until, .. } => Some(until),
            State::Closed { .. } | State::Trying { .. } => None,
        }
    }

    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    pub(crate) fn started(&mut self, attempt: u64, now: Instant) {
        if let State::Open { until, times } = self.state
            && until <= now
        {
            self.state = State::Trying { attempt, times };
        }
    }

    /// Whoever answers is there, also if it is an attempt from before that was answered late.
    pub(crate) const fn answered(&mut self, next_attempt: u64) {
        if !self.is_closed() {
            self.counts_from = next_attempt;
        }
        self.state = State::Closed { in_a_row: 0 };
    }

    pub(crate) fn failed(&mut self, attempt: u64, rng: &mut Rng, now: Instant) {
        match self.state {
            State::Closed { in_a_row } if attempt >= self.counts_from => {
                let in_a_row = in_a_row.saturating_add(1);
                if in_a_row >= self.limits.failures {
                    self.open(1, rng, now);
                } else {
                    self.state = State::Closed { in_a_row };
                }
            }
            State::Trying {
                attempt: trying,
                times,
            } if attempt == trying => self.open(times.saturating_add(1), rng, now),
            State::Closed { .. } | State::Open { .. } | State::Trying { .. } => {}
        }
    }

    /// The attempt ended without telling anything.
    pub(crate) fn abandoned(&mut self, attempt: u64, now: Instant) {
        if let State::Trying {
            attempt: trying,
            times,
        } = self.state
            && attempt == trying
        {
            self.state = State::Open { until: now, times };
        }
    }

    fn open(&mut self, times: u32, rng: &mut Rng, now: Instant) {
        let pause = backoff(self.limits.open, self.limits.most, times, rng);
        self.state = State::Open {
            until: now + pause,
            times,
        };
    }
}
