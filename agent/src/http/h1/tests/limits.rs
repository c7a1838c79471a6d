//! Each bound of [`HttpLimits`], reached.

use super::HttpLimits;
use super::table::{END, check, check_calls, check_within, empty, get, ok, post, req, res};
use crate::http::h1::framing::{SIZE_LINE_LIMIT_BYTES, TRAILER_LIMIT_BYTES};

fn within(change: impl FnOnce(&mut HttpLimits)) -> HttpLimits {
    let mut limits = HttpLimits::default();
    change(&mut limits);
    limits
}

/// A request's head of exactly so many bytes.
fn head_of(bytes: usize) -> String {
    const REST: &str = "GET /a HTTP/1.1\r\nHost: h\r\nA: \r\n\r\n";
    let filler = "x".repeat(bytes - REST.len());
    format!("GET /a HTTP/1.1\r\nHost: h\r\nA: {filler}\r\n\r\n")
}

#[test]
fn head_bytes() {
    let limits = within(|limits| limits.head_bytes = 100);
    check_within(
        limits,
        "the longest head",
        &[req(head_of(100)), empty(200)],
        &["GET /a [] -> 200 []"],
    );
    check_within(
        limits,
        "one byte more",
        &[req(head_of(101)), empty(200), get("/b"), empty(200)],
        &["* -> 200 []; head_lost", "GET /b [] -> 200 []"],
    );
    let long = format!("A: {}", "x".repeat(100));
    check_within(
        limits,
        "a response's",
        &[
            get("/a"),
            ok(&format!("{long}\r\nContent-Length: 0"), ""),
            get("/b"),
            empty(200),
        ],
        &["GET /a [] -> *; head_lost", "GET /b [] -> 200 []"],
    );
    let most = HttpLimits::default().head_bytes;
    check(
        "64 KiB, cut anywhere",
        &[req(head_of(most)), empty(200)],
        &["GET /a [] -> 200 []"],
    );
    check_calls(
        "one byte more than 64 KiB",
        &[req(head_of(most + 1)), empty(200)],
        &["* -> 200 []; head_lost"],
    );
}

#[test]
fn fields() {
    let limits = within(|limits| limits.fields = 3);
    let head = |fields: &str| req(format!("POST /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n"));
    check_within(
        limits,
        "as many as there may be",
        &[head("A: 1\r\nB: 2"), empty(200)],
        &["POST /a [] -> 200 []"],
    );
    check_within(
        limits,
        "more: the rest is left out, but what frames the body counts",
        &[
            head("A: 1\r\nB: 2\r\nC: 3\r\nContent-Length: 2"),
            req("ab"),
            empty(200),
        ],
        &["POST /a [ab] -> 200 [] ! too_many_fields"],
    );
    check_within(
        limits,
        "more lengths than are looked at contradict each other all the same",
        &[
            head(&format!("A: 1\r\nB: 2{}", "\r\nContent-Length: 2".repeat(9))),
            empty(400),
        ],
        &["POST /a [] -> 400 [] ! repeated_content_length ! too_many_fields"],
    );
    check_within(
        limits,
        "of a trailer section",
        &[
            get("/a"),
            ok(
                "Transfer-Encoding: chunked",
                "0\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n",
            ),
        ],
        &["GET /a [] -> 200 [] + A=1 + B=2 + C=3 ! too_many_fields"],
    );
    let many = format!("A: b\r\n{}Z: z", "C: d\r\n".repeat(300));
    check_calls(
        "more than 256",
        &[head(&many), empty(200)],
        &["POST /a [] -> 200 [] ! too_many_fields"],
    );
}

#[test]
fn body_bytes() {
    let limits = within(|limits| limits.body_bytes = 3);
    check_within(
        limits,
        "what is beyond is counted and not kept",
        &[
            post("Content-Length: 5", "hello"),
            ok("Transfer-Encoding: chunked", "2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"),
        ],
        &["POST /p [hel] -> 200 [abc]"],
    );
    let none = within(|limits| limits.body_bytes = 0);
    check_within(
        none,
        "nothing is kept",
        &[post("Content-Length: 5", "hello"), ok("Content-Length: 2", "ok")],
        &["POST /p [] -> 200 []"],
    );
}

#[test]
fn pipelined() {
    let limits = within(|limits| limits.pipelined = 2);
    check_within(
        limits,
        "as many as may wait",
        &[get("/1"), get("/2"), empty(201), empty(202)],
        &["GET /1 [] -> 201 []", "GET /2 [] -> 202 []"],
    );
    check_within(
        limits,
        "one more: the oldest is given up, and no other takes its answer's place",
        &[get("/1"), get("/2"), get("/3")],
        &["GET /1 [] -> *; head_lost"],
    );
}

#[test]
fn chunk_framing() {
    let line = |bytes: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(bytes - 4));
    let most = usize::try_from(SIZE_LINE_LIMIT_BYTES).unwrap();
    check(
        "the longest size line",
        &[post("Transfer-Encoding: chunked", &line(most)), empty(200)],
        &["POST /p [a] -> 200 []"],
    );
    check_calls(
        "one byte more",
        &[
            post("Transfer-Encoding: chunked", &line(most + 1)),
            empty(400),
            END,
        ],
        &["POST /p [] -> 400 []; request cut at 0 ! bad_chunk"],
    );
    let trailer = |bytes: usize| format!("0\r\nA: {}\r\n\r\n", "x".repeat(bytes - 7));
    let most = usize::try_from(TRAILER_LIMIT_BYTES).unwrap();
    for (name, bytes, ends) in [
        ("the longest trailer section", most, true),
        ("one byte more", most + 1, false),
    ] {
        let response = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            trailer(bytes)
        );
        let expected = if ends {
            format!("GET /a [] -> 200 [] + A={}", "x".repeat(bytes - 7))
        } else {
            "GET /a [] -> 200 []; response cut at 0 ! bad_chunk".to_owned()
        };
        check_calls(name, &[get("/a"), res(response), END], &[&expected]);
    }
}
