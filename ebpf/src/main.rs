//! kongtap's probes: what the gateway's threads send and receive, copied into a ring buffer as it happens.
//!
//! In: the end of socket calls, from one of three sources; TCP state changes; and uprobes on OpenSSL. Out: records (see
//! `kongtap-common`) and counters. This file only declares the programs. Deliberately absent: anything that could
//! change what the gateway sees or fail one of its calls (no writes to its memory, no overrides, no waiting), and any
//! understanding of what the bytes mean.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod asm;
mod budget;
mod calls;
mod conn;
mod emit;
mod files;
mod kernel;
mod ledger;
mod libc;
mod log;
mod maps;
mod process;
mod regs;
mod skip;
mod sock;
mod state;
mod stream;
mod syscalls;
mod targets;
mod tls;
mod unseen;

use aya_ebpf::macros::{raw_tracepoint, tracepoint, uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RawTracePointContext, RetProbeContext, TracePointContext};
use kongtap_common::record::{DIRECTION_EGRESS, DIRECTION_INGRESS};

/// End of every call that sends on a socket: `(struct sock *, int ret, int flags)`.
#[raw_tracepoint(tracepoint = "sock_send_length")]
pub fn sock_send_length(ctx: RawTracePointContext) -> i32 {
    sock::call_ended(&ctx, DIRECTION_EGRESS);
    0
}

/// End of every call that receives from a socket: `(struct sock *, int ret, int flags)`.
#[raw_tracepoint(tracepoint = "sock_recv_length")]
pub fn sock_recv_length(ctx: RawTracePointContext) -> i32 {
    sock::call_ended(&ctx, DIRECTION_INGRESS);
    0
}

/// End of one of the system calls that receive; it is attached to each of them.
#[tracepoint]
pub fn sys_exit_receive(ctx: TracePointContext) -> u32 {
    syscalls::call_ended::<_, DIRECTION_INGRESS>(&ctx, || syscalls::result(&ctx));
    0
}

/// End of one of the system calls that send; likewise.
#[tracepoint]
pub fn sys_exit_send(ctx: TracePointContext) -> u32 {
    syscalls::call_ended::<_, DIRECTION_EGRESS>(&ctx, || syscalls::result(&ctx));
    0
}

/// End of every system call: `(struct pt_regs *, long ret)`; looks for those that receive. Where those of single calls are not to be
/// had.
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn any_exit_receive(ctx: RawTracePointContext) -> i32 {
    syscalls::call_ended::<_, DIRECTION_INGRESS>(&ctx, || ctx.arg(1));
    0
}

/// The same for those that send.
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn any_exit_send(ctx: RawTracePointContext) -> i32 {
    syscalls::call_ended::<_, DIRECTION_EGRESS>(&ctx, || ctx.arg(1));
    0
}

/// Behind a system call that receives in one of libc's functions; the cookie is the call's number.
#[uprobe]
pub fn libc_behind_receive(ctx: ProbeContext) -> u32 {
    libc::behind_call::<DIRECTION_INGRESS>(&ctx);
    0
}

/// Behind one that sends.
#[uprobe]
pub fn libc_behind_send(ctx: ProbeContext) -> u32 {
    libc::behind_call::<DIRECTION_EGRESS>(&ctx);
    0
}

/// Entry of one of libc's functions; the cookie is the number of the call that it makes.
#[uprobe]
pub fn libc_call(ctx: ProbeContext) -> u32 {
    libc::entered(&ctx);
    0
}

/// Return of a function that receives and that [`libc_call`] probes.
#[uretprobe]
pub fn libc_return_receive(ctx: RetProbeContext) -> u32 {
    libc::returned::<DIRECTION_INGRESS>(&ctx);
    0
}

/// Return of one that sends.
#[uretprobe]
pub fn libc_return_send(ctx: RetProbeContext) -> u32 {
    libc::returned::<DIRECTION_EGRESS>(&ctx);
    0
}

/// A TCP socket changes state: `(const struct sock *, int oldstate, int newstate)`. Often in a softirq, where the
/// current task has nothing to do with the socket.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: RawTracePointContext) -> i32 {
    state::changed(ctx.arg(0), ctx.arg(2));
    0
}

/// A TCP socket that no process holds any more goes away: `(struct sock *)`.
#[raw_tracepoint(tracepoint = "tcp_destroy_sock")]
pub fn tcp_destroy_sock(ctx: RawTracePointContext) -> i32 {
    state::destroyed(ctx.arg(0));
    0
}

/// A process or thread begins: `(struct task_struct *parent, struct task_struct *child)`, in the parent.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn sched_process_fork(ctx: RawTracePointContext) -> i32 {
    process::forked(ctx.arg(1));
    0
}

/// A process executes another program from now on; in that process.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn sched_process_exec(_: RawTracePointContext) -> i32 {
    process::executed();
    0
}

/// A thread ends: `(struct task_struct *)`, in that thread.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn sched_process_exit(ctx: RawTracePointContext) -> i32 {
    process::exited(ctx.arg(0));
    0
}

/// Beginning of an OpenSSL function that moves bytes or shakes hands; the cookie says which.
#[uprobe]
pub fn tls_call(ctx: ProbeContext) -> u32 {
    tls::call::entered(&ctx);
    0
}

/// Return of a function that [`tls_call`] probes.
#[uretprobe]
pub fn tls_return(ctx: RetProbeContext) -> u32 {
    tls::call::returned(&ctx);
    0
}

/// A point in a function that [`tls_call`] probes, from which on its result is known; the cookie says where the count is.
#[uprobe]
pub fn tls_settled(ctx: ProbeContext) -> u32 {
    tls::call::settled(&ctx);
    0
}

/// Entry of `SSL_set_fd`, `SSL_set_rfd` or `SSL_set_wfd`; the cookie says which.
#[uprobe]
pub fn tls_set_fd(ctx: ProbeContext) -> u32 {
    tls::binding::set_fd(&ctx);
    0
}

/// Entry of `SSL_free`.
#[uprobe]
pub fn tls_free(ctx: ProbeContext) -> u32 {
    tls::binding::freed(&ctx);
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier proves that no program reaches this.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
