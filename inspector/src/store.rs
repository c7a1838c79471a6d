//! Where messages are kept: the one trait between the inspector and a database.
//!
//! In: batches of checked messages, queries. Out: entries and the messages' text. Calls block; they are made from the
//! writer's thread and from the runtime's blocking threads, never from an async one. Deliberately absent: policy (what is
//! acceptable is `message`'s, how long things are kept is given).

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use thiserror::Error;
use uuid::Uuid;

use crate::clock::UnixMicros;
use crate::message::{Summary, Warning};

pub mod filter;
pub mod sqlite;

pub use filter::{Bound, Filter, Query, StatusFilter};

/// Position in the order of arrival. Never reused, so "newer than this" is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arrival(pub i64);

/// A message to keep.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Its id here.
    pub uuid: Uuid,
    /// The bucket that it was posted to.
    pub bucket: String,
    /// When it was received.
    pub received: UnixMicros,
    /// What lists show of it.
    pub summary: Summary,
    /// What its sender was told.
    pub warnings: Vec<Warning>,
    /// The message as it was posted.
    pub json: String,
}

/// What became of a message in an appended batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Kept under its own id.
    New(Uuid),
    /// Its bucket already had this half of this exchange, under that id; nothing was changed.
    Already(Uuid),
}

impl Kept {
    /// The id under which the message is found.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        match self {
            Self::New(uuid) | Self::Already(uuid) => uuid,
        }
    }
}

/// A kept message without its text.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Position in the order of arrival.
    pub arrival: Arrival,
    /// Its id.
    pub uuid: Uuid,
    /// The bucket that it was posted to.
    pub bucket: String,
    /// When it was received.
    pub received: UnixMicros,
    /// When the exchange began: the message's own time, else when it was received. Lists are sorted by it.
    pub at: UnixMicros,
    /// What lists show of it.
    pub summary: Summary,
    /// What its sender was told.
    pub warnings: Vec<Warning>,
    /// Length of its text.
    pub bytes: i64,
}

/// How much is kept. The oldest arrivals go first; the newest message always stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At most so many messages.
    pub messages: u64,
    /// At most so many bytes of message text.
    pub bytes: u64,
    /// At most so long after they were received.
    pub age: Option<Duration>,
}

/// What is in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages.
    pub messages: u64,
    /// Bytes of their text.
    pub bytes: u64,
}

/// A database of messages.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Keeps a batch in one transaction; when this returns, the batch is as durable as this store gets.
    ///
    /// # Errors
    /// When the database fails; then nothing of the batch is kept.
    fn append(&self, batch: &[NewMessage]) -> Result<Vec<Kept>, StoreError>;

    /// Removes what is over `retention`, at most `most` messages, and returns how many went.
    ///
    /// # Errors
    /// When the database fails.
    fn prune(&self, retention: &Retention, now: UnixMicros, most: u32) -> Result<u64, StoreError>;

    /// What is kept now.
    fn totals(&self) -> Totals;

    /// The newest arrival.
    ///
    /// # Errors
    /// When the database fails.
    fn newest(&self) -> Result<Arrival, StoreError>;

    /// Entries that match, in the query's order.
    ///
    /// # Errors
    /// When the database fails.
    fn list(&self, query: &Query) -> Result<Vec<Entry>, StoreError>;

    /// As [`list`](Self::list), with each message's text, one at a time.
    ///
    /// # Errors
    /// When the database fails.
    fn visit(
        &self,
        query: &Query,
        each: &mut dyn FnMut(&Entry, &str) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// One message with its text.
    ///
    /// # Errors
    /// When the database fails.
    fn find(&self, uuid: Uuid) -> Result<Option<(Entry, String)>, StoreError>;

    /// The other messages of the same exchange: same bucket, same identifier.
    ///
    /// # Errors
    /// When the database fails.
    fn same_exchange(&self, entry: &Entry) -> Result<Vec<Entry>, StoreError>;

    /// The buckets that hold messages, by name, at most `most`.
    ///
    /// # Errors
    /// When the database fails.
    fn buckets(&self, most: u32) -> Result<Vec<String>, StoreError>;
}

/// Why the store could not do what was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database reported an error.
    #[error("cannot {doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What the database said.
        #[source]
        source: rusqlite::Error,
    },
    /// The store's file could not be made or locked.
    #[error("cannot {doing} `{path}`")]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has the store open.
    #[error("the store `{path}` is in use by another inspector; give each its own --store")]
    InUse {
        /// Which store.
        path: String,
    },
    /// The file is a database of something else.
    #[error("`{path}` is a database, but not one of an inspector; give another --store")]
    NotOurs {
        /// Which file.
        path: String,
    },
    /// The file was made by a newer inspector.
    #[error(
        "the store `{path}` has format {found}, this inspector knows formats up to {known}; use the newer program"
    )]
    Newer {
        /// Which store.
        path: String,
        /// Its format.
        found: i64,
        /// Ours.
        known: i64,
    },
}
