//! Follows the gateways' processes and keeps the probes where they belong.
//!
//! In: what the kernel tells of followed processes, and the [`Watcher`]'s changes. Out: watched workers, and the status.
//! The kernel watches a worker from its birth; here its TLS is seen to, and it is found out what the process really is.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use kongtap_common::target;

use super::tls::{Subject, TlsCoverage};
use super::{CaptureStatus, Found, WatchedWorker, watched};
use crate::capture::gateways::classify::{self, Role};
use crate::capture::gateways::facts::{self, ProcessFacts, StatFacts};
use crate::capture::gateways::watch::Watcher;
use crate::capture::gateways::watch::changes::GatewayChange;
use crate::capture::gateways::{Gateway, GatewayKind, Pid, ProcessId};
use crate::capture::probes::Probes;
use crate::capture::probes::following::{ProcessChange, ProcessEvent, Woken};
use crate::capture::reader::{Reader, ReaderCounters};
use crate::capture::tls::choice::{Chooser, TlsOptions};
use crate::capture::tls::state::TlsState;
use crate::clock;

/// The follower's state.
pub(super) struct Follower {
    watcher: Watcher,
    probes: Probes,
    reader_counters: Arc<ReaderCounters>,
    /// None where TLS was not asked for.
    tls: Option<TlsCoverage>,
    workers: BTreeMap<Pid, WatchedWorker>,
    /// Processes of whose birth or execution the kernel told, and that are not yet known to be workers or anything else.
    descendants: BTreeSet<Pid>,
    /// Masters whose children the kernel watches.
    masters: BTreeSet<ProcessId>,
    /// What does not work, by process.
    problems: BTreeMap<Pid, String>,
    status: Arc<ArcSwap<CaptureStatus>>,
    /// The masters' children at the last tick, where the kernel lists them.
    children: Vec<Pid>,
}

impl Follower {
    /// Follows nothing yet.
    pub(super) fn new(
        watcher: Watcher,
        probes: Probes,
        tls: TlsOptions,
        status: Arc<ArcSwap<CaptureStatus>>,
        reader: &Reader,
    ) -> Self {
        Self {
            watcher,
            probes,
            reader_counters: Arc::clone(reader.counters()),
            tls: tls.is_on.then(|| TlsCoverage::new(Chooser::new(tls))),
            workers: BTreeMap::new(),
            descendants: BTreeSet::new(),
            masters: BTreeSet::new(),
            problems: BTreeMap::new(),
            status,
            children: Vec::new(),
        }
    }

    /// Begins with what runs.
    pub(super) fn begin_all(&mut self) {
        if let Some(refusal) = self.probes.following().refusal() {
            tracing::warn!(%refusal, "The kernel does not tell of new workers; they are looked for.");
        }
        // Which gateways are wanted is known beforehand only when all are.
        let bits = if self.watcher.wants_every_gateway() {
            self.birth_bits()
        } else {
            0
        };
        if let Err(error) = self.probes.following().follow_new_gateways(bits) {
            tracing::warn!(%error, "Gateways that start are looked for.");
        }
        // Masters first: a worker that is born while the others are seen to is not missed.
        self.follow_masters();
        self.tick();
        if let Some(tls) = &mut self.tls {
            tls.hurry();
        }
    }

    /// Sleeps until there may be something to do.
    pub(super) fn wait(&mut self, other: BorrowedFd<'_>, longest: Duration) -> Woken {
        self.probes.following().wait(other, longest)
    }

    /// Takes in what the kernel told; says whether there was anything.
    pub(super) fn hear(&mut self) -> bool {
        let events = self.probes.following().events();
        for event in &events {
            self.take(*event);
        }
        !events.is_empty()
    }

    fn take(&mut self, event: ProcessEvent) {
        let pid = event.pid;
        match event.what {
            ProcessChange::Born { parent } => {
                self.descendants.insert(pid);
                let gateway = self
                    .watcher
                    .gateways()
                    .iter()
                    .find(|gateway| gateway.master == Some(parent));
                if self.workers.contains_key(&pid) {
                    return;
                }
                match gateway.map(|gateway| (gateway.id, gateway.kind)) {
                    Some((master, kind)) => self.begin_newborn(pid, event.at.0, master, kind),
                    None => self.watcher.expect(pid),
                }
            }
            ProcessChange::Executed => {
                // Its memory is another one: probes that stood in it are gone with the old one.
                self.forget(pid);
                self.descendants.insert(pid);
                self.watcher.expect(pid);
            }
            ProcessChange::Ended => {
                self.descendants.remove(&pid);
                self.forget(pid);
            }
        }
    }

