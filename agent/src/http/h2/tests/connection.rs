//! What concerns the connection as a whole: preface, SETTINGS, PING, GOAWAY, PUSH_PROMISE, extensions.

use super::wire::{
    PREFACE, Script, continuation, data, frame, goaway, headers, padded, settings, settings_ack,
};
use super::{
    ENDS, GET, OK, ONLY, POST, REQ, RES, WHOLE, check, check_calls, check_from, fresh, lines, start,
};
use crate::http::h1::limits::HttpLimits;

const GOT: &[&str] = &["1 GET /a [] -> 200 []"];
/// SETTINGS_MAX_FRAME_SIZE.
const MOST: u16 = 5;

fn asked(script: Script) -> Script {
    script.ask(headers(1, ONLY, GET))
}

fn answered(script: Script) -> Script {
    script.answer(headers(1, ONLY, OK))
}

// RFC 9113 section 3.4.
#[test]
fn prefaces() {
    check("both prefaces, then a request", &answered(asked(start())), GOT);
    check(
        "a request right behind the preface, before the server has said anything",
        &Script::default()
            .ask([PREFACE, &settings(&[]), &headers(1, ONLY, GET)].concat())
            .answer([settings(&[]), settings_ack(), headers(1, ONLY, OK)].concat()),
        GOT,
    );
    check(
        "a server whose SETTINGS come before the client's preface",
        &answered(
            Script::default()
                .answer(settings(&[(3, 128)]))
                .ask([PREFACE, &settings(&[]), &headers(1, ONLY, GET)].concat()),
        ),
        GOT,
    );
    check(
        "prior knowledge over plain TCP looks the same, with a window update behind the preface as curl sends it",
        &answered(
            Script::default()
                .ask(
                    [
                        PREFACE,
                        &settings(&[(3, 100), (4, 10_485_760), (2, 0)]),
                        &frame(8, 0, 0, &1_048_510_465_u32.to_be_bytes()),
                        &headers(1, ONLY, GET),
                    ]
                    .concat(),
                )
                .answer(settings(&[])),
        ),
        GOT,
    );
}

// RFC 9113 section 6.5.
#[test]
fn settings_that_say_nothing_here() {
    check(
        "unknown settings are ignored (6.5.2)",
        &answered(asked(start().ask(settings(&[(0x0a0a, 7), (0xffff, 0)])))),
        GOT,
    );
    check(
        "settings in the middle of a stream, and their acknowledgement",
        &start()
            .ask([headers(1, WHOLE, POST), settings(&[(4, 1)]), data(1, ENDS, b"x")].concat())
            .answer([settings_ack(), headers(1, ONLY, OK)].concat()),
        &["1 POST /p [x] -> 200 []"],
    );
    check(
        "SETTINGS_HEADER_TABLE_SIZE changes nothing until the encoder says so",
        &start()
            .answer(settings(&[(1, 0)]))
            .ask(frame(1, ONLY, 1, b"\x82\x87\x41\x01x\x44\x02/a"))
            .ask([settings_ack(), frame(1, ONLY, 3, b"\x82\x87\xbf\xbe")].concat())
            .answer([headers(1, ONLY, OK), headers(3, ONLY, OK)].concat()),
        &["1 GET /a [] -> 200 []", "3 GET /a [] -> 200 []"],
    );
}

