//! How old what was written is, whatever clocks did meanwhile.
//!
//! In: when it was written and when it is now, each by the wall clock and by the time since the machine started. Out: an age.
//!
//! Within one run of the machine the monotonic time decides, so that setting the clock changes nothing, not even across restarts of
//! the agent. Across runs of the machine only the wall clock is left: one that was set back makes messages younger (never younger than
//! new, so they are kept for at most `max_age` of the agent's running time more), one that was set forward makes them older; what waits
//! when the agent starts is therefore never older than [`GRACE`] before its end, so that it is offered once before it expires.

use std::time::{Duration, Instant};

use crate::clock;
use crate::ship::spool::format::Written;

/// How long what a start finds is offered at least.
pub(crate) const GRACE: Duration = Duration::from_secs(60);

/// One moment by every clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) instant: Instant,
    pub(super) written: Written,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self {
            instant: clock::instant(),
            written: Written {
                unix_ms: clock::unix_ns() / 1_000_000,
                monotonic_ms: clock::kernel_now().0 / 1_000_000,
            },
        }
    }
}

/// Whether two times are of the same run of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boot {
    Same,
    Another,
}

impl Boot {
    /// Nothing but zeros is "not known".
    pub(super) fn of(one: &[u8; 16], other: &[u8; 16]) -> Self {
        if one == other && *one != [0; 16] {
            Self::Same
        } else {
            Self::Another
        }
    }
}

/// How old what was written at `written` is at `now`.
pub(super) fn age(written: Written, boot: Boot, now: Written) -> Duration {
    let by_wall = now.unix_ms.saturating_sub(written.unix_ms);
    let ms = match boot {
        // A later time than now is another container's: time namespaces shift it.
        Boot::Same => now
            .monotonic_ms
            .checked_sub(written.monotonic_ms)
            .unwrap_or(by_wall),
        Boot::Another => by_wall,
    };
    Duration::from_millis(ms)
}

/// An age that goes on growing by the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Aging {
    at: Instant,
    age: Duration,
}

impl Aging {
    /// Of what is new.
    pub(super) const fn born(at: Instant) -> Self {
        Self {
            at,
            age: Duration::ZERO,
        }
    }

    /// Of what a start found.
    pub(super) fn found(age: Duration, at: Instant, max_age: Duration) -> Self {
        Self {
            at,
            age: age.min(max_age.saturating_sub(GRACE)),
        }
    }

    pub(super) fn at(self, now: Instant) -> Duration {
        self.age.saturating_add(now.saturating_duration_since(self.at))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Aging, Boot, GRACE, age};
    use crate::clock;
    use crate::ship::spool::format::Written;

    #[test]
    fn a_clock_that_jumps_makes_nothing_older_within_a_run_of_the_machine_and_nothing_younger_than_new() {
        let check = |name: &str, boot: Boot, written: (u64, u64), now: (u64, u64), expected_ms: u64| {
            let of = |(unix_ms, monotonic_ms)| Written {
                unix_ms,
                monotonic_ms,
            };
            let expected = Duration::from_millis(expected_ms);
            assert_eq!(age(of(written), boot, of(now)), expected, "{name}");
        };
        let day = 86_400_000;
        check("steady", Boot::Same, (day, 50), (day + 70, 120), 70);
        check("forward", Boot::Same, (day, 50), (9 * day, 120), 70);
        check("back", Boot::Same, (day, 50), (5, 120), 70);
        check("another container", Boot::Same, (day, 500), (day + 70, 120), 70);
        check("reboot", Boot::Another, (day, 5000), (day + 70, 1), 70);
        check("reboot, clock back", Boot::Another, (day, 5000), (5, 9000), 0);
        check("reboot, forward", Boot::Another, (day, 0), (3 * day, 1), 2 * day);
    }

    #[test]
    fn what_a_start_finds_has_a_grace_and_then_ages_like_everything() {
        let start = clock::instant();
        let hour = Duration::from_secs(3600);
        let check = |age: Duration, max_age: Duration, expected: Duration| {
            let found = Aging::found(age, start, max_age);
            assert_eq!(found.at(start), expected, "{age:?} of {max_age:?}");
            assert_eq!(found.at(start + hour), expected + hour);
        };
        check(hour, 24 * hour, hour);
        check(24 * hour, 24 * hour, 24 * hour - GRACE);
        check(9000 * hour, 24 * hour, 24 * hour - GRACE);
        check(hour, GRACE / 2, Duration::ZERO);
        assert_eq!(Aging::born(start).at(start + hour), hour);
    }

    #[test]
    fn an_unknown_run_of_the_machine_is_another() {
        assert_eq!(Boot::of(&[0; 16], &[0; 16]), Boot::Another);
        assert_eq!(Boot::of(&[1; 16], &[1; 16]), Boot::Same);
        assert_eq!(Boot::of(&[1; 16], &[2; 16]), Boot::Another);
    }
}
