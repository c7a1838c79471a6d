//! The ring's records, made from events: the reverse of `capture::decode`, which the agent has no use for.

use std::net::{IpAddr, SocketAddr};

use kongtap::capture::event::{CaptureEvent, Direction};
use kongtap_common::record::{
    ABI, ClosePayload, DIRECTION_EGRESS, DIRECTION_INGRESS, FAMILY_INET, FAMILY_INET6, FLAG_LATE,
    FLAG_NO_PAYLOAD, FLAG_TLS, KIND_CLOSE, KIND_DATA, KIND_END, KIND_OPEN, OpenPayload, RecordHeader,
};
use zerocopy::IntoBytes as _;

/// The record that decodes to `event`, as far as a record can say it: bytes of a data event beyond 4 GiB are cut.
#[must_use]
pub fn encode(event: &CaptureEvent) -> Vec<u8> {
    let mut header = RecordHeader {
        kind: KIND_DATA,
        abi: ABI,
        flags: 0,
        captured_bytes: 0,
        at_ns: event.at().0,
        conn: event.conn(),
        pos_bytes: 0,
        call_bytes: 0,
        direction: DIRECTION_INGRESS,
        source: 0,
        pad: 0,
    };
    let payload = match event {
        CaptureEvent::Open(open) => {
            header.kind = KIND_OPEN;
            header.flags |= if open.tls { FLAG_TLS } else { 0 };
            header.flags |= if open.late { FLAG_LATE } else { 0 };
            let (family, local_addr) = address(open.local);
            let (_, remote_addr) = match (open.local, open.remote) {
                // One family for both ends: an IPv4 end of an IPv6 socket is a mapped one.
                (SocketAddr::V6(_), SocketAddr::V4(remote)) => {
                    (family, remote.ip().to_ipv6_mapped().octets())
                }
                (_, remote) => address(remote),
            };
            OpenPayload {
                local_addr,
                remote_addr,
                local_port: open.local.port(),
                remote_port: open.remote.port(),
                family,
                pad: 0,
            }
            .as_bytes()
            .to_vec()
        }
        CaptureEvent::Data(chunk) => {
            header.pos_bytes = chunk.pos;
            header.direction = direction(chunk.direction);
            header.call_bytes = u32::try_from(chunk.len).unwrap_or(u32::MAX);
            if chunk.bytes.is_empty() {
                header.flags |= FLAG_NO_PAYLOAD;
            }
            chunk.bytes.to_vec()
        }
        CaptureEvent::End(end) => {
            header.kind = KIND_END;
            header.pos_bytes = end.pos;
            header.direction = direction(end.direction);
            Vec::new()
        }
        CaptureEvent::Close(close) => {
            header.kind = KIND_CLOSE;
            close.ends.map_or_else(Vec::new, |ends| {
                let payload = ClosePayload {
                    ingress_bytes: ends.ingress,
                    egress_bytes: ends.egress,
                };
                payload.as_bytes().to_vec()
            })
        }
    };
    header.captured_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [header.as_bytes(), &payload].concat()
}

fn address(end: SocketAddr) -> (u16, [u8; 16]) {
    match end.ip() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            (FAMILY_INET, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        }
        IpAddr::V6(ip) => (FAMILY_INET6, ip.octets()),
    }
}

const fn direction(direction: Direction) -> u8 {
    match direction {
        Direction::Ingress => DIRECTION_INGRESS,
        Direction::Egress => DIRECTION_EGRESS,
    }
}
