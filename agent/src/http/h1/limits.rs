//! Bounds of the HTTP/1 parser (I10).

use super::head;

/// Bounds of one connection's parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Longest head, bytes; a longer one is given up.
    pub head_bytes: usize,
    /// Most header fields of one head, at most 256.
    pub fields: usize,
    /// Bytes kept of one body on the client's leg.
    pub body_bytes: usize,
    /// Most requests that may wait for their response (pipelining).
    pub pipelined: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            head_bytes: 64 << 10,
            fields: head::FIELDS,
            body_bytes: 256 << 10,
            pipelined: 256,
        }
    }
}
