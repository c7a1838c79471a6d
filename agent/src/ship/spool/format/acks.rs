//! The list beside a segment: which of its messages are done with, and which damage has been counted.
//!
//! In: entries, and bytes of which nothing is trusted. Out: bytes, and the entries up to the first that is not whole: what was not
//! noted is sent again, which is the safe side.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Seal, checksum};

/// What one entry takes.
pub(in crate::ship::spool) const ENTRY_BYTES: usize = size_of::<RawEntry>();

const DONE: u32 = 1;
const COUNTED: u32 = 2;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ship::spool) enum Entry {
    /// These messages are not to be sent again: `count` numbers from `first` on.
    Done { first: u64, count: u32 },
    /// What is missing in the batch at this place, or behind it, has been counted.
    Counted { offset: u64 },
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    first: U64,
    count: U32,
    kind: U32,
    crc: U32,
}

impl Entry {
    pub(in crate::ship::spool) fn put(self, into: &mut Vec<u8>, seal: Seal) {
        let (first, count, kind) = match self {
            Self::Done { first, count } => (first, count, DONE),
            Self::Counted { offset } => (offset, 0, COUNTED),
        };
        let mut raw = RawEntry {
            first: first.into(),
            count: count.into(),
            kind: kind.into(),
            crc: 0.into(),
        };
        raw.crc = checksum(seal, &raw).into();
        into.extend_from_slice(raw.as_bytes());
    }

    fn decode(bytes: &[u8], seal: Seal) -> Option<Self> {
        let raw = RawEntry::read_from_bytes(bytes).ok()?;
        if raw.crc.get() != checksum(seal, &raw) {
            return None;
        }
        let (first, count) = (raw.first.get(), raw.count.get());
        match raw.kind.get() {
            DONE => Some(Self::Done { first, count }),
            COUNTED => Some(Self::Counted { offset: first }),
            _ => None,
        }
    }
}

/// The entries of a list, and how many of its bytes are whole.
pub(in crate::ship::spool) fn read(bytes: &[u8], seal: Seal) -> (Vec<Entry>, usize) {
    let entries: Vec<Entry> = bytes
        .chunks_exact(ENTRY_BYTES)
        .map_while(|chunk| Entry::decode(chunk, seal))
        .collect();
    let whole = entries.len() * ENTRY_BYTES;
    (entries, whole)
}

/// The shortest entries for these numbers, which are sorted here.
pub(in crate::ship::spool) fn runs(numbers: &mut [u64]) -> Vec<Entry> {
    numbers.sort_unstable();
    let mut entries = Vec::new();
    let mut numbers = numbers.iter().copied();
    let Some(mut first) = numbers.next() else {
        return entries;
    };
    let mut count = 1_u32;
    for number in numbers {
        if first.checked_add(count.into()) == Some(number) && count < u32::MAX {
            count += 1;
        } else {
            entries.push(Entry::Done { first, count });
            (first, count) = (number, 1);
        }
    }
    entries.push(Entry::Done { first, count });
    entries
}
