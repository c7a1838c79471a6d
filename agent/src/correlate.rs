//! stub

use bytes::Bytes;

use crate::http::exchange::Exchange;

/// A client's exchange with the upstream attempts that served it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedExchange {
    /// The downstream leg.
    pub client: Exchange,
    /// The upstream legs in the order of their requests; the last one is the answer. Empty when the gateway answered by
    /// itself, or when the upstream leg was not seen.
    pub upstream: Vec<Exchange>,
    /// `X-Kong-Request-Id`, when the gateway sets it.
    pub request_id: Option<Bytes>,
}
