//! Field lines (RFC 9112 section 5), with the catalogues of what llhttp, httparse and nginx read differently.

use super::table::{END, check, check_head, get, ok};

#[test]
fn fields_as_they_are() {
    check_head(
        "the usual",
        "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n",
        "GET / 1.1 Host=h A=b",
    );
    check_head(
        "order, repeats and letters are kept",
        "GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nB: 2\r\na: 3\r\n\r\n",
        "GET / 1.1 Host=h A=1 B=2 a=3",
    );
    check_head(
        "blanks around a value are not its own",
        "GET / HTTP/1.1\r\nHost: h\r\nA: \t b c \t\r\nB:d\r\nC:\r\nD:  \r\n\r\n",
        "GET / 1.1 Host=h A=b c B=d C= D=",
    );
    check_head(
        "all the signs that a name may have (RFC 9110 section 5.6.2)",
        "GET / HTTP/1.1\r\nHost: h\r\n!#$%&'*+-.^_`|~09az: x\r\n\r\n",
        "GET / 1.1 Host=h !#$%&\\'*+-.^_`|~09az=x",
    );
    check_head(
        "a value with colons",
        "GET / HTTP/1.1\r\nHost: h:80\r\nA: b: c\r\n\r\n",
        "GET / 1.1 Host=h:80 A=b: c",
    );
    check_head(
        "a value that is no UTF-8 (obs-text)",
        b"GET / HTTP/1.1\r\nHost: h\r\nA: \xe9\x80\xff\r\n\r\n",
        "GET / 1.1 Host=h A=\\xe9\\x80\\xff",
    );
    check_head(
        "a name that is no UTF-8, which nginx leaves out",
        b"GET / HTTP/1.1\r\nHost: h\r\nA\xe9: b\r\n\r\n",
        "GET / 1.1 Host=h A\\xe9=b ! bad_field_line",
    );
    check_head(
        "a name with signs that none has, which nginx leaves out",
        "GET / HTTP/1.1\r\nHost: h\r\nA(@)[]{}\"/: b\r\n\r\n",
        "GET / 1.1 Host=h A(@)[]{}\\\"/=b ! bad_field_line",
    );
    check_head("no fields, HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "GET / 1.0");
}

#[test]
fn fields_as_they_should_not_be() {
    check_head(
        "obs-fold",
        "GET / HTTP/1.1\r\nHost: h\r\nA: one\r\n  two\r\n\tthree\r\nB: b\r\n\r\n",
        "GET / 1.1 Host=h A=one two three B=b ! obs_fold",
    );
    check_head(
        "a fold with nothing before it",
        "GET / HTTP/1.1\r\n X: y\r\nHost: h\r\n\r\n",
        "GET / 1.1 Host=h ! bad_field_line",
    );
    check_head(
        "a blank before the colon (RFC 9112 section 5.1)",
        "GET / HTTP/1.1\r\nHost: h\r\nA : b\r\nC\t: d\r\n\r\n",
        "GET / 1.1 Host=h A=b C=d ! space_before_colon",
    );
    check_head(
        "a blank within a name",
        "GET / HTTP/1.1\r\nHost: h\r\nA B: c\r\n\r\n",
        "GET / 1.1 Host=h ! bad_field_line",
    );
    check_head(
        "no colon: nginx takes it for a field without a value",
        "GET / HTTP/1.1\r\nHost: h\r\nABC\r\n\r\n",
        "GET / 1.1 Host=h ABC= ! bad_field_line",
    );
    check_head(
        "no name",
        "GET / HTTP/1.1\r\nHost: h\r\n: v\r\n\r\n",
        "GET / 1.1 Host=h ! bad_field_line",
    );
    check_head(
        "NUL in a value",
        "GET / HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n",
        "GET / 1.1 Host=h A=b\\x00c ! control_byte",
    );
    check_head(
        "NUL in a name",
        "GET / HTTP/1.1\r\nHost: h\r\nA\0B: c\r\nD: e\r\n\r\n",
        "GET / 1.1 Host=h D=e ! bad_field_line ! control_byte",
    );
    check_head(
        "CR within a value",
        "GET / HTTP/1.1\r\nHost: h\r\nA: b\rC: d\r\n\r\n",
        "GET / 1.1 Host=h A=b\\rC: d ! control_byte",
    );
    check_head(
        "bytes 1 and 127 in a value, which nginx lets through",
        "GET / HTTP/1.1\r\nHost: h\r\nA: \x01\x7f\r\n\r\n",
        "GET / 1.1 Host=h A=\\x01\\x7f ! control_byte",
    );
    check_head(
        "two CR before an LF",
        "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\r\n\r\n",
        "GET / 1.1 Host=h A=b ! control_byte",
    );
    check_head(
        "no Host in HTTP/1.1",
        "GET / HTTP/1.1\r\nA: b\r\n\r\n",
        "GET / 1.1 A=b ! missing_host",
    );
    check_head(
        "two Hosts",
        "GET / HTTP/1.1\r\nHost: h\r\nhost: i\r\n\r\n",
        "GET / 1.1 Host=h host=i ! repeated_host",
    );
    check_head(
        "a name that only ends like Host",
        "GET / HTTP/1.1\r\nHost: h\r\nXHost: i\r\n\r\n",
        "GET / 1.1 Host=h XHost=i",
    );
}

#[test]
fn line_ends() {
    check_head(
        "LF alone everywhere (RFC 9112 section 2.2)",
        "GET / HTTP/1.1\nHost: h\nA: b\n\n",
        "GET / 1.1 Host=h A=b ! bare_line_feed",
    );
    check_head(
        "LF alone once",
        "GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n",
        "GET / 1.1 Host=h A=b ! bare_line_feed",
    );
    check_head(
        "LF alone behind the request line",
        "GET / HTTP/1.1\nHost: h\r\n\r\n",
        "GET / 1.1 Host=h ! bare_line_feed",
    );
    check_head(
        "LF alone at the end",
        "GET / HTTP/1.1\r\nHost: h\r\n\n",
        "GET / 1.1 Host=h ! bare_line_feed",
    );
    check_head(
        "empty lines before",
        "\r\n\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / 1.1 Host=h",
    );
    check(
        "a client that sends one more line end behind its body (RFC 9112 section 2.2)",
        &[
            super::table::post("Content-Length: 2", "ab\r\n"),
            ok("Content-Length: 0", ""),
            get("/b"),
            ok("Content-Length: 0", ""),
        ],
        &["POST /p [ab] -> 200 []", "GET /b [] -> 200 []"],
    );
}

#[test]
fn status_lines() {
    for (name, head, expected) in [
        ("no reason and its blank", "HTTP/1.1 299 ", "299 []"),
        ("no reason and no blank", "HTTP/1.1 299", "299 []"),
        ("a reason that is no text", "HTTP/1.1 200 \u{e9}", "200 []"),
        ("another 1.x", "HTTP/1.9 200 OK", "200 [] ! unknown_version"),
        ("the largest status", "HTTP/1.1 999 X", "999 []"),
        (
            "a control byte in the reason",
            "HTTP/1.1 200 O\x01K",
            "200 [] ! control_byte",
        ),
        ("LF alone", "HTTP/1.1 200 OK\nA: b", "200 [] ! bare_line_feed"),
        ("folded", "HTTP/1.1 200 OK\r\nA: b\r\n c", "200 [] ! obs_fold"),
    ] {
        check(
            name,
            &[
                get("/a"),
                super::table::res(format!("{head}\r\nContent-Length: 0\r\n\r\n")),
            ],
            &[&format!("GET /a [] -> {expected}")],
        );
    }
    for (name, head) in [
        ("HTTP/2", "HTTP/2 200 OK"),
        ("another protocol", "ICY 200 OK"),
        ("a status of four digits", "HTTP/1.1 2000 OK"),
        ("a status below 100", "HTTP/1.1 099 OK"),
        ("a status of letters", "HTTP/1.1 abc OK"),
        ("no status", "HTTP/1.1 "),
        ("two blanks and a letter", "HTTP/1.1 2 0"),
    ] {
        check(
            name,
            &[
                get("/a"),
                super::table::res(format!("{head}\r\nContent-Length: 0\r\n\r\n")),
                END,
            ],
            &["GET /a [] -> *; head_lost"],
        );
    }
}
