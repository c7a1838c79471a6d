//! How many attempts an endpoint keeps up with at once.
//!
//! In: that attempts began, by number, how long they took and which failed. Out: a number between one and `most`. No clock.
//!
//! What an endpoint cannot serve at once waits there, and shows as round trips longer than they need be. By Little's law
//! (attempts in flight = rate × round trip) the share of a round trip that exceeds the shortest one, times the attempts in
//! flight, is how many of them wait. The number grows while fewer than an eighth wait and shrinks when more than a quarter
//! does: TCP Vegas (Brakmo and Peterson, 1995) does the same with packets. As there it starts with one and doubles until
//! the first sign of a queue; what fails halves it, once a round trip (RFC 5681 section 3.1).
//!
//! Only attempts behind which more waited say anything: an endpoint that is sent little could bear more, or not. The first
//! attempts after a change meet the queue of before and open the connections that a larger number needs, so they are
//! passed over. Round trips are compared by means of whole rounds, and differ only if their scatter does not explain it.

use std::time::{Duration, Instant};

/// Answers that make a round, at least: fewer have no scatter to speak of.
const ROUND_ANSWERS: u32 = 4;

/// Where answers scatter, a round goes on up to so many.
const SCATTERED_ROUND_ANSWERS: u32 = 32;

/// Part of a mean round trip that its standard error is to be less than.
const CERTAIN: u32 = 16;

/// How many standard errors two rounds must be apart to differ.
const APART: f64 = 2.0;

/// Waiting that is not worth avoiding, and not to be told from the host's own scheduling.
const UNNOTICEABLE: Duration = Duration::from_millis(1);

/// How long the shortest round trip is believed; then it is measured again, at half the number.
const BELIEVED: Duration = Duration::from_secs(30);

/// It is believed for at least so many of itself, so that measuring does not take up the time of a slow endpoint.
const BELIEVED_ROUND_TRIPS: u32 = 30;

#[derive(Debug)]
pub(crate) struct Pace {
    most: u32,
    limit: u32,
    growth: Growth,
    shortest: Option<Shortest>,
    round: Round,
    /// Failures of attempts before this one belong to a number that was cut already.
    cut_from: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    Doubling,
    OneByOne,
    /// Half of this number, for a round in which the shortest round trip is measured.
    Measuring(u32),
}

/// The shortest mean round trip of late.
#[derive(Clone, Copy, Debug)]
struct Shortest {
    mean: Duration,
    error: Duration,
    measured: Instant,
}

/// Attempts that are looked at together.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// The first one.
    from: u64,
    answers: u32,
    seconds: f64,
    squares: f64,
}

impl Pace {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: u32::try_from(most).unwrap_or(u32::MAX).max(1),
            limit: 1,
            growth: Growth::Doubling,
            shortest: None,
            // The very first one opens a connection.
            round: Round::beginning_at(1),
            cut_from: 0,
        }
    }

    pub(crate) fn limit(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }

    /// An attempt behind which more waited was answered.
    pub(crate) fn answered(&mut self, attempt: u64, took: Duration, next_attempt: u64, now: Instant) {
        if attempt < self.round.from {
            return;
        }
        self.round.add(took);
        if !self.is_round_over() {
            return;
        }
        let before = self.limit;
        self.judge(self.round.mean(), self.round.error(), now);
        let from = if self.limit == before {
            self.round.from
        } else {
            next_attempt + u64::from(self.limit)
        };
        self.round = Round::beginning_at(from);
    }

    /// An attempt failed, or was told that there are too many.
    pub(crate) fn failed(&mut self, attempt: u64, next_attempt: u64) {
        if attempt < self.cut_from {
            return;
        }
        self.limit = (self.limit / 2).max(1);
        self.growth = Growth::OneByOne;
        self.cut_from = next_attempt;
        self.round = Round::beginning_at(next_attempt + u64::from(self.limit));
    }

    /// Begins anew with one, carefully, as an endpoint that comes back is likely to be met by all its clients at once.
    pub(crate) fn restart(&mut self, next_attempt: u64) {
        self.limit = 1;
        self.growth = Growth::Doubling;
        self.cut_from = next_attempt;
        self.round = Round::beginning_at(next_attempt);
    }

    fn is_round_over(&self) -> bool {
        let answers = self.round.answers;
        let is_certain = || self.round.error() * CERTAIN <= self.round.mean();
        answers >= self.limit.max(ROUND_ANSWERS)
            && (answers >= SCATTERED_ROUND_ANSWERS || self.growth == Growth::Doubling || is_certain())
    }

    fn judge(&mut self, mean: Duration, error: Duration, now: Instant) {
        let measured = Shortest {
            mean,
            error,
            measured: now,
        };
        if let Growth::Measuring(limit) = self.growth {
            self.shortest = Some(measured);
            self.limit = limit;
            self.growth = Growth::OneByOne;
            return;
        }
        let shortest = match self.shortest {
            Some(shortest) if shortest.mean <= mean => shortest,
            Some(_) | None => measured,
        };
        self.shortest = Some(shortest);
        if shortest.is_old(now) {
            if self.limit == 1 {
                // There is no less: this is what it takes now, and more may serve as well.
                self.shortest = Some(measured);
                self.growth = Growth::Doubling;
            } else {
                self.growth = Growth::Measuring(self.limit);
                self.limit /= 2;
                return;
            }
        }
        self.step(mean, error);
    }

    fn step(&mut self, mean: Duration, error: Duration) {
        let limit = f64::from(self.limit);
        let waiting = self
            .shortest
            .map_or(0.0, |shortest| limit * shortest.share_beyond(mean, error));
        if waiting <= limit / 8.0 {
            let more = match self.growth {
                Growth::Doubling => self.limit,
                Growth::OneByOne | Growth::Measuring(_) => 1,
            };
            self.limit = self.limit.saturating_add(more).min(self.most);
        } else {
            self.growth = Growth::OneByOne;
            // One may always wait: it is served while the answer to the one before it travels.
            if waiting > limit / 2.0 && waiting > 1.0 {
                self.limit = self.limit.div_ceil(2);
            } else if waiting > (limit / 4.0).max(1.0) {
                self.limit -= 1;
            }
        }
    }
}

impl Shortest {
    fn is_old(&self, now: Instant) -> bool {
        let believed = BELIEVED.max(self.mean.saturating_mul(BELIEVED_ROUND_TRIPS));
        now.saturating_duration_since(self.measured) > believed
    }

    /// How much of a round trip exceeds this one, between zero and one.
    fn share_beyond(&self, mean: Duration, error: Duration) -> f64 {
        let unexplained = (error + self.error).mul_f64(APART).max(UNNOTICEABLE);
        let beyond = mean.saturating_sub(self.mean).saturating_sub(unexplained);
        if mean.is_zero() {
            0.0
        } else {
            beyond.div_duration_f64(mean)
        }
    }
}

impl Round {
    const fn beginning_at(from: u64) -> Self {
        Self {
            from,
            answers: 0,
            seconds: 0.0,
            squares: 0.0,
        }
    }

    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.answers += 1;
        self.seconds += seconds;
        self.squares += seconds * seconds;
    }

    fn mean(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds / f64::from(self.answers)).unwrap_or_default()
    }

    /// The standard error of the mean.
    fn error(&self) -> Duration {
        let answers = f64::from(self.answers);
        let mean = self.seconds / answers;
        let variance = (self.squares / answers - mean * mean).max(0.0);
        Duration::try_from_secs_f64((variance / answers).sqrt()).unwrap_or_default()
    }
}
