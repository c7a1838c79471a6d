//! Recordings: the ring's records in a file, so that everything after capture runs again elsewhere, bit for bit.
//!
//! A recording is a line that names the format, a line of JSON ([`Header`]), then records: a little-endian `u32` length
//! and that many bytes, as the probes wrote them. It holds traffic in the clear. Deliberately absent: decoding.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use kongtap_common::record::{ABI, MAX_PAYLOAD_BYTES, RecordHeader};
use serde::{Deserialize, Serialize};

/// First line of a recording.
const FORMAT: &str = "kongtap-recording 1";

/// Longest header line that is read, bytes.
const HEADER_LIMIT_BYTES: u64 = 64 << 10;

/// Longest record: a header and the largest payload.
const RECORD_LIMIT_BYTES: u32 = MAX_PAYLOAD_BYTES + HEADER_BYTES;
const HEADER_BYTES: u32 = 48;
const _: () = assert!(size_of::<RecordHeader>() == 48);

/// What a replay must know beside the records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`ABI`] of the records.
    pub abi: u8,
    /// Unix nanoseconds at the recorded host's monotonic zero.
    pub boot_unix_ns: u64,
    /// kongtap's version.
    pub recorded_by: String,
}

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be created.
    #[error("cannot create the recording")]
    Create(#[source] io::Error),
    /// The file cannot be written.
    #[error("cannot write the recording")]
    Write(#[source] io::Error),
    /// The file cannot be opened or read.
    #[error("cannot read the recording")]
    Read(#[source] io::Error),
    /// It is not a recording.
    #[error("this is not a kongtap recording of format 1")]
    NotARecording,
    /// Its header is malformed.
    #[error("the recording's header is malformed")]
    Header(#[source] serde_json::Error),
    /// Its records have another layout.
    #[error("the recording's records have layout {found}; this kongtap reads layout {ABI}")]
    Layout {
        /// The recording's.
        found: u8,
    },
}

/// Writes a recording.
#[derive(Debug)]
pub struct Writer {
    file: BufWriter<File>,
    written_bytes: u64,
    limit_bytes: u64,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is in the file.
    Yes,
    /// The file has reached its bound; nothing was written.
    Full,
}

impl Writer {
    /// Creates the file, readable by its owner only; an existing file is not overwritten.
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
        let mut file = BufWriter::new(file);
        writeln!(file, "{FORMAT}\n{line}").map_err(RecordingError::Write)?;
        Ok(Self {
            file,
            written_bytes: 0,
            limit_bytes,
        })
    }

    /// Appends one record, without what the ring reserved beyond its payload.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn push(&mut self, record: &[u8]) -> Result<Written, RecordingError> {
        let Some(record) = used_part(record) else {
            return Ok(Written::Yes);
        };
        let Ok(length) = u32::try_from(record.len()) else {
            return Ok(Written::Yes);
        };
        let after = self
            .written_bytes
            .saturating_add(4)
            .saturating_add(u64::from(length));
        if after > self.limit_bytes {
            return Ok(Written::Full);
        }
        self.file
            .write_all(&length.to_le_bytes())
            .map_err(RecordingError::Write)?;
        self.file.write_all(record).map_err(RecordingError::Write)?;
        self.written_bytes = after;
        Ok(Written::Yes)
    }

    /// Bytes of records so far.
    #[must_use]
    pub const fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Flushes and closes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> Result<(), RecordingError> {
        self.file.flush().map_err(RecordingError::Write)
    }
}

/// Header and payload of a record, without what its size class left over.
fn used_part(record: &[u8]) -> Option<&[u8]> {
    let captured = record.get(4..8)?.try_into().ok().map(u32::from_ne_bytes)?;
    let used = usize::try_from(captured.checked_add(HEADER_BYTES)?).ok()?;
    record.get(..used)
}

/// Reads a recording.
#[derive(Debug)]
pub struct Reader {
    file: BufReader<File>,
    record: Vec<u8>,
}

/// What comes next in a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A record.
    Record(&'a [u8]),
    /// The end.
    End,
    /// The file breaks off within a record, or a length is out of bounds; what came before is good.
    Damaged,
}

impl Reader {
    /// Opens a recording and reads its header.
    ///
    /// # Errors
    /// It cannot be read, or is not a recording that this version reads.
    pub fn open(path: &Path) -> Result<(Header, Self), RecordingError> {
        let mut file = BufReader::new(File::open(path).map_err(RecordingError::Read)?);
        let mut line = Vec::new();
        let limit = u64::try_from(FORMAT.len()).unwrap_or(0) + 1;
        file.by_ref()
            .take(limit)
            .read_until(b'\n', &mut line)
            .map_err(RecordingError::Read)?;
        if line.strip_suffix(b"\n") != Some(FORMAT.as_bytes()) {
            return Err(RecordingError::NotARecording);
        }
        line.clear();
        file.by_ref()
            .take(HEADER_LIMIT_BYTES)
            .read_until(b'\n', &mut line)
            .map_err(RecordingError::Read)?;
        let header: Header = serde_json::from_slice(&line).map_err(RecordingError::Header)?;
        if header.abi != ABI {
            return Err(RecordingError::Layout { found: header.abi });
        }
        Ok((
            header,
            Self {
                file,
                record: Vec::new(),
            },
        ))
    }

    /// The next record.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_record(&mut self) -> Result<Next<'_>, RecordingError> {
        self.fill(4)?;
        let Ok(length) = <[u8; 4]>::try_from(self.record.as_slice()).map(u32::from_le_bytes) else {
            return Ok(if self.record.is_empty() {
                Next::End
            } else {
                Next::Damaged
            });
        };
        if !(HEADER_BYTES..=RECORD_LIMIT_BYTES).contains(&length) {
            return Ok(Next::Damaged);
        }
        self.fill(length)?;
        let is_whole = u32::try_from(self.record.len()) == Ok(length);
        Ok(if is_whole {
            Next::Record(&self.record)
        } else {
            Next::Damaged
        })
    }

    /// Reads `length` bytes, or as many as there are, into `record`.
    fn fill(&mut self, length: u32) -> Result<(), RecordingError> {
        self.record.clear();
        self.file
            .by_ref()
            .take(u64::from(length))
            .read_to_end(&mut self.record)
            .map_err(RecordingError::Read)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{Header, Next, Reader, RecordingError, Writer, Written};

    fn header() -> Header {
        Header {
            abi: kongtap_common::record::ABI,
            boot_unix_ns: 7,
            recorded_by: "test".into(),
        }
    }

    fn record(payload: &[u8], slack: usize) -> Vec<u8> {
        let mut record = vec![9; 48];
        record[4..8].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_ne_bytes());
        record.extend_from_slice(payload);
        record.resize(record.len() + slack, 0xEE);
        record
    }

    #[test]
    fn what_was_written_is_read_without_the_slack() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.rec");
        let mut writer = Writer::create(&path, &header(), 1 << 20).unwrap();
        assert_eq!(writer.push(&record(b"hello", 80)).unwrap(), Written::Yes);
        assert_eq!(writer.push(&record(b"", 0)).unwrap(), Written::Yes);
        writer.finish().unwrap();

        let (read, mut reader) = Reader::open(&path).unwrap();
        assert_eq!(read, header());
        assert_eq!(reader.next_record().unwrap(), Next::Record(&record(b"hello", 0)));
        assert_eq!(reader.next_record().unwrap(), Next::Record(&record(b"", 0)));
        assert_eq!(reader.next_record().unwrap(), Next::End);
    }

    #[test]
    fn the_bound_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(&directory.path().join("a.rec"), &header(), 100).unwrap();
        assert_eq!(writer.push(&record(b"12345678", 0)).unwrap(), Written::Yes);
        assert_eq!(writer.push(&record(b"", 0)).unwrap(), Written::Full);
        assert_eq!(writer.written_bytes(), 60);
    }

    #[test]
    fn a_recording_is_private_and_never_overwritten() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.rec");
        Writer::create(&path, &header(), 1).unwrap().finish().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(
            Writer::create(&path, &header(), 1),
            Err(RecordingError::Create(_))
        ));
    }

    #[test]
    fn a_damaged_tail_is_said_and_what_came_before_is_good() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.rec");
        let mut writer = Writer::create(&path, &header(), 1 << 20).unwrap();
        writer.push(&record(b"first", 0)).unwrap();
        writer.push(&record(b"second", 0)).unwrap();
        writer.finish().unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in 1..58 {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let (_, mut reader) = Reader::open(&path).unwrap();
            assert!(matches!(reader.next_record().unwrap(), Next::Record(_)));
            assert_eq!(reader.next_record().unwrap(), Next::Damaged, "cut {cut}");
        }
    }

    #[test]
    fn other_files_and_other_layouts_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.rec");
        fs::write(&path, "something else").unwrap();
        assert!(matches!(Reader::open(&path), Err(RecordingError::NotARecording)));
        fs::write(&path, "kongtap-recording 1\n{}\n").unwrap();
        assert!(matches!(Reader::open(&path), Err(RecordingError::Header(_))));
        let other = Path::new(&path).with_extension("2");
        Writer::create(&other, &Header { abi: 99, ..header() }, 1)
            .unwrap()
            .finish()
            .unwrap();
        assert!(matches!(
            Reader::open(&other),
            Err(RecordingError::Layout { found: 99 })
        ));
    }
}
