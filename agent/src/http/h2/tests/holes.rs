//! Bytes that are not here: lost ones, and those that were left on purpose.

use super::wire::{PREFACE, Script, block, continuation, data, frame, headers, padded, settings};
use super::{
    ENDS, GET, Move, OK, ONLY, REQ, RES, WHOLE, check, check_calls, check_from, fresh, lines, play, start,
};
use crate::http::h1::limits::HttpLimits;

const GOT: &[&str] = &["1 GET /a [] -> 200 []"];

fn got() -> Script {
    start().ask(headers(1, ONLY, GET))
}

/// The next stream, for which nothing is missing.
fn next(script: Script) -> Script {
    script.ask(headers(3, ONLY, GET)).answer(headers(3, ONLY, OK))
}

#[test]
fn in_a_body() {
    let answer = data(1, ENDS, b"0123456789");
    for (name, first, hole, expected) in [
        ("in its middle", 9 + 4, 6, "1 GET /a [] -> 200 [0123~]"),
        ("at its start", 9, 3, "1 GET /a [] -> 200 [~]"),
        ("to its end", 9 + 4, 6, "1 GET /a [] -> 200 [0123~]"),
        ("over all of it", 9, 10, "1 GET /a [] -> 200 [~]"),
    ] {
        let script = start()
            .ask([headers(1, ONLY, GET), headers(3, ONLY, GET)].concat())
            .answer([&headers(1, WHOLE, OK), &answer[..first]].concat())
            .hole(RES, hole)
            .answer([&answer[first + hole..], &headers(3, ONLY, OK)].concat());
        check_from(name, &|| fresh(HttpLimits::default()), &script, &|out, http| {
            assert_eq!(lines(out), [expected, "3 GET /a [] -> 200 []"]);
            let body = &out[0].response.as_ref().unwrap().body;
            assert_eq!(
                (body.total_bytes, body.hole_bytes),
                (10, u64::try_from(hole).unwrap())
            );
            assert_eq!(body.first_hole_at, Some(u64::try_from(first - 9).unwrap()));
            assert!(body.complete && !body.has_open_hole);
            assert_eq!(http.take_stats().lost_framings, 0);
        });
    }
}

#[test]
fn left_on_purpose() {
    let script = next(
        got()
            .answer([&headers(1, WHOLE, OK), &data(1, ENDS, b"0123456789")[..9 + 4]].concat())
            .left(RES, 6),
    );
    check_from(
        "a body of which the length alone is there",
        &|| fresh(HttpLimits::default()),
        &script,
        &|out, _| {
            assert_eq!(
                lines(out),
                ["1 GET /a [] -> 200 [0123~]", "3 GET /a [] -> 200 []"]
            );
            let body = &out[0].response.as_ref().unwrap().body;
            assert_eq!(
                (
                    body.total_bytes,
                    body.hole_bytes,
                    body.first_hole_at,
                    body.complete
                ),
                (10, 0, None, true)
            );
        },
    );
    check(
        "of a head it is as good as lost",
        &next(
            start()
                .ask(&headers(1, ONLY, GET)[..9 + 2])
                .left(REQ, block(GET).len() - 2)
                .answer(headers(1, ONLY, OK)),
        ),
        &["1 GET ? [] -> 200 []", "3 GET /a [] -> 200 []"],
    );
}

#[test]
fn in_what_is_no_content() {
    let lost_from = |frame: Vec<u8>, from: usize| {
        got()
            .answer(&frame[..from])
            .hole(RES, frame.len() - from)
            .answer(headers(1, ONLY, OK))
    };
    check("a PING", &lost_from(frame(6, 0, 0, &[0; 8]), 9), GOT);
    check("a window update", &lost_from(frame(8, 0, 0, &[0; 4]), 11), GOT);
    check("an extension", &lost_from(frame(0xbe, 0, 0, &[0; 400]), 9), GOT);
    check("SETTINGS", &lost_from(settings(&[(3, 1), (4, 1)]), 12), GOT);
    check(
        "the padding of DATA",
        &got()
            .answer(
                [
                    &headers(1, WHOLE, OK),
                    &padded(0, 1, ENDS, b"body", 30)[..9 + 1 + 4],
                ]
                .concat(),
            )
            .hole(RES, 30),
        &["1 GET /a [] -> 200 [body]"],
    );
    check(
        "the padding of HEADERS",
        &start()
            .ask(&padded(1, 1, ONLY, &block(GET), 30)[..10 + block(GET).len()])
            .hole(REQ, 30)
            .answer(headers(1, ONLY, OK)),
        GOT,
    );
    check(
        "the length of the padding: how much is body is not known",
        &got()
            .answer([&headers(1, WHOLE, OK), &padded(0, 1, ENDS, b"body", 3)[..9]].concat())
            .hole(RES, 1)
            .answer("bodyxxx"),
        &["1 GET /a [] -> 200 [~]"],
    );
    check(
        "the preface, and a part of the SETTINGS",
        &Script::default()
            .hole(REQ, PREFACE.len())
            .ask(&settings(&[(1, 0)])[..10])
            .hole(REQ, 5)
            .ask(headers(1, ONLY, GET))
            .answer([settings(&[]), headers(1, ONLY, OK)].concat()),
        GOT,
    );
}

