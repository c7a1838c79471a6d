//! Which files hold what waits for a destination, and which of what was read there is still waited for.
//!
//! In: a destination; what was found in its files. Out: where to look; the messages that come back to memory. Between the two the files
//! are read without the lock: what was written, done with or removed meanwhile shows in the second step.

use std::time::Instant;

use super::{DestinationKey, SpoolId, State};
use crate::ship::spool::age::{Boot, GRACE};
use crate::ship::spool::format::{Header, Record, to_u64};
use crate::ship::spool::identity::Identity;
use crate::ship::spool::segment::{Bits, Stage, Tally};
use crate::telemetry::ledger::DropReason;

/// Where to look for what waits.
#[derive(Debug)]
pub(in crate::ship::spool) struct Plan {
    pub(in crate::ship::spool) identity: Identity,
    /// Nothing before it waits.
    pub(in crate::ship::spool) from: u64,
    pub(in crate::ship::spool) segments: Vec<PlannedSegment>,
}

/// A segment that holds some of it.
#[derive(Debug)]
pub(in crate::ship::spool) struct PlannedSegment {
    pub(in crate::ship::spool) header: Header,
    pub(in crate::ship::spool) boot: Boot,
    /// Where to begin.
    pub(in crate::ship::spool) offset: u64,
    /// How far the file was written.
    pub(in crate::ship::spool) file_bytes: u64,
    /// What in it does not wait, by its distance from the first number.
    pub(in crate::ship::spool) passed_over: Bits,
}

/// What was found in one segment.
#[derive(Debug)]
pub(in crate::ship::spool) struct Found {
    pub(in crate::ship::spool) number: u64,
    pub(in crate::ship::spool) records: Vec<(Record, std::time::Duration)>,
    pub(in crate::ship::spool) end: End,
}

/// How the look into a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ship::spool) enum End {
    /// There is more in it.
    Full,
    /// All that had been written by then was seen.
    Seen {
        /// How far that was.
        file_bytes: u64,
    },
    /// It cannot be read.
    Unreadable,
}

/// A message that comes back to memory.
#[derive(Debug)]
pub(in crate::ship::spool) struct Returned {
    pub(in crate::ship::spool) id: SpoolId,
    pub(in crate::ship::spool) record: Record,
    pub(in crate::ship::spool) age: std::time::Duration,
}

impl State {
    /// Where to look for what waits for a destination.
    pub(in crate::ship::spool) fn plan(&self, key: DestinationKey) -> Option<Plan> {
        let line = self.line(key)?;
        let segments: Vec<PlannedSegment> = line
            .segments
            .iter()
            .filter(|segment| !segment.waiting.is_nothing())
            .filter_map(|segment| {
                Some(PlannedSegment {
                    header: segment.header,
                    boot: segment.boot,
                    offset: segment.offset_of(line.next_read)?,
                    file_bytes: segment.file_bytes,
                    passed_over: segment.not_waiting(),
                })
            })
            .collect();
        Some(Plan {
            identity: line.identity,
            from: line.next_read,
            segments,
        })
    }

    /// Takes what was found by a plan. `started`: when this run began.
    pub(in crate::ship::spool) fn take_found(
        &mut self,
        key: DestinationKey,
        from: u64,
        found: Vec<Found>,
        now: Instant,
        started: Instant,
    ) -> Vec<Returned> {
        let max_age = self.bounds.max_age;
        let may_expire = now.saturating_duration_since(started) >= GRACE.min(max_age);
        let mut returned = Vec::new();
        let mut expired = Tally::default();
        let mut damaged = Tally::default();
        let mut last_seen = None;
        let mut to_finish = Vec::new();
        for Found { number, records, end } in found {
            let Some(line) = self.line_mut(key) else { break };
            let is_undisturbed = line.next_read == from;
            let Some(segment) = line
                .segments
                .iter_mut()
                .find(|segment| segment.header.number == number)
            else {
                continue; // it has given way meanwhile, and was counted
            };
            for (record, age) in records {
                last_seen = Some(record.seq);
                let bytes = to_u64(record.json.len());
                if !segment.hold(record.seq, bytes) {
                    continue;
                }
                let id = SpoolId {
                    destination: key,
                    json_bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
                    seq: record.seq,
                };
                line.waiting.take(Tally::one(bytes));
                if may_expire && age > max_age {
                    expired.add(Tally::one(bytes));
                    to_finish.push(id);
                } else {
                    returned.push(Returned { id, record, age });
                }
            }
            // What waits in a segment that was seen to its end, and was not found there, is gone.
            let is_gone = match end {
                End::Full => false,
                End::Seen { file_bytes } => is_undisturbed && file_bytes == segment.file_bytes,
                End::Unreadable => true,
            };
            if is_gone && !segment.waiting.is_nothing() {
                let gone = std::mem::take(&mut segment.waiting);
                segment.wanted.take(gone);
                line.waiting.take(gone);
                damaged.add(gone);
                let is_over = segment.wanted.is_nothing() && segment.stage == Stage::Closed;
                let at = line
                    .segments
                    .iter()
                    .position(|segment| segment.header.number == number);
                if let (true, Some(at)) = (is_over, at) {
                    self.remove(key, at, None);
                }
            }
        }
        if let (Some(last), Some(line)) = (last_seen, self.line_mut(key))
            && line.next_read == from
        {
            line.next_read = last.saturating_add(1);
        }
        for id in to_finish {
            self.finish(id);
        }
        self.lose(DropReason::SpoolExpired, expired);
        self.lose(DropReason::SpoolDamaged, damaged);
        self.counters.read_back += to_u64(returned.len());
        returned
    }
}
