//! The `uprobes` source: libc's functions in the gateway alone, for hosts where system calls cannot be traced.
//!
//! In: a uprobe behind the system call instruction, where result and arguments are both in registers; or, where there is no
//! such place, a probe at the function's entry and one at its return. The cookie is the call's number. Out:
//! [`calls::returned`].

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use kongtap_common::counter;

use crate::calls;
use crate::ledger;
use crate::maps::LIBC_CALLS_OPEN;
use crate::regs::{self, PtRegs, RETURN_POPS, Syscall, nr};
use crate::targets::{self, Thread};

/// A function's activation: a thread, and its stack pointer outside of it. A signal handler's calls have others.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Frame {
    pid_tgid: u64,
    stack_pointer: u64,
}

/// A system call is over; the probe is on the jump that looks at its result.
#[inline(always)]
pub fn behind_call<const DIRECTION: u8>(ctx: &ProbeContext) {
    let Some(thread) = targets::current() else {
        return;
    };
    let regs = registers(ctx);
    let ret = regs::result(regs);
    if ret >= 0 {
        // SAFETY: a helper that reads the context.
        let nr = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
        calls::returned::<_, DIRECTION>(ctx, thread, regs::behind_call(regs, nr), ret as u64);
    }
}

/// A function is entered.
#[inline(always)]
pub fn entered(ctx: &ProbeContext) {
    let Some(thread) = targets::current() else {
        return;
    };
    let regs = registers(ctx);
    // SAFETY: a helper that reads the context.
    let nr = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let frame = frame(thread, regs::stack_pointer(regs) + RETURN_POPS);
    if LIBC_CALLS_OPEN
        .insert(&frame, &regs::at_function(regs, nr), 0)
        .is_err()
    {
        ledger::add::<{ counter::MAP_UPDATE_FAILURES }>(1);
    }
}

/// It returns.
#[inline(always)]
pub fn returned<const DIRECTION: u8>(ctx: &RetProbeContext) {
    let Some(thread) = targets::current() else {
        return;
    };
    let regs: *const PtRegs = ctx.regs.cast();
    let frame = frame(thread, regs::stack_pointer(regs));
    // SAFETY: only the thread itself writes its entry.
    let Some(call) = (unsafe { LIBC_CALLS_OPEN.get(frame) }).copied() else {
        return;
    };
    // Of a splice both directions are looked at, each by a program; its entry stays until the next one's.
    if call.nr != nr::SPLICE {
        // A failure would mean that the entry just read is gone.
        let _ = LIBC_CALLS_OPEN.remove(&frame);
    }
    let ret = match call.nr {
        // These return an `int`, whose upper half is not the function's to set.
        nr::RECVMMSG | nr::SENDMMSG => i64::from(regs::result(regs) as i32),
        _ => regs::result(regs),
    };
    if ret >= 0 {
        calls::returned::<_, DIRECTION>(ctx, thread, call, ret as u64);
    }
}

#[inline(always)]
fn registers(ctx: &ProbeContext) -> *const PtRegs {
    ctx.regs.cast()
}

#[inline(always)]
fn frame(thread: Thread, stack_pointer: u64) -> Frame {
    Frame {
        pid_tgid: thread.pid_tgid,
        stack_pointer,
    }
}

/// What [`LIBC_CALLS_OPEN`] keeps of a call.
pub type OpenCall = Syscall;
