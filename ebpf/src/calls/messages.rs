//! `recvmmsg` and `sendmmsg` when they are seen to return: several messages in one call, each with vectors and a length of
//! its own. On TCP they are rare, and each is one more piece of the same stream.

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::bpf_loop;
use kongtap_common::counter;
use kongtap_common::record::{DIRECTION_EGRESS, DIRECTION_INGRESS, SOURCE_SOCKET};

use super::{MAX_VECTORS, has_room, message, vectors_of};
use crate::conn::{self, ConnRef};
use crate::emit::copy::unknown_zero;
use crate::ledger;
use crate::stream;

/// Size of a `struct mmsghdr`: a `struct msghdr`, and its `msg_len`.
const HEADER_BYTES: u64 = 64;
const LENGTH_OFFSET: u64 = 56;

struct Sum {
    header: u64,
    bytes: u64,
}

/// Bytes of the `count` messages at `headers`.
#[inline(never)]
pub fn total(headers: u64, count: u64) -> u64 {
    let mut sum = Sum {
        header: headers,
        bytes: unknown_zero(),
    };
    let turns = count.min(MAX_VECTORS) as u32;
    // SAFETY: the callback has the signature that the helper calls, and `sum` outlives the loop.
    unsafe { bpf_loop(turns, sum_step as *mut _, (&raw mut sum).cast(), 0) };
    sum.bytes
}

extern "C" fn sum_step(_index: u64, sum: *mut Sum) -> i64 {
    // SAFETY: `total` passes a live `Sum` that nothing else touches.
    let sum = unsafe { &mut *sum };
    sum.bytes = sum
        .bytes
        .wrapping_add(u64::from(length(sum.header)))
        .wrapping_add(unknown_zero());
    sum.header += HEADER_BYTES;
    0
}

/// `msg_len`; zero where it cannot be read.
#[inline(always)]
fn length(header: u64) -> u32 {
    // SAFETY: the helper checks the address and fails on a bad one.
    unsafe { bpf_probe_read_user((header + LENGTH_OFFSET) as *const u32) }.unwrap_or(0)
}

struct Walk {
    header: u64,
    sk: u64,
    at_ns: u64,
    call_bytes: u64,
}

/// The `count` messages at `headers` moved on `conn`, `call_bytes` in all.
#[inline(always)]
pub fn moved(conn: &ConnRef, direction: u8, headers: u64, count: u64, call_bytes: u64, at_ns: u64) {
    let mut walk = Walk {
        header: headers,
        sk: conn.sk,
        at_ns,
        call_bytes,
    };
    let turns = count.min(MAX_VECTORS) as u32;
    // One for each direction, which the verifier then knows.
    let step = if direction == DIRECTION_EGRESS {
        step::<DIRECTION_EGRESS> as extern "C" fn(u64, *mut Walk) -> i64
    } else {
        step::<DIRECTION_INGRESS> as extern "C" fn(u64, *mut Walk) -> i64
    };
    // SAFETY: the callback has the signature that the helper calls, and `walk` outlives the loop.
    unsafe { bpf_loop(turns, step as *mut _, (&raw mut walk).cast(), 0) };
}

/// One message. Answers 1 to end the loop.
extern "C" fn step<const DIRECTION: u8>(_index: u64, walk: *mut Walk) -> i64 {
    // SAFETY: `moved` passes a live `Walk` that nothing else touches.
    let walk = unsafe { &mut *walk };
    // Looked up again: a pointer to the entry would not survive the verifier's view of a loop.
    let Some(conn) = conn::known(walk.sk) else {
        return 1;
    };
    let header = walk.header;
    walk.header += HEADER_BYTES;
    let bytes = u64::from(length(header));
    if bytes == 0 {
        let asked = vectors_of(header).is_some_and(|[vectors, count]| has_room(vectors, count));
        if DIRECTION == DIRECTION_INGRESS && asked {
            conn.end(DIRECTION_INGRESS, walk.at_ns);
        }
    } else if conn.is_tls() {
        ledger::add::<{ counter::CIPHERTEXT_BYTES }>(bytes);
    } else {
        let moved = stream::Moved {
            direction: DIRECTION,
            source: SOURCE_SOCKET,
            bytes,
            call_bytes: core::mem::take(&mut walk.call_bytes),
            payload: message(header),
            at_ns: walk.at_ns,
        };
        stream::moved(&conn, moved);
    }
    0
}
