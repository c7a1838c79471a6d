//! What a connection turns out to carry, where its first bytes are not simply a request.

use bytes::Bytes;
use kongtap_common::record::ConnId;

use super::{Connection, UNREADABLE_BYTES};
use crate::capture::event::{ConnOpen, DataChunk, Direction, KernelTime, StreamEnds};
use crate::conn::ConnLimits;
use crate::http::exchange::Exchange;
use crate::http::h1::limits::HttpLimits;

const IN: Direction = Direction::Ingress;
const OUT: Direction = Direction::Egress;
const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

const ID: ConnId = ConnId {
    tgid: 1,
    fd: 2,
    generation_ns: 3,
};

/// The exchanges that `calls` give, and how many connections of other protocols were met.
fn run(calls: &[(Direction, &[u8])], step: usize) -> (Vec<Exchange>, u64) {
    let open = ConnOpen {
        conn: ID,
        at: KernelTime(0),
        local: "127.0.0.1:8000".parse().unwrap(),
        remote: "127.0.0.1:4000".parse().unwrap(),
        tls: false,
        late: false,
    };
    let mut connection = Connection::new(&open);
    let mut positions = [0, 0];
    let mut out = Vec::new();
    for (direction, bytes) in calls {
        let position = &mut positions[usize::from(*direction == OUT)];
        // The gateway writes its answer in one call.
        for piece in bytes.chunks(if *direction == IN { step } else { bytes.len() }) {
            let len = u64::try_from(piece.len()).unwrap();
            let chunk = DataChunk {
                conn: ID,
                at: KernelTime(1),
                direction: *direction,
                pos: *position,
                len,
                bytes: Bytes::copy_from_slice(piece),
            };
            *position += len;
            connection.data(chunk, HttpLimits::default(), &mut out);
        }
    }
    let ends = StreamEnds {
        ingress: positions[0],
        egress: positions[1],
    };
    let stats = connection.close(KernelTime(2), Some(ends), &ConnLimits::default(), &mut out);
    (out, stats.not_http + stats.ciphertext)
}

/// Each exchange as `METHOD TARGET STATUS`.
#[track_caller]
fn check(name: &str, calls: &[(Direction, &[u8])], expected: &[&str]) {
    for step in [usize::MAX, 1] {
        let (exchanges, others) = run(calls, step);
        let seen: Vec<String> = exchanges
            .iter()
            .map(|exchange| {
                let (request, response) = (exchange.request.as_ref(), exchange.response.as_ref());
                let (request, response) = (request.unwrap(), response.unwrap());
                let words = [&request.method, &request.target].map(|word| word.escape_ascii().to_string());
                format!("{} {}", words.join(" "), response.status)
            })
            .collect();
        assert_eq!(seen, expected, "{name}, {step}");
        assert_eq!(others, u64::from(expected.is_empty()), "{name}, {step}");
    }
}

#[test]
fn a_proxy_header_is_passed_over() {
    let with = |header: &[u8], request: &[u8]| [header, request].concat();
    let v1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x0a\x0a\x0a\x0a\x0a\x0a\x0a\x0a\x00\x01\x00\x02";
    for header in [&v1[..], b"PROXY UNKNOWN\r\n", v2] {
        let request = with(header, GET);
        check("with the request", &[(IN, &request), (OUT, OK)], &["GET /a 200"]);
        check(
            "by itself",
            &[(IN, header), (IN, GET), (OUT, OK)],
            &["GET /a 200"],
        );
    }
    check(
        "a method of that name",
        &[(IN, b"PROXY /a HTTP/1.1\r\nHost: h\r\n\r\n"), (OUT, OK)],
        &["PROXY /a 200"],
    );
    check(
        "to a listener that does not expect it",
        &[(IN, b"PROXY TCP9 x\r\n\r\n"), (OUT, REFUSAL)],
        &["PROXY TCP9 x 400"],
    );
}

#[test]
fn what_is_answered_with_an_error_of_http_was_a_request() {
    check(
        "small letters",
        &[(IN, b"get /a HTTP/1.1\r\nHost: h\r\n\r\n"), (OUT, REFUSAL)],
        &["get /a 400"],
    );
    check(
        "another protocol",
        &[(IN, b"SSH-2.0-x\r\n"), (OUT, REFUSAL)],
        &["SSH-2.0-x  400"],
    );
    check(
        "TLS to a plain port",
        &[(IN, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03"), (OUT, REFUSAL)],
        &["  400"],
    );
    check("noise", &[(IN, b"\0\x01\x02\x03"), (OUT, REFUSAL)], &["  400"]);
}

#[test]
fn what_is_answered_otherwise_was_none() {
    let long = vec![0; UNREADABLE_BYTES + 1];
    for (name, calls) in [
        (
            "its own protocol",
            &[(IN, &b"SSH-2.0-x\r\n"[..]), (OUT, b"SSH-2.0-y\r\n")][..],
        ),
        (
            "TLS",
            &[(IN, b"\x16\x03\x01\x00\x05hello"), (OUT, b"\x16\x03\x03")],
        ),
        (
            "a response that nothing refused",
            &[(IN, b"SSH-2.0-x\r\n"), (OUT, OK)],
        ),
        ("nothing", &[(IN, b"SSH-2.0-x\r\n")]),
        ("after more than is kept", &[(IN, &long), (OUT, REFUSAL)]),
    ] {
        check(name, calls, &[]);
    }
}
