//! What an HTTP/1 connection holds, and how it comes to hold less, or nothing.
//!
//! In: the parser. Out: bytes. Deliberately absent: how much it may hold (`conn`).

use super::half::State;
use super::{Http1, Side};
use crate::capture::event::KernelTime;
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

    /// Bytes that are kept of bodies.
    pub(crate) fn body_bytes(&self) -> usize {
        self.slots.iter().map(|slot| slot.body_bytes()).sum()
    }

    /// How many exchanges are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.slots.len()
    }

    /// Gives back what is kept of bodies; their sizes stay exact.
    pub(crate) fn release_bodies(&mut self) {
        for slot in &mut self.slots {
            slot.release_bodies();
        }
    }

    /// The connection is given up, or was found gone: a body that only its end ends may have gone on unseen.
    pub(crate) fn give_up(&mut self, at: KernelTime, out: &mut Vec<Exchange>) {
        if let State::Body(framing) = &self.responses.state
            && framing.ends_with_the_connection()
            && !self.opaque
        {
            if let Some(body) = self.body(Side::Response) {
                body.push_open_hole();
            }
            self.responses.state = State::Resync;
            self.finish_message(Side::Response, false, at, out);
        }
        self.close(at, out);
    }

    /// Gives up the oldest exchange, if there is more than one.
    pub(crate) fn give_up_oldest(&mut self, out: &mut Vec<Exchange>) -> bool {
        self.slots.len() > 1 && self.shed_oldest(out)
    }
}