// RFC 9113 sections 4.2 and 6.5.2.
#[test]
fn frame_sizes() {
    let long = vec![b'x'; 20_000];
    let answer = |script: Script| script.answer([headers(1, WHOLE, OK), data(1, ENDS, &long)].concat());
    let whole = &["1 GET /a [] -> 200 [20000 bytes]"][..];
    check(
        "payloads are as long as the other side allows",
        &answer(asked(start().ask(settings(&[(MOST, 32_768)])))),
        whole,
    );
    check(
        "of several settings in a frame the last counts",
        &answer(asked(start().ask(settings(&[(MOST, 16_384), (MOST, 32_768)])))),
        whole,
    );
    check(
        "what is no longer allowed may still be on its way",
        &answer(asked(
            start()
                .ask(settings(&[(MOST, 32_768)]))
                .ask(settings(&[(MOST, 16_384)])),
        )),
        whole,
    );
    let path = format!("/{}", "p".repeat(16_500));
    let fields = [(":method", "GET"), (":authority", "x"), (":path", &path)];
    check(
        "a header block of more than 16 KiB in one frame",
        &answered(
            start()
                .answer(settings(&[(MOST, 1 << 20)]))
                .ask(headers(1, ONLY, &fields)),
        ),
        &[&format!("1 GET {path} [] -> 200 []")],
    );
    check(
        "the longest frame that there is: 2^24-1 bytes",
        &asked(start().ask(settings(&[(MOST, (1 << 24) - 1)])))
            .answer([headers(1, WHOLE, OK), data(1, ENDS, &vec![b'x'; (1 << 24) - 1])].concat()),
        &["1 GET /a [] -> 200 [262144 bytes~]"],
    );
    check(
        "SETTINGS that are lost may have allowed it",
        &answer(asked(start()).hole(REQ, settings(&[(MOST, 32_768)]).len())),
        &["1 GET /a [] -> 200 [20000 bytes]"],
    );
    check(
        "SETTINGS of which a part is lost, too",
        &answer(asked(
            start().ask(&settings(&[(MOST, 32_768)])[..12]).hole(REQ, 3),
        )),
        whole,
    );
    check_from(
        "a payload that nobody allowed: the server closes, and we have lost our place (4.2)",
        &|| fresh(HttpLimits::default()),
        &start()
            .ask(headers(1, WHOLE, POST))
            .ask(data(1, ENDS, &long))
            .answer(headers(1, ONLY, OK)),
        &|out, http| {
            assert_eq!(lines(out), ["1 POST /p [~] -> 200 []"]);
            assert_eq!(http.take_stats().lost_framings, 1);
        },
    );
}

// RFC 9113 sections 6.3, 6.7, 6.9, 4.1, 5.5; RFC 9218 section 7.1; RFC 7838 section 4.
#[test]
fn frames_that_say_nothing_are_passed_over() {
    let window = |stream, by: u32| frame(8, 0, stream, &by.to_be_bytes());
    for (name, noise) in [
        (
            "PING and its answer",
            [frame(6, 0, 0, b"pingpong"), frame(6, 1, 0, b"pingpong")].concat(),
        ),
        ("window updates", [window(0, 65_535), window(1, 1)].concat()),
        ("a window update of nothing: an error of the stream", window(1, 0)),
        ("a window update with the reserved bit", window(0, 0x8000_0001)),
        ("PRIORITY", frame(2, 0, 1, &[0, 0, 0, 0, 15])),
        (
            "PRIORITY on streams that were never opened (5.1)",
            [frame(2, 0, 9, &[0; 5]), frame(2, 0, 11, &[0; 5])].concat(),
        ),
        (
            "PRIORITY of a wrong length: an error of the stream alone (6.3)",
            frame(2, 0, 1, &[0; 7]),
        ),
        (
            "an unknown type, with every flag, on the stream",
            frame(0xfe, 0xff, 1, b"extension"),
        ),
        ("an unknown type on the connection, empty", frame(0xfa, 0, 0, b"")),
        (
            "an unknown type with the reserved bit",
            frame(0x4b, 0, 0x8000_0001, b"grease"),
        ),
        ("ALTSVC", frame(0xa, 0, 0, b"\0\0h2=\":443\"")),
        ("ORIGIN", frame(0xc, 0, 0, b"\0\x09https://x")),
        ("PRIORITY_UPDATE", frame(0x10, 0, 0, b"\0\0\0\x01u=1, i")),
        ("flags that PING has not", frame(6, 0xfe, 0, b"pingpong")),
    ] {
        let script = start()
            .ask([noise.clone(), headers(1, ONLY, GET), noise.clone()].concat())
            .answer([noise.clone(), headers(1, WHOLE, OK), noise, data(1, ENDS, b"")].concat());
        check(name, &script, GOT);
    }
    check(
        "flags that HEADERS and DATA have not",
        &start()
            .ask(headers(1, ONLY | 0xc0 | 0x10, GET))
            .answer([headers(1, WHOLE, OK), data(1, ENDS | 0xf6, b"")].concat()),
        GOT,
    );
    check(
        "the reserved bit before a stream's number is ignored (4.1)",
        &start()
            .ask(headers(0x8000_0001, ONLY, GET))
            .answer(headers(1, ONLY, OK)),
        GOT,
    );
}

