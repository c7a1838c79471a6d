//! Cases of HTTP/2 on one connection. Each is a script of what moved, and the exchanges that it must give.

mod wire;

use bytes::Bytes;
use kongtap_common::record::ConnId;
use proptest::prelude::*;

use self::wire::{PREFACE, Script, block, continuation, data, frame, headers, padded, reset, settings};
use super::Http2;
use super::join::leg_of_call;
use crate::capture::event::{Direction, KernelTime};
use crate::http::exchange::{Body, ConnInfo, Exchange, HeadState, Leg, Outcome, Peer};
use crate::http::h1::Side;
use crate::http::h1::limits::HttpLimits;
use crate::http::headers::Headers;

const REQ: Side = Side::Request;
const RES: Side = Side::Response;

/// One thing that happens; each takes a nanosecond.
#[derive(Clone, Debug)]
enum Move {
    Data(Side, Vec<u8>),
    Hole(Side, u64),
    End(Side),
    Wait(u64),
    Close,
}

fn conn() -> ConnInfo {
    ConnInfo {
        id: ConnId {
            tgid: 1,
            fd: 2,
            generation_ns: 3,
        },
        local: "127.0.0.1:8443".parse().unwrap(),
        remote: "127.0.0.1:4000".parse().unwrap(),
        tls: true,
    }
}

fn play(mut http: Http2, moves: &[Move]) -> (Vec<Exchange>, Http2) {
    let mut out = Vec::new();
    let mut now = 0;
    for step in moves {
        now += 1;
        let at = KernelTime(now);
        match step {
            Move::Data(side, bytes) => http.data(*side, Bytes::copy_from_slice(bytes), at, &mut out),
            Move::Hole(side, hole) => http.hole(*side, *hole, at, &mut out),
            Move::End(side) => http.end(*side, &mut out),
            Move::Wait(ns) => now += ns,
            Move::Close => http.close(&mut out),
        }
    }
    (out, http)
}

fn fresh(limits: HttpLimits) -> Http2 {
    Http2::new(conn(), Leg::Downstream, limits)
}

/// An exchange in one line: `STREAM METHOD TARGET [body] {trailers} -> STATUS [body] {trailers} OUTCOME`; `*` for what is missing, `~`
/// after a body that is not whole, `?` after a head of which not all is known.
fn line(exchange: &Exchange) -> String {
    let body = |body: &Body, trailers: &Headers| {
        let mark = if body.is_whole() { "" } else { "~" };
        let mut text = format!("[{}{mark}]", body.bytes.escape_ascii());
        for trailer in &trailers.0 {
            text.push_str(&format!(
                " {{{}: {}}}",
                trailer.name.escape_ascii(),
                trailer.value.escape_ascii()
            ));
        }
        text
    };
    let known = |state| if state == HeadState::Whole { "" } else { "?" };
    let request = exchange.request.as_ref().map_or_else(
        || "*".to_owned(),
        |request| {
            format!(
                "{} {}{} {}",
                request.method.escape_ascii(),
                request.target.escape_ascii(),
                known(request.head),
                body(&request.body, &request.trailers)
            )
        },
    );
    let response = exchange.response.as_ref().map_or_else(
        || "*".to_owned(),
        |response| {
            format!(
                "{}{} {}",
                response.status,
                known(response.head),
                body(&response.body, &response.trailers)
            )
        },
    );
    let outcome = match exchange.outcome {
        Outcome::Complete => "",
        Outcome::ResponseAbsent => " absent",
        Outcome::ResponseCut => " cut",
        Outcome::HeadLost => " lost",
        Outcome::Upgraded => " upgraded",
    };
    let reset = match exchange.reset {
        None => String::new(),
        Some(reset) => {
            let by = match reset.by {
                Peer::Client => "client",
                Peer::Server => "server",
            };
            format!(" reset by {by} {}", reset.code)
        }
    };
    format!(
        "{} {request} -> {response}{outcome}{reset}",
        exchange.stream.unwrap()
    )
}

fn lines(exchanges: &[Exchange]) -> Vec<String> {
    exchanges.iter().map(line).collect()
}

