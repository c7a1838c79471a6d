//! What a start finds: every file of the spool is read through once.
//!
//! In: the spool's directory. Out: the segments with what is still wanted of them, and what is lost, counted once: what was counted is
//! noted in the segment's list, and what cannot be read at a file's end is cut off.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read as _};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::ship::spool::age::{self, Aging, Boot, Moment};
use crate::ship::spool::error::SpoolError;
use crate::ship::spool::files::{self, LIST, SEGMENT};
use crate::ship::spool::format::acks::{self, Entry};
use crate::ship::spool::format::{self, HeaderState, Item, SegmentReader, Short, to_u64};
use crate::ship::spool::identity::{self, Identity};
use crate::ship::spool::segment::{Bits, MOST_SPAN, Place, Segment, Stage, Tally};

/// The longest list that is read, bytes: an entry for each number that a segment may span.
pub(super) const MOST_LIST_BYTES: u64 = MOST_SPAN * 20;

/// What is read of a file at once.
const READ_BYTES: usize = 256 << 10;

/// What a start found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// Messages that are still to be delivered.
    pub recovered: Tally,
    /// Messages that were about to be written when the last run was killed.
    pub lost: Tally,
    /// Messages whose bytes are not what was written. Bytes that belong to no known message count as bytes alone.
    pub damaged: Tally,
    /// Files of another version of kongtap, or that cannot be opened: left alone.
    pub foreign: u64,
    /// Whether the last run closed the spool. If not, what came in its last hundredth of a second was not written, and not counted.
    pub ended_well: bool,
    /// By destination.
    pub destinations: Vec<RecoveredDestination>,
}

/// What waits for one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecoveredDestination {
    /// Scheme, host and port.
    pub endpoint: String,
    /// Messages and their bytes.
    pub recovered: Tally,
    /// The age of the newest.
    pub newest_seconds: u64,
}

/// A destination's segments, oldest first.
#[derive(Debug)]
pub(super) struct FoundLine {
    pub(super) identity: Identity,
    pub(super) endpoint: String,
    pub(super) segments: VecDeque<Segment>,
}

/// All that a directory holds.
#[derive(Debug, Default)]
pub(super) struct FoundSpool {
    pub(super) lines: Vec<FoundLine>,
    /// Higher than any that is taken.
    pub(super) next_number: u64,
    pub(super) recovery: Recovery,
}

/// What the reading is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present<'a> {
    pub(super) now: Moment,
    pub(super) boot: &'a [u8; 16],
    pub(super) max_age: Duration,
}

pub(super) fn recover(directory: &Path, present: Present<'_>) -> Result<FoundSpool, SpoolError> {
    let mut found = FoundSpool {
        next_number: 1,
        ..FoundSpool::default()
    };
    for name in names(directory)? {
        let Some(identity) = Identity::of_name(&name) else {
            continue;
        };
        let below = directory.join(&name);
        let mut segments = VecDeque::new();
        let files = names(&below)?;
        let numbers: BTreeMap<u64, BTreeSet<&str>> = files
            .iter()
            .filter_map(|name| files::number_of(name))
            .fold(BTreeMap::new(), |mut all, (number, kind)| {
                all.entry(number).or_default().insert(kind);
                all
            });
        for (number, kinds) in numbers {
            found.next_number = found.next_number.max(number.saturating_add(1));
            if !kinds.contains(SEGMENT) {
                files::remove(directory, identity, number);
                continue;
            }
            match segment(directory, identity, number, present, &mut found.recovery) {
                Ok(Some(segment)) if !segment.wanted.is_nothing() => segments.push_back(segment),
                Ok(Some(_)) => files::remove(directory, identity, number),
                Ok(None) => {}
                Err(error) => {
                    // The others are not to suffer for it.
                    tracing::warn!(%error, "A file of the spool cannot be read, and is left alone.");
                    found.recovery.foreign += 1;
                }
            }
        }
        if segments.is_empty() {
            // Only an empty directory goes.
            drop(fs::remove_file(below.join(identity::ENDPOINT_NAME)));
            drop(fs::remove_dir(&below));
            continue;
        }
        let endpoint = identity::noted_endpoint(&below);
        let recovered = segments.iter().fold(Tally::default(), |mut all, segment| {
            all.add(segment.wanted);
            all
        });
        let newest = segments
            .iter()
            .map(|segment| segment.newest.at(present.now.instant));
        found.recovery.recovered.add(recovered);
        found.recovery.destinations.push(RecoveredDestination {
            endpoint: endpoint.clone(),
            recovered,
            newest_seconds: newest.min().unwrap_or_default().as_secs(),
        });
        found.lines.push(FoundLine {
            identity,
            endpoint,
            segments,
        });
    }
    Ok(found)
}

fn names(directory: &Path) -> Result<Vec<String>, SpoolError> {
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    };
    match list() {
        // A file with one of our names: none of ours.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(Vec::new()),
        other => other.map_err(SpoolError::disk("list", directory)),
    }
}

