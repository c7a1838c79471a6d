//! Where HTTP ends: 101 (RFC 9110 section 7.8), and a CONNECT that is granted (section 9.3.6).

use super::table::{CLIENT_ENDS, END, check, empty, get, ok, refusal, req, res};
use super::{HttpLimits, REQ, RES, parser, run_on};

const WEBSOCKET: &str = "GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
const CONNECT: &str = "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n";

#[test]
fn upgrades() {
    let switched = &["GET /chat [] -> 101 []"];
    check(
        "frames behind it",
        &[
            req(WEBSOCKET),
            res(SWITCHING),
            res("\u{81}\u{5}hello"),
            req("\u{88}"),
        ],
        switched,
    );
    check(
        "frames in the same call",
        &[req(WEBSOCKET), res(format!("{SWITCHING}\u{81}\u{5}hello"))],
        switched,
    );
    check(
        "what looks like HTTP behind it is none",
        &[
            req(WEBSOCKET),
            res(SWITCHING),
            get("/b"),
            empty(200),
            CLIENT_ENDS,
            END,
        ],
        switched,
    );
    check(
        "h2c",
        &[
            req(
                "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
            ),
            res("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n\0\0\0"),
        ],
        switched,
    );
    check(
        "100 before 101",
        &[
            req(WEBSOCKET),
            res("HTTP/1.1 100 Continue\r\n\r\n"),
            res(SWITCHING),
        ],
        switched,
    );
    check(
        "frames before the answer",
        &[req(format!("{WEBSOCKET}\x01\x02\x03")), res(SWITCHING)],
        switched,
    );
    check(
        "an upgrade that is not granted",
        &[
            req(WEBSOCKET),
            ok("Content-Length: 2", "no"),
            get("/b"),
            empty(200),
        ],
        &["GET /chat [] -> 200 [no]", "GET /b [] -> 200 []"],
    );
    check(
        "426",
        &[
            req(WEBSOCKET),
            res("HTTP/1.1 426 X\r\nUpgrade: TLS/1.0\r\nContent-Length: 0\r\n\r\n"),
            get("/b"),
            empty(200),
        ],
        &["GET /chat [] -> 426 []", "GET /b [] -> 200 []"],
    );
    check(
        "the second of two",
        &[get("/a"), req(WEBSOCKET), empty(200), res(SWITCHING), res("x")],
        &["GET /a [] -> 200 []", "GET /chat [] -> 101 []"],
    );
}

#[test]
fn connect() {
    let granted = &["CONNECT h:443 [] -> 200 []"];
    check(
        "granted",
        &[req(CONNECT), res("HTTP/1.1 200 OK\r\n\r\n"), req("\x16\x03\x01")],
        granted,
    );
    check(
        "a length in the answer means nothing",
        &[req(CONNECT), ok("Content-Length: 5", "HTTP/1.1 400 X\r\n\r\n")],
        granted,
    );
    check(
        "the client does not wait",
        &[
            req(format!("{CONNECT}\x16\x03\x01")),
            res("HTTP/1.1 200 OK\r\n\r\n"),
        ],
        granted,
    );
    check(
        "refused with 405, as nginx does",
        &[req(CONNECT), refusal(405), END],
        &["CONNECT h:443 [] -> 405 [!]"],
    );
    check(
        "refused, and the connection goes on",
        &[req(CONNECT), empty(407), get("/b"), empty(200)],
        &["CONNECT h:443 [] -> 407 []", "GET /b [] -> 200 []"],
    );
}

#[test]
fn what_follows_is_opaque_and_nothing_of_it_is_wanted() {
    let mut http = parser(HttpLimits::default());
    let exchanges = run_on(&mut http, &[req(WEBSOCKET), res(SWITCHING)]);
    assert_eq!(exchanges.len(), 1);
    assert!(http.is_opaque());
    assert_eq!((http.unwanted(REQ), http.unwanted(RES)), (u64::MAX, u64::MAX));
    assert_eq!(http.take_stats().upgrades, 1);
}
