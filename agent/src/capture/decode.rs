//! From a ring record's bytes to a [`CaptureEvent`].
//!
//! In: one record as the probes wrote it, or as a recording kept it. Out: the event, or why it is none. Total: any bytes
//! give an answer. Deliberately absent: order, connections, anything that remembers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Bytes, BytesMut};
use kongtap_common::record::{
    ABI, ClosePayload, DIRECTION_EGRESS, DIRECTION_INGRESS, FAMILY_INET, FAMILY_INET6, FLAG_LATE,
    FLAG_NO_PAYLOAD, FLAG_TLS, KIND_CLOSE, KIND_DATA, KIND_END, KIND_OPEN, OpenPayload, RecordHeader,
};
use zerocopy::FromBytes as _;

use super::event::{
    CaptureEvent, ConnClose, ConnEnd, ConnOpen, DataChunk, Direction, KernelTime, StreamEnds,
};

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than a header has.
    #[error("{have} bytes are too few for a record's header")]
    ShortHeader {
        /// Bytes given.
        have: usize,
    },
    /// A layout that this build does not know.
    #[error("record layout {found}, but this build reads {ABI}")]
    Abi {
        /// What the record says.
        found: u8,
    },
    /// No such kind.
    #[error("unknown record kind {found}")]
    Kind {
        /// What the record says.
        found: u8,
    },
    /// No such direction.
    #[error("unknown direction {found}")]
    Direction {
        /// What the record says.
        found: u8,
    },
    /// No such address family.
    #[error("unknown address family {found}")]
    Family {
        /// What the record says.
        found: u16,
    },
    /// The payload is shorter than the header says, or than its kind needs.
    #[error("payload of {have} bytes where {need} were announced")]
    ShortPayload {
        /// Bytes given.
        have: usize,
        /// Bytes that should be there.
        need: usize,
    },
    /// A data record's payload is not as long as the bytes that it stands for.
    #[error("{captured} bytes captured of {call} that the record stands for")]
    Length {
        /// Payload bytes.
        captured: u32,
        /// Bytes that moved.
        call: u32,
    },
}

/// Bytes that an arena takes from the allocator at a time. A chunk that is kept keeps its whole arena alive, so this is
/// also what the smallest one can cost.
const ARENA_BYTES: usize = 64 * 1024;

/// Memory that the payloads of many records share, so that a record does not cost an allocation.
#[derive(Debug, Default)]
pub struct Arena(BytesMut);

impl Arena {
    fn copy(&mut self, payload: &[u8]) -> Bytes {
        if payload.is_empty() {
            return Bytes::new();
        }
        if self.0.capacity() < payload.len() {
            self.0 = BytesMut::with_capacity(ARENA_BYTES.max(payload.len()));
        }
        self.0.extend_from_slice(payload);
        self.0.split().freeze()
    }
}

/// The event in `record`; its payload is copied to memory of its own.
///
/// # Errors
/// [`DecodeError`] says what is wrong with the bytes.
pub fn decode(record: &[u8]) -> Result<CaptureEvent, DecodeError> {
    decode_with(record, Bytes::copy_from_slice)
}

/// The event in `record`; its payload is copied into `arena`.
///
/// # Errors
/// [`DecodeError`] says what is wrong with the bytes.
pub fn decode_in(record: &[u8], arena: &mut Arena) -> Result<CaptureEvent, DecodeError> {
    decode_with(record, |payload| arena.copy(payload))
}

fn decode_with(record: &[u8], keep: impl FnOnce(&[u8]) -> Bytes) -> Result<CaptureEvent, DecodeError> {
    let short = DecodeError::ShortHeader { have: record.len() };
    let (header, rest) = RecordHeader::read_from_prefix(record).map_err(|_shorter| short)?;
    if header.abi != ABI {
        return Err(DecodeError::Abi { found: header.abi });
    }
    let conn = header.conn;
    let at = KernelTime(header.at_ns);
    match header.kind {
        KIND_OPEN => open(&header, payload(&header, rest)?).map(CaptureEvent::Open),
        KIND_DATA => data(&header, payload(&header, rest)?, keep).map(CaptureEvent::Data),
        KIND_END => {
            let direction = direction(header.direction)?;
            Ok(CaptureEvent::End(ConnEnd {
                conn,
                at,
                direction,
                pos: header.pos_bytes,
            }))
        }
        KIND_CLOSE => close(&header, payload(&header, rest)?).map(CaptureEvent::Close),
        found => Err(DecodeError::Kind { found }),
    }
}

fn payload<'a>(header: &RecordHeader, rest: &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let need = usize::try_from(header.captured_bytes).unwrap_or(usize::MAX);
    rest.get(..need).ok_or(DecodeError::ShortPayload {
        have: rest.len(),
        need,
    })
}

fn data(
    header: &RecordHeader,
    payload: &[u8],
    keep: impl FnOnce(&[u8]) -> Bytes,
) -> Result<DataChunk, DecodeError> {
    let expected = if header.flags & FLAG_NO_PAYLOAD == 0 {
        header.call_bytes
    } else {
        0
    };
    if header.captured_bytes != expected {
        return Err(DecodeError::Length {
            captured: header.captured_bytes,
            call: header.call_bytes,
        });
    }
    Ok(DataChunk {
        conn: header.conn,
        at: KernelTime(header.at_ns),
        direction: direction(header.direction)?,
        pos: header.pos_bytes,
        len: u64::from(header.call_bytes),
        bytes: keep(payload),
    })
}

fn open(header: &RecordHeader, payload: &[u8]) -> Result<ConnOpen, DecodeError> {
    let short = DecodeError::ShortPayload {
        have: payload.len(),
        need: size_of::<OpenPayload>(),
    };
    let (ends, _rest) = OpenPayload::read_from_prefix(payload).map_err(|_shorter| short)?;
    Ok(ConnOpen {
        conn: header.conn,
        at: KernelTime(header.at_ns),
        local: address(ends.family, ends.local_addr, ends.local_port)?,
        remote: address(ends.family, ends.remote_addr, ends.remote_port)?,
        tls: header.flags & FLAG_TLS != 0,
        late: header.flags & FLAG_LATE != 0,
    })
}

fn close(header: &RecordHeader, payload: &[u8]) -> Result<ConnClose, DecodeError> {
    let short = DecodeError::ShortPayload {
        have: payload.len(),
        need: size_of::<ClosePayload>(),
    };
    let (ends, _rest) = ClosePayload::read_from_prefix(payload).map_err(|_shorter| short)?;
    Ok(ConnClose {
        conn: header.conn,
        at: KernelTime(header.at_ns),
        ends: Some(StreamEnds {
            ingress: ends.ingress_bytes,
            egress: ends.egress_bytes,
        }),
    })
}

/// An IPv4 peer of a dual-stack socket shows as IPv4.
fn address(family: u16, bytes: [u8; 16], port: u16) -> Result<SocketAddr, DecodeError> {
    let ip = match family {
        FAMILY_INET => {
            let [a, b, c, d, ..] = bytes;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        FAMILY_INET6 => Ipv6Addr::from(bytes).to_canonical(),
        found => return Err(DecodeError::Family { found }),
    };
    Ok(SocketAddr::new(ip, port))
}

const fn direction(code: u8) -> Result<Direction, DecodeError> {
    match code {
        DIRECTION_INGRESS => Ok(Direction::Ingress),
        DIRECTION_EGRESS => Ok(Direction::Egress),
        found => Err(DecodeError::Direction { found }),
    }
}

#[cfg(test)]
mod tests;
