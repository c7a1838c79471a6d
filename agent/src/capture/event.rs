//! What capture hands on: closed, cooked events, whether they came from the ring or from a recording.

use std::net::SocketAddr;

use bytes::Bytes;
use kongtap_common::record::ConnId;

/// `CLOCK_MONOTONIC` nanoseconds of the captured host. `clock.rs` turns it into wall time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelTime(pub u64);

impl KernelTime {
    /// Nanoseconds from `earlier` to `self`; zero if `earlier` is the later one.
    #[must_use]
    pub const fn ns_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `ns` nanoseconds later.
    #[must_use]
    pub const fn plus_ns(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }
}

/// Which way bytes went, seen from the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Towards the gateway.
    Ingress,
    /// From the gateway.
    Egress,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }
}

/// Something happened on a watched connection. Events of one connection come in the order of the gateway's calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureEvent {
    /// First sight of a connection.
    Open(ConnOpen),
    /// Bytes moved.
    Data(DataChunk),
    /// One direction ended.
    End(ConnEnd),
    /// The connection is gone.
    Close(ConnClose),
}

/// First sight of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnOpen {
    /// Which connection.
    pub conn: ConnId,
    /// When.
    pub at: KernelTime,
    /// The gateway's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Whether its bytes are plaintext taken from TLS calls.
    pub tls: bool,
    /// Whether it was already in use when it was first seen, so that its first byte may be anywhere in a message.
    pub late: bool,
}

/// Bytes of one call, or a part of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataChunk {
    /// Which connection.
    pub conn: ConnId,
    /// When the call ended.
    pub at: KernelTime,
    /// Which way.
    pub direction: Direction,
    /// Position of the first byte in this direction. A jump between chunks is a hole: those bytes are lost. A chunk of no
    /// bytes only says how far the direction has come.
    pub pos: u64,
    /// Bytes that this chunk stands for. More than `bytes.len()` only when they were left on purpose.
    pub len: u64,
    /// The bytes: `len` of them, or none.
    pub bytes: Bytes,
}

/// One direction of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnEnd {
    /// Which connection.
    pub conn: ConnId,
    /// When.
    pub at: KernelTime,
    /// Which way bytes will no longer go.
    pub direction: Direction,
    /// Position after the last byte of that direction.
    pub pos: u64,
}

/// A connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnClose {
    /// Which connection.
    pub conn: ConnId,
    /// When.
    pub at: KernelTime,
    /// How far its directions had come; not known where its end was found out later.
    pub ends: Option<StreamEnds>,
}

/// Positions after the last byte of both directions of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamEnds {
    /// Towards the gateway.
    pub ingress: u64,
    /// From the gateway.
    pub egress: u64,
}

/// What goes back to capture: nothing is wanted of these bytes, because it is known what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Of which connection.
    pub conn: ConnId,
    /// In which direction.
    pub direction: Direction,
    /// Up to which position; `u64::MAX` for all that is to come.
    pub until: u64,
}

impl CaptureEvent {
    /// The connection it belongs to.
    #[must_use]
    pub const fn conn(&self) -> ConnId {
        match self {
            Self::Open(open) => open.conn,
            Self::Data(chunk) => chunk.conn,
            Self::End(end) => end.conn,
            Self::Close(close) => close.conn,
        }
    }

    /// When it happened.
    #[must_use]
    pub const fn at(&self) -> KernelTime {
        match self {
            Self::Open(open) => open.at,
            Self::Data(chunk) => chunk.at,
            Self::End(end) => end.at,
            Self::Close(close) => close.at,
        }
    }
}
