//! Whose turn it is: which lanes could use a sender, and when that may change by itself.
//!
//! In: messages, senders that end, the time. Out: lanes in the order of their turn, and the next moment to look. No clock, no
//! lock: [`Queue`](crate::ship::queue::Queue) holds it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use foldhash::fast::RandomState;

use crate::plugin::Destination;
use crate::ship::ShipLimits;
use crate::ship::account::Ticket;
use crate::ship::lane::Lane;
use crate::ship::lane::endpoint::Endpoint;
use crate::ship::lane::waiting::Short;
use crate::ship::queue::claim::Work;

#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) is_open: bool,
    /// Lanes that have messages or senders; so there are never more than messages and senders.
    pub(super) by_destination: HashMap<Arc<Destination>, Lane, RandomState>,
    /// What is known of endpoints, by their origin: of those that have lanes, and of those that had them lately.
    pub(super) endpoints: HashMap<Arc<str>, Endpoint>,
    /// When time alone may change what can be sent: all lanes are looked at then, and only then.
    pub(super) wake: Option<Instant>,
    pub(super) looks: u64,
    pub(super) breaker_opened: u64,
    pub(super) breaker_closed: u64,
}

/// Further off than any repeat that can matter when the agent stops.
const FAR_OFF: Duration = Duration::from_hours(24);

/// Endpoints that are remembered without a lane. Configurations that come and go must not pile them up.
const MAX_IDLE_ENDPOINTS: usize = 64;

impl Lanes {
    /// Adds a message. Says whether there is reason to look for claims.
    pub(super) fn push(
        &mut self,
        destination: &Arc<Destination>,
        ticket: Ticket,
        limits: &ShipLimits,
        now: Instant,
    ) -> bool {
        let due = self.due(now);
        let lane = self
            .by_destination
            .entry(Arc::clone(destination))
            .or_insert_with(|| {
                let lane = Lane::new(destination);
                self.endpoints
                    .entry(Arc::clone(&lane.origin))
                    .or_insert_with(|| Endpoint::new(limits, Rng::new(), now))
                    .lanes += 1;
                lane
            });
        lane.waiting.push(ticket);
        let Some(endpoint) = self.endpoints.get_mut(&lane.origin) else {
            return false;
        };
        endpoint.enlist(destination, lane, due, limits);
        let has_room = lane.in_turn && endpoint.room(now) > 0;
        // An endpoint that was left alone when its last lane ended.
        let change = endpoint.health.next_change(now);
        self.wake_at(change) || has_room
    }

    /// By when a repeat must be due to be sent now: when stopping, none is waited for.
    pub(super) fn due(&self, now: Instant) -> Instant {
        if self.is_open { now } else { now + FAR_OFF }
    }

    /// Says whether that is sooner than was known.
    pub(super) fn wake_at(&mut self, at: Option<Instant>) -> bool {
        let is_sooner = at.is_some_and(|at| self.wake.is_none_or(|wake| at < wake));
        if is_sooner {
            self.wake = at;
        }
        is_sooner
    }

    /// Finds what time has changed: lanes with repeats that fell due stand in their turn, and the next such moment is known.
    pub(super) fn look_around(&mut self, now: Instant, limits: &ShipLimits) {
        let due = self.due(now);
        let mut wake: Option<Instant> = None;
        let mut wake_at = |at: Option<Instant>| {
            if let Some(at) = at.filter(|at| *at > due) {
                wake = Some(wake.map_or(at, |wake| wake.min(at)));
            }
        };
        for (destination, lane) in &mut self.by_destination {
            if let Some(endpoint) = self.endpoints.get_mut(&lane.origin) {
                endpoint.enlist(destination, lane, due, limits);
            }
            wake_at(lane.waiting.next_due());
        }
        self.wake = wake;
        let changes: Vec<_> = self
            .endpoints
            .values()
            .filter(|endpoint| endpoint.lanes > 0)
            .map(|endpoint| endpoint.health.next_change(now))
            .collect();
        for change in changes {
            self.wake_at(change);
        }
    }