/// Plays a script from the start of a connection.
#[track_caller]
fn check(script: &Script, expected: &[&str]) {
    let (out, _) = play(fresh(HttpLimits::default()), &script.moves);
    assert_eq!(lines(&out), expected);
}

/// The start of every connection.
fn start() -> Script {
    Script::default()
        .data(REQ, PREFACE)
        .data(REQ, settings(&[]))
        .data(RES, settings(&[]))
        .data(RES, frame(4, 1, 0, b""))
}

const GET: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "x"),
    (":path", "/a"),
];
const POST: &[(&str, &str)] = &[
    (":method", "POST"),
    (":scheme", "https"),
    (":authority", "x"),
    (":path", "/p"),
];
const OK: &[(&str, &str)] = &[(":status", "200"), ("content-type", "text/plain")];
const ENDS: u8 = 0x1;
const WHOLE: u8 = 0x4;

#[test]
fn a_request_and_its_response() {
    let script = start()
        .data(REQ, headers(1, ENDS | WHOLE, GET))
        .data(RES, headers(1, WHOLE, OK))
        .data(RES, data(1, 0, b"o"))
        .data(RES, data(1, ENDS, b"k"));
    check(&script, &["1 GET /a [] -> 200 [ok]"]);
}

#[test]
fn fields_are_those_that_everything_behind_the_gateway_sees() {
    let fields = [
        GET,
        &[("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("x-a", "2")],
    ]
    .concat();
    let script = start()
        .data(REQ, headers(1, ENDS | WHOLE, &fields))
        .data(RES, headers(1, ENDS | WHOLE, &[(":status", "204")]));
    let (out, _) = play(fresh(HttpLimits::default()), &script.moves);
    let request = out[0].request.as_ref().unwrap();
    let fields: Vec<String> = request
        .headers
        .0
        .iter()
        .map(|field| format!("{}: {}", field.name.escape_ascii(), field.value.escape_ascii()))
        .collect();
    assert_eq!(fields, ["host: x", "cookie: a=1; b=2", "x-a: 1", "x-a: 2"]);
    assert_eq!(
        (out[0].leg, request.started, request.ended),
        (Leg::Downstream, KernelTime(5), KernelTime(5))
    );
}

#[test]
fn interleaved_streams_are_told_apart() {
    let script = start()
        .data(
            REQ,
            [
                headers(1, WHOLE, POST),
                headers(3, WHOLE, POST),
                data(3, 0, b"three"),
            ]
            .concat(),
        )
        .data(
            REQ,
            [data(1, 0, b"o"), data(3, ENDS, b"!"), data(1, ENDS, b"ne")].concat(),
        )
        .data(
            RES,
            [
                headers(3, WHOLE, OK),
                headers(1, WHOLE, OK),
                data(1, ENDS, b"1"),
                data(3, ENDS, b"3"),
            ]
            .concat(),
        );
    check(
        &script,
        &["1 POST /p [one] -> 200 [1]", "3 POST /p [three!] -> 200 [3]"],
    );
}

#[test]
fn padding_and_priorities_are_no_content() {
    let mut with_priority = b"\x80\0\0\0\x10".to_vec();
    with_priority.extend(block(POST));
    let script = start()
        .data(REQ, padded(1, 1, WHOLE | 0x20, &with_priority, 7))
        .data(REQ, padded(0, 1, ENDS, b"body", 200))
        .data(RES, padded(1, 1, WHOLE, &block(OK), 0))
        .data(RES, padded(0, 1, ENDS, b"", 9));
    check(&script, &["1 POST /p [body] -> 200 []"]);
}

#[test]
fn header_blocks_go_on_in_continuations() {
    let request = block(GET);
    let (one, rest) = request.split_at(3);
    let (two, three) = rest.split_at(1);
    let script = start()
        .data(
            REQ,
            [
                frame(1, ENDS, 1, one),
                continuation(1, 0, two),
                continuation(1, WHOLE, three),
            ]
            .concat(),
        )
        .data(
            RES,
            [frame(1, ENDS, 1, b""), continuation(1, WHOLE, &block(OK))].concat(),
        );
    check(&script, &["1 GET /a [] -> 200 []"]);
}

#[test]
fn trailers_and_interim_answers() {
    let script = start()
        .data(REQ, headers(1, WHOLE, POST))
        .data(RES, headers(1, WHOLE, &[(":status", "100")]))
        .data(RES, headers(1, WHOLE, &[(":status", "103"), ("link", "</a>")]))
        .data(REQ, data(1, 0, b"in"))
        .data(REQ, headers(1, ENDS | WHOLE, &[("x-sum", "1")]))
        .data(RES, headers(1, WHOLE, OK))
        .data(RES, data(1, 0, b"out"))
        .data(
            RES,
            headers(1, ENDS | WHOLE, &[("grpc-status", "0"), ("grpc-message", "")]),
        );
    check(
        &script,
        &["1 POST /p [in] {x-sum: 1} -> 200 [out] {grpc-status: 0} {grpc-message: }"],
    );
}

#[test]
fn a_grpc_failure_is_an_answer_of_one_block() {
    let fields = [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "12"),
    ];
    let script = start()
        .data(
            REQ,
            [headers(1, WHOLE, POST), data(1, ENDS, b"\0\0\0\0\0")].concat(),
        )
        .data(RES, headers(1, ENDS | WHOLE, &fields));
    check(&script, &["1 POST /p [\\x00\\x00\\x00\\x00\\x00] -> 200 []"]);
}

#[test]
fn frames_that_say_nothing_are_passed_over() {
    let script = start()
        .data(
            REQ,
            [frame(6, 0, 0, b"pingpong"), frame(8, 0, 0, &[0, 1, 0, 0])].concat(),
        )
        .data(
            REQ,
            [
                headers(1, ENDS | WHOLE, GET),
                frame(2, 0, 1, &[0; 5]),
                frame(0xfe, 0xff, 1, b"extension"),
            ]
            .concat(),
        )
        .data(
            RES,
            [frame(8, 0, 1, &[0, 1, 0, 0]), frame(0xa, 0, 0, b"alt-svc")].concat(),
        )
        .data(RES, headers(1, ENDS | WHOLE, OK));
    check(&script, &["1 GET /a [] -> 200 []"]);
}

#[test]
fn broken_off_streams_say_by_whom() {
    let script = start()
        .data(REQ, headers(1, ENDS | WHOLE, GET))
        .data(REQ, headers(3, ENDS | WHOLE, GET))
        .data(REQ, headers(5, WHOLE, POST))
        .data(REQ, reset(1, 8))
        .data(
            RES,
            [headers(3, WHOLE, OK), data(3, 0, b"par"), reset(3, 2)].concat(),
        )
        // An answer that came whole before the request's end, which is not wanted any more.
        .data(RES, [headers(5, ENDS | WHOLE, OK), reset(5, 0)].concat())
        .data(REQ, data(5, 0, b"late"));
    check(
        &script,
        &[
            "1 GET /a [] -> * absent reset by client 8",
            "3 GET /a [] -> 200 [par~] cut reset by server 2",
            "5 POST /p [~] -> 200 [] reset by server 0",
        ],
    );
}

#[test]
fn streams_that_a_goaway_refuses_get_no_answer() {
    let script = start()
        .data(
            REQ,
            [headers(1, ENDS | WHOLE, GET), headers(3, ENDS | WHOLE, GET)].concat(),
        )
        .data(RES, frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]))
        .data(RES, headers(1, ENDS | WHOLE, OK));
    check(&script, &["3 GET /a [] -> * absent", "1 GET /a [] -> 200 []"]);
}

