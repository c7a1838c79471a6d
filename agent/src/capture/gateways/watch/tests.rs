//! The difference between two views as a table, and a real nginx through its life.

use super::changes::{GatewayChange, changes};
use super::{Lost, Watcher};
use crate::capture::gateways::live_nginx::{Nginx, Processes, until};
use crate::capture::gateways::{
    Gateway, GatewayKind, Pid, ProcessId, Selector, StartTime, Worker, WorkerState,
};

fn gateway(pid: u32, workers: &[(u32, u64)]) -> Gateway {
    Gateway {
        id: ProcessId {
            pid: Pid(pid),
            start_time: StartTime(1),
        },
        kind: GatewayKind::Nginx,
        master: Some(Pid(pid)),
        workers: workers
            .iter()
            .map(|(pid, start)| Worker {
                pid: Pid(*pid),
                start_time: StartTime(*start),
                state: WorkerState::Serving,
            })
            .collect(),
        prefix: None,
        executable: None,
        error_log: None,
        listeners: Vec::new(),
    }
}

/// Changes as text: `found 10`, `gone 10`, `+11`, `-11`.
fn words(changes: &[GatewayChange]) -> Vec<String> {
    changes
        .iter()
        .map(|change| match change {
            GatewayChange::GatewayFound(gateway) => format!("found {}", gateway.id.pid),
            GatewayChange::GatewayGone(id) => format!("gone {}", id.pid),
            GatewayChange::WorkerStarted { worker, .. } => format!("+{}", worker.pid),
            GatewayChange::WorkerGone { worker, .. } => format!("-{}", worker.pid),
        })
        .collect()
}

#[test]
fn what_changed_is_told_in_order() {
    let check = |before: &[Gateway], after: &[Gateway], expected: &[&str]| {
        assert_eq!(words(&changes(before, after)), expected, "{before:?} {after:?}");
    };
    let two = gateway(10, &[(11, 5), (12, 5)]);
    check(&[], &[], &[]);
    check(&[], std::slice::from_ref(&two), &["found 10", "+11", "+12"]);
    check(std::slice::from_ref(&two), std::slice::from_ref(&two), &[]);
    check(std::slice::from_ref(&two), &[], &["-11", "-12", "gone 10"]);
    // A reload.
    check(
        std::slice::from_ref(&two),
        &[gateway(10, &[(12, 5), (13, 9)])],
        &["-11", "+13"],
    );
    // A pid that another process has now.
    check(
        std::slice::from_ref(&two),
        &[gateway(10, &[(11, 8), (12, 5)])],
        &["-11", "+11"],
    );
    // A starting worker that was an upgrade's master.
    check(
        &[gateway(10, &[(11, 5), (20, 9)])],
        &[gateway(10, &[(11, 5)]), gateway(20, &[(21, 9)])],
        &["-20", "found 20", "+21"],
    );
}

/// Everything that a watcher tells of one nginx, until its view of that nginx is as wanted.
fn follow(
    watcher: &mut Watcher,
    what: &str,
    mut is_reached: impl FnMut(&[Gateway]) -> bool,
) -> Vec<GatewayChange> {
    let mut told = Vec::new();
    until(what, || {
        told.extend(watcher.tick());
        is_reached(watcher.gateways())
    });
    told
}

fn of_master(gateways: &[Gateway], master: Pid) -> Option<&Gateway> {
    gateways.iter().find(|gateway| gateway.master == Some(master))
}

fn serving(gateways: &[Gateway], master: Pid) -> Vec<Pid> {
    let workers = of_master(gateways, master).map_or(&[][..], |gateway| &gateway.workers);
    let serving = workers
        .iter()
        .filter(|worker| worker.state == WorkerState::Serving);
    serving.map(|worker| worker.pid).collect()
}

#[test]
fn a_reload_is_followed_however_the_gateway_was_named() {
    let Some(nginx) = Nginx::start(Processes::MasterAndWorkers(2)) else {
        return;
    };
    type Naming = fn(Pid, Pid) -> Selector;
    let named: [(&str, Naming); 3] = [
        ("scan", |_, _| Selector::Scan),
        ("master", |master, _| Selector::Pids(vec![master])),
        ("worker", |_, worker| Selector::Pids(vec![worker])),
    ];
    for (name, selector) in named {
        let mut watcher = Watcher::new(selector(nginx.pid(), nginx.wait_for_workers(2)[0])).expect(name);
        let told = words(&follow(&mut watcher, "two workers", |gateways| {
            serving(gateways, nginx.pid()).len() == 2
        }));
        let before = serving(watcher.gateways(), nginx.pid());
        for expected in [
            format!("found {}", nginx.pid()),
            format!("+{}", before[0]),
            format!("+{}", before[1]),
        ] {
            assert!(told.contains(&expected), "{name}: {expected} in {told:?}");
        }
        nginx.signal("HUP");
        let told = words(&follow(&mut watcher, "the new workers alone", |gateways| {
            let all = of_master(gateways, nginx.pid()).map_or(0, |gateway| gateway.workers.len());
            let now = serving(gateways, nginx.pid());
            all == 2 && now.len() == 2 && now.iter().all(|pid| !before.contains(pid))
        }));
        for gone in &before {
            assert!(told.contains(&format!("-{gone}")), "{name}: -{gone} in {told:?}");
        }
        assert_eq!(
            words(&watcher.tick()),
            Vec::<String>::new(),
            "{name}: nothing more to tell"
        );
    }
}

