//! The thread that empties the ring. It never waits for anything downstream (invariant I3).
//!
//! In: a [`Ring`]. Out: batches of events through a [`BatchSink`]; what the sink refuses is counted, so that
//! `copied = delivered + refused + undecodable` once the ring is empty. Deliberately absent: what the bytes mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, mem, thread};

use super::decode::{Arena, decode_in};
use super::event::{CaptureEvent, KernelTime};
use super::ring::Ring;
use crate::clock;

/// Where batches go: the sending end of a bounded channel, or anything else that does not wait.
pub trait BatchSink: Send {
    /// Takes the batch, or gives it back at once when there is no room or nobody listens.
    ///
    /// # Errors
    /// The batch itself.
    fn offer(&mut self, batch: Vec<CaptureEvent>) -> Result<(), Vec<CaptureEvent>>;
}

impl BatchSink for std::sync::mpsc::SyncSender<Vec<CaptureEvent>> {
    fn offer(&mut self, batch: Vec<CaptureEvent>) -> Result<(), Vec<CaptureEvent>> {
        use std::sync::mpsc::TrySendError;
        self.try_send(batch).map_err(|error| match error {
            TrySendError::Full(batch) | TrySendError::Disconnected(batch) => batch,
        })
    }
}

impl BatchSink for tokio::sync::mpsc::Sender<Vec<CaptureEvent>> {
    fn offer(&mut self, batch: Vec<CaptureEvent>) -> Result<(), Vec<CaptureEvent>> {
        self.try_send(batch)
            .map_err(tokio::sync::mpsc::error::TrySendError::into_inner)
    }
}

/// Sees each record as it comes out of the ring, before it is decoded: for recordings.
pub type Tap = Box<dyn FnMut(&[u8]) + Send>;

/// How the ring is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderOptions {
    /// Pause between looks into the ring while there is traffic.
    pub poll: Duration,
    /// Pause that it grows to, doubling, while there is none.
    pub idle_poll: Duration,
    /// Most events in a batch.
    pub batch_events: usize,
    /// Ring bytes read for a batch.
    pub batch_bytes: usize,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(5),
            idle_poll: Duration::from_millis(40),
            batch_events: 1024,
            batch_bytes: 1024 * 1024,
        }
    }
}

/// The reader's half of the byte ledger.
#[derive(Debug, Default)]
pub struct ReaderCounters {
    records: AtomicU64,
    delivered_bytes: AtomicU64,
    queue_full_bytes: AtomicU64,
    queue_full_events: AtomicU64,
    undecodable_records: AtomicU64,
    caught_up_ns: AtomicU64,
}

/// [`ReaderCounters`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderCounts {
    /// Records taken from the ring.
    pub records: u64,
    /// Payload bytes that the sink took.
    pub delivered_bytes: u64,
    /// Payload bytes lost because the sink had no room.
    pub queue_full_bytes: u64,
    /// Events lost because the sink had no room.
    pub queue_full_events: u64,
    /// Records that were none.
    pub undecodable_records: u64,
}

impl ReaderCounters {
    /// Everything that the probes wrote before this moment has been handed over, or counted as refused.
    #[must_use]
    pub fn caught_up(&self) -> KernelTime {
        KernelTime(self.caught_up_ns.load(Ordering::Acquire))
    }

    /// The counts now.
    #[must_use]
    pub fn snapshot(&self) -> ReaderCounts {
        ReaderCounts {
            records: self.records.load(Ordering::Relaxed),
            delivered_bytes: self.delivered_bytes.load(Ordering::Relaxed),
            queue_full_bytes: self.queue_full_bytes.load(Ordering::Relaxed),
            queue_full_events: self.queue_full_events.load(Ordering::Relaxed),
            undecodable_records: self.undecodable_records.load(Ordering::Relaxed),
        }
    }
}

/// The running thread.
#[derive(Debug)]
pub struct Reader {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    counters: Arc<ReaderCounters>,
}

impl Reader {
    /// Starts reading `ring`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn spawn(
        ring: Ring,
        options: ReaderOptions,
        sink: impl BatchSink + 'static,
        tap: Option<Tap>,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let counters = Arc::new(ReaderCounters::default());
        let mut worker = Worker {
            ring,
            options,
            sink,
            tap,
            arena: Arena::default(),
            batch: Vec::new(),
            counters: Arc::clone(&counters),
        };
        let stopping = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("kongtap-ring".to_owned())
            .spawn(move || worker.run(&stopping))?;
        Ok(Self {
            thread: Some(thread),
            stop,
            counters,
        })
    }

    /// Its counters, shared.
    #[must_use]
    pub const fn counters(&self) -> &Arc<ReaderCounters> {
        &self.counters
    }

    /// Hands over what is left in the ring, then stops. Detach or unwatch first: what is written later stays unread.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It only ends by a panic if a tap or sink panics; its counters stand either way.
            drop(thread.join());
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.halt();
    }
}

struct Worker<S> {
    ring: Ring,
    options: ReaderOptions,
    sink: S,
    tap: Option<Tap>,
    arena: Arena,
    batch: Vec<CaptureEvent>,
    counters: Arc<ReaderCounters>,
}

impl<S: BatchSink> Worker<S> {
    fn run(&mut self, stop: &AtomicBool) {
        let mut pause = self.options.poll;
        let mut mark = (clock::kernel_now(), self.ring.written());
        loop {
            // Read before the ring is: what was there when the stop came is still handed over.
            let stopping = stop.load(Ordering::Acquire);
            let read = self.drain();
            if self.ring.has_read(mark.1) {
                self.counters.caught_up_ns.store(mark.0.0, Ordering::Release);
                mark = (clock::kernel_now(), self.ring.written());
            }
            if read >= self.options.batch_bytes {
                continue;
            }
            if stopping {
                return;
            }
            pause = if read == 0 {
                pause.saturating_mul(2).min(self.options.idle_poll)
            } else {
                self.options.poll
            };
            thread::park_timeout(pause);
        }
    }

    /// Reads one batch's worth and hands it over; answers how many ring bytes that was.
    fn drain(&mut self) -> usize {
        let Self {
            ring,
            options,
            sink,
            tap,
            arena,
            batch,
            counters,
        } = self;
        let mut records = 0;
        let read = ring.drain(options.batch_bytes, |record| {
            records += 1;
            if let Some(tap) = tap {
                tap(record);
            }
            match decode_in(record, arena) {
                Ok(event) => batch.push(event),
                Err(_not_a_record) => {
                    counters.undecodable_records.fetch_add(1, Ordering::Relaxed);
                }
            }
            if batch.len() >= options.batch_events {
                hand_over(sink, mem::take(batch), counters);
            }
        });
        counters.records.fetch_add(records, Ordering::Relaxed);
        if !batch.is_empty() {
            hand_over(sink, mem::take(batch), counters);
        }
        read
    }
}

fn hand_over(sink: &mut impl BatchSink, batch: Vec<CaptureEvent>, counters: &ReaderCounters) {
    let bytes = payload_bytes(&batch);
    match sink.offer(batch) {
        Ok(()) => {
            counters.delivered_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Err(batch) => {
            counters.queue_full_bytes.fetch_add(bytes, Ordering::Relaxed);
            counters
                .queue_full_events
                .fetch_add(u64::try_from(batch.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

fn payload_bytes(batch: &[CaptureEvent]) -> u64 {
    batch
        .iter()
        .map(|event| match event {
            CaptureEvent::Data(chunk) => u64::try_from(chunk.bytes.len()).unwrap_or(u64::MAX),
            CaptureEvent::Open(_) | CaptureEvent::End(_) | CaptureEvent::Close(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests;
