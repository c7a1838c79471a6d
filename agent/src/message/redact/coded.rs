//! Request bodies under a content coding: nothing can be hidden within them, so they are sent as they were or not at all.
//!
//! In: such a body and the rules. Out: whether it may be sent. Deliberately absent: sending what was decoded. A message has the
//! body that the client sent.

use std::borrow::Cow;

use kongtap_content::{Limits, Verdict, decode};

use super::{BodyType, Kind, Rules, json};
use crate::http::exchange::Body;
use crate::http::headers::Headers;

/// Steps of decoding for one body (`kongtap_content::Limits::steps`): this runs between two batches of records, and 4,096 are
/// more than 1 MiB takes.
const STEPS: u32 = 4_096;

/// Whether `body` is known to hold no hidden field: all of it could be decoded, and no hidden name is in it.
pub(super) fn is_clear(rules: &Rules<'_>, headers: &Headers, body: &Body) -> bool {
    let body_type = BodyType::within_codings(headers);
    if !body.is_whole() || body_type == BodyType::Opaque || rules.decoded_bytes == 0 {
        return false;
    }
    let limits = Limits {
        steps: STEPS,
        ..Limits::of_output(rules.decoded_bytes)
    };
    let decoded = decode(headers.all("content-encoding"), &body.bytes, &limits);
    decoded.verdict == Verdict::Whole
        && decoded.trailing_bytes == 0
        && is_clear_as_sent(rules, body_type, &body.bytes)
        && is_clear_within(rules, body_type, &decoded.bytes)
}

/// What the service reads. A text in which something was hidden is a new one.
fn is_clear_within(rules: &Rules<'_>, body_type: BodyType, text: &[u8]) -> bool {
    match body_type {
        BodyType::Form => matches!(rules.hide_in_pairs(Kind::BodyField, text), Cow::Borrowed(_)),
        BodyType::Json => {
            let shown = json::hide_fields(text, |name| rules.hides(Kind::BodyField, name));
            matches!(shown, Some(Cow::Borrowed(_)))
        }
        BodyType::Other => !rules.spells_a_field(text),
        BodyType::Opaque => false,
    }
}

/// What Kong reads: it takes no notice of codings (`kong.request.get_body`), so a credential that works there stands in the
/// bytes as they were sent, whatever else these can be decoded to. gzip has room for it in its header.
fn is_clear_as_sent(rules: &Rules<'_>, body_type: BodyType, bytes: &[u8]) -> bool {
    match body_type {
        BodyType::Form | BodyType::Other | BodyType::Opaque => is_clear_within(rules, body_type, bytes),
        // Coded bytes are no JSON, and Kong finds nothing in what is none.
        BodyType::Json => json::hide_fields(bytes, |_| false).is_none(),
    }
}

#[cfg(test)]
mod tests;
