//! The store in SQLite: one file with a write-ahead log, or a database in memory.
//!
//! In and out: as [`Store`]. One connection writes (behind a mutex, held by the writer's thread); a file is read through
//! connections of its own, so that no reader waits for a commit. What is acknowledged is synced to the disk first.
//! Deliberately absent: SQL outside this module and its parts.

use std::fs::{File, OpenOptions, TryLockError};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Params, params, params_from_iter};
use uuid::Uuid;

use crate::clock::UnixMicros;
use crate::store::{Arrival, Entry, Kept, NewMessage, Query, Retention, Store, StoreError, Totals};

mod row;
mod schema;
mod select;
#[cfg(test)]
mod tests;

/// How long a connection waits for another one's lock before it gives up.
const BUSY_MS: u64 = 5_000;
/// Prepared statements kept per connection: filters vary.
const STATEMENTS: usize = 64;
/// A page cache per connection in KiB (negative means KiB to SQLite).
const CACHE_KIB: i64 = -2_048;
/// The log file is cut back to this after a checkpoint.
const JOURNAL_BYTES: i64 = 64 << 20;
/// Idle reading connections kept open.
const IDLE_READERS: usize = 4;

/// Messages in SQLite.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Mutex<Writer>,
    /// `None` for a database in memory, which has one connection.
    file: Option<StoreFile>,
}

#[derive(Debug)]
struct Writer {
    connection: Connection,
    totals: Totals,
}

#[derive(Debug)]
struct StoreFile {
    path: PathBuf,
    readers: Mutex<Vec<Connection>>,
    /// Held for as long as the store is open.
    _lock: File,
}

impl SqliteStore {
    /// A store that is gone when it is dropped.
    ///
    /// # Errors
    /// When SQLite cannot be used.
    pub fn in_memory() -> Result<Self, StoreError> {
        let connection = Connection::open_in_memory().map_err(failed("open a database in memory"))?;
        Self::with(connection, None, "in memory")
    }

    /// The store in the file `path`, made (readable by its owner only) when it is not there.
    ///
    /// # Errors
    /// When the file cannot be made, is in use, is not a store, or is one of a newer format.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let shown = path.display().to_string();
        let lock = lock(path, &shown)?;
        // Captured traffic: no one else on the host may read it. SQLite gives its log files the mode of the database.
        open_private(path).map_err(|source| StoreError::File {
            doing: "open the store",
            path: shown.clone(),
            source,
        })?;
        let connection = Connection::open(path).map_err(failed("open the store"))?;
        let file = StoreFile {
            path: path.to_owned(),
            readers: Mutex::default(),
            _lock: lock,
        };
        Self::with(connection, Some(file), &shown)
    }

    fn with(mut connection: Connection, file: Option<StoreFile>, shown: &str) -> Result<Self, StoreError> {
        let format = schema::check(&connection, shown)?;
        configure(&connection)?;
        schema::upgrade(&mut connection, format)?;
        let totals = connection
            .query_row(
                "SELECT count(*), coalesce(sum(bytes), 0) FROM message",
                [],
                |row| {
                    Ok(Totals {
                        messages: unsigned(row.get(0)?),
                        bytes: unsigned(row.get(1)?),
                    })
                },
            )
            .map_err(failed("count what is kept"))?;
        Ok(Self {
            writer: Mutex::new(Writer { connection, totals }),
            file,
        })
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `read` on a connection that may read.
    fn read<T>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let Some(file) = &self.file else {
            return read(&self.writer().connection).map_err(failed(doing));
        };
        let idle = file.readers().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => reader(&file.path)?,
        };
        let answer = read(&connection).map_err(failed(doing));
        let mut readers = file.readers();
        if readers.len() < IDLE_READERS {
            readers.push(connection);
        }
        answer
    }
}

