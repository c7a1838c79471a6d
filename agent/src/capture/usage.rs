//! What the agent itself costs, from `/proc/self`, and making it less.

use std::fs;

use procfs::WithCurrentSystemInfo as _;
use procfs::process::Process;

use crate::telemetry::status::Usage;

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
}
