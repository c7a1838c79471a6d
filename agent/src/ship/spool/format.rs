//! The bytes of the spool's files: segments of messages, and beside each the list of those that are done with.
//!
//! In: entries, and bytes of which nothing is trusted. Out: bytes, and whatever of them was certainly written so.
//!
//! ```text
//! N.seg   header · batch · batch · …          batch: how many records and bytes follow, and when · record · record · …
//! N.ack   entry · entry · …                   record: length, flags, sequence number, when queued · JSON
//! ```
//!
//! Integers are little-endian. Each header, batch, record and entry ends with a CRC-32C, which begins with what is random in its
//! segment's header: bytes of another file, which a disk may leave in the place of what was never written, do not pass for this one's.
//! A batch says how much follows before anything does, so that a write which broke off shows how much is missing.
//!
//! Deliberately absent: files, and what becomes of messages.

use std::io::{self, Read};

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::message::{Message, Outcome, Profile};

pub(super) mod acks;

const MAGIC: [u8; 8] = *b"ktspool\n";
const VERSION: u32 = 1;
const BATCH_MAGIC: [u8; 4] = *b"btch";

/// The largest message that is kept, bytes of JSON. What a file claims beyond it is damage.
pub(crate) const MOST_MESSAGE_BYTES: usize = 16 << 20;

/// Records of one batch, at most. A batch is what one write may lose.
pub(crate) const MOST_BATCH_RECORDS: usize = 4096;

/// Bytes of one batch, at most, unless a single message is larger.
pub(crate) const MOST_BATCH_BYTES: usize = 1 << 20;

/// What a message takes on disk beside its JSON, with a batch of its own.
pub(super) const OVERHEAD_BYTES: usize = size_of::<RawRecord>() + size_of::<RawBatch>();

/// What a file's header takes.
pub(super) const HEADER_BYTES: usize = size_of::<RawHeader>();

/// What the checksums of one segment begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal(u32);

/// How a segment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// As in its name.
    pub(super) number: u64,
    /// Random.
    pub(super) nonce: u64,
    /// No record's number is lower.
    pub(super) first_seq: u64,
    /// The run of the machine that it was written in.
    pub(super) boot: [u8; 16],
}

/// When something was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) unix_ms: u64,
    /// Since the machine started.
    pub(super) monotonic_ms: u64,
}

/// What is said of a message beside its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u32);

impl Flags {
    /// Its exchange was an error.
    pub(crate) const ERROR: Self = Self(1);
    /// It carries `unique_identifier`.
    pub(crate) const RECOGNISABLE: Self = Self(1 << 1);

    /// What there is to be said of a message.
    pub(crate) const fn of(message: &Message) -> Self {
        let flags = match message.outcome() {
            Outcome::Success => Self(0),
            Outcome::Error => Self::ERROR,
        };
        if message.is_recognisable() {
            flags.with(Self::RECOGNISABLE)
        } else {
            flags
        }
    }

    /// How its exchange went.
    pub(crate) const fn outcome(self) -> Outcome {
        if self.has(Self::ERROR) {
            Outcome::Error
        } else {
            Outcome::Success
        }
    }

    /// What it says.
    pub(crate) const fn profile(self) -> Profile {
        if self.has(Self::RECOGNISABLE) {
            Profile::Extended
        } else {
            Profile::Plugin
        }
    }

    /// Both.
    const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is set.
    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A message on its way to a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewRecord<'a> {
    pub(super) seq: u64,
    pub(super) flags: Flags,
    /// When it was queued.
    pub(super) unix_ms: u64,
    pub(super) json: &'a [u8],
}

/// A message as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) seq: u64,
    pub(super) flags: Flags,
    /// When it was queued.
    pub(super) unix_ms: u64,
    /// When its batch was written.
    pub(super) written: Written,
    pub(super) json: Vec<u8>,
}

/// What a segment holds, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A batch begins here.
    Batch { offset: u64, first_seq: u64 },
    /// A message, whole.
    Record(Record),
    /// A batch has ended, and not all of it could be read.
    Short(Short),
    /// From here on nothing can be read.
    Tail { offset: u64, bytes: u64 },
}

