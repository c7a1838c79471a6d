use std::path::PathBuf;

use super::{Group, group, in_prefix};
use crate::capture::gateways::facts::{ProcessFacts, Title};
use crate::capture::gateways::{Pid, ProcessId, StartTime};

fn process(pid: u32, parent: u32, title: &str) -> ProcessFacts {
    ProcessFacts {
        id: ProcessId {
            pid: Pid(pid),
            start_time: StartTime(u64::from(pid)),
        },
        parent: Pid(parent),
        comm: if title.contains("nginx") { "nginx" } else { "init" }.to_owned(),
        title: Title(title.to_owned()),
        executable: title.contains("nginx").then(|| PathBuf::from("/usr/sbin/nginx")),
    }
}

/// Groups as text: `M10(11 12)`, `O(21 22)`, `S30`.
fn check(processes: &[(u32, u32, &str)], expected: &[&str]) {
    let processes: Vec<ProcessFacts> = processes
        .iter()
        .map(|(pid, parent, title)| process(*pid, *parent, title))
        .collect();
    let pids = |list: Vec<Pid>| list.iter().map(Pid::to_string).collect::<Vec<_>>().join(" ");
    let found: Vec<String> = group(&processes)
        .into_iter()
        .map(|group| match group {
            Group::Master(master, children) => {
                format!(
                    "M{}({})",
                    master.id.pid,
                    pids(children.iter().map(|child| child.id.pid).collect())
                )
            }
            Group::Orphans(workers) => format!(
                "O({})",
                pids(workers.iter().map(|worker| worker.id.pid).collect())
            ),
            Group::Single(process) => format!("S{}", process.id.pid),
        })
        .collect();
    assert_eq!(found, expected, "{processes:?}");
}

const MASTER: &str = "nginx: master process /usr/sbin/nginx";
const WORKER: &str = "nginx: worker process";

#[test]
fn processes_are_grouped_by_master() {
    check(&[], &[]);
    check(
        &[
            (1, 0, "init"),
            (10, 1, MASTER),
            (11, 10, WORKER),
            (12, 10, WORKER),
        ],
        &["M10(11 12)"],
    );
    check(
        &[
            (10, 1, MASTER),
            (11, 10, WORKER),
            (20, 1, MASTER),
            (21, 20, WORKER),
        ],
        &["M10(11)", "M20(21)"],
    );
}

#[test]
fn a_starting_worker_is_no_master() {
    check(&[(10, 1, MASTER), (11, 10, MASTER)], &["M10(11)"]);
}

#[test]
fn an_upgrades_new_master_is_a_gateway_of_its_own() {
    check(
        &[
            (10, 1, MASTER),
            (11, 10, WORKER),
            (20, 10, MASTER),
            (21, 20, WORKER),
        ],
        &["M10(11 20)", "M20(21)"],
    );
}

#[test]
fn workers_without_their_master_stay_together() {
    check(&[(11, 1, WORKER), (12, 1, WORKER)], &["O(11 12)"]);
}

#[test]
fn a_single_process_is_a_candidate_unless_it_is_a_masters_child() {
    check(&[(30, 1, "nginx -g master_process off;")], &["S30"]);
    check(&[(10, 1, MASTER), (11, 10, "nginx")], &["M10(11)"]);
}

#[test]
fn a_relative_error_log_counts_from_the_prefix() {
    let check = |prefix: Option<&str>, log: Option<&str>, expected: Option<&str>| {
        let found = in_prefix(prefix.map(PathBuf::from).as_ref(), log.map(PathBuf::from));
        assert_eq!(found, expected.map(PathBuf::from), "{prefix:?} {log:?}");
    };
    check(Some("/srv"), Some("logs/error.log"), Some("/srv/logs/error.log"));
    check(Some("/srv"), Some("/var/log/e"), Some("/var/log/e"));
    check(None, Some("logs/error.log"), None);
    check(Some("/srv"), None, None);
}
