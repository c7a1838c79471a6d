//! What waits: one lane for each destination, under bounds that they share.
//!
//! In: messages, from any thread. Out: [`Claim`]s, each the right of one sender to take a lane's messages. What waits in a
//! lane and in which order is [`Waiting`](crate::ship::lane::waiting::Waiting); how many senders an endpoint may have now,
//! [`Health`](crate::ship::lane::health::Health). The lock is held for a few map operations, never across IO or an await.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::sync::Notify;

use crate::clock;
use crate::message::Message;
use crate::plugin::Destination;
use crate::ship::ShipLimits;
use crate::ship::account::{Account, ShipStats, Ticket};
use crate::ship::attempt::Failure;
use crate::ship::batch::AnswerForm;
use crate::ship::lane::endpoint::{Change, Endpoint, EndpointStats};
use crate::ship::lane::health::{Backlog, Begun, Ended};
use crate::ship::lane::waiting::Short;
use crate::ship::lane::{Lane, Lent};
use crate::telemetry::ledger::DropReason;

#[derive(Debug)]
pub(super) struct Queue {
    limits: ShipLimits,
    account: Arc<Account>,
    lanes: Mutex<Lanes>,
    /// Told when a lane has messages and room for one more sender.
    work: Notify,
}

#[derive(Debug)]
struct Lanes {
    is_open: bool,
    /// Lanes that have messages or senders; so there are never more than messages and senders.
    by_destination: HashMap<Arc<Destination>, Lane>,
    /// What is known of endpoints, by their origin: of those that have lanes, and of those that had them lately.
    endpoints: HashMap<Arc<str>, Endpoint>,
    /// When time alone may change what can be sent: all lanes are looked at then, and only then.
    wake: Option<Instant>,
    looks: u64,
    breaker_opened: u64,
    breaker_closed: u64,
}

/// How a POST ended.
#[derive(Debug)]
pub(super) struct End {
    /// As far as the endpoint's health goes.
    pub(super) ended: Ended,
    /// How it answered.
    pub(super) form: AnswerForm,
    /// Of the last message that failed.
    pub(super) last_failure: Option<Failure>,
}

/// How long a sender keeps its lane while others of the endpoint wait for their turn. Short posts are many to a turn, so that
/// changing costs little; long ones change each time.
const TURN: Duration = Duration::from_millis(20);

/// How late a message's last attempt may be. What waited for longer, since its endpoint was left alone or does not keep up, is
/// given up without it.
const LATE: Duration = Duration::from_secs(1);

/// Further off than any repeat that can matter when the agent stops.
const FAR_OFF: Duration = Duration::from_hours(24);

/// Endpoints that are remembered without a lane. Configurations that come and go must not pile them up.
const MAX_IDLE_ENDPOINTS: usize = 64;

impl Queue {
    pub(super) fn new(limits: ShipLimits, account: Arc<Account>) -> Self {
        Self {
            limits,
            account,
            lanes: Mutex::new(Lanes {
                is_open: true,
                by_destination: HashMap::new(),
                endpoints: HashMap::new(),
                wake: None,
                looks: 0,
                breaker_opened: 0,
                breaker_closed: 0,
            }),
            work: Notify::new(),
        }
    }

    pub(super) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    pub(super) fn offer(&self, message: Message) {
        let now = clock::instant();
        let needs_sender = {
            let mut lanes = self.lock();
            if !lanes.is_open {
                drop(lanes);
                self.account.refuse(DropReason::Shutdown);
                return;
            }
            if let Err(reason) = self.make_room(&mut lanes, &message) {
                drop(lanes);
                self.account.refuse(reason);
                return;
            }
            let destination = Arc::clone(message.destination());
            let ticket = Ticket::new(message, Arc::clone(&self.account), now);
            lanes.push(&destination, ticket, &self.limits, now)
        };
        if needs_sender {
            self.work.notify_one();
        }
    }

