//! CONNECT, extended CONNECT, and HTTP/1.1 that becomes HTTP/2.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use super::wire::{PREFACE, data, headers, reset, settings};
use super::{ENDS, Fields, GET, Move, OK, ONLY, REQ, RES, WHOLE, check, conn, start};
use crate::capture::event::{CaptureEvent, ConnOpen, DataChunk, Direction, KernelTime};
use crate::conn::{ConnLimits, ConnTable};
use crate::http::exchange::{Exchange, Outcome, Version};
use crate::http::h1::Side;

// RFC 9113 section 8.5.
#[test]
fn connect() {
    let connect = [(":method", "CONNECT"), (":authority", "db:5432")];
    check(
        "a tunnel ends with its head; what it carries is opaque",
        &start()
            .ask(headers(1, WHOLE, &connect))
            .answer([headers(1, WHOLE, OK), data(1, 0, b"opaque")].concat())
            .ask([data(1, ENDS, b"opaque"), headers(3, ONLY, GET)].concat())
            .answer(headers(3, ONLY, OK)),
        &[
            "1 CONNECT db:5432 [~] -> 200 [~] upgraded",
            "3 GET /a [] -> 200 []",
        ],
    );
    check(
        "a refusal is an answer like any other",
        &start()
            .ask(headers(1, WHOLE, &connect))
            .answer([headers(1, WHOLE, &[(":status", "403")]), data(1, ENDS, b"no")].concat())
            .ask(reset(1, 8)),
        &["1 CONNECT db:5432 [~] -> 403 [no] reset by client 8"],
    );
}

// RFC 8441 section 5.1, whose example this is.
#[test]
fn extended_connect() {
    let websocket: Fields<'_> = &[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/chat"),
        (":authority", "server.example.com"),
        ("sec-websocket-protocol", "chat, superchat"),
        ("sec-websocket-version", "13"),
    ];
    let asked = || {
        start()
            .answer(settings(&[(8, 1)]))
            .ask(headers(1, WHOLE, websocket))
    };
    check(
        "a WebSocket on a stream",
        &asked()
            .answer(headers(
                1,
                WHOLE,
                &[(":status", "200"), ("sec-websocket-protocol", "chat")],
            ))
            .ask(data(1, 0, b"\x81\x85abcd"))
            .answer(data(1, ENDS, b"\x81\x05hello")),
        &["1 CONNECT /chat [~] -> 200 [~] upgraded"],
    );
    check(
        "a server that does not want it",
        &asked()
            .ask(data(1, ENDS, b""))
            .answer(headers(1, ONLY, &[(":status", "501")])),
        &["1 CONNECT /chat [] -> 501 []"],
    );
}

/// Plays what moved on a connection through the table, as the kernel would report it.
fn through_the_table(moves: &[Move]) -> Vec<Exchange> {
    let (mut table, mut out) = (ConnTable::new(ConnLimits::default()), Vec::new());
    let info = conn();
    let open = ConnOpen {
        conn: info.id,
        local: info.local,
        remote: info.remote,
        tls: false,
        late: false,
        at: KernelTime(0),
    };
    table.apply(CaptureEvent::Open(open), &mut out);
    let mut positions = [0, 0];
    for (step, now) in moves.iter().zip(1..) {
        let Move::Data(side, bytes) = step else { continue };
        let (direction, pos) = match side {
            Side::Request => (Direction::Ingress, &mut positions[0]),
            Side::Response => (Direction::Egress, &mut positions[1]),
        };
        let chunk = DataChunk {
            conn: info.id,
            at: KernelTime(now),
            direction,
            pos: *pos,
            len: u64::try_from(bytes.len()).unwrap(),
            bytes: Bytes::copy_from_slice(bytes),
        };
        *pos += chunk.len;
        table.apply(CaptureEvent::Data(chunk), &mut out);
    }
    table.flush(KernelTime(1 << 20), &mut out);
    out
}