#[test]
fn a_worker_that_is_still_busy_is_watched_until_it_ends() {
    let Some(nginx) = Nginx::start(Processes::MasterAndWorkers(1)) else {
        return;
    };
    let old = nginx.wait_for_workers(1)[0];
    let busy = nginx.begin_request();
    let mut watcher = Watcher::new(Selector::Pids(vec![nginx.pid()])).expect("a running gateway");
    nginx.signal("HUP");
    follow(
        &mut watcher,
        "the old worker finishing beside the new one",
        |gateways| {
            let workers = of_master(gateways, nginx.pid()).map_or(&[][..], |gateway| &gateway.workers);
            let ends = workers
                .iter()
                .any(|worker| worker.pid == old && worker.state == WorkerState::ShuttingDown);
            ends && workers.iter().any(|worker| worker.state == WorkerState::Serving)
        },
    );
    drop(busy);
    let told = words(&follow(&mut watcher, "the old worker's end", |gateways| {
        of_master(gateways, nginx.pid())
            .is_some_and(|gateway| gateway.workers.iter().all(|worker| worker.pid != old))
    }));
    assert_eq!(told, [format!("-{old}")]);
}

#[test]
fn a_binary_upgrade_is_followed_to_the_new_master() {
    let Some(nginx) = Nginx::start(Processes::MasterAndWorkers(2)) else {
        return;
    };
    let mut watcher = Watcher::new(Selector::Pids(vec![nginx.pid()])).expect("a running gateway");
    follow(&mut watcher, "two workers", |gateways| {
        serving(gateways, nginx.pid()).len() == 2
    });
    nginx.signal("USR2");
    let told = words(&follow(
        &mut watcher,
        "a second master with workers",
        |gateways| {
            let new = gateways
                .iter()
                .filter_map(|gateway| gateway.master)
                .find(|master| *master != nginx.pid());
            new.is_some_and(|new| {
                serving(gateways, new).len() == 2 && serving(gateways, nginx.pid()).len() == 2
            })
        },
    ));
    let new = watcher
        .gateways()
        .iter()
        .filter_map(|gateway| gateway.master)
        .find(|master| *master != nginx.pid());
    let new = new.expect("just seen");
    assert!(told.contains(&format!("found {new}")), "{told:?}");
    nginx.signal("QUIT");
    let told = words(&follow(&mut watcher, "the old master's end", |gateways| {
        gateways.len() == 1 && serving(gateways, new).len() == 2
    }));
    assert!(told.contains(&format!("gone {}", nginx.pid())), "{told:?}");
}

#[test]
fn an_upgrade_that_is_over_between_two_looks_is_followed_too() {
    let Some(nginx) = Nginx::start(Processes::MasterAndWorkers(2)) else {
        return;
    };
    assert_eq!(nginx.wait_for_workers(2).len(), 2);
    let mut watcher = Watcher::new(Selector::Pids(vec![nginx.pid()])).expect("a running gateway");
    watcher.tick();
    // As if what runs were an upgrade's master: last seen as a starting worker of another one, which has ended since.
    let [gateway] = &mut watcher.gateways[..] else {
        panic!("one gateway");
    };
    gateway.workers = vec![Worker {
        pid: gateway.id.pid,
        start_time: gateway.id.start_time,
        state: WorkerState::Starting,
    }];
    gateway.id.start_time = StartTime(0);
    watcher.reported.clone_from(&watcher.gateways);
    let told = words(&watcher.tick());
    assert!(
        told.contains(&format!("found {}", nginx.pid())),
        "{told:?} {:?}",
        watcher.gateways()
    );
    assert_eq!(serving(watcher.gateways(), nginx.pid()).len(), 2);
}

