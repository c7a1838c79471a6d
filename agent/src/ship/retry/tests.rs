//! Pauses, one after the other, for many seeds.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::{RetryLimits, Tried, backoff};
use crate::clock;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn limits(max_age: Duration) -> RetryLimits {
    RetryLimits {
        max_age,
        first: MS(500),
        most: MS(8_000),
    }
}

/// When a message that is refused at once, each time, is attempted, since it was queued.
fn attempts(limits: &RetryLimits, after: Option<Duration>, seed: u64) -> Vec<Duration> {
    let mut rng = Rng::with_seed(seed);
    let queued = clock::instant();
    let mut at: Vec<Instant> = vec![queued];
    loop {
        let tried = Tried {
            queued,
            attempts: u32::try_from(at.len()).unwrap(),
        };
        let now = at[at.len() - 1];
        match tried.next(after, limits, &mut rng, now) {
            Some(due) => at.push(due),
            None => return at.into_iter().map(|at| at - queued).collect(),
        }
    }
}

fn pauses(attempts: &[Duration]) -> Vec<Duration> {
    attempts.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn pauses_double_up_to_the_most_and_are_jittered_by_half() {
    let mut firsts = Vec::new();
    for seed in 0..200 {
        let pauses = pauses(&attempts(&limits(MS(600_000)), None, seed));
        for (pause, whole) in pauses.iter().zip([500, 1000, 2000, 4000, 8000, 8000, 8000]) {
            assert!(
                *pause >= MS(whole) / 2 && *pause <= MS(whole),
                "{pause:?} of {whole}"
            );
        }
        firsts.push(pauses[0]);
    }
    firsts.sort_unstable();
    assert!(
        firsts[10] < MS(275) && firsts[190] > MS(475),
        "spread over all of it"
    );
}

#[test]
fn the_last_attempt_comes_at_the_end_of_the_age() {
    for seed in 0..200 {
        for max_age in [MS(700), MS(5_000), MS(300_000)] {
            let attempts = attempts(&limits(max_age), None, seed);
            let last = *attempts.last().unwrap();
            assert!(
                last <= max_age && last + MS(250) >= max_age,
                "{last:?} of {max_age:?}"
            );
        }
    }
}

#[test]
fn an_age_of_zero_is_one_attempt_and_a_short_one_two() {
    assert_eq!(attempts(&limits(MS(0)), None, 1), [MS(0)]);
    assert_eq!(attempts(&limits(MS(100)), None, 1), [MS(0), MS(100)]);
    assert_eq!(
        attempts(&limits(Duration::MAX), None, 1).len(),
        1,
        "further off than clocks reach"
    );
}

#[test]
fn what_the_endpoint_said_is_waited_for_and_given_up_when_that_is_too_long() {
    for seed in 0..200 {
        let told = MS(3_000);
        for pause in pauses(&attempts(&limits(MS(20_000)), Some(told), seed)) {
            assert!(pause >= told, "{pause:?}");
        }
    }
    assert_eq!(attempts(&limits(MS(10_000)), Some(MS(10_001)), 1).len(), 1);
    assert_eq!(attempts(&limits(MS(10_000)), Some(Duration::MAX), 1).len(), 1);
    // Less than the pause that it would have been anyway.
    assert!(pauses(&attempts(&limits(MS(60_000)), Some(MS(1)), 1))[0] >= MS(250));
}

#[test]
fn no_number_of_failures_is_too_large() {
    let mut rng = Rng::with_seed(1);
    for times in [0, 1, 31, 32, 33, u32::MAX] {
        let pause = backoff(MS(500), MS(30_000), times, &mut rng);
        assert!(pause >= MS(250) && pause <= MS(30_000), "{times}: {pause:?}");
    }
    assert!(backoff(MS(1), Duration::MAX, 64, &mut rng) > MS(1));
}