#[test]
fn ends_bring_out_what_is_left() {
    let script = start()
        .data(
            REQ,
            [
                headers(1, ENDS | WHOLE, GET),
                headers(3, WHOLE, POST),
                headers(5, WHOLE, POST),
            ]
            .concat(),
        )
        .data(
            RES,
            [headers(1, WHOLE, OK), headers(3, ENDS | WHOLE, OK)].concat(),
        )
        .then(Move::End(REQ))
        .then(Move::Close);
    check(
        &script,
        &[
            "3 POST /p [~] -> 200 []",
            "1 GET /a [] -> 200 [~] cut",
            "5 POST /p [~] -> * absent",
        ],
    );
}

#[test]
fn tunnels_end_with_their_head() {
    let connect = [(":method", "CONNECT"), (":authority", "db:5432")];
    let script = start()
        .data(REQ, headers(1, WHOLE, &connect))
        .data(RES, headers(1, WHOLE, OK))
        .data(REQ, data(1, ENDS, b"opaque"));
    check(&script, &["1 CONNECT db:5432 [~] -> 200 [~] upgraded"]);
}

#[test]
fn pushes_are_decoded_and_left_alone() {
    // The promise inserts a field that the answer refers to.
    let mut promise = vec![0, 0, 0, 2];
    promise.extend(b"\x82\x40\x01a\x01b");
    let script = start()
        .data(REQ, headers(1, ENDS | WHOLE, GET))
        .data(
            RES,
            [
                frame(5, WHOLE, 1, &promise),
                frame(1, ENDS | WHOLE, 1, b"\x88\xbe"),
            ]
            .concat(),
        )
        .data(RES, [headers(2, WHOLE, OK), data(2, ENDS, b"pushed")].concat());
    let (out, mut http) = play(fresh(HttpLimits::default()), &script.moves);
    assert_eq!(lines(&out), ["1 GET /a [] -> 200 []"]);
    assert_eq!(out[0].response.as_ref().unwrap().headers.text("a"), Some("b"));
    assert_eq!(http.take_stats().pushes, 1);
}

