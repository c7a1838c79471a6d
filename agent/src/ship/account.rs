//! What the queue holds and what became of it: the ledger, the bounds' counters and the figures for `/status`.
//!
//! In: calls at the places where things happen. Out: [`ShipStats`]. Counters are plain atomics; only failures take a
//! lock, for their text.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use serde::Serialize;

use crate::clock;
use crate::message::Message;
use crate::ship::failure::Failure;
use crate::ship::faults::{Faults, LastError};
use crate::ship::lane::endpoint::EndpointStats;
use crate::ship::shed::{ShedCause, ShedCounts, ShedStats};
use crate::ship::spool::{Appended, Flags, Memory, Spool, SpoolId, SpoolStats};
use crate::telemetry::ledger::{DropReason, ExchangeLedger};

/// Shipping at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ShipStats {
    /// Messages held: waiting and in flight.
    pub queued_messages: usize,
    /// Bytes of their JSON.
    pub queued_bytes: usize,
    /// How many there may be now.
    pub limit_bytes: usize,
    /// Attempts begun.
    pub attempts: u64,
    /// Messages that were put back to be sent again, each time counted.
    pub repeats: u64,
    /// Messages that were taken with a warning.
    pub warnings: u64,
    /// Attempts that have not ended.
    pub in_flight: u64,
    /// Attempts that ended, whatever their outcome.
    pub latency_count: u64,
    /// How long they took together, microseconds.
    pub latency_us_sum: u64,
    /// What was given up.
    pub shed: ShedStats,
    /// The last failure of each kind.
    pub last_errors: Vec<LastError>,
    /// The spool, if there is to be one.
    pub spool: Option<SpoolStats>,
    /// How often the queue was looked through for work.
    pub looks: u64,
    /// How often a breaker opened, of any endpoint.
    pub breaker_opened: u64,
    /// How often one closed again.
    pub breaker_closed: u64,
    /// The endpoints that messages wait for, or that are remembered, by origin.
    pub endpoints: Vec<EndpointStats>,
}

#[derive(Debug)]
pub(super) struct Account {
    ledger: Arc<ExchangeLedger>,
    held_messages: AtomicUsize,
    held_bytes: AtomicUsize,
    /// Messages that were queued, ever: the last one's number.
    queued: AtomicU64,
    shed: ShedCounts,
    attempts: AtomicU64,
    repeats: AtomicU64,
    warnings: AtomicU64,
    in_flight: AtomicU64,
    latency_count: AtomicU64,
    latency_us_sum: AtomicU64,
    faults: Mutex<Faults>,
    spool: OnceLock<Arc<Spool>>,
    /// Why the spool could not be opened.
    unopened: Mutex<Option<SpoolStats>>,
}

impl Account {
    pub(super) fn new(ledger: Arc<ExchangeLedger>) -> Self {
        Self {
            ledger,
            held_messages: AtomicUsize::new(0),
            held_bytes: AtomicUsize::new(0),
            queued: AtomicU64::new(0),
            shed: ShedCounts::default(),
            attempts: AtomicU64::new(0),
            repeats: AtomicU64::new(0),
            warnings: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            latency_count: AtomicU64::new(0),
            latency_us_sum: AtomicU64::new(0),
            faults: Mutex::new(Faults::default()),
            spool: OnceLock::new(),
            unopened: Mutex::new(None),
        }
    }

    pub(super) fn ledger(&self) -> &ExchangeLedger {
        &self.ledger
    }

    pub(super) fn spool(&self) -> Option<&Arc<Spool>> {
        self.spool.get()
    }

    /// A spool was opened, or could not be.
    pub(super) fn set_spool(&self, opened: Result<Spool, SpoolStats>) {
        match opened {
            Ok(spool) => drop(self.spool.set(Arc::new(spool))),
            Err(stats) => *self.unopened.lock().unwrap_or_else(PoisonError::into_inner) = Some(stats),
        }
    }

