//! Follows gateways while they reload, upgrade, stop and start again.
//!
//! In: a [`Selector`], and a call of [`Watcher::tick`] every fraction of a second. Out: [`GatewayChange`]s. A tick reads
//! a few small files a gateway (one `stat` a process, one list of children); all of `/proc` is listed only every few
//! seconds, and less often where that takes long. Deliberately absent: timers and threads, which are the caller's.

pub mod changes;
mod members;

use std::collections::{BTreeSet, HashMap};
use std::fs;

use super::classify::{self, Role};
use super::facts::{self, ProcessFacts, StatFacts};
use changes::{GatewayChange, changes};
use members::{Titles, adopt, become_master, read_titles};

use super::{Gateway, Pid, ProcessId, SelectError, Selector, StartTime, Worker, assemble};
use crate::capture::event::KernelTime;
use crate::capture::sockets;
use crate::clock;

/// Shortest time between two listings of all processes.
const SCAN_INTERVAL_NS: u64 = 2_000_000_000;
/// The same where the kernel does not list a process's children, so that workers are found by a listing alone.
const SCAN_INTERVAL_WITHOUT_CHILDREN_NS: u64 = 1_000_000_000;
/// A listing may take this part of the time, 1/1000: on a host with very many processes it is done less often.
const SCAN_TIME_SHARE: u64 = 1000;
/// How long a gateway's program that was executed may take until it has a master's title: Kong reads its configuration first.
const EXPECTED_NS: u64 = 60_000_000_000;
/// Most processes that are expected to be gateways at one time.
const MOST_EXPECTED: usize = 256;
/// How many listings must find a process foreign before its title is no longer read: a title may be set late.
const FOREIGN_AFTER_LOOKS: u8 = 4;

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
    /// Processes that may be masters soon, with when to give them up.
    expected: Vec<(Pid, KernelTime)>,
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
            expected: Vec::new(),
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

    /// Whether every gateway that starts is one to watch.
    #[must_use]
    pub fn wants_every_gateway(&self) -> bool {
        self.selector == Selector::Scan
    }

    /// A process has just executed a program, or was born to one that has: it may be a gateway's master, or is about to be.
    pub fn expect(&mut self, pid: Pid) {
        if self.expected.len() < MOST_EXPECTED && !self.expected.iter().any(|(known, _)| *known == pid) {
            let until = clock::kernel_now().plus_ns(EXPECTED_NS);
            self.expected.push((pid, until));
        }
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
        self.meet_expected(now);
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

    /// Takes up the expected processes that have become masters by now.
    fn meet_expected(&mut self, now: KernelTime) {
        for (pid, until) in std::mem::take(&mut self.expected) {
            let Some(process) = ProcessFacts::read(pid) else {
                continue;
            };
            match classify::role(&process) {
                Role::Candidate if now < until => self.expected.push((pid, until)),
                Role::Master | Role::Worker(_) if !self.accounts_for(&process) => {
                    if let Ok(gateway) = super::of_pid(pid) {
                        self.take_up(gateway);
                    }
                }
                Role::Master | Role::Worker(_) | Role::Candidate | Role::Helper | Role::Foreign => {}
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

#[cfg(test)]
mod tests;