/// One exchange in a line.
fn line(exchange: &Exchange) -> String {
    let version = |version| match version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
        Version::Http2 => "2",
    };
    let request = exchange.request.as_ref().unwrap();
    let response = exchange.response.as_ref().map_or_else(
        || "*".to_owned(),
        |response| {
            format!(
                "{} {} [{}]",
                version(response.version),
                response.status,
                response.body.bytes.escape_ascii()
            )
        },
    );
    let stream = exchange
        .stream
        .map_or_else(|| "-".to_owned(), |id| id.to_string());
    let mark = if exchange.outcome == Outcome::Upgraded {
        " upgraded"
    } else {
        ""
    };
    format!(
        "{stream} {} {} {} [{}] -> {response}{mark}",
        version(request.version),
        request.method.escape_ascii(),
        request.target.escape_ascii(),
        request.body.bytes.escape_ascii()
    )
}

#[track_caller]
fn check_upgrade(name: &str, moves: &[(Side, &[u8])], expected: &[&str]) {
    let moves: Vec<Move> = moves
        .iter()
        .map(|(side, bytes)| Move::Data(*side, bytes.to_vec()))
        .collect();
    for moves in super::ways(&moves) {
        let lines: Vec<String> = through_the_table(&moves).iter().map(line).collect();
        assert_eq!(lines, expected, "{name}, when it comes as {moves:?}");
    }
}

// RFC 7540 section 3.2, which RFC 9113 took out and curl still sends.
#[test]
fn upgrades_from_http_1() {
    let ask = |more: &str| {
        let coded = URL_SAFE_NO_PAD.encode(&settings(&[(3, 100), (5, 32_768)])[9..]);
        format!(
            "GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: {coded}\r\n{more}"
        )
        .into_bytes()
    };
    let asked = ask("\r\n");
    let agreed = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n".to_vec();
    let first = [headers(1, WHOLE, OK), data(1, ENDS, b"one")].concat();
    let preface = [PREFACE, &settings(&[])].concat();
    check_upgrade(
        "the first stream answers the request that asked",
        &[
            (REQ, &asked),
            (RES, &[&agreed[..], &settings(&[]), &first].concat()),
            (REQ, &[&preface[..], &headers(3, ONLY, GET)].concat()),
            (RES, &headers(3, ONLY, OK)),
        ],
        &["1 1.1 GET /a [] -> 2 200 [one]", "3 2 GET /a [] -> 2 200 []"],
    );
    check_upgrade(
        "a request with a body, which goes before in HTTP/1 (3.2)",
        &[
            (REQ, &ask("Content-Length: 4\r\n\r\nbody")),
            (RES, &agreed),
            (RES, &[settings(&[]), first].concat()),
        ],
        &["1 1.1 GET /a [body] -> 2 200 [one]"],
    );
    let long = vec![b'x'; 20_000];
    let out = through_the_table(&[
        Move::Data(REQ, asked.clone()),
        Move::Data(
            RES,
            [
                &agreed[..],
                &settings(&[]),
                &headers(1, WHOLE, OK),
                &data(1, ENDS, &long),
            ]
            .concat(),
        ),
    ]);
    assert_eq!(
        out[0].response.as_ref().unwrap().body.bytes.len(),
        20_000,
        "HTTP2-Settings count (3.2.1)"
    );
    check_upgrade(
        "a server that does not want it answers in HTTP/1, as nginx does",
        &[
            (REQ, &asked),
            (RES, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ],
        &["- 1.1 GET /a [] -> 1.1 200 [ok]"],
    );
    check_upgrade(
        "another protocol is none of ours",
        &[
            (REQ, b"GET /w HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
            (RES, b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello"),
        ],
        &["- 1.1 GET /w [] -> 1.1 101 [] upgraded"],
    );
    check_upgrade(
        "a connection that ends behind the 101: no answer came",
        &[(REQ, &asked), (RES, &agreed)],
        &["1 1.1 GET /a [] -> *"],
    );
}
