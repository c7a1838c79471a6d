//! Cases of HTTP/1 on one connection. Each is a script of what moved, and the exchanges that it must give.

mod chunks;
mod conflicts;
mod framing;
mod gaps;
mod heads;
mod interim;
mod lengths;
mod limits;
mod pipelining;
mod requests;
mod table;
mod upgrade;
mod verdicts;

use bytes::Bytes;
use kongtap_common::record::ConnId;
use proptest::prelude::*;

use super::{Http1, HttpLimits, Side};
use crate::capture::event::KernelTime;
use crate::http::exchange::{ConnInfo, Exchange, Leg, Outcome};

const REQ: Side = Side::Request;
const RES: Side = Side::Response;

/// One thing that happens; each takes a nanosecond.
#[derive(Clone, Debug)]
enum Move {
    Data(Side, Vec<u8>),
    Hole(Side, u64),
    /// Left uncopied on purpose.
    Left(Side, u64),
    End(Side),
    /// The socket is gone.
    Gone,
    /// It is given up.
    Close,
}

fn data(side: Side, bytes: impl AsRef<[u8]>) -> Move {
    Move::Data(side, bytes.as_ref().to_vec())
}

fn parser(limits: HttpLimits) -> Http1 {
    let conn = ConnInfo {
        id: ConnId {
            tgid: 1,
            fd: 2,
            generation_ns: 3,
        },
        local: "127.0.0.1:8000".parse().unwrap(),
        remote: "127.0.0.1:4000".parse().unwrap(),
        tls: false,
    };
    Http1::new(conn, Leg::Downstream, limits)
}

fn run_with(limits: HttpLimits, moves: &[Move]) -> Vec<Exchange> {
    run_on(&mut parser(limits), moves)
}

fn run_on(http: &mut Http1, moves: &[Move]) -> Vec<Exchange> {
    let mut out = Vec::new();
    for (index, step) in moves.iter().enumerate() {
        let at = KernelTime(u64::try_from(index).unwrap() + 1);
        match step {
            Move::Data(side, bytes) => http.data(*side, Bytes::copy_from_slice(bytes), at, &mut out),
            Move::Hole(side, hole) => http.hole(*side, *hole, at, &mut out),
            Move::Left(side, left) => http.left(*side, *left, at, &mut out),
            Move::Gone => {
                http.socket_is_gone();
                http.close(at, &mut out);
            }
            Move::End(side) => http.end(*side, at, &mut out),
            Move::Close => http.close(at, &mut out),
        }
    }
    out
}

/// An exchange in one line: `METHOD TARGET [body] -> STATUS [body] OUTCOME`, `*` for what is missing, `~` after a body
/// that is not whole.
fn line(exchange: &Exchange) -> String {
    let body = |body: &crate::http::exchange::Body| {
        let mark = if body.is_whole() { "" } else { "~" };
        format!("[{}{mark}]", body.bytes.escape_ascii())
    };
    let request = exchange.request.as_ref().map_or_else(
        || "*".to_owned(),
        |request| {
            let target = request.target.escape_ascii().to_string();
            format!(
                "{} {target} {}",
                request.method.escape_ascii(),
                body(&request.body)
            )
        },
    );
    let response = exchange.response.as_ref().map_or_else(
        || "*".to_owned(),
        |response| format!("{} {}", response.status, body(&response.body)),
    );
    let outcome = match exchange.outcome {
        Outcome::Complete => "",
        Outcome::ResponseAbsent => " absent",
        Outcome::ResponseCut => " cut",
        Outcome::HeadLost => " lost",
        Outcome::Upgraded => " upgraded",
    };
    format!("{request} -> {response}{outcome}")
}

