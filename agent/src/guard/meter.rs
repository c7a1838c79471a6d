//! How much CPU time the agent takes, over the last two seconds.
//!
//! In: the CPU time that it has used, now and then. Out: cores. Deliberately absent: what is too much.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is averaged over: long enough that one busy moment is none, short enough to be followed.
pub const WINDOW: Duration = Duration::from_secs(2);
/// Samples that are kept; of more the oldest goes, and the window is shorter.
const SAMPLES: usize = 64;

/// A sliding window.
#[derive(Debug, Default)]
pub struct Meter {
    samples: VecDeque<(Instant, Duration)>,
    share: f64,
}

impl Meter {
    /// So much had been used at `now`.
    pub fn push(&mut self, now: Instant, cpu: Duration) {
        while self.samples.len() >= SAMPLES
            || self
                .samples
                .get(1)
                .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW)
        {
            self.samples.pop_front();
        }
        if let Some((since, before)) = self.samples.front() {
            let wall = now.saturating_duration_since(*since).as_secs_f64();
            if wall > 0.0 {
                self.share = cpu.saturating_sub(*before).as_secs_f64() / wall;
            }
        }
        self.samples.push_back((now, cpu));
    }

    /// Begins a new window.
    pub fn restart(&mut self) {
        self.samples.clear();
    }

    /// Cores in use, over as much of the window as there is.
    #[must_use]
    pub const fn share(&self) -> f64 {
        self.share
    }

    /// Cores in use, if a whole window has been seen.
    #[must_use]
    pub fn share_of_window(&self) -> Option<f64> {
        let (first, _) = self.samples.front()?;
        let (last, _) = self.samples.back()?;
        (last.saturating_duration_since(*first) >= WINDOW).then_some(self.share)
    }
}
