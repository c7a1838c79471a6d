//! The gateway's configuration together with the `runscope` configurations bound to it, now and a little while ago.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::capture::event::KernelTime;
use crate::gateway::ports::PortMap;
use crate::gateway::snapshot::Snapshot;
use crate::plugin::{PluginSet, UnboundConfig};

/// How many readings are kept: requests that began before the newest one are resolved against theirs (I9).
const KEPT: usize = 8;

/// One reading of the gateway's configuration, with the `runscope` configurations bound to it.
#[derive(Debug)]
pub struct Bound {
    /// The gateway's configuration.
    pub snapshot: Arc<Snapshot>,
    /// The `runscope` configurations.
    pub plugins: PluginSet,
    /// Ports of the gateway's own Admin and Status API, whose calls are not traffic.
    pub gateway_api_ports: BTreeSet<u16>,
}

impl Bound {
    /// Nothing read yet: what headers do not say is unknown.
    #[must_use]
    pub fn unread(configs: &[UnboundConfig]) -> Self {
        Self::unread_behind(PortMap::default(), configs)
    }

    /// The same, of a gateway whose clients know its listeners by other ports.
    #[must_use]
    pub fn unread_behind(ports: PortMap, configs: &[UnboundConfig]) -> Self {
        let snapshot = Arc::new(Snapshot::empty().with_ports(ports));
        Self {
            plugins: PluginSet::bind(configs, &snapshot),
            snapshot,
            gateway_api_ports: BTreeSet::new(),
        }
    }
}

/// The newest readings, each with the moment from which it was in force.
#[derive(Clone, Debug)]
pub struct History(VecDeque<(KernelTime, Arc<Bound>)>);

impl History {
    /// A history that begins with `bound`, in force since ever.
    #[must_use]
    pub fn new(bound: Arc<Bound>) -> Self {
        Self(VecDeque::from([(KernelTime(0), bound)]))
    }

    /// The history with a newer reading, in force from `since`.
    #[must_use]
    pub fn with(&self, since: KernelTime, bound: Arc<Bound>) -> Self {
        let mut readings = self.0.clone();
        readings.push_back((since, bound));
        while readings.len() > KEPT {
            readings.pop_front();
        }
        Self(readings)
    }

    /// The reading that was in force at `at`, or the oldest that is kept.
    #[must_use]
    pub fn at(&self, at: KernelTime) -> Arc<Bound> {
        let in_force = self
            .0
            .iter()
            .rev()
            .find(|(since, _)| *since <= at)
            .or_else(|| self.0.front());
        in_force.map_or_else(|| Arc::new(Bound::unread(&[])), |(_, bound)| Arc::clone(bound))
    }

    /// The newest reading.
    #[must_use]
    pub fn newest(&self) -> Arc<Bound> {
        self.at(KernelTime(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Bound, History, KEPT};
    use crate::capture::event::KernelTime;

    fn reading(port: u16) -> Arc<Bound> {
        Arc::new(Bound {
            gateway_api_ports: [port].into(),
            ..Bound::unread(&[])
        })
    }

    #[test]
    fn a_request_is_resolved_against_the_reading_in_force_when_it_began() {
        let history = History::new(reading(1))
            .with(KernelTime(100), reading(2))
            .with(KernelTime(200), reading(3));
        for (at, port) in [(0, 1), (99, 1), (100, 2), (199, 2), (200, 3), (u64::MAX, 3)] {
            assert!(
                history.at(KernelTime(at)).gateway_api_ports.contains(&port),
                "at {at}"
            );
        }
    }

    #[test]
    fn the_history_is_bounded_and_its_oldest_reading_stands_for_what_was_before() {
        let mut history = History::new(reading(0));
        for round in 1..=20 {
            history = history.with(KernelTime(u64::from(round)), reading(round));
        }
        let oldest = 20 - u16::try_from(KEPT).unwrap() + 1;
        assert!(history.at(KernelTime(0)).gateway_api_ports.contains(&oldest));
        assert!(history.newest().gateway_api_ports.contains(&20));
    }
}
