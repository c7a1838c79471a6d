//! Bytes that user space wants nothing of, because it knows what they are: the rest of a body, or of a connection that
//! carries no HTTP. No record stands for a call that lies wholly in such a range; one of the whole range comes with the call
//! that reaches its end.
//!
//! A range is asked for by position ([`SkipKey`]). One that is already behind is nothing: a skip never hides a byte that
//! it does not name.

use kongtap_common::budget::{SKIP_STEP_BYTES, SkipKey};
use kongtap_common::counter;
use kongtap_common::record::{SOURCE_SOCKET, SOURCE_TLS};

use crate::conn::{ConnRef, NOWHERE};
use crate::ledger::Slots;
use crate::maps::SKIPS_ASKED;
use crate::{budget, emit};

/// A range is told of at least this often, so that a slow transfer is not taken for a silent connection.
const NEWS_NS: u64 = 1_000_000_000;
/// … and before it grows longer than this, which a record can tell of.
const NEWS_BYTES: u64 = 1 << 30;

/// `bytes` moved at `pos` in `direction`. Answers how many of them are passed over.
#[inline(always)]
pub fn pass(conn: &ConnRef, slots: Slots, direction: u8, pos: u64, bytes: u64, at_ns: u64) -> u64 {
    let track = conn.track(direction);
    // SAFETY: a track is part of the connection's entry, which stays readable in this run.
    let mut until = unsafe { (*track).skip_until };
    if until <= pos {
        if (pos ^ (pos + bytes)) < SKIP_STEP_BYTES {
            return 0;
        }
        until = asked(conn, direction);
        if until <= pos {
            return 0;
        }
        // SAFETY: as above.
        unsafe { (*track).skip_until = until };
    }
    let skipped = bytes.min(until - pos);
    conn.set_turn(direction);
    slots.add::<{ counter::LEFT_SKIPPED_BYTES }>(skipped);
    // SAFETY: as above.
    let (from, since_ns) = unsafe {
        if (*track).skipped_from == NOWHERE {
            (*track).skipped_from = pos;
            (*track).skipped_at_ns = at_ns;
        }
        ((*track).skipped_from, (*track).skipped_at_ns)
    };
    let reached = pos + skipped == until;
    let is_endless = until == u64::MAX;
    if reached || pos + skipped - from > NEWS_BYTES || (!is_endless && at_ns - since_ns > NEWS_NS) {
        tell(conn, direction, pos + skipped, at_ns);
    }
    if reached {
        budget::begin_run(conn, direction, until);
    }
    skipped
}

/// A record for what was passed over and not told of yet, before the direction ends.
#[inline(always)]
pub fn settle(conn: &ConnRef, direction: u8, at_ns: u64) {
    // SAFETY: a track is part of the connection's entry, which stays readable in this run.
    if unsafe { (*conn.track(direction)).skipped_from } != NOWHERE {
        tell(conn, direction, conn.pos(direction), at_ns);
    }
}

/// The bytes are counted as left already; without room for the record the next position shows them.
#[inline(never)]
fn tell(conn: &ConnRef, direction: u8, to: u64, at_ns: u64) {
    let track = conn.track(direction);
    // SAFETY: as above.
    let from = unsafe { (*track).skipped_from };
    let range = emit::Range {
        conn: conn.id,
        direction,
        source: if conn.is_tls() { SOURCE_TLS } else { SOURCE_SOCKET },
        pos: from,
        bytes: (to - from) as u32,
    };
    emit::left(range, at_ns);
    // SAFETY: as above.
    unsafe { (*track).skipped_from = NOWHERE };
}

#[inline(always)]
fn asked(conn: &ConnRef, direction: u8) -> u64 {
    let key = SkipKey {
        conn: conn.id,
        direction: u64::from(direction),
    };
    // SAFETY: an entry that is replaced meanwhile was as valid as the new one.
    unsafe { SKIPS_ASKED.get(&key) }.copied().unwrap_or(0)
}
