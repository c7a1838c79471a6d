//! gRPC: HTTP/2 with trailers (grpc/grpc doc/PROTOCOL-HTTP2.md). Its messages stay bytes.

use super::wire::{Script, data, headers, reset};
use super::{ENDS, Fields, ONLY, WHOLE, check, start};

const CALL: Fields<'_> = &[
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/google.pubsub.v2.PublisherService/CreateTopic"),
    (":authority", "pubsub.googleapis.com"),
    ("grpc-timeout", "1S"),
    ("content-type", "application/grpc+proto"),
    ("grpc-encoding", "gzip"),
    ("authorization", "Bearer y235.wef315yfh138vh31hv93hv8h3v"),
];
const HEAD: Fields<'_> = &[
    (":status", "200"),
    ("grpc-encoding", "gzip"),
    ("content-type", "application/grpc+proto"),
];
const FINE: Fields<'_> = &[("grpc-status", "0"), ("trace-proto-bin", "jher831yy13JHy3hc")];
const PATH: &str = "/google.pubsub.v2.PublisherService/CreateTopic";

fn called(message: &[u8]) -> Script {
    start().ask([headers(1, WHOLE, CALL), data(1, ENDS, message)].concat())
}

fn expect(rest: &str) -> String {
    format!("1 POST {PATH} {rest}")
}

// The document's "Example".
#[test]
fn unary_calls() {
    check(
        "the document's example",
        &called(b"\0\0\0\0\x03abc").answer(
            [
                headers(1, WHOLE, HEAD),
                data(1, 0, b"\0\0\0\0\x02ok"),
                headers(1, ONLY, FINE),
            ]
            .concat(),
        ),
        &[&expect(
            "[\\x00\\x00\\x00\\x00\\x03abc] -> 200 [\\x00\\x00\\x00\\x00\\x02ok] {grpc-status: 0} {trace-proto-bin: jher831yy13JHy3hc}",
        )],
    );
    check(
        "an error after a part of the answer, with its message percent-encoded",
        &called(b"").answer(
            [
                headers(1, WHOLE, HEAD),
                data(1, 0, b"x"),
                headers(1, ONLY, &[("grpc-status", "13"), ("grpc-message", "kaputt%21")]),
            ]
            .concat(),
        ),
        &[&expect(
            "[] -> 200 [x] {grpc-status: 13} {grpc-message: kaputt%21}",
        )],
    );
    check(
        "Trailers-Only: an answer of one block",
        &called(b"\0\0\0\0\0").answer(headers(1, ONLY, &[HEAD, &[("grpc-status", "12")]].concat())),
        &[&expect("[\\x00\\x00\\x00\\x00\\x00] -> 200 []")],
    );
    check(
        "a proxy that answers without gRPC",
        &called(b"").answer([headers(1, WHOLE, &[(":status", "503")]), data(1, ENDS, b"no")].concat()),
        &[&expect("[] -> 503 [no]")],
    );
}

#[test]
fn streaming_calls() {
    let open = || start().ask(headers(1, WHOLE, CALL));
    check(
        "from the server: a frame a message",
        &called(b"q")
            .answer(headers(1, WHOLE, HEAD))
            .answer(data(1, 0, b"a"))
            .answer(data(1, 0, b"b"))
            .answer(headers(1, ONLY, FINE)),
        &[&expect(
            "[q] -> 200 [ab] {grpc-status: 0} {trace-proto-bin: jher831yy13JHy3hc}",
        )],
    );
    check(
        "from the client, ended by an empty frame",
        &open()
            .ask(data(1, 0, b"a"))
            .ask(data(1, 0, b"b"))
            .ask(data(1, ENDS, b""))
            .answer([headers(1, WHOLE, HEAD), headers(1, ONLY, &[("grpc-status", "0")])].concat()),
        &[&expect("[ab] -> 200 [] {grpc-status: 0}")],
    );
    check(
        "both at once",
        &open()
            .answer(headers(1, WHOLE, HEAD))
            .ask(data(1, 0, b"1"))
            .answer(data(1, 0, b"a"))
            .ask(data(1, ENDS, b"2"))
            .answer([data(1, 0, b"b"), headers(1, ONLY, &[("grpc-status", "0")])].concat()),
        &[&expect("[12] -> 200 [ab] {grpc-status: 0}")],
    );
    check(
        "a server that has heard enough: its trailers, then RST_STREAM of no error",
        &open().ask(data(1, 0, b"1")).answer(
            [
                headers(1, ONLY, &[HEAD, &[("grpc-status", "3")]].concat()),
                reset(1, 0),
            ]
            .concat(),
        ),
        &[&expect("[1~] -> 200 [] reset by server 0")],
    );
}

// The document's "Errors" and "Requests" (grpc-timeout).
#[test]
fn calls_that_fail() {
    check(
        "the deadline passes: the client cancels",
        &called(b"").answer(headers(1, WHOLE, HEAD)).ask(reset(1, 8)),
        &[&expect("[] -> 200 [~] cut reset by client 8")],
    );
    check(
        "refused before it was looked at",
        &called(b"").answer(reset(1, 7)),
        &[&expect("[] -> * absent reset by server 7")],
    );
}
