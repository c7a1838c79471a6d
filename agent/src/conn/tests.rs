//! The table as the ring feeds it: opens, chunks by position (some of which never arrive), ends and closes.

use bytes::Bytes;
use kongtap_common::record::ConnId;
use proptest::prelude::*;

use super::{ConnLimits, ConnTable};
use crate::capture::event::{
    CaptureEvent, ConnClose, ConnEnd, ConnOpen, DataChunk, Direction, KernelTime, Skip, StreamEnds,
};
use crate::http::exchange::{Exchange, Leg, Outcome};

const IN: Direction = Direction::Ingress;
const OUT: Direction = Direction::Egress;
const GET: &str = "GET /a HTTP/1.1\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Feeds a table; positions count by themselves.
struct Feed {
    table: ConnTable,
    out: Vec<Exchange>,
    now: u64,
    positions: std::collections::HashMap<(i32, Direction), u64>,
}

impl Feed {
    fn new(limits: ConnLimits) -> Self {
        Self {
            table: ConnTable::new(limits),
            out: Vec::new(),
            now: 0,
            positions: std::collections::HashMap::new(),
        }
    }

    fn tick(&mut self) -> KernelTime {
        self.now += 1;
        KernelTime(self.now)
    }

    fn apply(&mut self, event: CaptureEvent) -> &mut Self {
        self.table.apply(event, &mut self.out);
        self
    }

    fn open(&mut self, fd: i32, late: bool) -> &mut Self {
        let at = self.tick();
        self.apply(CaptureEvent::Open(ConnOpen {
            conn: id(fd),
            at,
            local: "127.0.0.1:8000".parse().unwrap(),
            remote: "127.0.0.1:4000".parse().unwrap(),
            tls: false,
            late,
        }))
    }

    fn data(&mut self, fd: i32, direction: Direction, bytes: impl AsRef<[u8]>) -> &mut Self {
        let at = self.tick();
        let bytes = Bytes::copy_from_slice(bytes.as_ref());
        let len = u64::try_from(bytes.len()).unwrap();
        let pos = self.advance(fd, direction, len);
        self.apply(CaptureEvent::Data(DataChunk {
            conn: id(fd),
            at,
            direction,
            pos,
            len,
            bytes,
        }))
    }

    /// Bytes that move and are never heard of.
    fn lose(&mut self, fd: i32, direction: Direction, len: usize) -> &mut Self {
        self.advance(fd, direction, u64::try_from(len).unwrap());
        self
    }

    fn end(&mut self, fd: i32, direction: Direction) -> &mut Self {
        let at = self.tick();
        let pos = self.advance(fd, direction, 0);
        self.apply(CaptureEvent::End(ConnEnd {
            conn: id(fd),
            at,
            direction,
            pos,
        }))
    }

    fn close(&mut self, fd: i32) -> &mut Self {
        let at = self.tick();
        let ends = StreamEnds {
            ingress: self.advance(fd, IN, 0),
            egress: self.advance(fd, OUT, 0),
        };
        self.apply(CaptureEvent::Close(ConnClose {
            conn: id(fd),
            at,
            ends: Some(ends),
        }))
    }

    fn advance(&mut self, fd: i32, direction: Direction, len: u64) -> u64 {
        let position = self.positions.entry((fd, direction)).or_default();
        let before = *position;
        *position += len;
        before
    }

    #[track_caller]
    fn expect(&self, expected: &[(Leg, Option<&str>, Option<u16>, Outcome)]) {
        let seen: Vec<_> = self
            .out
            .iter()
            .map(|exchange| {
                let target = exchange
                    .request
                    .as_ref()
                    .map(|request| str::from_utf8(&request.target).unwrap());
                (
                    exchange.leg,
                    target,
                    exchange.response.as_ref().map(|response| response.status),
                    exchange.outcome,
                )
            })
            .collect();
        assert_eq!(seen, expected);
    }
}

