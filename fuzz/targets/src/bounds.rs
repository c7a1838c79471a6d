//! What holds of any connection's exchanges, whatever moved and whatever is missing.

use kongtap::capture::event::Direction;
use kongtap::http::exchange::{Body, Exchange, Leg, Version};
use kongtap::http::h1::limits::HttpLimits;
use kongtap::http::headers::Headers;

use crate::flow::{Played, Truth, len};

/// What one direction's messages hold, in their order on the wire.
struct Message<'a> {
    /// What stands in its head before the fields.
    start: Vec<&'a [u8]>,
    headers: &'a Headers,
    trailers: &'a Headers,
    body: &'a Body,
    version: Version,
}

/// Checks bounds (I10), that nothing is counted twice (I5), and that no byte was made up.
pub(crate) fn check(played: &Played, limits: HttpLimits) {
    for direction in [Direction::Ingress, Direction::Egress] {
        let truth = played.truths.of(direction);
        let messages: Vec<_> = played
            .exchanges
            .iter()
            .filter_map(|exchange| message(exchange, direction))
            .collect();
        let mut counted = 0u64;
        for message in &messages {
            check_bounds(message, limits);
            counted = counted.saturating_add(message.body.wire_bytes);
            check_body(message, truth);
        }
        assert!(
            counted <= truth.moved,
            "{counted} body bytes of {} that moved",
            truth.moved
        );
        check_order(&messages, truth);
    }
    let stats = &played.stats;
    let (ingress, egress) = (&played.truths.ingress, &played.truths.egress);
    let lost = ingress.lost.saturating_add(egress.lost);
    assert!(
        stats.hole_bytes <= lost,
        "holes of {} where {lost} are lost",
        stats.hole_bytes
    );
    let moved = ingress.moved.saturating_add(egress.moved);
    let skipped = stats.http.skipped_bytes;
    assert!(skipped <= moved, "{skipped} passed over of {moved} that moved");
}

/// Content-Length and Transfer-Encoding are kept beyond the limit, so that the framing is the gateway's: HTTP/1's parser keeps as many more.
const FRAMING_FIELDS: usize = 4;

fn message(exchange: &Exchange, direction: Direction) -> Option<Message<'_>> {
    let asks = match exchange.leg {
        Leg::Downstream => Direction::Ingress,
        Leg::Upstream => Direction::Egress,
    };
    if direction == asks {
        let request = exchange.request.as_ref()?;
        return Some(Message {
            start: vec![&request.method, &request.target],
            headers: &request.headers,
            trailers: &request.trailers,
            body: &request.body,
            version: request.version,
        });
    }
    let response = exchange.response.as_ref()?;
    Some(Message {
        start: vec![&response.reason],
        headers: &response.headers,
        trailers: &response.trailers,
        body: &response.body,
        version: response.version,
    })
}

fn check_bounds(message: &Message<'_>, limits: HttpLimits) {
    let body = message.body;
    let kept = len(&body.bytes);
    assert!(
        body.bytes.len() <= limits.body_bytes,
        "{kept} bytes of a body are kept"
    );
    assert!(
        body.total_bytes <= body.wire_bytes,
        "more body than moved: {body:?}"
    );
    assert!(
        kept.saturating_add(body.hole_bytes) <= body.total_bytes,
        "more than the whole: {body:?}"
    );
    for fields in [message.headers, message.trailers] {
        let most = limits.fields.saturating_add(FRAMING_FIELDS);
        assert!(fields.0.len() <= most, "{} fields", fields.0.len());
        let bytes: usize = fields
            .0
            .iter()
            .map(|field| field.name.len() + field.value.len())
            .sum();
        assert!(bytes <= limits.head_bytes, "{bytes} bytes of fields");
    }
}

/// A body's bytes moved, in this order; where it is not chunked, next to each other.
fn check_body(message: &Message<'_>, truth: &Truth) {
    let bytes = &message.body.bytes;
    let is_plain = message.version != Version::Http2 && !message.headers.contains("transfer-encoding");
    let is_there = if is_plain {
        truth.copied.iter().any(|piece| find(piece, bytes).is_some())
    } else {
        is_subsequence(truth.copied.iter().flatten().copied(), bytes)
    };
    assert!(is_there, "a body that never moved: {}", bytes.escape_ascii());
}

/// HTTP/1's heads stand on the wire as they are told, one message after the other.
fn check_order(messages: &[Message<'_>], truth: &Truth) {
    let wire: Vec<u8> = truth.copied.concat();
    let mut rest = wire.as_slice();
    for message in messages
        .iter()
        .filter(|message| message.version != Version::Http2)
    {
        let fields = message
            .headers
            .0
            .iter()
            .flat_map(|field| [&*field.name, &*field.value]);
        for part in message.start.iter().copied().chain(fields) {
            // A folded line is told as one (RFC 9112 section 5.2), so its parts need not touch.
            let after = match find(rest, part) {
                Some(at) => rest.get(at + part.len()..),
                None => after_subsequence(rest, part),
            };
            let Some(after) = after else {
                assert!(
                    after.is_some(),
                    "never moved, or not then: {}",
                    part.escape_ascii()
                );
                return;
            };
            rest = after;
        }
    }
}

/// Where `part` first stands.
pub(crate) fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    let Some(first) = part.first() else {
        return Some(0);
    };
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|byte| byte == first) {
        let start = from + at;
        if bytes.get(start..)?.starts_with(part) {
            return Some(start);
        }
        from = start + 1;
    }
    None
}

fn is_subsequence(wire: impl Iterator<Item = u8>, bytes: &[u8]) -> bool {
    let mut wanted = bytes.iter().copied().peekable();
    for byte in wire {
        if wanted.peek() == Some(&byte) {
            wanted.next();
        }
    }
    wanted.peek().is_none()
}

fn after_subsequence<'a>(wire: &'a [u8], bytes: &[u8]) -> Option<&'a [u8]> {
    let mut rest = wire;
    for wanted in bytes {
        let at = rest.iter().position(|byte| byte == wanted)?;
        rest = rest.get(at + 1..)?;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::{find, is_subsequence};

    #[test]
    fn parts_are_found() {
        let check = |bytes: &[u8], part: &[u8], expected, in_order| {
            assert_eq!(find(bytes, part), expected);
            assert_eq!(is_subsequence(bytes.iter().copied(), part), in_order);
        };
        check(b"aab", b"ab", Some(1), true);
        check(b"axb", b"ab", None, true);
        check(b"ba", b"ab", None, false);
        check(b"", b"", Some(0), true);
    }
}
