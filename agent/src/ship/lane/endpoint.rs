//! What lanes with the same origin share: an endpoint's health, its senders, whose turn is next, and what is said of it.
//!
//! In: attempts and their ends. Out: how many senders may be added, [`EndpointStats`] for `/status`, and a line when the
//! breaker opens and when it closes; seldom, however often it does. No clock, no lock.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde::Serialize;

use crate::plugin::Destination;
use crate::ship::batch::Batch;
use crate::ship::failure::Failure;
use crate::ship::lane::health::{Backlog, Begun, Ended, EndpointState, Health};
use crate::ship::lane::waiting::Portion;
use crate::ship::{LINE_EVERY, ShipLimits};

/// An endpoint at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointStats {
    /// Scheme, host and port. The path is left out: it has the bucket's key.
    pub origin: String,
    /// Whether it is sent anything.
    pub state: EndpointState,
    /// How long ago its breaker opened, or closed again; or it was first heard of. Milliseconds.
    pub since_ms: u64,
    /// In how long it may be tried again, milliseconds.
    pub until_ms: Option<u64>,
    /// Attempts that it may have at once.
    pub allowed: usize,
    /// Attempts that it has.
    pub in_flight: usize,
    /// Messages that wait for it.
    pub waiting: usize,
    /// Of these, to be sent again.
    pub repeats: usize,
    /// How often its breaker opened, counted from when it was last forgotten.
    pub opened: u64,
    /// What went wrong last.
    pub last_failure: Option<EndpointFailure>,
}

/// A failure, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointFailure {
    /// Its reason, as the ledger labels it.
    pub reason: &'static str,
    /// What went wrong.
    pub detail: Cow<'static, str>,
    /// How long ago, milliseconds.
    pub ago_ms: u64,
}

/// Whether the breaker's state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    Opened,
    Closed,
}

#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) health: Health,
    /// Whether several messages may travel in one POST.
    pub(crate) batch: Batch,
    /// Senders at work for it.
    pub(crate) senders: usize,
    /// Lanes that lead to it.
    pub(crate) lanes: usize,
    /// Lanes that could use a sender, or one more, in the order of their turn.
    pub(crate) turn: VecDeque<Arc<Destination>>,
    in_flight: usize,
    since: Instant,
    /// The beginning of what the log has yet to call ended.
    away_since: Option<Instant>,
    opened: u64,
    last_failure: Option<(Failure, Instant)>,
    told: Told,
}

/// What the log says of it.
#[derive(Debug)]
struct Told {
    is_well: bool,
    at: Option<Instant>,
}

/// A line to be written.
#[derive(Debug)]
pub(crate) enum Line {
    Fails { detail: String, pause: Duration },
    Answers { after: Duration },
}

impl Endpoint {
    pub(crate) fn new(limits: &ShipLimits, rng: Rng, now: Instant) -> Self {
        Self {
            health: Health::new(limits, rng, now),
            batch: Batch::default(),
            senders: 0,
            lanes: 0,
            turn: VecDeque::new(),
            in_flight: 0,
            since: now,
            away_since: None,
            opened: 0,
            last_failure: None,
            told: Told {
                is_well: true,
                at: None,
            },
        }
    }

    /// How many senders may be added.
    pub(crate) fn room(&self, now: Instant) -> usize {
        self.health.allowed(now).saturating_sub(self.senders)
    }

    /// What one POST may take.
    pub(crate) fn portion(&self, limits: &ShipLimits, now: Instant) -> Portion {
        Portion {
            messages: self.batch.most(limits, now),
            bytes: limits.batch_bytes,
        }
    }

    /// Whether anything would be forgotten with it.
    pub(crate) fn is_worth_keeping(&self, now: Instant) -> bool {
        self.lanes > 0 || self.health.is_worth_keeping(now) || self.batch.is_worth_keeping(now)
    }

    pub(crate) fn started(&mut self, backlog: Backlog, now: Instant) -> Begun {
        self.in_flight += 1;
        self.health.started(backlog, now)
    }

    pub(crate) fn ended(
        &mut self,
        begun: Begun,
        ended: Ended,
        failure: Option<Failure>,
        now: Instant,
    ) -> Change {
        self.in_flight -= 1;
        if let Some(failure) = failure {
            self.last_failure = Some((failure, now));
        }
        let was_well = self.health.is_well();
        self.health.ended(begun, ended, now);
        match (was_well, self.health.is_well()) {
            (true, false) => {
                self.since = now;
                self.away_since.get_or_insert(now);
                self.opened += 1;
                Change::Opened
            }
            (false, true) => {
                self.since = now;
                Change::Closed
            }
            (true, true) | (false, false) => Change::None,
        }
    }

    /// The attempt was broken off.
    pub(crate) fn abandoned(&mut self, begun: Begun, now: Instant) {
        self.in_flight -= 1;
        self.health.abandoned(begun, now);
    }

    /// The line that is due, if the log does not say how it is.
    pub(crate) fn tell(&mut self, now: Instant) -> Option<Line> {
        let is_well = self.health.is_well();
        let told_lately = self
            .told
            .at
            .is_some_and(|at| now.saturating_duration_since(at) < LINE_EVERY);
        if self.told.is_well == is_well || told_lately {
            return None;
        }
        self.told = Told {
            is_well,
            at: Some(now),
        };
        Some(if is_well {
            let away_since = self.away_since.take().unwrap_or(self.since);
            Line::Answers {
                after: self.since.saturating_duration_since(away_since),
            }
        } else {
            let failure = self.last_failure.as_ref().map(|(failure, _)| failure);
            Line::Fails {
                detail: failure.map_or_else(String::new, |failure| {
                    format!("{}: {}", failure.reason.label(), failure.detail)
                }),
                pause: self
                    .health
                    .next_change(now)
                    .map_or(Duration::ZERO, |until| until.saturating_duration_since(now)),
            }
        })
    }

    /// What is shown of it; the caller knows what waits.
    pub(crate) fn stats(&self, origin: &str, now: Instant) -> EndpointStats {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let ago = |then: Instant| ms(now.saturating_duration_since(then));
        EndpointStats {
            origin: origin.to_owned(),
            state: self.health.state(now),
            since_ms: ago(self.since),
            until_ms: self
                .health
                .next_change(now)
                .map(|until| ms(until.saturating_duration_since(now))),
            allowed: self.health.allowed(now),
            in_flight: self.in_flight,
            waiting: 0,
            repeats: 0,
            opened: self.opened,
            last_failure: self.last_failure.as_ref().map(|(failure, then)| EndpointFailure {
                reason: failure.reason.label(),
                detail: failure.detail.clone(),
                ago_ms: ago(*then),
            }),
        }
    }
}

impl Line {
    pub(crate) fn write(&self, origin: &str) {
        match self {
            Self::Fails { detail, pause } => tracing::warn!(
                endpoint = origin,
                %detail,
                pause_ms = pause.as_millis(),
                "An endpoint fails; messages wait until it answers."
            ),
            Self::Answers { after } => tracing::info!(
                endpoint = origin,
                after_ms = after.as_millis(),
                "An endpoint answers again."
            ),
        }
    }
}