    /// Says whether there is reason to look for claims.
    pub(super) fn remove_sender(
        &mut self,
        destination: &Arc<Destination>,
        work: &Work,
        limits: &ShipLimits,
        now: Instant,
    ) -> bool {
        let due = self.due(now);
        let Some(lane) = self.by_destination.get_mut(destination) else {
            return false;
        };
        let origin = Arc::clone(&lane.origin);
        let Some(endpoint) = self.endpoints.get_mut(&origin) else {
            return false;
        };
        lane.senders -= 1;
        endpoint.senders -= 1;
        if work.since.is_none() {
            lane.coming -= 1;
        }
        if let Some(begun) = work.begun {
            endpoint.abandoned(begun, now);
        }
        // Something may have come after this sender's last look, wait for its time, or be left as this sender failed.
        endpoint.enlist(destination, lane, due, limits);
        let next_due = lane.waiting.next_due().filter(|next| *next > now);
        let has_room = !endpoint.turn.is_empty() && endpoint.room(now) > 0;
        let change = endpoint.health.next_change(now);
        self.forget_if_idle(destination, now);
        let is_sooner = self.wake_at(next_due);
        self.wake_at(change) || is_sooner || has_room
    }

    /// Lets go of a lane that has neither messages nor senders.
    pub(super) fn forget_if_idle(&mut self, destination: &Arc<Destination>, now: Instant) {
        let is_idle = |lane: &Lane| lane.senders == 0 && lane.waiting.is_empty();
        if !self.by_destination.get(destination).is_some_and(is_idle) {
            return;
        }
        let Some(lane) = self.by_destination.remove(destination) else {
            return;
        };
        let Some(endpoint) = self.endpoints.get_mut(&lane.origin) else {
            return;
        };
        if lane.in_turn {
            endpoint.turn.retain(|waiting| waiting != destination);
        }
        endpoint.lanes -= 1;
        if endpoint.lanes == 0 {
            self.forget(now);
        }
    }

    /// Whose lane holds most of what is short; `own` where no other holds more.
    pub(super) fn longest(&self, short: Short, own: Option<&Arc<Destination>>) -> Option<Arc<Destination>> {
        let own = own.and_then(|own| self.by_destination.get_key_value(own));
        let (longest, _) = self
            .by_destination
            .iter()
            .chain(own)
            .max_by_key(|(_, lane)| lane.waiting.held(short))?;
        Some(Arc::clone(longest))
    }

    pub(super) fn hold_nothing(&self) -> bool {
        self.by_destination.values().all(|lane| lane.waiting.is_empty())
    }

    /// Forgets endpoints without lanes: of which nothing was learnt lately, and those that were used least lately over the
    /// bound.
    fn forget(&mut self, now: Instant) {
        self.endpoints
            .retain(|_, endpoint| endpoint.is_worth_keeping(now));
        let idle = self.endpoints.iter().filter(|(_, endpoint)| endpoint.lanes == 0);
        if idle.clone().count() > MAX_IDLE_ENDPOINTS {
            let oldest = idle
                .min_by_key(|(_, endpoint)| endpoint.health.last_used())
                .map(|(origin, _)| Arc::clone(origin));
            if let Some(origin) = oldest {
                self.endpoints.remove(&origin);
            }
        }
    }
}

impl Endpoint {
    /// Puts a lane in its turn, if it could use a sender.
    fn enlist(&mut self, destination: &Arc<Destination>, lane: &mut Lane, due: Instant, limits: &ShipLimits) {
        let messages = self.portion(limits, due).messages;
        if !lane.in_turn && lane.wants(due, messages, limits) > 0 {
            lane.in_turn = true;
            self.turn.push_back(Arc::clone(destination));
        }
    }

    /// The lane that gets the next sender; it stands in line again if it could use one more.
    pub(super) fn next_in_turn(
        &mut self,
        lanes: &mut HashMap<Arc<Destination>, Lane, RandomState>,
        due: Instant,
        limits: &ShipLimits,
    ) -> Option<Arc<Destination>> {
        let messages = self.portion(limits, due).messages;
        while let Some(destination) = self.turn.pop_front() {
            let Some(lane) = lanes.get_mut(&destination) else {
                continue;
            };
            lane.in_turn = false;
            if lane.wants(due, messages, limits) > 0 {
                lane.senders += 1;
                lane.coming += 1;
                self.senders += 1;
                self.enlist(&destination, lane, due, limits);
                return Some(destination);
            }
        }
        None
    }

    /// Whether another lane than this one waits for a sender.
    pub(super) fn is_wanted_by_others(&self, lane: &Lane) -> bool {
        self.turn.len() > usize::from(lane.in_turn)
    }
}
