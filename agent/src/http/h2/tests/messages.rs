//! Requests and responses on one stream: bodies, interim answers, trailers, lengths (RFC 9113 section 8.1).

use super::wire::{Script, data, headers, padded};
use super::{ENDS, Fields, GET, OK, ONLY, POST, WHOLE, check, start};

const CONTINUE: Fields<'_> = &[(":status", "100")];
const HINTS: Fields<'_> = &[(":status", "103"), ("link", "</a>")];

fn got() -> Script {
    start().ask(headers(1, ONLY, GET))
}

// RFC 9113 sections 6.1 and 8.1.
#[test]
fn bodies() {
    let post = || start().ask(headers(1, WHOLE, POST));
    check(
        "a request and its response",
        &got().answer([headers(1, WHOLE, OK), data(1, 0, b"o"), data(1, ENDS, b"k")].concat()),
        &["1 GET /a [] -> 200 [ok]"],
    );
    check(
        "the end in an empty frame",
        &post()
            .ask([data(1, 0, b"body"), data(1, ENDS, b"")].concat())
            .answer(headers(1, ONLY, OK)),
        &["1 POST /p [body] -> 200 []"],
    );
    check(
        "empty frames between",
        &post()
            .ask([data(1, 0, b"").repeat(9), data(1, ENDS, b"x")].concat())
            .answer(headers(1, ONLY, OK)),
        &["1 POST /p [x] -> 200 []"],
    );
    check(
        "frames of nothing but padding",
        &post()
            .ask([padded(0, 1, 0, b"", 20), padded(0, 1, ENDS, b"x", 3)].concat())
            .answer(headers(1, ONLY, OK)),
        &["1 POST /p [x] -> 200 []"],
    );
    check(
        "a POST without a body",
        &start().ask(headers(1, ONLY, POST)).answer(headers(1, ONLY, OK)),
        &["1 POST /p [] -> 200 []"],
    );
    check(
        "an answer that comes before the request has ended (8.1)",
        &post().answer(headers(1, ONLY, OK)).ask(data(1, ENDS, b"late")),
        &["1 POST /p [late] -> 200 []"],
    );
    check(
        "DATA before HEADERS of the response is nobody's",
        &got().answer([data(1, 0, b"early"), headers(1, WHOLE, OK), data(1, ENDS, b"ok")].concat()),
        &["1 GET /a [] -> 200 [ok]"],
    );
    check(
        "DATA after END_STREAM is nobody's (5.1)",
        &start()
            .ask([headers(1, ONLY, GET), data(1, ENDS, b"more")].concat())
            .answer(headers(1, ONLY, OK)),
        &["1 GET /a [] -> 200 []"],
    );
}

// RFC 9113 section 8.1.1, RFC 9110 section 8.6: what has no content may say how long it would be.
#[test]
fn messages_without_content() {
    let long = [(":status", "200"), ("content-length", "1000")];
    check(
        "HEAD",
        &start()
            .ask(headers(
                1,
                ONLY,
                &[(":method", "HEAD"), (":authority", "x"), (":path", "/a")],
            ))
            .answer(headers(1, ONLY, &long)),
        &["1 HEAD /a [] -> 200 []"],
    );
    check(
        "304 with the length of what it stands for",
        &got().answer(headers(
            1,
            ONLY,
            &[(":status", "304"), ("content-length", "1000")],
        )),
        &["1 GET /a [] -> 304 []"],
    );
    check(
        "204",
        &got().answer(headers(1, ONLY, &[(":status", "204")])),
        &["1 GET /a [] -> 204 []"],
    );
    check(
        "an empty frame behind a 204, as some servers send it",
        &got().answer([headers(1, WHOLE, &[(":status", "204")]), data(1, ENDS, b"")].concat()),
        &["1 GET /a [] -> 204 []"],
    );
}

// RFC 9113 section 8.1.1: peers refuse a message whose DATA is not as long as it says.
#[test]
fn content_length_against_data() {
    let answer = |length, body: &[u8]| {
        let head = [(":status", "200"), ("content-length", length)];
        got().answer([headers(1, WHOLE, &head), data(1, ENDS, body)].concat())
    };
    check(
        "they agree",
        &answer("5", b"hello"),
        &["1 GET /a [] -> 200 [hello]"],
    );
    check(
        "less came",
        &answer("9", b"hello"),
        &["1 GET /a [] -> 200 [hello] !conflicting_content_length"],
    );
    check(
        "more came",
        &answer("1", b"hello"),
        &["1 GET /a [] -> 200 [hello] !conflicting_content_length"],
    );
    check(
        "less came of a request",
        &start()
            .ask(
                [
                    headers(1, WHOLE, &[POST, &[("content-length", "9")]].concat()),
                    data(1, ENDS, b"x"),
                ]
                .concat(),
            )
            .answer(headers(1, ONLY, OK)),
        &["1 POST /p [x] -> 200 [] !conflicting_content_length"],
    );
    check(
        "one that was broken off says nothing about it",
        &got().answer(
            [
                headers(1, WHOLE, &[(":status", "200"), ("content-length", "9")]),
                data(1, 0, b"x"),
                super::wire::reset(1, 2),
            ]
            .concat(),
        ),
        &["1 GET /a [] -> 200 [x~] cut reset by server 2"],
    );
}

