use serde_json::{Value, json};

use super::Latencies;
use crate::capture::event::KernelTime;
use crate::correlate::JoinedExchange;
use crate::message::tests::{exchange, with_upstream};

const fn at(us: u64) -> KernelTime {
    KernelTime(1_000_000_000 + us * 1_000)
}

/// An exchange of which the request moves from 0 to `request_end`, the response from `response.0` to `response.1`, in microseconds.
fn client(request_end: u64, response: (u64, u64), headers: &[(&str, &str)]) -> JoinedExchange {
    let mut joined = exchange("GET", "/a", &[("host", "h")], "", 200, headers, "ok");
    let request = joined.client.request.as_mut().unwrap();
    (request.started, request.ended) = (at(0), at(request_end));
    let got = joined.client.response.as_mut().unwrap();
    (got.started, got.ended) = (at(response.0), at(response.1));
    joined
}

/// Adds an attempt that is sent at `sent` and answered as told, or not at all.
fn attempt(joined: JoinedExchange, sent: u64, answer: Option<(u64, u64)>) -> JoinedExchange {
    let mut joined = with_upstream(joined, answer.map(|_| 200));
    let leg = joined.upstream.last_mut().unwrap();
    let request = leg.request.as_mut().unwrap();
    (request.started, request.ended) = (at(sent), at(sent));
    if let (Some(response), Some((from, to))) = (&mut leg.response, answer) {
        (response.started, response.ended) = (at(from), at(to));
    }
    joined
}

#[track_caller]
fn check(what: &str, joined: &JoinedExchange, expected: Value) {
    let shown = serde_json::to_value(Latencies::new(joined)).unwrap();
    assert_eq!(shown, expected, "{what}");
}

const PROXIED: &[(&str, &str)] = &[
    ("X-Kong-Upstream-Latency", "7"),
    ("X-Kong-Proxy-Latency", "2"),
    ("Via", "1.1 kong/3.9.1"),
];
const OWN: &[(&str, &str)] = &[("X-Kong-Response-Latency", "3"), ("Server", "kong/3.9.1")];

#[test]
fn time_is_split_where_the_legs_show_it() {
    check(
        "one attempt; what the legs show goes before what the headers say",
        &attempt(client(100, (950, 1400), PROXIED), 350, Some((900, 1200))),
        json!({
            "request": 1.4, "kong": 0.35, "upstream": 0.55,
            "request_receive": 0.1, "upstream_receive": 0.3, "response_send": 0.45,
            "gateway": 0.3, // 0.25 before, 0.05 after
        }),
    );
    check(
        "failed attempts are Kong's time, and told apart",
        &attempt(
            attempt(attempt(client(0, (950, 950), PROXIED), 100, None), 300, None),
            600,
            Some((900, 900)),
        ),
        json!({
            "request": 0.95, "kong": 0.6, "upstream": 0.3, "retries": 0.5,
            "request_receive": 0.0, "upstream_receive": 0.0, "response_send": 0.0, "gateway": 0.15,
        }),
    );
    check(
        "a body that is passed on while it comes: the request was at hand from its first byte",
        &attempt(client(500, (900, 900), &[]), 50, Some((880, 890))),
        json!({
            "request": 0.9, "kong": 0.05, "upstream": 0.83,
            "request_receive": 0.5, "upstream_receive": 0.01, "response_send": 0.0, "gateway": 0.07,
        }),
    );
    check(
        "no attempt was answered: Kong's word for the wait",
        &attempt(client(0, (9000, 9000), PROXIED), 2000, None),
        json!({
            "request": 9.0, "kong": 2.0, "upstream": 7.0, "request_receive": 0.0, "response_send": 0.0,
        }),
    );
}

#[test]
fn kongs_headers_stand_in_for_a_leg_that_was_not_seen() {
    check(
        "proxied",
        &client(0, (9000, 9500), PROXIED),
        json!({"request": 9.5, "kong": 2.0, "upstream": 7.0, "request_receive": 0.0, "response_send": 0.5}),
    );
    check(
        "Kong's own answer",
        &client(1000, (4000, 4000), OWN),
        json!({
            "request": 4.0, "kong": 3.0, "request_receive": 1.0, "response_send": 0.0, "gateway": 3.0,
        }),
    );
    check(
        "Kong's own answer, of a version that has no such header",
        &client(1000, (4000, 4000), &[("Server", "kong/0.13.1")]),
        json!({
            "request": 4.0, "kong": 4.0, "request_receive": 1.0, "response_send": 0.0, "gateway": 3.0,
        }),
    );
    check(
        "nothing tells",
        &client(0, (10, 20), &[]),
        json!({"request": 0.02, "request_receive": 0.0, "response_send": 0.01}),
    );
    for bad in ["", "-1", "1.5", "99999999999999999999", "x"] {
        check(
            "a header that is no number",
            &client(0, (10, 20), &[("X-Kong-Upstream-Latency", bad)]),
            json!({"request": 0.02, "request_receive": 0.0, "response_send": 0.01}),
        );
    }
}

#[test]
fn what_is_missing_or_out_of_order_is_absent_or_zero() {
    let mut gone = attempt(client(0, (9, 9), &[]), 350, Some((900, 1200)));
    gone.client.response = None;
    check(
        "the client was gone",
        &gone,
        json!({"kong": 0.35, "upstream": 0.55, "request_receive": 0.0, "upstream_receive": 0.3}),
    );
    let mut headless = client(0, (10, 20), &[]);
    headless.client.request = None;
    check("no request head", &headless, json!({"response_send": 0.01}));
    // Clocks of two processors, or a response that begins before its request has ended.
    let mut reversed = attempt(client(900, (10, 5), &[]), 800, Some((700, 600)));
    reversed.client.request.as_mut().unwrap().started = at(850);
    check(
        "out of order",
        &reversed,
        json!({
            "request": 0.0, "kong": 0.0, "upstream": 0.0,
            "request_receive": 0.05, "upstream_receive": 0.0, "response_send": 0.0, "gateway": 0.0,
        }),
    );
}
