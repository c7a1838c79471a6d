//! Bytes that moved on a connection's stream: counted, placed at their position, and copied or left.
//!
//! Every source of bytes ends here, so the ledger's sum is kept in one place: what is counted as seen is afterwards counted
//! as copied, left or lost.

use kongtap_common::counter;
use kongtap_common::record::SOURCE_SOCKET;

use crate::conn::ConnRef;
use crate::emit;
use crate::emit::copy::{Place, Source, copy};
use crate::ledger;

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
        payload,
        at_ns,
    } = moved;
    ledger::add::<{ counter::SEEN_BYTES }>(bytes);
    let pos = conn.advance(direction, bytes);
    if !conn.announce(at_ns) {
        ledger::add::<{ counter::LOST_RING_FULL_BYTES }>(bytes);
        return;
    }
    match payload {
        Payload::At(memory) => copy(
            memory,
            Place {
                conn: conn.id,
                direction,
                source,
                pos,
                at_ns,
            },
            bytes,
        ),
        Payload::Nowhere => emit::length_only(conn.id, direction, SOURCE_SOCKET, pos, bytes as u32, at_ns),
        Payload::Fault => ledger::add::<{ counter::LOST_FAULT_BYTES }>(bytes),
        Payload::Unknown => ledger::add::<{ counter::LOST_UNKNOWN_CALL_BYTES }>(bytes),
    }
}
