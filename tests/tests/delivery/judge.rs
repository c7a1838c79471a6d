//! What became of the messages of one fault: by kongtap's own count, and by the endpoint's book.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use anyhow::ensure;
use kongtap_tests::faults::book::Book;
use kongtap_tests::faults::{Manner, RetryAfter};
use kongtap_tests::status::{Reasons, Status};
use kongtap_tests::trial::{Profile, Trial};

use crate::{Case, Outcome};

/// A date is in whole seconds, so what it says may be this much early; a wait in seconds is exact but for the ways there and
/// back.
const DATE_EARLY: Duration = Duration::from_secs(1);
/// How much earlier than it says a repeat may seem to come: the answer is sent a moment after its request was noted.
const SEEMS_EARLY: Duration = Duration::from_millis(5);

/// Posts beside one for each message, in a window at fault: an endpoint that fails is left alone but for a few that try it.
const MOST_REPEATS: u64 = 100;

/// All that can be seen at one moment.
pub(crate) struct Moment {
    status: Status,
    book: Book,
    sent: BTreeSet<String>,
}

impl Moment {
    /// Now.
    pub(crate) fn of(trial: &Trial, status: Status) -> Self {
        Self {
            status,
            book: trial.endpoint.book(),
            sent: trial.sent().clone(),
        }
    }
}

/// What happened between two moments.
pub(crate) struct Account {
    /// Sent through the gateway.
    sent: BTreeSet<String>,
    /// Of those, while the endpoint was at fault.
    at_fault: BTreeSet<String>,
    /// Taken by the endpoint.
    kept: BTreeSet<String>,
    repeats: usize,
    shipped: u64,
    dropped: Reasons,
    lost_bytes: u64,
    posts: u64,
    /// Windows at fault.
    windows: u64,
    connections: usize,
    cpu_seconds: f64,
    /// The shortest time between two attempts to send a message that was sent at fault.
    shortest_wait: Option<Duration>,
}

impl Account {
    /// Between `before` and `after`.
    pub(crate) fn between(
        before: &Moment,
        after: &Moment,
        at_fault: BTreeSet<String>,
        windows: usize,
    ) -> Self {
        let (old, new) = (&before.status.exchanges, &after.status.exchanges);
        let dropped: BTreeMap<String, u64> = new
            .dropped
            .iter()
            .map(|(reason, count)| (reason.clone(), count - old.dropped.get(reason).unwrap_or(&0)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let posts = |status: &Status| status.delivery.counts.get("attempts").copied().unwrap_or(0);
        let waits = at_fault.iter().filter_map(|id| {
            let attempts = after.book.attempts_with(id);
            let pairs = attempts.iter().zip(attempts.iter().skip(1));
            pairs.map(|(one, next)| next.duration_since(*one)).min()
        });
        Self {
            sent: after.sent.difference(&before.sent).cloned().collect(),
            kept: after
                .book
                .kept()
                .difference(&before.book.kept())
                .cloned()
                .collect(),
            repeats: after.book.repeats() - before.book.repeats(),
            shipped: new.shipped - old.shipped,
            dropped,
            lost_bytes: after.status.lost_bytes(),
            posts: posts(&after.status) - posts(&before.status),
            windows: u64::try_from(windows).unwrap(),
            connections: after.book.connections - before.book.connections,
            cpu_seconds: after.status.usage.cpu_seconds - before.status.usage.cpu_seconds,
            shortest_wait: waits.min(),
            at_fault,
        }
    }

    /// Requires what the case says, and what holds in every case.
    pub(crate) fn judge(&self, case: Case, profile: Profile) -> anyhow::Result<()> {
        let count = |ids: &BTreeSet<String>| u64::try_from(ids.len()).unwrap();
        let (sent, at_fault, kept) = (count(&self.sent), count(&self.at_fault), count(&self.kept));
        let dropped: u64 = self.dropped.values().sum();
        ensure!(self.lost_bytes == 0, "bytes of the gateway's were lost");
        ensure!(
            self.shipped + dropped == sent,
            "not each of {sent} is accounted for"
        );
        let reason = match case.outcome {
            Outcome::Delivered => None,
            Outcome::Dropped(reason) | Outcome::Partly(reason) => Some(reason),
        };
        let known = reason
            .and_then(|reason| self.dropped.get(reason))
            .copied()
            .unwrap_or(0);
        ensure!(known == dropped, "dropped for another reason than {reason:?}");
        let missing: BTreeSet<_> = self.sent.difference(&self.kept).cloned().collect();
        ensure!(
            missing.is_subset(&self.at_fault),
            "lost while the endpoint was well"
        );
        match case.outcome {
            Outcome::Delivered => ensure!(kept == sent && dropped == 0, "not all was delivered"),
            Outcome::Dropped(_) => ensure!(dropped == at_fault, "not all at fault was dropped"),
            Outcome::Partly(_) => ensure!(0 < dropped && dropped < at_fault, "all or nothing"),
        }
        if case.fault.loses_answers() || case.fault.lasts_until_timeout() {
            ensure!(kept >= self.shipped, "more was shipped than came");
        } else {
            ensure!(
                kept == self.shipped && self.repeats == 0,
                "what came is not what was shipped"
            );
        }
        if case.fault.is_failure() {
            let most = sent.saturating_add(self.windows.saturating_mul(MOST_REPEATS));
            ensure!(
                self.posts <= most,
                "more than {most} posts to an endpoint that fails"
            );
        }
        // Nobody could tell a repeat from a second exchange.
        ensure!(
            profile == Profile::Extended || self.repeats == 0,
            "came again without an identifier"
        );
        self.judge_waits(case.fault, case.outcome)
    }

    fn judge_waits(&self, fault: Manner, outcome: Outcome) -> anyhow::Result<()> {
        let Manner::Status(_, again) = fault else {
            return Ok(());
        };
        let least = match again {
            RetryAfter::Unsaid => return Ok(()),
            RetryAfter::Seconds(seconds) => Duration::from_secs(seconds),
            RetryAfter::Date(seconds) => Duration::from_secs(seconds) - DATE_EARLY,
        };
        let Some(shortest) = self.shortest_wait else {
            ensure!(outcome != Outcome::Delivered, "nothing came again");
            return Ok(());
        };
        ensure!(
            shortest + SEEMS_EARLY >= least,
            "came again after {shortest:?}, was told to come after {least:?}"
        );
        Ok(())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sent, {} of them at fault; {} kept, {} repeats; {} shipped, dropped {:?}; {} posts, {} connections, {:.2} s \
             of CPU, shortest wait {:?}",
            self.sent.len(),
            self.at_fault.len(),
            self.kept.len(),
            self.repeats,
            self.shipped,
            self.dropped,
            self.posts,
            self.connections,
            self.cpu_seconds,
            self.shortest_wait
        )
    }
}