#[test]
fn payloads_are_as_long_as_the_other_side_allows() {
    let long = vec![b'x'; 20_000];
    let script = start()
        .data(REQ, settings(&[(5, 32_768)]))
        .data(REQ, headers(1, ENDS | WHOLE, GET))
        .data(RES, [headers(1, WHOLE, OK), data(1, ENDS, &long)].concat());
    let (out, _) = play(fresh(HttpLimits::default()), &script.moves);
    assert!(out[0].response.as_ref().unwrap().body.is_whole());
    // The server did not allow it.
    let script = start()
        .data(REQ, [headers(1, WHOLE, POST), data(1, ENDS, &long)].concat())
        .data(RES, headers(1, ENDS | WHOLE, OK));
    let (out, mut http) = play(fresh(HttpLimits::default()), &script.moves);
    assert_eq!(lines(&out), ["1 POST /p [~] -> 200 []"]);
    assert_eq!(http.take_stats().lost_framings, 1);
}

// Holes.

#[test]
fn a_hole_in_a_body_costs_what_it_holds() {
    let script = start()
        .data(REQ, headers(1, ENDS | WHOLE, GET))
        .data(RES, headers(1, WHOLE, OK))
        .data(RES, &data(1, ENDS, b"0123456789")[..9 + 4])
        .then(Move::Hole(RES, 6))
        .data(REQ, headers(3, ENDS | WHOLE, GET))
        .data(RES, headers(3, ENDS | WHOLE, OK));
    let (out, mut http) = play(fresh(HttpLimits::default()), &script.moves);
    assert_eq!(
        lines(&out),
        ["1 GET /a [] -> 200 [0123~]", "3 GET /a [] -> 200 []"]
    );
    let body = &out[0].response.as_ref().unwrap().body;
    assert_eq!(
        (
            body.total_bytes,
            body.hole_bytes,
            body.has_open_hole,
            body.complete
        ),
        (10, 6, false, true)
    );
    assert_eq!(http.take_stats().lost_framings, 0);
}

#[test]
fn a_hole_in_a_head_costs_what_follows_in_it() {
    let script = start()
        .data(REQ, &headers(1, ENDS | WHOLE, GET)[..9 + 2])
        .then(Move::Hole(REQ, u64::try_from(block(GET).len() - 2).unwrap()))
        .data(RES, headers(1, ENDS | WHOLE, OK))
        .data(REQ, headers(3, ENDS | WHOLE, GET))
        .data(RES, headers(3, ENDS | WHOLE, OK));
    check(&script, &["1 GET ? [] -> 200 []", "3 GET /a [] -> 200 []"]);
}

