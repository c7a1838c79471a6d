//! One direction of a connection, by position: says what is new in a chunk and what is missing before it.

use bytes::{Buf as _, Bytes};

use crate::capture::event::DataChunk;

/// The position up to which a direction is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stream {
    next: u64,
}

/// What a chunk brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Bytes that moved unseen before it.
    pub(super) hole_before: u64,
    /// New bytes.
    pub(super) bytes: Bytes,
    /// Bytes that moved with it but were not copied.
    pub(super) hole_after: u64,
}

impl Stream {
    /// Places a chunk.
    pub(super) fn place(&mut self, chunk: &DataChunk) -> Piece {
        let hole_before = chunk.pos.saturating_sub(self.next);
        let known = self.next.saturating_sub(chunk.pos);
        let mut bytes = chunk.bytes.clone();
        bytes.advance(usize::try_from(known).unwrap_or(usize::MAX).min(bytes.len()));
        let copied_end = chunk
            .pos
            .saturating_add(u64::try_from(chunk.bytes.len()).unwrap_or(u64::MAX));
        let end = chunk.pos.saturating_add(chunk.len).max(copied_end);
        let hole_after = end.saturating_sub(copied_end.max(self.next));
        self.next = self.next.max(end);
        Piece {
            hole_before,
            bytes,
            hole_after,
        }
    }

    /// Places the end: how many bytes moved unseen before it.
    pub(super) fn place_end(&mut self, pos: u64) -> u64 {
        let hole = pos.saturating_sub(self.next);
        self.next = self.next.max(pos);
        hole
    }

    /// Takes the direction up at `pos`: what was before is none of our business.
    pub(super) const fn start_at(&mut self, pos: u64) {
        self.next = pos;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kongtap_common::record::ConnId;

    use super::Stream;
    use crate::capture::event::{DataChunk, Direction, KernelTime};

    #[track_caller]
    fn check(next: u64, pos: u64, len: u64, bytes: &'static [u8], expected: (u64, &[u8], u64, u64)) {
        let mut stream = Stream { next };
        let piece = stream.place(&DataChunk {
            conn: ConnId {
                tgid: 0,
                fd: 0,
                generation_ns: 0,
            },
            at: KernelTime(0),
            direction: Direction::Ingress,
            pos,
            len,
            bytes: Bytes::from_static(bytes),
        });
        assert_eq!(
            (piece.hole_before, &piece.bytes[..], piece.hole_after, stream.next),
            expected
        );
    }

    #[test]
    fn chunks_are_placed_by_position() {
        check(0, 0, 3, b"abc", (0, b"abc", 0, 3));
        check(3, 3, 2, b"de", (0, b"de", 0, 5));
        check(3, 10, 2, b"de", (7, b"de", 0, 12)); // a hole before
        check(5, 3, 4, b"abcd", (0, b"cd", 0, 7)); // half of it is known
        check(9, 3, 4, b"abcd", (0, b"", 0, 9)); // all of it is known
        check(3, 3, 100, b"", (0, b"", 100, 103)); // moved, not copied
        check(50, 3, 100, b"", (0, b"", 53, 103)); // the same, half of it known
        check(0, u64::MAX, 5, b"abc", (u64::MAX, b"abc", 0, u64::MAX)); // nonsense does not overflow
    }
}
