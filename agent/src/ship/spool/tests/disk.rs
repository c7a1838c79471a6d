//! Disks that refuse: full, read-only, gone. The spool says which, counts what is lost, and works again when the disk does.
//!
//! A full and a read-only disk are real ones, mounted in a namespace of their own; a host that gives none says so and passes, unless
//! `REQUIRE_KERNEL=1`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::{Scene, options};
use crate::clock;
use crate::ship::spool::state::State;
use crate::ship::spool::{Appended, DiskFault, Memory, Spool, SpoolError, SpoolOptions};

/// Where a disk is mounted for the child.
const MOUNTED: &str = "KONGTAP_TEST_SPOOL_DISK";

/// As if the pause after a refusal were over.
fn try_again(scene: &Scene) {
    let state: &mut State = &mut scene.spool.shared.lock().state;
    state.fault.as_mut().unwrap().until = Some(clock::instant());
}

/// What a disk that refuses leads to, whatever the reason.
fn check_refusal(scene: &Scene, expected: DiskFault) {
    let held = scene.hold(&"h".repeat(300_000));
    // Waiting for the refusal, some are in memory and some are not.
    scene.store(&"w".repeat(300_000));
    scene.spool.flush();
    let fault = scene.spool.stats().fault.unwrap();
    assert_eq!(
        (fault.reason, fault.is_current),
        (expected, true),
        "{}",
        fault.detail
    );
    assert_eq!(scene.told.messages("spool_failed"), 1, "the one that nobody has");
    assert!(!scene.spool.put_back(held), "it is in memory alone");
    assert_eq!(scene.waiting(), 0);
    // Until it is tried again, messages stay in memory.
    assert_eq!(scene.append("x", Memory::Room), Appended::Refused);
    assert_eq!(scene.spool.stats().counts["spool_faulty"], 1);
    assert_eq!(scene.spool.stats().counts["spool_unwritten"], 2);
}

fn check_recovery(scene: &Scene) {
    try_again(scene);
    scene.store("again");
    scene.spool.flush();
    assert!(!scene.spool.stats().fault.unwrap().is_current);
    assert_eq!(scene.texts(), ["again"]);
    assert_eq!(scene.told.messages("spool_failed"), 1);
}

#[test]
fn a_directory_that_is_removed_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool");
    let scene = Scene::open(options(&path));
    // A file in its place: the directory cannot be made.
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, "").unwrap();
    check_refusal(&scene, DiskFault::Gone);
    fs::remove_file(&path).unwrap();
    check_recovery(&scene);
    drop(scene);
    // The key is there again, so what was kept is the same destination's.
    let scene = Scene::open(options(&path));
    assert_eq!(scene.recovery.recovered.messages, 1);
    assert_eq!(scene.waiting(), 1);
}

#[test]
fn files_that_are_removed_while_they_grow_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool");
    let scene = Scene::open(options(&path));
    scene.hold("first");
    scene.spool.flush();
    fs::remove_dir_all(&path).unwrap();
    let began = clock::instant();
    while scene.spool.stats().fault.is_none() {
        assert!(began.elapsed() < Duration::from_secs(20), "it is not noticed");
        std::thread::yield_now();
    }
    assert_eq!(scene.spool.stats().fault.unwrap().reason, DiskFault::Gone);
    check_recovery_of_files(&scene);
}

fn check_recovery_of_files(scene: &Scene) {
    try_again(scene);
    scene.hold("second");
    scene.spool.flush();
    assert!(!scene.spool.stats().fault.unwrap().is_current);
    assert_eq!(scene.spool.stats().counts["spool_segments_begun"], 2);
}

#[test]
fn a_path_that_cannot_be_used_is_said_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "").unwrap();
    let check = |path: &Path, expected: &str| {
        let error = Spool::open(options(path), Arc::<super::Told>::default()).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
        assert!(matches!(error, SpoolError::Disk { .. }));
    };
    check(
        &path.join("below"),
        "cannot make the directory (ship.spool.path): it is not there",
    );
    check(
        Path::new("/proc/spool"),
        "cannot make the directory (ship.spool.path)",
    );
}

/// Runs the test `name` in a child that may mount, with `mount` run before it.
fn mounted(name: &str, mount: &str) {
    let directory = tempfile::tempdir().unwrap();
    let script = format!("{mount} && exec \"$0\" \"$@\"");
    let run = |command: &[&str]| {
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
            .args(command)
            .env(MOUNTED, directory.path())
            .output()
    };
    let is_possible = run(&[&format!("{mount} && true"), "sh"]).is_ok_and(|output| output.status.success());
    if !is_possible {
        let reason = "no mount namespaces here: not tested";
        assert_ne!(std::env::var("REQUIRE_KERNEL").as_deref(), Ok("1"), "{reason}");
        tracing::warn!("{reason}");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let output = run(&[&script, program.to_str().unwrap(), name, "--exact", "--nocapture"]).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn inside() -> Option<std::path::PathBuf> {
    std::env::var_os(MOUNTED).map(|path| std::path::PathBuf::from(path).join("spool"))
}

/// Not a test of its own: what [`a_full_disk_is_said_and_gone_on_without`] runs on one.
#[test]
fn on_a_full_disk() {
    let Some(path) = inside() else { return };
    let scene = Scene::open(SpoolOptions {
        sync: Duration::from_millis(10),
        ..options(&path)
    });
    // 2 MiB, some of which are taken.
    let filler = path.parent().unwrap().join("filler");
    scene.hold("before");
    scene.spool.flush();
    fs::write(&filler, vec![0; 1500 << 10]).unwrap();
    check_refusal(&scene, DiskFault::Full);
    fs::remove_file(&filler).unwrap();
    check_recovery(&scene);
    drop(scene);
    let scene = Scene::open(options(&path));
    assert_eq!(scene.texts(), ["before", "again"]);
    assert!(
        scene.recovery.lost.is_nothing() && scene.recovery.damaged.bytes == 0,
        "{:?}",
        scene.recovery
    );
}

#[test]
fn a_full_disk_is_said_and_gone_on_without() {
    mounted(
        "ship::spool::tests::disk::on_a_full_disk",
        &format!("mount -t tmpfs -o size=2m none \"${MOUNTED}\""),
    );
}

/// Not a test of its own: what [`a_disk_that_becomes_read_only_is_said_and_gone_on_without`] runs on one.
#[test]
fn on_a_read_only_disk() {
    let Some(path) = inside() else { return };
    let run = |program: &str, arguments: &[&str]| {
        let status = Command::new(program).args(arguments).arg(&path).status().unwrap();
        assert!(status.success(), "{program} {arguments:?}");
    };
    let scene = Scene::open(options(&path));
    // A view of it that cannot be written, in its place.
    run("mount", &["--bind", path.to_str().unwrap()]);
    run("mount", &["-o", "remount,bind,ro"]);
    check_refusal(&scene, DiskFault::ReadOnly);
    let refused = Spool::open(options(&path), Arc::<super::Told>::default());
    assert_eq!(refused.expect_err("read-only").fault(), Some(DiskFault::ReadOnly));
    run("umount", &[]);
    check_recovery(&scene);
}

#[test]
fn a_disk_that_becomes_read_only_is_said_and_gone_on_without() {
    mounted(
        "ship::spool::tests::disk::on_a_read_only_disk",
        &format!("mount -t tmpfs -o size=8m none \"${MOUNTED}\""),
    );
}
