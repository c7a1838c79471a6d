//! Follows gateways while they reload, upgrade, stop and start again.
//!
//! In: a [`Selector`], and a call of [`Watcher::tick`] every fraction of a second. Out: [`GatewayChange`]s. A tick reads
//! a few small files a gateway (one `stat` a process, one list of children); all of `/proc` is listed only every few
//! seconds, and less often where that takes long. Deliberately absent: timers and threads, which are the caller's.

use std::collections::{BTreeSet, HashMap};
use std::fs;

use super::classify::{self, Role};
use super::facts::{self, ProcessFacts, StatFacts};
use super::{Gateway, Pid, ProcessId, SelectError, Selector, StartTime, Worker, WorkerState, assemble};
use crate::capture::event::KernelTime;
use crate::capture::sockets;
use crate::clock;

/// Shortest time between two listings of all processes.
const SCAN_INTERVAL_NS: u64 = 2_000_000_000;
/// The same where the kernel does not list a process's children, so that workers are found by a listing alone.
const SCAN_INTERVAL_WITHOUT_CHILDREN_NS: u64 = 1_000_000_000;
/// A listing may take this part of the time, 1/1000: on a host with very many processes it is done less often.
const SCAN_TIME_SHARE: u64 = 1000;
/// How many listings must find a process foreign before its title is no longer read: a title may be set late.
const FOREIGN_AFTER_LOOKS: u8 = 4;

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

/// Follows the gateways that a selector names.
#[derive(Debug)]
pub struct Watcher {
    selector: Selector,
    gateways: Vec<Gateway>,
    /// What the last [`Watcher::tick`] reported.
    reported: Vec<Gateway>,
    /// Children of masters that are no workers and will not become any.
    settled: BTreeSet<ProcessId>,
    /// nginx's processes at the last listing.
    kin: Vec<ProcessFacts>,
    foreign: HashMap<Pid, Foreign>,
    /// Gateways that were chosen by pid and ended: the same one may start again, under another pid.
    lost: Vec<Lost>,
    next_scan: KernelTime,
    last_tick: StartTime,
    children_are_listed: bool,
}

/// A process that is no nginx, so that its title need not be read again.
#[derive(Debug)]
struct Foreign {
    id: ProcessId,
    comm: String,
    looks: u8,
}

#[derive(Debug)]
struct Lost {
    gateway: Gateway,
    /// It was alive then, so its successor started later.
    seen_at: StartTime,
}

impl Watcher {
    /// Watches what `selector` names. The first tick reports what runs already.
    ///
    /// # Errors
    /// When pids were given and are no gateway's. That nothing runs yet is none for [`Selector::Scan`], which waits.
    pub fn new(selector: Selector) -> Result<Self, SelectError> {
        let gateways = match (super::find(&selector), &selector) {
            (Ok(found), _) => found,
            (Err(SelectError::NoGateway), Selector::Scan) => Vec::new(),
            (Err(error), _) => return Err(error),
        };
        Ok(Self {
            selector,
            gateways,
            reported: Vec::new(),
            settled: BTreeSet::new(),
            kin: Vec::new(),
            foreign: HashMap::new(),
            lost: Vec::new(),
            next_scan: KernelTime(0),
            last_tick: uptime(),
            children_are_listed: true,
        })
    }

    /// The gateways as the last tick left them, by pid of master.
    #[must_use]
    pub fn gateways(&self) -> &[Gateway] {
        &self.gateways
    }

    /// Looks again, and tells what changed since the last time.
    pub fn tick(&mut self) -> Vec<GatewayChange> {
        let now = clock::kernel_now();
        let tick_at = uptime();
        let scans = now >= self.next_scan;
        if scans {
            self.scan();
            let spent = clock::kernel_now().ns_since(now);
            let least = if self.children_are_listed {
                SCAN_INTERVAL_NS
            } else {
                SCAN_INTERVAL_WITHOUT_CHILDREN_NS
            };
            self.next_scan = now.plus_ns(least.max(spent.saturating_mul(SCAN_TIME_SHARE)));
        }
        self.refresh(if scans { Titles::All } else { Titles::OfStarting });
        self.bury();
        self.last_tick = tick_at;
        self.gateways.sort_by_key(|gateway| gateway.id);
        let changed = changes(&self.reported, &self.gateways);
        if !changed.is_empty() || scans {
            self.reported.clone_from(&self.gateways);
        }
        changed
    }

    /// Lists all processes and takes up gateways that are new.
    fn scan(&mut self) {
        let needed = self.selector == Selector::Scan || !self.lost.is_empty() || !self.children_are_listed;
        if !needed {
            return;
        }
        let Ok(pids) = facts::all_pids() else { return };
        let mut foreign = HashMap::with_capacity(pids.len());
        self.kin.clear();
        for pid in pids {
            let Some(stat) = StatFacts::read(pid) else {
                continue;
            };
            let known = self
                .foreign
                .remove(&pid)
                .filter(|known| known.id == stat.id && known.comm == stat.comm);
            let looks = known.as_ref().map_or(0, |known| known.looks);
            if let Some(known) = known
                && looks >= FOREIGN_AFTER_LOOKS
            {
                foreign.insert(pid, known);
                continue;
            }
            let Some(process) = ProcessFacts::read(pid) else {
                continue;
            };
            if classify::role(&process) == Role::Foreign {
                let looks = looks.saturating_add(1);
                let StatFacts { id, comm, .. } = stat;
                foreign.insert(pid, Foreign { id, comm, looks });
            } else {
                self.kin.push(process);
            }
        }
        self.foreign = foreign;
        if self.kin.iter().any(|process| !self.accounts_for(process)) {
            for gateway in assemble::gateways(&self.kin) {
                self.take_up(gateway);
            }
        }
    }