    fn spool_stats(&self) -> Option<SpoolStats> {
        match self.spool() {
            Some(spool) => Some(spool.stats()),
            None => self
                .unopened
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    pub(super) fn held_messages(&self) -> usize {
        self.held_messages.load(Ordering::Relaxed)
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// Whether a message is held. Also says that what was counted before its release can be seen.
    pub(super) fn holds_any(&self) -> bool {
        self.held_messages.load(Ordering::Acquire) > 0
    }

    /// Counts a message that was not taken.
    pub(super) fn refuse(&self, message: &Message, reason: DropReason) {
        self.ledger.drop_unqueued(reason);
        self.shed.drop_message(reason, message.outcome());
        self.note(&Failure::without_attempt(reason));
    }

    /// Notes that so many messages were lost, without an attempt now.
    pub(super) fn note_lost(&self, reason: DropReason, messages: u64) {
        for _ in 0..messages.min(1) {
            self.note(&Failure::without_attempt(reason));
        }
    }

    /// Notes messages that were taken with a warning.
    pub(super) fn note_warnings(&self, warnings: u64) {
        if warnings > 0 {
            self.warnings.fetch_add(warnings, Ordering::Relaxed);
        }
    }

    pub(super) fn start_attempt(&self) -> Attempt<'_> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Attempt {
            account: self,
            started: clock::instant(),
        }
    }

    /// `limit_bytes`: how many bytes may be held now.
    pub(super) fn stats(&self, limit_bytes: usize) -> ShipStats {
        ShipStats {
            queued_messages: self.held_messages(),
            queued_bytes: self.held_bytes(),
            limit_bytes,
            attempts: self.attempts.load(Ordering::Relaxed),
            repeats: self.repeats.load(Ordering::Relaxed),
            warnings: self.warnings.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            latency_count: self.latency_count.load(Ordering::Relaxed),
            latency_us_sum: self.latency_us_sum.load(Ordering::Relaxed),
            shed: self.shed.stats(),
            last_errors: self.faults().last_errors(),
            spool: self.spool_stats(),
            ..ShipStats::default()
        }
    }

    /// Writes the lines about failures that were held back and are due.
    pub(super) fn write_lines(&self, now: Instant) {
        let due = self.faults().due(now);
        for line in due {
            line.write();
        }
    }

    fn note(&self, failure: &Failure) {
        let line = self
            .faults()
            .note(failure, clock::instant(), clock::unix_ns() / 1_000_000);
        if let Some(line) = line {
            line.write();
        }
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt in flight; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    account: &'a Account,
    started: Instant,
}

impl Attempt<'_> {
    /// Says that it ended by itself, so that the time it took counts.
    pub(super) fn end(self) {
        let took = clock::instant().saturating_duration_since(self.started);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.account.latency_us_sum.fetch_add(took_us, Ordering::Relaxed);
        self.account.latency_count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.account.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A message that counts as queued until its fate is known. One that is dropped without a fate (the task that held it
/// panicked or was aborted, the queue was cleared) stays queued if the spool has it or takes it, and else counts as [`DropReason::Shutdown`].
#[derive(Debug)]
pub(super) struct Ticket {
    message: Message,
    account: Arc<Account>,
    fate: Fate,
    /// Whether it counts against the bounds.
    is_held: bool,
    number: u64,
    queued: Instant,
    attempts: u32,
    /// Where the spool has it.
    stored: Option<SpoolId>,
    is_being_sent: bool,
    /// Why it is to be sent again.
    last_failure: Option<Box<Failure>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Unknown,
    Shipped,
    Dropped(DropReason),
    /// The spool has it, and gives it back in its turn.
    PutBack,
}

impl Ticket {
    pub(super) fn new(message: Message, account: Arc<Account>, now: Instant) -> Self {
        account.ledger.enqueue();
        Self::restored(message, account, now)
    }

    /// One that counts as queued already.
    pub(super) fn restored(message: Message, account: Arc<Account>, queued: Instant) -> Self {
        account.held_messages.fetch_add(1, Ordering::Relaxed);
        account
            .held_bytes
            .fetch_add(message.json().len(), Ordering::Relaxed);
        let number = account.queued.fetch_add(1, Ordering::Relaxed);
        Self {
            message,
            account,
            fate: Fate::Unknown,
            is_held: true,
            number,
            queued,
            attempts: 0,
            stored: None,
            is_being_sent: false,
            last_failure: None,
        }
    }

    /// Says where the spool has it.
    pub(super) const fn stored(mut self, id: Option<SpoolId>) -> Self {
        self.stored = id;
        self
    }

    /// Whether the spool has it, or had it.
    pub(super) const fn is_stored(&self) -> bool {
        self.stored.is_some()
    }

    pub(super) const fn message(&self) -> &Message {
        &self.message
    }

    /// Bytes of its JSON.
    pub(super) fn bytes(&self) -> usize {
        self.message.json().len()
    }

    /// Which of two messages was queued first.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// When it was queued.
    pub(super) const fn queued(&self) -> Instant {
        self.queued
    }

    /// How many attempts there were, with the one under way.
    pub(super) const fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(super) const fn begin_attempt(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
        self.is_being_sent = true;
    }

    /// Whether it may come again after whoever had it left it without a fate: not after a panic, which would come again with it, and not
    /// when it may have arrived and its receiver could not tell.
    fn may_come_again(&self) -> bool {
        !std::thread::panicking() && (!self.is_being_sent || self.message.is_recognisable())
    }

    pub(super) fn ship(mut self) {
        self.fate = Fate::Shipped;
    }

    pub(super) fn give_up(mut self, failure: &Failure) {
        self.fate = Fate::Dropped(failure.reason);
        self.account.note(failure);
    }

    /// Gives it up for the sake of another message, unless it was put back.
    pub(super) fn evict(self, reason: DropReason) {
        if self.fate != Fate::PutBack {
            self.give_up(&Failure::without_attempt(reason));
        }
    }

    /// Whether the spool has it, and gives it back in its turn: then it may go.
    pub(super) fn put_back(&mut self) -> bool {
        let is_put_back = self
            .stored
            .take()
            .zip(self.account.spool())
            .is_some_and(|(id, spool)| spool.put_back(id));
        if is_put_back {
            self.fate = Fate::PutBack;
        }
        is_put_back
    }

    /// Whether the spool takes it now: it did not before, or has given its place to others.
    fn is_kept(&self) -> bool {
        let Some(spool) = self.account.spool() else {
            return false;
        };
        let (message, flags) = (&self.message, Flags::of(&self.message));
        spool
            .key(message.destination())
            .is_some_and(|key| spool.append(key, message.json(), flags, Memory::Full) == Appended::Waiting)
    }

    fn acknowledge(&self) {
        if let Some((id, spool)) = self.stored.zip(self.account.spool()) {
            spool.acknowledge(id);
        }
    }

    /// Notes a failure after which it is sent again.
    pub(super) fn postpone(&mut self, failure: Failure) {
        self.account.repeats.fetch_add(1, Ordering::Relaxed);
        self.last_failure = Some(Box::new(failure));
        self.is_being_sent = false;
    }

    /// Gives it up for the reason of its last failure. What was never tried counts as a shutdown's.
    pub(super) fn expire(mut self) {
        if let Some(failure) = self.last_failure.take() {
            self.give_up(&failure);
        }
    }

    /// Leaves its bodies out, and gives the number of bytes that this saved.
    pub(super) fn shed_bodies(&mut self, cause: ShedCause) -> usize {
        let Some(bare) = self.message.without_bodies() else {
            return 0;
        };
        let saved = self.bytes().saturating_sub(bare.json().len());
        self.message = bare;
        self.account.held_bytes.fetch_sub(saved, Ordering::Relaxed);
        self.account.shed.shed_bodies(cause, saved);
        saved
    }

    /// Leaves the room that it took to others. It still counts as queued until its fate is known.
    pub(super) fn vacate(&mut self) {
        if std::mem::take(&mut self.is_held) {
            self.account.held_bytes.fetch_sub(self.bytes(), Ordering::Relaxed);
            self.account.held_messages.fetch_sub(1, Ordering::Release);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.fate == Fate::Unknown {
            let stays = self.may_come_again() && (self.put_back() || self.is_kept());
            self.fate = if stays {
                Fate::PutBack
            } else {
                Fate::Dropped(DropReason::Shutdown)
            };
        }
        match self.fate {
            Fate::Unknown | Fate::PutBack => {}
            Fate::Shipped => {
                self.acknowledge();
                self.account.ledger.ship_queued();
            }
            Fate::Dropped(reason) => {
                self.acknowledge();
                self.account.ledger.drop_queued(reason);
                self.account.shed.drop_message(reason, self.message.outcome());
            }
        }
        self.vacate();
    }
}
