//! What the spool knows, without its files: what is to be written, what is written, and what of it is still wanted.
//!
//! In: messages, what becomes of them, and what the disk did. Out: work for the writer, and losses. No IO, no clock, no lock: `spool`
//! keeps it behind one, which is held for moments only.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::plugin::Destination;
use crate::ship::spool::age::{Aging, Boot};
use crate::ship::spool::error::DiskFault;
use crate::ship::spool::format::{Flags, Header, MOST_MESSAGE_BYTES, to_u64};
use crate::ship::spool::identity::Identity;
use crate::ship::spool::segment::{Place, Segment, Stage, Tally};
use crate::ship::spool::stats::Counters;
use crate::telemetry::ledger::DropReason;

pub(super) mod reading;

/// Messages that may wait to be written. More go on in memory alone.
pub(crate) const MOST_UNWRITTEN_MESSAGES: usize = 65_536;

/// Their bytes.
pub(crate) const MOST_UNWRITTEN_BYTES: u64 = 16 << 20;

/// Destinations of one run, with those that were found. Messages of more go on in memory alone.
pub(crate) const MOST_DESTINATIONS: usize = 1024;

/// A growing segment of which nothing is wanted any more is left behind from this size on, so that its pages need not reach the disk.
const LEAVE_BYTES: u64 = 4 << 20;

/// A destination, by its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DestinationKey(u32);

/// A message in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SpoolId {
    pub(super) destination: DestinationKey,
    json_bytes: u32,
    pub(super) seq: u64,
}

impl SpoolId {
    fn bytes(self) -> u64 {
        self.json_bytes.into()
    }
}

/// Whether the caller can keep a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    Room,
    Full,
}

/// What became of a message that was offered to the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It is on its way to the disk; the caller keeps it in memory.
    Held(SpoolId),
    /// It is on its way to the disk, and the spool gives it back in its turn: others wait there before it, or the caller has no room.
    Waiting,
    /// It stays in memory alone.
    Refused,
}

/// Messages that are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) reason: DropReason,
    pub(crate) tally: Tally,
}

/// A message on its way to a file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) flags: Flags,
    pub(super) unix_ms: u64,
    pub(super) json: Bytes,
    place: Place,
}

impl Entry {
    fn bytes(&self) -> u64 {
        to_u64(self.json.len())
    }
}

/// What has happened to a message while it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    Done,
    Released,
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) identity: Identity,
    pub(super) endpoint: String,
    /// Whether a configuration of this run posts there.
    pub(super) is_configured: bool,
    pub(super) next_seq: u64,
    /// Nothing before it waits on the disk.
    next_read: u64,
    /// On the disk alone, or on its way there.
    waiting: Tally,
    unwritten: VecDeque<Entry>,
    /// First and last number of what the writer has.
    writing: Option<(u64, u64)>,
    meanwhile: Vec<(SpoolId, Meanwhile)>,
    pub(super) segments: VecDeque<Segment>,
    /// Done with, not in the list yet.
    unlisted: Vec<u64>,
}

/// What the writer has to write for one destination.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) key: DestinationKey,
    pub(super) identity: Identity,
    pub(super) endpoint: String,
    pub(super) entries: Vec<Entry>,
    pub(super) lists: Vec<ListWork>,
}

/// Entries for the list of one segment.
#[derive(Debug)]
pub(super) struct ListWork {
    pub(super) header: Header,
    /// Where they go: what stands there and behind it is none of ours.
    pub(super) offset: u64,
    pub(super) entries: Vec<super::format::acks::Entry>,
}

/// A file that is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condemned {
    pub(super) identity: Identity,
    pub(super) number: u64,
}

/// Why nothing is written at the moment.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: DiskFault,
    pub(super) text: String,
    pub(super) at_unix_ms: u64,
    /// When it is tried again; `None`: it works again.
    pub(super) until: Option<Instant>,
}

/// Bounds of the spool, as the state needs them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) bytes: u64,
    pub(super) segment_bytes: u64,
    pub(super) max_age: Duration,
}

