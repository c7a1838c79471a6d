//! Keeps what all connections hold together within its bound.
//!
//! In: how much each holds, whenever that changes. Out: nothing, or the exchanges that give way. Those that hold most give way, so that many small exchanges are not cut
//! for the sake of a few large ones; and some more than is needed, because finding them visits every connection. Deliberately absent: the
//! bound of one connection (`connection/memory`).

use kongtap_common::record::ConnId;

use super::ConnTable;
use crate::capture::event::KernelTime;
use crate::http::exchange::Exchange;

/// The sum.
#[derive(Debug, Default)]
pub(super) struct Together {
    bytes: usize,
}

impl Together {
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// A connection holds something else than before.
    pub(super) const fn change(&mut self, (before, after): (usize, usize)) {
        self.bytes = self.bytes.saturating_sub(before).saturating_add(after);
    }
}

impl ConnTable {
    /// Makes what is held less, if it is too much.
    pub(super) fn lighten_if_full(&mut self, at: KernelTime, out: &mut Vec<Exchange>) {
        if self.together.bytes() > self.limits.held_bytes {
            self.lighten(at, out);
        }
    }

    /// Gets what is held down to seven eighths of the bound: by bodies first, then by whole connections, which are read again from their next
    /// request on.
    fn lighten(&mut self, at: KernelTime, out: &mut Vec<Exchange>) {
        let enough = self.limits.held_bytes / 8 * 7;
        let mut by_bodies: Vec<(usize, ConnId)> = self
            .connections
            .iter()
            .map(|(conn, connection)| (connection.body_bytes(), *conn))
            .filter(|(bytes, _)| *bytes > 0)
            .collect();
        by_bodies.sort_unstable();
        while self.together.bytes() > enough
            && let Some((_, conn)) = by_bodies.pop()
        {
            if let Some(connection) = self.connections.peek_mut(&conn) {
                connection.release_bodies();
                self.together.change(connection.reweigh(usize::MAX));
                self.stats.released_bodies += 1;
            }
        }
        if self.together.bytes() <= enough {
            return;
        }
        let weights = self.connections.iter();
        let mut by_weight: Vec<(usize, ConnId)> = weights
            .map(|(conn, connection)| (connection.weight(), *conn))
            .collect();
        by_weight.sort_unstable();
        while self.together.bytes() > enough
            && let Some((_, conn)) = by_weight.pop()
        {
            if let Some(connection) = self.connections.pop(&conn) {
                self.together.change((connection.weight(), 0));
                self.note(conn, false);
                self.stats.given_up_heaviest += 1;
                self.stats.add(&connection.close(at, None, &self.limits, out));
            }
        }
    }
}