// RFC 9113 sections 4.2, 5.4.1, 6.
#[test]
fn what_ends_a_connection_costs_the_place() {
    let twice = |noise: &[u8]| {
        start()
            .ask([noise, &headers(1, ONLY, GET)].concat())
            .ask(headers(3, ONLY, GET))
            .answer(headers(3, ONLY, OK))
    };
    for (name, noise) in [
        ("DATA on stream 0", data(0, 0, b"x")),
        ("HEADERS on stream 0", headers(0, ONLY, GET)),
        ("SETTINGS on a stream", frame(4, 0, 1, b"")),
        ("SETTINGS of no multiple of six", frame(4, 0, 0, b"12345")),
        ("an acknowledgement that says something", frame(4, 1, 0, &[0; 6])),
        ("a short PING", frame(6, 0, 0, b"pingpon")),
        ("a long window update", frame(8, 0, 0, &[0; 5])),
        ("a short GOAWAY", frame(7, 0, 0, &[0; 7])),
        ("RST_STREAM of five bytes", frame(3, 0, 1, &[0; 5])),
        ("padded DATA without a padding length", frame(0, 8, 1, b"")),
    ] {
        check_calls(name, &twice(&noise), &["3 GET /a [] -> 200 []"]);
    }
}

// RFC 9113 section 6.8.
#[test]
fn streams_that_a_goaway_refuses() {
    let two = || start().ask([headers(1, ONLY, GET), headers(3, ONLY, GET)].concat());
    check(
        "streams after the last one get no answer",
        &two().answer(goaway_frame(1)).answer(headers(1, ONLY, OK)),
        &["3 GET /a [] -> * absent", "1 GET /a [] -> 200 []"],
    );
    check(
        "a graceful end: first the highest number, then the last one that is answered",
        &two()
            .answer(goaway_frame(0x7fff_ffff))
            .answer(headers(1, ONLY, OK))
            .ask(headers(5, ONLY, GET))
            .answer(goaway_frame(3))
            .answer(headers(3, ONLY, OK)),
        &[
            "1 GET /a [] -> 200 []",
            "5 GET /a [] -> * absent",
            "3 GET /a [] -> 200 []",
        ],
    );
    check(
        "debug data is passed over",
        &answered(asked(start())).answer(goaway(1, b"too many pings")),
        GOT,
    );
    check(
        "none was looked at",
        &two().answer(goaway_frame(0)),
        &["1 GET /a [] -> * absent", "3 GET /a [] -> * absent"],
    );
    check(
        "a client's concerns the streams of the server",
        &answered(asked(start()).ask(goaway_frame(0))),
        GOT,
    );
    check(
        "the reserved bit before the last stream is ignored",
        &answered(asked(start()).answer(goaway_frame(0x8000_0001))),
        GOT,
    );
    check(
        "one of which the payload is lost says nothing",
        &answered(asked(start()).answer(&goaway_frame(0)[..9]).hole(RES, 8)),
        GOT,
    );
}

fn goaway_frame(last: u32) -> Vec<u8> {
    goaway(last, b"")
}

// RFC 9113 sections 6.6 and 8.4.
#[test]
fn pushes_are_decoded_and_left_alone() {
    // The promise inserts a field that the answer refers to.
    let promise = b"\0\0\0\x02\x82\x40\x01a\x01b";
    let answer = [
        frame(1, ONLY, 1, b"\x88\xbe"),
        headers(2, WHOLE, OK),
        data(2, ENDS, b"pushed"),
    ]
    .concat();
    let (first, rest) = promise.split_at(6);
    for (name, promise) in [
        ("PUSH_PROMISE", frame(5, WHOLE, 1, promise)),
        ("PUSH_PROMISE with padding", padded(5, 1, WHOLE, promise, 11)),
        (
            "PUSH_PROMISE with a CONTINUATION",
            [frame(5, 0, 1, first), continuation(1, WHOLE, rest)].concat(),
        ),
    ] {
        let script = asked(start()).answer([promise, answer.clone()].concat());
        check_from(name, &|| fresh(HttpLimits::default()), &script, &|out, http| {
            assert_eq!(lines(out), GOT);
            assert_eq!(out[0].response.as_ref().unwrap().headers.text("a"), Some("b"));
            assert_eq!(http.take_stats().pushes, 1);
        });
    }
}
