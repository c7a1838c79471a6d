//! Reading a recording: any bytes give records, or say that they are none.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use kongtap_common::record::ABI;

use super::{
    ByteOrder, FORMAT, HEADER_LIMIT_BYTES, Header, RECORD_HEADER_BYTES, RECORD_LIMIT_BYTES, RecordingError,
    TAG_RECORD, TAG_TRAILER, TRAILER_LIMIT_BYTES, Trailer,
};

/// Longest item of an unknown tag that is passed over, bytes.
const UNKNOWN_LIMIT_BYTES: u32 = 16 << 20;

/// Reads a recording.
#[derive(Debug)]
pub struct Reader<R = BufReader<File>> {
    input: R,
    item: Vec<u8>,
    passed_over: u64,
}

/// What comes next in a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A record.
    Record(&'a [u8]),
    /// How it went; nothing follows.
    Trailer(Box<Trailer>),
    /// The file ends without a trailer: the recorder was killed.
    End,
    /// The file breaks off within an item, or holds something else; what came before is good.
    Damaged,
}

impl Reader {
    /// Opens a recording and reads its header.
    ///
    /// # Errors
    /// It cannot be read, or is not a recording that this version reads.
    pub fn open(path: &Path) -> Result<(Header, Self), RecordingError> {
        Self::of(BufReader::new(File::open(path).map_err(RecordingError::Read)?))
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads the header of a recording that comes from `input`.
    ///
    /// # Errors
    /// It cannot be read, or is not a recording that this version reads.
    pub fn of(mut input: R) -> Result<(Header, Self), RecordingError> {
        let mut line = Vec::new();
        let limit = u64::try_from(FORMAT.len()).unwrap_or(0) + 1;
        read_line(&mut input, limit, &mut line)?;
        if line.strip_suffix(b"\n") != Some(FORMAT.as_bytes()) {
            return Err(RecordingError::NotARecording);
        }
        read_line(&mut input, HEADER_LIMIT_BYTES, &mut line)?;
        let header: Header = serde_json::from_slice(&line).map_err(RecordingError::Header)?;
        if header.abi != ABI {
            return Err(RecordingError::Layout { found: header.abi });
        }
        if header.byte_order != ByteOrder::default() {
            return Err(RecordingError::ByteOrder);
        }
        let reader = Self {
            input,
            item: Vec::new(),
            passed_over: 0,
        };
        Ok((header, reader))
    }

    /// Items of unknown tags that were passed over.
    #[must_use]
    pub const fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// The next record, or the end. To be asked no more after an end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_record(&mut self) -> Result<Next<'_>, RecordingError> {
        loop {
            self.fill(5)?;
            let (tag, length) = match *self.item.as_slice() {
                [] => return Ok(Next::End),
                [tag, a, b, c, d] => (tag, u32::from_le_bytes([a, b, c, d])),
                _ => return Ok(Next::Damaged),
            };
            let bounds = match tag {
                TAG_RECORD => RECORD_HEADER_BYTES..=RECORD_LIMIT_BYTES,
                TAG_TRAILER => 2..=TRAILER_LIMIT_BYTES,
                _ => 0..=UNKNOWN_LIMIT_BYTES,
            };
            if !bounds.contains(&length) {
                return Ok(Next::Damaged);
            }
            self.fill(length)?;
            if u32::try_from(self.item.len()) != Ok(length) {
                return Ok(Next::Damaged);
            }
            match tag {
                TAG_RECORD => return Ok(Next::Record(&self.item)),
                TAG_TRAILER => {
                    let trailer = serde_json::from_slice(&self.item);
                    return Ok(trailer.map_or(Next::Damaged, Next::Trailer));
                }
                _ => self.passed_over += 1,
            }
        }
    }

    /// Reads `length` bytes, or as many as there are, into `item`.
    fn fill(&mut self, length: u32) -> Result<(), RecordingError> {
        self.item.clear();
        self.input
            .by_ref()
            .take(u64::from(length))
            .read_to_end(&mut self.item)
            .map_err(RecordingError::Read)?;
        Ok(())
    }
}

fn read_line(input: &mut impl BufRead, limit: u64, line: &mut Vec<u8>) -> Result<(), RecordingError> {
    line.clear();
    input
        .take(limit)
        .read_until(b'\n', line)
        .map_err(RecordingError::Read)?;
    Ok(())
}
