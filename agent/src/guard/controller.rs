//! When to take a step: up as soon as the limit is passed, down only when that will probably last.
//!
//! In: the load as a part of the limit, and the time. Out: changes of step, at least [`Tuning::settle`] apart. What keeps it from going to and fro: a step down is
//! taken well below the limit, after a while, and where the load would stay below it if it grew as it may; one that had to be taken
//! back is not tried again for twice as long each time, until the load is another one. Nothing keeps it from getting back to zero: patience
//! is bounded. Deliberately absent: what is measured.

use std::time::{Duration, Instant};

use super::Standing;
use super::ladder::Step;

/// How a controller behaves. Loads are parts of the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// Above it, a step up.
    pub up: f64,
    /// Below it, perhaps a step down.
    pub down: f64,
    /// What a step down may multiply the load by, at most, as far as can be said.
    pub growth: f64,
    /// How long a step is in force at least.
    pub settle: Duration,
    /// How long the load must be low before a step down that looks safe.
    pub soon: Duration,
    /// The same before one that does not.
    pub later: Duration,
}

impl Tuning {
    /// For CPU time. Without sampling by half, the work of shipping doubles at most.
    pub const CPU: Self = Self {
        up: 1.0,
        down: 0.8,
        growth: 2.0,
        settle: super::meter::WINDOW,
        soon: Duration::from_secs(8),
        later: Duration::from_secs(60),
    };
    /// For memory: it begins below the limit, because what is on its way must still find room.
    pub const MEMORY: Self = Self {
        up: 0.9,
        down: 0.7,
        growth: 1.0,
        settle: Duration::from_secs(1),
        soon: Duration::from_secs(8),
        later: Duration::from_secs(60),
    };
}

/// The longest that a step down is put off.
const LONGEST: Duration = Duration::from_secs(600);
/// The first step up so soon after one down takes it back.
const PROBATION: Duration = Duration::from_secs(120);
/// A step down that adds no more than this to the load cost nothing.
const NOTHING: f64 = 0.1;
/// The load is another one when it is less than this part of what it was.
const ANOTHER: f64 = 0.7;

/// From one step to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// In force until now.
    pub from: Step,
    /// In force from now on.
    pub to: Step,
    /// The load that led to it, as a part of the limit.
    pub load: f64,
}

/// A place on a ladder.
#[derive(Debug)]
pub struct Controller {
    ladder: &'static [Step],
    tuning: Tuning,
    at: usize,
    changed: Option<Instant>,
    /// Since when the load has been low.
    calm_since: Option<Instant>,
    descent: Option<Descent>,
    setback: Option<Setback>,
    climbs: u64,
    descents: u64,
    is_exhausted: bool,
}

/// The newest step down.
#[derive(Clone, Copy, Debug)]
struct Descent {
    from: usize,
    at: Instant,
    /// The load before it.
    load: f64,
}

/// A step down that was taken back.
#[derive(Clone, Copy, Debug)]
struct Setback {
    from: usize,
    load: f64,
    /// How often in a row.
    times: u32,
}

impl Controller {
    /// At the bottom of `ladder`.
    #[must_use]
    pub const fn new(ladder: &'static [Step], tuning: Tuning) -> Self {
        Self {
            ladder,
            tuning,
            at: 0,
            changed: None,
            calm_since: None,
            descent: None,
            setback: None,
            climbs: 0,
            descents: 0,
            is_exhausted: false,
        }
    }

    /// The load is this now.
    pub fn observe(&mut self, now: Instant, load: f64) -> Option<Change> {
        let since = |then: Instant| now.saturating_duration_since(then);
        if self.changed.is_some_and(|then| since(then) < self.tuning.settle) {
            return None;
        }
        self.is_exhausted = load > self.tuning.up && self.at + 1 >= self.ladder.len();
        if load > self.tuning.up {
            self.calm_since = None;
            return self.climb(now, load);
        }
        if load >= self.tuning.down || self.at == 0 {
            self.calm_since = None;
            return None;
        }
        let calm_since = *self.calm_since.get_or_insert(now);
        if since(calm_since) < self.patience(load) {
            return None;
        }
        self.descent = Some(Descent {
            from: self.at,
            at: now,
            load,
        });
        self.descents += 1;
        self.calm_since = Some(now);
        self.go(self.at - 1, now, load)
    }

    /// How far it has gone.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            step: self.step(self.at),
            index: self.at,
            since: self.changed,
            climbs: self.climbs,
            descents: self.descents,
            is_exhausted: self.is_exhausted,
        }
    }

    fn climb(&mut self, now: Instant, load: f64) -> Option<Change> {
        let top = self.ladder.len().saturating_sub(1);
        if self.at >= top {
            return None;
        }
        if let Some(descent) = self.descent.take()
            && descent.from == self.at + 1
            && now.saturating_duration_since(descent.at) <= PROBATION
        {
            let before = self.setback.filter(|setback| setback.from == descent.from);
            self.setback = Some(Setback {
                from: descent.from,
                load: descent.load,
                times: before.map_or(1, |setback| setback.times.saturating_add(1)),
            });
        }
        self.climbs += 1;
        self.go(top.min(self.at + self.stride(load)), now, load)
    }

    /// How many steps up at once. Each step of sampling takes half of the load at most, so that eight times too much needs three of them.
    fn stride(&self, load: f64) -> usize {
        if !self.step(self.at + 1).rate().leaves_out() {
            return 1;
        }
        let mut steps = 1;
        let mut left = load / self.tuning.up / 2.0;
        while left > 2.0 && steps < self.ladder.len() {
            left /= 2.0;
            steps += 1;
        }
        steps
    }

    /// How long the load must have been as low as `load` before the next step down.
    fn patience(&mut self, load: f64) -> Duration {
        self.setback = self.setback.filter(|setback| load > ANOTHER * setback.load);
        let is_safe = load * self.tuning.growth < self.tuning.down;
        let last_cost_nothing = self.descent.is_some_and(|last| load - last.load < NOTHING);
        let base = match (is_safe, last_cost_nothing) {
            (true, true) => self.tuning.settle,
            (true, false) => self.tuning.soon,
            (false, _) => self.tuning.later,
        };
        match self.setback {
            Some(setback) if setback.from == self.at => {
                let base = base.max(self.tuning.soon);
                base.saturating_mul(2_u32.saturating_pow(setback.times))
                    .min(LONGEST)
            }
            Some(_) | None => base,
        }
    }

    fn go(&mut self, to: usize, now: Instant, load: f64) -> Option<Change> {
        let from = self.step(self.at);
        self.at = to;
        self.changed = Some(now);
        Some(Change {
            from,
            to: self.step(to),
            load,
        })
    }

    fn step(&self, index: usize) -> Step {
        self.ladder.get(index).copied().unwrap_or_default()
    }
}
