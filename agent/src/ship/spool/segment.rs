//! What is known of one segment file without looking into it.
//!
//! In: what was written to it, and what became of its messages. Out: how many of them are still wanted, and from where to read.

use crate::ship::spool::age::{Aging, Boot};
use crate::ship::spool::format::acks::{self, Entry};
use crate::ship::spool::format::{Header, to_u64};

/// Sequence numbers that one segment may span. Messages that were done with before they were written leave holes in them.
pub(crate) const MOST_SPAN: u64 = 1 << 18;

/// How far apart the places are from which a segment can be read.
const MARK_EVERY_BYTES: u64 = 64 << 10;

/// Messages and the bytes of their JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// How many.
    pub messages: u64,
    /// Their JSON, together.
    pub bytes: u64,
}

impl Tally {
    /// One message.
    #[must_use]
    pub const fn one(bytes: u64) -> Self {
        Self { messages: 1, bytes }
    }

    /// Whether there is nothing.
    #[must_use]
    pub const fn is_nothing(self) -> bool {
        self.messages == 0
    }

    pub(crate) const fn add(&mut self, other: Self) {
        self.messages = self.messages.saturating_add(other.messages);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    pub(crate) const fn take(&mut self, other: Self) {
        self.messages = self.messages.saturating_sub(other.messages);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// Whether more is written to a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Growing,
    Closed,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) header: Header,
    pub(super) stage: Stage,
    /// Of the run of the machine in which it was written.
    pub(super) boot: Boot,
    pub(super) last_seq: u64,
    /// The file's length.
    pub(super) file_bytes: u64,
    /// The list's.
    pub(super) list_bytes: u64,
    /// Messages in it, done with or not.
    pub(super) records: u64,
    /// Messages in it that are still wanted.
    pub(super) wanted: Tally,
    /// Of those, what only the disk has.
    pub(super) waiting: Tally,
    /// Of those wanted, what is not certain to be on the disk.
    pub(super) unsynced: Tally,
    /// The part of it that is being synchronised.
    pub(super) syncing: Tally,
    /// How old its newest message is.
    pub(super) newest: Aging,
    /// The list lacks entries and must be written anew.
    pub(super) list_is_behind: bool,
    done: Bits,
    held: Bits,
    marks: Vec<Mark>,
}

/// A place from which a segment can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    first_seq: u64,
    offset: u64,
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In memory too.
    Held,
    /// On the disk alone.
    Waiting,
}

impl Segment {
    pub(super) const fn new(header: Header, stage: Stage, boot: Boot, newest: Aging) -> Self {
        Self {
            last_seq: header.first_seq,
            header,
            stage,
            boot,
            file_bytes: 0,
            list_bytes: 0,
            records: 0,
            wanted: Tally {
                messages: 0,
                bytes: 0,
            },
            waiting: Tally {
                messages: 0,
                bytes: 0,
            },
            unsynced: Tally {
                messages: 0,
                bytes: 0,
            },
            syncing: Tally {
                messages: 0,
                bytes: 0,
            },
            newest,
            list_is_behind: false,
            done: Bits(Vec::new()),
            held: Bits(Vec::new()),
            marks: Vec::new(),
        }
    }

    /// A batch begins at `offset`.
    pub(super) fn mark(&mut self, first_seq: u64, offset: u64) {
        let is_far = self
            .marks
            .last()
            .is_none_or(|last| offset >= last.offset.saturating_add(MARK_EVERY_BYTES));
        if is_far {
            self.marks.push(Mark { first_seq, offset });
        }
    }

    /// A message was written to it, or found in it.
    pub(super) fn add(&mut self, seq: u64, bytes: u64, place: Place) {
        self.last_seq = seq;
        self.records += 1;
        let one = Tally::one(bytes);
        self.wanted.add(one);
        match (place, self.index(seq)) {
            (Place::Held, Some(index)) => self.held.insert(index),
            (Place::Held, None) | (Place::Waiting, _) => self.waiting.add(one),
        }
    }

    /// A message was found in it that is done with.
    pub(super) fn add_done(&mut self, seq: u64) {
        self.last_seq = seq;
        self.records += 1;
        if let Some(index) = self.index(seq) {
            self.done.insert(index);
        }
    }

