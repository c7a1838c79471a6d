//! What waits: one lane for each destination, under bounds that they share.
//!
//! In: messages, from any thread. Out: [`Claim`]s, each the right of one sender to take a lane's messages one by one.
//! The lock is held for a few map operations, never across IO or an await.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::message::Message;
use crate::plugin::Destination;
use crate::ship::ShipLimits;
use crate::ship::account::{Account, Ticket};
use crate::ship::pressure::Pressure;
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

#[derive(Debug)]
struct Lanes {
    is_open: bool,
    /// Lanes that have messages or senders; so there are never more than messages and senders.
    by_destination: HashMap<Arc<Destination>, Lane>,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Ticket>,
    waiting_bytes: usize,
    senders: usize,
}

impl Queue {
    pub(super) fn new(limits: ShipLimits, account: Arc<Account>) -> Self {
        Self {
            limits,
            account,
            lanes: Mutex::new(Lanes {
                is_open: true,
                by_destination: HashMap::new(),
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
            let lane = lanes
                .by_destination
                .entry(Arc::clone(message.destination()))
                .or_default();
            lane.push(Ticket::new(message, Arc::clone(&self.account)));
            lane.senders < self.limits.in_flight
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
            // What is short, how much of it a lane holds, and how much this message needs.
            let (reason, held, needed): (DropReason, fn(&Lane) -> usize, usize) =
                if self.account.held_messages() >= self.limits.queue_messages {
                    (DropReason::QueueFullCount, |lane| lane.waiting.len(), 1)
                } else if self.account.held_bytes().saturating_add(bytes) > queue_bytes {
                    (DropReason::QueueFullBytes, |lane| lane.waiting_bytes, bytes)
                } else {
                    return Ok(());
                };
            let own = lanes.by_destination.get(message.destination()).map_or(0, held);
            let longest = lanes
                .by_destination
                .values_mut()
                .max_by_key(|lane| held(lane))
                .filter(|lane| held(lane) > own.saturating_add(needed))
                .and_then(Lane::pop_newest);
            match longest {
                Some(ticket) => ticket.evict(reason),
                None => return Err(reason),
            }
        }
    }

    /// Waits until a lane may want another sender.
    pub(super) async fn work(&self) {
        self.work.notified().await;
    }

    /// A claim for each sender that can be used now.
    pub(super) fn claims(self: &Arc<Self>) -> Vec<Claim> {
        let mut claims = Vec::new();
        let mut lanes = self.lock();
        for (destination, lane) in &mut lanes.by_destination {
            let wanted = lane
                .waiting
                .len()
                .min(self.limits.in_flight.saturating_sub(lane.senders));
            lane.senders += wanted;
            claims.extend((0..wanted).map(|_| Claim {
                queue: Arc::clone(self),
                destination: Arc::clone(destination),
            }));
        }
        drop(lanes);
        claims
    }

    /// Takes nothing from now on.
    pub(super) fn close(&self) {
        self.lock().is_open = false;
    }

    /// Drops what waits, as [`DropReason::Shutdown`].
    pub(super) fn clear(&self) {
        let waiting: Vec<VecDeque<Ticket>> = self
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

impl Lane {
    fn push(&mut self, ticket: Ticket) {
        self.waiting_bytes += ticket.message().json().len();
        self.waiting.push_back(ticket);
    }

    fn pop_oldest(&mut self) -> Option<Ticket> {
        let ticket = self.waiting.pop_front()?;
        self.waiting_bytes -= ticket.message().json().len();
        Some(ticket)
    }

    fn pop_newest(&mut self) -> Option<Ticket> {
        let ticket = self.waiting.pop_back()?;
        self.waiting_bytes -= ticket.message().json().len();
        Some(ticket)
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

    /// The message that has waited longest.
    pub(super) fn next(&self) -> Option<Ticket> {
        self.queue
            .lock()
            .by_destination
            .get_mut(&self.destination)
            .and_then(Lane::pop_oldest)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut lanes = self.queue.lock();
        let Some(lane) = lanes.by_destination.get_mut(&self.destination) else {
            return;
        };
        lane.senders -= 1;
        if !lane.waiting.is_empty() {
            // It came after this sender's last look, or this sender failed.
            self.queue.work.notify_one();
        } else if lane.senders == 0 {
            lanes.by_destination.remove(&self.destination);
        }
    }
}
