//! What the spool knows, without its files: what is to be written, what is written, and what of it is still wanted.
//!
//! In: messages, what becomes of them, and what the disk did. Out: work for the writer, and losses. No IO, no clock, no lock: `spool`
//! keeps it behind one, which is held for moments only.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::plugin::Destination;
use crate::ship::spool::error::DiskFault;
use crate::ship::spool::format::{Flags, MOST_MESSAGE_BYTES, to_u64};
use crate::ship::spool::identity::Identity;
use crate::ship::spool::segment::{Place, Segment, Stage, Tally};
use crate::ship::spool::stats::Counters;
use crate::telemetry::ledger::DropReason;

mod line;
pub(super) mod reading;
mod tidying;
mod writing;

use line::Meanwhile;
pub(super) use line::{Entry, Line};
pub(super) use writing::Work;

/// Messages that may wait to be written. More go on in memory alone.
pub(crate) const MOST_UNWRITTEN_MESSAGES: usize = 65_536;

/// Their bytes.
pub(crate) const MOST_UNWRITTEN_BYTES: u64 = 16 << 20;

/// Destinations of one run, with those that were found. Messages of more go on in memory alone.
pub(crate) const MOST_DESTINATIONS: usize = 1024;

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

    /// Where configurations post to now.
    pub(super) fn set_configured(&mut self, keys: &[DestinationKey]) {
        for line in &mut self.lines {
            line.is_configured = false;
        }
        for key in keys {
            if let Some(line) = self.line_mut(*key) {
                line.is_configured = true;
            }
        }
    }

    pub(super) fn line(&self, key: DestinationKey) -> Option<&Line> {
        self.lines.get(usize::try_from(key.0).ok()?)
    }

    fn line_mut(&mut self, key: DestinationKey) -> Option<&mut Line> {
        at(&mut self.lines, key)
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
        let Some(line) = at(&mut self.lines, key) else {
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
        let Some(line) = at(&mut self.lines, id.destination) else {
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
        let Some(line) = at(&mut self.lines, id.destination) else {
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

    pub(super) fn segments(&self) -> impl Iterator<Item = (&Line, &Segment)> {
        self.lines
            .iter()
            .flat_map(|line| line.segments.iter().map(move |segment| (line, segment)))
    }
}

/// For borrowing one line without all of the state.
fn at(lines: &mut [Line], key: DestinationKey) -> Option<&mut Line> {
    lines.get_mut(usize::try_from(key.0).ok()?)
}
