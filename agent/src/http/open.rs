//! A request that is still under way: what is known of it before its exchange is finished.
//!
//! In: nothing; the parsers make these when they are asked. Out: [`OpenRequest`]s, for whoever must know which requests there are
//! besides the finished ones. Deliberately absent: bodies.

use bytes::Bytes;

use crate::capture::event::KernelTime;
use crate::http::exchange::ConnInfo;
use crate::http::headers::Headers;

/// A request without the end of its response.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// Where it travels.
    pub conn: ConnInfo,
    /// When its first byte moved; zero if that was not seen.
    pub started: KernelTime,
    /// When its final response began, if it did.
    pub answered: Option<KernelTime>,
    /// Its head; `None` when that is lost.
    pub head: Option<OpenHead>,
}

/// The head of a request that is under way.
#[derive(Clone, Debug)]
pub struct OpenHead {
    /// Request target as sent; empty if it is not known.
    pub target: Bytes,
    /// Header fields.
    pub headers: Headers,
    /// Whether these are all.
    pub is_whole: bool,
}
