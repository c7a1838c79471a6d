//! From memory to files: what is to be written, what was, and what is certain to be on the disk.
//!
//! In: the writer's and the synchronising thread's questions and reports. Out: work for them. What becomes of a message while it is
//! written is kept aside and made up for afterwards.

use std::time::Instant;

use super::line::{Entry, Meanwhile};
use super::{Condemned, DestinationKey, SpoolId, State, at};
use crate::ship::spool::age::{Aging, Boot};
use crate::ship::spool::format::{Header, acks};
use crate::ship::spool::identity::Identity;
use crate::ship::spool::segment::{Place, Segment, Stage, Tally};
use crate::telemetry::ledger::DropReason;

/// What the writer has to write for one destination.
#[derive(Debug)]
pub(in crate::ship::spool) struct Work {
    pub(in crate::ship::spool) key: DestinationKey,
    pub(in crate::ship::spool) identity: Identity,
    pub(in crate::ship::spool) endpoint: String,
    pub(in crate::ship::spool) entries: Vec<Entry>,
    pub(in crate::ship::spool) lists: Vec<ListWork>,
}

/// Entries for the list of one segment.
#[derive(Debug)]
pub(in crate::ship::spool) struct ListWork {
    pub(in crate::ship::spool) header: Header,
    /// Where they go: what stands there and behind it is none of ours.
    pub(in crate::ship::spool) offset: u64,
    pub(in crate::ship::spool) entries: Vec<acks::Entry>,
}

impl State {
    /// Whether there is anything to write.
    pub(in crate::ship::spool) const fn has_work(&self) -> bool {
        self.unwritten.messages > 0 || self.has_unlisted
    }

    /// What is to be written now. Each [`Work`]'s entries are told of by [`Self::written`] or [`Self::unwritable`], and then
    /// [`Self::end_writing`].
    pub(in crate::ship::spool) fn take_work(&mut self) -> Vec<Work> {
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
    pub(in crate::ship::spool) const fn next_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// A batch stands in a segment, from `offset` to `end`.
    pub(in crate::ship::spool) fn written(
        &mut self,
        key: DestinationKey,
        header: &Header,
        (offset, end): (u64, u64),
        entries: &[Entry],
        now: Instant,
    ) {
        let counters = &mut self.counters;
        let Some(line) = at(&mut self.lines, key) else {
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
    pub(in crate::ship::spool) fn unwritable(&mut self, key: DestinationKey, entries: &[Entry]) {
        let Some(line) = at(&mut self.lines, key) else {
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
    pub(in crate::ship::spool) fn end_writing(&mut self, key: DestinationKey) {
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

    /// A list has grown, or could not. Whether its segment is still there.
    pub(in crate::ship::spool) fn listed(
        &mut self,
        key: DestinationKey,
        number: u64,
        outcome: Result<u64, ()>,
    ) -> bool {
        let segment = at(&mut self.lines, key).and_then(|line| {
            let mut segments = line.segments.iter_mut();
            segments.find(|segment| segment.header.number == number)
        });
        let Some(segment) = segment else {
            return false;
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
        true
    }

    /// Whether anything wanted is not certain to be on the disk.
    pub(in crate::ship::spool) fn is_unsynced(&self) -> bool {
        self.segments().any(|(_, segment)| !segment.unsynced.is_nothing())
    }

    /// The segments that are to be synchronised. Each is told of by [`Self::synced`].
    pub(in crate::ship::spool) fn begin_sync(&mut self) -> Vec<Condemned> {
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
    pub(in crate::ship::spool) fn synced(&mut self, of: Condemned, outcome: Result<(), ()>) {
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
}
