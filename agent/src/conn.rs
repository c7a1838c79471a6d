//! The connection table: capture events in, exchanges of one leg out.
//!
//! In: [`CaptureEvent`]s in the order of the gateway's calls. Out: [`Exchange`]s, and what capture may pass over ([`Skip`]). A connection's state has one owner (I4)
//! and is bounded (I10). Deliberately absent: clocks (time comes with the events), the other leg.

mod connection;
mod reorder;
mod stats;
mod stream;
#[cfg(test)]
mod tests;
mod together;

use std::collections::BTreeSet;

use foldhash::fast::RandomState;
use lru::LruCache;

use self::connection::Connection;
use self::reorder::Placed;
pub use self::reorder::ReorderLimits;
pub use self::stats::ConnStats;
use self::together::Together;
use crate::capture::event::{CaptureEvent, ConnOpen, DataChunk, KernelTime, Skip};
use crate::http::exchange::Exchange;
use crate::http::h1::limits::HttpLimits;
use crate::http::open::OpenRequest;
use kongtap_common::record::ConnId;

/// Bounds of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnLimits {
    /// Connections followed at once; the least recently used one gives way.
    pub connections: usize,
    /// How long a connection may be silent before it is given up, nanoseconds.
    pub idle_ns: u64,
    /// Bytes that a connection may hold in unfinished exchanges, as far as they are counted. It may always hold one
    /// exchange at the parser's bounds. Over it, bodies are cut; if heads alone are too many, the oldest exchanges give way.
    pub bytes: usize,
    /// Bytes that all connections may hold together in unfinished exchanges, records that wait for their order, and HPACK tables. Over
    /// it, those that hold most give back their bodies, and if that is not enough are given up.
    pub held_bytes: usize,
    /// What waits for records that may come out of order.
    pub reorder: ReorderLimits,
    /// Bounds of each connection's parser.
    pub http: HttpLimits,
}

impl Default for ConnLimits {
    fn default() -> Self {
        Self {
            connections: 65_536,
            idle_ns: 600 * 1_000_000_000,
            bytes: 16 << 20,
            held_bytes: 128 << 20,
            reorder: ReorderLimits::default(),
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
    /// Connections with records that wait for others.
    waiting: BTreeSet<ConnId>,
    /// What all of them hold.
    together: Together,
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
            waiting: BTreeSet::new(),
            together: Together::default(),
            stats: ConnStats::default(),
        }
    }

