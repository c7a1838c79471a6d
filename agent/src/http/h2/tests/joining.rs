//! Connections that were open before anybody looked.

use super::wire::{Script, block, data, frame, headers};
use super::{ENDS, GET, OK, ONLY, WHOLE, check_from, joining, lines, play};
use crate::capture::event::Direction::{self, Egress, Ingress};
use crate::http::exchange::Leg;
use crate::http::h2::join::{is_server_preface, leg_of_call};

/// Plays a script once, since where calls begin is what it is about.
#[track_caller]
fn check(name: &str, script: &Script, expected: &[&str]) {
    assert_eq!(lines(&play(joining(), &script.moves).0), expected, "{name}");
}

#[test]
fn the_next_request_is_taken_up() {
    let past = data(7, 0, b"the past");
    let now = [headers(9, WHOLE, OK), data(9, ENDS, b"ok")].concat();
    let script = Script::default()
        .answer(past.clone())
        .ask(headers(9, ONLY, GET))
        .answer([data(7, ENDS, b"the past"), now.clone()].concat());
    check_from(
        "between frames, in any pieces",
        &joining,
        &script,
        &|out, http| {
            assert_eq!(lines(out), ["9 GET /a [] -> 200 [ok]"]);
            assert_eq!(http.take_stats().resyncs, 2);
        },
    );
    check(
        "in the middle of a frame",
        &Script::default()
            .answer(&past[3..])
            .ask(headers(9, ONLY, GET))
            .answer(now.clone()),
        &["9 GET /a [] -> 200 [ok]"],
    );
    check(
        "in the middle of a long body of which the rest comes in many calls",
        &Script::default()
            .ask(headers(9, ONLY, GET))
            .answer(vec![b'b'; 16_000])
            .answer(vec![b'b'; 384])
            .answer(now.clone()),
        &["9 GET /a [] -> 200 [ok]"],
    );
    check(
        "in the middle of a head: that one is lost",
        &Script::default()
            .ask(&headers(7, ONLY, GET)[12..])
            .ask(headers(9, ONLY, GET))
            .answer(now),
        &["9 GET /a [] -> 200 [ok]"],
    );
}

#[test]
fn what_was_before_is_the_past() {
    let script = Script::default()
        .answer(headers(7, ONLY, OK))
        .ask(headers(9, ONLY, GET))
        .answer(headers(5, ONLY, OK))
        .answer(headers(9, ONLY, OK));
    check_from(
        "answers to what was asked before",
        &joining,
        &script,
        &|out, http| {
            assert_eq!(lines(out), ["9 GET /a [] -> 200 []"]);
            assert_eq!(http.take_stats().unpaired_responses, 2);
        },
    );
    // `:path` and `:authority` are in the table of before; a new `:path` is known again.
    check(
        "fields that were said before are unknown, those said since are not",
        &Script::default()
            .ask(frame(1, ONLY, 9, b"\x82\x87\xbf\xbe"))
            .ask(frame(1, ONLY, 11, b"\x82\x87\xbf\x44\x02/r"))
            .ask(frame(1, ONLY, 13, b"\x82\x87\xc0\xbe"))
            .answer([9, 11, 13].map(|id| headers(id, ONLY, OK)).concat()),
        &[
            "9 GET ? [] -> 200 []",
            "11 GET /r? [] -> 200 []",
            "13 GET /r? [] -> 200 []",
        ],
    );
    check(
        "trailers of a request of before are no request",
        &Script::default()
            .ask(headers(7, ONLY, &[("x-sum", "1")]))
            .ask(headers(9, ONLY, GET))
            .answer([7, 9].map(|id| headers(id, ONLY, OK)).concat()),
        &["9 GET /a [] -> 200 []"],
    );
    check(
        "an answer of which the status was said before is lost, and only that",
        &Script::default()
            .ask([headers(9, ONLY, GET), headers(11, ONLY, GET)].concat())
            .answer([frame(1, ONLY, 9, b"\xbe"), frame(1, ONLY, 11, b"\x89\xbe")].concat()),
        &["9 GET /a [] -> * lost", "11 GET /a [] -> 204? []"],
    );
}

#[test]
fn a_call_shows_whose_frames_they_are() {
    let request = headers(9, ONLY, GET);
    let answer = headers(9, ONLY, OK);
    // Everything but the status, whose index is the RFC's, refers to what was said before.
    let terse = frame(1, WHOLE, 9, b"\x88\xc0\xc1\xc2");
    let cases: [(&str, Vec<u8>, Direction, Option<Leg>); 10] = [
        (
            "a request that comes in",
            request.clone(),
            Ingress,
            Some(Leg::Downstream),
        ),
        ("one that goes out", request.clone(), Egress, Some(Leg::Upstream)),
        (
            "an answer that goes out",
            answer.clone(),
            Egress,
            Some(Leg::Downstream),
        ),
        ("one that comes in", answer.clone(), Ingress, Some(Leg::Upstream)),
        ("a status alone", terse, Egress, Some(Leg::Downstream)),
        (
            "an answer behind a body",
            [data(7, ENDS, b"x"), answer].concat(),
            Egress,
            Some(Leg::Downstream),
        ),
        ("a body", data(7, ENDS, b"x"), Egress, None),
        (
            "trailers",
            headers(9, ONLY, &[("grpc-status", "0")]),
            Egress,
            None,
        ),
        ("the middle of a frame", request[1..].to_vec(), Ingress, None),
        ("HTTP/1", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Ingress, None),
    ];
    for (name, bytes, direction, expected) in cases {
        assert_eq!(leg_of_call(&bytes, direction), expected, "{name}");
    }
}

// RFC 9113 section 3.4.
#[test]
fn a_server_that_speaks_first() {
    let settings = super::wire::settings(&[(3, 100)]);
    for (name, bytes, expected) in [
        ("SETTINGS", &settings[..], Some(true)),
        ("the start of SETTINGS", &settings[..5], None),
        (
            "an acknowledgement comes later",
            &super::wire::settings_ack(),
            Some(false),
        ),
        ("HEADERS", &frame(1, ONLY, 1, &block(OK)), Some(false)),
        ("text", b"HTTP", Some(false)),
    ] {
        assert_eq!(is_server_preface(bytes), expected, "{name}");
    }
}
