//! Whether the calling process is watched: the first thing that every probe asks, and for most the last.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use kongtap_common::target;

use crate::asm;
use crate::maps::TARGETS;

/// A thread of a watched process.
#[derive(Clone, Copy)]
pub struct Thread {
    /// Process and thread id, as the kernel packs them.
    pub pid_tgid: u64,
    /// Whether its OpenSSL calls are probed.
    pub tls: bool,
}

impl Thread {
    /// The process.
    #[inline(always)]
    pub fn tgid(self) -> u32 {
        (self.pid_tgid >> 32) as u32
    }
}

/// The current thread, if its process is watched.
#[inline(always)]
pub fn current() -> Option<Thread> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let bits = bits((pid_tgid >> 32) as u32);
    (bits & target::WATCHED != 0).then_some(Thread {
        pid_tgid,
        tls: bits & target::TLS != 0,
    })
}

/// The bits of a process.
#[inline(always)]
pub fn bits(tgid: u32) -> u64 {
    TARGETS
        .get(target::word(tgid))
        .map_or(0, |word| *word >> target::shift(tgid) & target::MASK)
}

/// Sets bits of a process.
#[inline(always)]
pub fn set(tgid: u32, bits: u64) {
    if let Some(word) = TARGETS.get_ptr_mut(target::word(tgid)) {
        // SAFETY: the lookup succeeded in this run.
        unsafe { asm::fetch_or(word, bits << target::shift(tgid)) };
    }
}

/// Clears all bits of a process.
#[inline(always)]
pub fn clear(tgid: u32) {
    if let Some(word) = TARGETS.get_ptr_mut(target::word(tgid)) {
        // SAFETY: as in `set`.
        unsafe { asm::and(word, !(target::MASK << target::shift(tgid))) };
    }
}
