//! Bounds of the HTTP parsers (I10).

use super::head;
use crate::http::h2::limits::H2Limits;

/// Bounds of one connection's parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Longest head, bytes; a longer one is given up. In HTTP/2 it bounds both the coded block and its fields.
    pub head_bytes: usize,
    /// Most header fields of one head, at most 256.
    pub fields: usize,
    /// Bytes kept of one body on the client's leg.
    pub body_bytes: usize,
    /// Most requests that may wait for their response (pipelining).
    pub pipelined: usize,
    /// What HTTP/2 has of its own.
    pub h2: H2Limits,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            head_bytes: 64 << 10,
            fields: head::FIELDS,
            body_bytes: 256 << 10,
            pipelined: 256,
            h2: H2Limits::default(),
        }
    }
}
