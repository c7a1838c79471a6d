//! Counters. Atomic, because a uprobe can be preempted in the middle of an addition by another one on the same CPU.

use crate::asm;
use crate::maps::COUNTERS;

/// Adds `amount` to the slot `SLOT` of [`kongtap_common::counter`].
#[inline(always)]
pub fn add<const SLOT: u32>(amount: u64) {
    if amount == 0 {
        return;
    }
    if let Some(slots) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: the map's value has a slot for every counter.
        unsafe { asm::add(slots.cast::<u64>().add(SLOT as usize), amount) };
    }
}
