//! Request lines (RFC 9112 section 3), and what stands in their place.

use super::table::{CLIENT_ENDS, END, check, check_calls, check_head, empty, get, refusal, req, res};

#[test]
fn targets_in_their_four_forms() {
    for (name, line, expected) in [
        (
            "origin form (3.2.1)",
            "GET /where?q=now HTTP/1.1",
            "GET /where?q=now",
        ),
        (
            "absolute form (3.2.2)",
            "GET http://www.example.org/pub/WWW/TheProject.html HTTP/1.1",
            "GET http://www.example.org/pub/WWW/TheProject.html",
        ),
        (
            "absolute form of another scheme",
            "GET a+b.c-1://h HTTP/1.1",
            "GET a+b.c-1://h",
        ),
        ("asterisk form (3.2.4)", "OPTIONS * HTTP/1.1", "OPTIONS *"),
        ("asterisk where it has no place", "GET * HTTP/1.1", "GET *"),
        ("no slash", "GET foo HTTP/1.1", "GET foo"),
        ("a fragment", "GET /a#b HTTP/1.1", "GET /a#b"),
        ("dots", "GET /../../a HTTP/1.1", "GET /../../a"),
        ("escapes are kept", "GET /%2e%00%zz HTTP/1.1", "GET /%2e%00%zz"),
        ("signs", "GET /a|b\"<>{}\\^` HTTP/1.1", "GET /a|b\\\"<>{}\\\\^`"),
    ] {
        let head = format!("{line}\r\nHost: h\r\n\r\n");
        check_head(name, &head, &format!("{expected} 1.1 Host=h"));
    }
    check_head(
        "bytes that are no text",
        b"GET /\xff\x80?\xe9 HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /\\xff\\x80?\\xe9 1.1 Host=h",
    );
    check(
        "authority form (3.2.3), which nginx refuses",
        &[
            req("CONNECT www.example.com:80 HTTP/1.1\r\nHost: www.example.com\r\n\r\n"),
            refusal(400),
        ],
        &["CONNECT www.example.com:80 [] -> 400 [!]"],
    );
}

#[test]
fn methods() {
    for method in ["GET", "PATCH", "M-SEARCH", "FOO_BAR", "PROPFIND", "X"] {
        check_head(
            method,
            format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n"),
            &format!("{method} / 1.1 Host=h"),
        );
    }
    for method in ["get", "Get", "GET1", "G.ET", "GET:", "G\u{e9}T"] {
        let shown = method.as_bytes().escape_ascii();
        let anomaly = if method.is_ascii() {
            "bad_method"
        } else {
            "bad_request_line"
        };
        let expected = match anomaly {
            "bad_method" => format!("{shown} / [] -> 400 [!] ! bad_method"),
            _ => "  [] -> 400 [!] ! bad_request_line".to_owned(),
        };
        check(
            method,
            &[
                req(format!(
                    "{method} / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n!"
                )),
                get("/b"),
                refusal(400),
            ],
            &[&expected],
        );
    }
}

#[test]
fn versions() {
    let head = |version: &str| format!("GET / {version}\r\nHost: h\r\n\r\n");
    check_head("1.0", head("HTTP/1.0"), "GET / 1.0 Host=h");
    check_head("1.1", head("HTTP/1.1"), "GET / 1.1 Host=h");
    for version in [
        "HTTP/1.2",
        "HTTP/1.9",
        "HTTP/1.10",
        "HTTP/1.999",
        "HTTP/2.0",
        "HTTP/0.8",
    ] {
        check_head(version, head(version), "GET / 1.1 Host=h ! unknown_version");
    }
    for version in [
        "http/1.1",
        "HTTP/1",
        "HTTP/11",
        "HTTP/",
        "FTP/1.1",
        "HTTP/1.1x",
        "HTTP/1.1000",
        "HTTPS/1.1",
    ] {
        check(
            version,
            &[req(head(version)), get("/b"), refusal(400)],
            &[&format!("GET / {version} [] -> 400 [!] ! bad_request_line")],
        );
    }
}

