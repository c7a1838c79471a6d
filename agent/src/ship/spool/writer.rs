//! The threads that the disk may keep waiting: one writes and removes, one synchronises.
//!
//! In: work that the state holds. Out: files, and what the disk made of it, told to the state. What is appended waits for [`WRITE_EVERY`]
//! before it is written: one call then writes many, nobody is woken for each, and what was delivered by then is not written at all.

use std::collections::HashMap;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

use crate::clock;
use crate::ship::spool::age::Moment;
use crate::ship::spool::error::{DiskFault, SpoolError};
use crate::ship::spool::files::{self, Growing, LIST, SEGMENT};
use crate::ship::spool::format::{
    self, HEADER_BYTES, Header, MOST_BATCH_BYTES, MOST_BATCH_RECORDS, NewRecord, Written, record_bytes,
    to_u64,
};
use crate::ship::spool::identity;
use crate::ship::spool::segment::MOST_SPAN;
use crate::ship::spool::state::{DestinationKey, Entry, Fault, MOST_UNWRITTEN_BYTES, Work};
use crate::ship::spool::stats::detail;
use crate::ship::spool::{After, Call, Shared};

/// How long a message waits for others that are written with it. So much is not counted when the agent is killed.
pub(super) const WRITE_EVERY: Duration = Duration::from_millis(10);

/// How often ages and the presence of files are looked at.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// After a refusal of the disk, how long messages stay in memory alone before it is tried again.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The writer: ends when the spool is closed.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    shared: &'a Shared,
    growing: HashMap<DestinationKey, Growing>,
    buffer: Vec<u8>,
    tidied: Instant,
}

