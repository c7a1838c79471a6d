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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::left_out;
    use crate::guard::ladder::Step;
    use crate::guard::levels::Shed;
    use crate::message::redact::{DECODED_BYTES, Redaction};
    use crate::message::tests::{config, exchange, nowhere};
    use crate::message::{BuildInput, Profile, build_within};

    const WANTED: usize = 256 << 10;

    fn shed(cpu: Step, memory: Step) -> Shed {
        Shed { cpu, memory }
    }

    /// The message of an exchange with bodies of so many bytes, and what it went without.
    fn message(request: usize, response: usize, log_body: bool, shed: Shed) -> (Value, u64) {
        let (request, response) = ("q".repeat(request), "r".repeat(response));
        let joined = exchange("POST", "/a", &[("host", "h")], &request, 200, &[], &response);
        let message = build_within(
            &BuildInput {
                joined: &joined,
                request_headers: &joined.client.request.as_ref().unwrap().headers,
                resolution: &nowhere(),
                config: &config(log_body, "http://127.0.0.1/buckets/b/messages"),
                profile: Profile::Extended,
                redaction: &Redaction::Default,
                decoded_bytes: DECODED_BYTES,
                wall: crate::clock::WallClock { boot_unix_ns: 0 },
            },
            shed,
        );
        let left = left_out(&joined.client, shed, WANTED);
        (serde_json::from_slice(message.json()).unwrap(), left)
    }

    #[test]
    fn bodies_are_cut_and_the_message_says_what_for() {
        let everything = Step::Everything;
        for (steps, kept, named, left) in [
            (shed(everything, everything), (100, 20_000), (None, None), 0),
            (
                shed(Step::Bodies64KiB, everything),
                (100, 20_000),
                (None, None),
                0,
            ),
            (
                shed(Step::Bodies8KiB, everything),
                (100, 8192),
                (None, Some("cpu")),
                11_808,
            ),
            (
                shed(Step::NoBodies, everything),
                (0, 0),
                (Some("cpu"), Some("cpu")),
                20_100,
            ),
            (
                shed(Step::Bodies8KiB, Step::HalfQueue),
                (0, 0),
                (Some("memory"), Some("memory")),
                20_100,
            ),
        ] {
            let (message, went_without) = message(100, 20_000, true, steps);
            let length = |part: &str| message[part]["body"].as_str().map_or(0, str::len);
            assert_eq!((length("request"), length("response")), kept, "{steps:?}");
            let captured = &message["kong"]["completeness"];
            for (part, name, kept) in [("request", named.0, kept.0), ("response", named.1, kept.1)] {
                let state = if name.is_some() { "truncated" } else { "whole" };
                assert_eq!(captured[part]["shed"], json!(name), "{steps:?}: {captured}");
                assert_eq!(captured[part]["state"], state, "{steps:?}: {captured}");
                assert_eq!(captured[part]["captured_bytes"], kept, "{steps:?}: {captured}");
            }
            assert_eq!(captured["response"]["total_bytes"], 20_000);
            assert_eq!(message["response"]["size_bytes"], "20000", "{steps:?}");
            assert_eq!(
                (message["kong"].get("sampling"), went_without),
                (None, left),
                "{steps:?}"
            );
        }
    }

    #[test]
    fn a_sampled_message_says_its_rate_and_where_no_bodies_are_wanted_none_is_missed() {
        let (sampled, _) = message(10, 10, false, shed(Step::OneIn4, Step::OneIn2));
        assert_eq!(sampled["kong"]["sampling"], json!(0.25));
        assert_eq!(sampled["kong"]["completeness"]["request"].get("shed"), None);
        assert_eq!(sampled["kong"]["completeness"]["request"]["state"], "whole");
    }
}
