//! Whether the calling process is watched: the first thing that every probe asks, and for most the last.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use kongtap_common::target;

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
    let tgid = (pid_tgid >> 32) as u32;
    let word = *TARGETS.get(target::word(tgid))?;
    let bits = word >> target::shift(tgid) & target::MASK;
    (bits & target::WATCHED != 0).then_some(Thread {
        pid_tgid,
        tls: bits & target::TLS != 0,
    })
}
