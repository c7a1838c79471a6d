//! The chunked coding (RFC 9112 section 7.1) and what parsers disagree on: nginx's reading, as a real one answered.

use super::table::{check, empty, get, ok, post, refusal};

const CHUNKED: &str = "Transfer-Encoding: chunked";

/// A request's body that nginx takes.
#[track_caller]
fn taken(name: &str, chunks: &str, expected: &str) {
    let moves = [post(CHUNKED, chunks), empty(200), get("/b"), empty(204)];
    check(name, &moves, &[expected, "GET /b [] -> 204 []"]);
}

/// One that it refuses with 400 where it comes to the fault.
#[track_caller]
fn refused(name: &str, chunks: &str, expected: &str) {
    let moves = [post(CHUNKED, chunks), get("/b"), refusal(400)];
    check(name, &moves, &[expected]);
}

#[test]
fn sizes() {
    taken("one chunk", "2\r\nab\r\n0\r\n\r\n", "POST /p [ab] -> 200 []");
    taken("no chunk", "0\r\n\r\n", "POST /p [] -> 200 []");
    taken(
        "small letters",
        "a\r\n0123456789\r\n0\r\n\r\n",
        "POST /p [0123456789] -> 200 []",
    );
    taken(
        "large letters",
        "A\r\n0123456789\r\n0\r\n\r\n",
        "POST /p [0123456789] -> 200 []",
    );
    taken(
        "leading zeros, more than a number has",
        "000000000000000000002\r\nab\r\n000\r\n\r\n",
        "POST /p [ab] -> 200 []",
    );
    taken(
        "data that looks like the end",
        "7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n",
        "POST /p [\\r\\n0\\r\\n\\r\\n] -> 200 []",
    );
    let bad = "POST /p [] -> 400 [!]; request cut at 0 ! bad_chunk";
    refused("no digits", "\r\n", bad);
    refused("an empty line before the first", "\r\n2\r\nab\r\n0\r\n\r\n", bad);
    refused("another letter", "g\r\n", bad);
    refused("hexadecimal with its prefix", "0x2\r\nab\r\n0\r\n\r\n", bad);
    refused("plus", "+2\r\nab\r\n0\r\n\r\n", bad);
    refused("minus", "-2\r\nab\r\n0\r\n\r\n", bad);
    refused("a blank before", " 2\r\nab\r\n0\r\n\r\n", bad);
    refused("an underscore within", "1_0\r\nab\r\n0\r\n\r\n", bad);
    refused("only an extension", ";a=b\r\nab\r\n0\r\n\r\n", bad);
    refused("one more than 63 bits hold", "8000000000000000\r\nab", bad);
    refused("17 digits", "11111111111111111\r\nab", bad);
}

#[test]
fn extensions_are_passed_over() {
    taken("a name", "2;x\r\nab\r\n0\r\n\r\n", "POST /p [ab] -> 200 []");
    taken("a value", "2;x=y\r\nab\r\n0;z\r\n\r\n", "POST /p [ab] -> 200 []");
    taken(
        "in quotes",
        "2;x=\"a;b\"\r\nab\r\n0\r\n\r\n",
        "POST /p [ab] -> 200 []",
    );
    taken(
        "nothing after the sign",
        "2;\r\nab\r\n0\r\n\r\n",
        "POST /p [ab] -> 200 []",
    );
    taken(
        "blanks (RFC 9112 section 7.1.1, BWS)",
        "2 ; x = y\r\nab\r\n0\r\n\r\n",
        "POST /p [ab] -> 200 []",
    );
    taken(
        "blanks alone",
        "2 \t\r\nab\r\n0\r\n\r\n",
        "POST /p [ab] -> 200 []",
    );
    taken(
        "bytes that are no text",
        "2;\u{e9}\r\nab\r\n0\r\n\r\n",
        "POST /p [ab] -> 200 []",
    );
    refused(
        "a CR within (TERM.EXT)",
        "2;x\rX\r\nab\r\n0\r\n\r\n",
        "POST /p [] -> 400 [!]; request cut at 0 ! bad_chunk",
    );
}

#[test]
fn line_ends() {
    let bare = "POST /p [ab] -> 200 [] ! bare_line_feed";
    taken("LF after the size", "2\nab\r\n0\r\n\r\n", bare);
    taken("LF after an extension", "2;a\nab\r\n0\r\n\r\n", bare);
    taken("LF after the data", "2\r\nab\n0\r\n\r\n", bare);
    taken("LF after the last size", "2\r\nab\r\n0\n\r\n", bare);
    taken("LF at the end", "2\r\nab\r\n0\r\n\n", bare);
    taken("LF everywhere", "2\nab\n0\n\n", bare);
    refused(
        "CR alone after the size",
        "2\rXab\r\n",
        "POST /p [] -> 400 [!]; request cut at 0 ! bad_chunk",
    );
    let bad = "POST /p [ab] -> 400 [!]; request cut at 2 ! bad_chunk";
    refused("CR alone after the data", "2\r\nab\r0\r\n\r\n", bad);
    refused("two CR after the data", "2\r\nab\r\r\n0\r\n\r\n", bad);
    refused("more data than the size says", "2\r\nabc\r\n0\r\n\r\n", bad);
    refused("no line end after the data", "2\r\nab0\r\n\r\n", bad);
    refused("CR alone after the last size", "2\r\nab\r\n0\r\rX\r\n", bad);
}

#[test]
fn trailers_are_kept() {
    taken(
        "one",
        "2\r\nab\r\n0\r\nX: y\r\n\r\n",
        "POST /p [ab] + X=y -> 200 []",
    );
    taken(
        "several",
        "0\r\nX: y\r\nZ:  q \r\n\r\n",
        "POST /p [] + X=y + Z=q -> 200 []",
    );
    taken(
        "a length among them frames nothing (RFC 9110 section 6.5.1)",
        "0\r\nContent-Length: 5\r\n\r\n",
        "POST /p [] + Content-Length=5 -> 200 []",
    );
    taken(
        "a line without a colon",
        "0\r\nXy\r\n\r\n",
        "POST /p [] + Xy= -> 200 [] ! bad_field_line",
    );
    taken(
        "LF alone",
        "0\r\nX: y\nZ: q\n\n",
        "POST /p [] + X=y + Z=q -> 200 [] ! bare_line_feed",
    );
    let digest = [
        get("/a"),
        ok(
            "Transfer-Encoding: chunked\r\nTrailer: Digest",
            "1\r\na\r\n0\r\nDigest: x\u{ff}\r\n\r\n",
        ),
        get("/b"),
        empty(200),
    ];
    check(
        "of a response",
        &digest,
        &["GET /a [] -> 200 [a] + Digest=x\\xc3\\xbf", "GET /b [] -> 200 []"],
    );
}