impl StoreFile {
    fn readers(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for SqliteStore {
    fn append(&self, batch: &[NewMessage]) -> Result<Vec<Kept>, StoreError> {
        let mut writer = self.writer();
        let mut totals = writer.totals;
        let kept = append(&mut writer.connection, batch, &mut totals).map_err(failed("keep messages"))?;
        writer.totals = totals;
        Ok(kept)
    }

    fn prune(&self, retention: &Retention, now: UnixMicros, most: u32) -> Result<u64, StoreError> {
        let mut writer = self.writer();
        let mut totals = writer.totals;
        let gone = prune(&mut writer.connection, retention, now, most, &mut totals)
            .map_err(failed("remove old messages"))?;
        writer.totals = totals;
        Ok(gone)
    }

    fn totals(&self) -> Totals {
        self.writer().totals
    }

    fn newest(&self) -> Result<Arrival, StoreError> {
        self.read("find the newest message", |connection| {
            connection
                .prepare_cached("SELECT coalesce(max(id), 0) FROM message")?
                .query_row([], |row| row.get(0).map(Arrival))
        })
    }

    fn list(&self, query: &Query) -> Result<Vec<Entry>, StoreError> {
        self.read("list messages", |connection| {
            let (sql, values) = select::entries(query);
            rows(connection, &sql, params_from_iter(values))
        })
    }

    fn visit(
        &self,
        query: &Query,
        each: &mut dyn FnMut(&Entry, &str) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        // The texts are fetched one by one: a join would have SQLite sort whole messages.
        let entries = self.list(query)?;
        self.read("read messages", |connection| {
            let mut content = connection.prepare_cached(select::CONTENT)?;
            for entry in &entries {
                let json: Option<String> = content
                    .query_row([entry.arrival.0], |row| row.get(0))
                    .optional()?;
                // Pruned between the two queries.
                let Some(json) = json else { continue };
                if each(entry, &json).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn find(&self, uuid: Uuid) -> Result<Option<(Entry, String)>, StoreError> {
        self.read("find a message", |connection| {
            connection
                .prepare_cached(&select::one())?
                .query_row([uuid.as_bytes().as_slice()], |row| {
                    Ok((row::entry(row)?, row.get(row::COLUMN_COUNT)?))
                })
                .optional()
        })
    }

    fn same_exchange(&self, entry: &Entry) -> Result<Vec<Entry>, StoreError> {
        let Some(identifier) = &entry.summary.unique_identifier else {
            return Ok(Vec::new());
        };
        self.read("find the messages of an exchange", |connection| {
            rows(
                connection,
                &select::same_exchange(),
                params![entry.bucket, identifier, entry.arrival.0],
            )
        })
    }

    fn buckets(&self, most: u32) -> Result<Vec<String>, StoreError> {
        self.read("list buckets", |connection| {
            connection
                .prepare_cached(select::BUCKETS)?
                .query_map([most], |row| row.get(0))?
                .collect()
        })
    }
}

fn append(
    connection: &mut Connection,
    batch: &[NewMessage],
    totals: &mut Totals,
) -> rusqlite::Result<Vec<Kept>> {
    let transaction = connection.transaction()?;
    let mut kept = Vec::with_capacity(batch.len());
    {
        let mut insert = transaction.prepare_cached(row::INSERT)?;
        let mut insert_content =
            transaction.prepare_cached("INSERT INTO content (id, json) VALUES (?1, ?2)")?;
        let mut find = transaction.prepare_cached(
            "SELECT uuid FROM message WHERE bucket = ?1 AND unique_identifier = ?2 AND halves = ?3",
        )?;
        for message in batch {
            if row::insert(&mut insert, message)? {
                insert_content.execute(params![transaction.last_insert_rowid(), message.json])?;
                totals.messages += 1;
                totals.bytes += unsigned(row::length(&message.json));
                kept.push(Kept::New(message.uuid));
            } else {
                let summary = &message.summary;
                let uuid = find.query_row(
                    params![
                        message.bucket,
                        summary.unique_identifier,
                        row::halves_code(summary.halves)
                    ],
                    |found| row::uuid(found, 0),
                )?;
                kept.push(Kept::Already(uuid));
            }
        }
    }
    transaction.commit()?;
    Ok(kept)
}

fn prune(
    connection: &mut Connection,
    retention: &Retention,
    now: UnixMicros,
    most: u32,
    totals: &mut Totals,
) -> rusqlite::Result<u64> {
    let oldest_kept = retention.age.map(|age| now.before(age));
    let over = |messages: u64, bytes: u64| messages > retention.messages || bytes > retention.bytes;
    if !over(totals.messages, totals.bytes) && oldest_kept.is_none() {
        return Ok(0);
    }
    let (mut gone, mut gone_bytes, mut last) = (0, 0, None);
    {
        let mut oldest =
            connection.prepare_cached("SELECT id, bytes, received_us FROM message ORDER BY id LIMIT ?1")?;
        let mut found = oldest.query([most])?;
        while let Some(row) = found.next()? {
            let left = totals.messages - gone;
            let expired = oldest_kept.is_some_and(|oldest| row.get(2).is_ok_and(|at: i64| at < oldest.0));
            if left <= 1 || !(expired || over(left, totals.bytes.saturating_sub(gone_bytes))) {
                break;
            }
            last = Some(row.get::<_, i64>(0)?);
            gone += 1;
            gone_bytes += unsigned(row.get(1)?);
        }
    }
    if let Some(last) = last {
        let transaction = connection.transaction()?;
        transaction
            .prepare_cached("DELETE FROM content WHERE id <= ?1")?
            .execute([last])?;
        transaction
            .prepare_cached("DELETE FROM message WHERE id <= ?1")?
            .execute([last])?;
        transaction.commit()?;
        totals.messages = totals.messages.saturating_sub(gone);
        totals.bytes = totals.bytes.saturating_sub(gone_bytes);
    }
    Ok(gone)
}

fn rows(connection: &Connection, sql: &str, values: impl Params) -> rusqlite::Result<Vec<Entry>> {
    connection
        .prepare_cached(sql)?
        .query_map(values, row::entry)?
        .collect()
}

fn configure(connection: &Connection) -> Result<(), StoreError> {
    let apply = || {
        connection.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // In memory the journal mode stays `memory`: the answer is a row, so it is not an error.
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_mode| Ok(()))?;
        // FULL syncs the log at each commit: an acknowledged message survives a power cut, not only a crash.
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "cache_size", CACHE_KIB)?;
        connection.pragma_update_and_check(None, "journal_size_limit", JOURNAL_BYTES, |_limit| Ok(()))?;
        connection.pragma_update(None, "trusted_schema", false)
    };
    apply().map_err(failed("configure the database"))
}

fn reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.pragma_update(None, "cache_size", CACHE_KIB)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        Ok(connection)
    };
    open().map_err(failed("open the store for reading"))
}

/// Two inspectors on one file would each prune by their own count.
fn lock(path: &Path, shown: &str) -> Result<File, StoreError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock = open_private(Path::new(&lock_path)).map_err(|source| StoreError::File {
        doing: "make the lock file",
        path: lock_path.display().to_string(),
        source,
    })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
            path: shown.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(StoreError::File {
            doing: "lock",
            path: lock_path.display().to_string(),
            source,
        }),
    }
}

fn open_private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn failed(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |source| StoreError::Database { doing, source }
}

/// SQLite's integers are signed; counts and sizes are not.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
