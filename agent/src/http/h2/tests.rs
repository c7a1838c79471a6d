//! Cases of HTTP/2 on one connection. Each has a name, a script of what moved, and the exchanges that it must give, one a line; its
//! source stands above it. Each is played as it is, byte by byte, and split in two at every position.

mod connection;
mod differential;

mod fields;
mod grpc;
mod heads;
mod holes;
mod joining;
mod limits;
mod messages;
mod properties;
mod streams;
mod tunnels;
mod verdicts;
mod wire;

use bytes::Bytes;
use kongtap_common::record::ConnId;

use self::wire::Script;
use super::Http2;
use crate::capture::event::KernelTime;
use crate::http::exchange::{Body, ConnInfo, Exchange, HeadState, Leg, Outcome, Peer};
use crate::http::h1::Side;
use crate::http::h1::limits::HttpLimits;
use crate::http::headers::Headers;

const REQ: Side = Side::Request;
const RES: Side = Side::Response;

/// Calls of more bytes are not split everywhere.
const LONG_CALL_BYTES: usize = 4096;

/// One thing that happens; each takes a nanosecond.
#[derive(Clone, Debug)]
enum Move {
    Data(Side, Vec<u8>),
    Hole(Side, u64),
    Left(Side, u64),
    End(Side),
    Wait(u64),
    Close,
}

fn conn() -> ConnInfo {
    ConnInfo {
        id: ConnId {
            tgid: 1,
            fd: 2,
            generation_ns: 3,
        },
        local: "127.0.0.1:8443".parse().unwrap(),
        remote: "127.0.0.1:4000".parse().unwrap(),
        tls: true,
    }
}

fn play(mut http: Http2, moves: &[Move]) -> (Vec<Exchange>, Http2) {
    let mut out = Vec::new();
    let mut now = 0;
    for step in moves {
        now += 1;
        let at = KernelTime(now);
        match step {
            Move::Data(side, bytes) => http.data(*side, Bytes::copy_from_slice(bytes), at, &mut out),
            Move::Hole(side, hole) => http.hole(*side, *hole, at, &mut out),
            Move::Left(side, left) => http.left(*side, *left, at, &mut out),
            Move::End(side) => http.end(*side, &mut out),
            Move::Wait(ns) => now += ns,
            Move::Close => http.close(&mut out),
        }
    }
    (out, http)
}

fn fresh(limits: HttpLimits) -> Http2 {
    Http2::new(conn(), Leg::Downstream, limits)
}

fn joining() -> Http2 {
    Http2::joining(conn(), Leg::Downstream, HttpLimits::default())
}

/// An exchange in one line: `STREAM METHOD TARGET [body] {trailers} -> STATUS [body] {trailers} OUTCOME !anomalies`; `*` for what is
/// missing, `~` after a body that is not whole, `?` after a head of which not all is known.
fn line(exchange: &Exchange) -> String {
    let request = exchange.request.as_ref().map_or_else(
        || "*".to_owned(),
        |request| {
            format!(
                "{} {}{} {}",
                request.method.escape_ascii(),
                request.target.escape_ascii(),
                known(request.head),
                content(&request.body, &request.trailers)
            )
        },
    );
    let response = exchange.response.as_ref().map_or_else(
        || "*".to_owned(),
        |response| {
            format!(
                "{}{} {}",
                response.status,
                known(response.head),
                content(&response.body, &response.trailers)
            )
        },
    );
    let outcome = match exchange.outcome {
        Outcome::Complete => "",
        Outcome::ResponseAbsent => " absent",
        Outcome::ResponseCut => " cut",
        Outcome::HeadLost => " lost",
        Outcome::Upgraded => " upgraded",
    };
    let reset = match exchange.reset {
        None => String::new(),
        Some(reset) => {
            let by = match reset.by {
                Peer::Client => "client",
                Peer::Server => "server",
            };
            format!(" reset by {by} {}", reset.code)
        }
    };
    let anomalies: String = exchange
        .anomalies
        .names()
        .map(|name| format!(" !{name}"))
        .collect();
    format!(
        "{} {request} -> {response}{outcome}{reset}{anomalies}",
        exchange.stream.unwrap()
    )
}

