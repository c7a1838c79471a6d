//! One destination: what is to be written for it, what the writer has, and its segments.

use std::collections::VecDeque;

use bytes::Bytes;

use super::SpoolId;
use super::writing::ListWork;
use crate::ship::spool::format::acks;
use crate::ship::spool::format::{Flags, to_u64};
use crate::ship::spool::identity::Identity;
use crate::ship::spool::segment::{Place, Segment, Tally};

/// A message on its way to a file.
#[derive(Clone, Debug)]
pub(in crate::ship::spool) struct Entry {
    pub(in crate::ship::spool) seq: u64,
    pub(in crate::ship::spool) flags: Flags,
    pub(in crate::ship::spool) unix_ms: u64,
    pub(in crate::ship::spool) json: Bytes,
    pub(super) place: Place,
}

impl Entry {
    pub(super) fn bytes(&self) -> u64 {
        to_u64(self.json.len())
    }
}

/// What has happened to a message while it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meanwhile {
    Done,
    Released,
}

#[derive(Debug)]
pub(in crate::ship::spool) struct Line {
    pub(in crate::ship::spool) identity: Identity,
    pub(in crate::ship::spool) endpoint: String,
    /// Whether a configuration of this run posts there.
    pub(in crate::ship::spool) is_configured: bool,
    pub(in crate::ship::spool) next_seq: u64,
    /// Nothing before it waits on the disk.
    pub(super) next_read: u64,
    /// On the disk alone, or on its way there.
    pub(super) waiting: Tally,
    pub(super) unwritten: VecDeque<Entry>,
    /// First and last number of what the writer has.
    pub(super) writing: Option<(u64, u64)>,
    pub(super) meanwhile: Vec<(SpoolId, Meanwhile)>,
    pub(in crate::ship::spool) segments: VecDeque<Segment>,
    /// Done with, not in the list yet.
    pub(super) unlisted: Vec<u64>,
}

impl Line {
    pub(super) fn new(identity: Identity, endpoint: String) -> Self {
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

    pub(in crate::ship::spool) const fn waiting(&self) -> Tally {
        self.waiting
    }

    pub(super) fn unwritten_at(&self, seq: u64) -> Option<usize> {
        self.unwritten.binary_search_by_key(&seq, |entry| entry.seq).ok()
    }

    pub(super) fn is_writing(&self, seq: u64) -> bool {
        self.writing
            .is_some_and(|(first, last)| (first..=last).contains(&seq))
    }

    pub(super) fn segment_at(&self, seq: u64) -> Option<usize> {
        let at = self
            .segments
            .partition_point(|segment| segment.header.first_seq <= seq)
            .checked_sub(1)?;
        self.segments
            .get(at)
            .filter(|segment| seq <= segment.last_seq)
            .map(|_| at)
    }

    pub(super) fn take_lists(&mut self) -> Vec<ListWork> {
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
                    acks::runs(numbers)
                },
            });
        }
        lists
    }
}
