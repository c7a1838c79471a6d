//! One direction's header blocks by themselves, outside a connection: what a fuzzer, or a comparison with another decoder, looks at.
//!
//! In: header blocks in order. Out: their lines, of which a name or a value may be unknown. Deliberately absent: everything that `hpack` does.

use bytes::Bytes;

use super::hpack::{Decoder, ListLimit};

/// A field line; what is not known of it is `None`.
pub type Line = (Option<Bytes>, Option<Bytes>);

/// The decoder of one direction.
#[derive(Debug)]
pub struct HeaderBlocks(Decoder);

impl HeaderBlocks {
    /// The decoder of a connection's first block. Its table keeps at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Decoder::new(limit))
    }

    /// The decoder of a block in the middle of a connection.
    #[must_use]
    pub fn joining(limit: usize) -> Self {
        Self(Decoder::joining(limit))
    }

    /// The lines of a whole block; `None` if it is malformed, or has more than `lines` lines or `bytes` bytes.
    pub fn decode(&mut self, block: &[u8], lines: usize, bytes: usize) -> Option<Vec<Line>> {
        let list = self.0.decode(block, ListLimit { bytes, fields: lines });
        let lines = list.fields.into_iter().map(|field| (field.name, field.value));
        list.is_whole.then(|| lines.collect())
    }

    /// A block was lost.
    pub fn lose(&mut self) {
        self.0.lose();
    }

    /// Bytes that its table keeps, by RFC 7541 section 4.1.
    #[must_use]
    pub const fn table_bytes(&self) -> usize {
        self.0.table_bytes()
    }
}
