//! The kernel's half of the byte ledger, by name.

use kongtap_common::counter;

/// The probes' counters at one moment, summed over CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelCounters(pub(super) Vec<u64>);

impl KernelCounters {
    /// The counter in `slot` of [`kongtap_common::counter`].
    #[must_use]
    pub fn get(&self, slot: u32) -> u64 {
        usize::try_from(slot)
            .ok()
            .and_then(|slot| self.0.get(slot))
            .copied()
            .unwrap_or(0)
    }

    /// Every counter with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        counter::NAMES.iter().map(|(slot, name)| (*name, self.get(*slot)))
    }

    /// Bytes that moved and were left out on purpose.
    #[must_use]
    pub fn left_bytes(&self) -> u64 {
        self.sum("left_")
    }

    /// Bytes that moved and were lost.
    #[must_use]
    pub fn lost_bytes(&self) -> u64 {
        self.sum("lost_")
    }

    /// Whether every byte seen is accounted for (invariant I5). It is whenever no probe is between two additions, which
    /// is at every instant at which the gateway is idle.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let copied = self.get(counter::COPIED_BYTES);
        self.get(counter::SEEN_BYTES) == copied + self.left_bytes() + self.lost_bytes()
    }

    fn sum(&self, prefix: &str) -> u64 {
        self.iter()
            .filter(|(name, _)| name.starts_with(prefix) && name.ends_with("_bytes"))
            .map(|(_, count)| count)
            .sum()
    }
}
