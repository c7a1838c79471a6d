//! The connection table: capture events in, exchanges of one leg out.
//!
//! In: [`CaptureEvent`]s in the order of the gateway's calls. Out: [`Exchange`]s, and what capture may pass over ([`Skip`]). A connection's state has one owner (I4)
//! and is bounded (I10). Deliberately absent: clocks (time comes with the events), the other leg.

mod connection;
mod stats;
mod stream;
#[cfg(test)]
mod tests;

use foldhash::fast::RandomState;
use lru::LruCache;

use self::connection::Connection;
pub use self::stats::ConnStats;
use crate::capture::event::{CaptureEvent, ConnOpen, DataChunk, Direction, KernelTime, Skip};
use crate::http::exchange::Exchange;
use crate::http::h1::limits::HttpLimits;
use kongtap_common::record::ConnId;

/// Bounds of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnLimits {
    /// Connections followed at once; the least recently used one gives way.
    pub connections: usize,
    /// How long a connection may be silent before it is given up, nanoseconds.
    pub idle_ns: u64,
    /// Bounds of each connection's parser.
    pub http: HttpLimits,
}

impl Default for ConnLimits {
    fn default() -> Self {
        Self {
            connections: 65_536,
            idle_ns: 600 * 1_000_000_000,
            http: HttpLimits::default(),
        }
    }
}

/// Every connection that is being followed.
#[derive(Debug)]
pub struct ConnTable {
    limits: ConnLimits,
    /// Hashed the fast way: the kernel chooses these keys, not who connects.
    connections: LruCache<ConnId, Connection, RandomState>,
    stats: ConnStats,
}

impl ConnTable {
    /// An empty table.
    #[must_use]
    pub fn new(limits: ConnLimits) -> Self {
        // Unbounded towards the crate, so that it does not allocate for the bound at once; the bound is kept here.
        Self {
            limits,
            connections: LruCache::unbounded_with_hasher(RandomState::default()),
            stats: ConnStats::default(),
        }
    }

    /// Takes one event. Answers what capture may pass over from now on.
    pub fn apply(&mut self, event: CaptureEvent, out: &mut Vec<Exchange>) -> Option<Skip> {
        match event {
            CaptureEvent::Open(open) => self.open(&open, out),
            CaptureEvent::Data(chunk) => return self.data(chunk, out),
            CaptureEvent::End(end) => {
                if let Some(connection) = self.connections.get_mut(&end.conn) {
                    connection.end(&end, out);
                    self.stats.add(&connection.take_stats());
                }
            }
            CaptureEvent::Close(close) => {
                if let Some(mut connection) = self.connections.pop(&close.conn) {
                    self.stats.closed += 1;
                    if let Some(ends) = close.ends {
                        connection.reached(Direction::Ingress, ends.ingress, close.at, out);
                        connection.reached(Direction::Egress, ends.egress, close.at, out);
                    }
                    self.stats.add(&connection.close(close.at, out));
                }
            }
        }
        None
    }

    /// Keeps at most so many bytes of each body from now on.
    pub const fn keep_bodies(&mut self, bytes: usize) {
        self.limits.http.body_bytes = bytes;
    }

    /// The connections that are followed.
    pub fn names(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.connections.iter().map(|(conn, _)| *conn)
    }

    /// Gives up connections that have been silent for too long.
    pub fn sweep(&mut self, now: KernelTime, out: &mut Vec<Exchange>) {
        while let Some((_, oldest)) = self.connections.peek_lru()
            && now.ns_since(oldest.last()) > self.limits.idle_ns
        {
            let Some((_, connection)) = self.connections.pop_lru() else {
                return;
            };
            self.stats.expired += 1;
            self.stats.add(&connection.close(now, out));
        }
    }

    /// Gives up every connection: the end of a recording, or of the agent.
    pub fn flush(&mut self, now: KernelTime, out: &mut Vec<Exchange>) {
        while let Some((_, connection)) = self.connections.pop_lru() {
            self.stats.closed += 1;
            self.stats.add(&connection.close(now, out));
        }
    }

    /// Counters, and the number of open connections.
    #[must_use]
    pub fn stats(&self) -> ConnStats {
        ConnStats {
            open: u64::try_from(self.connections.len()).unwrap_or(u64::MAX),
            ..self.stats
        }
    }

    fn open(&mut self, open: &ConnOpen, out: &mut Vec<Exchange>) {
        self.stats.opened += 1;
        self.stats.late += u64::from(open.late);
        self.make_room(open.at, out);
        if let Some((_, previous)) = self.connections.push(open.conn, Connection::new(open)) {
            // An identity names one connection, so this is a repeat of its open record.
            self.stats.add(&previous.close(open.at, out));
        }
    }

    fn data(&mut self, chunk: DataChunk, out: &mut Vec<Exchange>) -> Option<Skip> {
        let http = self.limits.http;
        let (conn, direction) = (chunk.conn, chunk.direction);
        let (until, met) = if let Some(connection) = self.connections.get_mut(&conn) {
            take(connection, chunk, http, out)
        } else {
            // Its open record was lost, or it was given up: go on at its next head, with addresses unknown.
            self.stats.without_open += 1;
            self.make_room(chunk.at, out);
            let mut connection = Connection::unknown(conn, chunk.at);
            let taken = take(&mut connection, chunk, http, out);
            self.connections.push(conn, connection);
            taken
        };
        self.stats.add(&met);
        until.map(|until| Skip {
            conn,
            direction,
            until,
        })
    }

    fn make_room(&mut self, at: KernelTime, out: &mut Vec<Exchange>) {
        while self.connections.len() >= self.limits.connections {
            let Some((_, connection)) = self.connections.pop_lru() else {
                return;
            };
            self.stats.evicted += 1;
            self.stats.add(&connection.close(at, out));
        }
    }
}

/// Gives a chunk to its connection: up to which position nothing more is wanted, and what was met.
fn take(
    connection: &mut Connection,
    chunk: DataChunk,
    limits: HttpLimits,
    out: &mut Vec<Exchange>,
) -> (Option<u64>, ConnStats) {
    let direction = chunk.direction;
    connection.data(chunk, limits, out);
    (connection.skip(direction), connection.take_stats())
}