// RFC 9110 section 15.2, RFC 8297.
#[test]
fn interim_answers() {
    let post = || start().ask(headers(1, WHOLE, POST));
    check(
        "100, then the body, then the answer",
        &post()
            .answer(headers(1, WHOLE, CONTINUE))
            .ask(data(1, ENDS, b"in"))
            .answer(headers(1, ONLY, OK)),
        &["1 POST /p [in] -> 200 []"],
    );
    check(
        "several",
        &got().answer(
            [
                headers(1, WHOLE, CONTINUE),
                headers(1, WHOLE, HINTS),
                headers(1, WHOLE, HINTS),
                headers(1, ONLY, OK),
            ]
            .concat(),
        ),
        &["1 GET /a [] -> 200 []"],
    );
    check(
        "one that claims to be the end is no answer",
        &got().answer(headers(1, ONLY, CONTINUE)),
        &["1 GET /a [] -> * absent"],
    );
    check(
        "one on each of two streams",
        &start()
            .ask([headers(1, ONLY, GET), headers(3, ONLY, GET)].concat())
            .answer(
                [
                    headers(3, WHOLE, HINTS),
                    headers(1, WHOLE, HINTS),
                    headers(1, ONLY, OK),
                    headers(3, ONLY, OK),
                ]
                .concat(),
            ),
        &["1 GET /a [] -> 200 []", "3 GET /a [] -> 200 []"],
    );
}

// RFC 9113 section 8.1.
#[test]
fn trailers() {
    let post = || start().ask(headers(1, WHOLE, POST));
    check(
        "of the request",
        &post()
            .ask([data(1, 0, b"in"), headers(1, ONLY, &[("x-sum", "1")])].concat())
            .answer(headers(1, ONLY, OK)),
        &["1 POST /p [in] {x-sum: 1} -> 200 []"],
    );
    check(
        "of the response, behind an empty body",
        &got().answer([headers(1, WHOLE, OK), headers(1, ONLY, &[("a", "1"), ("b", "")])].concat()),
        &["1 GET /a [] -> 200 [] {a: 1} {b: }"],
    );
    check(
        "of both, with interim answers between",
        &post()
            .answer([headers(1, WHOLE, CONTINUE), headers(1, WHOLE, HINTS)].concat())
            .ask([data(1, 0, b"in"), headers(1, ONLY, &[("x-sum", "1")])].concat())
            .answer(
                [
                    headers(1, WHOLE, OK),
                    data(1, 0, b"out"),
                    headers(1, ONLY, &[("y-sum", "2")]),
                ]
                .concat(),
            ),
        &["1 POST /p [in] {x-sum: 1} -> 200 [out] {y-sum: 2}"],
    );
    check(
        "without END_STREAM, which peers refuse: the end comes behind them",
        &got().answer(
            [
                headers(1, WHOLE, OK),
                headers(1, WHOLE, &[("a", "1")]),
                data(1, ENDS, b""),
            ]
            .concat(),
        ),
        &["1 GET /a [] -> 200 [] {a: 1}"],
    );
    check(
        "with a pseudo field, which peers refuse: it is left out",
        &got().answer(
            [
                headers(1, WHOLE, OK),
                headers(1, ONLY, &[(":status", "500"), ("a", "1")]),
            ]
            .concat(),
        ),
        &["1 GET /a [] -> 200 [] {a: 1}"],
    );
}

// RFC 9113 section 5.1.1.
#[test]
fn stream_numbers() {
    check(
        "even ones are not a client's",
        &start()
            .ask([headers(2, ONLY, GET), headers(3, ONLY, GET)].concat())
            .answer([headers(2, ONLY, OK), headers(3, ONLY, OK)].concat()),
        &["3 GET /a [] -> 200 []"],
    );
    check(
        "they only go up",
        &start()
            .ask([headers(5, ONLY, GET), headers(3, ONLY, GET)].concat())
            .answer([headers(3, ONLY, OK), headers(5, ONLY, OK)].concat()),
        &["5 GET /a [] -> 200 []"],
    );
    check(
        "some are left out",
        &start()
            .ask([headers(1, ONLY, GET), headers(101, ONLY, GET)].concat())
            .answer([headers(101, ONLY, OK), headers(1, ONLY, OK)].concat()),
        &["101 GET /a [] -> 200 []", "1 GET /a [] -> 200 []"],
    );
    check(
        "the last that there is",
        &start()
            .ask(headers(0x7fff_ffff, ONLY, GET))
            .answer(headers(0x7fff_ffff, ONLY, OK)),
        &["2147483647 GET /a [] -> 200 []"],
    );
    check(
        "one is not used again",
        &got()
            .answer(headers(1, ONLY, OK))
            .ask(headers(1, ONLY, POST))
            .answer(headers(1, ONLY, OK)),
        &["1 GET /a [] -> 200 []"],
    );
}