#[derive(Debug)]
pub(super) struct State {
    bounds: Bounds,
    pub(super) lines: Vec<Line>,
    by_identity: HashMap<Identity, DestinationKey>,
    by_destination: HashMap<Arc<Destination>, DestinationKey>,
    pub(super) unwritten: Tally,
    pub(super) disk_bytes: u64,
    pub(super) next_number: u64,
    pub(super) fault: Option<Fault>,
    pub(super) counters: Counters,
    condemned: Vec<Condemned>,
    losses: Vec<Loss>,
    has_unlisted: bool,
    /// Nothing is taken any more.
    pub(super) is_closed: bool,
}

impl State {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            lines: Vec::new(),
            by_identity: HashMap::new(),
            by_destination: HashMap::new(),
            unwritten: Tally::default(),
            disk_bytes: 0,
            next_number: 1,
            fault: None,
            counters: Counters::default(),
            condemned: Vec::new(),
            losses: Vec::new(),
            has_unlisted: false,
            is_closed: false,
        }
    }

    /// Adds what a start found.
    pub(super) fn adopt(&mut self, identity: Identity, endpoint: String, segments: VecDeque<Segment>) {
        let mut line = Line::new(identity, endpoint);
        for segment in &segments {
            self.disk_bytes = self.disk_bytes.saturating_add(segment.disk_bytes());
            line.waiting.add(segment.waiting);
            line.next_seq = line.next_seq.max(segment.last_seq.saturating_add(1));
        }
        line.next_read = segments.front().map_or(0, |segment| segment.header.first_seq);
        line.segments = segments;
        self.insert(line);
    }

    fn insert(&mut self, line: Line) -> Option<DestinationKey> {
        if self.lines.len() >= MOST_DESTINATIONS {
            return None;
        }
        let key = DestinationKey(u32::try_from(self.lines.len()).ok()?);
        self.by_identity.insert(line.identity, key);
        self.lines.push(line);
        Some(key)
    }

    /// The key of a destination that was seen before.
    pub(super) fn known(&self, destination: &Arc<Destination>) -> Option<DestinationKey> {
        self.by_destination.get(destination).copied()
    }

    /// The key of a destination; `None` when there are too many.
    pub(super) fn learn(
        &mut self,
        destination: &Arc<Destination>,
        identity: Identity,
    ) -> Option<DestinationKey> {
        let endpoint = super::identity::endpoint(destination);
        let key = match self.by_identity.get(&identity) {
            Some(key) => *key,
            None => self.insert(Line::new(identity, endpoint.clone()))?,
        };
        let line = self.line_mut(key)?;
        line.is_configured = true;
        line.endpoint = endpoint;
        if self.by_destination.len() >= MOST_DESTINATIONS {
            // They come again when they are used.
            self.by_destination.clear();
        }
        self.by_destination.insert(Arc::clone(destination), key);
        Some(key)
    }

    pub(super) fn line(&self, key: DestinationKey) -> Option<&Line> {
        self.lines.get(usize::try_from(key.0).ok()?)
    }

    fn line_mut(&mut self, key: DestinationKey) -> Option<&mut Line> {
        self.lines.get_mut(usize::try_from(key.0).ok()?)
    }

    /// Messages that wait for this destination on the disk alone.
    pub(super) fn waiting(&self, key: DestinationKey) -> Tally {
        self.line(key).map_or_else(Tally::default, |line| line.waiting)
    }

    pub(super) fn append(
        &mut self,
        key: DestinationKey,
        json: &Bytes,
        flags: Flags,
        memory: Memory,
        now: Instant,
        unix_ms: u64,
    ) -> Appended {
        let bytes = to_u64(json.len());
        let most = to_u64(MOST_MESSAGE_BYTES).min(self.bounds.segment_bytes / 2);
        let is_behind = self.unwritten.messages >= to_u64(MOST_UNWRITTEN_MESSAGES)
            || self.unwritten.bytes.saturating_add(bytes) > MOST_UNWRITTEN_BYTES;
        let is_faulty = self
            .fault
            .as_ref()
            .and_then(|fault| fault.until)
            .is_some_and(|until| now < until);
        let Some(line) = self.lines.get_mut(usize::try_from(key.0).unwrap_or(usize::MAX)) else {
            return Appended::Refused;
        };
        if json.is_empty() || self.is_closed {
            return Appended::Refused; // no message is empty; here that stands for one that is done with
        }
        let refusal = if bytes > most {
            Some(&mut self.counters.too_large)
        } else if is_faulty {
            Some(&mut self.counters.faulty)
        } else if is_behind {
            Some(&mut self.counters.behind)
        } else {
            None
        };
        if let Some(count) = refusal {
            *count += 1;
            return Appended::Refused;
        }
        let Ok(json_bytes) = u32::try_from(json.len()) else {
            return Appended::Refused;
        };
        let id = SpoolId {
            destination: key,
            json_bytes,
            seq: line.next_seq,
        };
        line.next_seq += 1;
        let place = match memory {
            Memory::Room if line.waiting.is_nothing() => Place::Held,
            Memory::Room | Memory::Full => Place::Waiting,
        };
        line.unwritten.push_back(Entry {
            seq: id.seq,
            flags,
            unix_ms,
            json: json.clone(),
            place,
        });
        self.unwritten.add(Tally::one(bytes));
        self.counters.accepted += 1;
        match place {
            Place::Held => Appended::Held(id),
            Place::Waiting => {
                line.waiting.add(Tally::one(bytes));
                Appended::Waiting
            }
        }
    }

    /// A message is done with, whatever became of it.
    pub(super) fn acknowledge(&mut self, id: SpoolId) {
        let Some(line) = self
            .lines
            .get_mut(usize::try_from(id.destination.0).unwrap_or(usize::MAX))
        else {
            return;
        };
        if let Some(at) = line.unwritten_at(id.seq) {
            // It need not be written at all.
            if let Some(entry) = line.unwritten.get_mut(at).filter(|entry| !entry.json.is_empty()) {
                entry.json = Bytes::new();
                self.unwritten.take(Tally::one(id.bytes()));
                self.counters.spared += 1;
            }
            while line.unwritten.front().is_some_and(|entry| entry.json.is_empty()) {
                line.unwritten.pop_front();
            }
            return;
        }
        if line.is_writing(id.seq) {
            line.meanwhile.push((id, Meanwhile::Done));
            return;
        }
        self.finish(id);
    }

    fn finish(&mut self, id: SpoolId) {
        let Some(line) = self
            .lines
            .get_mut(usize::try_from(id.destination.0).unwrap_or(usize::MAX))
        else {
            return;
        };
        let Some(at) = line.segment_at(id.seq) else {
            return; // it has given way to others, or was never written
        };
        let Some(segment) = line.segments.get_mut(at) else {
            return;
        };
        if !segment.finish(id.seq, id.bytes()) {
            return;
        }
        if segment.wanted.is_nothing() && segment.stage == Stage::Closed {
            self.remove(id.destination, at, None);
        } else {
            line.unlisted.push(id.seq);
            self.has_unlisted = true;
        }
    }

    /// The caller lets go of a message that it held. Whether the spool has it, so that it comes again in its turn.
    pub(super) fn put_back(&mut self, id: SpoolId) -> bool {
        let Some(line) = self.line_mut(id.destination) else {
            return false;
        };
        if let Some(at) = line.unwritten_at(id.seq) {
            let Some(entry) = line.unwritten.get_mut(at).filter(|entry| !entry.json.is_empty()) else {
                return false;
            };
            entry.place = Place::Waiting;
            line.waiting.add(Tally::one(id.bytes()));
            line.next_read = line.next_read.min(id.seq);
            return true;
        }
        if line.is_writing(id.seq) {
            line.meanwhile.push((id, Meanwhile::Released));
            line.waiting.add(Tally::one(id.bytes()));
            return true;
        }
        let was_held = line
            .segment_at(id.seq)
            .and_then(|at| line.segments.get_mut(at))
            .is_some_and(|segment| segment.release(id.seq, id.bytes()));
        if was_held {
            line.waiting.add(Tally::one(id.bytes()));
            line.next_read = line.next_read.min(id.seq);
        }
        was_held
    }

    /// Whether there is anything to write.
    pub(super) const fn has_work(&self) -> bool {
        self.unwritten.messages > 0 || self.has_unlisted
    }

    /// What is to be written now. Each [`Work`]'s entries are told of by [`Self::written`] or [`Self::unwritable`], and then
    /// [`Self::end_writing`].
    pub(super) fn take_work(&mut self) -> Vec<Work> {
        self.unwritten = Tally::default();
        self.has_unlisted = false;
        let mut work = Vec::new();
        for (at, line) in self.lines.iter_mut().enumerate() {
            let entries: Vec<Entry> = std::mem::take(&mut line.unwritten)
                .into_iter()
                .filter(|entry| !entry.json.is_empty())
                .collect();
            line.writing = entries
                .first()
                .zip(entries.last())
                .map(|(first, last)| (first.seq, last.seq));
            let lists = line.take_lists();
            let Ok(at) = u32::try_from(at) else { break };
            if !entries.is_empty() || !lists.is_empty() {
                work.push(Work {
                    key: DestinationKey(at),
                    identity: line.identity,
                    endpoint: line.endpoint.clone(),
                    entries,
                    lists,
                });
            }
        }
        work
    }

    /// A segment was begun. Gives its number.
    pub(super) const fn next_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// A batch stands in a segment, from `offset` to `end`.
    pub(super) fn written(
        &mut self,
        key: DestinationKey,
        header: &Header,
        (offset, end): (u64, u64),
        entries: &[Entry],
        now: Instant,
    ) {
        let counters = &mut self.counters;
        let Some(line) = self.lines.get_mut(usize::try_from(key.0).unwrap_or(usize::MAX)) else {
            return;
        };
        let is_new = line
            .segments
            .back()
            .is_none_or(|segment| segment.header.number != header.number);
        if is_new {
            if let Some(last) = line.segments.back_mut() {
                last.stage = Stage::Closed;
            }
            let segment = Segment::new(*header, Stage::Growing, Boot::Same, Aging::born(now));
            line.segments.push_back(segment);
            counters.segments += 1;
        }
        let Some(segment) = line.segments.back_mut() else {
            return;
        };
        segment.newest = Aging::born(now);
        self.disk_bytes = self
            .disk_bytes
            .saturating_add(end.saturating_sub(segment.file_bytes));
        segment.file_bytes = end;
        segment.mark(
            entries.first().map_or(header.first_seq, |entry| entry.seq),
            offset,
        );
        for entry in entries {
            segment.add(entry.seq, entry.bytes(), entry.place);
            segment.unsynced.add(Tally::one(entry.bytes()));
            counters.written.add(Tally::one(entry.bytes()));
        }
    }

    /// These could not be written. Those that nobody else has are lost.
    pub(super) fn unwritable(&mut self, key: DestinationKey, entries: &[Entry]) {
        let Some(line) = self.lines.get_mut(usize::try_from(key.0).unwrap_or(usize::MAX)) else {
            return;
        };
        let mut lost = Tally::default();
        for entry in entries {
            let note = line.meanwhile.iter().position(|(id, _)| id.seq == entry.seq);
            let note = note.map(|at| line.meanwhile.swap_remove(at).1);
            self.counters.unwritten += 1;
            if entry.place == Place::Waiting || note == Some(Meanwhile::Released) {
                lost.add(Tally::one(entry.bytes()));
            }
        }
        line.waiting.take(lost);
        self.lose(DropReason::SpoolFailed, lost);
    }

    /// All of a destination's work was told of.
    pub(super) fn end_writing(&mut self, key: DestinationKey) {
        let Some(line) = self.line_mut(key) else {
            return;
        };
        line.writing = None;
        let meanwhile = std::mem::take(&mut line.meanwhile);
        for (id, what) in meanwhile {
            match what {
                Meanwhile::Done => self.finish(id),
                Meanwhile::Released => self.release_written(id),
            }
        }
    }

    fn release_written(&mut self, id: SpoolId) {
        let Some(line) = self.line_mut(id.destination) else {
            return;
        };
        line.next_read = line.next_read.min(id.seq);
        let is_there = line
            .segment_at(id.seq)
            .and_then(|at| line.segments.get_mut(at))
            .is_some_and(|segment| segment.release(id.seq, id.bytes()));
        if !is_there {
            // Its segment has given way already.
            let one = Tally::one(id.bytes());
            line.waiting.take(one);
            self.lose(DropReason::SpoolFull, one);
        }
    }

    /// A list has grown, or could not.
    pub(super) fn listed(&mut self, key: DestinationKey, number: u64, outcome: Result<u64, ()>) {
        let Some(line) = self.lines.get_mut(usize::try_from(key.0).unwrap_or(usize::MAX)) else {
            return;
        };
        let Some(segment) = line
            .segments
            .iter_mut()
            .find(|segment| segment.header.number == number)
        else {
            return;
        };
        match outcome {
            Ok(length) => {
                self.disk_bytes = self
                    .disk_bytes
                    .saturating_add(length)
                    .saturating_sub(segment.list_bytes);
                segment.list_bytes = length;
            }
            Err(()) => segment.list_is_behind = true,
        }
    }

    /// Nothing more is written to a destination's growing segment.
    pub(super) fn close_segment(&mut self, key: DestinationKey) {
        let Some(line) = self.line_mut(key) else {
            return;
        };
        let Some(last) = line.segments.back_mut() else {
            return;
        };
        last.stage = Stage::Closed;
        if last.wanted.is_nothing() {
            let at = line.segments.len() - 1;
            self.remove(key, at, None);
        }
    }

    /// Nothing more is written to any segment.
    pub(super) fn close_all(&mut self) {
        for at in 0..u32::try_from(self.lines.len()).unwrap_or(u32::MAX) {
            self.close_segment(DestinationKey(at));
        }
    }

    /// The destinations whose growing segment is not worth growing.
    pub(super) fn left_behind(&self) -> Vec<DestinationKey> {
        let is_left = |line: &Line| {
            line.segments.back().is_some_and(|segment| {
                segment.stage == Stage::Growing
                    && segment.wanted.is_nothing()
                    && segment.file_bytes >= LEAVE_BYTES.min(self.bounds.segment_bytes / 2)
            })
        };
        let lines = self.lines.iter().enumerate().filter(|(_, line)| is_left(line));
        lines
            .filter_map(|(at, _)| u32::try_from(at).ok().map(DestinationKey))
            .collect()
    }

    /// Makes room for `bytes` more: the oldest segments give way, whoever they belong to.
    pub(super) fn make_room(&mut self, bytes: u64) {
        while self.disk_bytes.saturating_add(bytes) > self.bounds.bytes {
            let oldest = self
                .lines
                .iter()
                .enumerate()
                .filter_map(|(at, line)| Some((line.segments.front()?.header.number, at)))
                .min();
            let Some(key) = oldest.and_then(|(_, at)| u32::try_from(at).ok()) else {
                return;
            };
            self.remove(DestinationKey(key), 0, Some(DropReason::SpoolFull));
        }
    }

    /// Segments whose newest message is too old go.
    pub(super) fn expire(&mut self, now: Instant) {
        for at in 0..u32::try_from(self.lines.len()).unwrap_or(u32::MAX) {
            let key = DestinationKey(at);
            let max_age = self.bounds.max_age;
            let is_old = |line: &Line| {
                line.segments
                    .front()
                    .is_some_and(|segment| segment.newest.at(now) > max_age)
            };
            while self.line(key).is_some_and(is_old) {
                self.remove(key, 0, Some(DropReason::SpoolExpired));
            }
        }
    }

    /// A segment goes. What only it has is lost, for that reason.
    fn remove(&mut self, key: DestinationKey, at: usize, reason: Option<DropReason>) {
        let Some(line) = self.line_mut(key) else {
            return;
        };
        let Some(segment) = line.segments.remove(at) else {
            return;
        };
        line.waiting.take(segment.waiting);
        let identity = line.identity;
        let number = segment.header.number;
        self.condemned.push(Condemned { identity, number });
        self.disk_bytes = self.disk_bytes.saturating_sub(segment.disk_bytes());
        if let Some(reason) = reason {
            self.lose(reason, segment.waiting);
        }
    }

    fn lose(&mut self, reason: DropReason, tally: Tally) {
        if !tally.is_nothing() {
            self.counters.lose(reason, tally);
            self.losses.push(Loss { reason, tally });
        }
    }

    /// Files that are to go, and what went with them.
    pub(super) fn take_losses(&mut self) -> (Vec<Condemned>, Vec<Loss>) {
        (
            std::mem::take(&mut self.condemned),
            std::mem::take(&mut self.losses),
        )
    }

    /// Whether anything wanted is not certain to be on the disk.
    pub(super) fn is_unsynced(&self) -> bool {
        self.segments().any(|(_, segment)| !segment.unsynced.is_nothing())
    }

    /// The segments that are to be synchronised. Each is told of by [`Self::synced`].
    pub(super) fn begin_sync(&mut self) -> Vec<Condemned> {
        let mut segments = Vec::new();
        for line in &mut self.lines {
            for segment in &mut line.segments {
                if !segment.unsynced.is_nothing() {
                    segment.syncing = std::mem::take(&mut segment.unsynced);
                    segments.push(Condemned {
                        identity: line.identity,
                        number: segment.header.number,
                    });
                }
            }
        }
        segments
    }

    /// What was written of a segment before [`Self::begin_sync`] is on the disk, or not.
    pub(super) fn synced(&mut self, of: Condemned, outcome: Result<(), ()>) {
        let Some(line) = self
            .by_identity
            .get(&of.identity)
            .and_then(|key| self.lines.get_mut(usize::try_from(key.0).ok()?))
        else {
            return;
        };
        for segment in &mut line.segments {
            if segment.header.number == of.number {
                let syncing = std::mem::take(&mut segment.syncing);
                if outcome.is_err() {
                    segment.unsynced.add(syncing);
                }
            }
        }
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = (&Line, &Segment)> {
        self.lines
            .iter()
            .flat_map(|line| line.segments.iter().map(move |segment| (line, segment)))
    }
}