#[test]
fn in_a_head() {
    let get = block(GET);
    check(
        "what stands before it is known",
        &next(
            start()
                .ask(&headers(1, ONLY, GET)[..9 + 2])
                .hole(REQ, get.len() - 2)
                .answer(headers(1, ONLY, OK)),
        ),
        &["1 GET ? [] -> 200 []", "3 GET /a [] -> 200 []"],
    );
    check(
        "what stands behind it is not",
        &next(
            start()
                .ask(&headers(1, ONLY, GET)[..9])
                .hole(REQ, 1)
                .ask(&get[1..])
                .answer(headers(1, ONLY, OK)),
        ),
        &["1  ? [] -> 200 []", "3 GET /a [] -> 200 []"],
    );
    let (first, rest) = get.split_at(1);
    let chain = [frame(1, ENDS, 1, first), continuation(1, WHOLE, rest)].concat();
    check(
        "in a continuation",
        &next(
            start()
                .ask(&chain[..10 + 9])
                .hole(REQ, rest.len())
                .answer(headers(1, ONLY, OK)),
        ),
        &["1 GET ? [] -> 200 []", "3 GET /a [] -> 200 []"],
    );
    check(
        "between a head and its continuation: the place is lost",
        &next(
            start()
                .ask(&chain[..10])
                .hole(REQ, 9 + rest.len())
                .answer(headers(1, ONLY, OK)),
        ),
        &["1 GET ? [] -> 200 []", "3 GET /a [] -> 200 []"],
    );
    check(
        "in the response's: a status that is not known is none",
        &next(
            got()
                .answer(&headers(1, ONLY, OK)[..9])
                .hole(RES, block(OK).len()),
        ),
        &["1 GET /a [] -> * lost", "3 GET /a [] -> 200 []"],
    );
    check(
        "in trailers: the head was whole, all of the fields are not",
        &got()
            .answer(
                [
                    headers(1, WHOLE, OK),
                    data(1, 0, b"x"),
                    headers(1, ONLY, &[("a", "1")])[..9].to_vec(),
                ]
                .concat(),
            )
            .hole(RES, 5),
        &["1 GET /a [] -> 200? [x]"],
    );
}

#[test]
fn over_a_frame_header() {
    let lost = data(1, ENDS, b"89");
    let script = start()
        .ask([headers(1, ONLY, GET), headers(3, ONLY, GET)].concat())
        .answer([headers(1, WHOLE, OK), headers(3, WHOLE, OK), data(1, 0, b"0123")].concat())
        .answer(&data(1, 0, b"4567")[..9 + 2])
        .hole(RES, 2 + lost.len())
        .answer("what is no frame, such as the rest of one")
        .answer(data(3, ENDS, b"3"))
        .ask(headers(5, ONLY, GET))
        .answer(headers(5, ONLY, OK))
        .then(Move::Wait(20_000_000_000))
        .ask(headers(7, ONLY, GET));
    // Stream 3 may have had a part in the hole too, and stream 1 never ends.
    check_calls(
        "it costs the place until the next call",
        &script,
        &[
            "3 GET /a [] -> 200 [~]",
            "5 GET /a [] -> 200 []",
            "1 GET /a [] -> 200 [012345~] cut",
        ],
    );
    let (out, mut http) = play(fresh(HttpLimits::default()), &script.moves);
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
    let request = headers(1, ONLY, GET);
    check(
        "of which a part came",
        &next(start().ask(&request[..4]).hole(REQ, request.len() - 4)),
        &["3 GET /a [] -> 200 []"],
    );
    check(
        "a lost answer is not an absent one",
        &start()
            .ask([headers(1, ONLY, GET), headers(3, ONLY, GET)].concat())
            .hole(RES, 100)
            .answer(headers(3, ONLY, OK))
            .then(Move::Close),
        &["3 GET /a [] -> 200 []", "1 GET /a [] -> * lost"],
    );
    check(
        "a lost request shows by its answer",
        &got()
            .answer(headers(1, ONLY, OK))
            .hole(REQ, headers(3, ONLY, GET).len())
            .ask(headers(5, ONLY, GET))
            .answer([headers(3, ONLY, OK), headers(5, ONLY, OK)].concat()),
        &[
            "1 GET /a [] -> 200 []",
            "3 * -> 200 [] lost",
            "5 GET /a [] -> 200 []",
        ],
    );
    check(
        "a lost reset: the stream is given up when it shows no life",
        &got()
            .hole(REQ, 13)
            .ask(headers(3, ONLY, GET))
            .answer(headers(3, ONLY, OK))
            .then(Move::Close),
        &["3 GET /a [] -> 200 []", "1 GET /a [] -> * absent"],
    );
}

