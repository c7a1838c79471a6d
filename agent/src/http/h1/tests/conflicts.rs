//! `Transfer-Encoding` against `Content-Length`, and in forms that some take for `chunked` and others do not: the catalogue of
//! request smuggling (CL.TE, TE.CL, TE.TE). A real nginx answered each as it does here.

use super::table::{END, GONE, check, empty, get, post, refusal, req};

/// Refused by every nginx: nothing after the head is read.
#[track_caller]
fn refused(name: &str, fields: &str, status: u16, anomalies: &str) {
    let moves = [
        post(fields, "2\r\nab\r\n0\r\n\r\n"),
        get("/smuggled"),
        refusal(status),
    ];
    check(name, &moves, &[&format!("POST /p [] -> {status} [!]{anomalies}")]);
}

#[test]
fn codings_that_nginx_does_not_read() {
    let other = " ! transfer_encoding_not_chunked";
    refused("identity", "Transfer-Encoding: identity", 501, other);
    refused("gzip before", "Transfer-Encoding: gzip, chunked", 501, other);
    refused("gzip behind", "Transfer-Encoding: chunked, gzip", 501, other);
    refused("a longer word", "Transfer-Encoding: xchunked", 501, other);
    refused("a word in quotes", "Transfer-Encoding: \"chunked\"", 501, other);
    refused("a parameter", "Transfer-Encoding: chunked;q=1", 501, other);
    refused("nothing", "Transfer-Encoding: ", 501, other);
    refused("a comma behind", "Transfer-Encoding: chunked,", 501, other);
    refused("a comma before", "Transfer-Encoding: ,chunked", 501, other);
    refused(
        "a vertical tab before",
        "Transfer-Encoding: \u{b}chunked",
        501,
        " ! transfer_encoding_not_chunked ! control_byte",
    );
    let twice = " ! repeated_transfer_encoding";
    refused(
        "chunked, chunked",
        "Transfer-Encoding: chunked, chunked",
        501,
        twice,
    );
    refused(
        "two lines",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        400,
        twice,
    );
    refused(
        "two lines, one of them for others (TE.TE)",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
        400,
        " ! transfer_encoding_not_chunked ! repeated_transfer_encoding",
    );
}

#[test]
fn chunked_in_other_letters() {
    for value in ["CHUNKED", "Chunked", "cHuNkEd", "  chunked  "] {
        check(
            value,
            &[
                post(&format!("Transfer-Encoding: {value}"), "2\r\nab\r\n0\r\n\r\n"),
                empty(200),
                get("/b"),
                empty(204),
            ],
            &["POST /p [ab] -> 200 []", "GET /b [] -> 204 []"],
        );
    }
}

/// nginx 1.21.1 and later refuse these; earlier ones took them, the coding before the length. The answer tells.
#[track_caller]
fn by_answer(name: &str, head: &str, anomalies: &str) {
    let request = || req(format!("{head}\r\n\r\n2\r\nab\r\n0\r\n\r\n"));
    check(
        name,
        &[request(), get("/smuggled"), refusal(400), END, GONE],
        &[&format!("POST /p [ab] -> 400 [!]{anomalies}")],
    );
    check(
        name,
        &[request(), empty(200), get("/b"), empty(204)],
        &[
            &format!("POST /p [ab] -> 200 []{anomalies}"),
            "GET /b [] -> 204 []",
        ],
    );
}

#[test]
fn both() {
    let both = " ! content_length_and_transfer_encoding";
    by_answer(
        "the length first (CL.TE)",
        "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked",
        both,
    );
    by_answer(
        "the coding first (TE.CL)",
        "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4",
        both,
    );
    by_answer(
        "a length of nothing (TE.0)",
        "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 0",
        both,
    );
    by_answer(
        "HTTP/1.0, which has no codings",
        "POST /p HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked",
        " ! transfer_encoding_in_http10",
    );
    by_answer(
        "a blank before the colon",
        "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked",
        " ! space_before_colon",
    );
    check(
        "behind a bare LF, where all read it",
        &[
            post("X: y\nTransfer-Encoding: chunked", "2\r\nab\r\n0\r\n\r\n"),
            empty(200),
        ],
        &["POST /p [ab] -> 200 [] ! bare_line_feed"],
    );
}

#[test]
fn what_only_looks_like_a_coding_is_none() {
    for (name, fields) in [
        ("an underscore", "Transfer_Encoding: chunked"),
        ("a longer name", "X-Transfer-Encoding: chunked"),
        ("TE", "TE: chunked"),
    ] {
        check(
            name,
            &[post(fields, ""), empty(200), get("/b"), empty(204)],
            &["POST /p [] -> 200 []", "GET /b [] -> 204 []"],
        );
    }
    check(
        "behind a bare CR it is a part of the value",
        &[post("X: y\rTransfer-Encoding: chunked", ""), refusal(400)],
        &["POST /p [] -> 400 [!] ! control_byte"],
    );
    check(
        "folded it is a part of the value",
        &[post("X: y\r\n Transfer-Encoding: chunked", ""), refusal(400)],
        &["POST /p [] -> 400 [!] ! obs_fold"],
    );
    check(
        "folded behind the coding's own name",
        &[post("Transfer-Encoding:\r\n chunked", "0\r\n\r\n"), refusal(400)],
        &["POST /p [] -> 400 [!] ! obs_fold"],
    );
}
