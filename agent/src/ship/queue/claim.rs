//! A sender's right to a lane: what it takes, and what it says of it.
//!
//! In: looks for messages and the ends of attempts. Out: the messages of the next POST. It is given back by being dropped, also
//! when the sender fails; then its attempt was broken off.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::plugin::Destination;
use crate::ship::ShipLimits;
use crate::ship::account::{Account, Ticket};
use crate::ship::batch::AnswerForm;
use crate::ship::failure::Failure;
use crate::ship::lane::Lent;
use crate::ship::lane::endpoint::Change;
use crate::ship::lane::health::{Backlog, Begun, Ended};
use crate::ship::lane::waiting::Short;
use crate::ship::queue::Queue;
use crate::ship::queue::turns::Lanes;
use crate::ship::retry::RetryLimits;

/// The right of one sender to a lane. Dropping it, in whatever way, gives the right back.
#[derive(Debug)]
pub(in crate::ship) struct Claim {
    pub(super) queue: Arc<Queue>,
    pub(super) destination: Arc<Destination>,
    pub(super) work: Mutex<Work>,
}

/// What a sender is at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    /// Its first look for messages.
    pub(super) since: Option<Instant>,
    /// The attempt under way.
    pub(super) begun: Option<Begun>,
}

/// How a POST ended.
#[derive(Debug)]
pub(in crate::ship) struct End {
    /// As far as the endpoint's health goes.
    pub(in crate::ship) ended: Ended,
    /// How it answered.
    pub(in crate::ship) form: AnswerForm,
    /// Of the last message that failed.
    pub(in crate::ship) last_failure: Option<Failure>,
}

/// How long a sender keeps its lane while others of the endpoint wait for their turn. Short posts are many to a turn, so that
/// changing costs little; long ones change each time.
const TURN: Duration = Duration::from_millis(20);

/// How late a message's last attempt may be. What waited for longer, since its endpoint was left alone or does not keep up, is
/// given up without it.
const LATE: Duration = Duration::from_secs(1);

impl Claim {
    pub(in crate::ship) fn destination(&self) -> &Arc<Destination> {
        &self.destination
    }

    pub(in crate::ship) fn account(&self) -> &Account {
        &self.queue.account
    }

    pub(in crate::ship) fn limits(&self) -> &ShipLimits {
        &self.queue.limits
    }

    /// The messages of the next POST, those that have waited longest first; empty when there are none to send now, when
    /// the endpoint is to have fewer senders than it has, or when it is another lane's turn.
    pub(in crate::ship) fn next(&self, now: Instant) -> Vec<Ticket> {
        let mut expired = Vec::new();
        let taken = self.take(now, &mut expired);
        for ticket in expired {
            ticket.expire();
        }
        taken
    }

    fn take(&self, now: Instant, expired: &mut Vec<Ticket>) -> Vec<Ticket> {
        let limits = &self.queue.limits;
        let mut lanes = self.queue.lock();
        let due = lanes.due(now);
        let Lanes {
            by_destination,
            endpoints,
            ..
        } = &mut *lanes;
        let Some(lane) = by_destination.get_mut(&self.destination) else {
            return Vec::new();
        };
        let Some(endpoint) = endpoints.get_mut(&lane.origin) else {
            return Vec::new();
        };
        let mut work = self.work();
        let since = *work.since.get_or_insert_with(|| {
            lane.coming -= 1;
            now
        });
        let turn_is_over = now.saturating_duration_since(since) >= TURN && endpoint.is_wanted_by_others(lane);
        if turn_is_over || endpoint.senders > endpoint.health.allowed(now) {
            return Vec::new();
        }
        loop {
            let portion = endpoint.portion(limits, now);
            let (late, taken): (Vec<_>, Vec<_>) = lane
                .waiting
                .take(due, portion)
                .into_iter()
                .partition(|ticket| is_late(ticket, &self.retry(ticket), now));
            let is_all_late = taken.is_empty() && !late.is_empty();
            expired.extend(late);
            if is_all_late {
                continue;
            }
            if !taken.is_empty() {
                let more = lane.waiting.ready(due) > 0 || endpoint.is_wanted_by_others(lane);
                let backlog = if more { Backlog::Some } else { Backlog::None };
                work.begun = Some(endpoint.started(backlog, now));
            }
            self.queue.note_left(lane.waiting.held(Short::Messages));
            return taken;
        }
    }

    /// What came of a POST, and what is to be sent again, when. Nothing is when stopping: there is one last attempt for each.
    pub(in crate::ship) fn finish(&self, end: End, again: Vec<Lent>, now: Instant) {
        let mut left = Vec::new();
        let mut line = None;
        let given_up;
        let has_work = {
            let mut lanes = self.queue.lock();
            let is_open = lanes.is_open;
            let Lanes {
                by_destination,
                endpoints,
                breaker_opened,
                breaker_closed,
                ..
            } = &mut *lanes;
            let Some(lane) = by_destination.get_mut(&self.destination) else {
                return;
            };
            let next_due = again.iter().map(|lent| lent.due).min().filter(|_| is_open);
            for Lent { ticket, due } in again {
                if is_open {
                    lane.waiting.put_back(ticket, due);
                } else {
                    left.push(ticket);
                }
            }
            if let Some(endpoint) = endpoints.get_mut(&lane.origin) {
                endpoint.batch.note(end.form, now);
            }
            let mut has_room = false;
            let mut next_change = None;
            let begun = self.work().begun.take();
            if let (Some(endpoint), Some(begun)) = (endpoints.get_mut(&lane.origin), begun) {
                match endpoint.ended(begun, end.ended, end.last_failure, now) {
                    Change::Opened => *breaker_opened += 1,
                    Change::Closed => *breaker_closed += 1,
                    Change::None => {}
                }
                line = endpoint.tell(now).map(|line| (Arc::clone(&lane.origin), line));
                has_room = endpoint.room(now) > 0 && !endpoint.turn.is_empty();
                next_change = endpoint.health.next_change(now);
            }
            // The bound may have been lowered while these were under way.
            given_up = self
                .queue
                .relieve(&mut lanes, Some(&self.destination), usize::MAX, now);
            let is_sooner = lanes.wake_at(next_due);
            lanes.wake_at(next_change) || is_sooner || has_room
        };
        self.queue.part_with(given_up);
        // Counted as the shutdown's.
        drop(left);
        if let Some((origin, line)) = line {
            line.write(&origin);
        }
        if has_work {
            self.queue.work.notify_one();
        }
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it was too late for a message's last attempt before it could be made. Its first one is never too late.
fn is_late(ticket: &Ticket, limits: &RetryLimits, now: Instant) -> bool {
    ticket.attempts() > 0
        && now.saturating_duration_since(ticket.queued()) > limits.max_age.saturating_add(LATE)
}

impl Drop for Claim {
    fn drop(&mut self) {
        let now = clock::instant();
        let work = *self.work();
        let has_work = self
            .queue
            .lock()
            .remove_sender(&self.destination, &work, &self.queue.limits, now);
        if has_work {
            self.queue.work.notify_one();
        }
    }
}