#[test]
fn blanks_in_the_line() {
    let odd = " ! blanks_in_request_line";
    for (name, line, expected) in [
        ("more than one", "GET  /  HTTP/1.1", "GET /"),
        ("one behind", "GET / HTTP/1.1 ", "GET /"),
        ("in the target", "GET /a b HTTP/1.1", "GET /a b"),
        (
            "a version in the target",
            "GET / HTTP/1.0 HTTP/1.1",
            "GET / HTTP/1.0",
        ),
        ("a tab in the target", "GET /a\tb HTTP/1.1", "GET /a\\tb"),
    ] {
        let head = format!("{line}\r\nHost: h\r\n\r\n");
        check_head(name, head, &format!("{expected} 1.1 Host=h{odd}"));
    }
    check_head(
        "tabs for blanks",
        "GET\t/\tHTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / 1.1 Host=h",
    );
    check(
        "one before",
        &[req(" GET / HTTP/1.1\r\nHost: h\r\n\r\n"), get("/b"), refusal(400)],
        &["  [] -> 400 [!] ! bad_request_line"],
    );
    check_head(
        "NUL in the target",
        "GET /\0a HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /\\x00a 1.1 Host=h ! control_byte",
    );
    check_head(
        "two CR behind it",
        "GET / HTTP/1.1\r\r\nHost: h\r\n\r\n",
        "GET / 1.1 Host=h ! control_byte",
    );
}

#[test]
fn http09() {
    check(
        "its answer has no head, and nothing follows",
        &[req("GET /a\r\n"), res("<html>hello</html>"), END],
        &["GET /a [] -> *; response_absent ! http09"],
    );
    check(
        "with something behind it, which nobody reads",
        &[req("GET /a\r\n"), get("/b"), res("<html>hello</html>"), END],
        &["GET /a [] -> *; response_absent ! http09"],
    );
    check(
        "another method, which is refused in the same manner",
        &[req("POST /a\r\n"), res("<html>400 Bad Request</html>"), END],
        &["POST /a [] -> *; response_absent ! http09"],
    );
}

#[test]
fn answers_to_what_is_no_head() {
    check(
        "the request line alone was enough",
        &[req("get /a HTTP/1.1\r\n"), refusal(400), END],
        &["get /a [] -> 400 [!] ! bad_method ! unfinished_head"],
    );
    check(
        "a head that takes too long (408)",
        &[req("GET /a HTTP/1.1\r\nHost: h\r\nA: b"), refusal(408), END],
        &["GET /a [] -> 408 [!] ! unfinished_head"],
    );
    check(
        "a line that is too long for the gateway (414)",
        &[req(format!("GET /{}", "a".repeat(300))), refusal(414), END],
        &[&format!(
            "GET /{} [] -> 414 [!] ! unfinished_head",
            "a".repeat(300)
        )],
    );
    check(
        "TLS to a plain port",
        &[
            req(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03"),
            refusal(400),
            END,
        ],
        &["  [] -> 400 [!] ! control_byte ! bad_request_line ! unfinished_head"],
    );
    check(
        "plain HTTP to a TLS port (nginx: The plain HTTP request was sent to HTTPS port)",
        &[get("/a"), refusal(400), END],
        &["GET /a [] -> 400 [!]"],
    );
    check(
        "another protocol",
        &[req("SSH-2.0-OpenSSH_9.6\r\n"), refusal(400), END],
        &["SSH-2.0-OpenSSH_9.6  [] -> 400 [!] ! bad_method ! bad_request_line ! unfinished_head"],
    );
    check(
        "nothing but blank lines, and a goodbye",
        &[req("\r\n\r\n"), CLIENT_ENDS, END],
        &[],
    );
    check(
        "a head that its client broke off",
        &[req("GET /a HTTP/1.1\r\nHo"), CLIENT_ENDS, END],
        &[],
    );
    // In one call, as nginx writes it: of an answer to nobody knows what, only that call's body can be trusted.
    check_calls(
        "408 to nothing at all",
        &[get("/a"), empty(200), refusal(408), END],
        &["GET /a [] -> 200 []", "* -> 408 [!]; head_lost"],
    );
}