    /// Makes room for `message` at the cost of the longest lane, as long as that stays longer than the message's own.
    fn make_room(&self, lanes: &mut Lanes, message: &Message) -> Result<(), DropReason> {
        let bytes = message.json().len();
        if bytes > self.limits.queue_bytes {
            return Err(DropReason::QueueFullBytes);
        }
        loop {
            let (short, needed) = if self.account.held_messages() >= self.limits.queue_messages {
                (Short::Messages, 1)
            } else if self.account.held_bytes().saturating_add(bytes) > self.limits.queue_bytes {
                (Short::Bytes, bytes)
            } else {
                return Ok(());
            };
            let held = |lane: &Lane| lane.waiting.held(short);
            let own = lanes.by_destination.get(message.destination()).map_or(0, held);
            let longest = lanes
                .by_destination
                .values_mut()
                .max_by_key(|lane| held(lane))
                .filter(|lane| held(lane) > own.saturating_add(needed))
                .and_then(|lane| lane.waiting.give_way());
            match longest {
                Some(ticket) => ticket.evict(short.reason()),
                None => return Err(short.reason()),
            }
        }
    }

    /// Waits until a lane may want another sender.
    pub(super) async fn work(&self) {
        self.work.notified().await;
    }

    /// A claim for each sender that can be used now. The lanes of an endpoint take turns.
    pub(super) fn claims(self: &Arc<Self>, now: Instant) -> Vec<Claim> {
        let mut lanes = self.lock();
        lanes.looks += 1;
        if lanes.wake.is_some_and(|wake| wake <= now) {
            lanes.look_around(now, &self.limits);
        }
        let due = lanes.due(now);
        let Lanes {
            by_destination,
            endpoints,
            ..
        } = &mut *lanes;
        let mut claims = Vec::new();
        for endpoint in endpoints.values_mut() {
            for _ in 0..endpoint.room(now) {
                let Some(destination) = endpoint.next_in_turn(by_destination, due, &self.limits) else {
                    break;
                };
                claims.push(Claim {
                    queue: Arc::clone(self),
                    destination,
                    work: Mutex::default(),
                });
            }
        }
        drop(lanes);
        claims
    }

