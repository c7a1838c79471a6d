//! What waits: one lane for each destination, under bounds that they share.
//!
//! In: messages, from any thread. Out: [`Claim`]s, each the right of one sender to take a lane's messages. What waits in a
//! lane and in which order is [`Waiting`](crate::ship::lane::waiting::Waiting); how many senders an endpoint may have now,
//! [`Health`]. The lock is held for a few map operations (and, while bytes are short, for copying a message without its
//! bodies), never across IO or an await.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use foldhash::fast::RandomState;
use tokio::sync::Notify;

use crate::clock;
use crate::message::Message;
use crate::plugin::Destination;
use crate::ship::ShipLimits;
use crate::ship::account::{Account, ShipStats, Ticket};
use crate::ship::attempt::Failure;
use crate::ship::batch::AnswerForm;
use crate::ship::lane::health::{Ended, Health};
use crate::ship::lane::waiting::{Portion, Relief, Short};
use crate::ship::lane::{Lane, Lent};
use crate::ship::shed::ShedCause;
use crate::telemetry::ledger::DropReason;

/// Messages that are given up under one hold of the lock when the bound is lowered.
const STEPS_AT_ONCE: usize = 64;

#[derive(Debug)]
pub(super) struct Queue {
    limits: ShipLimits,
    account: Arc<Account>,
    /// The bound by bytes now: the configured one, or what it was lowered to.
    byte_limit: AtomicUsize,
    lanes: Mutex<Lanes>,
    /// Told when a lane has messages and room for one more sender.
    work: Notify,
}

#[derive(Debug)]
struct Lanes {
    is_open: bool,
    /// Lanes that have messages or senders; so there are never more than messages and senders.
    by_destination: HashMap<Arc<Destination>, Lane, RandomState>,
    /// What is known of endpoints, by their origin: of those that have lanes, and of those that were not well lately.
    endpoints: HashMap<Arc<str>, Endpoint>,
}

/// What lanes with the same origin share.
#[derive(Debug)]
struct Endpoint {
    health: Health,
    senders: usize,
    lanes: usize,
}

impl Queue {
    pub(super) fn new(limits: ShipLimits, account: Arc<Account>) -> Self {
        Self {
            limits,
            account,
            byte_limit: AtomicUsize::new(limits.queue_bytes),
            lanes: Mutex::new(Lanes {
                is_open: true,
                by_destination: HashMap::default(),
                endpoints: HashMap::new(),
            }),
            work: Notify::new(),
        }
    }

    pub(super) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    pub(super) fn offer(&self, message: Message) {
        let now = clock::instant();
        let destination = Arc::clone(message.destination());
        let (needs_sender, given_up) = {
            let mut lanes = self.lock();
            if !lanes.is_open {
                drop(lanes);
                self.account.refuse(&message, DropReason::Shutdown);
                return;
            }
            let mut ticket = Ticket::new(message, Arc::clone(&self.account), now);
            let given_up = if self.make_fit(&mut ticket) {
                lanes.push(&destination, ticket, &self.limits);
                self.relieve(&mut lanes, Some(&destination), usize::MAX, now)
            } else {
                ticket.vacate();
                vec![(ticket, DropReason::QueueFullBytes)]
            };
            let needs_sender = lanes.room_for_senders(&destination, now, &self.limits) > 0;
            (needs_sender, given_up)
        };
        self.part_with(given_up);
        if needs_sender {
            self.work.notify_one();
        }
    }

    /// Lowers the bound by bytes, or raises it again up to the configured one, and sheds down to it at once.
    pub(super) fn set_byte_limit(&self, bytes: usize) {
        self.byte_limit
            .store(bytes.min(self.limits.queue_bytes), Ordering::Relaxed);
        loop {
            let given_up = {
                let mut lanes = self.lock();
                if self.short().is_none() || lanes.hold_nothing() {
                    return;
                }
                self.relieve(&mut lanes, None, STEPS_AT_ONCE, clock::instant())
            };
            self.part_with(given_up);
        }
    }

    pub(super) fn stats(&self) -> ShipStats {
        self.account.stats(self.byte_limit())
    }

    #[cfg(test)]
    pub(super) fn lanes_and_endpoints(&self) -> (usize, usize) {
        let lanes = self.lock();
        (lanes.by_destination.len(), lanes.endpoints.len())
    }

    fn byte_limit(&self) -> usize {
        self.byte_limit.load(Ordering::Relaxed)
    }

