//! The end of a socket call of a watched process: which connection, and which bytes moved.

use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_probe_read_user};
use aya_ebpf::programs::RawTracePointContext;
use kongtap_common::counter;
use kongtap_common::record::{DIRECTION_EGRESS, DIRECTION_INGRESS, SOURCE_SOCKET};

use crate::conn::{self, ConnRef, Moved};
use crate::emit::copy::Source;
use crate::kernel;
use crate::log::debug;
use crate::regs::{self, Syscall, nr};
use crate::stream::{self, Payload};
use crate::targets::{self, Thread};
use crate::tls;
use crate::{files, ledger};

const MSG_PEEK: i32 = 0x2;
const MSG_TRUNC: i32 = 0x20;
const MSG_ERRQUEUE: i32 = 0x2000;

/// A call on a socket returned `ret`.
#[inline(always)]
pub fn call_ended(ctx: &RawTracePointContext, direction: u8) {
    let Some(thread) = targets::current() else {
        return;
    };
    let sk: u64 = ctx.arg(0);
    let ret: i32 = ctx.arg(1);
    let flags: i32 = ctx.arg(2);
    if ret < 0 || (ret == 0 && direction == DIRECTION_EGRESS) {
        return;
    }
    if direction == DIRECTION_INGRESS && flags & (MSG_PEEK | MSG_ERRQUEUE) != 0 {
        return;
    }
    let Some(head) = kernel::sock_head(sk) else {
        return;
    };
    let call = regs::syscall();
    let moved = Moved::by(direction, ret as u64);
    let known = conn::find(sk, &head);
    let conn = if thread.tls {
        tls::binding::nested(thread, sk, &head, known, call, direction, moved)
    } else {
        known
    };
    let conn = match conn {
        Some(conn) => conn,
        None => match first_sight(thread, sk, &head, call, moved) {
            Some(conn) => conn,
            None => return,
        },
    };
    // SAFETY: a helper without arguments.
    let at_ns = unsafe { bpf_ktime_get_ns() };
    debug!(
        ctx,
        "call {} on fd {}: direction {}, {} bytes", call.nr, conn.id.fd, direction, ret
    );
    if ret == 0 {
        // A call that asked for nothing also returns nothing.
        if call.nr != nr::RECVFROM || call.arg2 != 0 {
            conn.end(DIRECTION_INGRESS, at_ns);
        }
    } else if conn.is_tls() {
        ledger::add::<{ counter::CIPHERTEXT_BYTES }>(ret as u64);
    } else {
        let truncated = direction == DIRECTION_INGRESS && flags & MSG_TRUNC != 0;
        let moved = stream::Moved {
            direction,
            source: SOURCE_SOCKET,
            bytes: ret as u64,
            payload: if truncated { Payload::Nowhere } else { payload(call) },
            at_ns,
        };
        stream::moved(&conn, moved);
    }
}

/// A connection that no earlier call was seen on.
#[inline(always)]
fn first_sight(
    thread: Thread,
    sk: u64,
    head: &kernel::SockHead,
    call: Syscall,
    moved: Moved,
) -> Option<ConnRef> {
    if !is_callers_own(sk, head, call) {
        return None;
    }
    let conn = conn::start(
        sk,
        head,
        thread.tgid(),
        call.fd,
        conn::lateness(sk, moved.ingress, moved.egress),
    );
    if conn.is_none() {
        let bytes = moved.ingress + moved.egress;
        ledger::add::<{ counter::SEEN_BYTES }>(bytes);
        ledger::add::<{ counter::LOST_CONN_TABLE_FULL_BYTES }>(bytes);
    }
    conn
}

/// Whether `sk` is a TCP connection of the calling process itself. The kernel also sends and receives on sockets of its
/// own in a caller's name (a file on a network file system); those are not the gateway's traffic.
#[inline(always)]
pub fn is_callers_own(sk: u64, head: &kernel::SockHead, call: Syscall) -> bool {
    conn::is_tcp(sk, head) && files::sock_of(call.fd).is_none_or(|own| own == sk)
}

/// Where the bytes of `call` are.
#[inline(always)]
fn payload(call: Syscall) -> Payload {
    match call.nr {
        nr::READ | nr::WRITE | nr::RECVFROM | nr::SENDTO => Payload::At(Source::buffer(call.arg1)),
        nr::READV | nr::WRITEV | nr::PREADV2 | nr::PWRITEV2 => {
            Payload::At(Source::vectors(call.arg1, call.arg2))
        }
        nr::RECVMSG | nr::SENDMSG => message(call.arg1),
        nr::SENDMMSG | nr::RECVMMSG | nr::SENDFILE | nr::SPLICE => Payload::Nowhere,
        _ => Payload::Unknown,
    }
}

/// The vectors of a `struct msghdr`.
#[inline(always)]
fn message(header: u64) -> Payload {
    const IOV_OFFSET: u64 = 16;
    // SAFETY: the helper checks the address and fails on a bad one. `msg_iov` and `msg_iovlen` are neighbours.
    match unsafe { bpf_probe_read_user((header + IOV_OFFSET) as *const [u64; 2]) } {
        Ok([vectors, count]) => Payload::At(Source::vectors(vectors, count)),
        Err(_) => Payload::Fault,
    }
}
