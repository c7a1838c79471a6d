//! The only place that reads clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::capture::event::KernelTime;

/// Turns the captured host's monotonic time into Unix time. Taken live, or read from a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// Unix nanoseconds at monotonic zero.
    pub boot_unix_ns: u64,
}

impl WallClock {
    /// The running host's offset, read now.
    #[must_use]
    pub fn of_this_host() -> Self {
        Self {
            boot_unix_ns: unix_ns().saturating_sub(kernel_now().0),
        }
    }

    /// Unix nanoseconds at `at`.
    #[must_use]
    pub const fn unix_ns(self, at: KernelTime) -> u64 {
        self.boot_unix_ns.saturating_add(at.0)
    }

    /// Unix milliseconds at `at`.
    #[must_use]
    pub const fn unix_ms(self, at: KernelTime) -> u64 {
        self.unix_ns(at) / 1_000_000
    }
}

/// `CLOCK_MONOTONIC`, which is what the probes stamp records with.
#[must_use]
pub fn kernel_now() -> KernelTime {
    // `Instant` is CLOCK_MONOTONIC on Linux but hides its zero, so procfs-free: ask libc.
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    #[expect(unsafe_code, reason = "the only way to the clock that the probes use")]
    // SAFETY: `now` is a valid, writable timespec; CLOCK_MONOTONIC always exists.
    unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now);
    }
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    KernelTime(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// CPU time that all threads of this process have used.
#[must_use]
pub fn process_cpu() -> Duration {
    let mut used = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    #[expect(unsafe_code, reason = "finer than the ticks of /proc, and one call")]
    // SAFETY: `used` is a valid, writable timespec; the clock always exists.
    unsafe {
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut used);
    }
    let seconds = u64::try_from(used.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(used.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

/// A moment to measure elapsed time from.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn instant() -> Instant {
    Instant::now()
}

/// Unix time in nanoseconds.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn unix_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
