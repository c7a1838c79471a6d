//! The writer: one thread that commits what was received, in batches, and keeps the store within its bounds.
//!
//! In: accepted messages, through a bounded queue. Out: their fate, once the batch that holds them is committed; the newest
//! arrival, for followers. A batch is whatever is waiting when the last commit ends, so an idle inspector commits at once
//! and a busy one syncs seldom. Deliberately absent: async. Nobody waits here but this thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tracing::{error, info, warn};

use crate::clock;
use crate::store::{Arrival, Kept, NewMessage, Retention, Store, StoreError};

#[cfg(test)]
mod tests;

/// Posts that may wait for a commit; over that, they are told to come again.
pub const QUEUE_POSTS: usize = 4_096;
/// Posts committed together, at most.
const BATCH_POSTS: usize = 1_024;
/// Message bytes after which a batch is closed.
const BATCH_BYTES: usize = 8 << 20;
/// Messages removed in one go, at most: receiving never waits longer than that takes.
const PRUNE_SLICE: u32 = 1_024;
/// How often age is looked at when nothing is received.
const TICK: Duration = Duration::from_secs(1);

/// Handle to the writer's thread.
#[derive(Debug)]
pub struct Writer {
    queue: SyncSender<Job>,
    thread: Mutex<Option<JoinHandle<()>>>,
    newest: watch::Receiver<Arrival>,
    counts: Arc<Counts>,
}

/// What the writer did since it started.
#[derive(Debug, Default)]
pub struct Counts {
    /// Messages kept.
    pub kept: AtomicU64,
    /// Messages that were there already.
    pub repeated: AtomicU64,
    /// Messages removed because of age, count or bytes.
    pub pruned: AtomicU64,
    /// Commits that failed.
    pub failed_commits: AtomicU64,
}

/// Why a post was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many posts are waiting.
    Overloaded,
    /// The store failed; the log says how.
    StoreFailed,
}

/// What became of a post's messages, in order.
pub type Fate = Result<Vec<Kept>, Refused>;

#[derive(Debug)]
enum Job {
    Append(Vec<NewMessage>, Waiting),
    Stop,
}

/// Who waits for a post.
#[derive(Debug)]
struct Waiting {
    fate: oneshot::Sender<Fate>,
    /// The room that the messages take in memory; given back when they are written.
    _room: OwnedSemaphorePermit,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the store cannot be read, or the system gives no thread.
    pub fn start(store: Arc<dyn Store>, retention: Retention) -> Result<Self, StartError> {
        let (queue, jobs) = sync_channel(QUEUE_POSTS);
        let (announce, newest) = watch::channel(store.newest()?);
        let counts = Arc::new(Counts::default());
        let work = Work {
            store,
            retention,
            announce,
            counts: Arc::clone(&counts),
        };
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || work.run(&jobs))
            .map_err(StartError::Thread)?;
        Ok(Self {
            queue,
            thread: Mutex::new(Some(thread)),
            newest,
            counts,
        })
    }

    /// Hands messages over; the answer comes when they are committed.
    ///
    /// # Errors
    /// When the queue is full or the writer has stopped.
    pub fn submit(
        &self,
        messages: Vec<NewMessage>,
        room: OwnedSemaphorePermit,
    ) -> Result<oneshot::Receiver<Fate>, Refused> {
        let (fate, answer) = oneshot::channel();
        let waiting = Waiting { fate, _room: room };
        match self.queue.try_send(Job::Append(messages, waiting)) {
            Ok(()) => Ok(answer),
            Err(TrySendError::Full(_)) => Err(Refused::Overloaded),
            Err(TrySendError::Disconnected(_)) => Err(Refused::StoreFailed),
        }
    }

    /// Follows the newest arrival.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<Arrival> {
        self.newest.clone()
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Commits what is queued and ends the thread. Blocks.
    pub fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && self.queue.send(Job::Stop).is_ok()
            && thread.join().is_err()
        {
            error!("the writer's thread panicked");
        }
    }
}

