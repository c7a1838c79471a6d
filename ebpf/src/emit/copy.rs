//! Copies a call's bytes out of the gateway's memory, straight into reserved records: no scratch buffer, because a
//! uprobe can be preempted while it uses one.
//!
//! A call's pieces (one buffer, or each `struct iovec`) become records of at most 16 KiB, each of the smallest class
//! that holds it, since the ring only hands out rooms whose size the verifier knows beforehand.

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user as probe_read_user};
use core::mem::MaybeUninit;
use kongtap_common::counter;
use kongtap_common::record::{ConnId, KIND_DATA, MAX_PAYLOAD_BYTES, RecordHeader};

use super::{SUBMIT, header};
use crate::asm::opaque;
use crate::ledger;
use crate::maps::RING;

/// Most pieces of one call: 1,024 vectors (the kernel's own limit) and as many cuts at 16 KiB again and more. A call
/// of 16 MiB in one buffer needs 1,024.
const MAX_PIECES: u32 = 4096;

/// Bytes of a call, as the gateway's memory holds them.
#[derive(Clone, Copy)]
pub struct Source {
    /// Address of the bytes, or zero when there are vectors.
    pub buffer: u64,
    /// Address of an array of `struct iovec`.
    pub vectors: u64,
    /// How many of them.
    pub vector_count: u64,
}

impl Source {
    /// One buffer.
    #[inline(always)]
    pub fn buffer(address: u64) -> Self {
        Self {
            buffer: address,
            vectors: 0,
            vector_count: 0,
        }
    }

    /// `count` vectors.
    #[inline(always)]
    pub fn vectors(address: u64, count: u64) -> Self {
        Self {
            buffer: 0,
            vectors: address,
            vector_count: count,
        }
    }
}

/// Where the bytes belong.
#[derive(Clone, Copy)]
pub struct Place {
    /// Connection.
    pub conn: ConnId,
    /// `DIRECTION_*`.
    pub direction: u8,
    /// `SOURCE_*`.
    pub source: u8,
    /// Position of the first one.
    pub pos: u64,
    /// End of the call.
    pub at_ns: u64,
}

