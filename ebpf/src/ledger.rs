//! Counters. Atomic, because a uprobe can be preempted in the middle of an addition by another one on the same CPU.

use crate::asm;
use crate::maps::COUNTERS;

/// The counters of this CPU, looked up once for several additions.
#[derive(Clone, Copy)]
pub struct Slots(*mut u64);

impl Slots {
    /// This CPU's.
    #[inline(always)]
    pub fn open() -> Option<Self> {
        COUNTERS.get_ptr_mut(0).map(|slots| Self(slots.cast()))
    }

    /// Adds `amount` to the slot `SLOT` of [`kongtap_common::counter`].
    #[inline(always)]
    pub fn add<const SLOT: u32>(self, amount: u64) {
        if amount != 0 {
            // SAFETY: the map's value has a slot for every counter.
            unsafe { asm::add(self.0.add(SLOT as usize), amount) };
        }
    }
}

/// Adds `amount` to the slot `SLOT` of [`kongtap_common::counter`].
#[inline(always)]
pub fn add<const SLOT: u32>(amount: u64) {
    if amount != 0
        && let Some(slots) = Slots::open()
    {
        slots.add::<SLOT>(amount);
    }
}
