//! The one check of the tables: what moved, and the exchanges that it must give, however the calls cut it.

use super::{Move, REQ, RES, data, parser, run_on};
use crate::http::exchange::{Body, Exchange, Leg, Version};
use crate::http::h1::Side;
use crate::http::h1::limits::HttpLimits;
use crate::http::headers::Headers;
use crate::http::verdict::Verdict;

/// `GET target`, whole.
pub(super) fn get(target: &str) -> Move {
    req(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"))
}

/// `POST /p` with `fields` and what follows the head.
pub(super) fn post(fields: &str, body: &str) -> Move {
    req(format!("POST /p HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n{body}"))
}

/// `200` with `fields` and what follows the head.
pub(super) fn ok(fields: &str, body: &str) -> Move {
    res(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}"))
}

/// `status` without a body.
pub(super) fn empty(status: u16) -> Move {
    res(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"))
}

/// nginx's answer to what it refuses.
pub(super) fn refusal(status: u16) -> Move {
    res(format!(
        "HTTP/1.1 {status} X\r\nContent-Length: 1\r\nConnection: close\r\n\r\n!"
    ))
}

pub(super) fn req(bytes: impl AsRef<[u8]>) -> Move {
    data(REQ, bytes)
}

pub(super) fn res(bytes: impl AsRef<[u8]>) -> Move {
    data(RES, bytes)
}

pub(super) const END: Move = Move::End(RES);
pub(super) const CLIENT_ENDS: Move = Move::End(REQ);
pub(super) const GONE: Move = Move::Gone;

/// `METHOD TARGET [body] -> STATUS [body]`, `*` for what is missing, then `; verdict` unless it is whole, `+ name=value` for each
/// trailer and `! name` for each anomaly.
pub(super) fn exchange(exchange: &Exchange) -> String {
    let body = |body: &Body| format!("[{}]", body.bytes.escape_ascii());
    let request = exchange.request.as_ref().map_or_else(
        || "*".to_owned(),
        |request| {
            let words = format!(
                "{} {}",
                request.method.escape_ascii(),
                request.target.escape_ascii()
            );
            format!(
                "{words} {}{}",
                body(&request.body),
                fields(" + ", &request.trailers)
            )
        },
    );
    let response = exchange.response.as_ref().map_or_else(
        || "*".to_owned(),
        |response| {
            let trailers = fields(" + ", &response.trailers);
            format!("{} {}{trailers}", response.status, body(&response.body))
        },
    );
    format!("{request} -> {response}{}{}", verdict(exchange), odd(exchange))
}

/// The request's head: `METHOD TARGET VERSION name=value …`, and the anomalies.
fn request_head(exchange: &Exchange) -> String {
    let request = exchange.request.as_ref().expect("a request");
    let version = match request.version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
        Version::Http2 => "2",
    };
    let words = format!(
        "{} {}",
        request.method.escape_ascii(),
        request.target.escape_ascii()
    );
    format!(
        "{words} {version}{}{}",
        fields(" ", &request.headers),
        odd(exchange)
    )
}

fn fields(before: &str, headers: &Headers) -> String {
    let field =
        |name: &[u8], value: &[u8]| format!("{before}{}={}", name.escape_ascii(), value.escape_ascii());
    headers
        .0
        .iter()
        .map(|header| field(&header.name, &header.value))
        .collect()
}

fn odd(exchange: &Exchange) -> String {
    exchange
        .anomalies
        .names()
        .map(|name| format!(" ! {name}"))
        .collect()
}

fn verdict(exchange: &Exchange) -> String {
    let side = |side| match side {
        Side::Request => "request",
        Side::Response => "response",
    };
    let verdict = exchange.verdict();
    match verdict {
        Verdict::Whole => String::new(),
        Verdict::BodyCut { side: whose, at, of } => match of {
            Some(of) => format!("; {} cut at {at} of {of}", side(whose)),
            None => format!("; {} cut at {at}", side(whose)),
        },
        Verdict::Hole { side: whose, at } => format!("; {} hole at {at}", side(whose)),
        Verdict::HeadLost | Verdict::ResponseAbsent | Verdict::ClientGone => format!("; {}", verdict.name()),
    }
}

/// Runs `moves` as they are, byte by byte, and with each call cut in two at each place.
#[track_caller]
pub(super) fn check(name: &str, moves: &[Move], expected: &[&str]) {
    check_as(exchange, name, HttpLimits::default(), moves, expected);
}

/// The same under other bounds.
#[track_caller]
pub(super) fn check_within(limits: HttpLimits, name: &str, moves: &[Move], expected: &[&str]) {
    check_as(exchange, name, limits, moves, expected);
}

/// The same for one request's head, which is answered with 200.
#[track_caller]
pub(super) fn check_head(name: &str, head: impl AsRef<[u8]>, expected: &str) {
    let moves = [req(head), empty(200)];
    check_as(request_head, name, HttpLimits::default(), &moves, &[expected]);
}

/// Runs `moves` as they are only: where the reader waits for a call that begins like a head, how calls are cut is the case.
#[track_caller]
pub(super) fn check_calls(name: &str, moves: &[Move], expected: &[&str]) {
    let seen = run(exchange, HttpLimits::default(), Leg::Downstream, moves);
    assert_eq!(seen, expected, "{name}");
}

/// The same on the leg to the service.
#[track_caller]
pub(super) fn check_upstream(name: &str, moves: &[Move], expected: &[&str]) {
    let seen = run(exchange, HttpLimits::default(), Leg::Upstream, moves);
    assert_eq!(seen, expected, "{name}");
}

#[track_caller]
fn check_as(
    show: fn(&Exchange) -> String,
    name: &str,
    limits: HttpLimits,
    moves: &[Move],
    expected: &[&str],
) {
    let run = |moves: &[Move]| run(show, limits, Leg::Downstream, moves);
    assert_eq!(run(moves), expected, "{name}");
    let bytes: Vec<Move> = moves.iter().flat_map(|step| cut(step, 1)).collect();
    assert_eq!(run(&bytes), expected, "{name}, byte by byte");
    for (index, step) in moves.iter().enumerate() {
        let Move::Data(side, bytes) = step else {
            continue;
        };
        // All places, but of a very long call some.
        for place in (1..bytes.len()).step_by(bytes.len() / 500 + 1) {
            let (first, second) = bytes.split_at(place);
            let mut moves = moves.to_vec();
            moves.splice(index..=index, [data(*side, first), data(*side, second)]);
            assert_eq!(run(&moves), expected, "{name}, call {index} cut at {place}");
        }
    }
}

fn run(show: fn(&Exchange) -> String, limits: HttpLimits, leg: Leg, moves: &[Move]) -> Vec<String> {
    let mut http = parser(limits);
    http.leg = leg;
    run_on(&mut http, moves).iter().map(show).collect()
}

fn cut(step: &Move, bytes: usize) -> Vec<Move> {
    match step {
        Move::Data(side, all) => all.chunks(bytes).map(|piece| data(*side, piece)).collect(),
        Move::Hole(..) | Move::Left(..) | Move::End(_) | Move::Gone | Move::Close => vec![step.clone()],
    }
}
