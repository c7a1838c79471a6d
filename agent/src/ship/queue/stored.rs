//! The spool's place in the queue: what is written ahead, what only the disk has, and when that comes back.
//!
//! In: messages, room in memory, the destinations that configurations name. Out: a place for each message, and refills: what waits on the
//! disk comes to memory, in order, when the lane has little left. Messages that memory has no room for go to the disk alone, and so do
//! those that come after them, until the disk has none of their destination left. A message that gives way to others goes back there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::Queue;
use super::claim::Claim;
use super::turns::Lanes;
use crate::clock;
use crate::message::Message;
use crate::plugin::Destination;
use crate::ship::account::Ticket;
use crate::ship::lane::Lane;
use crate::ship::lane::waiting::Short;
use crate::ship::retry::RetryLimits;
use crate::ship::shed::ShedCause;
use crate::ship::spool::{
    Appended, DestinationKey, Flags, Loss, Memory, Observer, Recovery, Spool, SpoolError, SpoolId,
    SpoolOptions, SpoolStats, SpooledMessage,
};
use crate::telemetry::ledger::DropReason;

/// A lane that holds fewer messages than this is filled up from the disk.
const REFILL_BELOW: usize = 256;

/// The most messages that one look at the disk brings.
const MOST_REFILL_MESSAGES: usize = 1024;

/// And bytes of JSON, unless one message alone is larger.
const MOST_REFILL_BYTES: usize = 4 << 20;

/// The destinations that the spool may hold something for.
#[derive(Debug, Default)]
pub(super) struct Places {
    known: Mutex<Known>,
    /// Something waits on the disk: whoever finds a lane nearly empty says so, once.
    is_wanted: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    by_destination: HashMap<Arc<Destination>, Place>,
    /// What configurations name, once they were asked.
    configured: Option<Vec<Arc<Destination>>>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    key: DestinationKey,
    is_reading: bool,
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// In memory, and on the disk too if the spool took it.
    InMemory(Option<SpoolId>),
    /// On the disk alone.
    OnDisk,
}

/// What the spool's threads tell the queue.
#[derive(Debug)]
struct Watch(Weak<Queue>);

impl Observer for Watch {
    fn lost(&self, loss: &Loss) {
        if let Some(queue) = self.0.upgrade() {
            queue
                .account
                .ledger()
                .drop_queued_many(loss.reason, loss.tally.messages);
            queue.account.note_lost(loss.reason, loss.tally.messages);
        }
    }

    fn readable(&self) {
        if let Some(queue) = self.0.upgrade() {
            queue.work.notify_one();
        }
    }
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn key(&mut self, spool: &Spool, destination: &Arc<Destination>) -> Option<DestinationKey> {
        if let Some(place) = self.by_destination.get(destination) {
            return Some(place.key);
        }
        let key = spool.key(destination)?;
        let place = Place {
            key,
            is_reading: false,
        };
        self.by_destination.insert(Arc::clone(destination), place);
        Some(key)
    }

    /// Takes what configurations name, and forgets the rest: what of it is in memory is sent, and what is on the disk waits until somebody
    /// posts there again.
    fn settle(&mut self, spool: &Spool) {
        let Some(configured) = self.configured.take() else {
            return;
        };
        let keys: Vec<DestinationKey> = configured
            .iter()
            .filter_map(|destination| self.key(spool, destination))
            .collect();
        spool.set_configured(&keys);
        self.by_destination
            .retain(|destination, place| place.is_reading || configured.contains(destination));
        self.configured = Some(configured);
    }
}

impl Queue {
    pub(in crate::ship) fn open_spool(
        self: &Arc<Self>,
        options: SpoolOptions,
    ) -> Result<Recovery, SpoolError> {
        let watch = Arc::new(Watch(Arc::downgrade(self)));
        let (spool, recovery) = Spool::open(options, watch).inspect_err(|error| {
            let stats = SpoolStats::unopened(error, clock::unix_ns() / 1_000_000);
            self.account.set_spool(Err(stats));
        })?;
        let ledger = self.account.ledger();
        let lost = [
            (DropReason::SpoolLost, recovery.lost.messages),
            (DropReason::SpoolDamaged, recovery.damaged.messages),
        ];
        ledger.recover(recovery.recovered.messages);
        for (reason, messages) in lost {
            ledger.recover(messages);
            ledger.drop_queued_many(reason, messages);
            self.account.note_lost(reason, messages);
        }
        self.account.set_spool(Ok(spool));
        if let Some(spool) = self.account.spool() {
            self.places.lock().settle(spool);
        }
        self.work.notify_one();
        Ok(recovery)
    }

    pub(in crate::ship) fn configured(&self, destinations: &[Arc<Destination>]) {
        let mut known = self.places.lock();
        known.configured = Some(destinations.to_vec());
        if let Some(spool) = self.account.spool() {
            known.settle(spool);
            drop(known);
            self.work.notify_one();
        }
    }

    /// Finds a place for a message.
    pub(super) fn place(&self, lanes: &Lanes, message: &Message) -> Placed {
        let stored = self
            .account
            .spool()
            .and_then(|spool| Some((spool, self.places.lock().key(spool, message.destination())?)));
        let Some((spool, key)) = stored else {
            return Placed::InMemory(None);
        };
        // Where others wait on the disk before it, nobody has to give way for it.
        let has_room = spool.waiting(key).is_nothing() && self.has_room(lanes, message);
        let memory = if has_room { Memory::Room } else { Memory::Full };
        match spool.append(key, message.json(), Flags::of(message), memory) {
            Appended::Held(id) => Placed::InMemory(Some(id)),
            Appended::Waiting => Placed::OnDisk,
            Appended::Refused => Placed::InMemory(None),
        }
    }

