//! Follows the gateways' processes in the kernel, so that a worker is watched before its first instruction and no longer
//! than it lives, however late the agent is.
//!
//! Followed are the masters, by user space's word, and every process that descends from one until user space says
//! otherwise: the new master of a binary upgrade has workers of its own. A program that is executed is never a worker
//! (nginx forks its own), so its bits go: a helper that a worker runs is not taken for the gateway.

use aya_ebpf::bindings::BPF_RB_FORCE_WAKEUP;
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use kongtap_common::counter;
use kongtap_common::process::{ANY_GATEWAY, EXEC, EXIT, FORK, PROGRAMS, ProcessRecord, comm};

use crate::kernel::{offset, read};
use crate::maps::{FOLLOWED, PROCESSES, TLS_CALLS_OPEN};
use crate::{ledger, targets};

/// The current process has a `child`, or one more thread.
#[inline(always)]
pub fn forked(child: u64) {
    let parent = current_process();
    let Some(bits) = inherited(parent) else {
        return;
    };
    let Some(tgid) = read::<u32>(child, offset!(task_tgid)) else {
        return;
    };
    if tgid == parent {
        return;
    }
    follow(tgid, bits);
    targets::set(tgid, bits);
    tell(FORK, tgid, parent);
}

/// The current process executes another program.
#[inline(always)]
pub fn executed() {
    let tgid = current_process();
    if inherited(tgid).is_some() {
        targets::clear(tgid);
    } else {
        let Some(bits) = inherited(ANY_GATEWAY) else {
            return;
        };
        if !is_gateway_program() {
            return;
        }
        follow(tgid, bits);
    }
    tell(EXEC, tgid, tgid);
}

/// The current thread, `task`, ends.
#[inline(always)]
pub fn exited(task: u64) {
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    if targets::bits(tgid) == 0 && inherited(tgid).is_none() {
        return;
    }
    // It may have been killed in the middle of a call. A failure means that it was not.
    let _ = TLS_CALLS_OPEN.remove(&pid_tgid);
    if !is_last_thread(task, pid_tgid) {
        return;
    }
    // Before its id can be given to another process.
    targets::clear(tgid);
    let _ = FOLLOWED.remove(&tgid);
    tell(EXIT, tgid, tgid);
}

#[inline(always)]
fn current_process() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// The bits that children of a followed process get.
#[inline(always)]
fn inherited(tgid: u32) -> Option<u64> {
    // SAFETY: a value that is replaced meanwhile is either the old or the new one.
    unsafe { FOLLOWED.get(&tgid) }.copied()
}

#[inline(always)]
fn follow(tgid: u32, bits: u64) {
    if FOLLOWED.insert(&tgid, &bits, 0).is_err() {
        ledger::add::<{ counter::MAP_UPDATE_FAILURES }>(1);
    }
}

/// Whether no thread of the process is left. Where the kernel's count cannot be found, its first thread stands for all.
#[inline(always)]
fn is_last_thread(task: u64, pid_tgid: u64) -> bool {
    let live = read::<u64>(task, offset!(task_signal))
        .and_then(|signal| read::<i32>(signal, offset!(signal_live)));
    match live {
        Some(live) => live == 0,
        None => pid_tgid as u32 == (pid_tgid >> 32) as u32,
    }
}

#[inline(always)]
fn is_gateway_program() -> bool {
    let Ok(name) = bpf_get_current_comm() else {
        return false;
    };
    let (low, high) = name.split_at(8);
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
    let name = [word(low), word(high)];
    const NAMES: [[u64; 2]; PROGRAMS.len()] = {
        let mut names = [[0; 2]; PROGRAMS.len()];
        let mut at = 0;
        while at < PROGRAMS.len() {
            names[at] = comm(PROGRAMS[at]);
            at += 1;
        }
        names
    };
    NAMES.contains(&name)
}

/// Wakes the agent. What does not fit is found by its next glance.
#[inline(always)]
fn tell(what: u32, tgid: u32, parent: u32) {
    let Some(mut slot) = PROCESSES.reserve::<ProcessRecord>(0) else {
        ledger::add::<{ counter::LOST_LIFECYCLE_RECORDS }>(1);
        return;
    };
    slot.write(ProcessRecord {
        // SAFETY: a helper without arguments.
        at_ns: unsafe { bpf_ktime_get_ns() },
        what,
        tgid,
        parent,
        pad: 0,
    });
    slot.submit(u64::from(BPF_RB_FORCE_WAKEUP));
}