fn id(fd: i32) -> ConnId {
    ConnId {
        tgid: 7,
        fd,
        generation_ns: 1,
    }
}

fn feed() -> Feed {
    Feed::new(ConnLimits::default())
}

#[test]
fn the_leg_is_known_by_who_asks() {
    let mut feed = feed();
    feed.open(1, false)
        .data(1, IN, GET)
        .open(2, false)
        .data(2, OUT, GET)
        .data(2, IN, OK)
        .data(1, OUT, OK);
    feed.expect(&[
        (Leg::Upstream, Some("/a"), Some(200), Outcome::Complete),
        (Leg::Downstream, Some("/a"), Some(200), Outcome::Complete),
    ]);
}

#[test]
fn the_first_bytes_may_come_one_by_one() {
    let mut feed = feed();
    feed.open(1, false);
    for byte in GET.bytes() {
        feed.data(1, IN, [byte]);
    }
    feed.data(1, OUT, OK);
    feed.expect(&[(Leg::Downstream, Some("/a"), Some(200), Outcome::Complete)]);
}

#[test]
fn what_is_not_http_is_counted_and_left_alone() {
    for (bytes, count) in [
        (&b"\x16\x03\x01\x00\x05hello"[..], "ciphertext"),
        (b"SSH-2.0-x\r\n", "not_http"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "not_http"),
    ] {
        let mut feed = feed();
        feed.open(1, false)
            .data(1, IN, bytes)
            .data(1, IN, GET)
            .data(1, OUT, OK)
            .close(1);
        feed.expect(&[]);
        let counts: std::collections::BTreeMap<_, _> = feed.table.stats().named().into_iter().collect();
        assert_eq!(counts[count], 1, "{count}");
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
/// `GET /a` and its answer, on stream 1.
const GET_2: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x87\x04\x02/a";
const OK_2: &[u8] = b"\0\0\x01\x01\x05\0\0\0\x01\x88";

#[test]
fn http2_is_known_by_whoever_speaks_first() {
    let preface = [PREFACE, SETTINGS].concat();
    let (start, rest) = preface.split_at(7);
    for script in [
        &[(IN, &preface[..]), (OUT, SETTINGS)][..],
        &[(IN, start), (IN, rest), (OUT, SETTINGS)],
        // A server need not wait for the client's preface (RFC 9113 section 3.4) …
        &[(OUT, SETTINGS), (IN, &preface)],
        // … in whatever pieces they come.
        &[
            (OUT, &SETTINGS[..4]),
            (OUT, &SETTINGS[4..]),
            (IN, start),
            (IN, rest),
        ],
        &[(IN, start), (OUT, SETTINGS), (IN, rest)],
    ] {
        for (client, leg) in [(IN, Leg::Downstream), (OUT, Leg::Upstream)] {
            let mut feed = feed();
            feed.open(1, false);
            let turned = |direction: Direction| {
                if client == IN {
                    direction
                } else {
                    direction.opposite()
                }
            };
            for (direction, bytes) in script {
                feed.data(1, turned(*direction), bytes);
            }
            feed.data(1, client, GET_2).data(1, client.opposite(), OK_2);
            feed.expect(&[(leg, Some("/a"), Some(200), Outcome::Complete)]);
            assert_eq!((feed.table.stats().http2, feed.table.stats().not_http), (1, 0));
        }
    }
}

#[test]
fn http2_that_was_open_before_us_is_read_from_its_next_head() {
    // A whole frame that says nothing of who asks, the middle of one, and the answer to what was asked before.
    let data = b"\0\0\x02\0\x01\0\0\0\x01ok";
    let on_stream_9 = |frame: &[u8]| [&frame[..8], b"\x09", &frame[9..]].concat();
    for (client, leg) in [(IN, Leg::Downstream), (OUT, Leg::Upstream)] {
        let mut feed = feed();
        feed.open(1, true)
            .lose(1, client, 1000)
            .data(1, client, data)
            .data(1, client, "the middle of a frame")
            .data(1, client, on_stream_9(GET_2))
            .data(1, client.opposite(), data)
            .data(1, client.opposite(), on_stream_9(OK_2));
        feed.expect(&[(leg, Some("/a"), Some(200), Outcome::Complete)]);
        assert_eq!((feed.table.stats().http2, feed.table.stats().holes), (1, 0));
    }
}

#[test]
fn ends_and_closes_bring_out_what_is_left_of_http2() {
    let mut feed = feed();
    for fd in [1, 2] {
        feed.open(fd, false).data(fd, IN, PREFACE).data(fd, IN, GET_2);
    }
    feed.data(1, OUT, &OK_2[..4]).end(1, OUT).close(2);
    let absent = (Leg::Downstream, Some("/a"), None, Outcome::ResponseAbsent);
    feed.expect(&[absent, absent]);
}

#[test]
fn a_connection_that_was_open_before_us_is_read_from_its_next_request() {
    let mut feed = feed();
    feed.open(1, true)
        .lose(1, IN, 1000)
        .data(1, OUT, "the rest of a response")
        .data(1, IN, "the rest of a body, with GET / HTTP/1.1 in it")
        .data(1, OUT, OK)
        .data(1, IN, GET)
        .data(1, OUT, OK);
    feed.expect(&[(Leg::Downstream, Some("/a"), Some(200), Outcome::Complete)]);
    assert_eq!(feed.table.stats().holes, 0, "the past is not a loss");
}

#[test]
fn a_connection_without_its_open_record_is_read_from_its_next_request() {
    let mut feed = feed();
    feed.data(1, IN, "rest").data(1, IN, GET).data(1, OUT, OK);
    feed.expect(&[(Leg::Downstream, Some("/a"), Some(200), Outcome::Complete)]);
    assert_eq!(feed.table.stats().without_open, 1);
}

#[test]
fn a_hole_shows_when_the_bytes_after_it_come() {
    let mut feed = feed();
    feed.open(1, false)
        .data(1, IN, GET)
        .data(1, OUT, OK)
        .lose(1, IN, GET.len()) // a request is lost …
        .data(1, OUT, OK) // … and answered …
        .data(1, IN, GET.replace("/a", "/b")) // … before its loss shows.
        .data(1, OUT, OK);
    feed.expect(&[
        (Leg::Downstream, Some("/a"), Some(200), Outcome::Complete),
        (Leg::Downstream, None, Some(200), Outcome::HeadLost),
        (Leg::Downstream, Some("/b"), Some(200), Outcome::Complete),
    ]);
}

#[test]
fn a_lost_response_is_not_replaced_by_the_next_one() {
    let mut feed = feed();
    feed.open(1, false)
        .data(1, IN, GET)
        .lose(1, OUT, OK.len())
        .data(1, IN, GET.replace("/a", "/b"))
        .data(1, OUT, OK)
        .data(1, IN, GET.replace("/a", "/c"))
        .data(1, OUT, OK);
    // The loss shows with the answer to /b, when both are awaited; which of them it is cannot be known.
    feed.expect(&[
        (Leg::Downstream, Some("/a"), None, Outcome::HeadLost),
        (Leg::Downstream, Some("/b"), None, Outcome::HeadLost),
        (Leg::Downstream, Some("/c"), Some(200), Outcome::Complete),
    ]);
    assert_eq!(
        (
            feed.table.stats().holes,
            feed.table.stats().http.unpaired_responses
        ),
        (1, 1)
    );
}

#[test]
fn bytes_that_moved_uncopied_keep_the_framing() {
    let mut feed = feed();
    feed.open(1, false)
        .data(1, IN, GET)
        .data(1, OUT, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
    let at = feed.tick();
    let pos = feed.advance(1, OUT, 100);
    feed.apply(CaptureEvent::Data(DataChunk {
        conn: id(1),
        at,
        direction: OUT,
        pos,
        len: 100,
        bytes: Bytes::new(),
    }));
    feed.data(1, IN, GET).data(1, OUT, OK);
    assert_eq!(feed.out.len(), 2);
    let body = &feed.out[0].response.as_ref().unwrap().body;
    assert_eq!(
        (body.total_bytes, body.hole_bytes, body.complete),
        (100, 0, true)
    );
    assert!(!body.is_whole());
}

#[test]
fn ends_and_closes_bring_out_what_is_left() {
    let mut feed = feed();
    feed.open(1, false)
        .data(1, IN, GET)
        .data(1, OUT, "HTTP/1.0 200 OK\r\n\r\nall")
        .end(1, OUT);
    feed.open(2, false).data(2, IN, GET).close(2);
    feed.expect(&[
        (Leg::Downstream, Some("/a"), Some(200), Outcome::Complete),
        (Leg::Downstream, Some("/a"), None, Outcome::ResponseAbsent),
    ]);
}

#[test]
fn the_table_is_bounded_and_silence_ends() {
    let limits = ConnLimits {
        connections: 2,
        idle_ns: 100,
        ..ConnLimits::default()
    };
    let mut feed = Feed::new(limits);
    for fd in 0..5 {
        feed.open(fd, false).data(fd, IN, GET);
    }
    assert_eq!(
        (
            feed.table.stats().open,
            feed.table.stats().evicted,
            feed.out.len()
        ),
        (2, 3, 3)
    );
    let later = KernelTime(feed.now + 1000);
    feed.table.sweep(later, &mut feed.out);
    assert_eq!(
        (
            feed.table.stats().open,
            feed.table.stats().expired,
            feed.out.len()
        ),
        (0, 2, 5)
    );
}

proptest! {
    /// Whatever is lost, a request is never given another's response, and every loss shows.
    #[test]
    fn lost_chunks_never_pair_wrongly(
        exchanges in prop::collection::vec((any::<bool>(), 0..60usize), 1..8),
        cuts in prop::collection::vec((1..60usize, 0..5u8), 1..30),
    ) {
        let mut feed = feed();
        feed.open(1, false);
        let mut cut = cuts.iter().cycle();
        let mut lost = 0;
        for (number, (chunked, length)) in exchanges.iter().enumerate() {
            let body = "b".repeat(*length);
            let framed = if *chunked {
                format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n").replace("0\r\n\r\n0", "0")
            } else {
                format!("Content-Length: {length}\r\n\r\n{body}")
            };
            let messages = [
                (IN, format!("POST /{number} HTTP/1.1\r\nX-N: {number}\r\n{framed}")),
                (OUT, format!("HTTP/1.1 200 OK\r\nX-N: {number}\r\n{framed}")),
            ];
            for (direction, message) in messages {
                let mut rest = message.as_bytes();
                while !rest.is_empty() {
                    let (length, fate) = cut.next().unwrap();
                    let (piece, after) = rest.split_at((*length).min(rest.len()));
                    if *fate == 0 {
                        feed.lose(1, direction, piece.len());
                        lost += piece.len();
                    } else {
                        feed.data(1, direction, piece);
                    }
                    rest = after;
                }
            }
        }
        feed.end(1, OUT).end(1, IN).close(1);
        let number = |headers: &crate::http::headers::Headers| headers.text("x-n").map(str::to_owned);
        for exchange in &feed.out {
            if let (Some(request), Some(response)) = (&exchange.request, &exchange.response) {
                prop_assert_eq!(number(&request.headers), number(&response.headers));
            }
        }
        let whole = feed
            .out
            .iter()
            .filter(|exchange| exchange.outcome == Outcome::Complete)
            .filter(|exchange| exchange.request.as_ref().is_some_and(|request| request.body.is_whole()))
            .filter(|exchange| exchange.response.as_ref().is_some_and(|response| response.body.is_whole()))
            .count();
        prop_assert_eq!(whole == exchanges.len(), lost == 0, "{} bytes lost, {} whole", lost, whole);
    }
}
