//! Bytes that moved on a connection's stream: counted, placed at their position, and copied or left.
//!
//! Every source of bytes ends here, so the ledger's sum is kept in one place: what is counted as seen is afterwards counted
//! as copied, left or lost.

use kongtap_common::counter;

use crate::conn::ConnRef;
use crate::emit::copy::{Place, Source, copy};
use crate::ledger::Slots;
use crate::{budget, emit, skip, unseen};

/// What a call's arguments say about its bytes.
#[derive(Clone, Copy)]
pub enum Payload {
    /// They are in the gateway's memory.
    At(Source),
    /// They never were (`sendfile`), or each message of the call has a length of its own (`sendmmsg`).
    Nowhere,
    /// The message header could not be read.
    Fault,
    /// A call that is not understood.
    Unknown,
}

/// One call's bytes.
#[derive(Clone, Copy)]
pub struct Moved {
    /// `DIRECTION_*`.
    pub direction: u8,
    /// `SOURCE_*`.
    pub source: u8,
    /// How many; never zero.
    pub bytes: u64,
    /// How many the whole call moved; zero for all but the first of several parts of a call.
    pub call_bytes: u64,
    /// Where they are.
    pub payload: Payload,
    /// End of the call.
    pub at_ns: u64,
}

/// `moved` happened on `conn`'s stream.
#[inline(always)]
pub fn moved(conn: &ConnRef, moved: Moved) {
    let Moved {
        direction,
        source,
        bytes,
        call_bytes,
        payload,
        at_ns,
    } = moved;
    let Some(slots) = Slots::open() else {
        return;
    };
    let is_announced = conn.announce(at_ns);
    if is_announced {
        unseen::declare(conn, direction, call_bytes, at_ns);
    }
    slots.add::<{ counter::SEEN_BYTES }>(bytes);
    let pos = conn.advance(direction, bytes);
    if !is_announced {
        slots.add::<{ counter::LOST_RING_FULL_BYTES }>(bytes);
        return;
    }
    let skipped = skip::pass(conn, slots, direction, pos, bytes, at_ns);
    if skipped == bytes {
        return;
    }
    let from = pos + skipped;
    match payload {
        Payload::At(memory) => {
            let place = Place {
                conn: conn.id,
                direction,
                source,
                pos,
                at_ns,
            };
            let allowance = budget::allowance(conn, direction, from, &memory);
            copy(conn, slots, memory, place, allowance, from, pos + bytes);
        }
        Payload::Nowhere => {
            budget::take_turn(conn, direction, from);
            let range = emit::Range {
                conn: conn.id,
                direction,
                source,
                pos: from,
                bytes: (bytes - skipped) as u32,
            };
            if emit::left(range, at_ns) {
                slots.add::<{ counter::LEFT_NO_PAYLOAD_BYTES }>(bytes - skipped);
            } else {
                slots.add::<{ counter::LOST_RING_FULL_BYTES }>(bytes - skipped);
            }
        }
        Payload::Fault | Payload::Unknown => {
            budget::take_turn(conn, direction, from);
            if matches!(payload, Payload::Fault) {
                slots.add::<{ counter::LOST_FAULT_BYTES }>(bytes - skipped);
            } else {
                slots.add::<{ counter::LOST_UNKNOWN_CALL_BYTES }>(bytes - skipped);
            }
            emit::lost_before(conn.id, direction, pos + bytes, at_ns);
        }
    }
}
