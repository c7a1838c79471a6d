//! Keys: in headers, queries and bodies, and what is not seen of them.

use bytes::Bytes;

use super::Answer::{Absent, NginxMade, Own, Proxied};
use super::{CONFIGURATION, check, joined, snapshot, who, written};
use crate::gateway::router::RouterFlavor;
use crate::http::exchange::{Body, HeadState};

#[test]
fn keys() {
    check(&[
        (
            "header",
            "GET /key | apikey: alice-key",
            Proxied,
            "alice by credentials",
        ),
        (
            "second name, any case",
            "GET /key | X-KEY: bob-key",
            Proxied,
            "bob by credentials",
        ),
        (
            "query",
            "GET /key?a=1&apikey=alice-key",
            Proxied,
            "alice by credentials",
        ),
        (
            "query, escaped",
            "GET /key?apikey=a%2bb+c",
            Proxied,
            "alice by credentials",
        ),
        (
            "header before query",
            "GET /key?apikey=bob-key | apikey: alice-key",
            Proxied,
            "alice by credentials",
        ),
        (
            "the first name first",
            "GET /key?apikey=bob-key | x-key: alice-key",
            Proxied,
            "bob by credentials",
        ),
        (
            "rate limited",
            "GET /key | apikey: alice-key",
            Own(429),
            "alice by credentials",
        ),
        (
            "service does not answer",
            "GET /key | apikey: alice-key",
            Own(502),
            "alice by credentials",
        ),
        ("refused", "GET /key | apikey: alice-key", Own(401), "-"),
        (
            "refused by an old gateway",
            "GET /key | apikey: wrong",
            Own(403),
            "-",
        ),
        ("nothing, and yet let in", "GET /key", Proxied, "?"),
        (
            "a key that is not listed, let in",
            "GET /key | apikey: new-key",
            Proxied,
            "?",
        ),
        (
            "a key of a consumer that is not there",
            "GET /key | apikey: nobodys-key",
            Proxied,
            "?",
        ),
        ("an empty key", "GET /key?apikey=", Proxied, "?"),
        (
            "two keys of two consumers in one place",
            "GET /key?apikey=alice-key&apikey=bob-key",
            Proxied,
            "?",
        ),
        (
            "two header lines",
            "GET /key | apikey: alice-key | apikey: alice-key",
            Proxied,
            "?",
        ),
        ("no answer", "GET /key | apikey: alice-key", Absent, "?"),
        (
            "an answer of which it is not known whose",
            "GET /key | apikey: alice-key",
            NginxMade(401),
            "?",
        ),
        (
            "a page of before the plugins",
            "GET /key | apikey: alice-key",
            Own(413),
            "?",
        ),
        ("sent to TLS", "GET /key | apikey: alice-key", Own(426), "-"),
        (
            "a plugin that answers first",
            "GET /early | apikey: alice-key",
            Own(429),
            "?",
        ),
        (
            "the same, proxied",
            "GET /early | apikey: alice-key",
            Proxied,
            "alice by credentials",
        ),
    ]);
}

#[test]
fn what_a_client_says_of_itself_is_nothing() {
    check(&[
        (
            "no plugin",
            "GET /open | X-Consumer-Username: alice",
            Proxied,
            "-",
        ),
        (
            "a key where nobody asks",
            "GET /open | apikey: alice-key",
            Proxied,
            "-",
        ),
        (
            "a plugin of another service",
            "GET /open | apikey: bob-key",
            Own(429),
            "-",
        ),
        (
            "a plugin that is off",
            "GET /off | apikey: alice-key",
            Proxied,
            "-",
        ),
        ("refused", "GET /key | X-Consumer-Username: alice", Own(401), "-"),
        (
            "against the key",
            "GET /key | X-Consumer-Username: alice | apikey: bob-key",
            Proxied,
            "bob by credentials",
        ),
        (
            "without a key",
            "GET /key | X-Consumer-Username: alice",
            Proxied,
            "?",
        ),
        ("no route", "GET /nothing | apikey: alice-key", Own(404), "-"),
    ]);
}

#[test]
fn keys_in_bodies() {
    let snapshot = snapshot(CONFIGURATION, RouterFlavor::TraditionalCompatible);
    let form = "application/x-www-form-urlencoded";
    let long = format!("apikey=alice-key&x={}", "x".repeat(9_000));
    for (case, content_type, text, is_whole, expected) in [
        (
            "a form",
            form,
            "a=1&apikey=alice-key",
            true,
            "alice by credentials",
        ),
        (
            "JSON",
            "application/json; charset=utf-8",
            r#"{"apikey": "bob-key"}"#,
            true,
            "bob by credentials",
        ),
        (
            "a number is no key",
            "application/json",
            r#"{"apikey": 1}"#,
            true,
            "?",
        ),
        ("no JSON", "application/json", "apikey=alice-key", true, "?"),
        ("a body that was cut", form, "apikey=alice-key", false, "?"),
        ("one that nginx puts on disk", form, &*long, true, "?"),
        (
            "parts",
            "multipart/form-data; boundary=b",
            "apikey=alice-key",
            true,
            "?",
        ),
        ("another type", "text/plain", "apikey=alice-key", true, "?"),
    ] {
        let mut request = written(&format!("POST /body | Content-Type: {content_type}"));
        request.body = Body {
            bytes: Bytes::copy_from_slice(text.as_bytes()),
            total_bytes: u64::try_from(text.len()).expect("a length"),
            complete: is_whole,
            ..Body::default()
        };
        assert_eq!(who(&snapshot, &joined(request, Proxied)), expected, "{case}");
    }
}

/// A header that was not seen may be a credential: neither `anonymous` nor the query decides then.
#[test]
fn a_head_that_is_not_known_whole_proves_no_absence() {
    let snapshot = snapshot(CONFIGURATION, RouterFlavor::TraditionalCompatible);
    let mut request = written("GET /anon");
    request.head = HeadState::Partial;
    assert_eq!(who(&snapshot, &joined(request, Proxied)), "?");
}
