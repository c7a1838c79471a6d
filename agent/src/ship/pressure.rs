//! Less room in the queue while the agent is short of memory.
//!
//! In: whether it is (`guard`). Out: the queue's bound on bytes, halved or not, which counts from the next message that is offered. Deliberately absent: what gives way.

use std::sync::atomic::{AtomicBool, Ordering};

use super::ShipHandle;

/// Whether there is less room.
#[derive(Debug, Default)]
pub(super) struct Pressure(AtomicBool);

impl Pressure {
    /// What `bytes` of room are now.
    pub(super) fn bound(&self, bytes: usize) -> usize {
        if self.0.load(Ordering::Relaxed) {
            bytes / 2
        } else {
            bytes
        }
    }
}

impl ShipHandle {
    /// Memory is short, or no longer: the queue holds half of its bytes, or all of them.
    pub fn set_pressure(&self, is_short: bool) {
        self.queue.pressure().0.store(is_short, Ordering::Relaxed);
    }
}
