//! Capture as a whole: which gateways run, probes on their workers, the ring's reader, and what became of it all.
//!
//! In: a selector and a sink for batches of events. Out: those batches, and a [`CaptureStatus`] that is renewed several
//! times a second. One thread follows the gateways (`follower`): the kernel wakes it when one of their processes is born
//! or ends, and it glances at them besides. Deliberately absent: anything that is done with events.

mod follower;
mod sharing;
mod tls;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;

use self::follower::Follower;
use super::gateways::watch::Watcher;
use super::gateways::{Gateway, Pid, SelectError, Selector};
use super::probes::following::Woken;
use super::probes::{CaptureError, Controls, KernelCounters, ProbeOptions, Probes};
use super::reader::{BatchSink, Reader, ReaderCounters, ReaderCounts, ReaderOptions, Tap};
use super::sources::SocketSource;
use super::tls::choice::TlsOptions;
use super::tls::state::TlsState;
use super::usage;
use crate::clock;

/// How often the masters' children are listed, which costs one small file of `/proc` each. When they changed, everything
/// else is looked at too. The kernel tells of most changes at once; this is for those that it does not tell.
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

/// A running capture. Dropped, it records nothing any more; its probes are taken off at the end of the process.
#[derive(Debug)]
pub struct Session {
    status: Arc<ArcSwap<CaptureStatus>>,
    reader: Arc<ReaderCounters>,
    controls: Option<Controls>,
    /// Closed, it ends the thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// How capture is, at one moment.
#[derive(Clone, Debug, Default)]
pub struct CaptureStatus {
    /// Where socket bytes come from; none before the probes are loaded.
    pub sockets: Option<SocketSource>,
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
    /// The workers that are watched.
    pub workers: BTreeMap<Pid, WatchedWorker>,
}

/// A watched worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedWorker {
    /// How its TLS is captured.
    pub tls: TlsState,
    /// Since when it is watched, nanoseconds of Unix time.
    pub since_unix_ns: u64,
    /// How it was found.
    pub found: Found,
}

/// How a worker was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It ran when its gateway was found.
    Running,
    /// The kernel told of its birth, and had it watched from then on.
    Birth,
    /// By a look at its master's children.
    Glance,
}

impl Found {
    /// The word for `/status`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Birth => "birth",
            Self::Glance => "glance",
        }
    }
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
        let controls = probes.controls()?;
        let reader = Reader::spawn(ring, options.reader, sink, tap).map_err(SessionError::Thread)?;
        let status = Arc::new(ArcSwap::from_pointee(CaptureStatus::default()));
        let mut follower = Follower::new(watcher, probes, options.tls, Arc::clone(&status), &reader);
        follower.begin_all();
        usage::give_back_memory();
        let counters = Arc::clone(reader.counters());
        let (stop, stopping) = UnixStream::pair().map_err(SessionError::Thread)?;
        let thread = thread::Builder::new()
            .name("kongtap-follow".to_owned())
            .spawn(move || {
                follow(&mut follower, &stopping);
                follower.finish(reader);
            })
            .map_err(SessionError::Thread)?;
        Ok(Self {
            status,
            reader: counters,
            controls: Some(controls),
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// How it is. Shared: it is replaced several times a second.
    #[must_use]
    pub const fn status(&self) -> &Arc<ArcSwap<CaptureStatus>> {
        &self.status
    }

    /// The reader's counters.
    #[must_use]
    pub const fn reader(&self) -> &Arc<ReaderCounters> {
        &self.reader
    }

    /// A handle to the probes, for whoever takes the events. There is one.
    pub const fn controls(&mut self) -> Option<Controls> {
        self.controls.take()
    }

    /// Takes the probes off, hands over what the ring still holds, and leaves the last counts in the status.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
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

/// Follows the gateways until the other end of `stopping` is closed.
fn follow(follower: &mut Follower, stopping: &UnixStream) {
    let mut glances = 0;
    let mut glanced = clock::instant();
    loop {
        let left = GLANCE.saturating_sub(glanced.elapsed());
        if follower.wait(stopping.as_fd(), left) == Woken::ByOther {
            return;
        }
        let told = follower.hear();
        let is_glance = glanced.elapsed() >= GLANCE;
        if is_glance {
            glanced = clock::instant();
            glances += 1;
        }
        if told || (is_glance && (glances >= GLANCES_PER_TICK || follower.has_new_children())) {
            glances = 0;
            follower.tick();
        } else if is_glance && glances % GLANCES_PER_PUBLICATION == 0 {
            follower.publish();
        }
    }
}

/// The gateways with those of their workers that are watched.
fn watched(gateways: &[Gateway], workers: &BTreeMap<Pid, WatchedWorker>) -> Vec<WatchedGateway> {
    let of = |gateway: &Gateway| {
        let own = gateway.workers.iter();
        own.filter_map(|worker| Some((worker.pid, workers.get(&worker.pid)?.clone())))
            .collect()
    };
    let watched = |gateway: &Gateway| WatchedGateway {
        gateway: gateway.clone(),
        workers: of(gateway),
    };
    gateways.iter().map(watched).collect()
}
