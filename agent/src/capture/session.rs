//! Capture as a whole: which gateways run, probes on their workers, the ring's reader, and what became of it all.
//!
//! In: a selector and a sink for batches of events. Out: those batches, and a [`CaptureStatus`] that is renewed several
//! times a second. One thread follows the gateways: a worker that a reload starts is watched soon after.
//! Deliberately absent: anything that is done with events.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::gateways::watch::{GatewayChange, Watcher};
use super::gateways::{Gateway, GatewayKind, Pid, SelectError, Selector, facts};
use super::probes::{CaptureError, KernelCounters, ProbeOptions, Probes};
use super::reader::{BatchSink, Reader, ReaderCounters, ReaderCounts, ReaderOptions, Tap};
use super::tls::choice::{TlsOptions, WorkersTls};
use super::tls::state::TlsState;
use super::usage;

/// How often the masters' children are listed, which costs one small file of `/proc` each. When they changed, everything
/// else is looked at too.
pub const GLANCE: Duration = Duration::from_millis(100);

/// How often the status is renewed, in glances.
const GLANCES_PER_PUBLICATION: u32 = 2;

/// How often everything about the gateways' processes is looked at, in glances.
const GLANCES_PER_TICK: u32 = 10;

/// What to capture, and how.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Which gateways.
    pub selector: Selector,
    /// Whether OpenSSL calls are probed, and where.
    pub tls: TlsOptions,
    /// Sizes of what the kernel keeps.
    pub probes: ProbeOptions,
    /// How the ring is read.
    pub reader: ReaderOptions,
}

