//! Writes records into the ring. Never wakes the reader: a wake-up costs the gateway's thread more than all the rest.

pub mod copy;

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE};
use core::mem::MaybeUninit;
use kongtap_common::counter;
use kongtap_common::record::{
    ABI, ClosePayload, ConnId, FAMILY_INET6, FLAG_LATE, FLAG_NO_PAYLOAD, FLAG_TLS, KIND_CLOSE, KIND_DATA,
    KIND_END, KIND_OPEN, OpenPayload, RecordHeader,
};

use crate::conn::{self, ConnRef};
use crate::kernel::{self, offset};
use crate::ledger;
use crate::maps::RING;

const SUBMIT: u64 = BPF_RB_NO_WAKEUP as u64;

/// A header with everything zero but its kind, connection and time.
#[inline(always)]
fn header(kind: u8, conn: ConnId, at_ns: u64) -> RecordHeader {
    RecordHeader {
        kind,
        abi: ABI,
        flags: 0,
        captured_bytes: 0,
        at_ns,
        conn,
        pos_bytes: 0,
        call_bytes: 0,
        direction: 0,
        source: 0,
        pad: 0,
    }
}

/// Sends a record that is only a header; says whether there was room.
#[inline(always)]
fn bare(record: RecordHeader) -> bool {
    let Some(mut slot) = RING.reserve::<RecordHeader>(0) else {
        return false;
    };
    slot.write(record);
    slot.submit(SUBMIT);
    ledger::add::<{ counter::RECORDS }>(1);
    true
}

/// Sends a record that is only a header and counts it if there was no room.
#[inline(always)]
fn lifecycle(record: RecordHeader) {
    if !bare(record) {
        ledger::add::<{ counter::LOST_LIFECYCLE_RECORDS }>(1);
    }
}

/// One direction of `conn` ended at `pos`.
#[inline(always)]
pub fn end(conn: ConnId, direction: u8, pos: u64, at_ns: u64) {
    lifecycle(RecordHeader {
        pos_bytes: pos,
        direction,
        ..header(KIND_END, conn, at_ns)
    });
}

#[repr(C)]
struct Close {
    header: RecordHeader,
    payload: ClosePayload,
}

/// `conn` is gone; it had come as far as `ends` says.
#[inline(always)]
pub fn close(conn: ConnId, ends: ClosePayload, at_ns: u64) {
    let Some(mut slot) = RING.reserve::<Close>(0) else {
        ledger::add::<{ counter::LOST_LIFECYCLE_RECORDS }>(1);
        return;
    };
    slot.write(Close {
        header: RecordHeader {
            captured_bytes: size_of::<ClosePayload>() as u32,
            ..header(KIND_CLOSE, conn, at_ns)
        },
        payload: ends,
    });
    slot.submit(SUBMIT);
    ledger::add::<{ counter::RECORDS }>(1);
}

/// Bytes of a direction that are not copied.
#[derive(Clone, Copy)]
pub struct Range {
    /// Connection.
    pub conn: ConnId,
    /// `DIRECTION_*`.
    pub direction: u8,
    /// `SOURCE_*`.
    pub source: u8,
    /// Position of the first one.
    pub pos: u64,
    /// How many.
    pub bytes: u32,
}

/// The bytes of `range` moved and were left where they are; says whether there was room to say so.
#[inline(always)]
pub fn left(range: Range, at_ns: u64) -> bool {
    bare(RecordHeader {
        flags: FLAG_NO_PAYLOAD,
        pos_bytes: range.pos,
        call_bytes: range.bytes,
        direction: range.direction,
        source: range.source,
        ..header(KIND_DATA, range.conn, at_ns)
    })
}

/// Bytes before `pos` are lost: shows it now rather than with the next record. Without room for that, the next one does.
#[inline(always)]
pub fn lost_before(conn: ConnId, direction: u8, pos: u64, at_ns: u64) {
    if fill() < ALMOST_FULL {
        bare(RecordHeader {
            flags: FLAG_NO_PAYLOAD,
            pos_bytes: pos,
            direction,
            ..header(KIND_DATA, conn, at_ns)
        });
    }
}

/// Sixteenths of the ring that are taken when bodies find no room any more: the rest is for heads and lifecycle.
const CROWDED: u64 = 14;
/// Sixteenths at which losses are no longer announced one by one either.
const ALMOST_FULL: u64 = 15;

/// Sixteenths of the ring that are taken.
#[inline(always)]
fn fill() -> u64 {
    let size = RING.query(u64::from(BPF_RB_RING_SIZE));
    // A ring has at least a page.
    16 * RING.query(u64::from(BPF_RB_AVAIL_DATA)) / (size | 1)
}

/// Whether there is room for heads and lifecycle only.
#[inline(always)]
pub fn is_crowded() -> bool {
    fill() >= CROWDED
}

#[repr(C)]
struct Open {
    header: RecordHeader,
    payload: OpenPayload,
}

/// First sight of `conn`; says whether there was room.
#[inline(always)]
pub fn open(conn: &ConnRef, at_ns: u64, addrs: u64, ports: u32, family: u16) -> bool {
    let Some(mut slot) = RING.reserve::<Open>(0) else {
        ledger::add::<{ counter::LOST_LIFECYCLE_RECORDS }>(1);
        return false;
    };
    let mut flags = 0;
    if conn.flags & conn::TLS != 0 {
        flags |= FLAG_TLS;
    }
    if conn.flags & conn::LATE != 0 {
        flags |= FLAG_LATE;
    }
    let (remote_addr, local_addr) = if family == FAMILY_INET6 {
        (
            kernel::read(conn.sk, offset!(sock_v6_remote)).unwrap_or([0; 2]),
            kernel::read(conn.sk, offset!(sock_v6_local)).unwrap_or([0; 2]),
        )
    } else {
        ([addrs & 0xffff_ffff, 0], [addrs >> 32, 0])
    };
    let [remote_0, remote_1, local_0, local_1] = ports.to_ne_bytes();
    let local_port = kernel::read::<[u8; 2]>(conn.sk, offset!(sock_local_port))
        .map_or(u16::from_ne_bytes([local_0, local_1]), u16::from_be_bytes);
    let target: *mut MaybeUninit<Open> = &raw mut *slot;
    let target = target.cast::<Open>();
    // SAFETY: the reserved slot has room for an `Open`, and every byte of it is written.
    unsafe {
        (&raw mut (*target).header).write(RecordHeader {
            flags,
            captured_bytes: size_of::<OpenPayload>() as u32,
            ..header(KIND_OPEN, conn.id, at_ns)
        });
        (&raw mut (*target).payload.remote_addr)
            .cast::<[u64; 2]>()
            .write(remote_addr);
        (&raw mut (*target).payload.local_addr)
            .cast::<[u64; 2]>()
            .write(local_addr);
        (&raw mut (*target).payload.local_port).write(local_port);
        (&raw mut (*target).payload.remote_port).write(u16::from_be_bytes([remote_0, remote_1]));
        (&raw mut (*target).payload.family).write(family);
        (&raw mut (*target).payload.pad).write(0);
    }
    slot.submit(SUBMIT);
    ledger::add::<{ counter::RECORDS }>(1);
    true
}
