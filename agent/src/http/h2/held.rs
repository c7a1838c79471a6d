//! What an HTTP/2 connection holds.
//!
//! In: the parser. Out: bytes. Deliberately absent: how much it may hold, which the streams see to themselves
//! (`H2Limits::held_bytes`), and the HPACK tables, which have a limit of their own.

use super::Http2;
use super::resync::CANDIDATE_BYTES;

/// Most that both directions hold while their place is looked for, bytes.
pub(crate) const SEARCHED_BYTES: usize = 2 * CANDIDATE_BYTES;

impl Http2 {
    /// Bytes of memory in unfinished frames and streams, as far as they are counted.
    pub(crate) fn held_bytes(&self) -> usize {
        let readers = [&self.requests.reader, &self.responses.reader];
        let readers: usize = readers.iter().map(|reader| reader.held_bytes()).sum();
        readers.saturating_add(self.streams.held_bytes())
    }

    /// Bytes of both HPACK tables.
    pub(crate) const fn table_bytes(&self) -> usize {
        self.requests
            .decoder
            .table_bytes()
            .saturating_add(self.responses.decoder.table_bytes())
    }

    /// Bytes that are kept of bodies.
    pub(crate) fn body_bytes(&self) -> usize {
        self.streams.kept_body_bytes()
    }

    /// Gives back what is kept of bodies; their sizes stay exact.
    pub(crate) fn release_bodies(&mut self) {
        self.streams.release_bodies();
    }
}
