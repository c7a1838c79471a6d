//! Messages on disk: they outlive kongtap, and a disk that refuses them costs nothing but that.

use std::path::PathBuf;
use std::process::Command;

use kongtap_tests::client::Scheme;
use kongtap_tests::faults::Manner;
use kongtap_tests::kernel::require_kernel;
use kongtap_tests::status::{Spool, Status};
use kongtap_tests::trial::figures::compare;
use kongtap_tests::trial::{Setup, Trial};
use kongtap_tests::wait::eventually;

use crate::{ARRIVAL, SHIP, setup};

/// A spool on the trial's disk.
const SPOOL: &str = "[ship.spool]\npath = \"${DIRECTORY}/disk/spool\"\nbytes = 8388608\nsegment_bytes = 1048576\nsync_ms = 50\n";

/// A queue that one window overfills: the rest is on the disk alone.
const SHORT_QUEUE: usize = 50;

/// kongtap with a disk of its own, made by `mount` with these options.
fn on_a_disk(options: &str) -> Setup {
    let mount = format!("mount -t tmpfs -o {options} kongtap-trial ${{DIRECTORY}}/disk && exec \"$@\"");
    Setup {
        inside: [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            &mount,
            "sh",
        ]
        .map(str::to_owned)
        .to_vec(),
        answer_bytes: 4000,
        ..with_spool(SHIP)
    }
}

fn with_spool(ship: &str) -> Setup {
    setup(Scheme::Http, &format!("{ship}{SPOOL}"), &[])
}

/// What the spool says of itself.
fn spool_of(status: &Status) -> Spool {
    status.delivery.spool.clone().unwrap_or_default()
}

/// Waits until the spool is as it should be.
async fn until(trial: &Trial, what: &str, is_so: impl Fn(&Spool) -> bool + Send + Sync) -> Status {
    eventually(what, ARRIVAL, async || {
        let status = trial
            .kongtap
            .status()
            .await
            .map_err(|error| format!("{error:#}"))?;
        if is_so(&spool_of(&status)) {
            Ok(status)
        } else {
            Err(format!("{:?} {:?}", status.exchanges, status.delivery.spool))
        }
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}\n{}", trial.kongtap.log_tail()))
}

/// Changes the options of a mounted disk, where kongtap has it.
fn remount(trial: &mut Trial, options: &str) {
    let disk = trial.directory().join("disk");
    let pid = trial.kongtap.process().pid().to_string();
    let changed = Command::new("nsenter")
        .args([
            "--target",
            &pid,
            "--mount",
            "mount",
            "-o",
            &format!("remount,{options}"),
        ])
        .arg(disk)
        .status()
        .unwrap();
    assert!(changed.success(), "remount,{options}: {changed}");
}

/// A disk that refuses: what memory holds is delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_is_full() {
    let Some(turn) = require_kernel("disk full").unwrap() else {
        return;
    };
    let mut trial = Trial::set(turn, on_a_disk("size=600k")).await.unwrap();
    let well = trial.window().await.unwrap().figures;
    trial.settle().await.unwrap();
    trial.endpoint.behave(Manner::Refuse).await.unwrap();
    let mut full = vec![trial.window().await.unwrap().figures];
    for _ in 0..10 {
        full.push(trial.window().await.unwrap().figures);
        let status = trial.kongtap.status().await.unwrap();
        if spool_of(&status).fault.is_some() {
            break;
        }
    }
    let refused = until(&trial, "the disk to be full", |spool| spool.fault.is_some()).await;
    assert_eq!(spool_of(&refused).fault.unwrap().reason, "full");
    compare(&[well], &full).unwrap();
    trial.endpoint.behave(Manner::Well).await.unwrap();
    let status = trial.settle().await.unwrap();
    trial.require_honest().unwrap();
    assert_eq!(trial.endpoint.book().kept(), *trial.sent(), "{status:?}");
    // There is room again: the spool takes what comes.
    remount(&mut trial, "size=64m");
    trial.endpoint.behave(Manner::Refuse).await.unwrap();
    until_taken(&mut trial).await;
    trial.endpoint.behave(Manner::Well).await.unwrap();
    trial.settle().await.unwrap();
    assert_eq!(trial.endpoint.book().kept(), *trial.sent());
}

