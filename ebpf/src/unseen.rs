//! Bytes that moved on a socket by no call that is probed: `splice` out of a socket does not pass the receiving tracepoint,
//! nor do some ways of `sendfile` into one on older kernels. The socket's own sequence numbers tell of them.

use kongtap_common::counter;
use kongtap_common::record::{DIRECTION_EGRESS, DIRECTION_INGRESS, SOURCE_SOCKET};

use crate::conn::{ConnRef, SEQ_KNOWN};
use crate::kernel::{self, offset, tcp_state};
use crate::ledger::Slots;
use crate::{budget, emit};

/// A single byte is urgent data, which nothing here reads.
const SLACK: u32 = 1;
/// More than this at once is a number that was read while it changed.
const MOST: u32 = 1 << 30;

/// A call has moved `bytes` in `direction`, none where it only ended: declares what moved before it unseen.
#[inline(always)]
pub fn declare(conn: &ConnRef, direction: u8, bytes: u64, at_ns: u64) {
    if conn.is_tls() {
        // What the socket moves there is not the stream.
        return;
    }
    let Some(now) = sequence(conn, direction) else {
        return;
    };
    let track = conn.track(direction);
    // SAFETY: a track is part of the connection's entry, which stays readable in this run.
    let (before, marks) = unsafe { ((*track).seq, (*track).marks) };
    // SAFETY: as above.
    unsafe { (*track).seq = now };
    if marks & SEQ_KNOWN == 0 {
        begin(conn, direction);
        return;
    }
    let surplus = now.wrapping_sub(before).wrapping_sub(bytes as u32);
    if surplus != 0 && surplus < MOST {
        let surplus = surplus - u32::from(direction == DIRECTION_INGRESS && has_read_fin(conn, now));
        if surplus > SLACK {
            moved_unseen(conn, direction, surplus, at_ns);
        }
    }
}

/// Whether the other end's FIN is among what was read: it counts as a byte, the last one.
#[inline(never)]
fn has_read_fin(conn: &ConnRef, read: u32) -> bool {
    let Some(head) = kernel::sock_head(conn.sk) else {
        return false;
    };
    let has_come = matches!(
        i32::from(head.state),
        tcp_state::CLOSE_WAIT | tcp_state::LAST_ACK | tcp_state::CLOSING | tcp_state::CLOSE
    );
    has_come && kernel::read(conn.sk, offset!(tcp_rcv_nxt)) == Some(read)
}

/// The first call on a connection: both directions are counted from here on.
#[inline(never)]
fn begin(conn: &ConnRef, direction: u8) {
    let other = direction ^ 1;
    let theirs = sequence(conn, other);
    // SAFETY: as above.
    unsafe {
        (*conn.track(direction)).marks |= SEQ_KNOWN;
        let track = conn.track(other);
        if let Some(seq) = theirs
            && (*track).marks & SEQ_KNOWN == 0
        {
            (*track).seq = seq;
            (*track).marks |= SEQ_KNOWN;
        }
    }
}

#[inline(never)]
fn moved_unseen(conn: &ConnRef, direction: u8, bytes: u32, at_ns: u64) {
    let Some(slots) = Slots::open() else {
        return;
    };
    let pos = conn.advance(direction, u64::from(bytes));
    budget::take_turn(conn, direction, pos);
    let range = emit::Range {
        conn: conn.id,
        direction,
        source: SOURCE_SOCKET,
        pos,
        bytes,
    };
    slots.add::<{ counter::SEEN_BYTES }>(u64::from(bytes));
    if emit::left(range, at_ns) {
        slots.add::<{ counter::LEFT_NO_PAYLOAD_BYTES }>(u64::from(bytes));
    } else {
        slots.add::<{ counter::LOST_RING_FULL_BYTES }>(u64::from(bytes));
    }
}

/// The sequence number after the last byte that the process has read or written.
#[inline(always)]
fn sequence(conn: &ConnRef, direction: u8) -> Option<u32> {
    if direction == DIRECTION_EGRESS {
        kernel::read(conn.sk, offset!(tcp_write_seq))
    } else {
        kernel::read(conn.sk, offset!(tcp_copied_seq))
    }
}

const _: () = assert!(DIRECTION_INGRESS ^ 1 == DIRECTION_EGRESS);
