//! What the spool shows of itself.
//!
//! In: its state. Out: a [`SpoolStats`] for `/status` and the metrics.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::ship::spool::error::{DiskFault, SpoolError};
use crate::ship::spool::segment::Tally;
use crate::ship::spool::state::State;
use crate::telemetry::ledger::DropReason;

/// The spool at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SpoolStats {
    /// Messages on the disk that are still to be delivered, whether or not memory has them too.
    pub stored: Tally,
    /// Of those, the ones that only the disk has.
    pub waiting: Tally,
    /// Messages that are not written yet.
    pub unwritten: Tally,
    /// Messages that are written and not certain to survive a failure of the machine.
    pub unsynced: Tally,
    /// Files.
    pub segments: u64,
    /// What they take, bytes.
    pub disk_bytes: u64,
    /// The age of the oldest of them.
    pub oldest_seconds: Option<u64>,
    /// By destination: those for which something waits.
    pub destinations: Vec<DestinationStats>,
    /// What happened, by name.
    pub counts: BTreeMap<&'static str, u64>,
    /// What was lost, by the ledger's reason.
    pub lost: BTreeMap<&'static str, Tally>,
    /// The last refusal of the disk.
    pub fault: Option<FaultStats>,
}

/// What waits for one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DestinationStats {
    /// Scheme, host and port.
    pub endpoint: String,
    /// On the disk alone.
    pub waiting: Tally,
    /// Whether any configuration posts there; else it waits for nobody, until it expires.
    pub is_configured: bool,
}

/// A refusal of the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultStats {
    /// What it comes down to.
    pub reason: DiskFault,
    /// What was to be done and why it could not.
    pub detail: String,
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
    /// Whether messages are kept in memory alone because of it, now.
    pub is_current: bool,
}

/// What was to be done, and the system's own words.
pub(super) fn detail(error: &SpoolError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Counts since the start.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    /// Messages taken.
    pub(super) accepted: u64,
    /// Done with before they were due to be written.
    pub(super) spared: u64,
    /// Written.
    pub(super) written: Tally,
    /// Taken back into memory.
    pub(super) read_back: u64,
    /// Found at the start.
    pub(super) recovered: u64,
    /// Not taken: too many had to be written already.
    pub(super) behind: u64,
    /// Not taken: the disk had refused shortly before.
    pub(super) faulty: u64,
    /// Not taken: too large.
    pub(super) too_large: u64,
    /// Taken, and then refused by the disk.
    pub(super) unwritten: u64,
    /// Files begun.
    pub(super) segments: u64,
    /// Calls that brought a file's bytes to the disk.
    pub(super) syncs: u64,
    lost: BTreeMap<DropReason, Tally>,
}

impl Counters {
    pub(super) fn lose(&mut self, reason: DropReason, tally: Tally) {
        self.lost.entry(reason).or_default().add(tally);
    }
}

impl SpoolStats {
    /// Of one that could not be opened.
    pub(crate) fn unopened(error: &SpoolError, at_unix_ms: u64) -> Self {
        Self {
            fault: Some(FaultStats {
                reason: error.fault().unwrap_or(DiskFault::Other),
                detail: detail(error),
                at_unix_ms,
                is_current: true,
            }),
            ..Self::default()
        }
    }

    pub(super) fn of(state: &State, now: Instant) -> Self {
        let mut stats = Self {
            unwritten: state.unwritten,
            disk_bytes: state.disk_bytes,
            ..Self::default()
        };
        let mut oldest: Option<Duration> = None;
        for (_, segment) in state.segments() {
            stats.segments += 1;
            stats.stored.add(segment.wanted);
            stats.unsynced.add(segment.unsynced);
            stats.unsynced.add(segment.syncing);
            if !segment.wanted.is_nothing() {
                oldest = oldest.max(Some(segment.newest.at(now)));
            }
        }
        stats.oldest_seconds = oldest.map(|age| age.as_secs());
        for line in &state.lines {
            stats.waiting.add(line.waiting());
            if !line.waiting().is_nothing() {
                stats.destinations.push(DestinationStats {
                    endpoint: line.endpoint.clone(),
                    waiting: line.waiting(),
                    is_configured: line.is_configured,
                });
            }
        }
        let counters = &state.counters;
        stats.counts = BTreeMap::from([
            ("spool_accepted", counters.accepted),
            ("spool_spared", counters.spared),
            ("spool_written", counters.written.messages),
            ("spool_written_bytes", counters.written.bytes),
            ("spool_read_back", counters.read_back),
            ("spool_recovered", counters.recovered),
            ("spool_behind", counters.behind),
            ("spool_faulty", counters.faulty),
            ("spool_too_large", counters.too_large),
            ("spool_unwritten", counters.unwritten),
            ("spool_segments_begun", counters.segments),
            ("spool_syncs", counters.syncs),
        ]);
        stats.lost = counters
            .lost
            .iter()
            .map(|(reason, tally)| (reason.label(), *tally))
            .collect();
        stats.fault = state.fault.as_ref().map(|fault| FaultStats {
            reason: fault.kind,
            detail: fault.text.clone(),
            at_unix_ms: fault.at_unix_ms,
            is_current: fault.until.is_some(),
        });
        stats
    }
}
