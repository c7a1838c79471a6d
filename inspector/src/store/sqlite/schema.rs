//! The tables, and what happens when a file already has some.
//!
//! In: a connection. Out: a connection to a database of the format that the last of [`STEPS`] makes. A change of format adds a step to [`STEPS`];
//! steps already released are never edited.

use rusqlite::Connection;

use super::failed;
use crate::store::StoreError;

/// `PRAGMA application_id` of a store: "kngt".
const APPLICATION: i64 = 0x6b6e_6774;

/// What brings format N to N + 1; the first makes an empty database format 1.
///
/// Summaries and texts are apart so that lists and filters read small rows. AUTOINCREMENT because an id that was pruned
/// must not come again: followers ask for "newer than".
const STEPS: &[&str] = &["
CREATE TABLE message (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid              BLOB NOT NULL UNIQUE,
    bucket            TEXT NOT NULL,
    unique_identifier TEXT,
    halves            INTEGER NOT NULL,
    received_us       INTEGER NOT NULL,
    at_us             INTEGER NOT NULL,
    method            TEXT,
    url               TEXT,
    status            INTEGER,
    response_time_us  INTEGER,
    size_bytes        INTEGER,
    route             TEXT,
    service           TEXT,
    consumer          TEXT,
    incomplete        INTEGER NOT NULL,
    warnings          TEXT NOT NULL,
    bytes             INTEGER NOT NULL
);
CREATE UNIQUE INDEX message_identifier ON message (bucket, unique_identifier, halves)
    WHERE unique_identifier IS NOT NULL;
CREATE INDEX message_bucket_time ON message (bucket, at_us);
CREATE INDEX message_time ON message (at_us);
CREATE TABLE content (
    id   INTEGER PRIMARY KEY,
    json TEXT NOT NULL
);
"];

/// Makes the tables, or brings those of the format `found` up to date.
pub(super) fn upgrade(connection: &mut Connection, found: i64) -> Result<(), StoreError> {
    if found == known() {
        return Ok(());
    }
    let done = usize::try_from(found).unwrap_or(0);
    let mut upgrade = || {
        let transaction = connection.transaction()?;
        for step in STEPS.iter().skip(done) {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", known())?;
        transaction.commit()
    };
    upgrade().map_err(failed("make the store's tables"))
}

/// The format found, 0 for an empty database. Changes nothing, so that a database of something else stays as it was.
/// `shown` is the store's name in messages.
pub(super) fn check(connection: &Connection, shown: &str) -> Result<i64, StoreError> {
    let found = format(connection, shown)?;
    if found > known() {
        return Err(StoreError::Newer {
            path: shown.to_owned(),
            found,
            known: known(),
        });
    }
    Ok(found)
}

fn known() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

fn format(connection: &Connection, shown: &str) -> Result<i64, StoreError> {
    let not_ours = || StoreError::NotOurs {
        path: shown.to_owned(),
    };
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let read = || {
        Ok((
            number("PRAGMA application_id")?,
            number("PRAGMA user_version")?,
            number("SELECT count(*) FROM sqlite_schema")?,
        ))
    };
    let (application, version, tables) = match read() {
        Ok(found) => found,
        Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == rusqlite::ErrorCode::NotADatabase => {
            return Err(not_ours());
        }
        Err(error) => return Err(failed("read the store's format")(error)),
    };
    match (application, tables) {
        (APPLICATION, _) => Ok(version),
        (_, 0) => Ok(0),
        _ => Err(not_ours()),
    }
}