impl<'a> Writer<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            growing: HashMap::new(),
            buffer: Vec::new(),
            tidied: clock::instant(),
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let call = self.wait();
            self.write();
            self.tidy();
            if let Some(call) = call {
                self.sync_now();
                let mut inner = self.shared.lock();
                inner.answered = inner.answered.max(call.number);
                drop(inner);
                self.shared.answer.notify_all();
                if call.after == After::End {
                    return;
                }
            }
        }
    }

    /// Waits until there is something to do. Gives a call of somebody who waits for all of it to be done.
    fn wait(&self) -> Option<Call> {
        let mut inner = self.shared.lock();
        let mut since: Option<Instant> = None;
        loop {
            let now = clock::instant();
            if let Some(call) = inner.call.take() {
                return Some(call);
            }
            let is_much = inner.state.unwritten.bytes >= MOST_UNWRITTEN_BYTES / 4;
            let pause = if inner.state.has_work() {
                let since = *since.get_or_insert(now);
                let linger = self.shared.options.linger();
                let left = linger.saturating_sub(now.saturating_duration_since(since));
                if left.is_zero() || is_much {
                    return None;
                }
                left
            } else {
                since = None;
                let left = TIDY_EVERY.saturating_sub(now.saturating_duration_since(self.tidied));
                if left.is_zero() {
                    return None;
                }
                left
            };
            inner.is_writer_idle = !inner.state.has_work();
            let (again, _) = self
                .shared
                .work
                .wait_timeout(inner, pause)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            inner = again;
            inner.is_writer_idle = false;
        }
    }

    /// Writes what there is.
    fn write(&mut self) {
        let work = {
            let mut inner = self.shared.lock();
            for key in inner.state.left_behind() {
                self.growing.remove(&key);
                inner.state.close_segment(key);
            }
            inner.state.take_work()
        };
        for work in work {
            if !work.entries.is_empty() {
                self.write_entries(&work);
                self.shared.lock().state.end_writing(work.key);
            }
            self.write_lists(&work);
        }
        let inner = self.shared.lock();
        let has_waiting = inner.state.lines.iter().any(|line| !line.waiting().is_nothing());
        self.shared.settle(inner);
        if has_waiting {
            self.shared.observer.readable();
        }
    }

    fn write_entries(&mut self, work: &Work) {
        let mut rest = work.entries.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch_length(rest));
            if let Err(error) = self.write_batch(work, batch) {
                if let Some(growing) = self.growing.remove(&work.key)
                    && growing.bytes == 0
                {
                    files::remove(&self.shared.directory, work.identity, growing.header.number);
                }
                let mut inner = self.shared.lock();
                inner.state.close_segment(work.key);
                // What comes behind it would be refused, too.
                inner.state.unwritable(work.key, rest);
                drop(inner);
                self.shared.note_fault(&error);
                return;
            }
            rest = after;
        }
        self.shared.note_success();
    }

    fn write_batch(&mut self, work: &Work, batch: &[Entry]) -> Result<(), SpoolError> {
        let Some((first, last)) = batch.first().zip(batch.last()) else {
            return Ok(());
        };
        let bytes: usize = batch.iter().map(|entry| record_bytes(entry.json.len())).sum();
        let room = to_u64(bytes + HEADER_BYTES + format::OVERHEAD_BYTES);
        let fits = |growing: &Growing| {
            growing.bytes.saturating_add(room) <= self.shared.options.segment_bytes
                && last.seq.saturating_sub(growing.header.first_seq) < MOST_SPAN
        };
        {
            let mut inner = self.shared.lock();
            if !self.growing.get(&work.key).is_some_and(fits) {
                self.growing.remove(&work.key);
                inner.state.close_segment(work.key);
            }
            inner.state.make_room(room);
            // It may have been its own segment that gave way.
            let is_known = inner.state.line(work.key).is_some_and(|line| {
                line.segments.back().map(|segment| segment.header.number)
                    == self.growing.get(&work.key).map(|growing| growing.header.number)
            });
            if !is_known {
                self.growing.remove(&work.key);
            }
            self.shared.settle(inner);
        }
        if !self.growing.contains_key(&work.key) {
            let growing = self.begin(work, first.seq)?;
            self.growing.insert(work.key, growing);
        }
        let Some(growing) = self.growing.get_mut(&work.key) else {
            return Ok(());
        };
        let now = Moment::now();
        self.buffer.clear();
        if growing.bytes == 0 {
            self.buffer.extend_from_slice(&growing.header.encode());
        }
        let header_bytes = to_u64(self.buffer.len());
        let records = batch.iter().map(|entry| NewRecord {
            seq: entry.seq,
            flags: entry.flags,
            unix_ms: entry.unix_ms,
            json: &entry.json,
        });
        format::put_batch(&mut self.buffer, growing.header.seal(), now.written, records);
        let offset = growing.bytes.saturating_add(header_bytes);
        growing.add(&self.buffer)?;
        let header = growing.header;
        let end = growing.bytes;
        self.buffer.shrink_to(2 * MOST_BATCH_BYTES);
        self.shared
            .lock()
            .state
            .written(work.key, &header, (offset, end), batch, now.instant);
        Ok(())
    }

    /// Begins a segment. Whatever is missing of the spool's directory is made again.
    fn begin(&self, work: &Work, first_seq: u64) -> Result<Growing, SpoolError> {
        let directory = &self.shared.directory;
        identity::make_directory(&directory.join(work.identity.to_string()), &work.endpoint)?;
        if !directory.join(identity::KEY_NAME).exists() {
            self.shared.key.store(directory)?;
        }
        let number = self.shared.lock().state.next_number();
        let path = files::path(directory, work.identity, number, SEGMENT);
        let mut nonce = [0; 8];
        SystemRandom::new().fill(&mut nonce).map_err(|_unspecified| {
            SpoolError::disk("draw a number for", &path)(std::io::Error::other(
                "the system gives no randomness",
            ))
        })?;
        let header = Header {
            number,
            nonce: u64::from_le_bytes(nonce),
            first_seq,
            boot: self.shared.boot,
        };
        Growing::create(path, header)
    }

    fn write_lists(&mut self, work: &Work) {
        for list in &work.lists {
            self.buffer.clear();
            for entry in &list.entries {
                entry.put(&mut self.buffer, list.header.seal());
            }
            let path = files::path(&self.shared.directory, work.identity, list.header.number, LIST);
            let outcome = files::write_list(&path, list.offset, &self.buffer);
            if let Err(error) = &outcome {
                self.shared.note_fault(error);
            }
            let number = list.header.number;
            let is_wanted = self
                .shared
                .lock()
                .state
                .listed(work.key, number, outcome.map_err(|_told| ()));
            if !is_wanted {
                // The segment went meanwhile.
                files::remove(&self.shared.directory, work.identity, number);
            }
        }
    }

    /// What takes time to notice: age, and files that somebody took away.
    fn tidy(&mut self) {
        let now = clock::instant();
        if now.saturating_duration_since(self.tidied) < TIDY_EVERY {
            return;
        }
        self.tidied = now;
        let gone = self.growing.iter().find(|(_, growing)| !growing.is_there());
        let gone = gone.map(|(key, growing)| (*key, growing.gone()));
        let mut inner = self.shared.lock();
        inner.state.expire(now);
        inner.state.make_room(0);
        if let Some((key, _)) = &gone {
            self.growing.remove(key);
            inner.state.close_segment(*key);
        }
        self.shared.settle(inner);
        if let Some((_, error)) = gone {
            self.shared.note_fault(&error);
        }
    }

    /// Everything to the disk, for somebody who waits for it.
    fn sync_now(&self) {
        sync(self.shared);
    }
}