/// Reads one segment through. `None`: it is left alone.
fn segment(
    directory: &Path,
    identity: Identity,
    number: u64,
    present: Present<'_>,
    recovery: &mut Recovery,
) -> Result<Option<Segment>, SpoolError> {
    let path = files::path(directory, identity, number, SEGMENT);
    let disk = |source| SpoolError::disk("read", &path)(source);
    let file = File::open(&path).map_err(disk)?;
    let file_bytes = file.metadata().map_err(disk)?.len();
    let mut input = BufReader::with_capacity(READ_BYTES, file);
    let header = match format::read_header(&mut input).map_err(disk)? {
        HeaderState::Ours(header) if header.number == number => header,
        HeaderState::Foreign => {
            tracing::warn!(path = %path.display(), "A file of the spool is of another version of kongtap, and is left alone.");
            recovery.foreign += 1;
            return Ok(None);
        }
        HeaderState::Ours(_) | HeaderState::Damaged => {
            // Without its header nothing in it can be proven. One that is shorter was never written to.
            if file_bytes >= files::first_batch() {
                recovery.damaged.bytes += file_bytes;
            }
            files::remove(directory, identity, number);
            return Ok(None);
        }
    };
    let list_path = files::path(directory, identity, number, LIST);
    let list = List::read(&list_path, &header).map_err(SpoolError::disk("read", &list_path))?;

    let boot = Boot::of(&header.boot, present.boot);
    let newest = Aging::found(Duration::ZERO, present.now.instant, present.max_age);
    let mut segment = Segment::new(header, Stage::Closed, boot, newest);
    segment.file_bytes = file_bytes;
    segment.list_bytes = list.whole_bytes;
    let mut reader = SegmentReader::at(input, &header, header.seal(), files::first_batch());
    let mut youngest: Option<Duration> = None;
    let mut missing = Missing::default();
    loop {
        match reader.next() {
            Ok(None) => break,
            Ok(Some(Item::Batch { offset, first_seq })) => segment.mark(first_seq, offset),
            Ok(Some(Item::Record(record))) => {
                let age = age::age(record.written, boot, present.now.written);
                youngest = Some(youngest.map_or(age, |youngest| youngest.min(age)));
                if list.is_done(&header, record.seq) {
                    missing.done_and_read += 1;
                    segment.add_done(record.seq);
                } else {
                    segment.add(record.seq, to_u64(record.json.len()), Place::Waiting);
                }
            }
            Ok(Some(Item::Short(short))) => missing.shorts.push(short),
            Ok(Some(Item::Tail { offset, bytes })) => missing.tail = Some((offset, bytes)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "A file of the spool cannot be read to its end.");
                missing.tail = Some((reader.offset(), file_bytes.saturating_sub(reader.offset())));
                break;
            }
        }
    }
    segment.newest = Aging::found(youngest.unwrap_or_default(), present.now.instant, present.max_age);
    let entries = missing.count(&list, recovery);
    if !segment.wanted.is_nothing() {
        let mut bytes = Vec::new();
        entries
            .iter()
            .for_each(|entry| entry.put(&mut bytes, header.seal()));
        // Also cuts an entry in part off, so that the next one stands where it is looked for.
        match files::write_list(&list_path, list.whole_bytes, &bytes) {
            Ok(length) => segment.list_bytes = length,
            Err(error) if list.is_there || !entries.is_empty() => {
                segment.list_is_behind = true;
                tracing::warn!(%error, "What is lost in the spool cannot be noted there; the next start counts it again.");
            }
            Err(_) => {}
        }
        if let Some((offset, _)) = missing.tail {
            let cut = OpenOptions::new()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_len(offset));
            if cut.is_ok() {
                segment.file_bytes = offset;
            }
        }
    }
    Ok(Some(segment))
}

/// What a segment lacks.
#[derive(Debug, Default)]
struct Missing {
    shorts: Vec<Short>,
    tail: Option<(u64, u64)>,
    done_and_read: u64,
}

impl Missing {
    /// Counts what was not counted before. Gives the entries that note it.
    fn count(&self, list: &List, recovery: &mut Recovery) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut lost = Tally::default();
        let mut damaged = Tally::default();
        for short in self
            .shorts
            .iter()
            .filter(|short| !list.counted.contains(&short.offset))
        {
            lost.add(Tally {
                messages: short.lost_messages,
                bytes: short.lost_bytes,
            });
            damaged.add(Tally {
                messages: short.damaged_messages,
                bytes: short.damaged_bytes,
            });
            entries.push(Entry::Counted { offset: short.offset });
        }
        if let Some((offset, bytes)) = self.tail.filter(|(offset, _)| !list.counted.contains(offset)) {
            damaged.bytes += bytes;
            entries.push(Entry::Counted { offset });
        }
        // What was delivered is no loss, even if it cannot be read any more.
        let delivered = list.done.count().saturating_sub(self.done_and_read);
        let of_damaged = delivered.min(damaged.messages);
        damaged.messages -= of_damaged;
        lost.messages = lost.messages.saturating_sub(delivered - of_damaged);
        recovery.lost.add(lost);
        recovery.damaged.add(damaged);
        entries
    }
}

/// What a segment's list says.
#[derive(Debug, Default)]
struct List {
    is_there: bool,
    done: Bits,
    counted: BTreeSet<u64>,
    whole_bytes: u64,
}

impl List {
    fn read(path: &Path, header: &format::Header) -> io::Result<Self> {
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(file) => file.take(MOST_LIST_BYTES).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let (entries, whole) = acks::read(&bytes, header.seal());
        let mut list = Self {
            is_there: true,
            whole_bytes: to_u64(whole),
            ..Self::default()
        };
        for entry in entries {
            match entry {
                Entry::Done { first, count } => {
                    let from = first.saturating_sub(header.first_seq);
                    let to = from.saturating_add(count.into()).min(MOST_SPAN);
                    (from..to).for_each(|index| list.done.insert(index));
                }
                Entry::Counted { offset } => list.counted.extend([offset]),
            }
        }
        Ok(list)
    }

    fn is_done(&self, header: &format::Header, seq: u64) -> bool {
        seq.checked_sub(header.first_seq)
            .is_some_and(|index| self.done.has(index))
    }
}
