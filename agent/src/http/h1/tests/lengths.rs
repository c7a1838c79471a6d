//! `Content-Length` as nobody should send it (RFC 9110 section 8.6, RFC 9112 section 6.3 item 5), and what nginx makes of it:
//! nearly all are answered with 400, and nothing after the head is read.

use super::table::{END, check, empty, get, ok, post, refusal};

#[track_caller]
fn refused(name: &str, fields: &str, anomaly: &str) {
    let expected = format!("POST /p [] -> 400 [!] ! {anomaly}");
    let moves = [post(fields, "ab"), get("/b"), refusal(400)];
    check(name, &moves, &[&expected]);
    // What comes behind the refusal is thrown away unread.
    let moves = [post(fields, "ab"), refusal(400), get("/b"), END];
    check(name, &moves, &[&expected]);
}

#[test]
fn lengths_that_are_none() {
    let bad = "bad_content_length";
    refused("plus", "Content-Length: +2", bad);
    refused("minus", "Content-Length: -2", bad);
    refused("hexadecimal", "Content-Length: 0x2", bad);
    refused("a letter", "Content-Length: 2a", bad);
    refused("a blank within", "Content-Length: 2 2", bad);
    refused("an underscore within", "Content-Length: 1_0", bad);
    refused("a fraction", "Content-Length: 2.0", bad);
    refused("an exponent", "Content-Length: 2e0", bad);
    refused("quotes", "Content-Length: \"2\"", bad);
    refused("nothing", "Content-Length: ", bad);
    refused("a word", "Content-Length: chunked", bad);
    refused("digits of another script", "Content-Length: \u{0662}", bad);
    refused(
        "one more than 63 bits hold",
        "Content-Length: 9223372036854775808",
        bad,
    );
    refused(
        "more than 64 bits hold",
        "Content-Length: 99999999999999999999",
        bad,
    );
    refused("a comma behind", "Content-Length: 2,", bad);
    refused("a comma before", "Content-Length: ,2", bad);
    refused("one good, one bad", "Content-Length: 2\r\nContent-Length: x", bad);
}

#[test]
fn several_lengths() {
    let same = "repeated_content_length";
    refused("the same twice", "Content-Length: 2\r\nContent-Length: 2", same);
    refused("the same as a list", "Content-Length: 2, 2", same);
    refused(
        "the same in other digits",
        "Content-Length: 2\r\nContent-Length: 02",
        same,
    );
    let differ = "conflicting_content_length";
    refused(
        "two that differ",
        "Content-Length: 2\r\nContent-Length: 3",
        differ,
    );
    refused(
        "the larger first",
        "Content-Length: 3\r\nContent-Length: 2",
        differ,
    );
    refused(
        "nothing and something",
        "Content-Length: 0\r\nContent-Length: 2",
        differ,
    );
    refused("a list that differs", "Content-Length: 5, 6", differ);
    refused(
        "in other letters",
        "content-length: 2\r\nCONTENT-LENGTH: 3",
        differ,
    );
}

#[test]
fn lengths_that_nginx_takes() {
    for (name, fields) in [
        ("leading zeros", "Content-Length: 002"),
        ("blanks around", "Content-Length:   2  "),
        ("no blank", "Content-Length:2"),
        ("in other letters", "cOnTeNt-LeNgTh: 2"),
        (
            "a name that is only like it",
            "Content-Length: 2\r\nContent_Length: 9",
        ),
    ] {
        check(
            name,
            &[post(fields, "ab"), empty(200), get("/b"), empty(204)],
            &["POST /p [ab] -> 200 []", "GET /b [] -> 204 []"],
        );
    }
    check(
        "the most that there is",
        &[post("Content-Length: 9223372036854775807", "ab"), empty(413), END],
        &["POST /p [ab] -> 413 []; request cut at 2 of 9223372036854775807"],
    );
}

#[test]
fn a_response_that_contradicts_itself_ends_with_the_connection() {
    for (name, fields, anomaly) in [
        (
            "two that differ",
            "Content-Length: 1\r\nContent-Length: 2",
            "conflicting_content_length",
        ),
        (
            "a list that differs",
            "Content-Length: 1, 2",
            "conflicting_content_length",
        ),
        ("a bad one", "Content-Length: x", "bad_content_length"),
    ] {
        check(
            name,
            &[get("/a"), ok(fields, "abc"), END],
            &[&format!("GET /a [] -> 200 [abc] ! {anomaly}")],
        );
    }
    check(
        "the same twice is one (RFC 9110 section 8.6)",
        &[
            get("/a"),
            ok("Content-Length: 2\r\nContent-Length: 2", "ab"),
            get("/b"),
            empty(200),
        ],
        &[
            "GET /a [] -> 200 [ab] ! repeated_content_length",
            "GET /b [] -> 200 []",
        ],
    );
}