    /// Takes one event. Answers what capture may pass over from now on.
    pub fn apply(&mut self, event: CaptureEvent, out: &mut Vec<Exchange>) -> Option<Skip> {
        match event {
            CaptureEvent::Open(open) => self.open(&open, out),
            CaptureEvent::Data(chunk) => return self.data(chunk, out),
            CaptureEvent::End(end) => {
                let (conn, end_at) = (end.conn, end.at);
                if let Some(connection) = self.connections.get_mut(&conn) {
                    connection.place(Placed::End(end), &self.limits, out);
                    self.stats.add(&connection.take_stats());
                    self.together.change(connection.reweigh(usize::MAX));
                    let is_waiting = connection.is_waiting();
                    self.note(conn, is_waiting);
                    self.lighten_if_full(end_at, out);
                }
            }
            CaptureEvent::Close(close) => {
                if let Some(connection) = self.connections.pop(&close.conn) {
                    self.stats.closed += 1;
                    self.together.change((connection.weight(), 0));
                    self.note(close.conn, false);
                    self.stats
                        .add(&connection.close(close.at, close.ends, &self.limits, out));
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

    /// The clients' requests that are under way.
    #[must_use]
    pub fn open_requests(&self) -> Vec<OpenRequest> {
        let mut open = Vec::new();
        for (_, connection) in &self.connections {
            connection.open_requests(&mut open);
        }
        open
    }

    /// Gives up connections that have been silent for too long, and records that have waited for too long.
    pub fn sweep(&mut self, now: KernelTime, out: &mut Vec<Exchange>) {
        let (connections, limits, stats) = (&mut self.connections, &self.limits, &mut self.stats);
        let together = &mut self.together;
        self.waiting.retain(|conn| {
            connections.peek_mut(conn).is_some_and(|connection| {
                connection.settle(now, limits, out);
                stats.add(&connection.take_stats());
                together.change(connection.reweigh(usize::MAX));
                connection.is_waiting()
            })
        });
        while let Some((_, oldest)) = self.connections.peek_lru()
            && now.ns_since(oldest.last()) > self.limits.idle_ns
        {
            if !self.drop_oldest(now, out) {
                break;
            }
            self.stats.expired += 1;
        }
        self.lighten_if_full(now, out);
    }

    /// Gives up every connection: the end of a recording, or of the agent.
    pub fn flush(&mut self, now: KernelTime, out: &mut Vec<Exchange>) {
        while self.drop_oldest(now, out) {
            self.stats.closed += 1;
        }
    }

    /// Bytes that `conn` holds: in unfinished exchanges, and waiting for what should come before them.
    #[cfg(test)]
    fn held_bytes(&self, conn: ConnId) -> (usize, usize) {
        self.connections.peek(&conn).map_or((0, 0), |connection| {
            (connection.held_bytes(), connection.waiting_bytes())
        })
    }

    /// What `conn` adds to what all hold.
    #[cfg(test)]
    fn weigh(&self, conn: ConnId) -> usize {
        self.connections.peek(&conn).map_or(0, Connection::weight)
    }

    /// Counters, and the number of open connections.
    #[must_use]
    pub fn stats(&self) -> ConnStats {
        ConnStats {
            open: u64::try_from(self.connections.len()).unwrap_or(u64::MAX),
            held_bytes: u64::try_from(self.together.bytes()).unwrap_or(u64::MAX),
            ..self.stats
        }
    }

    fn open(&mut self, open: &ConnOpen, out: &mut Vec<Exchange>) {
        if self
            .connections
            .peek(&open.conn)
            .is_some_and(Connection::is_introduced)
        {
            // An identity names one connection, so this is a repeat of its open record.
            self.stats.repeated += 1;
            return;
        }
        self.stats.opened += 1;
        self.stats.late += u64::from(open.late);
        self.make_room(open.at, out);
        if let Some((conn, previous)) = self.connections.push(open.conn, Connection::new(open)) {
            // It came after others of its connection.
            self.together.change((previous.weight(), 0));
            self.note(conn, false);
            self.stats.add(&previous.close(open.at, None, &self.limits, out));
        }
    }

    fn data(&mut self, chunk: DataChunk, out: &mut Vec<Exchange>) -> Option<Skip> {
        let (conn, direction, at) = (chunk.conn, chunk.direction, chunk.at);
        let taken = if let Some(connection) = self.connections.get_mut(&conn) {
            take(connection, chunk, &self.limits, out)
        } else {
            // Its open record was lost, or it was given up: go on at its next head, with addresses unknown.
            self.stats.without_open += 1;
            self.make_room(at, out);
            let mut connection = Connection::unknown(conn, at);
            let taken = take(&mut connection, chunk, &self.limits, out);
            self.connections.push(conn, connection);
            taken
        };
        self.stats.add(&taken.met);
        self.together.change(taken.weight);
        self.note(conn, taken.is_waiting);
        self.lighten_if_full(at, out);
        taken.until.map(|until| Skip {
            conn,
            direction,
            until,
        })
    }

    fn make_room(&mut self, at: KernelTime, out: &mut Vec<Exchange>) {
        while self.connections.len() >= self.limits.connections.max(1) {
            if !self.drop_oldest(at, out) {
                return;
            }
            self.stats.evicted += 1;
        }
    }

    /// Gives up the connection that has been silent for longest; `false`: there is none.
    fn drop_oldest(&mut self, at: KernelTime, out: &mut Vec<Exchange>) -> bool {
        let Some((conn, connection)) = self.connections.pop_lru() else {
            return false;
        };
        self.note(conn, false);
        self.together.change((connection.weight(), 0));
        self.stats.add(&connection.close(at, None, &self.limits, out));
        true
    }

    /// Remembers whether records of `conn` wait for others.
    fn note(&mut self, conn: ConnId, is_waiting: bool) {
        if is_waiting {
            self.waiting.insert(conn);
        } else if !self.waiting.is_empty() {
            self.waiting.remove(&conn);
        }
    }
}

/// What giving a chunk to its connection led to.
struct Taken {
    /// Up to which position nothing more of its direction is wanted.
    until: Option<u64>,
    /// What it held together with others before, and after.
    weight: (usize, usize),
    met: ConnStats,
    is_waiting: bool,
}

fn take(
    connection: &mut Connection,
    chunk: DataChunk,
    limits: &ConnLimits,
    out: &mut Vec<Exchange>,
) -> Taken {
    let direction = chunk.direction;
    let bytes = chunk.bytes.len().max(1);
    connection.place(Placed::Data(chunk), limits, out);
    Taken {
        until: connection.skip(direction),
        weight: connection.reweigh(bytes),
        met: connection.take_stats(),
        is_waiting: connection.is_waiting(),
    }
}
