//! Several streams at once, and streams that are broken off.

use super::wire::{Script, data, headers, reset};
use super::{ENDS, GET, Move, OK, ONLY, POST, REQ, RES, WHOLE, check, check_from, fresh, lines, start};
use crate::http::h1::limits::HttpLimits;

// RFC 9113 section 7.
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

fn got() -> Script {
    start().ask(headers(1, ONLY, GET))
}

fn posting() -> Script {
    start().ask([headers(1, WHOLE, POST), data(1, 0, b"in")].concat())
}

// RFC 9113 section 5.
#[test]
fn interleaved_streams() {
    check(
        "their bodies are told apart",
        &start()
            .ask(
                [
                    headers(1, WHOLE, POST),
                    headers(3, WHOLE, POST),
                    data(3, 0, b"three"),
                ]
                .concat(),
            )
            .ask([data(1, 0, b"o"), data(3, ENDS, b"!"), data(1, ENDS, b"ne")].concat())
            .answer(
                [
                    headers(3, WHOLE, OK),
                    headers(1, WHOLE, OK),
                    data(1, ENDS, b"1"),
                    data(3, ENDS, b"3"),
                ]
                .concat(),
            ),
        &["1 POST /p [one] -> 200 [1]", "3 POST /p [three!] -> 200 [3]"],
    );
    check(
        "the last may be answered first",
        &start()
            .ask([1, 3, 5].map(|id| headers(id, ONLY, GET)).concat())
            .answer([5, 3, 1].map(|id| headers(id, ONLY, OK)).concat()),
        &[
            "5 GET /a [] -> 200 []",
            "3 GET /a [] -> 200 []",
            "1 GET /a [] -> 200 []",
        ],
    );
    check(
        "one is answered while another is being sent",
        &start()
            .ask([headers(1, WHOLE, POST), data(1, 0, b"a"), headers(3, ONLY, GET)].concat())
            .answer([headers(3, WHOLE, OK), data(3, ENDS, b"3")].concat())
            .ask(data(1, ENDS, b"b"))
            .answer(headers(1, ONLY, OK)),
        &["3 GET /a [] -> 200 [3]", "1 POST /p [ab] -> 200 []"],
    );
}

// RFC 9113 section 6.4.
#[test]
fn broken_off_by_the_client() {
    check(
        "before the answer",
        &got().ask(reset(1, CANCEL)),
        &["1 GET /a [] -> * absent reset by client 8"],
    );
    check(
        "while it posts",
        &posting().ask(reset(1, CANCEL)),
        &["1 POST /p [in~] -> * absent reset by client 8"],
    );
    check(
        "while it is answered; what was on its way is nobody's",
        &got()
            .answer([headers(1, WHOLE, OK), data(1, 0, b"par")].concat())
            .ask(reset(1, CANCEL))
            .answer(data(1, ENDS, b"tial")),
        &["1 GET /a [] -> 200 [par~] cut reset by client 8"],
    );
    check(
        "after the answer: it was complete",
        &got().answer(headers(1, ONLY, OK)).ask(reset(1, CANCEL)),
        &["1 GET /a [] -> 200 []"],
    );
    check_from(
        "an answer that crosses it is late, and its request is known",
        &|| fresh(HttpLimits::default()),
        &got().ask(reset(1, CANCEL)).answer(headers(1, ONLY, OK)),
        &|out, http| {
            assert_eq!(lines(out), ["1 GET /a [] -> * absent reset by client 8"]);
            assert_eq!(http.take_stats().unpaired_responses, 0);
        },
    );
}

// RFC 9113 sections 6.4, 7 and 8.7.
#[test]
fn broken_off_by_the_server() {
    check(
        "refused",
        &got().answer(reset(1, REFUSED_STREAM)),
        &["1 GET /a [] -> * absent reset by server 7"],
    );
    check(
        "in the middle of its answer",
        &got().answer(
            [
                headers(1, WHOLE, OK),
                data(1, 0, b"par"),
                reset(1, INTERNAL_ERROR),
            ]
            .concat(),
        ),
        &["1 GET /a [] -> 200 [par~] cut reset by server 2"],
    );
    check(
        "after an interim answer",
        &got().answer([headers(1, WHOLE, &[(":status", "103")]), reset(1, INTERNAL_ERROR)].concat()),
        &["1 GET /a [] -> * absent reset by server 2"],
    );
    check(
        "its answer is complete and it wants no more of the request (8.1)",
        &posting()
            .answer([headers(1, ONLY, OK), reset(1, NO_ERROR)].concat())
            .ask(data(1, 0, b"late")),
        &["1 POST /p [in~] -> 200 [] reset by server 0"],
    );
    check(
        "after everything: it was complete",
        &got().answer([headers(1, ONLY, OK), reset(1, NO_ERROR)].concat()),
        &["1 GET /a [] -> 200 []"],
    );
}

#[test]
fn more_of_resets() {
    check(
        "by both: who came first",
        &got().ask(reset(1, CANCEL)).answer(reset(1, INTERNAL_ERROR)),
        &["1 GET /a [] -> * absent reset by client 8"],
    );
    check(
        "of a stream that nobody opened",
        &got().ask(reset(9, CANCEL)).answer(headers(1, ONLY, OK)),
        &["1 GET /a [] -> 200 []"],
    );
    check(
        "of one among others",
        &start()
            .ask([headers(1, ONLY, GET), headers(3, ONLY, GET), reset(1, CANCEL)].concat())
            .answer(headers(3, ONLY, OK)),
        &[
            "1 GET /a [] -> * absent reset by client 8",
            "3 GET /a [] -> 200 []",
        ],
    );
    check(
        "of which the code is lost: that it was broken off is all that is known",
        &got().ask(&reset(1, CANCEL)[..9]).hole(REQ, 4),
        &["1 GET /a [] -> * absent"],
    );
}

#[test]
fn the_end_of_the_connection() {
    let three = || {
        start()
            .ask(
                [
                    headers(1, ONLY, GET),
                    headers(3, WHOLE, POST),
                    headers(5, WHOLE, POST),
                ]
                .concat(),
            )
            .answer([headers(1, WHOLE, OK), headers(3, ONLY, OK)].concat())
    };
    check(
        "the client sends no more, then nobody does",
        &three().then(Move::End(REQ)).then(Move::Close),
        &[
            "3 POST /p [~] -> 200 []",
            "1 GET /a [] -> 200 [~] cut",
            "5 POST /p [~] -> * absent",
        ],
    );
    check(
        "the server sends no more",
        &three().then(Move::End(RES)),
        &[
            "1 GET /a [] -> 200 [~] cut",
            "3 POST /p [~] -> 200 []",
            "5 POST /p [~] -> * absent",
        ],
    );
    check(
        "a client that only closes its own direction is answered",
        &got().then(Move::End(REQ)).answer(headers(1, ONLY, OK)),
        &["1 GET /a [] -> 200 []"],
    );
}