#[track_caller]
fn check(moves: &[Move], expected: &[&str]) {
    let lines: Vec<String> = run_with(HttpLimits::default(), moves).iter().map(line).collect();
    assert_eq!(lines, expected);
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_request_and_its_response() {
    check(&[data(REQ, GET), data(RES, OK)], &["GET /a [] -> 200 [ok]"]);
}

#[test]
fn keep_alive_gives_one_exchange_for_each_request() {
    let moves = [data(REQ, GET), data(RES, OK), data(REQ, GET), data(RES, OK)];
    check(&moves, &["GET /a [] -> 200 [ok]", "GET /a [] -> 200 [ok]"]);
}

#[test]
fn bodies_by_length_and_by_chunks() {
    let post = "POST /p HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n02\r\nde\r\n0\r\nT: v\r\n\r\n";
    let exchanges = run_with(HttpLimits::default(), &[data(REQ, post), data(RES, chunked)]);
    assert_eq!(
        exchanges.iter().map(line).collect::<Vec<_>>(),
        ["POST /p [hello] -> 200 [abcde]"]
    );
    let body = &exchanges[0].response.as_ref().unwrap().body;
    // As nginx counts `$body_bytes_sent`: framing and trailers included.
    assert_eq!(
        (body.total_bytes, body.wire_bytes),
        (5, 3 + 4 + 5 + 4 + 4 + 3 + 6 + 2)
    );
}

#[test]
fn transfer_encoding_wins_over_content_length() {
    let both =
        "POST /p HTTP/1.1\r\nContent-Length: 99\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    check(&[data(REQ, both), data(RES, OK)], &["POST /p [x] -> 200 [ok]"]);
}

#[test]
fn a_response_until_close_ends_with_its_direction() {
    let response = "HTTP/1.0 200 OK\r\n\r\nall of it";
    check(
        &[data(REQ, GET), data(RES, response), Move::End(RES)],
        &["GET /a [] -> 200 [all of it]"],
    );
    check(
        &[data(REQ, GET), data(RES, response), Move::Close],
        &["GET /a [] -> 200 [all of it~] cut"],
    );
    check(&[data(REQ, GET), data(RES, response)], &[]);
}

#[test]
fn responses_without_a_body() {
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304)] {
        let request = format!("{method} /a HTTP/1.1\r\n\r\n");
        let response = format!("HTTP/1.1 {status} X\r\nContent-Length: 99\r\n\r\n");
        check(
            &[
                data(REQ, &request),
                data(RES, &response),
                data(REQ, GET),
                data(RES, OK),
            ],
            &[
                &format!("{method} /a [~] -> {status} []").replace("[~]", "[]"),
                "GET /a [] -> 200 [ok]",
            ],
        );
    }
}

