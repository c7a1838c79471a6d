//! Copies a call's bytes out of the gateway's memory, straight into reserved records: no scratch buffer, because a
//! uprobe can be preempted while it uses one.
//!
//! A call's pieces (one buffer, or each `struct iovec`) become records of at most 16 KiB, each of the smallest class
//! that holds it, since the ring only hands out rooms whose size the verifier knows beforehand. What is past the run's
//! budget becomes one record of its length, but for small pieces and the end of a chunked body: that is what a reader needs to
//! find its way (nginx sends each chunk's size as a piece of its own).

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user as probe_read_user};
use core::mem::MaybeUninit;
use kongtap_common::budget::GLIMPSE_BYTES;
use kongtap_common::counter;
use kongtap_common::record::{ConnId, KIND_DATA, MAX_PAYLOAD_BYTES, RecordHeader};

use super::{Range, SUBMIT, header, is_crowded, left, lost_before};
use crate::asm::opaque;
use crate::budget::{self, Allowance};
use crate::conn::{ConnRef, NOWHERE};
use crate::ledger::Slots;
use crate::maps::RING;

/// Most pieces of one call: 1,024 vectors (the kernel's own limit) and as many cuts at 16 KiB again and more. A call
/// of 16 MiB in one buffer needs 1,024.
const MAX_PIECES: u32 = 4096;

/// Pieces of at most so many bytes are copied although the budget is used up: chunk sizes, and what is between chunks.
const SMALL_PIECE_BYTES: u64 = 64;
/// Bytes that are copied of the end of a chunked body.
const TAIL_BYTES: u64 = 16;
/// The end of a head, as it lies in memory.
const HEAD_END: u32 = u32::from_ne_bytes(*b"\r\n\r\n");
/// A run's first bytes, for which there is room in the ring when there is none for bodies.
const FIRST_BYTES: u64 = 4096;

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
    /// Its position is that of the next byte.
    place: Place,
    vector: u64,
    vectors_left: u64,
    piece: u64,
    piece_left: u64,
    left: u64,
    /// Bytes before this position are passed over.
    copy_from: u64,
    /// Bytes from this position on are over the budget.
    copy_to: u64,
    /// Bytes from this position on need a ring with room.
    patient_from: u64,
    /// Whether the end of the head is looked for.
    head_only: u64,
    /// The first byte over the budget that no record tells of yet.
    over_from: u64,
    /// Whether the newest bytes are lost, and no record shows it yet.
    lost: u64,
    copied: u64,
    over: u64,
    ring_full: u64,
    fault: u64,
    records: u64,
}

/// `struct iovec`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct IoVec {
    /// Address.
    pub base: u64,
    /// Bytes.
    pub len: u64,
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

