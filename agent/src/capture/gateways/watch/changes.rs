//! What is different between two views of the gateways.
//!
//! In: what was reported and what is. Out: [`GatewayChange`]s. Pure.

use crate::capture::gateways::{Gateway, ProcessId, Worker};

/// Something changed. Within one tick: first what ended, then what began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayChange {
    /// A worker ended, or turned out to be the master of an upgrade.
    WorkerGone {
        /// Whose it was.
        gateway: ProcessId,
        /// The process.
        worker: ProcessId,
    },
    /// A gateway ended with its last process. Its workers were reported before.
    GatewayGone(ProcessId),
    /// A gateway was found. Each of its workers is reported after it.
    GatewayFound(Gateway),
    /// A worker began.
    WorkerStarted {
        /// Whose it is.
        gateway: ProcessId,
        /// The process.
        worker: Worker,
    },
}

/// What became of `before` in `after`.
#[must_use]
pub fn changes(before: &[Gateway], after: &[Gateway]) -> Vec<GatewayChange> {
    let mut changes = Vec::new();
    for old in before {
        let new = after.iter().find(|gateway| gateway.id == old.id);
        for worker in &old.workers {
            if !new.is_some_and(|new| has_worker(new, worker)) {
                changes.push(GatewayChange::WorkerGone {
                    gateway: old.id,
                    worker: worker.id(),
                });
            }
        }
        if new.is_none() {
            changes.push(GatewayChange::GatewayGone(old.id));
        }
    }
    for new in after {
        let old = before.iter().find(|gateway| gateway.id == new.id);
        if old.is_none() {
            changes.push(GatewayChange::GatewayFound(new.clone()));
        }
        for worker in &new.workers {
            if !old.is_some_and(|old| has_worker(old, worker)) {
                changes.push(GatewayChange::WorkerStarted {
                    gateway: new.id,
                    worker: *worker,
                });
            }
        }
    }
    changes
}

fn has_worker(gateway: &Gateway, worker: &Worker) -> bool {
    gateway.workers.iter().any(|other| other.id() == worker.id())
}
