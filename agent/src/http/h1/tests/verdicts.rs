//! How a connection ends, and what that says of the exchange that it cuts off.

use super::Move;
use super::table::{CLIENT_ENDS, END, GONE, check, check_upstream, empty, get, ok, post, req, res};

#[test]
fn the_client_leaves() {
    check(
        "before the answer",
        &[get("/a"), CLIENT_ENDS, END, GONE],
        &["GET /a [] -> *; client_gone"],
    );
    check(
        "before the answer, by a reset",
        &[get("/a"), GONE],
        &["GET /a [] -> *; client_gone"],
    );
    check(
        "in the middle of its request",
        &[post("Content-Length: 5", "ab"), CLIENT_ENDS, END],
        &["POST /p [ab] -> *; client_gone"],
    );
    check(
        "in the middle of the answer",
        &[get("/a"), ok("Content-Length: 5", "ab"), CLIENT_ENDS, END],
        &["GET /a [] -> 200 [ab]; client_gone"],
    );
    check(
        "in the middle of the answer, by a reset",
        &[get("/a"), ok("Content-Length: 5", "ab"), GONE],
        &["GET /a [] -> 200 [ab]; client_gone"],
    );
    check(
        "in the middle of an answer until the end, by a reset, which looks like the gateway's own end",
        &[get("/a"), ok("Connection: close", "ab"), GONE],
        &["GET /a [] -> 200 [ab]"],
    );
    check(
        "with a second request unanswered",
        &[get("/a"), get("/b"), empty(200), CLIENT_ENDS, END],
        &["GET /a [] -> 200 []", "GET /b [] -> *; client_gone"],
    );
}

#[test]
fn the_client_only_stops_sending() {
    check(
        "and gets its answer",
        &[get("/a"), CLIENT_ENDS, ok("Content-Length: 2", "ok"), END],
        &["GET /a [] -> 200 [ok]"],
    );
    check(
        "and gets an answer that ends with the connection",
        &[get("/a"), CLIENT_ENDS, ok("Connection: close", "ok"), END],
        &["GET /a [] -> 200 [ok]"],
    );
    check(
        "after it got its answer",
        &[get("/a"), empty(200), CLIENT_ENDS, END, GONE],
        &["GET /a [] -> 200 []"],
    );
}

#[test]
fn the_gateway_leaves_or_nobody_can_tell() {
    check(
        "without an answer: it may have learnt that its client left",
        &[get("/a"), END, GONE],
        &["GET /a [] -> *; response_absent"],
    );
    check(
        "a reset while the request was not all read may be the gateway's",
        &[post("Content-Length: 5", "ab"), GONE],
        &["POST /p [ab] -> *; response_absent"],
    );
    check(
        "in the middle of the answer, by length",
        &[get("/a"), ok("Content-Length: 10", "hello"), END],
        &["GET /a [] -> 200 [hello]; response cut at 5 of 10"],
    );
    check(
        "in the middle of the answer, by chunks",
        &[get("/a"), ok("Transfer-Encoding: chunked", "5\r\nab"), END],
        &["GET /a [] -> 200 [ab]; response cut at 2"],
    );
    check(
        "between two chunks",
        &[get("/a"), ok("Transfer-Encoding: chunked", "2\r\nab\r\n"), END],
        &["GET /a [] -> 200 [ab]; response cut at 2"],
    );
    check(
        "in the middle of the answer's head",
        &[get("/a"), res("HTTP/1.1 200 OK\r\nCont"), END],
        &["GET /a [] -> *; response_absent"],
    );
    check(
        "given up, nothing is known of its end",
        &[get("/a"), Move::Close],
        &["GET /a [] -> *; response_absent"],
    );
    check(
        "given up in an answer until the end",
        &[get("/a"), ok("Connection: close", "ab"), Move::Close],
        &["GET /a [] -> 200 [ab]; response cut at 2"],
    );
}

#[test]
fn on_the_leg_to_the_service() {
    check_upstream(
        "the gateway gives up: its client left, or it waited too long",
        &[get("/a"), CLIENT_ENDS, END, GONE],
        &["GET /a [] -> *; client_gone"],
    );
    check_upstream(
        "the service closes without an answer",
        &[get("/a"), END, CLIENT_ENDS, GONE],
        &["GET /a [] -> *; response_absent"],
    );
    check_upstream(
        "a reset may be either's",
        &[get("/a"), GONE],
        &["GET /a [] -> *; response_absent"],
    );
    check_upstream(
        "the service closes in the middle of its answer",
        &[get("/a"), ok("Content-Length: 5", ""), END, CLIENT_ENDS],
        &["GET /a [] -> 200 []; response cut at 0 of 5"],
    );
    check_upstream(
        "an answer that ends with the connection",
        &[
            req("GET /a HTTP/1.0\r\n\r\n"),
            res("HTTP/1.0 200 OK\r\n\r\nall"),
            END,
        ],
        &["GET /a [] -> 200 []"],
    );
}
