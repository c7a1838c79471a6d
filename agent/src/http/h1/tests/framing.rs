//! Where a body ends (RFC 9112 section 6.3, item by item).

use super::table::{END, check, empty, get, ok, post, req, res};

#[test]
fn item_1_responses_that_have_no_body() {
    for (name, method, status) in [
        ("HEAD with 200", "HEAD", 200),
        ("HEAD with 404", "HEAD", 404),
        ("HEAD with 500", "HEAD", 500),
        ("GET with 204", "GET", 204),
        ("DELETE with 204", "DELETE", 204),
        ("GET with 304", "GET", 304),
        ("HEAD with 304", "HEAD", 304),
    ] {
        for framed in ["Content-Length: 99", "Transfer-Encoding: chunked", "ETag: x"] {
            check(
                &format!("{name} and {framed}"),
                &[
                    req(format!("{method} /a HTTP/1.1\r\nHost: h\r\n\r\n")),
                    res(format!("HTTP/1.1 {status} X\r\n{framed}\r\n\r\n")),
                    get("/b"),
                    ok("Content-Length: 2", "ok"),
                ],
                &[&format!("{method} /a [] -> {status} []"), "GET /b [] -> 200 [ok]"],
            );
        }
    }
    check(
        "205 has a length like any other",
        &[get("/a"), res("HTTP/1.1 205 X\r\nContent-Length: 0\r\n\r\n")],
        &["GET /a [] -> 205 []"],
    );
}

#[test]
fn item_4_chunks_and_what_is_not_chunked() {
    check(
        "the chunked example of RFC 9112 section 7.1",
        &[
            get("/a"),
            ok(
                "Transfer-Encoding: chunked",
                "4\r\nWiki\r\n7\r\npedia i\r\nB\r\nn \r\nchunks.\r\n0\r\n\r\n",
            ),
        ],
        &["GET /a [] -> 200 [Wikipedia in \\r\\nchunks.]"],
    );
    check(
        "a coding before chunked",
        &[
            get("/a"),
            ok("Transfer-Encoding: gzip, chunked", "1\r\nz\r\n0\r\n\r\n"),
        ],
        &["GET /a [] -> 200 [z] ! transfer_encoding_not_chunked"],
    );
    check(
        "a response whose last coding is not chunked ends with the connection",
        &[
            get("/a"),
            ok("Transfer-Encoding: chunked, gzip\r\nContent-Length: 1", "zz"),
            END,
        ],
        &["GET /a [] -> 200 [zz] ! content_length_and_transfer_encoding ! transfer_encoding_not_chunked"],
    );
}

#[test]
fn item_6_lengths() {
    check(
        "both sides",
        &[post("Content-Length: 5", "hello"), ok("Content-Length: 2", "ok")],
        &["POST /p [hello] -> 200 [ok]"],
    );
    check(
        "nothing, by length",
        &[post("Content-Length: 0", ""), empty(200)],
        &["POST /p [] -> 200 []"],
    );
    check(
        "a body that looks like a head",
        &[
            post("Content-Length: 18", "GET / HTTP/1.1\r\n\r\n"),
            ok("Content-Length: 19", "HTTP/1.1 200 OK\r\n\r\n"),
        ],
        &["POST /p [GET / HTTP/1.1\\r\\n\\r\\n] -> 200 [HTTP/1.1 200 OK\\r\\n\\r\\n]"],
    );
    check(
        "a GET with a body",
        &[
            req("GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"),
            empty(200),
        ],
        &["GET /a [ab] -> 200 []"],
    );
    check(
        "bytes that are no text",
        &[
            req(b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n\x00\xff\x80"),
            empty(201),
        ],
        &["PUT /a [\\x00\\xff\\x80] -> 201 []"],
    );
}

#[test]
fn item_7_a_request_without_either_has_no_body() {
    check(
        "POST without a length",
        &[post("Accept: */*", ""), empty(411), get("/b"), empty(200)],
        &["POST /p [] -> 411 []", "GET /b [] -> 200 []"],
    );
}

#[test]
fn item_8_a_response_without_either_ends_with_the_connection() {
    check(
        "HTTP/1.0",
        &[
            req("GET /a HTTP/1.0\r\n\r\n"),
            res("HTTP/1.0 200 OK\r\n\r\nall of it"),
            END,
        ],
        &["GET /a [] -> 200 [all of it]"],
    );
    check(
        "HTTP/1.1",
        &[get("/a"), ok("Connection: close", "HTTP/1.1 200 OK\r\n\r\n"), END],
        &["GET /a [] -> 200 [HTTP/1.1 200 OK\\r\\n\\r\\n]"],
    );
    check(
        "nothing at all",
        &[get("/a"), ok("Connection: close", ""), END],
        &["GET /a [] -> 200 []"],
    );
    check(
        "not ended yet",
        &[get("/a"), ok("Connection: close", "so far")],
        &[],
    );
}
