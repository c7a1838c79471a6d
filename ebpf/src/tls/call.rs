//! OpenSSL calls from beginning to end: the arguments are kept at the beginning, the bytes that were really accepted or
//! delivered are copied at the end. A call that is to be repeated (`WANT_WRITE`) moved no bytes, so it is not a second write.
//!
//! Where exactly the probes sit is the agent's choice, and stands in their cookies. When several see one call (a function and
//! the one within it), the innermost counts: it overwrites what the outer ones kept, and its end takes it away.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_probe_read_user};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use kongtap_common::record::{DIRECTION_EGRESS, DIRECTION_INGRESS, SOURCE_TLS};
use kongtap_common::{counter, tls};

use super::binding::{SslKey, conn_of};
use super::point::{result, stack_pointer};
use crate::emit::copy::Source;
use crate::ledger;
use crate::log::debug;
use crate::maps::TLS_CALLS_OPEN;

use crate::stream::{self, Payload};
use crate::targets::{self, Thread};

/// The OpenSSL call that a thread is in.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TlsCall {
    /// The TLS object.
    pub ssl: u64,
    buffer: u64,
    asked: u64,
    /// Where the byte count will be, if not in the result.
    count: u64,
    cookie: u64,
}

impl TlsCall {
    #[inline(always)]
    fn function(&self) -> u64 {
        self.cookie & tls::FUNCTION_MASK
    }

    #[inline(always)]
    fn count_place(&self) -> u64 {
        self.cookie & tls::COUNT_MASK
    }
}

/// A probed function begins.
#[inline(always)]
pub fn entered(ctx: &ProbeContext) {
    let Some(thread) = targets::current() else {
        return;
    };
    // SAFETY: a helper that reads the context.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let length: u64 = ctx.arg(2).unwrap_or(0);
    let (asked, count) = match cookie & tls::COUNT_MASK {
        tls::COUNT_ARGUMENT_4 => (length, ctx.arg(3).unwrap_or(0)),
        tls::COUNT_ARGUMENT_5 => (length, ctx.arg(4).unwrap_or(0)),
        _ => {
            // The function refuses a negative length before it does anything, and may do so where no probe sees it.
            if (length as i32) < 0 && cookie & tls::FUNCTION_MASK != tls::HANDSHAKE {
                return;
            }
            (u64::from(length as u32), 0)
        }
    };
    let call = TlsCall {
        ssl: ctx.arg(0).unwrap_or(0),
        buffer: ctx.arg(1).unwrap_or(0),
        asked,
        count,
        cookie,
    };
    if TLS_CALLS_OPEN.insert(&thread.pid_tgid, &call, 0).is_err() {
        ledger::add::<{ counter::MAP_UPDATE_FAILURES }>(1);
    }
}

/// It returns.
#[inline(always)]
pub fn returned(ctx: &RetProbeContext) {
    if let Some((thread, call)) = close() {
        debug!(
            ctx,
            "TLS object {:x}: function {} returns",
            call.ssl,
            call.function()
        );
        ended(thread, &call, ctx.ret());
    }
}

/// It is past the point at which its result is known: in the register for results, and in a local variable if the cookie says
/// so.
#[inline(always)]
pub fn settled(ctx: &ProbeContext) {
    let Some((thread, mut call)) = close() else {
        return;
    };
    // SAFETY: a helper that reads the context.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    if cookie & tls::COUNT_MASK == tls::COUNT_LOCAL {
        call.count = stack_pointer(ctx).wrapping_add(tls::displacement(cookie));
    }
    ended(thread, &call, result(ctx));
}

/// The call that the thread is in; it is in none from now on.
#[inline(always)]
fn close() -> Option<(Thread, TlsCall)> {
    let thread = targets::current()?;
    // SAFETY: only the thread itself writes its entry.
    let call = unsafe { TLS_CALLS_OPEN.get(thread.pid_tgid) }.copied()?;
    // A failure would mean that the entry just read is gone.
    let _ = TLS_CALLS_OPEN.remove(&thread.pid_tgid);
    Some((thread, call))
}

#[inline(always)]
fn ended(thread: Thread, call: &TlsCall, ret: i32) {
    let direction = match call.function() {
        tls::READ | tls::READ_EX => DIRECTION_INGRESS,
        tls::WRITE | tls::WRITE_EX => DIRECTION_EGRESS,
        _ => return,
    };
    let key = SslKey::new(thread, call.ssl);
    // SAFETY: a helper without arguments.
    let at_ns = unsafe { bpf_ktime_get_ns() };
    if ret <= 0 {
        if ret == 0 && call.function() == tls::READ && call.asked > 0 {
            // The other end has said that no more will come. (`SSL_read_ex` answers every failure like this.)
            if let Some(conn) = conn_of(key, direction) {
                conn.end(DIRECTION_INGRESS, at_ns);
            }
        }
        return;
    }
    let conn = conn_of(key, direction);
    let bytes = match bytes_of(call, ret) {
        Some(bytes) if bytes > 0 && bytes <= call.asked => bytes,
        // `SSL_write_ex` of nothing succeeds.
        Some(0) if call.asked == 0 => return,
        _ => {
            ledger::add::<{ counter::TLS_PLACEMENT_DISAGREEMENTS }>(1);
            ledger::add::<{ counter::SEEN_BYTES }>(call.asked);
            ledger::add::<{ counter::LOST_TLS_PLACEMENT_BYTES }>(call.asked);
            if let Some(conn) = conn {
                // Leaves a hole in the stream.
                conn.advance(direction, call.asked);
            }
            return;
        }
    };
    let Some(conn) = conn else {
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
        at_ns,
    };
    stream::moved(&conn, moved);
}

/// Bytes that the call says it moved.
#[inline(always)]
fn bytes_of(call: &TlsCall, ret: i32) -> Option<u64> {
    if call.count_place() == tls::COUNT_RESULT {
        return Some(ret as u64);
    }
    // SAFETY: the helper checks the address and fails on a bad one.
    unsafe { bpf_probe_read_user(call.count as *const u64) }.ok()
}
