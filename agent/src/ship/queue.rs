//! What waits: one lane for each destination, under bounds that they share.
//!
//! In: messages, from any thread. Out: [`Claim`]s, each the right of one sender to take a lane's messages. What waits in a
//! lane and in which order is [`Waiting`](crate::ship::lane::waiting::Waiting); how many senders an endpoint may have now,
//! [`Health`](crate::ship::lane::health::Health). The lock is held for a few map operations, never across IO or an await.

pub(super) mod claim;
mod turns;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::clock;
use crate::message::Message;
use crate::ship::ShipLimits;
use crate::ship::account::{Account, ShipStats, Ticket};
use crate::ship::lane::Lane;
use crate::ship::lane::endpoint::EndpointStats;
use crate::ship::lane::waiting::Short;
use crate::ship::pressure::Pressure;
use crate::ship::queue::claim::Claim;
use crate::ship::queue::turns::Lanes;
use crate::telemetry::ledger::DropReason;

#[derive(Debug)]
pub(super) struct Queue {
    limits: ShipLimits,
    account: Arc<Account>,
    lanes: Mutex<Lanes>,
    /// Told when a lane has messages and room for one more sender.
    work: Notify,
    pressure: Pressure,
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
                wake: None,
                looks: 0,
                breaker_opened: 0,
                breaker_closed: 0,
            }),
            work: Notify::new(),
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
