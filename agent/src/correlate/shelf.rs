//! Keeps things under a key until they are asked for or the oldest has to go.
//!
//! In: values with a key and the time. Out: all values of one key, or the oldest of all. Absent: limits and counters, which are the
//! correlator's.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::capture::event::KernelTime;

/// One request of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Process that handled it.
    pub(super) worker: u32,
    /// Request id as it was on the wire.
    pub(super) id: Bytes,
}

/// Values in the order in which they came, found by key.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    /// Every value, under the number of its arrival.
    slots: BTreeMap<u64, Slot<T>>,
    /// The arrival numbers of each key, ascending; never an empty list, never a number that is not in `slots`.
    arrivals: HashMap<Key, Vec<u64>>,
    next_arrival: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Slot<T> {
    key: Key,
    since: KernelTime,
    bytes: usize,
    value: T,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            arrivals: HashMap::new(),
            next_arrival: 0,
            bytes: 0,
        }
    }
}

impl<T> Shelf<T> {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// What the values hold together.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.arrivals.contains_key(key)
    }

    /// The values of `key`, oldest first.
    pub(super) fn of(&self, key: &Key) -> impl Iterator<Item = &T> {
        self.arrivals
            .get(key)
            .into_iter()
            .flatten()
            .filter_map(|arrival| self.slots.get(arrival))
            .map(|slot| &slot.value)
    }

    /// Everything, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &T)> {
        self.slots.values().map(|slot| (&slot.key, &slot.value))
    }

    /// Whether the oldest value has been here for `age_ns`.
    pub(super) fn is_due(&self, now: KernelTime, age_ns: u64) -> bool {
        self.slots
            .first_key_value()
            .is_some_and(|(_, oldest)| now.ns_since(oldest.since) >= age_ns)
    }

    /// Takes in a value that holds so many bytes.
    pub(super) fn put(&mut self, key: Key, now: KernelTime, value: T, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        self.arrivals.entry(key.clone()).or_default().push(arrival);
        self.slots.insert(
            arrival,
            Slot {
                key,
                since: now,
                bytes,
                value,
            },
        );
    }

    /// Takes out the values of `key`, oldest first.
    pub(super) fn take(&mut self, key: &Key) -> Vec<T> {
        let arrivals = self.arrivals.remove(key).unwrap_or_default();
        let slots = arrivals.iter().filter_map(|arrival| self.slots.remove(arrival));
        let mut values = Vec::with_capacity(arrivals.len());
        for slot in slots {
            self.bytes = self.bytes.saturating_sub(slot.bytes);
            values.push(slot.value);
        }
        values
    }

    /// Takes out the value that came first.
    pub(super) fn pop_oldest(&mut self) -> Option<(Key, T)> {
        let (arrival, slot) = self.slots.pop_first()?;
        let Slot {
            key, value, bytes, ..
        } = slot;
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(arrivals) = self.arrivals.get_mut(&key) {
            arrivals.retain(|other| *other != arrival);
            if arrivals.is_empty() {
                self.arrivals.remove(&key);
            }
        }
        Some((key, value))
    }

    /// Takes out the value that came first, if it has been here for `age_ns` or longer.
    pub(super) fn pop_aged(&mut self, now: KernelTime, age_ns: u64) -> Option<(Key, T)> {
        let oldest = self.slots.first_entry()?;
        if now.ns_since(oldest.get().since) < age_ns {
            return None;
        }
        self.pop_oldest()
    }
}