/// Sends until the spool has taken something, and no refusal is current.
async fn until_taken(trial: &mut Trial) {
    let before = spool_of(&trial.kongtap.status().await.unwrap());
    let taken = |spool: &Spool| spool.counts.get("spool_written").copied().unwrap_or(0);
    for _ in 0..30 {
        trial.window().await.unwrap();
        let now = spool_of(&trial.kongtap.status().await.unwrap());
        if taken(&now) > taken(&before) && !now.fault.is_some_and(|fault| fault.is_current) {
            return;
        }
    }
    panic!("the spool takes nothing\n{}", trial.kongtap.log_tail());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_is_read_only() {
    let Some(turn) = require_kernel("disk read-only").unwrap() else {
        return;
    };
    let mut trial = Trial::set(turn, on_a_disk("ro")).await.unwrap();
    let well = trial.window().await.unwrap().figures;
    trial.settle().await.unwrap();
    trial.endpoint.behave(Manner::Refuse).await.unwrap();
    let faulty = trial.window().await.unwrap().figures;
    compare(&[well], &[faulty]).unwrap();
    let refused = until(&trial, "the disk to refuse", |spool| spool.fault.is_some()).await;
    assert_eq!(spool_of(&refused).fault.unwrap().reason, "read_only");
    trial.endpoint.behave(Manner::Well).await.unwrap();
    let status = trial.settle().await.unwrap();
    trial.require_honest().unwrap();
    assert_eq!(trial.endpoint.book().kept(), *trial.sent(), "{status:?}");
}

/// kongtap is killed with everything on the disk, and started again in some way.
async fn killed_with_all_on_disk(name: &str, setup: Setup, again: Vec<String>) {
    let Some(turn) = require_kernel(name).unwrap() else {
        return;
    };
    let mut trial = Trial::set(turn, setup).await.unwrap();
    let well = trial.window().await.unwrap();
    trial.settle().await.unwrap();
    trial.endpoint.behave(Manner::Refuse).await.unwrap();
    let held = trial.window().await.unwrap();
    trial.settle_with(u64::MAX).await.unwrap();
    let count = u64::try_from(held.ids.len()).unwrap();
    until(&trial, "everything to be on the disk", |spool| {
        spool.unwritten.messages == 0 && spool.stored.messages == count
    })
    .await;
    trial.kill().await.unwrap();
    compare(&[well.figures], &[held.figures]).unwrap();
    trial.endpoint.behave(Manner::Well).await.unwrap();
    trial.restart(again).await.unwrap();
    trial.window().await.unwrap();
    let status = trial.settle().await.unwrap();
    trial.require_honest().unwrap();
    assert_eq!(trial.endpoint.book().kept(), *trial.sent(), "{status:?}");
    assert_eq!(trial.endpoint.book().repeats(), 0, "{status:?}");
    assert_eq!(status.dropped(), 0, "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_all_is_in_memory_too() {
    killed_with_all_on_disk("killed, spooled", with_spool(SHIP), vec![]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_most_is_on_disk_alone() {
    let ship = SHIP.replace("[ship]\n", &format!("[ship]\nqueue_messages = {SHORT_QUEUE}\n"));
    killed_with_all_on_disk("killed, on disk alone", with_spool(&ship), vec![]).await;
}

/// As after a restart of the machine: the monotonic clock is behind what it was, or far ahead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_in_another_time() {
    for offset in ["-1000", "5000000"] {
        let again = ["unshare", "--time", "--monotonic", offset, "--boottime", offset];
        let again = again.map(str::to_owned).to_vec();
        killed_with_all_on_disk("killed, another time", with_spool(SHIP), again).await;
    }
}

/// Killed at any moment: what had been written is delivered, and each message once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_writes() {
    let Some(turn) = require_kernel("killed, writing").unwrap() else {
        return;
    };
    let mut trial = Trial::set(turn, with_spool(SHIP)).await.unwrap();
    trial.endpoint.behave(Manner::Refuse).await.unwrap();
    trial.window().await.unwrap();
    let stored = spool_of(&trial.kongtap.status().await.unwrap()).stored.messages;
    trial.window_while_killed().await.unwrap();
    trial.endpoint.behave(Manner::Well).await.unwrap();
    trial.restart(vec![]).await.unwrap();
    let status = trial.settle().await.unwrap();
    trial.require_honest().unwrap();
    let book = trial.endpoint.book();
    let kept = u64::try_from(book.kept().len()).unwrap();
    assert!(
        stored > 0 && kept >= stored,
        "{stored} were stored, {kept} came: {status:?}"
    );
    assert_eq!(
        (kept, book.repeats()),
        (status.exchanges.shipped, 0),
        "{status:?}"
    );
}

/// The end of a file is not what was written: the rest is delivered, and what is missing is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_file_is_damaged() {
    let Some(turn) = require_kernel("damaged").unwrap() else {
        return;
    };
    let mut trial = Trial::set(turn, with_spool(SHIP)).await.unwrap();
    trial.endpoint.behave(Manner::Refuse).await.unwrap();
    trial.window().await.unwrap();
    trial.settle_with(u64::MAX).await.unwrap();
    until(&trial, "everything to be on the disk", |spool| {
        spool.unwritten.messages == 0
    })
    .await;
    trial.kill().await.unwrap();
    let newest = segments(&trial).pop().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&newest).unwrap();
    file.set_len(file.metadata().unwrap().len() - 10).unwrap();
    trial.endpoint.behave(Manner::Well).await.unwrap();
    trial.restart(vec![]).await.unwrap();
    let status = trial.settle().await.unwrap();
    trial.require_honest().unwrap();
    let sent = u64::try_from(trial.sent().len()).unwrap();
    let kept = u64::try_from(trial.endpoint.book().kept().len()).unwrap();
    assert!(0 < kept && kept < sent, "{kept} of {sent}: {status:?}");
    assert_eq!(
        (kept, sent - kept),
        (status.exchanges.shipped, status.dropped()),
        "{status:?}"
    );
}

/// The spool's files, oldest first.
fn segments(trial: &Trial) -> Vec<PathBuf> {
    let spool = trial.directory().join("disk/spool");
    let mut found = Vec::new();
    for directory in std::fs::read_dir(spool)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if directory.is_dir() {
            let files = std::fs::read_dir(directory)
                .unwrap()
                .map(|entry| entry.unwrap().path());
            found.extend(files.filter(|file| file.extension().is_some_and(|kind| kind == "seg")));
        }
    }
    found.sort();
    found
}
