//! Bounds of the HTTP/2 parser (I10).

/// Bounds of one connection's parser beyond those that it shares with HTTP/1's (head and body bytes, fields).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct H2Limits {
    /// Most streams that are followed at once; the oldest gives way. Gateways allow 128 by default.
    pub streams: usize,
    /// Most bytes of heads and bodies that the open streams hold together; the oldest stream gives way. Bodies take half of it at
    /// most, so that heads have room: what is over that is counted and not kept.
    pub held_bytes: usize,
    /// Most bytes of each direction's HPACK table. Entries beyond it are unknown.
    pub table_bytes: usize,
    /// How long a stream that may have ended in a hole is waited for after its last sign of life, nanoseconds.
    pub doubtful_ns: u64,
}

impl Default for H2Limits {
    fn default() -> Self {
        Self {
            streams: 1024,
            held_bytes: 16 << 20,
            table_bytes: 64 << 10,
            doubtful_ns: 10 * 1_000_000_000,
        }
    }
}
