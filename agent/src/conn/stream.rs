//! One direction of a connection, by position: says what is new in a chunk and what is missing before it.

use bytes::{Buf as _, Bytes};

use crate::capture::event::DataChunk;

/// Bytes that must be ahead, or behind on a connection that is not read, for a skip to be worth its system call.
const SKIP_WORTH_BYTES: u64 = 16 << 10;

/// The longest skip where nothing says how long the message is: after it, the parser sees again where it is.
const BLIND_SKIP_BYTES: u64 = 1 << 20;

/// The position up to which a direction is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stream {
    next: u64,
    /// The position up to which nothing was asked for.
    skipped: u64,
    /// Its start is not known: it begins with the first chunk that comes.
    is_anywhere: bool,
}

/// What a parser has no use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unwanted {
    /// So many of the next bytes.
    Bytes(u64),
    /// Everything until the connection ends, as far as can be told.
    Rest,
    /// Everything, certainly.
    All,
}

/// What a chunk brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Bytes that were lost before it.
    pub(super) hole_before: u64,
    /// New bytes.
    pub(super) bytes: Bytes,
    /// Bytes that moved with it and were left uncopied on purpose.
    pub(super) left: u64,
}

impl Stream {
    /// A direction of which nothing was heard so far, though it may have come far.
    pub(super) const fn anywhere() -> Self {
        Self {
            next: 0,
            skipped: 0,
            is_anywhere: true,
        }
    }

    /// Places a chunk.
    pub(super) fn place(&mut self, chunk: &DataChunk) -> Piece {
        if std::mem::take(&mut self.is_anywhere) {
            self.next = chunk.pos;
        }
        let hole_before = chunk.pos.saturating_sub(self.next);
        let known = self.next.saturating_sub(chunk.pos);
        let mut bytes = chunk.bytes.clone();
        bytes.advance(usize::try_from(known).unwrap_or(usize::MAX).min(bytes.len()));
        let copied_end = chunk
            .pos
            .saturating_add(u64::try_from(chunk.bytes.len()).unwrap_or(u64::MAX));
        let end = chunk.pos.saturating_add(chunk.len).max(copied_end);
        let left = end.saturating_sub(copied_end.max(self.next));
        self.next = self.next.max(end);
        Piece {
            hole_before,
            bytes,
            left,
        }
    }

    /// The position up to which the direction is known: any, if it begins with the first chunk that comes.
    pub(super) const fn position(&self) -> u64 {
        if self.is_anywhere { u64::MAX } else { self.next }
    }

    /// Whether `chunk` stands for bytes that are all known.
    pub(super) fn knows(&self, chunk: &DataChunk) -> bool {
        let end = chunk.pos.saturating_add(chunk.len);
        chunk.len > 0 && end <= self.next
    }

    /// Places the end: how many bytes were lost before it.
    pub(super) fn place_end(&mut self, pos: u64) -> u64 {
        if std::mem::take(&mut self.is_anywhere) {
            self.next = pos;
        }
        let hole = pos.saturating_sub(self.next);
        self.next = self.next.max(pos);
        hole
    }

    /// What to ask capture to pass over, if that is worth it: a position.
    pub(super) fn skip(&mut self, unwanted: Unwanted) -> Option<u64> {
        if self.skipped > self.next {
            return None;
        }
        let until = match unwanted {
            Unwanted::Bytes(bytes) if bytes < SKIP_WORTH_BYTES => return None,
            Unwanted::Bytes(bytes) => self.next.checked_add(bytes)?,
            Unwanted::Rest => self.next.checked_add(BLIND_SKIP_BYTES)?,
            Unwanted::All if self.next < SKIP_WORTH_BYTES => return None,
            Unwanted::All => u64::MAX,
        };
        self.skipped = until;
        Some(until)
    }

    /// Takes the direction up at `pos`: what was before is none of our business.
    pub(super) fn start_at(&mut self, pos: u64) {
        self.next = self.next.max(pos);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kongtap_common::record::ConnId;

    use super::{BLIND_SKIP_BYTES, SKIP_WORTH_BYTES, Stream, Unwanted};
    use crate::capture::event::{DataChunk, Direction, KernelTime};

    #[track_caller]
    fn check(next: u64, pos: u64, len: u64, bytes: &'static [u8], expected: (u64, &[u8], u64, u64)) {
        let mut stream = Stream {
            next,
            ..Stream::default()
        };
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
            (piece.hole_before, &piece.bytes[..], piece.left, stream.next),
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
        check(3, 103, 0, b"", (100, b"", 0, 103)); // only says how far it is
        check(0, u64::MAX, 5, b"abc", (u64::MAX, b"abc", 0, u64::MAX)); // nonsense does not overflow
    }

    #[test]
    fn a_skip_is_asked_for_once_and_only_where_it_is_worth_it() {
        const WORTH: u64 = SKIP_WORTH_BYTES;
        for (next, skipped, unwanted, expected) in [
            (100, 0, Unwanted::Bytes(0), None),
            (100, 0, Unwanted::Bytes(WORTH - 1), None),
            (100, 0, Unwanted::Bytes(WORTH), Some(100 + WORTH)),
            (100, 101, Unwanted::Bytes(WORTH), None), // asked for already
            (100, 100, Unwanted::Bytes(WORTH), Some(100 + WORTH)),
            (100, 0, Unwanted::Bytes(u64::MAX), None), // no position is that far
            (100, 0, Unwanted::Rest, Some(100 + BLIND_SKIP_BYTES)),
            (100, 0, Unwanted::All, None),
            (WORTH, 0, Unwanted::All, Some(u64::MAX)),
            (WORTH, u64::MAX, Unwanted::All, None),
        ] {
            let mut stream = Stream {
                next,
                skipped,
                ..Stream::default()
            };
            assert_eq!(stream.skip(unwanted), expected, "{next} {skipped} {unwanted:?}");
            assert_eq!(
                stream.skip(unwanted),
                None,
                "{next} {skipped} {unwanted:?}: twice"
            );
        }
    }
}