    /// When a sender can be used next without anything else happening: a repeat falls due, or a breaker lets one try. Later
    /// than the last look for claims, so that waiting for it is never in vain twice.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.lock().wake
    }

    /// What there is to say of endpoints, beside the account.
    pub(super) fn describe(&self, stats: &mut ShipStats, now: Instant) {
        let lanes = self.lock();
        stats.looks = lanes.looks;
        stats.breaker_opened = lanes.breaker_opened;
        stats.breaker_closed = lanes.breaker_closed;
        let mut endpoints: BTreeMap<&str, EndpointStats> = lanes
            .endpoints
            .iter()
            .map(|(origin, endpoint)| (&**origin, endpoint.stats(origin, now)))
            .collect();
        for lane in lanes.by_destination.values() {
            if let Some(endpoint) = endpoints.get_mut(&*lane.origin) {
                endpoint.waiting += lane.waiting.held(Short::Messages);
                endpoint.repeats += lane.waiting.repeats();
            }
        }
        stats.endpoints = endpoints.into_values().collect();
    }

    /// Writes the lines about endpoints that were held back and are due.
    pub(super) fn write_lines(&self, now: Instant) {
        let due: Vec<_> = self
            .lock()
            .endpoints
            .iter_mut()
            .filter_map(|(origin, endpoint)| Some((Arc::clone(origin), endpoint.tell(now)?)))
            .collect();
        for (origin, line) in due {
            line.write(&origin);
        }
    }

    /// Takes nothing from now on. What waits for its time is tried once more, at once.
    pub(super) fn close(&self) {
        let mut lanes = self.lock();
        lanes.is_open = false;
        lanes.look_around(clock::instant(), &self.limits);
    }

    /// Drops what waits, as [`DropReason::Shutdown`].
    pub(super) fn clear(&self) {
        let waiting: Vec<_> = self
            .lock()
            .by_destination
            .values_mut()
            .map(|lane| std::mem::take(&mut lane.waiting))
            .collect();
        drop(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lanes {
    /// Adds a message. Says whether there is reason to look for claims.
    fn push(
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
    fn due(&self, now: Instant) -> Instant {
        if self.is_open { now } else { now + FAR_OFF }
    }

    /// Says whether that is sooner than was known.
    fn wake_at(&mut self, at: Option<Instant>) -> bool {
        let is_sooner = at.is_some_and(|at| self.wake.is_none_or(|wake| at < wake));
        if is_sooner {
            self.wake = at;
        }
        is_sooner
    }

    /// Finds what time has changed: lanes with repeats that fell due stand in their turn, and the next such moment is known.
    fn look_around(&mut self, now: Instant, limits: &ShipLimits) {
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
    fn remove_sender(
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
        if lane.senders == 0 && lane.waiting.is_empty() {
            endpoint.lanes -= 1;
            if lane.in_turn {
                endpoint.turn.retain(|waiting| waiting != destination);
            }
            self.by_destination.remove(destination);
        }
        let has_room = !endpoint.turn.is_empty() && endpoint.room(now) > 0;
        let change = endpoint.health.next_change(now).filter(|_| endpoint.lanes > 0);
        if endpoint.lanes == 0 {
            self.forget(now);
        }
        let is_sooner = self.wake_at(next_due);
        self.wake_at(change) || is_sooner || has_room
    }

    /// Forgets endpoints without lanes: of which nothing was learnt lately, and those that were used least lately over the
    /// bound.
    fn forget(&mut self, now: Instant) {
        self.endpoints
            .retain(|_, endpoint| endpoint.lanes > 0 || endpoint.health.is_worth_keeping(now));
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
        if !lane.in_turn && lane.wants(due, limits) > 0 {
            lane.in_turn = true;
            self.turn.push_back(Arc::clone(destination));
        }
    }

    /// The lane that gets the next sender; it stands in line again if it could use one more.
    fn next_in_turn(
        &mut self,
        lanes: &mut HashMap<Arc<Destination>, Lane>,
        due: Instant,
        limits: &ShipLimits,
    ) -> Option<Arc<Destination>> {
        while let Some(destination) = self.turn.pop_front() {
            let Some(lane) = lanes.get_mut(&destination) else {
                continue;
            };
            lane.in_turn = false;
            if lane.wants(due, limits) > 0 {
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
    fn is_wanted_by_others(&self, lane: &Lane) -> bool {
        self.turn.len() > usize::from(lane.in_turn)
    }
}

/// The right of one sender to a lane. Dropping it, in whatever way, gives the right back.
#[derive(Debug)]
pub(super) struct Claim {
    queue: Arc<Queue>,
    destination: Arc<Destination>,
    work: Mutex<Work>,
}

/// What a sender is at.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    /// Its first look for messages.
    since: Option<Instant>,
    /// The attempt under way.
    begun: Option<Begun>,
}

impl Claim {
    pub(super) fn destination(&self) -> &Arc<Destination> {
        &self.destination
    }

    pub(super) fn account(&self) -> &Account {
        &self.queue.account
    }

    pub(super) fn limits(&self) -> &ShipLimits {
        &self.queue.limits
    }

    /// The messages of the next POST, those that have waited longest first; empty when there are none to send now, when
    /// the endpoint is to have fewer senders than it has, or when it is another lane's turn.
    pub(super) fn next(&self, now: Instant) -> Vec<Ticket> {
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
            let portion = lane.portion(limits);
            let (late, taken): (Vec<_>, Vec<_>) = lane
                .waiting
                .take(due, portion)
                .into_iter()
                .partition(|ticket| is_late(ticket, limits, now));
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
            return taken;
        }
    }

    /// What came of a POST, and what is to be sent again, when. Nothing is when stopping: there is one last attempt for each.
    pub(super) fn finish(&self, end: End, again: Vec<Lent>, now: Instant) {
        let mut left = Vec::new();
        let mut line = None;
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
            lane.batch.note(end.form);
            let next_due = again.iter().map(|lent| lent.due).min().filter(|_| is_open);
            for Lent { ticket, due } in again {
                if is_open {
                    lane.waiting.put_back(ticket, due);
                } else {
                    left.push(ticket);
                }
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
            let is_sooner = lanes.wake_at(next_due);
            lanes.wake_at(next_change) || is_sooner || has_room
        };
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
fn is_late(ticket: &Ticket, limits: &ShipLimits, now: Instant) -> bool {
    ticket.attempts() > 0
        && now.saturating_duration_since(ticket.queued()) > limits.retry.max_age.saturating_add(LATE)
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
