//! What a message goes without while the agent is short of CPU time or memory.
//!
//! In: an exchange and the steps in force. Out: its bodies as they are sent, and how much that leaves out. Deliberately absent: which exchanges are
//! left out whole (`pipeline`).

use std::borrow::Cow;

use crate::guard::levels::Shed;
use crate::http::exchange::{Body, Exchange};

/// What is left of a body.
pub(super) fn cut(body: &Body, shed: Shed) -> Cow<'_, Body> {
    let most = shed.body_bytes();
    if body.bytes.len() <= most {
        return Cow::Borrowed(body);
    }
    Cow::Owned(Body {
        bytes: body.bytes.slice(..most),
        ..body.clone()
    })
}

/// How many bytes of both bodies the steps leave out of a message that would otherwise have `wanted` of each, at most. What was lost on the way to
/// the agent is not among them.
#[must_use]
pub fn left_out(client: &Exchange, shed: Shed, wanted: usize) -> u64 {
    let count = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    let of = |body: &Body| {
        let there = body
            .total_bytes
            .saturating_sub(body.hole_bytes)
            .min(count(wanted));
        there.saturating_sub(count(body.bytes.len().min(shed.body_bytes())))
    };
    let request = client.request.as_ref().map_or(0, |request| of(&request.body));
    let response = client.response.as_ref().map_or(0, |response| of(&response.body));
    request.saturating_add(response)
}
