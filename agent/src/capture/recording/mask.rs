//! Masking: what a recording must not hold is overwritten before it reaches the disk (invariant I7).
//!
//! In: ring records in their order, and the names whose values are hidden. Out: the same records with an `x` for each byte of
//! such a value. Positions, lengths and framing stay exact, so a replay gives the same exchanges. A stream is followed
//! as the parser follows it, whatever pieces it comes in; what the parser would pass over is masked whole, and what
//! cannot be masked in place (HTTP/2, WebSocket, no HTTP at all) is left out by length. Deliberately absent: files.

mod body;
mod connection;
mod http1;
mod lines;
mod members;
pub mod names;
mod pairs;
#[cfg(test)]
mod tests;

use kongtap_common::record::{
    ABI, ClosePayload, ConnId, DIRECTION_EGRESS, DIRECTION_INGRESS, FLAG_LATE, FLAG_NO_PAYLOAD, KIND_CLOSE,
    KIND_DATA, KIND_END, KIND_OPEN, RecordHeader,
};
use lru::LruCache;
use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes as _, IntoBytes as _};

use self::connection::{Connection, Kept, LeftOut, Piece};
use self::names::Names;
use crate::capture::event::Direction;

/// Stands for each masked byte.
const MASK: u8 = b'x';

/// Connections followed at once; the least recently used one gives way, and is masked whole until its next request.
const CONNECTIONS: usize = 65_536;

/// What masking did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MaskCounts {
    /// Bytes overwritten.
    pub masked_bytes: u64,
    /// Bytes of which only the number is kept.
    pub left_out_bytes: u64,
    /// HTTP/2 connections among those left out.
    pub http2_connections: u64,
    /// Connections left out from where they changed protocol or were over.
    pub upgraded_connections: u64,
    /// Connections left out because they are no HTTP.
    pub not_http_connections: u64,
    /// Records of a kind or layout that cannot be masked, and are not kept.
    pub unknown_records: u64,
}

/// Masks records. Holds a bounded state for each connection.
#[derive(Debug)]
pub struct Masker {
    connections: LruCache<ConnId, Connection>,
    counts: MaskCounts,
    record: Vec<u8>,
}

impl Default for Masker {
    fn default() -> Self {
        Self::new()
    }
}

impl Masker {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            connections: LruCache::unbounded(),
            counts: MaskCounts::default(),
            record: Vec::new(),
        }
    }

    /// What it did so far.
    #[must_use]
    pub const fn counts(&self) -> MaskCounts {
        self.counts
    }

    /// Hands the masked `record` to `keep`: as one record, as two (a part, and the length of the rest), or not at all.
    pub fn mask(&mut self, record: &[u8], names: &Names, mut keep: impl FnMut(&[u8])) {
        let Some((mut header, payload)) = parts(record) else {
            self.counts.unknown_records += 1;
            return;
        };
        match (header.kind, direction(header.direction)) {
            (KIND_OPEN, _) => {
                let is_late = header.flags & FLAG_LATE != 0;
                let connection = if is_late {
                    Connection::joined()
                } else {
                    Connection::new()
                };
                self.make_room();
                self.connections.put(header.conn, connection);
                self.write(&header, payload);
                keep(&self.record);
            }
            (KIND_DATA, Some(direction)) => {
                let kept = self.data(&header, direction, payload, names);
                match kept {
                    Kept::All => keep(&self.record),
                    Kept::First(bytes) => self.leave_out(&mut header, bytes, keep),
                }
            }
            (KIND_END, Some(direction)) => {
                if let Some(connection) = self.connections.get_mut(&header.conn) {
                    connection.end(direction, header.pos_bytes);
                }
                header.captured_bytes = 0;
                self.write(&header, &[]);
                keep(&self.record);
            }
            (KIND_CLOSE, _) => {
                self.connections.pop(&header.conn);
                // Positions, and nothing else.
                let ends = payload.get(..size_of::<ClosePayload>()).unwrap_or(payload);
                header.captured_bytes = u32::try_from(ends.len()).unwrap_or(u32::MAX);
                self.write(&header, ends);
                keep(&self.record);
            }
            _ => self.counts.unknown_records += 1,
        }
    }

    /// Masks a data record; it is in `self.record` then.
    fn data(&mut self, header: &RecordHeader, direction: Direction, payload: &[u8], names: &Names) -> Kept {
        self.write(header, payload);
        if !self.connections.contains(&header.conn) {
            self.make_room();
        }
        let connection = self
            .connections
            .get_or_insert_mut(header.conn, Connection::joined);
        let was_left_out = connection.left_out();
        let (_, bytes) = self
            .record
            .split_at_mut_checked(size_of::<RecordHeader>())
            .unwrap_or_default();
        let piece = Piece {
            direction,
            pos: header.pos_bytes,
            len: u64::from(header.call_bytes),
            bytes,
        };
        let kept = connection.mask(piece, names);
        self.counts.masked_bytes += connection.take_masked();
        if was_left_out.is_none() {
            match connection.left_out() {
                None => {}
                Some(LeftOut::Http2) => self.counts.http2_connections += 1,
                Some(LeftOut::Upgraded) => self.counts.upgraded_connections += 1,
                Some(LeftOut::NotHttp) => self.counts.not_http_connections += 1,
            }
        }
        kept
    }

    /// Hands over the first `bytes` of the payload in `self.record`, and the length of the rest.
    fn leave_out(&mut self, header: &mut RecordHeader, bytes: usize, mut keep: impl FnMut(&[u8])) {
        let part = u32::try_from(bytes)
            .unwrap_or(u32::MAX)
            .min(header.captured_bytes);
        self.counts.left_out_bytes += u64::from(header.captured_bytes - part);
        let (pos, call) = (header.pos_bytes, header.call_bytes);
        if part > 0 {
            let payload_end = size_of::<RecordHeader>() + bytes;
            self.record.truncate(payload_end);
            header.captured_bytes = part;
            header.call_bytes = part;
            self.overwrite(header);
            keep(&self.record);
        }
        if call > part {
            header.flags |= FLAG_NO_PAYLOAD;
            header.captured_bytes = 0;
            header.pos_bytes = pos.saturating_add(u64::from(part));
            header.call_bytes = call - part;
            self.write(header, &[]);
            keep(&self.record);
        }
    }

    fn write(&mut self, header: &RecordHeader, payload: &[u8]) {
        self.record.clear();
        self.record.extend_from_slice(header.as_bytes());
        self.record.extend_from_slice(payload);
    }

    fn overwrite(&mut self, header: &RecordHeader) {
        if let Some((start, _)) = self.record.split_at_mut_checked(size_of::<RecordHeader>()) {
            start.copy_from_slice(header.as_bytes());
        }
    }

    fn make_room(&mut self) {
        while self.connections.len() >= CONNECTIONS {
            self.connections.pop_lru();
        }
    }
}

/// Header and payload of a record of this layout.
fn parts(record: &[u8]) -> Option<(RecordHeader, &[u8])> {
    let (header, rest) = RecordHeader::read_from_prefix(record).ok()?;
    let captured = usize::try_from(header.captured_bytes).ok()?;
    (header.abi == ABI).then_some((header, rest.get(..captured)?))
}

const fn direction(code: u8) -> Option<Direction> {
    match code {
        DIRECTION_INGRESS => Some(Direction::Ingress),
        DIRECTION_EGRESS => Some(Direction::Egress),
        _ => None,
    }
}
