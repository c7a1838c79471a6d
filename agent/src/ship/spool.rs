//! The spool: messages are written ahead to disk, and taken back after a restart or when memory has room again.
//!
//! In: messages, from any thread, without waiting; what became of them. Out: messages in their order, a [`Recovery`] at the start,
//! [`SpoolStats`]. One directory for each destination, so that an endpoint that is away never holds up another one's files:
//!
//! ```text
//! append ─┐                       ┌─ writer thread ─ N.seg, N.ack ─ synchronising thread
//! acknowledge ─ state (one lock) ─┤
//! put_back ─┘                     └─ read: which files, the files without the lock, what of it still waits
//! format   the files' bytes        identity  a destination's name on disk      age  whatever clocks do
//! ```
//!
//! A message is in memory too (*held*), or on the disk alone (*waiting*). While any message of a destination waits, those that come after
//! it wait behind it. Deliberately absent: when to send what (`queue`), and the ledger: losses go to an `Observer`.

use std::collections::HashSet;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::capture::boot;
use crate::clock;
use crate::plugin::Destination;

mod age;
mod error;
mod files;
mod format;
mod identity;
mod recover;
mod segment;
mod state;
mod stats;
#[cfg(test)]
mod tests;
mod writer;

pub use error::{DiskFault, SpoolError};
pub(crate) use format::Flags;
pub use recover::{RecoveredDestination, Recovery};
pub use segment::Tally;
pub(crate) use state::{Appended, DestinationKey, Loss, Memory, SpoolId};
pub use stats::{DestinationStats, FaultStats, SpoolStats};

use age::Moment;
use identity::{Identity, Key};
use recover::Present;
use state::{Bounds, State};
use writer::Writer;

const LOCK_NAME: &str = "lock";

/// What stands in the lock file while an agent has the spool, and after it has closed it.
const RUNNING: &str = "running\n";
const CLOSED: &str = "closed\n";

/// Where a spool is and what it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolOptions {
    /// Its directory.
    pub path: PathBuf,
    /// All of its files together, bytes.
    pub bytes: u64,
    /// One file.
    pub segment_bytes: u64,
    /// After which what waits is given up.
    pub max_age: Duration,
    /// How long what was written may be unsynchronised; zero: each write is synchronised at once.
    pub sync: Duration,
}

impl SpoolOptions {
    const fn linger(&self) -> Duration {
        if self.sync.is_zero() {
            Duration::ZERO
        } else {
            writer::WRITE_EVERY
        }
    }
}

/// Who is told of what happens on the spool's threads. Must not wait, and not call the spool.
pub(crate) trait Observer: fmt::Debug + Send + Sync {
    /// Messages that only the disk had are lost.
    fn lost(&self, loss: &Loss);
    /// More can be read than before.
    fn readable(&self);
}

/// A message that comes back to memory.
#[derive(Debug)]
pub(crate) struct SpooledMessage {
    pub(crate) id: SpoolId,
    pub(crate) json: Bytes,
    pub(crate) flags: Flags,
    /// Since it was queued first.
    pub(crate) age: Duration,
}

/// An open spool. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Spool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    options: SpoolOptions,
    directory: PathBuf,
    key: Key,
    boot: [u8; 16],
    started: Instant,
    observer: Arc<dyn Observer>,
    inner: Mutex<Inner>,
    /// For the writer.
    work: Condvar,
    /// For the synchronising thread.
    unsynced: Condvar,
    /// For callers that wait for the writer.
    answer: Condvar,
    /// Locked as long as it is open.
    lock_file: Mutex<File>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// The writer waits, with nothing to do.
    is_writer_idle: bool,
    call: Option<Call>,
    calls: u64,
    answered: u64,
    /// The synchronising thread is to end.
    is_over: bool,
    /// Segments whose names are on the disk.
    named: HashSet<(Identity, u64)>,
}

