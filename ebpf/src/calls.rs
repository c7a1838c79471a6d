//! What every socket source has in common: a call has ended; which connection was it on, and which bytes moved.
//!
//! In: the call with its arguments and its result, from [`crate::sock`] (which knows the socket), [`crate::syscalls`] or
//! [`crate::libc`] (which know the descriptor). Out: [`stream::moved`], and the end of a direction.

pub mod messages;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_loop;
use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_probe_read_user};
use kongtap_common::counter;
use kongtap_common::record::{DIRECTION_EGRESS, DIRECTION_INGRESS, SOURCE_SOCKET};

use crate::conn::{self, ConnRef};
use crate::emit::copy::Source;
use crate::log::debug;
use crate::regs::{Syscall, nr};
use crate::stream::{self, Payload};
use crate::targets::Thread;
use crate::{files, kernel, ledger, tls};

const MSG_PEEK: i32 = 0x2;
const MSG_TRUNC: i32 = 0x20;
const MSG_ERRQUEUE: i32 = 0x2000;

/// Most vectors of one call (the kernel's `UIO_MAXIOV`).
const MAX_VECTORS: u64 = 1024;

/// A call on the socket `sk` that did not fail.
#[derive(Clone, Copy)]
pub struct Ended {
    pub thread: Thread,
    /// Its `struct sock *`.
    pub sk: u64,
    /// `DIRECTION_*`.
    pub direction: u8,
    pub call: Syscall,
    /// How many bytes moved; of `recvmmsg` and `sendmmsg` by their return, how many messages.
    pub bytes: u64,
    /// `MSG_*`.
    pub flags: i32,
}

/// Whether a call moved nothing of a stream: it only looked (`MSG_PEEK`), asked for errors, or sent no byte.
#[inline(always)]
pub fn is_no_traffic(direction: u8, flags: i32, ret: u64) -> bool {
    if direction == DIRECTION_EGRESS {
        ret == 0
    } else {
        flags & (MSG_PEEK | MSG_ERRQUEUE) != 0
    }
}

/// The system call `call` of `thread` returned `ret`. Nothing happens unless it moved bytes of a socket in `DIRECTION`: there
/// is a program for each, since the verifier would follow every way through both at once, and give up.
#[inline(always)]
pub fn returned<C: EbpfContext, const DIRECTION: u8>(ctx: &C, thread: Thread, call: Syscall, ret: u64) {
    let is_egress = DIRECTION == DIRECTION_EGRESS;
    let (fd, flags) = match call.nr {
        nr::READ | nr::READV | nr::PREADV2 if !is_egress => (call.fd, 0),
        nr::RECVFROM | nr::RECVMMSG if !is_egress => (call.fd, call.arg3 as i32),
        nr::RECVMSG if !is_egress => (call.fd, call.arg2 as i32),
        nr::WRITE | nr::WRITEV | nr::PWRITEV2 | nr::SENDTO | nr::SENDMSG | nr::SENDMMSG | nr::SENDFILE
            if is_egress =>
        {
            (call.fd, 0)
        }
        nr::SPLICE if is_egress => (call.splice_target(), 0),
        nr::SPLICE => (call.fd, 0),
        _ => return,
    };
    if is_no_traffic(DIRECTION, flags, ret) {
        return;
    }
    let Some(sk) = files::sock_of_ended(fd) else {
        return;
    };
    let ended_call = Ended {
        thread,
        sk,
        direction: DIRECTION,
        call: call.on(fd),
        bytes: ret,
        flags,
    };
    ended::<_, true>(ctx, ended_call);
}