    /// Whether memory has room for a message, or another destination would have to make it.
    fn has_room(&self, lanes: &Lanes, message: &Message) -> bool {
        let held_bytes = self.account.held_bytes().saturating_add(message.json().len());
        let short = if self.account.held_messages() >= self.limits.queue_messages {
            Short::Messages
        } else if held_bytes > self.byte_limit() {
            Short::Bytes(ShedCause::QueueFull)
        } else {
            return true;
        };
        lanes
            .longest(short, Some(message.destination()))
            .is_some_and(|longest| longest != *message.destination())
    }

    /// What is to be read from the disk now.
    pub(in crate::ship) fn refills(self: &Arc<Self>) -> Vec<Refill> {
        let Some(spool) = self.account.spool() else {
            return Vec::new();
        };
        let lanes = self.lock();
        let mut refills = Vec::new();
        let mut is_wanted = false;
        for (destination, place) in &mut self.places.lock().by_destination {
            if spool.waiting(place.key).is_nothing() {
                continue;
            }
            let lane = lanes.by_destination.get(destination);
            let short_of_bytes = Short::Bytes(ShedCause::QueueFull);
            let messages = self.free(&lanes, lane, Short::Messages).min(MOST_REFILL_MESSAGES);
            let bytes = self.free(&lanes, lane, short_of_bytes).min(MOST_REFILL_BYTES);
            let is_low = lane.is_none_or(|lane| lane.waiting.held(Short::Messages) < REFILL_BELOW);
            is_wanted |= !is_low;
            if place.is_reading || !is_low || messages == 0 || bytes == 0 || !lanes.is_open {
                continue;
            }
            place.is_reading = true;
            refills.push(Refill {
                queue: Arc::clone(self),
                destination: Arc::clone(destination),
                key: place.key,
                messages,
                bytes,
            });
        }
        drop(lanes);
        self.places.is_wanted.store(is_wanted, Ordering::Relaxed);
        refills
    }

    /// How much a lane may take: what is free, or half of what the longest has more than it.
    fn free(&self, lanes: &Lanes, lane: Option<&Lane>, short: Short) -> usize {
        let (most, held) = match short {
            Short::Messages => (self.limits.queue_messages, self.account.held_messages()),
            Short::Bytes(_) => (self.byte_limit(), self.account.held_bytes()),
        };
        let own = lane.map_or(0, |lane| lane.waiting.held(short));
        let longest = lanes
            .by_destination
            .values()
            .map(|lane| lane.waiting.held(short))
            .max()
            .unwrap_or(0);
        most.saturating_sub(held).max(longest.saturating_sub(own) / 2)
    }

    /// A lane has so many messages left: if the disk may have more for it, this is the moment to look.
    pub(super) fn note_left(&self, messages: usize) {
        if messages < REFILL_BELOW && self.places.is_wanted.swap(false, Ordering::Relaxed) {
            self.work.notify_one();
        }
    }

    /// Messages came from the disk.
    fn take_back(&self, destination: &Arc<Destination>, messages: Vec<SpooledMessage>) {
        let now = clock::instant();
        let mut lanes = self.lock();
        let mut given_up = Vec::new();
        for message in messages {
            let SpooledMessage { id, json, flags, age } = message;
            let message =
                Message::from_spool(Arc::clone(destination), json, flags.outcome(), flags.profile());
            let queued = now.checked_sub(age).unwrap_or(now);
            let mut ticket = Ticket::restored(message, Arc::clone(&self.account), queued).stored(Some(id));
            if !lanes.is_open {
                ticket.put_back();
                given_up.push((ticket, DropReason::Shutdown));
            } else if self.make_fit(&mut ticket) {
                lanes.push(destination, ticket, &self.limits, now);
            } else {
                ticket.vacate();
                given_up.push((ticket, DropReason::QueueFullBytes));
            }
        }
        given_up.extend(self.relieve(&mut lanes, Some(destination), usize::MAX, now));
        drop(lanes);
        self.part_with(given_up);
    }
}

/// One look at the disk for one destination.
#[derive(Debug)]
pub(in crate::ship) struct Refill {
    queue: Arc<Queue>,
    destination: Arc<Destination>,
    key: DestinationKey,
    messages: usize,
    bytes: usize,
}

impl Refill {
    /// Reads, and puts what it found into the lane. Blocks.
    pub(in crate::ship) fn run(self) {
        let Some(spool) = self.queue.account.spool() else {
            return;
        };
        let found = spool
            .read(self.key, self.messages, self.bytes)
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "The spool cannot be read for now.");
                Vec::new()
            });
        self.queue.take_back(&self.destination, found);
    }
}

impl Drop for Refill {
    fn drop(&mut self) {
        if let Some(place) = self.queue.places.lock().by_destination.get_mut(&self.destination) {
            place.is_reading = false;
        }
        self.queue.work.notify_one();
    }
}

impl Claim {
    /// How long a message may be sent again: one that the spool has, for as long as that keeps it.
    pub(in crate::ship) fn retry(&self, ticket: &Ticket) -> RetryLimits {
        let limits = self.queue.limits.retry;
        let max_age = self
            .queue
            .account
            .spool()
            .filter(|_| ticket.is_stored() && limits.max_age > Duration::ZERO)
            .map_or(limits.max_age, |spool| spool.max_age().max(limits.max_age));
        RetryLimits { max_age, ..limits }
    }
}