    /// A message is done with. Whether that is news.
    pub(super) fn finish(&mut self, seq: u64, bytes: u64) -> bool {
        let Some(index) = self.index(seq) else {
            return false;
        };
        if !self.done.set(index) {
            return false;
        }
        let one = Tally::one(bytes);
        self.wanted.take(one);
        if !self.held.clear(index) {
            self.waiting.take(one);
        }
        // Which of them it was is not worth remembering: what is done with need not be on the disk.
        if self.wanted.is_nothing() {
            self.unsynced = Tally::default();
        }
        true
    }

    /// A message that waits comes to memory. Whether it was waiting.
    pub(super) fn hold(&mut self, seq: u64, bytes: u64) -> bool {
        let Some(index) = self.index(seq).filter(|index| !self.done.has(*index)) else {
            return false;
        };
        let is_new = self.held.set(index);
        if is_new {
            self.waiting.take(Tally::one(bytes));
        }
        is_new
    }

    /// A message is let go of in memory. Whether it was there.
    pub(super) fn release(&mut self, seq: u64, bytes: u64) -> bool {
        let was_held = self.index(seq).is_some_and(|index| self.held.clear(index));
        if was_held {
            self.waiting.add(Tally::one(bytes));
        }
        was_held
    }

    /// Where to begin reading for `seq`.
    pub(super) fn offset_of(&self, seq: u64) -> Option<u64> {
        let after = self.marks.partition_point(|mark| mark.first_seq <= seq);
        self.marks.get(after.saturating_sub(1)).map(|mark| mark.offset)
    }

    /// The messages in it that do not wait, by their distance from its first number.
    pub(super) fn not_waiting(&self) -> Bits {
        self.done.union(&self.held)
    }

    /// All that the list should say.
    pub(super) fn list(&self) -> Vec<Entry> {
        let mut numbers: Vec<u64> = self
            .done
            .indices()
            .map(|index| self.header.first_seq.saturating_add(index))
            .collect();
        acks::runs(&mut numbers)
    }

    /// What it takes on the disk.
    pub(super) const fn disk_bytes(&self) -> u64 {
        self.file_bytes.saturating_add(self.list_bytes)
    }

    const fn index(&self, seq: u64) -> Option<u64> {
        match seq.checked_sub(self.header.first_seq) {
            Some(index) if index < MOST_SPAN => Some(index),
            Some(_) | None => None,
        }
    }
}

/// A set of small numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn insert(&mut self, index: u64) {
        self.set(index);
    }

    /// Whether it was not there.
    fn set(&mut self, index: u64) -> bool {
        let Some((word, bit)) = Self::place(index) else {
            return false;
        };
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0.get_mut(word).is_some_and(|word| {
            let is_new = *word & bit == 0;
            *word |= bit;
            is_new
        })
    }

    /// Whether it was there.
    fn clear(&mut self, index: u64) -> bool {
        let Some((word, bit)) = Self::place(index) else {
            return false;
        };
        self.0.get_mut(word).is_some_and(|word| {
            let was_there = *word & bit != 0;
            *word &= !bit;
            was_there
        })
    }

    pub(super) fn has(&self, index: u64) -> bool {
        Self::place(index).is_some_and(|(word, bit)| self.0.get(word).is_some_and(|word| word & bit != 0))
    }

    fn union(&self, other: &Self) -> Self {
        let (longer, shorter) = if self.0.len() < other.0.len() {
            (other, self)
        } else {
            (self, other)
        };
        let mut all = longer.clone();
        for (word, more) in all.0.iter_mut().zip(&shorter.0) {
            *word |= more;
        }
        all
    }

    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    fn indices(&self) -> impl Iterator<Item = u64> {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            (0..64_u64)
                .filter(move |bit| word & (1 << bit) != 0)
                .map(move |bit| to_u64(at) * 64 + bit)
        })
    }

    fn place(index: u64) -> Option<(usize, u64)> {
        if index >= MOST_SPAN {
            return None;
        }
        Some((usize::try_from(index / 64).ok()?, 1 << (index % 64)))
    }
}
