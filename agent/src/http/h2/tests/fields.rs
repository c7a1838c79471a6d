//! What fields say: pseudo fields, `host` and `:authority`, cookies, lengths, and what no field may hold.

use super::wire::headers;
use super::{Fields, GET, OK, ONLY, check, check_from, field, fresh, start};
use crate::http::h1::limits::HttpLimits;

/// A request's fields, its target in front, its anomalies behind.
#[track_caller]
fn check_fields(name: &str, fields: Fields<'_>, expected: &[&str]) {
    let script = start().ask(headers(1, ONLY, fields)).answer(headers(1, ONLY, OK));
    check_from(name, &|| fresh(HttpLimits::default()), &script, &|out, _| {
        let request = out[0].request.as_ref().unwrap();
        let mut lines = vec![format!(
            "{} {}",
            request.method.escape_ascii(),
            request.target.escape_ascii()
        )];
        let fields = request.headers.0.iter();
        lines.extend(fields.map(|header| field(&header.name, &header.value)));
        lines.extend(out[0].anomalies.names().map(|name| format!("!{name}")));
        assert_eq!(lines, expected, "{name}");
    });
}

fn get_with<'a>(more: Fields<'a>) -> Vec<(&'a str, &'a str)> {
    [GET, more].concat()
}

// RFC 9113 section 8.2.3.
#[test]
fn cookies_are_one_field() {
    check_fields(
        "the RFC's example",
        &get_with(&[("cookie", "a=b"), ("cookie", "c=d"), ("cookie", "e=f")]),
        &["GET /a", "host: x", "cookie: a=b; c=d; e=f"],
    );
    check_fields(
        "where the first one stood, other repeats as they are",
        &get_with(&[("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("x-a", "2")]),
        &["GET /a", "host: x", "cookie: a=1; b=2", "x-a: 1", "x-a: 2"],
    );
    check_fields(
        "one alone",
        &get_with(&[("cookie", "a=1; b=2")]),
        &["GET /a", "host: x", "cookie: a=1; b=2"],
    );
    check_fields(
        "an empty one is joined like any other",
        &get_with(&[("cookie", ""), ("cookie", "b=2")]),
        &["GET /a", "host: x", "cookie: ; b=2"],
    );
}

// RFC 9113 section 8.3.1. nginx before 1.23 takes the first of the two, later ones refuse such a request, nghttp2 prefers `:authority`.
#[test]
fn authority_and_host() {
    let with = |more: &[(&'static str, &'static str)]| -> Vec<(&str, &str)> {
        [&[(":method", "GET"), (":path", "/a")], more].concat()
    };
    check_fields(
        "`:authority` is the host",
        &with(&[(":authority", "a.test")]),
        &["GET /a", "host: a.test"],
    );
    check_fields(
        "a host alone, as a proxy sends it",
        &with(&[("host", "b.test")]),
        &["GET /a", "host: b.test"],
    );
    check_fields(
        "both, and they agree",
        &with(&[(":authority", "a.test"), ("x", "1"), ("host", "a.test")]),
        &["GET /a", "host: a.test", "x: 1"],
    );
    check_fields(
        "both, and they differ: `:authority` takes the place of the other",
        &with(&[(":authority", "a.test"), ("x", "1"), ("host", "b.test")]),
        &["GET /a", "host: a.test", "x: 1", "!repeated_host"],
    );
    check_fields(
        "neither",
        &with(&[("x", "1")]),
        &["GET /a", "x: 1", "!missing_host"],
    );
    check_fields(
        "two hosts",
        &with(&[("host", "a.test"), ("host", "b.test")]),
        &["GET /a", "host: a.test", "host: b.test", "!repeated_host"],
    );
}

// RFC 9113 section 8.3.1, RFC 9110 section 7.1.
#[test]
fn targets() {
    let with = |method, path| [(":method", method), (":authority", "x"), (":path", path)];
    check_fields("a query", &with("GET", "/a?b=c&d"), &["GET /a?b=c&d", "host: x"]);
    check_fields(
        "OPTIONS of the server as a whole",
        &with("OPTIONS", "*"),
        &["OPTIONS *", "host: x"],
    );
    check_fields(
        "bytes beyond ASCII, as they came",
        &with("GET", "/\u{e9}"),
        &["GET /\\xc3\\xa9", "host: x"],
    );
    check_fields(
        "an empty path, which nobody may send",
        &with("GET", ""),
        &["GET ", "host: x"],
    );
    check_fields(
        "an absolute form, as some proxies send it",
        &with("GET", "http://y/a"),
        &["GET http://y/a", "host: x"],
    );
    check_fields(
        "pseudo fields behind others: refused by peers, read all the same",
        &[
            ("x-a", "1"),
            (":method", "GET"),
            (":path", "/a"),
            (":authority", "x"),
        ],
        &["GET /a", "host: x", "x-a: 1"],
    );
    check_fields(
        "a pseudo field that nobody knows is left out",
        &get_with(&[(":color", "red"), ("a", "b")]),
        &["GET /a", "host: x", "a: b"],
    );
}

// RFC 9113 sections 8.1.1 and 8.2, and the ways of smuggling requests into HTTP/1 behind a gateway that passes them on.
#[test]
fn what_peers_refuse_or_do_not() {
    check_fields(
        "a line break in a value",
        &get_with(&[("x", "1\r\nx-admin: 1")]),
        &["GET /a", "host: x", "x: 1\\r\\nx-admin: 1", "!control_byte"],
    );
    check_fields(
        "a line break in a path",
        &[
            (":method", "GET"),
            (":path", "/ HTTP/1.1\r\nx: y"),
            (":authority", "x"),
        ],
        &["GET / HTTP/1.1\\r\\nx: y", "host: x", "!control_byte"],
    );
    check_fields(
        "a NUL",
        &get_with(&[("x", "\0")]),
        &["GET /a", "host: x", "x: \\x00", "!control_byte"],
    );
    check_fields(
        "a large letter in a name",
        &get_with(&[("X", "1")]),
        &["GET /a", "host: x", "X: 1", "!bad_field_line"],
    );
    check_fields(
        "a colon in a name",
        &get_with(&[("a:b", "1")]),
        &["GET /a", "host: x", "a:b: 1", "!bad_field_line"],
    );
    check_fields(
        "a blank in a name",
        &get_with(&[("a ", "1")]),
        &["GET /a", "host: x", "a : 1", "!bad_field_line"],
    );
    check_fields(
        "an empty name",
        &get_with(&[("", "1")]),
        &["GET /a", "host: x", ": 1", "!bad_field_line"],
    );
    check_fields(
        "an empty value is nothing odd",
        &get_with(&[("a", "")]),
        &["GET /a", "host: x", "a: "],
    );
    check_fields(
        "bytes beyond ASCII in a value are not either",
        &get_with(&[("a", "\u{e9}")]),
        &["GET /a", "host: x", "a: \\xc3\\xa9"],
    );
    check_fields(
        "a transfer coding, which HTTP/2 has not (8.2.2), frames nothing",
        &get_with(&[("transfer-encoding", "chunked")]),
        &["GET /a", "host: x", "transfer-encoding: chunked"],
    );
    check_fields(
        "`te: trailers` (8.2.2)",
        &get_with(&[("te", "trailers")]),
        &["GET /a", "host: x", "te: trailers"],
    );
    for (name, lengths, anomaly) in [
        ("one length twice", ["0", "0"], "!repeated_content_length"),
        ("two lengths", ["0", "4"], "!conflicting_content_length"),
    ] {
        let fields = lengths.map(|length| ("content-length", length));
        let fields = get_with(&fields);
        let sent = lengths.map(|length| format!("content-length: {length}"));
        check_fields(name, &fields, &["GET /a", "host: x", &sent[0], &sent[1], anomaly]);
    }
    check_fields(
        "a length that is no number",
        &get_with(&[("content-length", "+1")]),
        &["GET /a", "host: x", "content-length: +1", "!bad_content_length"],
    );
}

// RFC 9113 section 8.3.2.
#[test]
fn statuses() {
    for (name, status, expected) in [
        ("the lowest that is final", "200", "1 GET /a [] -> 200 []"),
        ("one that nobody knows", "799", "1 GET /a [] -> 799 []"),
        ("one that is none", "20", "1 GET /a [] -> * lost"),
        ("a word", "ok", "1 GET /a [] -> * lost"),
    ] {
        let script = start()
            .ask(headers(1, ONLY, GET))
            .answer(headers(1, ONLY, &[(":status", status)]));
        check(name, &script, &[expected]);
    }
}
