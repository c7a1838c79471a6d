//! What an HTTP/1 connection holds, and how it comes to hold less.
//!
//! In: the parser. Out: bytes. Deliberately absent: how much it may hold (`conn`).

use super::Http1;
use crate::http::exchange::Exchange;

impl Http1 {
    /// Bytes of memory in unfinished heads and exchanges, as far as they are counted.
    pub(crate) fn held_bytes(&self) -> usize {
        let slots: usize = self.slots.iter().map(|slot| slot.held_bytes()).sum();
        slots + self.requests.head.len() + self.responses.head.len()
    }

    /// Keeps nothing more of the bodies that are being read.
    pub(crate) fn stop_keeping_bodies(&mut self) {
        for slot in &mut self.slots {
            slot.stop_keeping_bodies();
        }
    }

    /// Gives up the oldest exchange, if there is more than one.
    pub(crate) fn give_up_oldest(&mut self, out: &mut Vec<Exchange>) -> bool {
        self.slots.len() > 1 && self.shed_oldest(out)
    }
}
