//! Makes gateways of processes: masters with their children, workers without a master, single processes.
//!
//! In: facts of processes. Out: [`Gateway`]s. The grouping is pure; what is asked of `/proc` besides (Kong's files,
//! listeners, error log) is asked once a gateway.

use std::path::PathBuf;

use super::classify::{self, CommandLine, Role};
use super::facts::{self, ProcessFacts};
use super::{Gateway, GatewayKind, Pid, Worker, WorkerState};
use crate::capture::sockets;

/// The gateways among `processes`, in the order of their masters' pids.
#[must_use]
pub fn gateways(processes: &[ProcessFacts]) -> Vec<Gateway> {
    group(processes)
        .into_iter()
        .filter_map(|group| match group {
            Group::Master(master, children) => Some(of_master(master, &children)),
            Group::Orphans(workers) => of_orphans(&workers),
            // An nginx that only tests its configuration, or is about to become a master, has no event loop.
            Group::Single(process) => facts::has_event_loop(process.id.pid).then(|| of_lone_process(process)),
        })
        .collect()
}

/// Processes that belong together.
#[derive(Debug, PartialEq, Eq)]
enum Group<'a> {
    /// A master and all its children.
    Master(&'a ProcessFacts, Vec<ProcessFacts>),
    /// Workers of one executable whose master died.
    Orphans(Vec<&'a ProcessFacts>),
    /// A process that may be master and worker in one.
    Single(&'a ProcessFacts),
}

fn group(processes: &[ProcessFacts]) -> Vec<Group<'_>> {
    let children = |pid: Pid| -> Vec<ProcessFacts> {
        processes
            .iter()
            .filter(|process| process.parent == pid)
            .cloned()
            .collect()
    };
    let is_master = |process: &ProcessFacts| {
        classify::role(process) == Role::Master
            && !is_starting_worker_of(process, processes, &children(process.id.pid))
    };
    let masters: Vec<&ProcessFacts> = processes.iter().filter(|process| is_master(process)).collect();
    let has_master = |process: &ProcessFacts| masters.iter().any(|master| master.id.pid == process.parent);
    let mut groups = Vec::new();
    let mut orphans: Vec<Vec<&ProcessFacts>> = Vec::new();
    for process in processes {
        match classify::role(process) {
            Role::Master if masters.contains(&process) => {
                groups.push(Group::Master(process, children(process.id.pid)));
            }
            Role::Worker(_) if !has_master(process) => {
                let family = orphans.iter_mut().find(|family| {
                    family
                        .first()
                        .is_some_and(|other| other.executable == process.executable)
                });
                match family {
                    Some(family) => family.push(process),
                    None => orphans.push(vec![process]),
                }
            }
            Role::Candidate if !has_master(process) => groups.push(Group::Single(process)),
            Role::Master | Role::Worker(_) | Role::Helper | Role::Candidate | Role::Foreign => {}
        }
    }
    groups.extend(orphans.into_iter().map(Group::Orphans));
    groups
}

fn is_starting_worker_of(process: &ProcessFacts, all: &[ProcessFacts], children: &[ProcessFacts]) -> bool {
    all.iter()
        .find(|other| other.id.pid == process.parent)
        .is_some_and(|parent| classify::role(parent) == Role::Master)
        && is_starting_worker(process, children)
}

/// Whether a master's child that is titled as a master is a worker in its first moments. The other thing it can be is
/// the new master of a binary upgrade, and that one has children of nginx's kind.
#[must_use]
pub fn is_starting_worker(process: &ProcessFacts, children: &[ProcessFacts]) -> bool {
    classify::role(process) == Role::Master
        && !children
            .iter()
            .any(|child| classify::role(child) != Role::Foreign)
}

/// The worker that a master's child is, if it is one.
#[must_use]
pub fn worker_of(child: &ProcessFacts, grandchildren: impl FnOnce() -> Vec<ProcessFacts>) -> Option<Worker> {
    let state = match classify::role(child) {
        Role::Worker(state) => state,
        Role::Master if is_starting_worker(child, &grandchildren()) => WorkerState::Starting,
        Role::Master | Role::Helper | Role::Candidate | Role::Foreign => return None,
    };
    Some(Worker {
        pid: child.id.pid,
        start_time: child.id.start_time,
        state,
    })
}

/// The gateway of a master and its children.
#[must_use]
pub fn of_master(master: &ProcessFacts, children: &[ProcessFacts]) -> Gateway {
    let mut workers: Vec<Worker> = children
        .iter()
        .filter_map(|child| worker_of(child, || facts::children_of(child.id.pid)))
        .collect();
    workers.sort_by_key(Worker::id);
    Gateway {
        master: Some(master.id.pid),
        workers,
        ..described(master)
    }
}

/// A gateway that is one process: nginx with `master_process off`, or anything that the user named.
#[must_use]
pub fn of_lone_process(process: &ProcessFacts) -> Gateway {
    let state = match classify::role(process) {
        Role::Worker(state) => state,
        Role::Master | Role::Helper | Role::Candidate | Role::Foreign => WorkerState::Serving,
    };
    Gateway {
        master: None,
        workers: vec![Worker {
            pid: process.id.pid,
            start_time: process.id.start_time,
            state,
        }],
        ..described(process)
    }
}

fn of_orphans(workers: &[&ProcessFacts]) -> Option<Gateway> {
    let eldest = workers.iter().min_by_key(|worker| worker.id)?;
    let mut gateway = of_lone_process(eldest);
    gateway.workers = workers
        .iter()
        .filter_map(|worker| worker_of(worker, Vec::new))
        .collect();
    gateway.workers.sort_by_key(Worker::id);
    Some(gateway)
}

fn described(process: &ProcessFacts) -> Gateway {
    let pid = process.id.pid;
    let is_nginx = classify::role(process) != Role::Foreign;
    let command = if is_nginx {
        classify::command_line(&process.title)
    } else {
        CommandLine::default()
    };
    let kind = if is_nginx {
        classify::kind(
            process,
            &command,
            facts::kong_marks(pid, command.prefix.as_deref()),
        )
    } else {
        GatewayKind::Other
    };
    Gateway {
        id: process.id,
        kind,
        master: None,
        workers: Vec::new(),
        error_log: facts::standard_error(pid)
            .or_else(|| in_prefix(command.prefix.as_ref(), command.error_log)),
        prefix: command.prefix,
        executable: process.executable.clone(),
        listeners: sockets::listeners(pid).unwrap_or_default(),
    }
}

/// `-e` counts from the prefix; without one nobody outside the gateway can tell.
fn in_prefix(prefix: Option<&PathBuf>, error_log: Option<PathBuf>) -> Option<PathBuf> {
    let error_log = error_log?;
    if error_log.is_absolute() {
        return Some(error_log);
    }
    Some(prefix?.join(error_log))
}

#[cfg(test)]
mod tests;
