use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{Fate, QUEUE_POSTS, Refused, Writer};
use crate::clock::{UnixMicros, message_uuid};
use crate::message::check;
use crate::store::sqlite::SqliteStore;
use crate::store::{Arrival, Entry, Kept, NewMessage, Query, Retention, Store, StoreError, Totals};

const BUDGET: Duration = Duration::from_secs(20);

/// A store whose commits wait for a sign, and fail when told to.
#[derive(Debug)]
struct Gated {
    inner: SqliteStore,
    began: Sender<usize>,
    go_on: Mutex<Receiver<()>>,
    fails: AtomicBool,
}

impl Store for Gated {
    fn append(&self, batch: &[NewMessage]) -> Result<Vec<Kept>, StoreError> {
        self.began.send(batch.len()).unwrap();
        self.go_on.lock().unwrap().recv_timeout(BUDGET).unwrap();
        if self.fails.load(Ordering::Relaxed) {
            return Err(StoreError::Database {
                doing: "keep messages",
                source: rusqlite::Error::InvalidQuery,
            });
        }
        self.inner.append(batch)
    }
    fn prune(&self, retention: &Retention, now: UnixMicros, most: u32) -> Result<u64, StoreError> {
        self.inner.prune(retention, now, most)
    }
    fn totals(&self) -> Totals {
        self.inner.totals()
    }
    fn newest(&self) -> Result<Arrival, StoreError> {
        self.inner.newest()
    }
    fn list(&self, query: &Query) -> Result<Vec<Entry>, StoreError> {
        self.inner.list(query)
    }
    fn visit(
        &self,
        query: &Query,
        each: &mut dyn FnMut(&Entry, &str) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.inner.visit(query, each)
    }
    fn find(&self, uuid: Uuid) -> Result<Option<(Entry, String)>, StoreError> {
        self.inner.find(uuid)
    }
    fn same_exchange(&self, entry: &Entry) -> Result<Vec<Entry>, StoreError> {
        self.inner.same_exchange(entry)
    }
    fn buckets(&self, most: u32) -> Result<Vec<String>, StoreError> {
        self.inner.buckets(most)
    }
}

struct Bench {
    writer: Writer,
    store: Arc<Gated>,
    began: Receiver<usize>,
    go_on: Sender<()>,
    room: Arc<Semaphore>,
}

impl Bench {
    fn new() -> Self {
        let ((began_in, began), (go_on, go_on_out)) = (channel(), channel());
        let store = Arc::new(Gated {
            inner: SqliteStore::in_memory().unwrap(),
            began: began_in,
            go_on: Mutex::new(go_on_out),
            fails: AtomicBool::new(false),
        });
        let retention = Retention {
            messages: u64::MAX,
            bytes: u64::MAX,
            age: None,
        };
        let shared: Arc<dyn Store> = Arc::<Gated>::clone(&store);
        Self {
            writer: Writer::start(shared, retention).unwrap(),
            store,
            began,
            go_on,
            room: Arc::new(Semaphore::new(100_000)),
        }
    }

    fn submit(&self, messages: usize) -> Result<tokio::sync::oneshot::Receiver<Fate>, Refused> {
        let json = r#"{"response":{"status":200}}"#;
        let message = || NewMessage {
            uuid: message_uuid(),
            bucket: "b".to_owned(),
            received: UnixMicros(0),
            summary: check(json).unwrap().summary,
            warnings: Vec::new(),
            json: json.to_owned(),
        };
        let room = Arc::clone(&self.room).try_acquire_owned().unwrap();
        self.writer
            .submit((0..messages).map(|_| message()).collect(), room)
    }

    fn wait_for_commit(&self) -> usize {
        self.began.recv_timeout(BUDGET).unwrap()
    }
}

#[test]
fn a_post_is_answered_when_its_batch_is_committed_and_not_before() {
    let bench = Bench::new();
    let mut first = bench.submit(1).unwrap();
    assert_eq!(bench.wait_for_commit(), 1);
    // These wait for the commit under way, and are then committed together.
    let (second, third) = (bench.submit(2).unwrap(), bench.submit(3).unwrap());
    assert!(first.try_recv().is_err(), "answered before the commit");
    bench.go_on.send(()).unwrap();
    assert_eq!(first.blocking_recv().unwrap().unwrap().len(), 1);
    assert_eq!(bench.wait_for_commit(), 5);
    bench.go_on.send(()).unwrap();
    assert_eq!(second.blocking_recv().unwrap().unwrap().len(), 2);
    assert_eq!(third.blocking_recv().unwrap().unwrap().len(), 3);
    assert_eq!(bench.store.totals().messages, 6);
    bench.writer.stop();
    assert_eq!(bench.writer.newest().borrow().0, 6);
    assert_eq!(bench.room.available_permits(), 100_000, "the room is free again");
}

#[test]
fn a_failed_commit_is_told_to_every_post_and_the_next_is_tried() {
    let bench = Bench::new();
    bench.store.fails.store(true, Ordering::Relaxed);
    let first = bench.submit(1).unwrap();
    bench.wait_for_commit();
    bench.go_on.send(()).unwrap();
    assert_eq!(first.blocking_recv().unwrap(), Err(Refused::StoreFailed));
    bench.store.fails.store(false, Ordering::Relaxed);
    let second = bench.submit(1).unwrap();
    bench.wait_for_commit();
    bench.go_on.send(()).unwrap();
    assert!(second.blocking_recv().unwrap().is_ok());
    assert_eq!(bench.writer.counts().failed_commits.load(Ordering::Relaxed), 1);
}

#[test]
fn a_full_queue_refuses_and_a_stop_commits_what_is_queued() {
    let bench = Bench::new();
    let under_way = bench.submit(1).unwrap();
    bench.wait_for_commit();
    let queued: Vec<_> = (0..QUEUE_POSTS).map(|_| bench.submit(1).unwrap()).collect();
    assert_eq!(bench.submit(1).unwrap_err(), Refused::Overloaded);
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| bench.writer.stop());
        let batches = 1 + QUEUE_POSTS.div_ceil(super::BATCH_POSTS);
        for _ in 0..batches {
            bench.go_on.send(()).unwrap();
        }
        stopping.join().unwrap();
    });
    assert!(under_way.blocking_recv().unwrap().is_ok());
    for post in queued {
        assert!(post.blocking_recv().unwrap().is_ok());
    }
    assert_eq!(bench.submit(1).unwrap_err(), Refused::StoreFailed);
}