#[test]
fn a_hole_over_a_frame_header_costs_the_place_until_the_next_call() {
    let lost = data(1, ENDS, b"89");
    let script = start()
        .data(
            REQ,
            [headers(1, ENDS | WHOLE, GET), headers(3, ENDS | WHOLE, GET)].concat(),
        )
        .data(
            RES,
            [headers(1, WHOLE, OK), headers(3, WHOLE, OK), data(1, 0, b"0123")].concat(),
        )
        .data(RES, &data(1, 0, b"4567")[..9 + 2])
        .then(Move::Hole(RES, 2 + u64::try_from(lost.len()).unwrap()))
        .data(RES, "what is no frame, such as the rest of one")
        .data(RES, data(3, ENDS, b"3"))
        .data(REQ, headers(5, ENDS | WHOLE, GET))
        .data(RES, headers(5, ENDS | WHOLE, OK))
        .then(Move::Wait(20_000_000_000))
        .data(REQ, headers(7, ENDS | WHOLE, GET));
    let (out, mut http) = play(fresh(HttpLimits::default()), &script.moves);
    // Stream 3 may have had a part in the hole too, and stream 1 never ends.
    assert_eq!(
        lines(&out),
        [
            "3 GET /a [] -> 200 [~]",
            "5 GET /a [] -> 200 []",
            "1 GET /a [] -> 200 [012345~] cut",
        ]
    );
    let body = &out[0].response.as_ref().unwrap().body;
    assert_eq!(
        (&body.bytes[..], body.has_open_hole, body.complete),
        (&b""[..], true, true)
    );
    let stats = http.take_stats();
    assert_eq!(
        (stats.lost_framings, stats.resyncs, stats.given_up_streams),
        (1, 1, 1)
    );
    assert_eq!(stats.skipped_bytes, 11 + 41);
}

#[test]
fn a_lost_answer_is_not_an_absent_one() {
    let script = start()
        .data(
            REQ,
            [headers(1, ENDS | WHOLE, GET), headers(3, ENDS | WHOLE, GET)].concat(),
        )
        .then(Move::Hole(RES, 100))
        .data(RES, headers(3, ENDS | WHOLE, OK))
        .then(Move::Close);
    check(&script, &["3 GET /a [] -> 200 []", "1 GET /a [] -> * lost"]);
}

#[test]
fn a_lost_request_shows_by_its_answer() {
    let lost = headers(3, ENDS | WHOLE, GET);
    let script = start()
        .data(REQ, headers(1, ENDS | WHOLE, GET))
        .data(RES, headers(1, ENDS | WHOLE, OK))
        .then(Move::Hole(REQ, u64::try_from(lost.len()).unwrap()))
        .data(REQ, headers(5, ENDS | WHOLE, GET))
        .data(
            RES,
            [headers(3, ENDS | WHOLE, OK), headers(5, ENDS | WHOLE, OK)].concat(),
        );
    check(
        &script,
        &[
            "1 GET /a [] -> 200 []",
            "3 * -> 200 [] lost",
            "5 GET /a [] -> 200 []",
        ],
    );
}

#[test]
fn after_a_lost_head_unknown_fields_are_marked() {
    // The first request inserts its path and a field, the second refers to both.
    let first = b"\x82\x87\x41\x01x\x44\x02/q\x40\x01a\x01b";
    let second = b"\x82\x87\xc0\xbf\xbe";
    for is_lost in [false, true] {
        let first = frame(1, ENDS | WHOLE, 1, first);
        let script = if is_lost {
            start().then(Move::Hole(REQ, u64::try_from(first.len()).unwrap()))
        } else {
            start().data(REQ, first)
        };
        let script = script
            .data(REQ, frame(1, ENDS | WHOLE, 3, second))
            .data(RES, headers(3, ENDS | WHOLE, OK));
        let (out, mut http) = play(fresh(HttpLimits::default()), &script.moves);
        let request = out[0].request.as_ref().unwrap();
        let (expected, unknown) = if is_lost {
            (["3 GET ? [] -> 200 []"], 3)
        } else {
            assert_eq!(request.headers.text("a"), Some("b"));
            (["3 GET /q [] -> 200 []"], 0)
        };
        assert_eq!(lines(&out), expected);
        assert_eq!(http.take_stats().unknown_fields, unknown);
    }
}