#[test]
fn a_gateway_that_was_named_by_pid_is_found_again_when_it_starts_again() {
    let Some(nginx) = Nginx::start(Processes::MasterAndWorkers(1)) else {
        return;
    };
    let Some(bystander) = Nginx::start(Processes::MasterAndWorkers(1)) else {
        return;
    };
    nginx.wait_for_workers(1);
    bystander.wait_for_workers(1);
    let mut watcher = Watcher::new(Selector::Pids(vec![nginx.pid()])).expect("a running gateway");
    watcher.tick();
    let old = nginx.pid();
    let nginx = nginx.restart();
    let told = words(&follow(&mut watcher, "the gateway's new master", |gateways| {
        serving(gateways, nginx.pid()).len() == 1
    }));
    assert!(told.contains(&format!("gone {old}")), "{told:?}");
    assert!(told.contains(&format!("found {}", nginx.pid())), "{told:?}");
    assert!(
        of_master(watcher.gateways(), bystander.pid()).is_none(),
        "it was not named"
    );
}

#[test]
fn workers_outlive_a_master_that_was_killed() {
    let Some(nginx) = Nginx::start(Processes::MasterAndWorkers(2)) else {
        return;
    };
    let workers = nginx.wait_for_workers(2);
    let mut watcher = Watcher::new(Selector::Pids(vec![nginx.pid()])).expect("a running gateway");
    watcher.tick();
    nginx.signal("KILL");
    let mut masterless = Vec::new();
    let told = follow(&mut watcher, "workers without a master", |gateways| {
        let orphaned = gateways.iter().find(|gateway| gateway.master.is_none());
        masterless = orphaned.map_or_else(Vec::new, |gateway| {
            gateway.workers.iter().map(|worker| worker.pid).collect()
        });
        !masterless.is_empty()
    });
    assert_eq!(masterless, workers);
    assert!(told.is_empty(), "no worker ended: {told:?}");
}

#[test]
fn a_pid_that_another_process_has_now_is_another_worker() {
    let Some(nginx) = Nginx::start(Processes::MasterAndWorkers(1)) else {
        return;
    };
    let worker = nginx.wait_for_workers(1)[0];
    let mut watcher = Watcher::new(Selector::Pids(vec![nginx.pid()])).expect("a running gateway");
    watcher.tick();
    // As if the worker that was watched had been an earlier process of that pid.
    watcher.gateways[0].workers[0].start_time = StartTime(0);
    watcher.reported.clone_from(&watcher.gateways);
    let told = words(&watcher.tick());
    assert_eq!(told, [format!("-{worker}"), format!("+{worker}")]);
}

#[test]
fn only_what_started_after_the_loss_succeeds_a_gateway() {
    let lost = Lost {
        gateway: gateway(10, &[]),
        seen_at: StartTime(100),
    };
    let check = |start: u64, prefix: Option<&str>, expected: bool| {
        let mut other = gateway(20, &[]);
        other.id.start_time = StartTime(start);
        other.prefix = prefix.map(Into::into);
        assert_eq!(lost.is_succeeded_by(&other), expected, "{start} {prefix:?}");
    };
    check(100, None, true);
    check(500, None, true);
    check(99, None, false);
    check(500, Some("/srv/another"), false);
}

#[test]
fn a_process_that_was_named_before_it_had_a_title_becomes_a_master() {
    let Some(nginx) = Nginx::start(Processes::MasterAndWorkers(1)) else {
        return;
    };
    let worker = nginx.wait_for_workers(1)[0];
    let mut watcher = Watcher::new(Selector::Pids(vec![nginx.pid()])).expect("a running gateway");
    // As it was seen in its first moment: by itself, and without a title.
    let master = &mut watcher.gateways[0];
    master.master = None;
    master.workers = vec![Worker {
        pid: master.id.pid,
        start_time: master.id.start_time,
        state: WorkerState::Serving,
    }];
    watcher.reported.clone_from(&watcher.gateways);
    let told = words(&watcher.tick());
    assert_eq!(told, [format!("-{}", nginx.pid()), format!("+{worker}")]);
    assert_eq!(serving(watcher.gateways(), nginx.pid()), [worker]);
}

#[test]
fn a_single_process_is_found_by_scan() {
    let Some(nginx) = Nginx::start(Processes::Single) else {
        return;
    };
    let mut watcher = Watcher::new(Selector::Scan).expect("a scan waits");
    follow(&mut watcher, "the single process", |gateways| {
        gateways
            .iter()
            .any(|gateway| gateway.master.is_none() && gateway.id.pid == nginx.pid())
    });
    let single = watcher
        .gateways()
        .iter()
        .find(|gateway| gateway.id.pid == nginx.pid())
        .expect("just seen");
    assert_eq!(single.workers.len(), 1);
    assert_eq!(single.listeners, [nginx.address()]);
}