    /// A master's new child: nearly always a worker.
    fn begin_newborn(&mut self, pid: Pid, born_at_ns: u64, master: ProcessId, kind: GatewayKind) {
        // What is done late may find that it is none: a cache manager has said so by then, a helper has ended.
        let Some(process) = ProcessFacts::read(pid) else {
            return;
        };
        if matches!(classify::role(&process), Role::Helper | Role::Foreign) {
            return;
        }
        let subject = Subject {
            pid,
            born_to: Some(master),
            kind,
        };
        let age_ns = clock::kernel_now().0.saturating_sub(born_at_ns);
        self.begin(
            subject,
            process.id,
            Found::Birth,
            clock::unix_ns().saturating_sub(age_ns),
        );
        tracing::debug!(
            pid = pid.0,
            after_us = age_ns / 1000,
            ready_us = clock::kernel_now().0.saturating_sub(born_at_ns) / 1000,
            "A worker was born."
        );
    }

    /// Looks at everything.
    pub(super) fn tick(&mut self) {
        let changes = self.watcher.tick();
        self.follow_masters();
        let gone: BTreeSet<ProcessId> = changes.iter().filter_map(gone).collect();
        // What began comes first: until it is watched, its traffic passes unseen.
        let (began, ended): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| {
            matches!(
                change,
                GatewayChange::WorkerStarted { .. } | GatewayChange::GatewayFound(_)
            )
        });
        // All sockets before any TLS, which may take its time. What is refused is told when its turn comes. Where a look was
        // quicker than the kernel's word, the kernel has it watched already.
        let mut born = BTreeSet::new();
        for pid in began.iter().filter_map(started) {
            if self.probes.is_watched(pid.0) {
                born.insert(pid);
            }
            drop(self.probes.watch(pid.0));
        }
        let mut found = BTreeSet::new();
        let mut again = BTreeSet::new();
        for change in began {
            match change {
                GatewayChange::GatewayFound(gateway) => {
                    tracing::info!(
                        kind = gateway.kind.label(),
                        pid = gateway.id.pid.0,
                        "Found a gateway."
                    );
                    found.insert(gateway.id);
                }
                GatewayChange::WorkerStarted { gateway, worker } => {
                    if gone.iter().any(|old| old.pid == worker.pid) {
                        // Another process of the same pid.
                        self.forget(worker.pid);
                        again.insert(worker.pid);
                    }
                    if !self.workers.contains_key(&worker.pid) {
                        let is_born = born.contains(&worker.pid);
                        let how = if is_born {
                            Found::Birth
                        } else if found.contains(&gateway) {
                            Found::Running
                        } else {
                            Found::Glance
                        };
                        let subject = Subject {
                            pid: worker.pid,
                            born_to: is_born.then_some(gateway),
                            kind: self.kind_of(gateway),
                        };
                        self.begin(subject, worker.id(), how, clock::unix_ns());
                    }
                }
                GatewayChange::WorkerGone { .. } | GatewayChange::GatewayGone(_) => {}
            }
        }
        for change in ended {
            match change {
                GatewayChange::WorkerGone { worker, .. } if !again.contains(&worker.pid) => {
                    self.forget(worker.pid);
                }
                GatewayChange::GatewayGone(id) => tracing::warn!(pid = id.pid.0, "A gateway is gone."),
                GatewayChange::WorkerGone { .. }
                | GatewayChange::WorkerStarted { .. }
                | GatewayChange::GatewayFound(_) => {}
            }
        }
        self.renew_tls();
        self.judge_descendants();
        if let Some(tls) = &mut self.tls {
            tls.let_go_of_unused(&mut self.probes);
        }
        self.children = self.masters_children();
        self.publish();
    }

    /// Where TLS probes can be in better places, or turn out to be in wrong ones, they are replaced, and the states say so.
    fn renew_tls(&mut self) {
        let Some(tls) = &mut self.tls else {
            return;
        };
        for (pid, state) in tls.renew(&mut self.probes) {
            if let Some(worker) = self.workers.get_mut(&pid) {
                worker.tls = state;
            }
        }
    }

    /// Whether a master has other children than at the last tick.
    pub(super) fn has_new_children(&self) -> bool {
        self.masters_children() != self.children
    }

    fn masters_children(&self) -> Vec<Pid> {
        let masters = self
            .watcher
            .gateways()
            .iter()
            .filter_map(|gateway| gateway.master);
        masters.filter_map(facts::child_pids).flatten().collect()
    }

    /// Bits that a worker is born with.
    const fn birth_bits(&self) -> u64 {
        if self.tls.is_some() {
            target::WATCHED | target::TLS
        } else {
            target::WATCHED
        }
    }

    /// Has the kernel watch the children of every master from their birth.
    fn follow_masters(&mut self) {
        let now: BTreeSet<ProcessId> = self
            .watcher
            .gateways()
            .iter()
            .filter(|gateway| gateway.master.is_some())
            .map(|gateway| gateway.id)
            .collect();
        let bits = self.birth_bits();
        for master in now.difference(&self.masters) {
            self.descendants.remove(&master.pid);
            if let Err(error) = self.probes.following().follow(master.pid.0, bits) {
                tracing::warn!(pid = master.pid.0, %error, "New workers of a master are looked for.");
            }
        }
        for master in self.masters.difference(&now) {
            if !now.iter().any(|other| other.pid == master.pid) {
                self.probes.following().unfollow(master.pid.0);
            }
            if let Some(tls) = &mut self.tls {
                tls.forget_master(*master);
            }
        }
        self.masters = now;
    }

    /// Decides what the processes are that the kernel told of: workers have no children of interest, and what is no
    /// gateway's is not watched. What is still called as its master was, or has no title yet, is looked at again.
    fn judge_descendants(&mut self) {
        for pid in std::mem::take(&mut self.descendants) {
            let Some(process) = ProcessFacts::read(pid) else {
                continue;
            };
            match classify::role(&process) {
                Role::Worker(_) => self.probes.following().unfollow(pid.0),
                Role::Helper | Role::Foreign => {
                    self.probes.following().unfollow(pid.0);
                    self.forget(pid);
                }
                Role::Master | Role::Candidate => {
                    self.descendants.insert(pid);
                }
            }
        }
        self.descendants
            .retain(|pid| !self.masters.iter().any(|master| master.pid == *pid));
    }

    fn kind_of(&self, gateway: ProcessId) -> GatewayKind {
        let of = |known: &&Gateway| known.id == gateway;
        let known = self.watcher.gateways().iter().find(of);
        known.map_or(GatewayKind::Other, |gateway| gateway.kind)
    }

    /// Watches a worker.
    fn begin(&mut self, subject: Subject, process: ProcessId, found: Found, since_unix_ns: u64) {
        let pid = subject.pid;
        if let Err(error) = self.probes.watch(pid.0) {
            self.problems
                .insert(pid, format!("process {pid} cannot be watched: {error}"));
            return;
        }
        // The kernel unmarks a process that ends. One that had ended before it was marked stays marked, for whoever gets
        // its pid.
        if StatFacts::read(pid).is_none_or(|now| now.id != process) {
            self.forget(pid);
            return;
        }
        let gateways = self.own_processes();
        let tls = match &mut self.tls {
            Some(coverage) => coverage.begin(&mut self.probes, subject, &gateways),
            None => TlsState::Off,
        };
        tracing::info!(
            pid = pid.0,
            tls = tls.describe(),
            found = found.label(),
            "Watching a worker."
        );
        if let TlsState::Unusable(why) = &tls {
            self.problems.insert(
                pid,
                format!("TLS of process {pid} is not captured: {why}; plain traffic is"),
            );
        }
        self.workers.insert(
            pid,
            WatchedWorker {
                tls,
                since_unix_ns,
                found,
            },
        );
    }

    /// Processes of gateways, and what descends from them.
    fn own_processes(&self) -> BTreeSet<Pid> {
        let gateways = self.watcher.gateways().iter();
        gateways
            .flat_map(|gateway| {
                gateway
                    .workers
                    .iter()
                    .map(|worker| worker.pid)
                    .chain(gateway.master)
            })
            .chain(self.workers.keys().copied())
            .chain(self.descendants.iter().copied())
            .collect()
    }

    fn forget(&mut self, pid: Pid) {
        self.workers.remove(&pid);
        self.problems.remove(&pid);
        if let Some(tls) = &mut self.tls {
            tls.forget(pid);
        }
        if let Err(error) = self.probes.forget(pid.0) {
            tracing::warn!(pid = pid.0, %error, "Cannot forget a worker.");
        }
    }

    /// Renews the status.
    pub(super) fn publish(&self) {
        let mut problems: Vec<String> = self.problems.values().cloned().collect();
        let kernel = match self.probes.counters() {
            Ok(counters) => counters,
            Err(error) => {
                problems.push(format!("the probes' counters cannot be read: {error}"));
                self.status.load().kernel.clone()
            }
        };
        let gateways = watched(self.watcher.gateways(), &self.workers);
        let reader = self.reader_counters.snapshot();
        self.status.store(Arc::new(CaptureStatus {
            sockets: Some(self.probes.sockets()),
            gateways,
            kernel,
            reader,
            problems,
        }));
    }

    /// Unwatches, so that nothing more is written, then lets the reader empty the ring.
    pub(super) fn finish(mut self, reader: Reader) {
        self.probes.following().unfollow_all();
        for pid in self.own_processes() {
            if let Err(error) = self.probes.ignore(pid.0) {
                tracing::warn!(pid = pid.0, %error, "Cannot unwatch a worker.");
            }
        }
        reader.stop();
        self.publish();
        // Taking the probes off takes the kernel about 90 ms each, whoever asks. They record nothing any more, and the end
        // of the process, which everything else of the agent's end comes before, takes them off as well.
        self.probes.leave();
    }
}

fn gone(change: &GatewayChange) -> Option<ProcessId> {
    match change {
        GatewayChange::WorkerGone { worker, .. } => Some(*worker),
        GatewayChange::WorkerStarted { .. }
        | GatewayChange::GatewayGone(_)
        | GatewayChange::GatewayFound(_) => None,
    }
}

fn started(change: &GatewayChange) -> Option<Pid> {
    match change {
        GatewayChange::WorkerStarted { worker, .. } => Some(worker.pid),
        GatewayChange::WorkerGone { .. } | GatewayChange::GatewayGone(_) | GatewayChange::GatewayFound(_) => {
            None
        }
    }
}
