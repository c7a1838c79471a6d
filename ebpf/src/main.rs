//! kongtap's probes: what the gateway's threads send and receive, copied into a ring buffer as it happens.
//!
//! In: raw tracepoints at the end of socket calls and at TCP state changes, and uprobes on OpenSSL. Out: records (see
//! `kongtap-common`) and counters. This file only declares the programs. Deliberately absent: anything that could
//! change what the gateway sees or fail one of its calls (no writes to its memory, no overrides, no waiting), and any
//! understanding of what the bytes mean.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod asm;
mod conn;
mod emit;
mod files;
mod kernel;
mod ledger;
mod log;
mod maps;
mod regs;
mod sock;
mod state;
mod stream;
mod targets;
mod tls;

use aya_ebpf::macros::{raw_tracepoint, uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RawTracePointContext, RetProbeContext};
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
