//! Failures, told seldom: one line for each reason at most every ten seconds, with how many there were.
//!
//! In: failures and the time. Out: lines to write, and the last failure of each kind for `/status`. Details are the
//! transport's own words and status codes; nothing captured and nothing of an endpoint's answer is in them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use crate::ship::LINE_EVERY;
use crate::ship::failure::Failure;
use crate::telemetry::ledger::DropReason;

/// The last failure of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastError {
    /// Its reason, as the ledger labels it.
    pub reason: &'static str,
    /// How many there were in all.
    pub count: u64,
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
    /// What went wrong.
    pub detail: Cow<'static, str>,
}

/// What there is to say of one reason.
#[derive(Debug)]
pub(super) struct Line {
    reason: DropReason,
    count: u64,
    detail: Cow<'static, str>,
}

impl Line {
    pub(super) fn write(&self) {
        tracing::warn!(
            reason = self.reason.label(),
            count = self.count,
            detail = %self.detail,
            "Messages were not shipped."
        );
    }
}

#[derive(Debug, Default)]
pub(super) struct Faults(BTreeMap<DropReason, Fault>);

#[derive(Debug)]
struct Fault {
    count: u64,
    untold: u64,
    told: Option<Instant>,
    at_unix_ms: u64,
    detail: Cow<'static, str>,
}

impl Faults {
    /// Notes a failure; gives the line to write, if one is due.
    pub(super) fn note(&mut self, failure: &Failure, now: Instant, now_unix_ms: u64) -> Option<Line> {
        let fault = self.0.entry(failure.reason).or_insert_with(|| Fault {
            count: 0,
            untold: 0,
            told: None,
            at_unix_ms: 0,
            detail: Cow::Borrowed(""),
        });
        fault.count += 1;
        fault.untold += 1;
        fault.at_unix_ms = now_unix_ms;
        fault.detail.clone_from(&failure.detail);
        fault.line(failure.reason, now)
    }

    /// The lines that were held back and are due.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Line> {
        self.0
            .iter_mut()
            .filter_map(|(reason, fault)| fault.line(*reason, now))
            .collect()
    }

    pub(super) fn last_errors(&self) -> Vec<LastError> {
        self.0
            .iter()
            .map(|(reason, fault)| LastError {
                reason: reason.label(),
                count: fault.count,
                at_unix_ms: fault.at_unix_ms,
                detail: fault.detail.clone(),
            })
            .collect()
    }
}

impl Fault {
    fn line(&mut self, reason: DropReason, now: Instant) -> Option<Line> {
        let is_due = self
            .told
            .is_none_or(|told| now.saturating_duration_since(told) >= LINE_EVERY);
        if self.untold == 0 || !is_due {
            return None;
        }
        self.told = Some(now);
        Some(Line {
            reason,
            count: std::mem::take(&mut self.untold),
            detail: self.detail.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Faults;
    use crate::clock;
    use crate::ship::failure::Failure;
    use crate::telemetry::ledger::DropReason;

    #[test]
    fn each_reason_is_told_at_once_and_then_every_ten_seconds_with_its_count() {
        let start = clock::instant();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut faults = Faults::default();
        let mut told = |seconds: u64, reason: DropReason| {
            faults
                .note(&Failure::without_attempt(reason), at(seconds), 7)
                .map(|line| line.count)
        };
        assert_eq!(told(0, DropReason::Timeout), Some(1));
        assert_eq!(told(1, DropReason::Timeout), None);
        assert_eq!(told(2, DropReason::Unreachable), Some(1));
        assert_eq!(told(9, DropReason::Timeout), None);
        assert_eq!(told(10, DropReason::Timeout), Some(3));
        assert_eq!(told(11, DropReason::Timeout), None);
        assert_eq!(faults.due(at(19)).len(), 0);
        let due = faults.due(at(20));
        assert_eq!(due.len(), 1);
        assert_eq!((due[0].reason, due[0].count), (DropReason::Timeout, 1));
        assert_eq!(faults.due(at(60)).len(), 0);
        let counts: Vec<(&str, u64)> = faults
            .last_errors()
            .iter()
            .map(|error| (error.reason, error.count))
            .collect();
        assert_eq!(counts, [("unreachable", 1), ("timeout", 5)]);
    }
}
