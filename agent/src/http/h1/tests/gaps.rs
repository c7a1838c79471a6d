//! Missing bytes: what they cost, and where the reader goes on. How calls are cut matters here where a place was lost.

use super::Move::{Hole, Left};
use super::table::{CLIENT_ENDS, END, check, check_calls, empty, get, ok, post, req, res};
use super::{REQ, RES};

#[test]
fn a_hole_in_a_body_costs_that_body() {
    check(
        "by length, in the middle",
        &[
            get("/a"),
            ok("Content-Length: 10", "abc"),
            Hole(RES, 4),
            res("hij"),
            get("/b"),
            empty(200),
        ],
        &[
            "GET /a [] -> 200 [abc]; response hole at 3",
            "GET /b [] -> 200 []",
        ],
    );
    check(
        "by length, at its beginning",
        &[post("Content-Length: 4", ""), Hole(REQ, 2), req("cd"), empty(200)],
        &["POST /p [] -> 200 []; request hole at 0"],
    );
    check(
        "by length, at its end",
        &[
            post("Content-Length: 4", "ab"),
            Hole(REQ, 2),
            empty(200),
            get("/b"),
            empty(200),
        ],
        &["POST /p [ab] -> 200 []; request hole at 2", "GET /b [] -> 200 []"],
    );
    check(
        "all of it",
        &[post("Content-Length: 4", ""), Hole(REQ, 4), empty(200)],
        &["POST /p [] -> 200 []; request hole at 0"],
    );
    check(
        "two of them: the first counts",
        &[
            post("Content-Length: 6", "a"),
            Hole(REQ, 1),
            req("c"),
            Hole(REQ, 1),
            req("ef"),
            empty(200),
        ],
        &["POST /p [a] -> 200 []; request hole at 1"],
    );
    check(
        "within a chunk",
        &[
            get("/a"),
            ok("Transfer-Encoding: chunked", "5\r\na"),
            Hole(RES, 3),
            res("e\r\n1\r\nf\r\n0\r\n\r\n"),
        ],
        &["GET /a [] -> 200 [a]; response hole at 1"],
    );
    check(
        "until the connection's end",
        &[
            get("/a"),
            ok("Connection: close", "ab"),
            Hole(RES, 3),
            res("f"),
            END,
        ],
        &["GET /a [] -> 200 [ab]; response hole at 2"],
    );
    check(
        "of a response, before the request has ended",
        &[
            post("Content-Length: 2", "a"),
            ok("Content-Length: 2", "o"),
            Hole(RES, 1),
            req("b"),
        ],
        &["POST /p [ab] -> 200 [o]; response hole at 1"],
    );
}

#[test]
fn what_was_left_uncopied_is_known() {
    check(
        "of a length",
        &[
            get("/a"),
            ok("Content-Length: 1000", "abc"),
            Left(RES, 997),
            get("/b"),
            empty(200),
        ],
        &["GET /a [] -> 200 [abc]", "GET /b [] -> 200 []"],
    );
    check(
        "of a chunk",
        &[
            get("/a"),
            ok("Transfer-Encoding: chunked", "3e8\r\nabc"),
            Left(RES, 997),
            res("\r\n0\r\n\r\n"),
            get("/b"),
            empty(200),
        ],
        &["GET /a [] -> 200 [abc]", "GET /b [] -> 200 []"],
    );
    check(
        "until the connection's end",
        &[get("/a"), ok("Connection: close", "abc"), Left(RES, 997), END],
        &["GET /a [] -> 200 [abc]"],
    );
    check(
        "and then the connection breaks",
        &[get("/a"), ok("Content-Length: 1000", "abc"), Left(RES, 900), END],
        &["GET /a [] -> 200 [abc]; response cut at 903 of 1000"],
    );
    check_calls(
        "chunks with their framing: the end of the last one is copied",
        &[
            get("/a"),
            ok("Transfer-Encoding: chunked", "3e8\r\nabc"),
            Left(RES, 5000),
            res("yz\r\n0\r\n\r\n"),
            get("/b"),
            empty(200),
        ],
        &["GET /a [] -> 200 [abc]", "GET /b [] -> 200 []"],
    );
    check_calls(
        "in the place of a head it is as good as lost",
        &[get("/a"), Left(RES, 50), get("/b"), empty(200)],
        &["GET /a [] -> *; head_lost", "GET /b [] -> 200 []"],
    );
}