#[test]
fn a_hole_in_the_settings_or_the_preface_costs_nothing() {
    let script = Script::default()
        .then(Move::Hole(REQ, 24))
        .data(REQ, &settings(&[(1, 0)])[..10])
        .then(Move::Hole(REQ, 5))
        .data(REQ, headers(1, ENDS | WHOLE, GET))
        .data(RES, [settings(&[]), headers(1, ENDS | WHOLE, OK)].concat());
    check(&script, &["1 GET /a [] -> 200 []"]);
}

#[test]
fn a_hole_over_the_padding_length_leaves_the_body_open() {
    let script = start()
        .data(REQ, headers(1, ENDS | WHOLE, GET))
        .data(RES, headers(1, WHOLE, OK))
        .data(RES, &padded(0, 1, ENDS, b"body", 3)[..9])
        .then(Move::Hole(RES, 1))
        .data(RES, "bodyxxx");
    check(&script, &["1 GET /a [] -> 200 [~]"]);
}

// Joining in the middle.

#[test]
fn whoever_joins_takes_up_the_next_request() {
    let script = Script::default()
        .data(RES, data(7, 0, b"the past"))
        .data(REQ, headers(9, ENDS | WHOLE, GET))
        .data(
            RES,
            [
                data(7, ENDS, b"the past"),
                headers(9, WHOLE, OK),
                data(9, ENDS, b"ok"),
            ]
            .concat(),
        );
    let http = Http2::joining(conn(), Leg::Downstream, HttpLimits::default());
    let (out, mut http) = play(http, &script.moves);
    assert_eq!(lines(&out), ["9 GET /a [] -> 200 [ok]"]);
    assert_eq!(http.take_stats().resyncs, 2);
}

#[test]
fn answers_to_what_was_asked_before_are_the_past() {
    let script = Script::default()
        .data(RES, headers(7, ENDS | WHOLE, OK))
        .data(REQ, headers(9, ENDS | WHOLE, GET))
        .data(RES, headers(5, ENDS | WHOLE, OK))
        .data(RES, headers(9, ENDS | WHOLE, OK));
    let http = Http2::joining(conn(), Leg::Downstream, HttpLimits::default());
    assert_eq!(lines(&play(http, &script.moves).0), ["9 GET /a [] -> 200 []"]);
}

#[test]
fn a_call_shows_whose_frames_they_are() {
    use Direction::{Egress, Ingress};
    let request = headers(9, ENDS | WHOLE, GET);
    let answer = headers(9, ENDS | WHOLE, OK);
    // Everything but the status, whose index is the RFC's, refers to what was said before.
    let terse = frame(1, WHOLE, 9, b"\x88\xc0\xc1\xc2");
    for (bytes, direction, expected) in [
        (request.clone(), Ingress, Some(Leg::Downstream)),
        (request.clone(), Egress, Some(Leg::Upstream)),
        (answer.clone(), Egress, Some(Leg::Downstream)),
        (answer.clone(), Ingress, Some(Leg::Upstream)),
        (terse, Egress, Some(Leg::Downstream)),
        (
            [data(7, ENDS, b"x"), answer].concat(),
            Egress,
            Some(Leg::Downstream),
        ),
        (data(7, ENDS, b"x"), Egress, None),
        (headers(9, WHOLE | ENDS, &[("grpc-status", "0")]), Egress, None),
        (request[1..].to_vec(), Ingress, None),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Ingress, None),
    ] {
        assert_eq!(
            leg_of_call(&bytes, direction),
            expected,
            "{}",
            bytes.escape_ascii()
        );
    }
}

// Bounds.

#[test]
fn streams_are_bounded() {
    let mut limits = HttpLimits::default();
    limits.h2.streams = 2;
    let mut script = start();
    for id in [1, 3, 5, 7] {
        script = script.data(REQ, headers(id, ENDS | WHOLE, GET));
    }
    let (out, mut http) = play(fresh(limits), &script.moves);
    assert_eq!(
        lines(&out),
        ["1 GET /a [] -> * absent", "3 GET /a [] -> * absent"]
    );
    assert_eq!(http.take_stats().given_up_streams, 2);
}

