//! One message as a row of the table, and back.

use rusqlite::types::Type;
use rusqlite::{Row, Statement, params};
use uuid::Uuid;

use crate::clock::UnixMicros;
use crate::message::{Halves, Summary, Warning};
use crate::store::{Arrival, Entry, NewMessage};

/// The columns that [`entry`] reads, in its order.
pub(super) const COLUMNS: &str = "message.id, uuid, bucket, unique_identifier, halves, received_us, at_us, method, url, status, \
     response_time_us, size_bytes, route, service, consumer, incomplete, warnings, bytes";
/// How many they are: the index of a column selected after them.
pub(super) const COLUMN_COUNT: usize = 18;

/// Does nothing when the bucket has this half of this exchange already.
pub(super) const INSERT: &str = "INSERT INTO message (uuid, bucket, unique_identifier, halves, received_us, at_us, method, url, \
     status, response_time_us, size_bytes, route, service, consumer, incomplete, warnings, bytes) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) \
     ON CONFLICT (bucket, unique_identifier, halves) WHERE unique_identifier IS NOT NULL DO NOTHING";

/// Runs [`INSERT`]; `false` when the message was there already.
pub(super) fn insert(insert: &mut Statement<'_>, message: &NewMessage) -> rusqlite::Result<bool> {
    let summary = &message.summary;
    let rows = insert.execute(params![
        message.uuid.as_bytes().as_slice(),
        message.bucket,
        summary.unique_identifier,
        halves_code(summary.halves),
        message.received.0,
        summary.at.unwrap_or(message.received).0,
        summary.method,
        summary.url,
        summary.status,
        summary.response_time_us,
        summary.size_bytes,
        summary.route,
        summary.service,
        summary.consumer,
        summary.incomplete,
        warning_codes(&message.warnings),
        length(&message.json),
    ])?;
    Ok(rows == 1)
}

/// Reads [`COLUMNS`].
pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let at = UnixMicros(row.get(6)?);
    let warnings: String = row.get(16)?;
    Ok(Entry {
        arrival: Arrival(row.get(0)?),
        uuid: uuid(row, 1)?,
        bucket: row.get(2)?,
        received: UnixMicros(row.get(5)?),
        at,
        summary: Summary {
            unique_identifier: row.get(3)?,
            halves: halves(row.get(4)?),
            at: Some(at),
            method: row.get(7)?,
            url: row.get(8)?,
            status: row.get(9)?,
            response_time_us: row.get(10)?,
            size_bytes: row.get(11)?,
            route: row.get(12)?,
            service: row.get(13)?,
            consumer: row.get(14)?,
            incomplete: row.get(15)?,
        },
        warnings: Warning::ALL
            .iter()
            .copied()
            .filter(|warning| warnings.split(' ').any(|code| code == warning.code()))
            .collect(),
        bytes: row.get(17)?,
    })
}

/// An id in column `index`.
pub(super) fn uuid(row: &Row<'_>, index: usize) -> rusqlite::Result<Uuid> {
    let bytes: Vec<u8> = row.get(index)?;
    Uuid::from_slice(&bytes)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Blob, Box::new(error)))
}

/// The length of a text as SQLite counts.
pub(super) fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

/// How [`Halves`] are written.
pub(super) const fn halves_code(halves: Halves) -> i64 {
    match halves {
        Halves::Request => 1,
        Halves::Response => 2,
        Halves::Both => 3,
    }
}

const fn halves(code: i64) -> Halves {
    match code {
        1 => Halves::Request,
        2 => Halves::Response,
        _ => Halves::Both,
    }
}

fn warning_codes(warnings: &[Warning]) -> String {
    warnings
        .iter()
        .map(|warning| warning.code())
        .collect::<Vec<_>>()
        .join(" ")
}