/// A call on a socket ended. `WHOLE`: messages of `recvmmsg` and `sendmmsg` come together rather than one by one.
#[inline(always)]
pub fn ended<C: EbpfContext, const WHOLE: bool>(ctx: &C, ended: Ended) {
    let Ended {
        thread,
        sk,
        direction,
        call,
        bytes,
        flags,
    } = ended;
    let Some(head) = kernel::sock_head(sk) else {
        return;
    };
    let messages = WHOLE && matches!(call.nr, nr::RECVMMSG | nr::SENDMMSG);
    if messages && !conn::is_tcp(sk, &head) {
        return;
    }
    let known = conn::find(sk, &head);
    let count = bytes;
    let bytes = if messages {
        messages::total(call.arg1, count)
    } else {
        bytes
    };
    let moved = conn::Moved::by(direction, bytes);
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
        "call {} on fd {}: direction {}, {} bytes", call.nr, conn.id.fd, direction, bytes
    );
    let _ = ctx;
    if messages {
        messages::moved(&conn, direction, call.arg1, count, bytes, at_ns);
    } else if bytes == 0 {
        if asks_for_bytes(call) {
            conn.end(DIRECTION_INGRESS, at_ns);
        }
    } else if conn.is_tls() {
        ledger::add::<{ counter::CIPHERTEXT_BYTES }>(bytes);
    } else {
        let truncated = direction == DIRECTION_INGRESS && flags & MSG_TRUNC != 0;
        let moved = stream::Moved {
            direction,
            source: SOURCE_SOCKET,
            bytes,
            call_bytes: bytes,
            payload: if truncated {
                Payload::Nowhere
            } else {
                payload(call)
            },
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
    moved: conn::Moved,
) -> Option<ConnRef> {
    if !is_callers_own(sk, head, call) {
        return None;
    }
    let late = conn::lateness(sk, moved.ingress, moved.egress);
    let conn = conn::start(sk, head, thread.tgid(), call.fd, late);
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

/// The vectors of the `struct msghdr` at `header`.
#[inline(always)]
fn message(header: u64) -> Payload {
    match vectors_of(header) {
        Some([vectors, count]) => Payload::At(Source::vectors(vectors, count)),
        None => Payload::Fault,
    }
}

/// Address and number of the vectors of the `struct msghdr` at `header`.
#[inline(always)]
fn vectors_of(header: u64) -> Option<[u64; 2]> {
    const IOV_OFFSET: u64 = 16;
    // SAFETY: the helper checks the address and fails on a bad one. `msg_iov` and `msg_iovlen` are neighbours.
    unsafe { bpf_probe_read_user((header + IOV_OFFSET) as *const [u64; 2]) }.ok()
}

/// Whether `call`, which received nothing, had asked for something: then the other end has said that no more will come.
#[inline(always)]
fn asks_for_bytes(call: Syscall) -> bool {
    match call.nr {
        nr::READ | nr::RECVFROM => call.arg2 != 0,
        nr::SPLICE => call.arg4 != 0,
        nr::READV | nr::PREADV2 => has_room(call.arg1, call.arg2),
        nr::RECVMSG => vectors_of(call.arg1).is_none_or(|[vectors, count]| has_room(vectors, count)),
        _ => true,
    }
}

struct Search {
    vector: u64,
    found: u64,
}

/// Whether one of `count` vectors has a length.
#[inline(never)]
fn has_room(vectors: u64, count: u64) -> bool {
    let mut search = Search {
        vector: vectors,
        found: 0,
    };
    let turns = count.min(MAX_VECTORS) as u32;
    // SAFETY: the callback has the signature that the helper calls, and `search` outlives the loop.
    unsafe { bpf_loop(turns, search_step as *mut _, (&raw mut search).cast(), 0) };
    search.found != 0
}

extern "C" fn search_step(_index: u64, search: *mut Search) -> i64 {
    const LENGTH_OFFSET: u64 = 8;
    // SAFETY: `has_room` passes a live `Search` that nothing else touches.
    let search = unsafe { &mut *search };
    // SAFETY: the helper checks the address and fails on a bad one.
    let length = unsafe { bpf_probe_read_user((search.vector + LENGTH_OFFSET) as *const u64) };
    search.vector += 2 * LENGTH_OFFSET;
    if length == Ok(0) {
        return 0;
    }
    search.found = 1;
    1
}
