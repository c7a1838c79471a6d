//! How often a source is looked at.
//!
//! In: what the configuration says, how long looks take, how they end. Out: the pause until the next one. Files are looked at every
//! second: asking for the times of a few files costs microseconds, and unlike file events it sees a file that is replaced, a mounted
//! ConfigMap whose links are switched, and a share of another host. An API is asked at its interval; never for more than a tenth of
//! the time, and ever less while it fails.

use std::time::{Duration, Instant};

use crate::gateway::source::Source;

/// The longest pause between two looks at files.
const FILES: Duration = Duration::from_secs(1);
/// A reading's time, times this, is the shortest pause after it.
const REST: u32 = 9;
/// The longest pause because of failures, unless the interval itself is longer.
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// The most doublings of a pause.
const MAX_DOUBLINGS: u32 = 6;

/// How often to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between two looks at whether anything changed.
    pub interval: Duration,
    /// After which everything is read although nothing seems to have changed.
    pub full: Duration,
}

/// A source's looks so far.
#[derive(Debug)]
pub(super) struct Rhythm {
    pace: Pace,
    is_file: bool,
    failures: u32,
    read_fully_at: Instant,
}

impl Pace {
    pub(super) fn begin(self, source: &Source, now: Instant) -> Rhythm {
        Rhythm {
            pace: self,
            is_file: matches!(source, Source::Files(_)),
            failures: 0,
            read_fully_at: now,
        }
    }
}

impl Rhythm {
    /// Whether the cheap signs are not to be relied on any longer. Answers so once for each time.
    pub(super) fn is_full_due(&mut self, now: Instant) -> bool {
        let is_due = now.saturating_duration_since(self.read_fully_at) >= self.pace.full;
        if is_due {
            self.read_fully_at = now;
        }
        is_due
    }

    pub(super) const fn read_fully(&mut self, now: Instant) {
        self.read_fully_at = now;
    }

    /// The pause after a look that took so long.
    pub(super) fn succeeded(&mut self, took: Duration) -> Duration {
        self.failures = 0;
        self.interval().max(took.saturating_mul(REST))
    }

    /// The pause after a look that failed.
    pub(super) fn failed(&mut self) -> Duration {
        let interval = self.interval();
        if self.is_file {
            return interval;
        }
        self.failures = self.failures.saturating_add(1).min(MAX_DOUBLINGS);
        // The first failure may be a reload's: it is tried again as usual.
        let doublings = self.failures.saturating_sub(1);
        let pause = interval.saturating_mul(1 << doublings);
        pause.min(MAX_BACKOFF.max(interval))
    }

    fn interval(&self) -> Duration {
        let interval = self.pace.interval.max(Duration::from_millis(1));
        if self.is_file {
            interval.min(FILES)
        } else {
            interval
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Pace, Rhythm};
    use crate::clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn rhythm(interval: u32, is_file: bool) -> Rhythm {
        Rhythm {
            pace: Pace {
                interval: SECOND * interval,
                full: SECOND * 600,
            },
            is_file,
            failures: 0,
            read_fully_at: clock::instant(),
        }
    }

    #[test]
    fn an_api_that_fails_is_asked_less_and_less_and_then_as_before() {
        for (interval, pauses) in [
            (10, [10, 20, 40, 60, 60, 60, 60]),
            (300, [300; 7]),
            (1, [1, 2, 4, 8, 16, 32, 32]),
        ] {
            let mut rhythm = rhythm(interval, false);
            let got = pauses.map(|_| rhythm.failed().as_secs());
            assert_eq!(got, pauses, "{interval}");
            assert_eq!(rhythm.succeeded(Duration::ZERO), SECOND * interval);
            assert_eq!(rhythm.failed(), SECOND * interval);
        }
    }

    #[test]
    fn a_reading_takes_a_tenth_of_the_time_at_most() {
        assert_eq!(rhythm(10, false).succeeded(SECOND), SECOND * 10);
        assert_eq!(rhythm(10, false).succeeded(SECOND * 4), SECOND * 36);
    }

    #[test]
    fn files_are_looked_at_every_second_whatever_happens() {
        let mut rhythm = rhythm(10, true);
        assert_eq!(
            [rhythm.failed(), rhythm.failed(), rhythm.succeeded(Duration::ZERO)],
            [SECOND; 3]
        );
    }

    #[test]
    fn a_full_reading_is_due_once_an_interval() {
        let mut rhythm = rhythm(10, false);
        let start = rhythm.read_fully_at;
        assert!(!rhythm.is_full_due(start + SECOND * 599));
        assert!(rhythm.is_full_due(start + SECOND * 600));
        assert!(!rhythm.is_full_due(start + SECOND * 601));
        rhythm.read_fully(start + SECOND * 900);
        assert!(!rhythm.is_full_due(start + SECOND * 1499));
    }
}