#[test]
fn interim_responses_are_passed_over() {
    let moves = [
        data(
            REQ,
            "POST /p HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        ),
        data(RES, "HTTP/1.1 100 Continue\r\n\r\n"),
        data(REQ, "hi"),
        data(RES, format!("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n{OK}")),
    ];
    check(&moves, &["POST /p [hi] -> 200 [ok]"]);
}

#[test]
fn an_upgrade_ends_http_on_the_connection() {
    let moves = [
        data(
            REQ,
            "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        ),
        data(
            RES,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x01\x02",
        ),
        data(REQ, GET),
        data(RES, OK),
    ];
    check(&moves, &["GET /ws [] -> 101 [] upgraded"]);
    let connect = [
        data(REQ, "CONNECT h:443 HTTP/1.1\r\n\r\n"),
        data(RES, "HTTP/1.1 200 Connected\r\n\r\n"),
        data(REQ, "\x16\x03"),
    ];
    check(&connect, &["CONNECT h:443 [] -> 200 [] upgraded"]);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let moves = [
        data(
            REQ,
            "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n",
        ),
        data(
            RES,
            "HTTP/1.1 201 A\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 202 B\r\nContent-Length: 1\r\n\r\n2",
        ),
        data(RES, "HTTP/1.1 203 C\r\nContent-Length: 1\r\n\r\n3"),
    ];
    check(
        &moves,
        &[
            "GET /1 [] -> 201 [1]",
            "GET /2 [] -> 202 [2]",
            "GET /3 [] -> 203 [3]",
        ],
    );
}

#[test]
fn a_response_before_the_request_body_ended_waits_for_it() {
    let moves = [
        data(REQ, "POST /p HTTP/1.1\r\nContent-Length: 4\r\n\r\nab"),
        data(RES, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"),
        data(REQ, "cd"),
    ];
    check(&moves, &["POST /p [abcd] -> 413 []"]);
    check(
        &[moves[0].clone(), moves[1].clone(), Move::Close],
        &["POST /p [ab~] -> 413 []"],
    );
}

#[test]
fn what_the_connection_cuts_off_says_so() {
    check(&[data(REQ, GET), Move::Close], &["GET /a [] -> * absent"]);
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab";
    check(
        &[data(REQ, GET), data(RES, half), Move::Close],
        &["GET /a [] -> 200 [ab~] cut"],
    );
    let half = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab";
    check(
        &[data(REQ, GET), data(RES, half), Move::End(RES)],
        &["GET /a [] -> 200 [ab~] cut"],
    );
}

#[test]
fn a_request_after_the_last_response_is_no_exchange() {
    let last = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    let moves = [
        data(REQ, GET),
        data(RES, last),
        Move::End(RES),
        data(REQ, GET),
        Move::End(REQ),
        Move::Close,
    ];
    check(&moves, &["GET /a [] -> 200 [ok]"]);
}

#[test]
fn a_client_that_has_finished_sending_still_gets_its_answer() {
    check(
        &[data(REQ, GET), Move::End(REQ), data(RES, OK)],
        &["GET /a [] -> 200 [ok]"],
    );
}

#[test]
fn a_hole_in_a_body_costs_that_body_only() {
    let post = "POST /p HTTP/1.1\r\nContent-Length: 10\r\n\r\nab";
    let response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nab";
    let exchanges = run_with(
        HttpLimits::default(),
        &[
            data(REQ, post),
            Move::Hole(REQ, 6),
            data(REQ, "ij"),
            data(RES, response),
            Move::Hole(RES, 6),
            data(RES, "ij\r\n0\r\n\r\n"),
            data(REQ, GET),
            data(RES, OK),
        ],
    );
    assert_eq!(
        exchanges.iter().map(line).collect::<Vec<_>>(),
        ["POST /p [ab~] -> 200 [ab~]", "GET /a [] -> 200 [ok]"]
    );
    for body in [
        &exchanges[0].request.as_ref().unwrap().body,
        &exchanges[0].response.as_ref().unwrap().body,
    ] {
        assert_eq!((body.total_bytes, body.hole_bytes, body.complete), (10, 6, true));
    }
}

#[test]
fn a_hole_over_the_end_of_a_body_costs_what_came_next() {
    let moves = [
        data(REQ, GET),
        data(RES, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"),
        Move::Hole(RES, 10),
        data(REQ, "GET /b HTTP/1.1\r\n\r\n"),
        data(RES, OK),
    ];
    // The hole held the rest of the first body and the beginning of something; nothing awaited it, so /b is unharmed.
    check(&moves, &["GET /a [] -> 200 [ab~]", "GET /b [] -> 200 [ok]"]);
}

#[test]
fn a_lost_request_head_costs_that_exchange() {
    let moves = [
        data(REQ, GET),
        data(RES, OK),
        Move::Hole(REQ, 30),
        data(RES, "HTTP/1.1 202 X\r\nContent-Length: 0\r\n\r\n"),
        data(REQ, "GET /c HTTP/1.1\r\n\r\n"),
        data(RES, OK),
    ];
    check(
        &moves,
        &[
            "GET /a [] -> 200 [ok]",
            "* -> 202 [] lost",
            "GET /c [] -> 200 [ok]",
        ],
    );
}

#[test]
fn half_of_a_lost_request_head_is_not_taken_for_one() {
    let moves = [
        data(REQ, GET),
        data(RES, OK),
        Move::Hole(REQ, 30),
        data(REQ, "t: y\r\nAccept: GET / HTTP/1.1\r\n\r\n"),
        data(RES, "HTTP/1.1 202 X\r\nContent-Length: 0\r\n\r\n"),
        data(REQ, "GET /c HTTP/1.1\r\n\r\n"),
        data(RES, OK),
    ];
    check(
        &moves,
        &[
            "GET /a [] -> 200 [ok]",
            "* -> 202 [] lost",
            "GET /c [] -> 200 [ok]",
        ],
    );
}

#[test]
fn a_lost_response_head_costs_that_exchange() {
    let moves = [
        data(REQ, GET),
        Move::Hole(RES, 30),
        data(RES, "rest of a body"),
        data(REQ, "GET /b HTTP/1.1\r\n\r\n"),
        data(RES, OK),
    ];
    check(&moves, &["GET /a [] -> * lost", "GET /b [] -> 200 [ok]"]);
}

#[test]
fn chunk_framing_lost_in_a_hole_costs_that_exchange() {
    let moves = [
        data(REQ, GET),
        data(RES, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na"),
        Move::Hole(RES, 9),
        data(RES, "zzz\r\n0\r\n\r\n"),
        data(REQ, "GET /b HTTP/1.1\r\n\r\n"),
        data(RES, OK),
    ];
    check(&moves, &["GET /a [] -> 200 [a~] cut", "GET /b [] -> 200 [ok]"]);
}

#[test]
fn nonsense_in_the_place_of_a_head_is_survived() {
    let moves = [
        data(REQ, "GET / BAD/1.1\r\n\r\n"),
        data(RES, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        data(REQ, GET),
        data(RES, OK),
    ];
    check(&moves, &["GET / BAD/1.1 [] -> 400 []", "GET /a [] -> 200 [ok]"]);
}

#[test]
fn bad_chunk_sizes_are_survived() {
    for bad in ["zz\r\n", "\r\n", "11111111111111111\r\n", "3\r\nabcX"] {
        let response = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{bad}");
        let exchanges = run_with(HttpLimits::default(), &[data(REQ, GET), data(RES, &response)]);
        assert_eq!(exchanges.len(), 1, "{bad:?}");
        assert_eq!(exchanges[0].outcome, Outcome::ResponseCut, "{bad:?}");
    }
}

#[test]
fn a_body_is_kept_up_to_its_limit_and_counted_whole() {
    let limits = HttpLimits {
        body_bytes: 3,
        ..HttpLimits::default()
    };
    let exchanges = run_with(
        limits,
        &[
            data(REQ, "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"),
            data(RES, OK),
        ],
    );
    let body = &exchanges[0].request.as_ref().unwrap().body;
    assert_eq!(
        (&body.bytes[..], body.total_bytes, body.complete, body.is_whole()),
        (&b"hel"[..], 5, true, false)
    );
}

#[test]
fn a_head_over_its_limit_is_given_up() {
    let limits = HttpLimits {
        head_bytes: 100,
        ..HttpLimits::default()
    };
    let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(100));
    for pieces in [1, 10] {
        let mut moves: Vec<Move> = long
            .as_bytes()
            .chunks(long.len().div_ceil(pieces))
            .map(|piece| data(REQ, piece))
            .collect();
        moves.extend([data(RES, OK), data(REQ, GET), data(RES, OK)]);
        let lines: Vec<String> = run_with(limits, &moves).iter().map(line).collect();
        assert_eq!(
            lines,
            ["* -> 200 [ok] lost", "GET /a [] -> 200 [ok]"],
            "{pieces} pieces"
        );
    }
}

#[test]
fn the_number_of_waiting_requests_is_bounded() {
    let limits = HttpLimits {
        pipelined: 4,
        ..HttpLimits::default()
    };
    let exchanges = run_with(limits, &[data(REQ, GET.repeat(10))]);
    assert_eq!(exchanges.len(), 6);
    assert!(
        exchanges
            .iter()
            .all(|exchange| exchange.outcome == Outcome::HeadLost)
    );
}

#[test]
fn times_are_those_of_the_first_and_the_last_byte() {
    let moves = [
        data(REQ, "POST /p HTTP/1.1\r\nContent-"), // 1
        data(REQ, "Length: 2\r\n\r\nh"),           // 2
        data(REQ, "i"),                            // 3
        data(RES, "HTTP/1.1 200 OK\r\nContent-"),  // 4
        data(RES, "Length: 2\r\n\r\no"),           // 5
        data(RES, "k"),                            // 6
    ];
    let exchanges = run_with(HttpLimits::default(), &moves);
    let (request, response) = (
        exchanges[0].request.as_ref().unwrap(),
        exchanges[0].response.as_ref().unwrap(),
    );
    assert_eq!(
        (
            request.started.0,
            request.ended.0,
            response.started.0,
            response.ended.0
        ),
        (1, 3, 4, 6)
    );
}

/// A conversation without pipelining, tagged so that a wrong pairing shows: each response repeats its request's number.
fn conversation(kinds: &[(u8, Vec<u8>)]) -> Vec<(Side, Vec<u8>)> {
    let mut turns = Vec::new();
    for (number, (kind, body)) in kinds.iter().enumerate() {
        let mut request = format!("POST /{number} HTTP/1.1\r\nX-N: {number}\r\n").into_bytes();
        let mut response = format!("HTTP/1.1 200 OK\r\nX-N: {number}\r\n").into_bytes();
        for message in [&mut request, &mut response] {
            if kind % 2 == 0 {
                message.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
                message.extend(body);
            } else {
                message.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in body.chunks(usize::from(*kind)) {
                    message.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    message.extend(chunk);
                    message.extend(b"\r\n");
                }
                message.extend(b"0\r\n\r\n");
            }
        }
        turns.extend([(REQ, request), (RES, response)]);
    }
    turns
}

fn number(headers: &crate::http::headers::Headers) -> usize {
    headers.text("x-n").unwrap().parse().unwrap()
}

fn kinds() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    prop::collection::vec((1..40u8, prop::collection::vec(any::<u8>(), 0..200)), 1..8)
}

proptest! {
    #[test]
    fn any_segmentation_gives_the_same_exchanges(kinds in kinds(), cuts in prop::collection::vec(1..90usize, 1..20)) {
        let turns = conversation(&kinds);
        let whole: Vec<Move> = turns.iter().map(|(side, bytes)| data(*side, bytes)).collect();
        let mut pieces = Vec::new();
        let mut cut = cuts.iter().cycle();
        for (side, bytes) in &turns {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                pieces.push(data(*side, piece));
                rest = after;
            }
        }
        let expected: Vec<String> = run_with(HttpLimits::default(), &whole).iter().map(line).collect();
        let seen: Vec<String> = run_with(HttpLimits::default(), &pieces).iter().map(line).collect();
        prop_assert_eq!(expected.len(), kinds.len());
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn holes_never_pair_wrongly_and_never_invent_bytes(
        kinds in kinds(),
        cuts in prop::collection::vec((1..90usize, 0..4u8), 1..30),
    ) {
        let turns = conversation(&kinds);
        let mut moves = Vec::new();
        let mut cut = cuts.iter().cycle();
        for (side, bytes) in &turns {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (length, fate) = cut.next().unwrap();
                let (piece, after) = rest.split_at((*length).min(rest.len()));
                moves.push(if *fate == 0 {
                    Move::Hole(*side, u64::try_from(piece.len()).unwrap())
                } else {
                    data(*side, piece)
                });
                rest = after;
            }
        }
        moves.push(Move::Close);
        for exchange in run_with(HttpLimits::default(), &moves) {
            let request = exchange.request.as_ref();
            let response = exchange.response.as_ref();
            if let (Some(request), Some(response)) = (request, response) {
                prop_assert_eq!(number(&request.headers), number(&response.headers));
            }
            for (headers, body) in
                request.map(|r| (&r.headers, &r.body)).into_iter().chain(response.map(|r| (&r.headers, &r.body)))
            {
                let sent = &kinds[number(headers)].1;
                prop_assert!(sent.starts_with(&body.bytes), "a body is the beginning of what was sent");
                if body.is_whole() {
                    prop_assert_eq!(&sent[..], &body.bytes[..]);
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_and_holes_never_panic(
        moves in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(any::<u8>(), 0..60), 0..3u8, 0..u64::MAX), 0..30),
    ) {
        let moves: Vec<Move> = moves
            .into_iter()
            .map(|(request, bytes, what, hole)| {
                let side = if request { REQ } else { RES };
                match what {
                    0 => Move::Hole(side, hole),
                    _ => data(side, [if request { GET } else { OK }.as_bytes(), &bytes].concat()),
                }
            })
            .chain([Move::Close])
            .collect();
        run_with(HttpLimits::default(), &moves);
    }
}
