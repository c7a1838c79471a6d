//! Finds the gateways of this host: Kong, OpenResty and nginx masters with their workers, or a process that was named.
//!
//! In: a [`Selector`] and `/proc`. Out: [`Gateway`]s in the order of their masters' pids. [`classify`] holds the rules
//! (pure), [`facts`] reads `/proc`, [`assemble`] joins the two, [`watch`] follows what was found. Deliberately absent:
//! probes, and anything that writes to, signals or stops a process.
//!
//! A pid here is what the agent's own `/proc` shows. The probes report pids of the initial PID namespace; the two are
//! the same only when the agent runs in that namespace, which `host` checks.

pub mod assemble;
pub mod classify;
pub mod facts;
pub mod watch;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use facts::ProcessFacts;

/// A running gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Names it for as long as it runs: its master, or its only process. When the master died before its workers, the
    /// master that was.
    pub id: ProcessId,
    /// What it is.
    pub kind: GatewayKind,
    /// The master; none with `master_process off`, for a process that is no nginx, and once it died before its workers.
    pub master: Option<Pid>,
    /// The processes that carry traffic, by pid.
    pub workers: Vec<Worker>,
    /// `-p` of the command line, as the gateway's own mount namespace has it.
    pub prefix: Option<PathBuf>,
    /// The executable, as the gateway's own mount namespace has it.
    pub executable: Option<PathBuf>,
    /// The error log, as the gateway's own mount namespace has it: nginx keeps it open as its standard error.
    pub error_log: Option<PathBuf>,
    /// The TCP addresses that it listens on, sorted. Empty when its descriptors may not be read.
    pub listeners: Vec<SocketAddr>,
}

/// What kind of gateway it is. Only names it to the user: all are captured alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GatewayKind {
    /// Kong.
    Kong,
    /// OpenResty without Kong (also what is built on it, such as APISIX).
    OpenResty,
    /// nginx or a fork with its process titles.
    Nginx,
    /// A process that was named and is none of these.
    Other,
}

impl GatewayKind {
    /// The word for tables and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Kong => "kong",
            Self::OpenResty => "openresty",
            Self::Nginx => "nginx",
            Self::Other => "other",
        }
    }
}

/// A process that carries a gateway's traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its pid, which is its thread group.
    pub pid: Pid,
    /// When it started: with the pid it names one process since boot.
    pub start_time: StartTime,
    /// How far in its life it is.
    pub state: WorkerState,
}

impl Worker {
    /// Its name since boot.
    #[must_use]
    pub const fn id(&self) -> ProcessId {
        ProcessId {
            pid: self.pid,
            start_time: self.start_time,
        }
    }
}

/// How far in its life a worker is. All three carry traffic, or are about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkerState {
    /// Forked, and still under its master's title while modules start (Kong's `init_worker` runs then).
    Starting,
    /// Serves.
    Serving,
    /// Finishes what it has after a reload or an upgrade, and takes nothing new.
    ShuttingDown,
}

/// A process id in the agent's PID namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(pub u32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When a process started, in clock ticks since boot (`/proc/PID/stat` field 22).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StartTime(pub u64);

/// One process since boot: a reused pid has another start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId {
    /// Its pid.
    pub pid: Pid,
    /// When it started.
    pub start_time: StartTime,
}

/// Which gateways to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Every Kong, OpenResty and nginx that `/proc` shows.
    Scan,
    /// These processes: a master, or a worker, which stands for its whole gateway (it would be gone with the next
    /// reload); anything else is watched by itself.
    Pids(Vec<Pid>),
    /// The gateway whose Admin API reported these pids (`GET /`, `pids`). They are pids of the gateway's own PID
    /// namespace, so in a container 1, 12, 13 …
    Reported {
        /// `pids.master`.
        master: Option<Pid>,
        /// `pids.workers`.
        workers: Vec<Pid>,
    },
}

