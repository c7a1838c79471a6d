//! Selectors against a real nginx.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::facts::innermost_pid;
use super::live_nginx::{Nginx, Processes};
use super::{GatewayKind, Pid, PidList, SelectError, Selector, find};

/// Beyond the largest `pid_max` (proc(5)).
const NOBODY: Pid = Pid(1 << 23);

#[test]
fn a_gateway_is_described_the_same_however_it_is_named() {
    let Some(nginx) = Nginx::start(Processes::MasterAndWorkers(2)) else {
        return;
    };
    let workers = nginx.wait_for_workers(2);
    let selectors = [
        Selector::Pids(vec![nginx.pid()]),
        Selector::Pids(vec![workers[1]]),
        Selector::Pids(vec![workers[0], workers[1], nginx.pid()]),
        Selector::Reported {
            master: Some(nginx.pid()),
            workers: workers.clone(),
        },
        // One worker was replaced since the report.
        Selector::Reported {
            master: None,
            workers: vec![NOBODY, workers[0]],
        },
    ];
    for selector in selectors {
        let found = find(&selector).expect("a running gateway");
        assert_eq!(found.len(), 1, "{selector:?}: {found:?}");
        let gateway = &found[0];
        assert_eq!(gateway.master, Some(nginx.pid()), "{selector:?}");
        assert_eq!(gateway.kind, GatewayKind::Nginx, "{selector:?}");
        assert_eq!(gateway.prefix.as_deref(), Some(nginx.prefix()), "{selector:?}");
        assert_eq!(gateway.listeners, [nginx.address()], "{selector:?}");
        assert_eq!(
            gateway.error_log,
            Some(nginx.prefix().join("error.log")),
            "{selector:?}"
        );
        assert!(
            gateway
                .executable
                .as_ref()
                .is_some_and(|path| path.ends_with("nginx")),
            "{selector:?}"
        );
        let pids: Vec<Pid> = gateway.workers.iter().map(|worker| worker.pid).collect();
        assert_eq!(pids, workers, "{selector:?}");
    }
    let all = find(&Selector::Scan).expect("a running gateway");
    assert!(all.iter().any(|gateway| gateway.master == Some(nginx.pid())));
    assert!(all.is_sorted_by_key(|gateway| gateway.id));
}

#[test]
fn a_gateway_in_a_container_is_found_by_the_pids_that_it_knows() {
    let may_unshare = Command::new("unshare")
        .args(["--pid", "--mount", "--fork", "true"])
        .stderr(Stdio::null())
        .status();
    if !may_unshare.is_ok_and(|status| status.success()) {
        assert!(
            std::env::var_os("REQUIRE_KERNEL").is_none(),
            "no namespaces, and REQUIRE_KERNEL is set"
        );
        std::io::stderr()
            .write_all(b"skipped: namespaces need root\n")
            .expect("standard error");
        return;
    }
    let Some(nginx) = Nginx::start(Processes::Contained(1)) else {
        return;
    };
    let worker = nginx.wait_for_workers(1)[0];
    let own_view = innermost_pid(worker).expect("a living worker");
    assert_ne!(own_view, worker, "it has a namespace of its own");
    let reported = |master, workers| find(&Selector::Reported { master, workers });
    let found = reported(Some(Pid(1)), vec![own_view]).expect("a running gateway");
    assert_eq!(found[0].master, Some(nginx.pid()));
    assert_eq!(found[0].workers[0].pid, worker);
    assert_eq!(found[0].listeners, [nginx.address()]);
    // A second container numbers its processes alike.
    let Some(_other) = Nginx::start(Processes::Contained(1)) else {
        return;
    };
    let error = reported(Some(Pid(1)), Vec::new()).expect_err("two fit");
    assert!(matches!(error, SelectError::ReportedAmbiguous(_)), "{error}");
}

#[test]
fn kong_is_known_by_the_files_of_its_prefix() {
    let Some(nginx) = Nginx::start(Processes::MasterAndWorkers(1)) else {
        return;
    };
    std::fs::write(nginx.prefix().join(".kong_env"), "").expect("mark");
    let found = find(&Selector::Pids(vec![nginx.pid()])).expect("a running gateway");
    assert_eq!(found[0].kind, GatewayKind::Kong);
}

#[test]
fn what_is_no_gateway_says_so() {
    let said = |selector: Selector| find(&selector).expect_err("no gateway").to_string();
    let nobody = said(Selector::Pids(vec![NOBODY]));
    assert!(nobody.starts_with("no process 8388608"), "{nobody}");
    let elsewhere = said(Selector::Reported {
        master: Some(Pid(1)),
        workers: vec![NOBODY],
    });
    assert!(
        elsewhere.contains("1, 8388608") || elsewhere.contains("--pid"),
        "{elsewhere}"
    );
    assert!(matches!(
        find(&Selector::Pids(Vec::new())),
        Err(SelectError::NoGateway)
    ));
}

#[test]
fn a_thread_is_not_taken_for_its_process() {
    let (told, tell) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let link = std::fs::read_link("/proc/thread-self").expect("thread-self");
        let tid = link
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.parse().ok());
        told.send(tid.expect("a thread id")).expect("receiver");
        ended.recv().expect("the end");
    });
    let tid = Pid(tell.recv().expect("thread id"));
    let error = find(&Selector::Pids(vec![tid])).expect_err("a thread");
    assert_eq!(
        error.to_string(),
        format!(
            "{tid} is a thread of process {own}; give {own} instead",
            own = std::process::id()
        )
    );
    end.send(()).expect("thread");
    thread.join().expect("thread");
}

#[test]
fn any_process_can_be_named() {
    let mut child = Command::new("sleep")
        .arg("60")
        .stdout(Stdio::null())
        .spawn()
        .expect("sleep");
    let found = find(&Selector::Pids(vec![Pid(child.id())])).expect("a running process");
    assert_eq!((found[0].kind, found[0].master), (GatewayKind::Other, None));
    assert_eq!(found[0].workers.len(), 1);
    child.kill().expect("kill");
    child.wait().expect("wait");
    let error = find(&Selector::Pids(vec![Pid(child.id())])).expect_err("a dead process");
    assert!(matches!(error, SelectError::NoSuchProcess(_)), "{error}");
}

#[test]
fn pids_in_messages_are_separated() {
    assert_eq!(PidList(vec![Pid(1), Pid(20)]).to_string(), "1, 20");
    assert_eq!(PidList(Vec::new()).to_string(), "");
}
