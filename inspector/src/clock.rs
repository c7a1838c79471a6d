//! The only place of the inspector that reads a clock.
//!
//! In: nothing. Out: Unix time, and message ids that carry it. Deliberately absent: time zones (pages show UTC).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

/// Microseconds since the Unix epoch: the resolution in which times are kept and compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMicros(pub i64);

impl UnixMicros {
    /// From Unix seconds with a fraction; `None` below zero, past the year 9999, or not a number.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        let micros = micros_of_seconds(seconds)?;
        (micros <= LAST_MICROS).then_some(Self(micros))
    }

    /// The time `age` before this one.
    #[must_use]
    pub fn before(self, age: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

/// 9999-12-31T23:59:59Z, the last second that a four-digit year can show.
const LAST_MICROS: i64 = 253_402_300_799_000_000;

/// Whole microseconds in `seconds`, rounded (a float cannot hold most decimal fractions exactly).
#[must_use]
pub fn micros_of_seconds(seconds: f64) -> Option<i64> {
    let nanos = Duration::try_from_secs_f64(seconds).ok()?.as_nanos();
    i64::try_from(nanos.saturating_add(500) / 1_000).ok()
}

/// The time now.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> UnixMicros {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    UnixMicros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A new message id: version 7, so ids sort by the time at which they were made.
#[must_use]
pub fn message_uuid() -> Uuid {
    Uuid::now_v7()
}

#[cfg(test)]
mod tests {
    use super::UnixMicros;

    #[test]
    fn seconds_keep_their_decimals_and_nonsense_is_refused() {
        for (seconds, expected) in [
            (1_526_895_422.131, Some(1_526_895_422_131_000)),
            (1_526_895_422.123, Some(1_526_895_422_123_000)),
            (0.0, Some(0)),
            (-1.0, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
            (1_526_895_422_123.0, None), // milliseconds
        ] {
            assert_eq!(
                UnixMicros::from_seconds(seconds).map(|t| t.0),
                expected,
                "{seconds}"
            );
        }
    }
}