/// Somebody waits until everything is written and synchronised.
#[derive(Clone, Copy, Debug)]
struct Call {
    number: u64,
    after: After,
}

/// What comes after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    #[cfg(test)]
    More,
    End,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spool {
    /// Opens a spool, made where there is none, and reads through what it holds. Blocks on the disk.
    ///
    /// # Errors
    /// [`SpoolError`]: another agent has it, or the disk refuses.
    pub(crate) fn open(
        options: SpoolOptions,
        observer: Arc<dyn Observer>,
    ) -> Result<(Self, Recovery), SpoolError> {
        let directory = options.path.clone();
        identity::make_private(&directory)?;
        let (lock_file, ended_well) = lock(&directory)?;
        let key = Key::load(&directory)?;
        let now = Moment::now();
        let boot = boot::id().unwrap_or_default();
        let present = Present {
            now,
            boot: &boot,
            max_age: options.max_age,
        };
        let found = recover::recover(&directory, present)?;
        let mut state = State::new(Bounds {
            bytes: options.bytes,
            segment_bytes: options.segment_bytes,
            max_age: options.max_age,
        });
        for line in found.lines {
            state.adopt(line.identity, line.endpoint, line.segments);
        }
        state.next_number = found.next_number;
        let recovery = Recovery {
            ended_well,
            ..found.recovery
        };
        state.counters.recovered = recovery.recovered.messages;
        let shared = Arc::new(Shared {
            options,
            directory,
            key,
            boot,
            started: now.instant,
            observer,
            inner: Mutex::new(Inner {
                state,
                is_writer_idle: false,
                call: None,
                calls: 0,
                answered: 0,
                is_over: false,
                named: HashSet::new(),
            }),
            work: Condvar::new(),
            unsynced: Condvar::new(),
            answer: Condvar::new(),
            lock_file: Mutex::new(lock_file),
        });
        let spool = Self {
            shared,
            threads: Mutex::new(Vec::new()),
        };
        spool.start("kongtap-spool", |shared| Writer::new(shared).run())?;
        spool.start("kongtap-sync", writer::synchronise)?;
        Ok((spool, recovery))
    }

    fn start(&self, name: &str, run: impl FnOnce(&Shared) + Send + 'static) -> Result<(), SpoolError> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&shared))
            .map_err(SpoolError::disk("start a thread for", &self.shared.directory))?;
        self.threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(thread);
        Ok(())
    }

    /// What a destination is known by here; `None` when there are too many.
    pub(crate) fn key(&self, destination: &Arc<Destination>) -> Option<DestinationKey> {
        let known = self.shared.lock().state.known(destination);
        if known.is_some() {
            return known;
        }
        let identity = self.shared.key.identity(destination);
        self.shared.lock().state.learn(destination, identity)
    }

    /// Says where configurations post to now, for the figures.
    pub(crate) fn set_configured(&self, keys: &[DestinationKey]) {
        self.shared.lock().state.set_configured(keys);
    }

    /// Takes a message, or not. Never waits for the disk.
    pub(crate) fn append(&self, key: DestinationKey, json: &Bytes, flags: Flags, memory: Memory) -> Appended {
        let now = Moment::now();
        let mut inner = self.shared.lock();
        let appended = inner
            .state
            .append(key, json, flags, memory, now.instant, now.written.unix_ms);
        self.wake(inner);
        appended
    }

    /// A message that was held is done with, whatever became of it.
    pub(crate) fn acknowledge(&self, id: SpoolId) {
        let mut inner = self.shared.lock();
        inner.state.acknowledge(id);
        self.wake(inner);
    }

    /// Memory lets go of a message that it held. `false`: the spool does not have it (any more).
    pub(crate) fn put_back(&self, id: SpoolId) -> bool {
        self.shared.lock().state.put_back(id)
    }

    /// After which what waits is given up.
    pub(crate) fn max_age(&self) -> Duration {
        self.shared.options.max_age
    }

    /// What waits for a destination on the disk alone.
    pub(crate) fn waiting(&self, key: DestinationKey) -> Tally {
        self.shared.lock().state.waiting(key)
    }

    /// The oldest of what waits for a destination; from now on they are held. At least one message, however large, and then no more
    /// than both bounds. Nothing, though something waits: it is still on its way to the disk ([`Observer::readable`] tells). Blocks.
    ///
    /// # Errors
    /// The disk refuses, for now. What it refuses for good is lost, and the [`Observer`] told.
    pub(crate) fn read(
        &self,
        key: DestinationKey,
        most_messages: usize,
        most_bytes: usize,
    ) -> Result<Vec<SpooledMessage>, SpoolError> {
        let Some(plan) = self.shared.lock().state.plan(key) else {
            return Ok(Vec::new());
        };
        let found = files::find(
            &self.shared.directory,
            &plan,
            most_messages,
            most_bytes,
            writer::now(),
        )?;
        let mut inner = self.shared.lock();
        let returned = inner
            .state
            .take_found(key, plan.from, found, clock::instant(), self.shared.started);
        self.shared.settle(inner);
        Ok(returned
            .into_iter()
            .map(|returned| SpooledMessage {
                id: returned.id,
                json: returned.record.json.into(),
                flags: returned.record.flags,
                age: returned.age,
            })
            .collect())
    }

    /// Waits until all that was taken is written and synchronised, or refused. Blocks.
    #[cfg(test)]
    pub(crate) fn flush(&self) {
        self.call(After::More);
    }

    /// Flushes, and takes nothing from now on. What is wanted stays for the next start. Blocks.
    pub(crate) fn close(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if threads.is_empty() {
            return;
        }
        self.call(After::End);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("A thread of the spool failed.");
            }
        }
        let mut inner = self.shared.lock();
        inner.state.close_all();
        self.shared.settle(inner);
        let mut file = self
            .shared
            .lock_file
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = files::write_mark(&mut file, CLOSED) {
            tracing::warn!(%error, "The spool cannot be marked as closed.");
        }
        // The directory is free at once, not when the last handle goes.
        drop(file.unlock());
    }

    /// The figures now.
    pub(crate) fn stats(&self) -> SpoolStats {
        SpoolStats::of(&self.shared.lock().state, clock::instant())
    }

    fn call(&self, after: After) {
        let mut inner = self.shared.lock();
        inner.calls += 1;
        let number = inner.calls;
        if after == After::End {
            inner.is_over = true;
            inner.state.is_closed = true;
        }
        // Of several callers the last one counts: it is answered for all.
        inner.call = Some(Call { number, after });
        self.shared.work.notify_one();
        self.shared.unsynced.notify_one();
        while inner.answered < number {
            inner = self
                .shared
                .answer
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Wakes the writer if it waits for work, and there is some.
    fn wake(&self, mut inner: MutexGuard<'_, Inner>) {
        let is_wanted = inner.is_writer_idle && inner.state.has_work();
        if is_wanted {
            inner.is_writer_idle = false;
        }
        drop(inner);
        if is_wanted {
            self.shared.work.notify_one();
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.close();
    }
}

/// Takes the spool for this process. Says whether the one that had it before closed it.
fn lock(directory: &std::path::Path) -> Result<(File, bool), SpoolError> {
    let path = directory.join(LOCK_NAME);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(SpoolError::disk("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(SpoolError::InUse {
                path: directory.to_owned(),
            });
        }
        Err(TryLockError::Error(error)) => return Err(SpoolError::disk("lock", &path)(error)),
    }
    let mark = || -> io::Result<bool> {
        let mut text = String::new();
        (&mut file).take(64).read_to_string(&mut text)?;
        files::write_mark(&mut file, RUNNING)?;
        Ok(text != RUNNING)
    };
    let mut mark = mark;
    let ended_well = mark().map_err(SpoolError::disk("write", &path))?;
    Ok((file, ended_well))
}
