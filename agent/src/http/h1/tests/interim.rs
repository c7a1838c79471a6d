//! Interim responses (RFC 9110 section 15.2), and final ones that come early.

use super::table::{END, check, empty, get, ok, post, req, res};

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";

#[test]
fn interim_responses_are_passed_over() {
    check(
        "100 before the body",
        &[
            post("Expect: 100-continue\r\nContent-Length: 2", ""),
            res(CONTINUE),
            req("ab"),
            empty(200),
        ],
        &["POST /p [ab] -> 200 []"],
    );
    check(
        "100 after a part of the body",
        &[
            post("Expect: 100-continue\r\nContent-Length: 2", "a"),
            res(CONTINUE),
            req("b"),
            empty(200),
        ],
        &["POST /p [ab] -> 200 []"],
    );
    check(
        "100 that nobody asked for",
        &[get("/a"), res(CONTINUE), empty(200)],
        &["GET /a [] -> 200 []"],
    );
    check(
        "103 and the final one at once (RFC 8297 section 2)",
        &[
            get("/a"),
            res(format!("{HINTS}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")),
        ],
        &["GET /a [] -> 200 [ok]"],
    );
    check(
        "102, 103 and 103 again",
        &[
            get("/a"),
            res("HTTP/1.1 102 Processing\r\n\r\n"),
            res(HINTS),
            res(HINTS),
            empty(200),
        ],
        &["GET /a [] -> 200 []"],
    );
    check(
        "one that claims a body has none",
        &[
            get("/a"),
            res("HTTP/1.1 103 X\r\nContent-Length: 9\r\n\r\n"),
            empty(200),
        ],
        &["GET /a [] -> 200 []"],
    );
    check(
        "one that nobody knows",
        &[get("/a"), res("HTTP/1.1 199 X\r\n\r\n"), empty(200)],
        &["GET /a [] -> 200 []"],
    );
    check(
        "for each of two pipelined requests",
        &[
            get("/a"),
            get("/b"),
            res(HINTS),
            empty(201),
            res(HINTS),
            empty(202),
        ],
        &["GET /a [] -> 201 []", "GET /b [] -> 202 []"],
    );
    check(
        "nothing but an interim one",
        &[get("/a"), res(CONTINUE), END],
        &["GET /a [] -> *; response_absent"],
    );
}

#[test]
fn final_responses_may_come_before_the_request_has_ended() {
    check(
        "417 instead of 100, and the client sends its body all the same",
        &[
            post("Expect: 100-continue\r\nContent-Length: 2", ""),
            empty(417),
            req("ab"),
            get("/b"),
            empty(200),
        ],
        &["POST /p [ab] -> 417 []", "GET /b [] -> 200 []"],
    );
    check(
        "413 in the middle of the body",
        &[post("Content-Length: 4", "ab"), empty(413), req("cd")],
        &["POST /p [abcd] -> 413 []"],
    );
    check(
        "413, and the body never ends",
        &[post("Content-Length: 4", "ab"), empty(413), END],
        &["POST /p [ab] -> 413 []; request cut at 2 of 4"],
    );
    check(
        "in the middle of a chunk",
        &[post("Transfer-Encoding: chunked", "4\r\nab"), empty(413), END],
        &["POST /p [ab] -> 413 []; request cut at 2"],
    );
    check(
        "both at once, in turns",
        &[
            post("Content-Length: 4", "a"),
            ok("Transfer-Encoding: chunked", "1\r\na\r\n"),
            req("bc"),
            res("2\r\nbc\r\n"),
            req("d"),
            res("1\r\nd\r\n0\r\n\r\n"),
        ],
        &["POST /p [abcd] -> 200 [abcd]"],
    );
}