    /// What it is short of.
    fn short(&self) -> Option<Short> {
        let held_bytes = self.account.held_bytes();
        if self.account.held_messages() > self.limits.queue_messages {
            Some(Short::Messages)
        } else if held_bytes > self.limits.queue_bytes {
            Some(Short::Bytes(ShedCause::QueueFull))
        } else if held_bytes > self.byte_limit() {
            Some(Short::Bytes(ShedCause::Pressure))
        } else {
            None
        }
    }

    /// Whether the message can fit at all, if need be without its bodies. What cannot must not cost others their room.
    fn make_fit(&self, ticket: &mut Ticket) -> bool {
        let limit = self.byte_limit();
        if ticket.bytes() > limit && self.limits.shed.bodies {
            ticket.shed_bodies(if ticket.bytes() > self.limits.queue_bytes {
                ShedCause::QueueFull
            } else {
                ShedCause::Pressure
            });
        }
        ticket.bytes() <= limit
    }

    /// Gives up bodies and messages, in at most `steps` of them, until the bounds hold; always of the destination that holds
    /// most, and of `own` where no other holds more.
    fn relieve(
        &self,
        lanes: &mut Lanes,
        own: Option<&Arc<Destination>>,
        steps: usize,
        now: Instant,
    ) -> Vec<(Ticket, DropReason)> {
        let mut given_up = Vec::new();
        for _ in 0..steps {
            let Some(short) = self.short() else { break };
            let Some(longest) = lanes.longest(short, own) else {
                break;
            };
            let Some(lane) = lanes.by_destination.get_mut(&longest) else {
                break;
            };
            match lane.waiting.relieve(short, &self.limits.shed) {
                Some(Relief::Bodies) => {}
                Some(Relief::Message(mut ticket)) => {
                    lanes.forget_if_idle(&longest, now);
                    ticket.vacate();
                    given_up.push((ticket, short.reason()));
                }
                // All that is held is under way.
                None => break,
            }
        }
        given_up
    }

    /// Decides what becomes of messages that must leave the queue for the sake of others. They take no room any more and
    /// the lock is not held.
    fn part_with(&self, given_up: Vec<(Ticket, DropReason)>) {
        for (ticket, reason) in given_up {
            ticket.give_up(&Failure::without_attempt(reason));
        }
    }

    /// Waits until a lane may want another sender.
    pub(super) async fn work(&self) {
        self.work.notified().await;
    }

    /// A claim for each sender that can be used now.
    pub(super) fn claims(self: &Arc<Self>, now: Instant) -> Vec<Claim> {
        let mut lanes = self.lock();
        let destinations: Vec<_> = lanes.by_destination.keys().cloned().collect();
        let mut claims = Vec::new();
        for destination in destinations {
            let wanted = lanes.room_for_senders(&destination, now, &self.limits);
            lanes.add_senders(&destination, wanted);
            claims.extend((0..wanted).map(|_| Claim {
                queue: Arc::clone(self),
                destination: Arc::clone(&destination),
            }));
        }
        drop(lanes);
        claims
    }

