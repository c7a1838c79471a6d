//! The table of watched processes, in memory that the probes share.
//!
//! The probes mark a worker that is born and unmark one that ends, in the very words that are written here; so each change
//! is one atomic instruction on either side, and none is lost. Deliberately absent: which processes.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::atomic::Ordering;

use aya::Ebpf;
use aya::maps::Map;
use kongtap_common::target;

use super::{CaptureError, take};
use crate::capture::ring::Mapping;

const TABLE_BYTES: usize = {
    #[expect(
        clippy::as_conversions,
        reason = "a small constant; conversions are not const"
    )]
    let words = target::WORDS as usize;
    words * 8
};

const NAME: &str = "TARGETS";

/// The table.
pub(super) struct TargetTable {
    words: Mapping,
}

impl TargetTable {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, CaptureError> {
        let Map::Array(map) = take(ebpf, NAME)? else {
            return Err(CaptureError::Missing(NAME));
        };
        let fd = map.fd().as_fd().as_raw_fd();
        // The memory outlives the descriptor.
        Mapping::new(fd, 0, TABLE_BYTES, libc::PROT_READ | libc::PROT_WRITE)
            .map(|words| Self { words })
            .map_err(|source| CaptureError::Shared { map: NAME, source })
    }

    /// Sets and clears bits of a process.
    pub(super) fn change(&self, tgid: u32, set: u64, clear: u64) -> Result<(), CaptureError> {
        let word = usize::try_from(target::word(tgid))
            .ok()
            .filter(|_| tgid != 0 && tgid < target::PIDS)
            .and_then(|index| self.words.word(index))
            .ok_or(CaptureError::Pid(tgid))?;
        let shift = target::shift(tgid);
        if set != 0 {
            word.fetch_or(set << shift, Ordering::AcqRel);
        }
        if clear != 0 {
            word.fetch_and(!(clear << shift), Ordering::AcqRel);
        }
        Ok(())
    }

    /// The bits of a process.
    pub(super) fn bits(&self, tgid: u32) -> u64 {
        usize::try_from(target::word(tgid))
            .ok()
            .and_then(|index| self.words.word(index))
            .map_or(0, |word| {
                word.load(Ordering::Acquire) >> target::shift(tgid) & target::MASK
            })
    }
}