impl Line {
    fn new(identity: Identity, endpoint: String) -> Self {
        Self {
            identity,
            endpoint,
            is_configured: false,
            next_seq: 1,
            next_read: 0,
            waiting: Tally::default(),
            unwritten: VecDeque::new(),
            writing: None,
            meanwhile: Vec::new(),
            segments: VecDeque::new(),
            unlisted: Vec::new(),
        }
    }

    pub(super) const fn waiting(&self) -> Tally {
        self.waiting
    }

    fn unwritten_at(&self, seq: u64) -> Option<usize> {
        self.unwritten.binary_search_by_key(&seq, |entry| entry.seq).ok()
    }

    fn is_writing(&self, seq: u64) -> bool {
        self.writing
            .is_some_and(|(first, last)| (first..=last).contains(&seq))
    }

    fn segment_at(&self, seq: u64) -> Option<usize> {
        let at = self
            .segments
            .partition_point(|segment| segment.header.first_seq <= seq)
            .checked_sub(1)?;
        self.segments
            .get(at)
            .filter(|segment| seq <= segment.last_seq)
            .map(|_| at)
    }

    fn take_lists(&mut self) -> Vec<ListWork> {
        let mut unlisted = std::mem::take(&mut self.unlisted);
        unlisted.sort_unstable();
        let mut lists = Vec::new();
        for segment in &mut self.segments {
            let from = unlisted.partition_point(|seq| *seq < segment.header.first_seq);
            let to = unlisted.partition_point(|seq| *seq <= segment.last_seq);
            let numbers = unlisted.get_mut(from..to).unwrap_or_default();
            if numbers.is_empty() {
                continue;
            }
            let is_behind = std::mem::take(&mut segment.list_is_behind);
            lists.push(ListWork {
                header: segment.header,
                offset: if is_behind { 0 } else { segment.list_bytes },
                entries: if is_behind {
                    segment.list()
                } else {
                    super::format::acks::runs(numbers)
                },
            });
        }
        lists
    }
}