impl Drop for Writer<'_> {
    /// Nobody waits for a writer that is gone, however it went.
    fn drop(&mut self) {
        self.shared.lock().answered = u64::MAX;
        self.shared.answer.notify_all();
    }
}

/// How many entries the next batch has.
fn batch_length(entries: &[Entry]) -> usize {
    let mut bytes = 0;
    entries
        .iter()
        .take(MOST_BATCH_RECORDS)
        .take_while(|entry| {
            let is_first = bytes == 0;
            bytes += record_bytes(entry.json.len());
            is_first || bytes <= MOST_BATCH_BYTES
        })
        .count()
}

/// The synchronising thread: every `sync`, as long as there is anything to be synchronised.
pub(super) fn synchronise(shared: &Shared) {
    let mut inner = shared.lock();
    loop {
        while !inner.state.is_unsynced() && !inner.is_over {
            inner = shared
                .unsynced
                .wait(inner)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        let is_refused = inner
            .state
            .fault
            .as_ref()
            .is_some_and(|fault| fault.until.is_some());
        let pause = if is_refused {
            shared.options.sync.max(RETRY_AFTER)
        } else {
            shared.options.sync
        };
        let until = clock::instant() + pause;
        loop {
            let left = until.saturating_duration_since(clock::instant());
            if left.is_zero() || inner.is_over {
                break;
            }
            inner = shared
                .unsynced
                .wait_timeout(inner, left)
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
        }
        if inner.is_over {
            return;
        }
        drop(inner);
        sync(shared);
        inner = shared.lock();
    }
}

/// Brings to the disk what is written and wanted.
fn sync(shared: &Shared) {
    let segments = shared.lock().state.begin_sync();
    for segment in segments {
        let path = files::path(&shared.directory, segment.identity, segment.number, SEGMENT);
        let is_new = shared.lock().named.insert((segment.identity, segment.number));
        let mut outcome = files::sync(&path);
        if is_new && let Some(directory) = path.parent() {
            outcome = outcome
                .and_then(|()| files::sync(directory))
                .and_then(|()| files::sync(&shared.directory));
        }
        // One that was removed meanwhile has nothing in it that is wanted.
        let outcome = outcome.or_else(|error| match error.fault() {
            Some(DiskFault::Gone) => Ok(()),
            Some(_) | None => Err(error),
        });
        if let Err(error) = &outcome {
            shared.note_fault(error);
        }
        let mut inner = shared.lock();
        inner.state.counters.syncs += 1;
        if outcome.is_err() {
            inner.named.remove(&(segment.identity, segment.number));
        }
        inner.state.synced(segment, outcome.map_err(|_told| ()));
    }
}

impl Shared {
    /// Removes files that are to go, and tells of what went with them, without the lock.
    pub(super) fn settle(&self, mut inner: MutexGuard<'_, super::Inner>) {
        let (condemned, losses) = inner.state.take_losses();
        for file in &condemned {
            inner.named.remove(&(file.identity, file.number));
        }
        drop(inner);
        for file in condemned {
            files::remove(&self.directory, file.identity, file.number);
        }
        for loss in losses {
            self.observer.lost(&loss);
        }
    }

    fn note_fault(&self, error: &SpoolError) {
        let now = Moment::now();
        let text = detail(error);
        let fault = Fault {
            kind: error.fault().unwrap_or(DiskFault::Other),
            text: text.clone(),
            at_unix_ms: now.written.unix_ms,
            until: Some(now.instant + RETRY_AFTER),
        };
        let before = self.lock().state.fault.replace(fault);
        if before.is_none_or(|fault| fault.until.is_none()) {
            tracing::error!(error = %text, "The spool cannot be written; messages are kept in memory alone.");
        }
    }

    fn note_success(&self) {
        let ended = self
            .lock()
            .state
            .fault
            .as_mut()
            .and_then(|fault| fault.until.take());
        if ended.is_some() {
            tracing::info!("The spool can be written again.");
        }
        self.unsynced.notify_one();
    }
}

/// Now, for what is read.
pub(super) fn now() -> Written {
    Moment::now().written
}
