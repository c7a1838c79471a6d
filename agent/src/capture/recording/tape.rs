//! Recording beside the ring: a tap that never waits (invariant I3), and a thread that masks and writes.
//!
//! In: records as they come out of the ring. Out: a file, and counts of what is not in it. Deliberately absent: what ends a
//! recording.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;
use kongtap_common::record::KIND_DATA;
use tokio::sync::Notify;

use super::mask::Masker;
use super::mask::names::Names;
use super::writer::{Writer, Written};
use super::{Counts, RecordingError, payload_bytes, used_part};
use crate::capture::reader::Tap;

/// Most records that wait to be written.
const QUEUED_RECORDS: usize = 64 << 10;

/// Most bytes of records that wait to be written.
const QUEUED_BYTES: u64 = 64 << 20;

/// A recording that runs.
#[derive(Debug)]
pub struct Tape {
    thread: JoinHandle<Result<Finished, RecordingError>>,
    shared: Arc<Shared>,
}

/// A recording whose records are all in the file.
#[derive(Debug)]
pub struct Finished {
    /// The file, for its trailer.
    pub writer: Writer,
    /// What is in it.
    pub counts: Counts,
    /// Whether its bound ended it.
    pub is_full: bool,
}

/// What both sides of the queue know.
#[derive(Debug, Default)]
struct Shared {
    queued_bytes: AtomicU64,
    dropped_records: AtomicU64,
    dropped_bytes: AtomicU64,
    /// Nothing more can be written: the bound is reached, or the file failed.
    is_over: AtomicBool,
    over: Notify,
}

impl Tape {
    /// Starts the thread; with `names` it masks. The tap ends the thread when it is dropped.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(writer: Writer, names: Option<Arc<ArcSwap<Names>>>) -> Result<(Self, Tap), RecordingError> {
        let shared = Arc::new(Shared::default());
        let (sender, receiver) = sync_channel(QUEUED_RECORDS);
        let in_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("kongtap-tape".to_owned())
            .spawn(move || {
                let written = write(writer, names.as_deref(), &receiver, &in_thread);
                in_thread.end();
                written
            })
            .map_err(RecordingError::Thread)?;
        let tapped = Arc::clone(&shared);
        let tap = Box::new(move |record: &[u8]| tapped.offer(&sender, record));
        Ok((Self { thread, shared }, tap))
    }

    /// Waits until nothing more can be written: the bound is reached, or the file failed.
    pub async fn over(&self) {
        self.shared.over.notified().await;
    }

    /// Waits for what is queued to be written, and gives the file back to be finished. The tap must have been dropped.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self) -> Result<Finished, RecordingError> {
        let ended = self.thread.join();
        let panicked = |_| RecordingError::Thread(std::io::Error::other("the recorder panicked"));
        let mut finished = ended.map_err(panicked)??;
        finished.counts.dropped_records = self.shared.dropped_records.load(Ordering::Relaxed);
        finished.counts.dropped_bytes = self.shared.dropped_bytes.load(Ordering::Relaxed);
        Ok(finished)
    }
}

impl Shared {
    fn offer(&self, sender: &SyncSender<Vec<u8>>, record: &[u8]) {
        // What comes after the end is no part of the recording.
        if self.is_over.load(Ordering::Relaxed) {
            return;
        }
        let Some(record) = used_part(record) else { return };
        let length = u64::try_from(record.len()).unwrap_or(u64::MAX);
        let queued = self.queued_bytes.load(Ordering::Relaxed).saturating_add(length);
        if queued <= QUEUED_BYTES {
            self.queued_bytes.fetch_add(length, Ordering::Relaxed);
            match sender.try_send(record.to_vec()) {
                // The recording ended this very moment.
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(_)) => {}
            }
            self.queued_bytes.fetch_sub(length, Ordering::Relaxed);
        }
        self.dropped_records.fetch_add(1, Ordering::Relaxed);
        if record.first() == Some(&KIND_DATA) {
            let bytes = payload_bytes(record).unwrap_or(0);
            self.dropped_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.over.notify_one();
    }
}

/// Writes until the tap is gone or nothing more can be written.
fn write(
    mut writer: Writer,
    names: Option<&ArcSwap<Names>>,
    records: &Receiver<Vec<u8>>,
    shared: &Shared,
) -> Result<Finished, RecordingError> {
    let mut masker = Masker::new();
    let is_full = loop {
        let record = match records.try_recv() {
            Ok(record) => record,
            Err(TryRecvError::Disconnected) => break false,
            Err(TryRecvError::Empty) => {
                // What has come is in the file before the next is waited for: a kill loses none of it.
                writer.flush()?;
                let Ok(record) = records.recv() else { break false };
                record
            }
        };
        let length = u64::try_from(record.len()).unwrap_or(u64::MAX);
        shared.queued_bytes.fetch_sub(length, Ordering::Relaxed);
        let mut outcome = Ok(Written::Yes);
        match names {
            None => outcome = writer.push(&record),
            Some(names) => masker.mask(&record, &names.load(), |masked| {
                if matches!(outcome, Ok(Written::Yes)) {
                    outcome = writer.push(masked);
                }
            }),
        }
        if outcome? == Written::Full {
            break true;
        }
    };
    writer.flush()?;
    let (records, payload_bytes) = writer.counts();
    let counts = Counts {
        records,
        payload_bytes,
        mask: masker.counts(),
        ..Counts::default()
    };
    Ok(Finished {
        writer,
        counts,
        is_full,
    })
}