#[test]
fn a_hole_in_a_head_costs_that_exchange() {
    check_calls(
        "all of a request's",
        &[
            get("/a"),
            empty(200),
            Hole(REQ, 30),
            get("/c"),
            empty(201),
            empty(202),
        ],
        &[
            "GET /a [] -> 200 []",
            "* -> 201 []; head_lost",
            "GET /c [] -> *; head_lost",
        ],
    );
    check_calls(
        "the first half of a request's",
        &[
            Hole(REQ, 10),
            req("Host: h\r\n\r\n"),
            empty(201),
            get("/b"),
            empty(200),
        ],
        &["* -> 201 []; head_lost", "GET /b [] -> 200 []"],
    );
    check_calls(
        "the second half of a request's",
        &[
            req("GET /a HTTP/1.1\r\nHo"),
            Hole(REQ, 10),
            empty(201),
            get("/b"),
            empty(200),
        ],
        &["* -> 201 []; head_lost", "GET /b [] -> 200 []"],
    );
    check_calls(
        "the middle of a request's",
        &[
            req("GET /a HTTP/1.1\r\nHo"),
            Hole(REQ, 3),
            req("h\r\n\r\n"),
            empty(201),
            get("/b"),
            empty(200),
        ],
        &["* -> 201 []; head_lost", "GET /b [] -> 200 []"],
    );
    check_calls(
        "a response's",
        &[get("/a"), Hole(RES, 30), get("/b"), empty(200)],
        &["GET /a [] -> *; head_lost", "GET /b [] -> 200 []"],
    );
    check_calls(
        "a response's first half: the rest is not taken for a head",
        &[
            get("/a"),
            Hole(RES, 9),
            res("200 OK\r\nContent-Length: 1\r\n\r\nx"),
            get("/b"),
            empty(200),
        ],
        &["GET /a [] -> *; head_lost", "GET /b [] -> 200 []"],
    );
    check_calls(
        "the end of a body and the next head",
        &[
            get("/a"),
            get("/b"),
            ok("Content-Length: 4", "ab"),
            Hole(RES, 20),
            res("rest"),
            get("/c"),
            empty(200),
        ],
        &[
            "GET /a [] -> 200 [ab]; response hole at 2",
            "GET /b [] -> *; head_lost",
            "GET /c [] -> 200 []",
        ],
    );
}

#[test]
fn a_hole_in_chunk_framing_costs_the_rest_of_that_body() {
    check_calls(
        "over a size",
        &[
            get("/a"),
            ok("Transfer-Encoding: chunked", "3\r\nab"),
            Hole(RES, 8),
            res("z\r\n0\r\n\r\n"),
            get("/b"),
            empty(200),
        ],
        &["GET /a [] -> 200 [ab]; response hole at 2", "GET /b [] -> 200 []"],
    );
    check_calls(
        "in a trailer",
        &[
            get("/a"),
            ok("Transfer-Encoding: chunked", "2\r\nab\r\n0\r\nX: "),
            Hole(RES, 3),
            res("\r\n\r\n"),
            get("/b"),
            empty(200),
        ],
        &["GET /a [] -> 200 [ab]; response cut at 2", "GET /b [] -> 200 []"],
    );
    check_calls(
        "of a request",
        &[
            post("Transfer-Encoding: chunked", "3\r\nab"),
            Hole(REQ, 8),
            req("z\r\n0\r\n\r\n"),
            empty(200),
            get("/b"),
            empty(200),
        ],
        &["POST /p [ab] -> 200 []; request hole at 2", "GET /b [] -> 200 []"],
    );
}

#[test]
fn a_connection_that_ends_in_a_hole() {
    check(
        "in a response's body",
        &[get("/a"), ok("Content-Length: 9", "ab"), Hole(RES, 3), END],
        &["GET /a [] -> 200 [ab]; response hole at 2"],
    );
    check(
        "in a response's head",
        &[get("/a"), Hole(RES, 3), END],
        &["GET /a [] -> *; head_lost"],
    );
    check(
        "in a request's body",
        &[
            post("Content-Length: 9", "ab"),
            Hole(REQ, 3),
            CLIENT_ENDS,
            empty(400),
            END,
        ],
        &["POST /p [ab] -> 400 []; request hole at 2"],
    );
}