/// Why a selector names no gateway.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// `/proc` itself cannot be listed.
    #[error("cannot list /proc; mount it, and without hidepid or with CAP_SYS_PTRACE")]
    Proc(#[source] io::Error),
    /// No process has this pid.
    #[error(
        "no process {0} (it ended, or it belongs to another PID namespace); `kongtap doctor` lists gateways"
    )]
    NoSuchProcess(Pid),
    /// The pid is that of a thread.
    #[error("{given} is a thread of process {process}; give {process} instead")]
    Thread {
        /// What was given.
        given: Pid,
        /// Whose thread it is.
        process: Pid,
    },
    /// Nothing that looks like a gateway runs here.
    #[error(
        "no gateway found: no Kong, OpenResty or nginx runs here; start it, name it with --pid, or share the host's PID namespace"
    )]
    NoGateway,
    /// No process here is the one that the Admin API told of.
    #[error(
        "no gateway here has the pids that the Admin API reported ({0}); it may run on another host: check --admin-url or use --pid"
    )]
    ReportedElsewhere(PidList),
    /// More than one gateway fits the Admin API's pids, as containers number theirs alike.
    #[error(
        "the pids that the Admin API reported fit several gateways here (masters {0}); choose one with --pid"
    )]
    ReportedAmbiguous(PidList),
}

/// Pids in a message, with commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PidList(pub Vec<Pid>);

impl fmt::Display for PidList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pid) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            pid.fmt(f)?;
        }
        Ok(())
    }
}

/// The gateways that `selector` names, by pid of master.
///
/// # Errors
/// When it names none, or cannot be told from another; see [`SelectError`].
pub fn find(selector: &Selector) -> Result<Vec<Gateway>, SelectError> {
    let mut found = match selector {
        Selector::Scan => scan()?,
        Selector::Pids(pids) => {
            let mut named = Vec::new();
            for pid in pids {
                named.push(of_pid(*pid)?);
            }
            named
        }
        Selector::Reported { master, workers } => vec![reported(*master, workers)?],
    };
    found.sort_by_key(|gateway| gateway.id);
    found.dedup_by_key(|gateway| gateway.id);
    if found.is_empty() {
        return Err(SelectError::NoGateway);
    }
    Ok(found)
}

fn scan() -> Result<Vec<Gateway>, SelectError> {
    let processes = facts::all_processes().map_err(SelectError::Proc)?;
    Ok(assemble::gateways(&processes))
}

fn of_pid(pid: Pid) -> Result<Gateway, SelectError> {
    let process = facts::thread_group(pid).ok_or(SelectError::NoSuchProcess(pid))?;
    if process != pid {
        return Err(SelectError::Thread { given: pid, process });
    }
    let own = ProcessFacts::read(pid).ok_or(SelectError::NoSuchProcess(pid))?;
    let master = match classify::role(&own) {
        classify::Role::Master => Some(own.clone()),
        classify::Role::Worker(_) | classify::Role::Helper => {
            ProcessFacts::read(own.parent).filter(|parent| classify::role(parent) == classify::Role::Master)
        }
        classify::Role::Candidate | classify::Role::Foreign => None,
    };
    // A worker that is starting still wears its master's title, so look one up: the oldest master is the gateway.
    let master = master.map(|found| {
        ProcessFacts::read(found.parent)
            .filter(|parent| {
                parent.title == found.title
                    && assemble::is_starting_worker(&found, &facts::children_of(found.id.pid))
            })
            .unwrap_or(found)
    });
    Ok(match master {
        Some(master) => {
            let children = facts::children_of(master.id.pid);
            assemble::of_master(&master, &children)
        }
        None => assemble::of_lone_process(&own),
    })
}

fn reported(master: Option<Pid>, workers: &[Pid]) -> Result<Gateway, SelectError> {
    let mut fitting = scan()?;
    fitting.retain(|gateway| fits_report(gateway, master, workers));
    let all = || PidList(master.into_iter().chain(workers.iter().copied()).collect());
    if fitting.len() > 1 {
        return Err(SelectError::ReportedAmbiguous(PidList(
            fitting.iter().map(|gateway| gateway.id.pid).collect(),
        )));
    }
    fitting.pop().ok_or_else(|| SelectError::ReportedElsewhere(all()))
}

/// Whether a gateway's pids, as its own namespace numbers them, are those of the report. One worker that agrees is
/// enough: a reload may have replaced others since.
fn fits_report(gateway: &Gateway, master: Option<Pid>, workers: &[Pid]) -> bool {
    let same_master = match (gateway.master, master) {
        (Some(own), Some(reported)) => facts::innermost_pid(own) == Some(reported),
        (_, None) => true,
        (None, Some(_)) => false,
    };
    same_master
        && (workers.is_empty()
            || gateway
                .workers
                .iter()
                .any(|worker| facts::innermost_pid(worker.pid).is_some_and(|own| workers.contains(&own))))
}

#[cfg(test)]
pub mod live_nginx;
#[cfg(test)]
mod tests;
