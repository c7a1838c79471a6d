//! How an endpoint bears what it is sent, and how many attempts it may therefore have at once.
//!
//! In: that attempts began and how they ended. Out: a number. No clock.

use std::time::{Duration, Instant};

use crate::ship::ShipLimits;

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

#[derive(Debug)]
pub(crate) struct Health {
    most: usize,
}

impl Health {
    pub(crate) const fn new(limits: &ShipLimits) -> Self {
        Self {
            most: limits.in_flight,
        }
    }

    /// How many attempts it may have at once now.
    pub(crate) const fn allowed(&self, _now: Instant) -> usize {
        self.most
    }

    /// When `allowed` changes by itself, if it does.
    pub(crate) const fn next_change(&self, _now: Instant) -> Option<Instant> {
        None
    }

    /// An attempt begins.
    pub(crate) const fn started(&mut self, _now: Instant) {}

    /// An attempt ended.
    pub(crate) const fn ended(&mut self, _ended: Ended, _now: Instant) {}

    /// Whether anything would be forgotten with it.
    pub(crate) const fn is_worth_keeping(&self, _now: Instant) -> bool {
        false
    }
}
