//! How much of each message is copied, and where user space says that nothing more is wanted.
//!
//! A direction's *run* is what it moved since the other direction last did, which in HTTP/1 is at most one message, or
//! several that were pipelined. The probes copy the first bytes of a run and leave the rest, with its length.

use crate::record::ConnId;

/// How many bytes of a run are copied. One for all connections; user space may change it at any time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// On every connection: room for a head.
    pub head_bytes: u32,
    /// On the client's leg besides: what is wanted of a body. Zero: no bodies are.
    pub body_bytes: u32,
}

impl Budget {
    /// More than any message has.
    pub const EVERYTHING: Self = Self {
        head_bytes: 1 << 31,
        body_bytes: 1 << 31,
    };
}

/// Bytes of a body that are copied although no bodies are wanted: an error page of the gateway's own is known by its text.
pub const GLIMPSE_BYTES: u32 = 1024;

/// Where a skip is kept: a direction of a connection. The value is the position up to which bytes are passed over without
/// a record; `u64::MAX` for all that are left.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkipKey {
    /// The connection.
    pub conn: ConnId,
    /// `DIRECTION_*`.
    pub direction: u64,
}

/// A direction looks for a skip when its position comes to a multiple of this, so that small exchanges do not pay for it.
pub const SKIP_STEP_BYTES: u64 = 16 * 1024;

/// Words of an entry of the connection table. The first two are its [`ConnId`].
pub const CONN_WORDS: usize = 20;

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "map keys and values are copied as bytes")]
mod pod {
    // SAFETY: `repr(C)`, made of integers, without padding: every bit pattern is valid.
    unsafe impl aya::Pod for super::Budget {}
    // SAFETY: likewise.
    unsafe impl aya::Pod for super::SkipKey {}
}