// RFC 7541: what a lost block inserted, or said of the table's size.
#[test]
fn what_a_lost_block_said() {
    let first = frame(1, ONLY, 1, b"\x82\x87\x41\x01x\x44\x02/q\x40\x01a\x01b");
    let second = frame(1, ONLY, 3, b"\x82\x87\xc0\xbf\xbe");
    let third = frame(1, ONLY, 5, b"\x82\x87\x41\x01x\x44\x02/r");
    let fourth = frame(1, ONLY, 7, b"\x82\x87\xbf\xbe");
    let rest = |script: Script| {
        script
            .ask(second.clone())
            .ask(third.clone())
            .ask(fourth.clone())
            .answer([3, 5, 7].map(|id| headers(id, ONLY, OK)).concat())
    };
    for (name, script, expected, unknown) in [
        (
            "nothing is lost",
            rest(start().ask(first.clone())),
            "3 GET /q [] -> 200 []",
            0,
        ),
        (
            "names and values are unknown until they are said again",
            rest(start().hole(REQ, first.len())),
            "3 GET ? [] -> 200 []",
            3,
        ),
    ] {
        check_from(name, &|| fresh(HttpLimits::default()), &script, &|out, http| {
            assert_eq!(
                lines(out),
                [expected, "5 GET /r [] -> 200 []", "7 GET /r [] -> 200 []"]
            );
            assert_eq!(http.take_stats().unknown_fields, unknown);
        });
    }
    // The table becomes too small for two entries, and large again in a block that is lost.
    let raised = frame(1, ONLY, 3, b"\x3f\xe1\x1f\x82");
    let script = start()
        .ask(frame(1, ONLY, 1, b"\x3f\x09\x82\x41\x01x\x44\x02/q"))
        .hole(REQ, raised.len())
        .ask(frame(1, ONLY, 5, b"\x82\x41\x01y\x44\x02/r"))
        .ask(frame(1, ONLY, 7, b"\x82\xbf\xbe"))
        .answer([5, 7].map(|id| headers(id, ONLY, OK)).concat());
    check(
        "a size of the table that was lost",
        &script,
        &["5 GET /r [] -> 200 []", "7 GET /r [] -> 200 []"],
    );
}

// RFC 9113 sections 8.1 and 8.3: a block whose head was lost may be trailers, and trailers are no head.
#[test]
fn cut_trailers_of_lost_requests_are_no_heads() {
    let ping = frame(6, 0, 0, &[0; 8]);
    // What comes of the trailers: all but the last two bytes.
    let cut = |script: Script, trailers: &[u8]| {
        let (some, rest) = trailers.split_at(trailers.len() - 2);
        script.ask([&ping[..], some].concat()).hole(REQ, rest.len())
    };
    let plain = |id| headers(id, ONLY, &[("x-sum", "1"), ("x-more", "2")]);
    // The first field is in the table of before: it may be a pseudo field.
    let terse = |id| frame(1, ONLY, id, &[b"\xbe", &plain(id)[9..]].concat());
    for (name, trailers, expected) in [
        (
            "they begin with a field that no head begins with",
            [plain(1), plain(3)],
            [
                "5 GET /a [] -> 200 []",
                "1 * -> 200 [] lost",
                "3 * -> 200 [] lost",
            ],
        ),
        (
            "nobody can say what they begin with",
            [terse(1), terse(3)],
            [
                "1  ? [~] -> 200 []",
                "3  ? [~] -> 200 []",
                "5 GET /a [] -> 200 []",
            ],
        ),
    ] {
        let lost = [headers(1, WHOLE, GET), headers(3, WHOLE, GET)].concat();
        let script =
            cut(cut(start().hole(REQ, lost.len()), &trailers[0]), &trailers[1]).ask(headers(5, ONLY, GET));
        let order = expected.map(|line| line.split(' ').next().unwrap().parse().unwrap());
        let script = script.answer(order.map(|id| headers(id, ONLY, OK)).concat());
        check_calls(name, &script, &expected);
        for parser in [fresh(HttpLimits::default()), super::joining()] {
            for request in play(parser, &script.moves)
                .0
                .iter()
                .filter_map(|exchange| exchange.request.as_ref())
            {
                assert!(!request.headers.contains("x-sum"), "{name}: {request:?}");
            }
        }
    }
}