#[test]
fn bodies_and_heads_are_bounded() {
    let limits = HttpLimits {
        body_bytes: 4,
        head_bytes: 400,
        fields: 6,
        ..HttpLimits::default()
    };
    let long = "v".repeat(500);
    let many = [GET, &[("a", "1"), ("b", "2"), ("c", "3")]].concat();
    let script = start()
        .data(REQ, headers(1, ENDS | WHOLE, &[GET, &[("long", &long)]].concat()))
        .data(REQ, headers(3, ENDS | WHOLE, &many))
        .data(
            REQ,
            [
                frame(1, ENDS, 5, &block(GET)),
                continuation(5, 0, &[0; 300]),
                continuation(5, WHOLE, &[0; 300]),
            ]
            .concat(),
        )
        .data(REQ, headers(7, ENDS | WHOLE, GET))
        .data(RES, [1, 3, 5, 7].map(|id| headers(id, WHOLE, OK)).concat())
        .data(RES, [1, 3, 5, 7].map(|id| data(id, ENDS, b"012345")).concat());
    let (out, _) = play(fresh(limits), &script.moves);
    assert_eq!(
        lines(&out),
        [
            "1 GET /a? [] -> 200 [0123~]",
            "3 GET /a? [] -> 200 [0123~]",
            "5 GET /a? [] -> 200 [0123~]",
            "7 GET /a [] -> 200 [0123~]",
        ]
    );
    assert_eq!(out[0].response.as_ref().unwrap().body.total_bytes, 6);
}

/// A conversation with everything in it, as the bytes of both directions in the order in which they moved.
fn conversation() -> Vec<(Side, Vec<u8>)> {
    let mut with_priority = b"\0\0\0\0\x10".to_vec();
    with_priority.extend(block(GET));
    vec![
        (
            REQ,
            [PREFACE.to_vec(), settings(&[(1, 4096), (5, 20_000)])].concat(),
        ),
        (RES, [settings(&[(3, 128)]), frame(4, 1, 0, b"")].concat()),
        (
            REQ,
            [
                frame(4, 1, 0, b""),
                frame(1, ENDS | WHOLE | 0x20, 1, &with_priority),
            ]
            .concat(),
        ),
        (
            REQ,
            [
                headers(3, WHOLE, POST),
                padded(0, 3, 0, b"one ", 5),
                data(3, ENDS, b"two"),
            ]
            .concat(),
        ),
        (
            RES,
            [
                headers(3, WHOLE, &[(":status", "100")]),
                headers(1, WHOLE, OK),
                data(1, 0, &[b'y'; 300]),
            ]
            .concat(),
        ),
        (
            REQ,
            frame(1, ENDS | WHOLE, 5, b"\x82\x87\x41\x01x\x44\x02/q\x40\x01a\x01b"),
        ),
        (
            RES,
            [headers(3, WHOLE, OK), data(1, ENDS, b"end"), data(3, 0, b"x")].concat(),
        ),
        (
            REQ,
            [
                frame(1, ENDS, 7, b"\x82\x87\xc0"),
                continuation(7, WHOLE, b"\xbf\xbe"),
                frame(6, 0, 0, &[7; 8]),
            ]
            .concat(),
        ),
        (
            RES,
            [
                headers(3, ENDS | WHOLE, &[("grpc-status", "0")]),
                headers(5, ENDS | WHOLE, OK),
            ]
            .concat(),
        ),
        (RES, [headers(7, WHOLE, OK), reset(7, 2)].concat()),
    ]
}

fn without_times(mut exchanges: Vec<Exchange>) -> Vec<Exchange> {
    exchanges.sort_by_key(|exchange| exchange.stream);
    for exchange in &mut exchanges {
        if let Some(request) = &mut exchange.request {
            (request.started, request.ended) = (KernelTime(0), KernelTime(0));
        }
        if let Some(response) = &mut exchange.response {
            (response.started, response.ended) = (KernelTime(0), KernelTime(0));
        }
    }
    exchanges
}