    /// Whether a process already belongs to a gateway that is watched.
    fn accounts_for(&self, process: &ProcessFacts) -> bool {
        self.settled.contains(&process.id)
            || self.gateways.iter().any(|gateway| {
                gateway.id == process.id
                    || gateway.master == Some(process.parent)
                    || gateway.workers.iter().any(|worker| worker.id() == process.id)
            })
    }

    fn take_up(&mut self, gateway: Gateway) {
        let overlaps = |other: &Gateway| {
            other.id == gateway.id
                || other
                    .workers
                    .iter()
                    .any(|worker| gateway.workers.iter().any(|own| own.id() == worker.id()))
        };
        if self.gateways.iter().any(overlaps) {
            return;
        }
        if self.selector == Selector::Scan {
            self.gateways.push(gateway);
            return;
        }
        if let Some(index) = self.lost.iter().position(|lost| lost.is_succeeded_by(&gateway)) {
            self.lost.swap_remove(index);
            self.gateways.push(gateway);
        }
    }

    /// Brings every known gateway up to date.
    fn refresh(&mut self, titles: Titles) {
        let mut upgrades = Vec::new();
        for gateway in &mut self.gateways {
            let alive = |id: ProcessId| StatFacts::read(id.pid).is_some_and(|stat| stat.id == id);
            let before: Vec<ProcessId> = gateway.workers.iter().map(Worker::id).collect();
            gateway.workers.retain(|worker| alive(worker.id()));
            if gateway.master.is_some() && !alive(gateway.id) {
                gateway.master = None;
            }
            become_master(gateway);
            if let Some(master) = gateway.master {
                let listed = facts::child_pids(master);
                self.children_are_listed = listed.is_some();
                let children = listed.unwrap_or_else(|| {
                    let children = self.kin.iter().filter(|process| process.parent == master);
                    children.map(|process| process.id.pid).collect()
                });
                for pid in children {
                    if gateway.workers.iter().any(|worker| worker.pid == pid) {
                        continue;
                    }
                    upgrades.extend(adopt(gateway, pid, &mut self.settled));
                }
            }
            let after: Vec<ProcessId> = gateway.workers.iter().map(Worker::id).collect();
            let reloaded = before != after;
            let titles = if reloaded { Titles::All } else { titles };
            upgrades.extend(read_titles(gateway, titles));
            gateway.workers.sort_by_key(Worker::id);
            if reloaded
                && let Some(pid) = gateway
                    .master
                    .or_else(|| gateway.workers.first().map(|worker| worker.pid))
            {
                // A reload may open other listeners.
                if let Ok(listeners) = sockets::listeners(pid) {
                    gateway.listeners = listeners;
                }
            }
        }
        for upgrade in upgrades {
            if !self.gateways.iter().any(|gateway| gateway.id == upgrade.id) {
                self.gateways.push(upgrade);
            }
        }
        self.settled
            .retain(|id| StatFacts::read(id.pid).is_some_and(|stat| stat.id == *id));
    }

    /// Lets go of gateways that have no process left.
    fn bury(&mut self) {
        let (alive, dead) = std::mem::take(&mut self.gateways)
            .into_iter()
            .partition(|gateway: &Gateway| gateway.master.is_some() || !gateway.workers.is_empty());
        self.gateways = alive;
        if self.selector == Selector::Scan {
            return;
        }
        for gateway in dead {
            // After an upgrade the new master carries on; nothing has to be looked for.
            let carried_on = self
                .gateways
                .iter()
                .any(|other| is_same_installation(other, &gateway));
            if !carried_on {
                let seen_at = self.last_tick;
                self.lost.push(Lost { gateway, seen_at });
                self.next_scan = KernelTime(0);
            }
        }
    }
}

/// Which titles a tick reads again.
#[derive(Clone, Copy, Debug)]
enum Titles {
    All,
    OfStarting,
}

/// A process that was named the moment it started, before it had a title, may be a master by now.
fn become_master(gateway: &mut Gateway) {
    if gateway.master.is_some() || gateway.workers.iter().any(|worker| worker.id() != gateway.id) {
        return;
    }
    let process = ProcessFacts::read(gateway.id.pid).filter(|process| process.id == gateway.id);
    if let Some(master) = process.filter(|process| classify::role(process) == Role::Master) {
        *gateway = assemble::of_master(&master, &facts::children_of(master.id.pid));
    }
}

/// Takes a new child of a master for what it is. Gives the gateway of a child that is a master itself.
fn adopt(gateway: &mut Gateway, pid: Pid, settled: &mut BTreeSet<ProcessId>) -> Option<Gateway> {
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
fn read_titles(gateway: &mut Gateway, titles: Titles) -> Vec<Gateway> {
    let mut upgrades = Vec::new();
    let has_master = gateway.master.is_some();
    gateway.workers.retain_mut(|worker| {
        let due = matches!(titles, Titles::All) || worker.state == WorkerState::Starting;
        if !due || !has_master {
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

impl Lost {
    fn is_succeeded_by(&self, gateway: &Gateway) -> bool {
        gateway.id.start_time >= self.seen_at && is_same_installation(&self.gateway, gateway)
    }
}

fn is_same_installation(one: &Gateway, other: &Gateway) -> bool {
    one.kind == other.kind && one.prefix == other.prefix && one.executable == other.executable
}

/// Time since boot, in the unit of [`StartTime`]: `/proc/uptime` prints hundredths, and so many ticks a second has
/// `/proc/PID/stat` on every Linux (`USER_HZ`).
fn uptime() -> StartTime {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let hundredths = text
        .split_ascii_whitespace()
        .next()
        .unwrap_or("0")
        .replace('.', "");
    StartTime(hundredths.parse().unwrap_or(0))
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

#[cfg(test)]
mod tests;