/// Copies what is allowed of a call's bytes, those from position `from` to `end`; `place` is where the call's first byte
/// is. Accounts for each of them.
#[inline(always)]
pub fn copy(
    conn: &ConnRef,
    slots: Slots,
    source: Source,
    place: Place,
    allowance: Allowance,
    from: u64,
    end: u64,
) {
    let zero = unknown_zero();
    let bytes = end - place.pos;
    let mut walk = Walk {
        place,
        vector: source.vectors,
        vectors_left: source.vector_count,
        piece: source.buffer,
        piece_left: if source.buffer == 0 { 0 } else { bytes },
        left: bytes,
        copy_from: from,
        copy_to: allowance.limit,
        patient_from: allowance.run + FIRST_BYTES,
        head_only: u64::from(allowance.head_only).wrapping_add(zero),
        over_from: NOWHERE.wrapping_add(zero),
        lost: zero,
        copied: zero,
        over: zero,
        ring_full: zero,
        fault: zero,
        records: zero,
    };
    // SAFETY: the callback has the signature that the helper calls, and `walk` outlives the loop.
    unsafe { bpf_loop(MAX_PIECES, step as *mut _, (&raw mut walk).cast(), 0) };
    if walk.over_from != NOWHERE {
        tell_over(&mut walk);
    }
    if walk.copy_to != allowance.limit {
        budget::head_ended(conn, place.direction, walk.copy_to);
    }
    slots.add::<{ counter::COPIED_BYTES }>(walk.copied);
    slots.add::<{ counter::RECORDS }>(walk.records);
    slots.add::<{ counter::LEFT_OVER_BUDGET_BYTES }>(walk.over);
    slots.add::<{ counter::LOST_RING_FULL_BYTES }>(walk.ring_full);
    slots.add::<{ counter::LOST_FAULT_BYTES }>(walk.fault);
    // What no piece accounts for: more pieces than one run may copy, or fewer bytes in the vectors than were moved.
    slots.add::<{ counter::LOST_CALL_TOO_LONG_BYTES }>(walk.left);
    if walk.lost | walk.left != 0 {
        lost_before(place.conn, place.direction, end, place.at_ns);
    }
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

/// One, likewise.
#[inline(always)]
fn one() -> u64 {
    unknown_zero().wrapping_add(1)
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
            walk.lost = one();
            walk.left = unknown_zero();
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
    let pos = walk.place.pos;
    let piece = walk.piece_left.min(walk.left);
    let take = if pos < walk.copy_from {
        piece.min(walk.copy_from - pos)
    } else if pos >= walk.copy_to && piece > SMALL_PIECE_BYTES {
        leave(walk, piece)
    } else {
        let take = if pos >= walk.copy_to {
            piece
        } else {
            piece.min(walk.copy_to - pos).min(u64::from(MAX_PAYLOAD_BYTES))
        };
        let unknown = opaque(take.wrapping_add(unknown_zero()));
        send(walk, take, piece);
        unknown
    };
    walk.place.pos += take;
    walk.piece += take;
    // Unknown again, or the verifier follows each remainder that a range known from this turn can leave.
    let zero = unknown_zero();
    walk.piece_left = (walk.piece_left - take).wrapping_add(zero);
    walk.left = (walk.left - take).wrapping_add(zero);
    0
}

/// Copies `take` bytes of a piece that has `piece`.
#[inline(always)]
fn send(walk: &mut Walk, take: u64, piece: u64) {
    if walk.over_from != NOWHERE {
        tell_over(walk);
    }
    // As numbers of which nothing is known, or the verifier follows the range of each class from here on.
    let zero = unknown_zero();
    let bytes = opaque(take.wrapping_add(zero));
    let rest = opaque((piece - take).wrapping_add(zero));
    let outcome = if walk.place.pos >= walk.patient_from && is_crowded() {
        Outcome::RingFull
    } else {
        record(walk, take)
    };
    walk.lost = one();
    match outcome {
        Outcome::Copied => {
            walk.copied += bytes;
            walk.records += 1;
            walk.lost = unknown_zero();
        }
        Outcome::RingFull => walk.ring_full += bytes,
        Outcome::Fault => walk.fault += bytes,
    }
    if walk.head_only != 0 && rest == 0 && ends_head(walk.piece + bytes) {
        walk.head_only = unknown_zero();
        walk.copy_to = walk
            .copy_to
            .min(walk.place.pos + bytes + u64::from(GLIMPSE_BYTES));
    }
}

/// Leaves a piece that is over the budget, but for the end of a chunked body. Answers how many bytes are left.
#[inline(always)]
fn leave(walk: &mut Walk, piece: u64) -> u64 {
    if walk.over_from == NOWHERE {
        walk.over_from = walk.place.pos;
    }
    let take = if piece == walk.left && ends_head(walk.piece + piece) {
        piece - TAIL_BYTES
    } else {
        piece
    };
    walk.over += take;
    take
}

/// Whether the four bytes before `end` are an empty line after another line.
#[inline(always)]
fn ends_head(end: u64) -> bool {
    // SAFETY: the helper checks the address and fails on a bad one.
    let last = unsafe { bpf_probe_read_user((end - 4) as *const u32) };
    last == Ok(HEAD_END)
}

/// A record for the bytes over the budget up to here.
#[inline(never)]
fn tell_over(walk: &mut Walk) {
    let bytes = walk.place.pos - walk.over_from;
    let range = Range {
        conn: walk.place.conn,
        direction: walk.place.direction,
        source: walk.place.source,
        pos: walk.over_from,
        bytes: bytes as u32,
    };
    let zero = unknown_zero();
    walk.over_from = NOWHERE.wrapping_add(zero);
    if left(range, walk.place.at_ns) {
        walk.lost = zero;
    } else {
        walk.over -= bytes;
        walk.ring_full += bytes;
        walk.lost = one();
    }
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