fn whole_conversation() -> Vec<Exchange> {
    let moves: Vec<Move> = conversation()
        .into_iter()
        .map(|(side, bytes)| Move::Data(side, bytes))
        .collect();
    let (out, mut http) = play(fresh(HttpLimits::default()), &moves);
    assert_eq!(http.take_stats().bad_heads, 0);
    without_times(out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// However the bytes are cut, the exchanges are the same.
    #[test]
    fn any_cut_gives_the_same_exchanges(cuts in prop::collection::vec(1..40usize, 1..40)) {
        let mut cut = cuts.iter().cycle();
        let mut moves = Vec::new();
        for (side, bytes) in conversation() {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                moves.push(Move::Data(side, piece.to_vec()));
                rest = after;
            }
        }
        let (out, _) = play(fresh(HttpLimits::default()), &moves);
        prop_assert_eq!(without_times(out), whole_conversation());
    }

    /// Whatever is lost, nothing is invented: what an exchange has is a part of what it was, and one that claims to be whole is.
    #[test]
    fn holes_take_and_never_give(
        cuts in prop::collection::vec((1..80usize, 0..8u8), 1..60),
        joins in any::<bool>(),
    ) {
        let mut cut = cuts.iter().cycle();
        let mut moves = Vec::new();
        for (side, bytes) in conversation() {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (length, fate) = cut.next().unwrap();
                let (piece, after) = rest.split_at((*length).min(rest.len()));
                moves.push(if *fate == 0 {
                    Move::Hole(side, u64::try_from(piece.len()).unwrap())
                } else {
                    Move::Data(side, piece.to_vec())
                });
                rest = after;
            }
        }
        moves.push(Move::Close);
        let http = if joins {
            Http2::joining(conn(), Leg::Downstream, HttpLimits::default())
        } else {
            fresh(HttpLimits::default())
        };
        let (out, _) = play(http, &moves);
        let truth = whole_conversation();
        for exchange in &out {
            let Some(whole) = truth.iter().find(|whole| whole.stream == exchange.stream) else {
                return Err(TestCaseError::fail(format!("invented: {}", line(exchange))));
            };
            if let (Some(seen), Some(was)) = (&exchange.request, &whole.request) {
                is_part(&seen.body, &was.body)?;
                are_part(&seen.headers, &was.headers, seen.head)?;
                are_part(&seen.trailers, &was.trailers, HeadState::Partial)?;
                prop_assert!(seen.method.is_empty() || seen.method == was.method);
                prop_assert!(seen.target.is_empty() || seen.target == was.target);
            }
            if let (Some(seen), Some(was)) = (&exchange.response, &whole.response) {
                prop_assert_eq!(seen.status, was.status);
                is_part(&seen.body, &was.body)?;
                are_part(&seen.headers, &was.headers, seen.head)?;
                are_part(&seen.trailers, &was.trailers, HeadState::Partial)?;
            }
        }
    }

    /// No bytes make it panic.
    #[test]
    fn any_bytes_are_taken(
        moves in prop::collection::vec((any::<bool>(), prop::collection::vec(0..12u8, 0..60), 0..20u64), 0..40),
        joins in any::<bool>(),
    ) {
        let http = if joins {
            Http2::joining(conn(), Leg::Upstream, HttpLimits::default())
        } else {
            fresh(HttpLimits::default())
        };
        let moves: Vec<Move> = moves
            .into_iter()
            .flat_map(|(asks, bytes, hole)| {
                let side = if asks { REQ } else { RES };
                let hole = (hole < 3).then_some(Move::Hole(side, hole));
                [Some(Move::Data(side, bytes)), hole].into_iter().flatten()
            })
            .collect();
        let (out, _) = play(http, &moves);
        prop_assert!(out.len() <= moves.len());
    }
}

fn is_part(seen: &Body, was: &Body) -> Result<(), TestCaseError> {
    prop_assert!(was.bytes.starts_with(&seen.bytes));
    prop_assert!(seen.total_bytes <= was.total_bytes);
    prop_assert!(
        !seen.is_whole() || seen.bytes == was.bytes,
        "{:?} claims to be whole",
        seen
    );
    Ok(())
}

fn are_part(seen: &Headers, was: &Headers, state: HeadState) -> Result<(), TestCaseError> {
    for header in &seen.0 {
        prop_assert!(was.0.contains(header), "{:?} in {:?}", header, was);
    }
    prop_assert!(state != HeadState::Whole || seen == was);
    Ok(())
}
