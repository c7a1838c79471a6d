//! How much of a direction's current run is copied (see [`kongtap_common::budget`]).

use aya_ebpf::helpers::bpf_probe_read_user;
use kongtap_common::budget::Budget;
use kongtap_common::record::{DIRECTION_EGRESS, DIRECTION_INGRESS};

use crate::conn::{self, ConnRef, HEAD_ENDED};
use crate::emit::copy::{IoVec, Source};
use crate::maps::BUDGET;

/// `PRI * HT`, the first bytes of HTTP/2 (RFC 9113 section 3.4), as they lie in memory.
const HTTP2_PREFACE: u64 = u64::from_ne_bytes(*b"PRI * HT");

/// The header of a SETTINGS frame on stream 0, with which a server begins HTTP/2 (RFC 9113 sections 3.4, 6.5): which bytes tell it,
/// all but its length's lowest, and what they are.
const SETTINGS_MASK: u64 = u64::from_ne_bytes([0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 0xff]);
const SETTINGS: u64 = u64::from_ne_bytes([0, 0, 0, 4, 0, 0, 0, 0]);

/// What is copied of a call.
#[derive(Clone, Copy)]
pub struct Allowance {
    /// The position up to which bytes are copied.
    pub limit: u64,
    /// Where the run began.
    pub run: u64,
    /// Whether the end of the head is looked for, because no body is wanted.
    pub head_only: bool,
}

/// A call moves bytes at `pos`: what is copied of it.
#[inline(always)]
pub fn allowance(conn: &ConnRef, direction: u8, pos: u64, memory: &Source) -> Allowance {
    let track = conn.track(direction);
    if conn.turn() != u32::from(direction) + 1 {
        learn(conn, direction, pos, memory);
        begin_run(conn, direction, pos);
        conn.set_turn(direction);
    } else {
        // SAFETY: a track is part of the connection's entry, which stays readable in this run.
        let (limit, marks) = unsafe { ((*track).limit, (*track).marks) };
        if (pos >= limit || marks & HEAD_ENDED != 0) && is_head(first_bytes(memory) as u32) {
            begin_run(conn, direction, pos);
        }
    }
    // SAFETY: as above.
    let (limit, run, marks) = unsafe { ((*track).limit, (*track).run, (*track).marks) };
    Allowance {
        limit,
        run,
        head_only: direction == DIRECTION_EGRESS && marks & HEAD_ENDED == 0 && !wants_bodies(conn),
    }
}

/// Bytes moved at `pos` in `direction` that cannot be copied.
#[inline(always)]
pub fn take_turn(conn: &ConnRef, direction: u8, pos: u64) {
    if conn.turn() != u32::from(direction) + 1 {
        begin_run(conn, direction, pos);
        conn.set_turn(direction);
    }
}

/// A run, or what counts as one, begins at `pos`.
#[inline(always)]
pub fn begin_run(conn: &ConnRef, direction: u8, pos: u64) {
    let limit = if conn.flags_now() & conn::HTTP2 != 0 {
        u64::MAX
    } else {
        pos + bytes(conn)
    };
    let track = conn.track(direction);
    // SAFETY: as above.
    unsafe {
        (*track).run = pos;
        (*track).limit = limit;
        (*track).marks &= !HEAD_ENDED;
    }
}

/// The head of the run ended: what is copied from now on ends at `limit`.
#[inline(always)]
pub fn head_ended(conn: &ConnRef, direction: u8, limit: u64) {
    let track = conn.track(direction);
    // SAFETY: as above.
    unsafe {
        (*track).limit = limit;
        (*track).marks |= HEAD_ENDED;
    }
}

#[inline(always)]
fn configured() -> Budget {
    BUDGET.get(0).copied().unwrap_or_default()
}

#[inline(always)]
fn bytes(conn: &ConnRef) -> u64 {
    let budget = configured();
    let body = if conn.flags_now() & conn::UPSTREAM != 0 {
        0
    } else {
        budget.body_bytes
    };
    u64::from(budget.head_bytes) + u64::from(body)
}

#[inline(always)]
fn wants_bodies(conn: &ConnRef) -> bool {
    let flags = conn.flags_now();
    flags & conn::HTTP2 != 0 || (flags & conn::UPSTREAM == 0 && configured().body_bytes != 0)
}

/// Learns what a connection is from the first bytes of its first runs.
#[inline(always)]
fn learn(conn: &ConnRef, direction: u8, pos: u64, memory: &Source) {
    let flags = conn.flags;
    if flags & (conn::UPSTREAM | conn::DOWNSTREAM) != 0 {
        return;
    }
    let first = first_bytes(memory);
    if flags & conn::LATE != 0 {
        // In the middle of something: who answers is the server.
        if first as u32 == HTTP {
            conn.raise(if direction == DIRECTION_INGRESS {
                conn::UPSTREAM
            } else {
                conn::DOWNSTREAM
            });
        }
        return;
    }
    // Who speaks first is the client, but for an HTTP/2 server that does not wait for it.
    let is_server = pos == 0 && first & SETTINGS_MASK == SETTINGS;
    let leg = if (direction == DIRECTION_EGRESS) != is_server {
        conn::UPSTREAM
    } else {
        conn::DOWNSTREAM
    };
    let http2 = if is_server || pos == 0 && first == HTTP2_PREFACE {
        conn::HTTP2
    } else {
        0
    };
    conn.raise(leg | http2);
}

/// The first eight bytes of a call, or zeros. They may reach beyond a short piece.
#[inline(always)]
fn first_bytes(memory: &Source) -> u64 {
    let mut address = memory.buffer;
    if address == 0 {
        // SAFETY: the helper checks the address and fails on a bad one.
        match unsafe { bpf_probe_read_user(memory.vectors as *const IoVec) } {
            Ok(first) => address = first.base,
            Err(_) => return 0,
        }
    }
    // SAFETY: likewise.
    unsafe { bpf_probe_read_user(address as *const u64) }.unwrap_or(0)
}

const HTTP: u32 = u32::from_ne_bytes(*b"HTTP");

/// Whether a call that begins so may begin with a head. A body that does costs a budget more and nothing else.
#[inline(always)]
fn is_head(first: u32) -> bool {
    const GET: u32 = u32::from_ne_bytes(*b"GET ");
    const HEAD: u32 = u32::from_ne_bytes(*b"HEAD");
    const POST: u32 = u32::from_ne_bytes(*b"POST");
    const PUT: u32 = u32::from_ne_bytes(*b"PUT ");
    const DELETE: u32 = u32::from_ne_bytes(*b"DELE");
    const PATCH: u32 = u32::from_ne_bytes(*b"PATC");
    const OPTIONS: u32 = u32::from_ne_bytes(*b"OPTI");
    matches!(first, HTTP | GET | HEAD | POST | PUT | DELETE | PATCH | OPTIONS)
}
