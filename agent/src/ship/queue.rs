//! What waits: one lane for each destination, under bounds that they share.
//!
//! In: messages, from any thread. Out: [`Claim`]s, each the right of one sender to take a lane's messages. What waits in a
//! lane and in which order is [`Waiting`](crate::ship::lane::waiting::Waiting); how many senders an endpoint may have now,
//! [`Health`]. The lock is held for a few map operations, never across IO or an await.

mod stored;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::clock;
use crate::message::Message;
use crate::plugin::Destination;
use crate::ship::ShipLimits;
use crate::ship::account::{Account, Ticket};
use crate::ship::batch::{AnswerForm, Batch};
use crate::ship::lane::health::{Ended, Health};
use crate::ship::lane::waiting::{Portion, Short};
use crate::ship::lane::{Lane, Lent};
use crate::ship::pressure::Pressure;
use crate::ship::queue::stored::{Placed, Places};
use crate::telemetry::ledger::DropReason;

#[derive(Debug)]
pub(super) struct Queue {
    limits: ShipLimits,
    account: Arc<Account>,
    lanes: Mutex<Lanes>,
    /// Told when a lane has messages and room for one more sender.
    work: Notify,
    /// What the spool may hold.
    places: Places,
    pressure: Pressure,
}

#[derive(Debug)]
struct Lanes {
    is_open: bool,
    /// Lanes that have messages or senders; so there are never more than messages and senders.
    by_destination: HashMap<Arc<Destination>, Lane>,
    /// What is known of endpoints, by their origin: of those that have lanes, and of those that were not well lately.
    endpoints: HashMap<Arc<str>, Endpoint>,
}

/// What lanes with the same origin share.
#[derive(Debug)]
struct Endpoint {
    health: Health,
    /// Whether several messages may travel in one POST.
    batch: Batch,
    senders: usize,
    lanes: usize,
}

impl Endpoint {
    /// Whether anything would be forgotten with it.
    fn is_worth_keeping(&self, now: Instant) -> bool {
        self.lanes > 0 || self.health.is_worth_keeping(now) || self.batch.is_worth_keeping(now)
    }
}

impl Queue {
    pub(super) fn new(limits: ShipLimits, account: Arc<Account>) -> Self {
        Self {
            limits,
            account,
            lanes: Mutex::new(Lanes {
                is_open: true,
                by_destination: HashMap::new(),
                endpoints: HashMap::new(),
            }),
            work: Notify::new(),
            places: Places::default(),
            pressure: Pressure::default(),
        }
    }

    pub(super) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    pub(super) const fn pressure(&self) -> &Pressure {
        &self.pressure
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
            let stored = match self.place(&mut lanes, &message) {
                Ok(Placed::InMemory(stored)) => stored,
                Ok(Placed::OnDisk) => {
                    self.account.ledger().enqueue();
                    return;
                }
                Err(reason) => {
                    drop(lanes);
                    self.account.refuse(reason);
                    return;
                }
            };
            let destination = Arc::clone(message.destination());
            let ticket = Ticket::new(message, Arc::clone(&self.account), now).stored(stored);
            lanes.push(&destination, ticket, &self.limits);
            lanes.room_for_senders(&destination, now, &self.limits) > 0
        };
        if needs_sender {
            self.work.notify_one();
        }
    }

    /// Makes room for `message` at the cost of the longest lane, as long as that stays longer than the message's own.
    fn make_room(&self, lanes: &mut Lanes, message: &Message) -> Result<(), DropReason> {
        let bytes = message.json().len();
        let queue_bytes = self.pressure.bound(self.limits.queue_bytes);
        if bytes > queue_bytes {
            return Err(DropReason::QueueFullBytes);
        }
        loop {
            let (short, needed) = if self.account.held_messages() >= self.limits.queue_messages {
                (Short::Messages, 1)
            } else if self.account.held_bytes().saturating_add(bytes) > queue_bytes {
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
        let repeats = lanes
            .by_destination
            .values()
            .filter_map(|lane| lane.waiting.next_due());
        let changes = lanes
            .endpoints
            .values()
            .filter(|endpoint| endpoint.lanes > 0)
            .filter_map(|endpoint| endpoint.health.next_change(now));
        repeats.chain(changes).filter(|due| *due > now).min()
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
                        batch: Batch::default(),
                        senders: 0,
                        lanes: 0,
                    })
                    .lanes += 1;
                lane
            });
        lane.waiting.push(ticket);
    }

    /// How many senders a lane can use now beside those that it has.
    fn room_for_senders(&self, destination: &Arc<Destination>, now: Instant, limits: &ShipLimits) -> usize {
        let Some(lane) = self.by_destination.get(destination) else {
            return 0;
        };
        let Some(endpoint) = self.endpoints.get(&lane.origin) else {
            return 0;
        };
        let of_lane = limits.in_flight.saturating_sub(lane.senders);
        let of_endpoint = endpoint.health.allowed(now).saturating_sub(endpoint.senders);
        let portions = lane
            .waiting
            .ready(now)
            .div_ceil(endpoint.batch.most(limits, now).max(1));
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
        let origin = Arc::clone(&lane.origin);
        let is_idle = lane.senders == 0 && lane.waiting.is_empty();
        if is_idle {
            self.by_destination.remove(destination);
        }
        if let Some(endpoint) = self.endpoints.get_mut(&origin) {
            endpoint.senders -= 1;
            endpoint.lanes -= usize::from(is_idle);
        }
        // An endpoint that is well has nothing to be remembered by.
        self.endpoints
            .retain(|_, endpoint| endpoint.is_worth_keeping(now));
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
        let portion = Portion {
            messages: endpoint.batch.most(&self.queue.limits, now),
            bytes: self.queue.limits.batch_bytes,
        };
        let taken = lane.waiting.take(now, portion);
        if !taken.is_empty() {
            endpoint.health.started(now);
        }
        let left = lane.waiting.held(Short::Messages);
        drop(lanes);
        self.queue.note_left(left);
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
        for Lent { ticket, due } in again {
            lane.waiting.put_back(ticket, due);
        }
        if let Some(endpoint) = endpoints.get_mut(&lane.origin) {
            endpoint.health.ended(ended, now);
            endpoint.batch.note(form, now);
        }
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