struct Walk {
    place: Place,
    vector: u64,
    vectors_left: u64,
    piece: u64,
    piece_left: u64,
    left: u64,
    copied: u64,
    ring_full: u64,
    fault: u64,
    records: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct IoVec {
    base: u64,
    len: u64,
}

#[repr(C)]
struct Slot<const N: usize> {
    header: RecordHeader,
    payload: [MaybeUninit<u8>; N],
}

enum Outcome {
    Copied,
    RingFull,
    Fault,
}

/// Copies `bytes` from `source`, and accounts for each of them.
#[inline(always)]
pub fn copy(source: Source, place: Place, bytes: u64) {
    let zero = unknown_zero();
    let mut walk = Walk {
        place,
        vector: source.vectors,
        vectors_left: source.vector_count,
        piece: source.buffer,
        piece_left: if source.buffer == 0 { 0 } else { bytes },
        left: bytes,
        copied: zero,
        ring_full: zero,
        fault: zero,
        records: zero,
    };
    // SAFETY: the callback has the signature that the helper calls, and `walk` outlives the loop.
    unsafe { bpf_loop(MAX_PIECES, step as *mut _, (&raw mut walk).cast(), 0) };
    ledger::add::<{ counter::COPIED_BYTES }>(walk.copied);
    ledger::add::<{ counter::RECORDS }>(walk.records);
    ledger::add::<{ counter::LOST_RING_FULL_BYTES }>(walk.ring_full);
    ledger::add::<{ counter::LOST_FAULT_BYTES }>(walk.fault);
    // What no piece accounts for: more pieces than one run may copy, or fewer bytes in the vectors than were moved.
    ledger::add::<{ counter::LOST_CALL_TOO_LONG_BYTES }>(walk.left);
}

/// Zero, which the verifier cannot know because the memory it comes from is writable. It would follow a sum that starts at
/// a known value, or a remainder in a known range, through every number of turns, and give up after a million instructions.
#[inline(always)]
pub fn unknown_zero() -> u64 {
    #[unsafe(no_mangle)]
    static mut ZERO: u64 = 0;
    // SAFETY: nobody writes to it.
    unsafe { (&raw const ZERO).read_volatile() }
}

/// One piece. Answers 1 to end the loop.
extern "C" fn step(_index: u64, walk: *mut Walk) -> i64 {
    // SAFETY: `copy` passes a live `Walk` that nothing else touches.
    let walk = unsafe { &mut *walk };
    if walk.left == 0 {
        return 1;
    }
    if walk.piece_left == 0 {
        if walk.vectors_left == 0 {
            return 1;
        }
        // SAFETY: the helper checks the address and fails on a bad one.
        let Ok(vector) = (unsafe { bpf_probe_read_user(walk.vector as *const IoVec) }) else {
            walk.fault += walk.left;
            walk.left = 0;
            return 1;
        };
        walk.vector += size_of::<IoVec>() as u64;
        walk.vectors_left -= 1;
        walk.piece = vector.base;
        walk.piece_left = vector.len;
        if vector.len == 0 {
            return 0;
        }
    }
    let take = walk.piece_left.min(walk.left).min(u64::from(MAX_PAYLOAD_BYTES));
    match record(walk, take) {
        Outcome::Copied => {
            walk.copied += take;
            walk.records += 1;
        }
        Outcome::RingFull => walk.ring_full += take,
        Outcome::Fault => walk.fault += take,
    }
    walk.place.pos += take;
    walk.piece += take;
    // Unknown again, or the verifier follows each remainder that a range known from this turn can leave.
    let zero = unknown_zero();
    walk.piece_left = (walk.piece_left - take).wrapping_add(zero);
    walk.left = (walk.left - take).wrapping_add(zero);
    0
}

/// Sends `take` bytes in a record of the smallest class that holds them.
#[inline(always)]
fn record(walk: &Walk, take: u64) -> Outcome {
    match take {
        0..=128 => reserve::<128>(walk, take),
        129..=256 => reserve::<256>(walk, take),
        257..=512 => reserve::<512>(walk, take),
        513..=1024 => reserve::<1024>(walk, take),
        1025..=1536 => reserve::<1536>(walk, take),
        1537..=2048 => reserve::<2048>(walk, take),
        2049..=3072 => reserve::<3072>(walk, take),
        3073..=4096 => reserve::<4096>(walk, take),
        4097..=6144 => reserve::<6144>(walk, take),
        6145..=8192 => reserve::<8192>(walk, take),
        8193..=12288 => reserve::<12288>(walk, take),
        _ => reserve::<{ MAX_PAYLOAD_BYTES as usize }>(walk, take),
    }
}

#[inline(always)]
fn reserve<const N: usize>(walk: &Walk, take: u64) -> Outcome {
    let Some(mut slot) = RING.reserve::<Slot<N>>(0) else {
        return Outcome::RingFull;
    };
    let place = &walk.place;
    let target: *mut MaybeUninit<Slot<N>> = &raw mut *slot;
    let target = target.cast::<Slot<N>>();
    let length = opaque(take).min(N as u64);
    // SAFETY: the reserved slot has room for the header and `N` bytes, and `length` is at most `N`; the helper checks
    // the source address and fails on a bad one.
    let read = unsafe {
        (&raw mut (*target).header).write(RecordHeader {
            captured_bytes: length as u32,
            pos_bytes: place.pos,
            call_bytes: length as u32,
            direction: place.direction,
            source: place.source,
            ..header(KIND_DATA, place.conn, place.at_ns)
        });
        probe_read_user(
            (&raw mut (*target).payload).cast(),
            length as u32,
            walk.piece as *const _,
        )
    };
    if read != 0 {
        slot.discard(SUBMIT);
        return Outcome::Fault;
    }
    slot.submit(SUBMIT);
    Outcome::Copied
}