/// What is missing in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short {
    /// Where the batch begins.
    pub(super) offset: u64,
    /// Messages that the file ends before.
    pub(super) lost_messages: u64,
    pub(super) lost_bytes: u64,
    /// Messages whose bytes are there and are not what was written.
    pub(super) damaged_messages: u64,
    pub(super) damaged_bytes: u64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    version: U32,
    reserved: U32,
    number: U64,
    nonce: U64,
    first_seq: U64,
    boot: [u8; 16],
    crc: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawBatch {
    magic: [u8; 4],
    records: U32,
    bytes: U32,
    reserved: U32,
    first_seq: U64,
    unix_ms: U64,
    monotonic_ms: U64,
    crc: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawRecord {
    json_bytes: U32,
    flags: U32,
    seq: U64,
    unix_ms: U64,
    crc: U32,
}

/// The checksum of `raw` without its last four bytes, which are the checksum itself.
fn checksum(seal: Seal, raw: &(impl IntoBytes + Immutable)) -> u32 {
    let bytes = raw.as_bytes();
    crc32c::crc32c_append(
        seal.0,
        bytes.split_last_chunk::<4>().map_or(bytes, |(body, _)| body),
    )
}

impl Header {
    pub(super) fn seal(&self) -> Seal {
        Seal(crc32c::crc32c_append(
            crc32c::crc32c(&self.nonce.to_le_bytes()),
            &self.number.to_le_bytes(),
        ))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut raw = RawHeader {
            magic: MAGIC,
            version: VERSION.into(),
            reserved: 0.into(),
            number: self.number.into(),
            nonce: self.nonce.into(),
            first_seq: self.first_seq.into(),
            boot: self.boot,
            crc: 0.into(),
        };
        raw.crc = checksum(Seal(0), &raw).into();
        raw.as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> HeaderState {
        let Ok(raw) = RawHeader::read_from_bytes(bytes) else {
            return HeaderState::Damaged;
        };
        if raw.magic != MAGIC || raw.crc.get() != checksum(Seal(0), &raw) {
            return HeaderState::Damaged;
        }
        if raw.version.get() != VERSION {
            return HeaderState::Foreign;
        }
        HeaderState::Ours(Self {
            number: raw.number.get(),
            nonce: raw.nonce.get(),
            first_seq: raw.first_seq.get(),
            boot: raw.boot,
        })
    }
}

/// What the beginning of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderState {
    /// It is a segment.
    Ours(Header),
    /// It is one of another version of the format.
    Foreign,
    /// It is none, or not any more.
    Damaged,
}

/// Adds one batch to `into`. Gives how long it is; nothing is added for no records.
pub(super) fn put_batch<'a, I>(into: &mut Vec<u8>, seal: Seal, written: Written, records: I) -> usize
where
    I: Iterator<Item = NewRecord<'a>> + Clone,
{
    let Some(first) = records.clone().next() else {
        return 0;
    };
    let (count, bytes) = records.clone().fold((0_u32, 0_usize), |(count, bytes), record| {
        (
            count.saturating_add(1),
            bytes + size_of::<RawRecord>() + record.json.len(),
        )
    });
    into.reserve(size_of::<RawBatch>() + bytes);
    let mut raw = RawBatch {
        magic: BATCH_MAGIC,
        records: count.into(),
        bytes: u32::try_from(bytes).unwrap_or(u32::MAX).into(),
        reserved: 0.into(),
        first_seq: first.seq.into(),
        unix_ms: written.unix_ms.into(),
        monotonic_ms: written.monotonic_ms.into(),
        crc: 0.into(),
    };
    raw.crc = checksum(seal, &raw).into();
    into.extend_from_slice(raw.as_bytes());
    for record in records {
        let mut raw = RawRecord {
            json_bytes: u32::try_from(record.json.len()).unwrap_or(u32::MAX).into(),
            flags: record.flags.0.into(),
            seq: record.seq.into(),
            unix_ms: record.unix_ms.into(),
            crc: 0.into(),
        };
        raw.crc = crc32c::crc32c_append(checksum(seal, &raw), record.json).into();
        into.extend_from_slice(raw.as_bytes());
        into.extend_from_slice(record.json);
    }
    size_of::<RawBatch>() + bytes
}

/// Bytes that a record of `json_bytes` takes within a batch.
pub(super) const fn record_bytes(json_bytes: usize) -> usize {
    size_of::<RawRecord>() + json_bytes
}

/// Reads a segment from its beginning, or from a batch on.
#[derive(Debug)]
pub(super) struct SegmentReader<R> {
    input: R,
    seal: Seal,
    /// Where the next byte stands in the file.
    offset: u64,
    last_seq: Option<u64>,
    batch: Option<OpenBatch>,
    is_over: bool,
}

#[derive(Debug)]
struct OpenBatch {
    offset: u64,
    written: Written,
    records_left: u64,
    bytes_left: u64,
    damaged: u64,
    damaged_bytes: u64,
}

/// Reads the header of a segment.
///
/// # Errors
/// The disk's.
pub(super) fn read_header(input: &mut impl Read) -> io::Result<HeaderState> {
    let mut bytes = [0; HEADER_BYTES];
    let got = read_up_to(input, &mut bytes)?;
    Ok(Header::decode(bytes.get(..got).unwrap_or_default()))
}

impl<R: Read> SegmentReader<R> {
    /// `input` stands at `offset`, where a batch begins.
    pub(super) const fn at(input: R, header: &Header, seal: Seal, offset: u64) -> Self {
        Self {
            input,
            seal,
            offset,
            last_seq: header.first_seq.checked_sub(1),
            batch: None,
            is_over: false,
        }
    }

    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// The disk's. Nothing can be read after one.
    pub(super) fn next(&mut self) -> io::Result<Option<Item>> {
        if self.is_over {
            return Ok(None);
        }
        match self.batch.take() {
            None => self.next_batch(),
            Some(batch) => self.next_record(batch),
        }
    }

    /// Where it stands in the file.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    fn next_batch(&mut self) -> io::Result<Option<Item>> {
        let offset = self.offset;
        let mut bytes = [0; size_of::<RawBatch>()];
        let got = self.take(&mut bytes)?;
        if got == 0 {
            self.is_over = true;
            return Ok(None);
        }
        let raw = RawBatch::read_from_bytes(&bytes).ok().filter(|raw| {
            got == bytes.len()
                && raw.magic == BATCH_MAGIC
                && raw.crc.get() == checksum(self.seal, raw)
                && usize::try_from(raw.records.get()).is_ok_and(|count| count <= MOST_BATCH_RECORDS)
                && usize::try_from(raw.bytes.get())
                    .is_ok_and(|bytes| bytes <= MOST_BATCH_BYTES + record_bytes(MOST_MESSAGE_BYTES))
        });
        let Some(raw) = raw else {
            self.is_over = true;
            let rest = io::copy(&mut self.input, &mut io::sink())?;
            return Ok(Some(Item::Tail {
                offset,
                bytes: to_u64(got).saturating_add(rest),
            }));
        };
        self.batch = Some(OpenBatch {
            offset,
            written: Written {
                unix_ms: raw.unix_ms.get(),
                monotonic_ms: raw.monotonic_ms.get(),
            },
            records_left: raw.records.get().into(),
            bytes_left: raw.bytes.get().into(),
            damaged: 0,
            damaged_bytes: 0,
        });
        Ok(Some(Item::Batch {
            offset,
            first_seq: raw.first_seq.get(),
        }))
    }

    fn next_record(&mut self, mut batch: OpenBatch) -> io::Result<Option<Item>> {
        while batch.records_left > 0 {
            let mut bytes = [0; size_of::<RawRecord>()];
            let wanted = bytes
                .len()
                .min(usize::try_from(batch.bytes_left).unwrap_or(usize::MAX));
            let room = bytes.get_mut(..wanted).unwrap_or_default();
            let got = self.take(room)?;
            if got < wanted {
                return Ok(Some(self.end_early(&batch)));
            }
            let left = batch.bytes_left - to_u64(got);
            let raw = RawRecord::read_from_bytes(&bytes)
                .ok()
                .filter(|_| got == size_of::<RawRecord>());
            // Only the checksum proves the length, and it comes behind the text: one that does not fit is not followed.
            let fitting = raw.and_then(|raw| {
                let json_bytes = usize::try_from(raw.json_bytes.get()).ok()?;
                (json_bytes <= MOST_MESSAGE_BYTES && to_u64(json_bytes) <= left).then_some((raw, json_bytes))
            });
            let Some((raw, json_bytes)) = fitting else {
                return self.skip_rest(batch, left);
            };
            let mut json = vec![0; json_bytes];
            if self.take(&mut json)? < json_bytes {
                return Ok(Some(self.end_early(&batch)));
            }
            batch.bytes_left = left - to_u64(json_bytes);
            batch.records_left -= 1;
            let is_whole = raw.crc.get() == crc32c::crc32c_append(checksum(self.seal, &raw), &json)
                && self.last_seq.is_none_or(|last| raw.seq.get() > last);
            if !is_whole {
                // If its length is right, the next one's checksum will say so.
                batch.damaged += 1;
                batch.damaged_bytes += to_u64(record_bytes(json_bytes));
                continue;
            }
            let seq = raw.seq.get();
            self.last_seq = Some(seq);
            let record = Record {
                seq,
                flags: Flags(raw.flags.get()),
                unix_ms: raw.unix_ms.get(),
                written: batch.written,
                json,
            };
            self.batch = Some(batch);
            return Ok(Some(Item::Record(record)));
        }
        if batch.bytes_left > 0 || batch.damaged > 0 {
            let left = batch.bytes_left;
            return self.skip_rest(batch, left);
        }
        self.next_batch()
    }

    /// The batch's framing is lost: on to the next one.
    fn skip_rest(&mut self, batch: OpenBatch, left: u64) -> io::Result<Option<Item>> {
        let skipped = io::copy(&mut (&mut self.input).take(left), &mut io::sink())?;
        self.offset = self.offset.saturating_add(skipped);
        self.is_over = skipped < left;
        Ok(Some(Item::Short(Short {
            offset: batch.offset,
            lost_messages: 0,
            lost_bytes: 0,
            damaged_messages: batch.damaged + batch.records_left,
            damaged_bytes: batch.damaged_bytes + batch.bytes_left,
        })))
    }

    /// The file ends within the batch.
    fn end_early(&mut self, batch: &OpenBatch) -> Item {
        self.is_over = true;
        Item::Short(Short {
            offset: batch.offset,
            lost_messages: batch.records_left,
            lost_bytes: batch.bytes_left,
            damaged_messages: batch.damaged,
            damaged_bytes: batch.damaged_bytes,
        })
    }

    fn take(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = read_up_to(&mut self.input, into)?;
        self.offset = self.offset.saturating_add(to_u64(got));
        Ok(got)
    }
}

/// Fills `into`, as far as the input goes.
fn read_up_to(input: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(room) = into.get_mut(filled..).filter(|room| !room.is_empty()) {
        match input.read(room) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

pub(super) fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