fn known(state: HeadState) -> &'static str {
    if state == HeadState::Whole { "" } else { "?" }
}

/// A body, in short if it is long, and its trailers.
fn content(body: &Body, trailers: &Headers) -> String {
    let mark = if body.is_whole() { "" } else { "~" };
    let mut text = if body.bytes.len() > 64 {
        format!("[{} bytes{mark}]", body.bytes.len())
    } else {
        format!("[{}{mark}]", body.bytes.escape_ascii())
    };
    for trailer in &trailers.0 {
        text.push_str(&format!(" {{{}}}", field(&trailer.name, &trailer.value)));
    }
    text
}

fn field(name: &[u8], value: &[u8]) -> String {
    format!("{}: {}", name.escape_ascii(), value.escape_ascii())
}

fn lines(exchanges: &[Exchange]) -> Vec<String> {
    exchanges.iter().map(line).collect()
}

/// Plays a script from the start of a connection, in every way.
#[track_caller]
fn check(name: &str, script: &Script, expected: &[&str]) {
    check_from(name, &|| fresh(HttpLimits::default()), script, &|out, _| {
        assert_eq!(lines(out), expected, "{name}");
    });
}

/// Plays a script from where `parser` stands, in every way.
#[track_caller]
#[expect(clippy::print_stderr, reason = "it says in which way a case failed")]
fn check_from(
    name: &str,
    parser: &dyn Fn() -> Http2,
    script: &Script,
    expect: &dyn Fn(&[Exchange], &mut Http2),
) {
    for moves in ways(&script.moves) {
        let (out, mut http) = play(parser(), &moves);
        let expected = std::panic::AssertUnwindSafe(|| expect(&out, &mut http));
        if let Err(panic) = std::panic::catch_unwind(expected) {
            eprintln!("{name}, when it comes as {moves:?}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Plays a script once. Only for what depends on where calls begin: that is where a lost place is found again.
#[track_caller]
fn check_calls(name: &str, script: &Script, expected: &[&str]) {
    let (out, _) = play(fresh(HttpLimits::default()), &script.moves);
    assert_eq!(lines(&out), expected, "{name}");
}

/// A script as it is, byte by byte, and split in two at every position. Long calls are split where frames begin and in some places.
fn ways(moves: &[Move]) -> impl Iterator<Item = Vec<Move>> + '_ {
    let bytewise = moves.iter().flat_map(|step| {
        let Move::Data(side, bytes) = step else {
            return vec![step.clone()];
        };
        let pieces = bytes.chunks(bytes.len() / LONG_CALL_BYTES + 1);
        pieces.map(|piece| Move::Data(*side, piece.to_vec())).collect()
    });
    let splits = moves
        .iter()
        .enumerate()
        .flat_map(|(number, step)| {
            let Move::Data(side, bytes) = step else {
                return vec![];
            };
            let step = bytes.len() / LONG_CALL_BYTES * 512 + 1;
            let places = (1..bytes.len()).step_by(step);
            places.map(|at| (number, *side, at)).collect()
        })
        .map(|(number, side, at)| {
            let mut split = moves.to_vec();
            if let Move::Data(_, first) = &mut split[number] {
                let second = first.split_off(at);
                split.insert(number + 1, Move::Data(side, second));
            }
            split
        });
    [moves.to_vec(), bytewise.collect()].into_iter().chain(splits)
}

/// The start of every connection.
fn start() -> Script {
    Script::default()
        .ask(wire::PREFACE)
        .ask(wire::settings(&[]))
        .answer(wire::settings(&[]))
        .answer(wire::settings_ack())
}

type Fields<'a> = &'a [(&'a str, &'a str)];

const GET: Fields<'_> = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "x"),
    (":path", "/a"),
];
const POST: Fields<'_> = &[
    (":method", "POST"),
    (":scheme", "https"),
    (":authority", "x"),
    (":path", "/p"),
];
const OK: Fields<'_> = &[(":status", "200"), ("content-type", "text/plain")];
const ENDS: u8 = 0x1;
const WHOLE: u8 = 0x4;
/// Both: a message that is nothing but its head.
const ONLY: u8 = ENDS | WHOLE;
