//! What an HTTP/2 connection holds, and how it comes to hold less.
//!
//! In: the parser. Out: bytes. Deliberately absent: how much it may hold (`conn`), and the HPACK tables, which have a limit of their own.

use super::Http2;
use super::reader::CANDIDATE_BYTES;
use crate::http::exchange::Exchange;

/// Most that both directions hold while their place is looked for, bytes.
pub(crate) const SEARCHED_BYTES: usize = 2 * CANDIDATE_BYTES;

impl Http2 {
    /// Bytes of memory in unfinished frames and streams, as far as they are counted.
    pub(crate) fn held_bytes(&self) -> usize {
        let streams: usize = self.streams.values().map(|stream| stream.held_bytes()).sum();
        streams + self.requests.reader.held_bytes() + self.responses.reader.held_bytes()
    }

    /// Keeps at most so many bytes of the bodies that begin from now on.
    pub(crate) const fn keep_bodies(&mut self, bytes: usize) {
        self.limits.body_bytes = bytes;
    }

    /// Keeps nothing more of the bodies that are being read.
    pub(crate) fn stop_keeping_bodies(&mut self) {
        for stream in self.streams.values_mut() {
            stream.stop_keeping_bodies();
        }
    }

    /// Gives up the oldest stream, if there is more than one.
    pub(crate) fn give_up_oldest(&mut self, out: &mut Vec<Exchange>) -> bool {
        if self.streams.len() < 2 {
            return false;
        }
        let Some((id, oldest)) = self.streams.pop_first() else {
            return false;
        };
        self.stats.given_up_streams += 1;
        out.push(oldest.into_exchange(id, self.conn, self.leg));
        true
    }
}