/// Why the writer did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gave no thread.
    #[error("cannot start the writer's thread")]
    Thread(#[source] std::io::Error),
}

struct Work {
    store: Arc<dyn Store>,
    retention: Retention,
    announce: watch::Sender<Arrival>,
    counts: Arc<Counts>,
}

impl Work {
    fn run(&self, jobs: &Receiver<Job>) {
        let mut over = true; // A bound may have been lowered since the last run.
        loop {
            let first = match jobs.recv_timeout(if over { Duration::ZERO } else { TICK }) {
                Ok(Job::Append(messages, waiting)) => Some((messages, waiting)),
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => None,
            };
            let mut stopping = false;
            let mut slice = PRUNE_SLICE;
            if let Some((messages, waiting)) = first {
                let (mut batch, mut posts) = (Vec::new(), Vec::new());
                stopping = collect(messages, waiting, jobs, &mut batch, &mut posts);
                self.commit(&batch, posts);
                // Never less than what came in, or the bounds would be left behind under load.
                slice = slice.max(u32::try_from(batch.len()).unwrap_or(u32::MAX));
            }
            over = self.prune(slice);
            if stopping {
                break;
            }
        }
        info!("the writer has stopped");
    }

    fn commit(&self, batch: &[NewMessage], posts: Vec<(usize, Waiting)>) {
        match self.store.append(batch) {
            Ok(kept) => self.answer(&kept, posts),
            Err(error) => {
                self.counts.failed_commits.fetch_add(1, Ordering::Relaxed);
                log_failure(&error);
                for (_, waiting) in posts {
                    // A client that has gone does not wait for its answer.
                    drop(waiting.fate.send(Err(Refused::StoreFailed)));
                }
            }
        }
    }

    fn answer(&self, kept: &[Kept], posts: Vec<(usize, Waiting)>) {
        let new = kept.iter().filter(|kept| matches!(kept, Kept::New(_))).count();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.counts.kept.fetch_add(count(new), Ordering::Relaxed);
        self.counts
            .repeated
            .fetch_add(count(kept.len() - new), Ordering::Relaxed);
        let mut kept = kept.iter().copied();
        for (messages, waiting) in posts {
            let fates = kept.by_ref().take(messages).collect();
            drop(waiting.fate.send(Ok(fates)));
        }
        if new > 0 {
            match self.store.newest() {
                Ok(newest) => drop(self.announce.send_replace(newest)),
                Err(error) => log_failure(&error),
            }
        }
    }

    /// Removes one slice of what is over the bounds; `true` when there may be more.
    fn prune(&self, slice: u32) -> bool {
        match self.store.prune(&self.retention, clock::now(), slice) {
            Ok(gone) => {
                self.counts.pruned.fetch_add(gone, Ordering::Relaxed);
                gone >= u64::from(slice)
            }
            Err(error) => {
                log_failure(&error);
                false
            }
        }
    }
}

/// Gathers a post and what waits behind it; `true` when the order to stop was among that.
fn collect(
    messages: Vec<NewMessage>,
    waiting: Waiting,
    jobs: &Receiver<Job>,
    batch: &mut Vec<NewMessage>,
    posts: &mut Vec<(usize, Waiting)>,
) -> bool {
    let mut bytes = 0;
    let mut next = (messages, waiting);
    loop {
        let (messages, waiting) = next;
        bytes += messages.iter().map(|message| message.json.len()).sum::<usize>();
        posts.push((messages.len(), waiting));
        batch.extend(messages);
        if posts.len() >= BATCH_POSTS || bytes >= BATCH_BYTES {
            return false;
        }
        match jobs.try_recv() {
            Ok(Job::Append(messages, waiting)) => next = (messages, waiting),
            Ok(Job::Stop) => return true,
            Err(_) => return false,
        }
    }
}

fn log_failure(error: &StoreError) {
    let source = std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default();
    warn!(%source, "the store failed: {error}");
}
