//! The exchange half of invariant I5: every exchange seen was shipped, is queued, was filtered or was dropped, each with a
//! reason. (The byte half is counted in the kernel and by `capture`.)

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The label value in metrics and `/status`.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

reasons! {
    /// Why an exchange is not shipped although nothing went wrong.
    FilterReason {
        /// No `runscope` configuration applies to it.
        NoConfiguration = "no_configuration",
        /// It was a call of the gateway's own Admin or Status API.
        GatewayApi = "gateway_api",
        /// An upstream leg without a client exchange: the gateway's own call (log plugins, health checks).
        NotProxied = "not_proxied",
        /// `message.profile = "plugin"` leaves out what the plugin never logged.
        Profile = "profile",
        /// The agent's CPU time is short, and the exchange is not among those that are still shipped.
        SampledCpu = "sampled_cpu",
        /// The agent's memory is short, likewise.
        SampledMemory = "sampled_memory",
    }
}

reasons! {
    /// Why an exchange that should have been shipped was not.
    DropReason {
        /// The request's head was lost, so there is no message to make.
        HeadLost = "head_lost",
        /// It cannot be said which route it took, and a configuration depends on it.
        RouteUnknown = "route_unknown",
        /// It cannot be said who the consumer was, and a configuration depends on it.
        ConsumerUnknown = "consumer_unknown",
        /// The queue was full by count.
        QueueFullCount = "queue_full_count",
        /// The queue was full by bytes.
        QueueFullBytes = "queue_full_bytes",
        /// The endpoint could not be reached (refused, no connection in time, DNS, TLS, a proxy).
        Unreachable = "unreachable",
        /// The attempt took longer than `timeout`.
        Timeout = "timeout",
        /// The endpoint does not take the token (401, 403), or the proxy its credentials (407).
        Unauthorized = "unauthorized",
        /// The endpoint has no such bucket (404, 410).
        NoBucket = "no_bucket",
        /// The endpoint does not take messages of this size (413).
        TooLarge = "too_large",
        /// The endpoint does not take this message (400, 422, or an entry of its answer with the status `error`).
        Invalid = "invalid",
        /// The endpoint answered with another 4xx status.
        Rejected = "rejected",
        /// The endpoint took no more in the time that messages are tried for (429).
        Throttled = "throttled",
        /// The endpoint answered with a 5xx status (or 408, 425).
        EndpointError = "endpoint_error",
        /// The endpoint's answer was not HTTP, or broke off.
        BadAnswer = "bad_answer",
        /// The spool was full, and it was among the oldest in it.
        SpoolFull = "spool_full",
        /// It was in the spool for longer than `ship.spool.max_age_seconds`.
        SpoolExpired = "spool_expired",
        /// It was about to be written to the spool when the agent was killed.
        SpoolLost = "spool_lost",
        /// What the spool has of it is not what was written.
        SpoolDamaged = "spool_damaged",
        /// It was to wait in the spool, and the disk refused it.
        SpoolFailed = "spool_failed",
        /// The agent stopped before it could be sent.
        Shutdown = "shutdown",
    }
}

/// Counts of exchanges. One instance, shared.
#[derive(Debug, Default)]
pub struct ExchangeLedger {
    seen: AtomicU64,
    shipped: AtomicU64,
    queued: AtomicU64,
    filtered: [AtomicU64; FilterReason::ALL.len()],
    dropped: [AtomicU64; DropReason::ALL.len()],
}

/// The ledger at one moment.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LedgerSnapshot {
    /// Exchanges that left the correlator.
    pub seen: u64,
    /// Accepted by an endpoint.
    pub shipped: u64,
    /// Queued or in flight.
    pub queued: u64,
    /// Not shipped on purpose, by reason.
    pub filtered: Vec<(&'static str, u64)>,
    /// Lost, by reason.
    pub dropped: Vec<(&'static str, u64)>,
}

impl LedgerSnapshot {
    /// Whether the sum of invariant I5 holds. It does whenever no exchange is between two counters, which is at every
    /// instant at which the pipeline is idle.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.seen == self.shipped + self.queued + sum(&self.filtered) + sum(&self.dropped)
    }
}

fn sum(counts: &[(&'static str, u64)]) -> u64 {
    counts.iter().map(|(_, count)| count).sum()
}

impl ExchangeLedger {
    /// An exchange left the correlator.
    pub fn saw(&self) {
        self.seen.fetch_add(1, Ordering::Relaxed);
    }

    /// It is left out on purpose.
    pub fn filter(&self, reason: FilterReason) {
        if let Some(index) = FilterReason::ALL.iter().position(|r| *r == reason)
            && let Some(slot) = self.filtered.get(index)
        {
            slot.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It is lost before it was queued.
    pub fn drop_unqueued(&self, reason: DropReason) {
        if let Some(index) = DropReason::ALL.iter().position(|r| *r == reason)
            && let Some(slot) = self.dropped.get(index)
        {
            slot.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It entered the queue.
    pub fn enqueue(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    /// A queued one was accepted by its endpoint.
    pub fn ship_queued(&self) {
        self.shipped.fetch_add(1, Ordering::Relaxed);
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }

    /// A queued one is lost.
    pub fn drop_queued(&self, reason: DropReason) {
        self.drop_unqueued(reason);
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }

    /// So many of an earlier run are queued again.
    pub fn recover(&self, count: u64) {
        self.seen.fetch_add(count, Ordering::Relaxed);
        self.queued.fetch_add(count, Ordering::Relaxed);
    }

    /// So many of an earlier run, seen and queued by [`Self::recover`], or of this one are lost.
    pub fn drop_queued_many(&self, reason: DropReason, count: u64) {
        if let Some(index) = DropReason::ALL.iter().position(|r| *r == reason)
            && let Some(slot) = self.dropped.get(index)
        {
            slot.fetch_add(count, Ordering::Relaxed);
            self.queued.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// The counts now.
    #[must_use]
    pub fn snapshot(&self) -> LedgerSnapshot {
        LedgerSnapshot {
            seen: self.seen.load(Ordering::Relaxed),
            shipped: self.shipped.load(Ordering::Relaxed),
            queued: self.queued.load(Ordering::Relaxed),
            filtered: labelled(FilterReason::ALL.iter().map(|r| r.label()), &self.filtered),
            dropped: labelled(DropReason::ALL.iter().map(|r| r.label()), &self.dropped),
        }
    }
}

fn labelled(labels: impl Iterator<Item = &'static str>, counts: &[AtomicU64]) -> Vec<(&'static str, u64)> {
    labels
        .zip(counts)
        .map(|(label, count)| (label, count.load(Ordering::Relaxed)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{DropReason, ExchangeLedger, FilterReason};

    #[test]
    fn the_sum_holds_whatever_becomes_of_an_exchange() {
        let ledger = ExchangeLedger::default();
        for _ in 0..4 {
            ledger.saw();
        }
        assert!(!ledger.snapshot().is_balanced());
        ledger.filter(FilterReason::NoConfiguration);
        ledger.drop_unqueued(DropReason::RouteUnknown);
        ledger.enqueue();
        ledger.enqueue();
        assert!(ledger.snapshot().is_balanced());
        ledger.ship_queued();
        ledger.drop_queued(DropReason::Timeout);
        let snapshot = ledger.snapshot();
        assert!(snapshot.is_balanced());
        assert_eq!((snapshot.shipped, snapshot.queued), (1, 0));
        assert!(snapshot.dropped.contains(&("timeout", 1)));
    }
}
