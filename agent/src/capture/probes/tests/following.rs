//! Processes as the kernel tells of them: a child of a followed process from its birth to its end.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use kongtap_common::target;

use super::{BUDGET, probes};
use crate::capture::gateways::Pid;
use crate::capture::probes::following::{ProcessChange, ProcessEvent, Woken};
use crate::capture::probes::{ProbeOptions, Probes};
use crate::clock;

/// What the kernel tells of `pid`, until it tells of its end.
fn life_of(
    probes: &mut Probes,
    pid: Pid,
    mut meanwhile: impl FnMut(&Probes, &ProcessEvent),
) -> Vec<ProcessChange> {
    let (_open, other) = UnixStream::pair().unwrap();
    let mut told = Vec::new();
    let begin = clock::instant();
    while told.last() != Some(&ProcessChange::Ended) {
        assert!(
            begin.elapsed() < BUDGET,
            "waited in vain for the end of {pid}: {told:?}"
        );
        let woken = probes.following().wait(other.as_fd(), Duration::from_millis(20));
        assert_eq!(woken, Woken::ByKernelOrTime);
        for event in probes.following().events() {
            if event.pid == pid {
                meanwhile(probes, &event);
                told.push(event.what);
            }
        }
    }
    told
}

#[test]
fn a_child_of_a_followed_process_is_watched_until_it_executes_something_else() {
    let Some(mut probes) = probes(&ProbeOptions::default()) else {
        return;
    };
    assert!(
        probes.following().refusal().is_none(),
        "{:?}",
        probes.following().refusal()
    );
    let own = std::process::id();
    probes.following().follow(own, target::WATCHED).unwrap();
    // A shell, whose child is a descendant too; both wait for their input to end.
    let mut shell = Command::new("sh")
        .args(["-c", "cat; true"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid(shell.id());
    drop(shell.stdin.take());
    let told = life_of(&mut probes, pid, |probes, event| {
        let executed = event.what == ProcessChange::Executed;
        assert!(
            !executed || !probes.is_watched(pid.0),
            "the program that it executes is its own"
        );
    });
    let born = ProcessChange::Born { parent: Pid(own) };
    assert_eq!(told, [born, ProcessChange::Executed, ProcessChange::Ended]);
    assert!(!probes.is_watched(pid.0));
    shell.wait().unwrap();
    probes.following().unfollow_all();
    let mut other = Command::new("true").spawn().unwrap();
    let pid = Pid(other.id());
    other.wait().unwrap();
    assert!(
        probes.following().events().iter().all(|event| event.pid != pid),
        "nobody is followed"
    );
}

#[test]
fn the_bits_of_a_process_go_with_it_and_its_neighbours_stay() {
    let Some(mut probes) = probes(&ProbeOptions::default()) else {
        return;
    };
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    // Process ids whose bits stand in the same word.
    let neighbours = [pid ^ 1, pid ^ 2];
    for tgid in neighbours.into_iter().chain([pid]) {
        probes.watch(tgid).unwrap();
    }
    drop(child.stdin.take());
    let told = life_of(&mut probes, Pid(pid), |probes, _| {
        assert!(!probes.is_watched(pid), "it is over");
    });
    assert_eq!(told, [ProcessChange::Ended]);
    assert!(neighbours.iter().all(|tgid| probes.is_watched(*tgid)));
    child.wait().unwrap();
}

#[test]
fn closing_the_other_end_wakes_at_once() {
    let Some(mut probes) = probes(&ProbeOptions::default()) else {
        return;
    };
    let (open, other) = UnixStream::pair().unwrap();
    drop(open);
    let begin = clock::instant();
    let woken = probes.following().wait(other.as_fd(), BUDGET);
    assert_eq!(woken, Woken::ByOther);
    assert!(begin.elapsed() < BUDGET / 2);
}
