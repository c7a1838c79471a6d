//! Keeps what a connection holds within its bound.
//!
//! In: how many bytes came. Out: nothing, or the exchanges that give way. Counting visits every exchange of the connection, so it is done
//! only when as much may have come since the last count as to matter. Deliberately absent: what waits in the reorder window,
//! which has bounds of its own.

use super::{Connection, Protocol};
use crate::conn::ConnLimits;
use crate::http::exchange::Exchange;
use crate::http::h2::held::SEARCHED_BYTES;

/// Memory that a byte of the wire may take at most: a short HTTP/2 head makes a stream, which is some hundred bytes.
const GROWTH: usize = 128;

/// What a connection held when it was last counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    counted: usize,
    /// Most that may have been added since.
    added: usize,
    /// Whether bodies are kept no more.
    is_full: bool,
}

impl Held {
    pub(super) const fn is_full(self) -> bool {
        self.is_full
    }
}

impl ConnLimits {
    /// What a connection may hold: the configured bytes, or an exchange at the parser's bounds.
    pub(in crate::conn) const fn held_bytes(&self) -> usize {
        let side = self
            .http
            .head_bytes
            .saturating_mul(2)
            .saturating_add(self.http.body_bytes);
        let exchange = side.saturating_mul(4).saturating_add(SEARCHED_BYTES);
        if self.bytes > exchange {
            self.bytes
        } else {
            exchange
        }
    }
}

/// What a connection added to the bytes of all when it was last weighed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weight {
    bytes: usize,
    /// Bytes that came since.
    fresh: usize,
}

/// Bytes that may come for each exchange under way before the connection is weighed again: weighing visits all of them.
const FRESH_BYTES: usize = 8;

impl Connection {
    /// What it added to the bytes of all connections, and what it adds from now on, `came` bytes later: what it holds, what waits for its
    /// order, and its HPACK tables.
    pub(in crate::conn) fn reweigh(&mut self, came: usize) -> (usize, usize) {
        let before = self.weight.bytes;
        self.weight.fresh = self.weight.fresh.saturating_add(came);
        let under_way = match &self.protocol {
            Protocol::Http1(http) => http.under_way(),
            Protocol::Http2(_)
            | Protocol::Undecided { .. }
            | Protocol::Unreadable { .. }
            | Protocol::Joined
            | Protocol::Opaque => 0,
        };
        if self.weight.fresh >= under_way.saturating_mul(FRESH_BYTES) {
            let tables = match &self.protocol {
                Protocol::Http2(http) => http.table_bytes(),
                Protocol::Http1(_)
                | Protocol::Undecided { .. }
                | Protocol::Unreadable { .. }
                | Protocol::Joined
                | Protocol::Opaque => 0,
            };
            self.weight = Weight {
                bytes: self.held_bytes() + self.window.bytes() + tables,
                fresh: 0,
            };
        }
        (before, self.weight.bytes)
    }

    /// What it adds to the bytes of all connections.
    pub(in crate::conn) const fn weight(&self) -> usize {
        self.weight.bytes
    }

    /// Of that, bytes of bodies.
    pub(in crate::conn) fn body_bytes(&self) -> usize {
        match &self.protocol {
            Protocol::Http1(http) => http.body_bytes(),
            Protocol::Http2(http) => http.body_bytes(),
            Protocol::Undecided { .. }
            | Protocol::Unreadable { .. }
            | Protocol::Joined
            | Protocol::Opaque => 0,
        }
    }

    /// Gives back what is kept of bodies; their sizes stay exact.
    pub(in crate::conn) fn release_bodies(&mut self) {
        match &mut self.protocol {
            Protocol::Http1(http) => http.release_bodies(),
            Protocol::Http2(http) => http.release_bodies(),
            Protocol::Undecided { .. }
            | Protocol::Unreadable { .. }
            | Protocol::Joined
            | Protocol::Opaque => {}
        }
    }

    /// Bytes of memory in unfinished heads, exchanges and frames, as far as they are counted.
    pub(in crate::conn) fn held_bytes(&self) -> usize {
        match &self.protocol {
            Protocol::Http1(http) => http.held_bytes(),
            Protocol::Http2(http) => http.held_bytes(),
            Protocol::Undecided { seen, .. } | Protocol::Unreadable { seen, .. } => seen.len(),
            Protocol::Joined | Protocol::Opaque => 0,
        }
    }

    /// Looks, if `bytes` more may matter, whether too much is held. Bodies give way first, then exchanges.
    pub(super) fn weigh(&mut self, bytes: usize, limits: &ConnLimits, out: &mut Vec<Exchange>) {
        self.held.added = self.held.added.saturating_add(bytes.saturating_mul(GROWTH));
        let most = limits.held_bytes();
        let most_with_bodies = most / 4 * 3;
        if !self.held.is_full && self.held.counted.saturating_add(self.held.added) <= most_with_bodies {
            return;
        }
        let mut counted = self.held_bytes();
        if counted > most_with_bodies && !self.held.is_full {
            self.held.is_full = true;
            self.stats.full += 1;
            match &mut self.protocol {
                Protocol::Http1(http) => http.stop_keeping_bodies(),
                // Its streams see to themselves.
                Protocol::Http2(_)
                | Protocol::Undecided { .. }
                | Protocol::Unreadable { .. }
                | Protocol::Joined
                | Protocol::Opaque => {}
            }
        } else if counted < most / 2 {
            self.held.is_full = false;
        }
        while counted > most {
            let gave_way = match &mut self.protocol {
                Protocol::Http1(http) => http.give_up_oldest(out),
                Protocol::Http2(_)
                | Protocol::Undecided { .. }
                | Protocol::Unreadable { .. }
                | Protocol::Joined
                | Protocol::Opaque => false,
            };
            if !gave_way {
                break;
            }
            self.stats.full += 1;
            counted = self.held_bytes();
        }
        self.held.counted = counted;
        self.held.added = 0;
    }
}
