//! What the agent itself costs, from `/proc/self`, and making it less.

use std::fs;
use std::time::Duration;

use procfs::WithCurrentSystemInfo as _;
use procfs::process::Process;

use crate::clock;
use crate::telemetry::status::Usage;

/// CPU time of this process and its resident memory in bytes: what the guard looks at twice a second.
#[must_use]
pub fn now() -> (Duration, u64) {
    let resident = Process::myself().and_then(|process| process.statm());
    let pages = resident.map_or(0, |statm| statm.resident);
    (clock::process_cpu(), pages.saturating_mul(procfs::page_size()))
}

/// Memory, CPU time and size of this process; zeros where `/proc` does not say.
#[must_use]
pub fn of_this_process() -> Usage {
    let stat = Process::myself().and_then(|process| process.stat());
    let (memory_bytes, ticks) = stat.map_or((0, 0), |stat| {
        (stat.rss_bytes().get(), stat.utime.saturating_add(stat.stime))
    });
    let executable_bytes = fs::metadata("/proc/self/exe").map_or(0, |metadata| metadata.len());
    let milliseconds = ticks
        .saturating_mul(1000)
        .checked_div(procfs::ticks_per_second())
        .unwrap_or(0);
    let milliseconds = u32::try_from(milliseconds).unwrap_or(u32::MAX);
    Usage {
        memory_bytes,
        cpu_seconds: f64::from(milliseconds) / 1000.0,
        executable_bytes,
    }
}

/// Gives memory that was only needed to start (the kernel's type information, the eBPF object, libraries' symbols) back to
/// the system: the allocator would keep it.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the allocator has no other interface")]
    // SAFETY: takes a plain number, and touches only memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_has_a_size() {
        let usage = super::of_this_process();
        assert!(usage.memory_bytes > 100_000, "{usage:?}");
        assert!(usage.executable_bytes > 100_000, "{usage:?}");
    }

    #[test]
    fn what_is_used_shows_at_once() {
        let (before, small) = super::now();
        let block = vec![1_u8; 64 << 20];
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        let (after, large) = super::now();
        assert!(after > before, "{sum} was added up in no time");
        // Other tests give memory back meanwhile.
        assert!(large > small + (32 << 20), "{small} and {large} bytes");
    }
}
