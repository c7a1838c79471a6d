//! Connections that were open before the probes came: their first byte may be anywhere in a message.
//!
//! In: the pairs of addresses that `/proc` showed when a process began to be watched. Out: [`CaptureEvent::Open`]s marked late.

use std::collections::HashSet;
use std::net::SocketAddr;

use crate::capture::event::CaptureEvent;

/// The gateway's end and the other end of each connection that was already open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LateConnections(HashSet<(SocketAddr, SocketAddr)>);

impl LateConnections {
    /// Adds connections.
    pub fn extend(&mut self, pairs: impl IntoIterator<Item = (SocketAddr, SocketAddr)>) {
        self.0.extend(
            pairs
                .into_iter()
                .map(|(local, remote)| (canonical(local), canonical(remote))),
        );
    }

    /// Marks `event` if it opens one of them. A connection that only looks like one of them loses nothing by the mark.
    pub fn mark(&self, event: &mut CaptureEvent) {
        if let CaptureEvent::Open(open) = event
            && self.0.contains(&(canonical(open.local), canonical(open.remote)))
        {
            open.late = true;
        }
    }

    /// The pairs, in a stable order.
    #[must_use]
    pub fn to_sorted(&self) -> Vec<(SocketAddr, SocketAddr)> {
        let mut pairs: Vec<_> = self.0.iter().copied().collect();
        pairs.sort_unstable();
        pairs
    }
}

// A dual-stack socket shows IPv4 peers as mapped IPv6 addresses in one source and as IPv4 in the other.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use kongtap_common::record::ConnId;

    use super::LateConnections;
    use crate::capture::event::{CaptureEvent, ConnOpen, KernelTime};

    fn check(open: (&str, &str), expected: bool) {
        let mut late = LateConnections::default();
        late.extend([(
            "127.0.0.1:8000".parse().unwrap(),
            "127.0.0.1:4000".parse().unwrap(),
        )]);
        let mut event = CaptureEvent::Open(ConnOpen {
            conn: ConnId {
                tgid: 1,
                fd: 2,
                generation_ns: 3,
            },
            at: KernelTime(3),
            local: open.0.parse().unwrap(),
            remote: open.1.parse().unwrap(),
            tls: false,
            late: false,
        });
        late.mark(&mut event);
        let CaptureEvent::Open(open) = event else {
            panic!("still an open")
        };
        assert_eq!(open.late, expected);
    }

    #[test]
    fn only_connections_that_were_open_are_marked() {
        check(("127.0.0.1:8000", "127.0.0.1:4000"), true);
        check(("127.0.0.1:8000", "127.0.0.1:4001"), false);
        check(("127.0.0.1:4000", "127.0.0.1:8000"), false);
    }

    #[test]
    fn mapped_addresses_are_the_same_connection() {
        check(("[::ffff:127.0.0.1]:8000", "[::ffff:127.0.0.1]:4000"), true);
    }
}
