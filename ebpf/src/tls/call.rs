//! OpenSSL calls from entry to return: the arguments are kept at entry, the bytes that were really accepted or delivered
//! are copied at return. A call that is to be repeated (`WANT_WRITE`) returned no bytes, so it is not a second write.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_probe_read_user};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use kongtap_common::record::{DIRECTION_EGRESS, DIRECTION_INGRESS, SOURCE_TLS};
use kongtap_common::{counter, tls};

use super::binding::{SslKey, conn_of};
use crate::emit::copy::Source;
use crate::ledger;
use crate::log::debug;
use crate::maps::TLS_CALLS_OPEN;
use crate::stream::{self, Payload};
use crate::targets;

/// The OpenSSL call that a thread is in.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TlsCall {
    /// The TLS object.
    pub ssl: u64,
    buffer: u64,
    asked: u64,
    /// Where an `_ex` function puts the byte count.
    count: u64,
    function: u64,
}

/// A probed function is entered.
#[inline(always)]
pub fn entered(ctx: &ProbeContext) {
    let Some(thread) = targets::current() else {
        return;
    };
    let call = TlsCall {
        ssl: ctx.arg(0).unwrap_or(0),
        buffer: ctx.arg(1).unwrap_or(0),
        asked: ctx.arg(2).unwrap_or(0),
        count: ctx.arg(3).unwrap_or(0),
        // SAFETY: a helper that reads the context.
        function: unsafe { bpf_get_attach_cookie(ctx.as_ptr()) },
    };
    if TLS_CALLS_OPEN.insert(&thread.pid_tgid, &call, 0).is_err() {
        ledger::add::<{ counter::MAP_UPDATE_FAILURES }>(1);
    }
}

/// It returns.
#[inline(always)]
pub fn returned(ctx: &RetProbeContext) {
    let Some(thread) = targets::current() else {
        return;
    };
    // SAFETY: only the thread itself writes its entry.
    let Some(call) = (unsafe { TLS_CALLS_OPEN.get(thread.pid_tgid) }).copied() else {
        return;
    };
    // A failure would mean that the entry just read is gone.
    let _ = TLS_CALLS_OPEN.remove(&thread.pid_tgid);
    let ret: i32 = ctx.ret();
    debug!(
        ctx,
        "TLS object {:x}: function {} returned {}", call.ssl, call.function, ret
    );
    let direction = match call.function {
        tls::READ | tls::READ_EX => DIRECTION_INGRESS,
        tls::WRITE | tls::WRITE_EX => DIRECTION_EGRESS,
        _ => return,
    };
    let key = SslKey::new(thread, call.ssl);
    if ret == 0 && call.function == tls::READ && call.asked as i32 > 0 {
        // The other end has said that no more will come. (`SSL_read_ex` answers every failure like this.)
        if let Some(conn) = conn_of(key, direction) {
            // SAFETY: a helper without arguments.
            conn.end(DIRECTION_INGRESS, unsafe { bpf_ktime_get_ns() });
        }
        return;
    }
    let bytes = match bytes_of(&call, ret) {
        Some(bytes) if bytes > 0 => bytes,
        _ => return,
    };
    let Some(conn) = conn_of(key, direction) else {
        ledger::add::<{ counter::SEEN_BYTES }>(bytes);
        ledger::add::<{ counter::LOST_TLS_UNBOUND_BYTES }>(bytes);
        return;
    };
    let moved = stream::Moved {
        direction,
        source: SOURCE_TLS,
        bytes,
        call_bytes: bytes,
        payload: Payload::At(Source::buffer(call.buffer)),
        // SAFETY: a helper without arguments.
        at_ns: unsafe { bpf_ktime_get_ns() },
    };
    stream::moved(&conn, moved);
}

/// Bytes that the call moved.
#[inline(always)]
fn bytes_of(call: &TlsCall, ret: i32) -> Option<u64> {
    if ret <= 0 {
        return None;
    }
    match call.function {
        tls::READ | tls::WRITE => Some(ret as u64),
        // SAFETY: the helper checks the address and fails on a bad one.
        _ => unsafe { bpf_probe_read_user(call.count as *const u64) }.ok(),
    }
}