/// Why capture cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No gateway can be told.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The kernel or the privileges do not allow it.
    #[error(transparent)]
    Probes(#[from] CaptureError),
    /// No thread can be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// A running capture. Dropping it takes every probe off.
#[derive(Debug)]
pub struct Session {
    status: Arc<ArcSwap<CaptureStatus>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How capture is, at one moment.
#[derive(Clone, Debug, Default)]
pub struct CaptureStatus {
    /// The gateways that run, with their watched workers.
    pub gateways: Vec<WatchedGateway>,
    /// What the probes counted.
    pub kernel: KernelCounters,
    /// What the reader counted.
    pub reader: ReaderCounts,
    /// What does not work, one sentence each.
    pub problems: Vec<String>,
}

/// A gateway and its watched workers.
#[derive(Clone, Debug)]
pub struct WatchedGateway {
    /// What runs.
    pub gateway: Gateway,
    /// How the TLS of each watched worker is captured.
    pub tls: BTreeMap<Pid, TlsState>,
}

impl Session {
    /// Loads the probes, puts them on what runs, and follows it from then on.
    ///
    /// # Errors
    /// [`SessionError`]. That no gateway runs yet is one only where processes were named.
    pub fn start(
        options: SessionOptions,
        sink: impl BatchSink + 'static,
        tap: Option<Tap>,
    ) -> Result<Self, SessionError> {
        let watcher = Watcher::new(options.selector)?;
        let mut probes = Probes::load(&options.probes)?;
        let ring = probes.ring()?;
        let reader = Reader::spawn(ring, options.reader, sink, tap).map_err(SessionError::Thread)?;
        let status = Arc::new(ArcSwap::from_pointee(CaptureStatus::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut follower = Follower {
            watcher,
            probes,
            reader_counters: Arc::clone(reader.counters()),
            tls: WorkersTls::new(options.tls),
            states: BTreeMap::new(),
            problems: BTreeMap::new(),
            status: Arc::clone(&status),
            children: Vec::new(),
        };
        follower.tick();
        usage::give_back_memory();
        let stopping = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("kongtap-follow".to_owned())
            .spawn(move || {
                let mut glances = 0;
                while !stopping.load(Ordering::Acquire) {
                    thread::park_timeout(GLANCE);
                    glances += 1;
                    if glances >= GLANCES_PER_TICK || follower.has_new_children() {
                        glances = 0;
                        follower.tick();
                    } else if glances % GLANCES_PER_PUBLICATION == 0 {
                        follower.publish();
                    }
                }
                follower.finish(reader);
            })
            .map_err(SessionError::Thread)?;
        Ok(Self {
            status,
            stop,
            thread: Some(thread),
        })
    }

    /// How it is. Shared: it is replaced several times a second.
    #[must_use]
    pub const fn status(&self) -> &Arc<ArcSwap<CaptureStatus>> {
        &self.status
    }

    /// Takes the probes off, hands over what the ring still holds, and leaves the last counts in the status.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It ends by a panic only if the code is wrong; the probes are off either way.
            drop(thread.join());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Follows the gateways and keeps the probes where they belong.
struct Follower {
    watcher: Watcher,
    probes: Probes,
    reader_counters: Arc<ReaderCounters>,
    tls: WorkersTls,
    states: BTreeMap<Pid, TlsState>,
    /// What does not work, by process.
    problems: BTreeMap<Pid, String>,
    status: Arc<ArcSwap<CaptureStatus>>,
    /// The masters' children at the last tick, where the kernel lists them.
    children: Vec<Pid>,
}

impl Follower {
    fn tick(&mut self) {
        // What began comes first: until it is watched, its traffic passes unseen.
        let (began, ended): (Vec<_>, Vec<_>) = self.watcher.tick().into_iter().partition(|change| {
            matches!(
                change,
                GatewayChange::WorkerStarted { .. } | GatewayChange::GatewayFound(_)
            )
        });
        let reused: BTreeSet<Pid> = began.iter().filter_map(started).collect();
        // All sockets before any TLS, which may take its time.
        let (watched, unwatched): (Vec<Pid>, Vec<Pid>) =
            began.iter().filter_map(started).partition(|pid| self.watch(*pid));
        drop(unwatched);
        for change in began.into_iter().chain(ended) {
            match change {
                GatewayChange::WorkerStarted { worker, .. } if !watched.contains(&worker.pid) => {}
                GatewayChange::WorkerStarted { gateway, worker } => {
                    let kind = self
                        .watcher
                        .gateways()
                        .iter()
                        .find(|g| g.id == gateway)
                        .map(|g| g.kind);
                    self.begin_tls(worker.pid, kind.unwrap_or(GatewayKind::Other));
                }
                GatewayChange::WorkerGone { worker, .. } if reused.contains(&worker.pid) => {}
                GatewayChange::WorkerGone { worker, .. } => self.forget(worker.pid),
                GatewayChange::GatewayFound(gateway) => {
                    tracing::info!(
                        kind = gateway.kind.label(),
                        pid = gateway.id.pid.0,
                        "Found a gateway."
                    );
                }
                GatewayChange::GatewayGone(id) => tracing::warn!(pid = id.pid.0, "A gateway is gone."),
            }
        }
        self.states.extend(self.tls.distrust(&mut self.probes));
        self.children = self.masters_children();
        self.publish();
    }

    fn has_new_children(&self) -> bool {
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

    /// Says whether the process is watched.
    fn watch(&mut self, pid: Pid) -> bool {
        let Err(error) = self.probes.watch(pid.0) else {
            return true;
        };
        self.problems
            .insert(pid, format!("process {pid} cannot be watched: {error}"));
        false
    }

    fn begin_tls(&mut self, pid: Pid, kind: GatewayKind) {
        let state = self.tls.begin(&mut self.probes, pid, kind);
        tracing::info!(pid = pid.0, tls = state.describe(), "Watching a worker.");
        if let TlsState::Unusable(why) = &state {
            self.problems.insert(
                pid,
                format!("TLS of process {pid} is not captured: {why}; plain traffic is"),
            );
        }
        self.states.insert(pid, state);
    }

    fn forget(&mut self, pid: Pid) {
        self.states.remove(&pid);
        self.problems.remove(&pid);
        self.tls.forget(pid);
        if let Err(error) = self.probes.forget(pid.0) {
            tracing::warn!(pid = pid.0, %error, "Cannot forget a worker.");
        }
    }

    fn publish(&self) {
        let mut problems: Vec<String> = self.problems.values().cloned().collect();
        let kernel = match self.probes.counters() {
            Ok(counters) => counters,
            Err(error) => {
                problems.push(format!("the probes' counters cannot be read: {error}"));
                self.status.load().kernel.clone()
            }
        };
        let gateways = self
            .watcher
            .gateways()
            .iter()
            .map(|gateway| WatchedGateway {
                gateway: gateway.clone(),
                tls: gateway
                    .workers
                    .iter()
                    .filter_map(|worker| Some((worker.pid, self.states.get(&worker.pid)?.clone())))
                    .collect(),
            })
            .collect();
        let reader = self.reader_counters.snapshot();
        self.status.store(Arc::new(CaptureStatus {
            gateways,
            kernel,
            reader,
            problems,
        }));
    }

    /// Unwatches, so that nothing more is written, then lets the reader empty the ring.
    fn finish(mut self, reader: Reader) {
        let watched: Vec<Pid> = self.states.keys().copied().collect();
        for pid in watched {
            if let Err(error) = self.probes.unwatch(pid.0) {
                tracing::warn!(pid = pid.0, %error, "Cannot take the probes off.");
            }
        }
        reader.stop();
        self.publish();
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
