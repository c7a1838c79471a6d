//! Writing a recording's file, within its bound.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use kongtap_common::record::KIND_DATA;

use super::{
    FORMAT, Header, ITEM_HEAD_BYTES, RECORD_LIMIT_BYTES, RecordingError, TAG_RECORD, TAG_TRAILER,
    TRAILER_LIMIT_BYTES, Trailer, payload_bytes, used_part,
};

/// Writes a recording.
#[derive(Debug)]
pub struct Writer {
    file: BufWriter<File>,
    /// Bytes of the file.
    written_bytes: u64,
    limit_bytes: u64,
    records: u64,
    payload_bytes: u64,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is in the file.
    Yes,
    /// It is none, or longer than any record.
    Refused,
    /// The file has reached its bound; nothing was written.
    Full,
}

impl Writer {
    /// Creates the file, readable by its owner only; an existing file is not overwritten. It will have at most `limit_bytes`
    /// bytes, its trailer included.
    ///
    /// # Errors
    /// The file exists, or cannot be created or written.
    pub fn create(path: &Path, header: &Header, limit_bytes: u64) -> Result<Self, RecordingError> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(RecordingError::Create)?;
        let line = serde_json::to_string(header).map_err(RecordingError::Header)?;
        let start = format!("{FORMAT}\n{line}\n");
        let mut file = BufWriter::new(file);
        file.write_all(start.as_bytes()).map_err(RecordingError::Write)?;
        let reserved = u64::from(TRAILER_LIMIT_BYTES) + ITEM_HEAD_BYTES;
        Ok(Self {
            file,
            written_bytes: u64::try_from(start.len()).unwrap_or(u64::MAX),
            limit_bytes: limit_bytes.saturating_sub(reserved),
            records: 0,
            payload_bytes: 0,
        })
    }

    /// Appends one record, without what the ring reserved beyond its payload.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn push(&mut self, record: &[u8]) -> Result<Written, RecordingError> {
        let used = used_part(record).and_then(|used| Some((used, u32::try_from(used.len()).ok()?)));
        let Some((record, length)) = used.filter(|(_, length)| *length <= RECORD_LIMIT_BYTES) else {
            return Ok(Written::Refused);
        };
        let after = self
            .written_bytes
            .saturating_add(ITEM_HEAD_BYTES)
            .saturating_add(u64::from(length));
        if after > self.limit_bytes {
            return Ok(Written::Full);
        }
        self.item(TAG_RECORD, length, record)?;
        self.records += 1;
        if record.first() == Some(&KIND_DATA) {
            self.payload_bytes += payload_bytes(record).unwrap_or(0);
        }
        Ok(Written::Yes)
    }

    /// Bytes of the file so far.
    #[must_use]
    pub const fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Records, and payload bytes of data records, so far.
    #[must_use]
    pub const fn counts(&self) -> (u64, u64) {
        (self.records, self.payload_bytes)
    }

    /// Brings what was pushed to the file: a recorder that is killed afterwards loses none of it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&mut self) -> Result<(), RecordingError> {
        self.file.flush().map_err(RecordingError::Write)
    }

    /// Writes the trailer and closes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self, trailer: &Trailer) -> Result<u64, RecordingError> {
        let text = serde_json::to_vec(trailer).map_err(RecordingError::Header)?;
        match u32::try_from(text.len()) {
            Ok(length) if length <= TRAILER_LIMIT_BYTES => self.item(TAG_TRAILER, length, &text)?,
            // It has a fixed set of fields, so this does not happen; the records are what matters.
            Ok(_) | Err(_) => {}
        }
        self.flush()?;
        Ok(self.written_bytes)
    }

    fn item(&mut self, tag: u8, length: u32, bytes: &[u8]) -> Result<(), RecordingError> {
        let [a, b, c, d] = length.to_le_bytes();
        self.file
            .write_all(&[tag, a, b, c, d])
            .and_then(|()| self.file.write_all(bytes))
            .map_err(RecordingError::Write)?;
        self.written_bytes = self
            .written_bytes
            .saturating_add(ITEM_HEAD_BYTES)
            .saturating_add(u64::from(length));
        Ok(())
    }
}
