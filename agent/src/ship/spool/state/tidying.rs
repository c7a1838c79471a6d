//! What has to go: segments that are done with, too old, or in the way of newer ones.
//!
//! In: the time, and how much room is wanted. Out: files to remove, and what is lost with them.

use std::time::Instant;

use super::line::Line;
use super::{Condemned, DestinationKey, Loss, State};
use crate::ship::spool::segment::{Stage, Tally};
use crate::telemetry::ledger::DropReason;

/// A growing segment of which nothing is wanted any more is left behind from this size on, so that its pages need not reach the disk.
const LEAVE_BYTES: u64 = 4 << 20;

impl State {
    /// Nothing more is written to a destination's growing segment.
    pub(in crate::ship::spool) fn close_segment(&mut self, key: DestinationKey) {
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
    pub(in crate::ship::spool) fn close_all(&mut self) {
        for at in 0..u32::try_from(self.lines.len()).unwrap_or(u32::MAX) {
            self.close_segment(DestinationKey(at));
        }
    }

    /// The destinations whose growing segment is not worth growing.
    pub(in crate::ship::spool) fn left_behind(&self) -> Vec<DestinationKey> {
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
    pub(in crate::ship::spool) fn make_room(&mut self, bytes: u64) {
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
    pub(in crate::ship::spool) fn expire(&mut self, now: Instant) {
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
    pub(super) fn remove(&mut self, key: DestinationKey, at: usize, reason: Option<DropReason>) {
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

    pub(super) fn lose(&mut self, reason: DropReason, tally: Tally) {
        if !tally.is_nothing() {
            self.counters.lose(reason, tally);
            self.losses.push(Loss { reason, tally });
        }
    }

    /// Files that are to go, and what went with them.
    pub(in crate::ship::spool) fn take_losses(&mut self) -> (Vec<Condemned>, Vec<Loss>) {
        (
            std::mem::take(&mut self.condemned),
            std::mem::take(&mut self.losses),
        )
    }
}
