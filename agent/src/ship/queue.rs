//! What waits: one lane for each destination, under bounds that they share.
//!
//! In: messages, from any thread. Out: [`Claim`]s, each the right of one sender to take a lane's messages. What waits in a
//! lane and in which order is [`Waiting`](crate::ship::lane::waiting::Waiting); how many senders an endpoint may have now,
//! [`Health`](crate::ship::lane::health::Health). The lock is held for a few map operations (and, while bytes are short, for
//! copying a message without its bodies), never across IO or an await.

pub(super) mod claim;
mod stored;
mod turns;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::clock;
use crate::message::Message;
use crate::plugin::Destination;
use crate::ship::ShipLimits;
use crate::ship::account::{Account, ShipStats, Ticket};
use crate::ship::lane::endpoint::EndpointStats;
use crate::ship::lane::waiting::{Relief, Short};
use crate::ship::queue::claim::Claim;
use crate::ship::queue::stored::{Placed, Places};
use crate::ship::queue::turns::Lanes;
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
    /// What the spool may hold.
    places: Places,
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
                wake: None,
                looks: 0,
                breaker_opened: 0,
                breaker_closed: 0,
            }),
            work: Notify::new(),
            places: Places::default(),
        }
    }

    pub(super) const fn limits(&self) -> &ShipLimits {
        &self.limits
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
            let stored = match self.place(&lanes, &message) {
                Placed::InMemory(stored) => stored,
                Placed::OnDisk => {
                    self.account.ledger().enqueue();
                    return;
                }
            };
            let mut ticket = Ticket::new(message, Arc::clone(&self.account), now).stored(stored);
            if self.make_fit(&mut ticket) {
                let needs_sender = lanes.push(&destination, ticket, &self.limits, now);
                (
                    needs_sender,
                    self.relieve(&mut lanes, Some(&destination), usize::MAX, now),
                )
            } else {
                ticket.vacate();
                (false, vec![(ticket, DropReason::QueueFullBytes)])
            }
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

    /// The counts now.
    pub(super) fn stats(&self) -> ShipStats {
        let mut stats = self.account.stats(self.byte_limit());
        self.describe(&mut stats, clock::instant());
        stats
    }

    #[cfg(test)]
    pub(super) fn lanes(&self) -> usize {
        self.lock().by_destination.len()
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

    /// Puts messages back into the spool, or gives up bodies and messages, in at most `steps` of them, until the bounds hold; always of the destination that holds
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
            if let Some(mut ticket) = lane.waiting.newest_stored() {
                if ticket.put_back() {
                    lanes.forget_if_idle(&longest, now);
                    ticket.vacate();
                    given_up.push((ticket, short.reason()));
                } else {
                    // The spool has given its place to others: from now on it is as any other message.
                    lane.waiting.push(ticket);
                }
                continue;
            }
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
            ticket.evict(reason);
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
    fn describe(&self, stats: &mut ShipStats, now: Instant) {
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