    /// When a sender can be used next without anything else happening: a repeat falls due, or a breaker lets one try.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let lanes = self.lock();
        // One whose time came since `now` is due at once: no claim has seen it yet.
        let repeats = lanes
            .by_destination
            .values()
            .filter_map(|lane| lane.waiting.next_due());
        let changes = lanes
            .endpoints
            .values()
            .filter(|endpoint| endpoint.lanes > 0)
            .filter_map(|endpoint| endpoint.health.next_change(now))
            .filter(|change| *change > now);
        repeats.chain(changes).min()
    }

    /// Takes nothing from now on.
    pub(super) fn close(&self) {
        self.lock().is_open = false;
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
    fn push(&mut self, destination: &Arc<Destination>, ticket: Ticket, limits: &ShipLimits) {
        let lane = self
            .by_destination
            .entry(Arc::clone(destination))
            .or_insert_with(|| {
                let lane = Lane::new(destination);
                self.endpoints
                    .entry(Arc::clone(&lane.origin))
                    .or_insert_with(|| Endpoint {
                        health: Health::new(limits),
                        senders: 0,
                        lanes: 0,
                    })
                    .lanes += 1;
                lane
            });
        lane.waiting.push(ticket);
    }

    /// Whose lane holds most of what is short; `own` where no other holds more.
    fn longest(&self, short: Short, own: Option<&Arc<Destination>>) -> Option<Arc<Destination>> {
        let own = own.and_then(|own| self.by_destination.get_key_value(own));
        let (longest, _) = self
            .by_destination
            .iter()
            .chain(own)
            .max_by_key(|(_, lane)| lane.waiting.held(short))?;
        Some(Arc::clone(longest))
    }

    fn hold_nothing(&self) -> bool {
        self.by_destination.values().all(|lane| lane.waiting.is_empty())
    }

    /// How many senders a lane can use now beside those that it has.
    fn room_for_senders(
        &mut self,
        destination: &Arc<Destination>,
        now: Instant,
        limits: &ShipLimits,
    ) -> usize {
        let Some(lane) = self.by_destination.get_mut(destination) else {
            return 0;
        };
        // First of all, so that no repeat that has fallen due is waited for.
        let ready = lane.waiting.ready(now);
        let Some(endpoint) = self.endpoints.get(&lane.origin) else {
            return 0;
        };
        let of_lane = limits.in_flight.saturating_sub(lane.senders);
        let of_endpoint = endpoint.health.allowed(now).saturating_sub(endpoint.senders);
        let portions = ready.div_ceil(lane.portion(limits).messages.max(1));
        portions.min(of_lane).min(of_endpoint)
    }

    fn add_senders(&mut self, destination: &Arc<Destination>, senders: usize) {
        if let Some(lane) = self.by_destination.get_mut(destination) {
            lane.senders += senders;
            if let Some(endpoint) = self.endpoints.get_mut(&lane.origin) {
                endpoint.senders += senders;
            }
        }
    }

    fn remove_sender(&mut self, destination: &Arc<Destination>, now: Instant) {
        let Some(lane) = self.by_destination.get_mut(destination) else {
            return;
        };
        lane.senders -= 1;
        if let Some(endpoint) = self.endpoints.get_mut(&lane.origin) {
            endpoint.senders -= 1;
        }
        self.forget_if_idle(destination, now);
    }

    /// Lets go of a lane that has neither messages nor senders.
    fn forget_if_idle(&mut self, destination: &Arc<Destination>, now: Instant) {
        let is_idle = |lane: &Lane| lane.senders == 0 && lane.waiting.is_empty();
        if !self.by_destination.get(destination).is_some_and(is_idle) {
            return;
        }
        if let Some(lane) = self.by_destination.remove(destination)
            && let Some(endpoint) = self.endpoints.get_mut(&lane.origin)
        {
            endpoint.lanes -= 1;
        }
        // An endpoint that is well has nothing to be remembered by.
        self.endpoints
            .retain(|_, endpoint| endpoint.lanes > 0 || endpoint.health.is_worth_keeping(now));
    }
}

/// The right of one sender to a lane. Dropping it, in whatever way, gives the right back.
#[derive(Debug)]
pub(super) struct Claim {
    queue: Arc<Queue>,
    destination: Arc<Destination>,
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

    /// The messages of the next POST, those that have waited longest first; empty when there are none to send now, or when
    /// the endpoint is to have fewer senders than it has.
    pub(super) fn next(&self, now: Instant) -> Vec<Ticket> {
        let mut lanes = self.queue.lock();
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
        if endpoint.senders > endpoint.health.allowed(now) {
            return Vec::new();
        }
        let portion: Portion = lane.portion(&self.queue.limits);
        let taken = lane.waiting.take(now, portion);
        if !taken.is_empty() {
            endpoint.health.started(now);
        }
        taken
    }

    /// What came of a POST: how the endpoint bore it, how it answers, and what is to be sent again, when.
    pub(super) fn finish(&self, ended: Ended, form: AnswerForm, again: Vec<Lent>, now: Instant) {
        let mut lanes = self.queue.lock();
        let Lanes {
            by_destination,
            endpoints,
            ..
        } = &mut *lanes;
        let Some(lane) = by_destination.get_mut(&self.destination) else {
            return;
        };
        lane.batch.note(form);
        for Lent { ticket, due } in again {
            lane.waiting.put_back(ticket, due);
        }
        if let Some(endpoint) = endpoints.get_mut(&lane.origin) {
            endpoint.health.ended(ended, now);
        }
        // The bound may have been lowered while these were under way.
        let given_up = self
            .queue
            .relieve(&mut lanes, Some(&self.destination), usize::MAX, now);
        drop(lanes);
        self.queue.part_with(given_up);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let now = clock::instant();
        let mut lanes = self.queue.lock();
        lanes.remove_sender(&self.destination, now);
        if lanes.by_destination.contains_key(&self.destination) {
            // Something came after this sender's last look, waits for its time, or this sender failed.
            drop(lanes);
            self.queue.work.notify_one();
        }
    }
}
