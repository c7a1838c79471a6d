//! Which processes belong to a gateway that is known: new children of its master, and what their titles make of them.
//!
//! In: a [`Gateway`] and `/proc`. Out: the gateway brought up to date, and masters of binary upgrades among its children.

use std::collections::BTreeSet;

use crate::capture::gateways::classify::{self, Role};
use crate::capture::gateways::facts::{self, ProcessFacts, StatFacts};
use crate::capture::gateways::{Gateway, Pid, ProcessId, WorkerState, assemble};

/// Which titles a tick reads again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Titles {
    /// Those of every worker.
    All,
    /// Those of workers that have none of their own yet.
    OfStarting,
}

/// A process that was named the moment it started, before it had a title, may be a master by now.
pub(super) fn become_master(gateway: &mut Gateway) {
    if gateway.master.is_some() || gateway.workers.iter().any(|worker| worker.id() != gateway.id) {
        return;
    }
    let process = ProcessFacts::read(gateway.id.pid).filter(|process| process.id == gateway.id);
    if let Some(master) = process.filter(|process| classify::role(process) == Role::Master) {
        *gateway = assemble::of_master(&master, &facts::children_of(master.id.pid));
    }
}

/// Takes a new child of a master for what it is. Gives the gateway of a child that is a master itself.
pub(super) fn adopt(gateway: &mut Gateway, pid: Pid, settled: &mut BTreeSet<ProcessId>) -> Option<Gateway> {
    if !settled.is_empty() && StatFacts::read(pid).is_some_and(|stat| settled.contains(&stat.id)) {
        return None;
    }
    let child = ProcessFacts::read(pid)?;
    match classify::role(&child) {
        Role::Helper | Role::Foreign => {
            settled.insert(child.id);
            None
        }
        // An upgrade's executable before it has set a title.
        Role::Candidate => None,
        Role::Worker(_) | Role::Master => {
            let grandchildren = facts::children_of(pid);
            match assemble::worker_of(&child, || grandchildren.clone()) {
                Some(worker) => gateway.workers.push(worker),
                None => return Some(assemble::of_master(&child, &grandchildren)),
            }
            None
        }
    }
}

/// Reads titles again. A starting worker may turn out to be something else, even the master of an upgrade.
pub(super) fn read_titles(gateway: &mut Gateway, titles: Titles) -> Vec<Gateway> {
    let mut upgrades = Vec::new();
    // A gateway of one process is what it is. A master that is gone may have left workers, and an upgrade's new master.
    let lone = gateway.master.is_none().then_some(gateway.id);
    gateway.workers.retain_mut(|worker| {
        let due = matches!(titles, Titles::All) || worker.state == WorkerState::Starting;
        if !due || lone == Some(worker.id()) {
            return true;
        }
        let Some(process) = ProcessFacts::read(worker.pid).filter(|process| process.id == worker.id()) else {
            return false;
        };
        let grandchildren = match classify::role(&process) {
            Role::Master => facts::children_of(worker.pid),
            Role::Worker(_) | Role::Helper | Role::Candidate | Role::Foreign => Vec::new(),
        };
        match assemble::worker_of(&process, || grandchildren.clone()) {
            Some(now) => {
                *worker = now;
                true
            }
            None => {
                if classify::role(&process) == Role::Master {
                    upgrades.push(assemble::of_master(&process, &grandchildren));
                }
                false
            }
        }
    });
    upgrades
}
