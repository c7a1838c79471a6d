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
    /// What the table asked for, as capture keeps it.
    skips: std::collections::HashMap<(i32, Direction), u64>,
}

impl Feed {
    fn new(limits: ConnLimits) -> Self {
        Self {
            table: ConnTable::new(limits),
            out: Vec::new(),
            now: 0,
            positions: std::collections::HashMap::new(),
            skips: std::collections::HashMap::new(),
        }
    }

    fn tick(&mut self) -> KernelTime {
        self.now += 1;
        KernelTime(self.now)
    }

    fn apply(&mut self, event: CaptureEvent) -> &mut Self {
        if let Some(Skip {
            conn,
            direction,
            until,
        }) = self.table.apply(event, &mut self.out)
        {
            self.skips.insert((conn.fd, direction), until);
        }
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

    /// Bytes that move and are left uncopied on purpose.
    fn leave(&mut self, fd: i32, direction: Direction, len: u64) -> &mut Self {
        let at = self.tick();
        let pos = self.advance(fd, direction, len);
        self.apply(CaptureEvent::Data(DataChunk {
            conn: id(fd),
            at,
            direction,
            pos,
            len,
            bytes: Bytes::new(),
        }))
    }

    /// What the probes do with a call: all of it, or what is beyond the range that they were asked to pass over, of which
    /// they tell when it ends.
    fn call(&mut self, fd: i32, direction: Direction, bytes: &[u8], told: &mut u64) {
        let position = self.positions.get(&(fd, direction)).copied().unwrap_or(0);
        let until = self.skips.get(&(fd, direction)).copied().unwrap_or(0);
        let len = u64::try_from(bytes.len()).unwrap();
        let passed = until.saturating_sub(position).min(len);
        if passed > 0 {
            *told += passed;
            if position + passed < until {
                self.advance(fd, direction, passed);
                return;
            }
            *self.positions.get_mut(&(fd, direction)).unwrap() -= *told - passed;
            self.leave(fd, direction, std::mem::take(told));
        }
        let rest = &bytes[usize::try_from(passed).unwrap()..];
        if !rest.is_empty() {
            self.data(fd, direction, rest);
        }
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

/// `body`, framed, of which the middle is left uncopied: (total, wire, kept) bytes of what comes out. Another exchange
/// follows, whole.
#[track_caller]
fn check_left(head: &str, before: &str, left: u64, after: &str, expected: (u64, u64, usize)) {
    let mut feed = feed();
    feed.open(1, false)
        .data(1, IN, GET)
        .data(1, OUT, format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{before}"))
        .leave(1, OUT, left);
    if !after.is_empty() {
        feed.data(1, OUT, after);
    }
    assert_eq!(feed.out.len(), 1, "it comes out at once");
    feed.data(1, IN, GET).data(1, OUT, OK);
    assert_eq!(feed.out.len(), 2);
    assert!(
        feed.out
            .iter()
            .all(|exchange| exchange.outcome == Outcome::Complete),
        "{:?}",
        feed.out
    );
    let body = &feed.out[0].response.as_ref().unwrap().body;
    assert_eq!(
        (body.total_bytes, body.wire_bytes, body.bytes.len()),
        expected,
        "{head}"
    );
    assert!(body.complete && !body.is_whole() && body.hole_bytes == 0);
    assert_eq!(feed.table.stats().holes, 0);
}

#[test]
fn bytes_that_were_left_uncopied_keep_sizes_and_framing() {
    check_left("Content-Length: 100", "", 100, "", (100, 100, 0));
    check_left("Content-Length: 100", "abc", 97, "", (100, 100, 3));
    check_left("Content-Length: 100", "abc", 90, "defghij", (100, 100, 3)); // nothing is kept after the cut
    // What nginx does: the chunk's size and end are pieces of their own, and copied.
    check_left(
        "Transfer-Encoding: chunked",
        "64\r\n",
        100,
        "\r\n2\r\nab\r\n0\r\n\r\n",
        (102, 118, 0),
    );
    // The framing is left too, but for the end of the last call: the size on the wire stays exact.
    check_left(
        "Transfer-Encoding: chunked",
        "64\r\nabc",
        200,
        "xyz\r\n0\r\n\r\n",
        (3 + 200 + 10, 4 + 3 + 200 + 10, 3),
    );
}

#[test]
fn a_chunked_body_without_its_end_ends_when_the_gateway_reads_on_or_answers_again() {
    let begin = |feed: &mut Feed| {
        feed.open(1, false)
            .data(1, IN, GET)
            .data(
                1,
                OUT,
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n",
            )
            .leave(1, OUT, 200);
    };
    let both = [
        (Leg::Downstream, Some("/a"), Some(200), Outcome::Complete),
        (Leg::Downstream, Some("/b"), Some(200), Outcome::Complete),
    ];
    let mut feed = feed();
    begin(&mut feed);
    feed.data(1, IN, GET.replace("/a", "/b")).data(1, OUT, OK);
    feed.expect(&both);
    // Pipelined: the next answer begins with a call of its own.
    let mut feed = super::tests::feed();
    feed.open(1, false)
        .data(1, IN, format!("{GET}{}", GET.replace("/a", "/b")))
        .data(
            1,
            OUT,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n",
        )
        .leave(1, OUT, 200)
        .data(1, OUT, OK);
    feed.expect(&both);
    // Cut for good.
    let mut feed = super::tests::feed();
    begin(&mut feed);
    feed.close(1);
    feed.expect(&[(Leg::Downstream, Some("/a"), Some(200), Outcome::ResponseCut)]);
}

/// Found by the overload test: such a connection was taken for one that carries no HTTP, for good.
#[test]
fn an_answer_that_comes_first_has_lost_its_request() {
    let mut feed = feed();
    feed.open(1, false)
        .lose(1, IN, GET.len())
        .data(1, OUT, OK)
        .data(1, IN, GET.replace("/a", "/b"))
        .data(1, OUT, OK);
    feed.expect(&[(Leg::Downstream, Some("/b"), Some(200), Outcome::Complete)]);
    assert_eq!(feed.table.stats().not_http, 0);
}

/// Found by the overload test: the second of two pipelined requests got the first one's answer. A TLS gateway reads them
/// by calls of their own, and answers none before it has read both.
#[test]
fn requests_that_were_read_together_after_a_loss_keep_their_answers() {
    let (b, c) = (GET.replace("/a", "/b"), GET.replace("/a", "/c"));
    for calls in [vec![format!("{b}{c}")], vec![b, c]] {
        let mut feed = feed();
        feed.open(1, false)
            .data(1, IN, GET)
            .lose(1, OUT, 100)
            .data(1, OUT, "the end of an answer");
        for call in calls {
            feed.data(1, IN, call);
        }
        feed.data(1, OUT, OK.replace("200", "201"))
            .data(1, OUT, OK.replace("200", "202"));
        feed.expect(&[
            (Leg::Downstream, Some("/a"), None, Outcome::HeadLost),
            (Leg::Downstream, Some("/b"), Some(201), Outcome::Complete),
            (Leg::Downstream, Some("/c"), Some(202), Outcome::Complete),
        ]);
    }
}

#[test]
fn a_request_that_was_read_together_with_lost_ones_is_given_none_of_their_answers() {
    let mut feed = feed();
    feed.open(1, false)
        .data(1, IN, GET)
        .data(1, OUT, OK)
        .lose(1, IN, 2 * GET.len())
        .data(1, IN, GET.replace("/a", "/c"));
    for _ in 0..3 {
        feed.data(1, OUT, OK);
    }
    feed.data(1, IN, GET.replace("/a", "/d")).data(1, OUT, OK);
    feed.expect(&[
        (Leg::Downstream, Some("/a"), Some(200), Outcome::Complete),
        (Leg::Downstream, None, Some(200), Outcome::HeadLost),
        (Leg::Downstream, Some("/c"), None, Outcome::HeadLost),
        (Leg::Downstream, Some("/d"), Some(200), Outcome::Complete),
    ]);
}

/// Both directions of a connection that is met again have come far; that is the past, and no hole.
#[test]
fn a_connection_that_was_given_up_is_taken_up_where_it_is() {
    let mut feed = feed();
    feed.open(1, false).data(1, IN, GET).data(1, OUT, OK);
    let now = KernelTime(feed.now + feed.table.limits.idle_ns + 1);
    feed.table.sweep(now, &mut feed.out);
    feed.now = now.0;
    feed.data(1, IN, GET.replace("/a", "/b")).data(1, OUT, OK);
    feed.expect(&[
        (Leg::Downstream, Some("/a"), Some(200), Outcome::Complete),
        (Leg::Downstream, Some("/b"), Some(200), Outcome::Complete),
    ]);
    assert_eq!(feed.table.stats().hole_bytes, 0);
}

#[test]
fn what_is_left_of_a_head_is_a_loss() {
    let mut feed = feed();
    feed.open(1, false)
        .data(1, IN, GET)
        .data(1, OUT, "HTTP/1.1 200 OK\r\nX: ")
        .leave(1, OUT, 100)
        .data(1, IN, GET.replace("/a", "/b"))
        .data(1, OUT, OK);
    feed.expect(&[
        (Leg::Downstream, Some("/a"), None, Outcome::HeadLost),
        (Leg::Downstream, Some("/b"), Some(200), Outcome::Complete),
    ]);
}

#[test]
fn bytes_that_are_known_to_be_of_no_use_are_skipped() {
    const LENGTH: u64 = 1 << 20;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
    let head_bytes = u64::try_from(head.len()).unwrap();
    let limits = |body_bytes| {
        let mut limits = ConnLimits::default();
        limits.http.body_bytes = body_bytes;
        limits
    };
    let until = |feed: &Feed, direction| feed.skips.get(&(1, direction)).copied();
    // Nothing of the body is wanted.
    let mut feed = Feed::new(limits(0));
    feed.open(1, false).data(1, IN, GET).data(1, OUT, &head);
    assert_eq!(
        (until(&feed, OUT), until(&feed, IN)),
        (Some(head_bytes + LENGTH), None)
    );
    // Some of it is: after that, nothing.
    let mut feed = Feed::new(limits(1000));
    feed.open(1, false).data(1, IN, GET).data(1, OUT, &head);
    assert_eq!(until(&feed, OUT), None);
    feed.data(1, OUT, [b'x'; 999]);
    assert_eq!(until(&feed, OUT), None);
    feed.data(1, OUT, b"x");
    assert_eq!(until(&feed, OUT), Some(head_bytes + LENGTH));
    // The upstream's leg has none that are wanted; a chunk ends where its size says.
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n";
    let mut feed = Feed::new(limits(1 << 30));
    feed.open(1, false).data(1, OUT, GET).data(1, IN, chunked);
    assert_eq!(
        until(&feed, IN),
        Some(u64::try_from(chunked.len()).unwrap() + (1 << 20))
    );
    // What is no HTTP is of no use at all, once it is worth saying so.
    let mut feed = Feed::new(limits(0));
    feed.open(1, false).data(1, IN, "SSH-2.0-x\r\n");
    assert_eq!(until(&feed, IN), None);
    feed.data(1, IN, vec![0; 20_000]).data(1, OUT, vec![0; 20_000]);
    assert_eq!(
        (until(&feed, IN), until(&feed, OUT)),
        (Some(u64::MAX), Some(u64::MAX))
    );
}

#[test]
fn a_lost_tail_shows_when_the_connection_closes() {
    let mut feed = feed();
    feed.open(1, false)
        .data(1, IN, GET)
        .data(1, OUT, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        .lose(1, OUT, 97)
        .close(1);
    feed.expect(&[(Leg::Downstream, Some("/a"), Some(200), Outcome::Complete)]);
    let body = &feed.out[0].response.as_ref().unwrap().body;
    assert_eq!((body.total_bytes, body.hole_bytes), (100, 97));
    // A whole request and its answer.
    let mut feed = super::tests::feed();
    feed.open(1, false)
        .data(1, IN, GET)
        .data(1, OUT, OK)
        .lose(1, IN, GET.len())
        .lose(1, OUT, OK.len())
        .close(1);
    feed.expect(&[
        (Leg::Downstream, Some("/a"), Some(200), Outcome::Complete),
        (Leg::Downstream, None, None, Outcome::HeadLost),
    ]);
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
    /// Whatever is passed over because the table asked for it: every exchange comes out, with its own head and exact sizes.
    #[test]
    fn a_skip_never_hides_a_head(
        exchanges in prop::collection::vec((any::<bool>(), 0..60_000usize), 1..6),
        cuts in prop::collection::vec(1..20_000usize, 1..12),
        limit in 0..40_000usize,
    ) {
        let mut limits = ConnLimits::default();
        limits.http.body_bytes = limit;
        let mut feed = Feed::new(limits);
        feed.open(1, false);
        let (mut cuts, mut told) = (cuts.iter().cycle(), [0, 0]);
        for (number, (chunked, length)) in exchanges.iter().enumerate() {
            // A body that looks like heads.
            let body: String = "HTTP/1.1 200 OK\r\n\r\n".chars().cycle().take(*length).collect();
            let framed = if *chunked && *length > 0 {
                format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n")
            } else {
                format!("Content-Length: {length}\r\n\r\n{body}")
            };
            let messages = [
                (IN, format!("POST /{number} HTTP/1.1\r\n{framed}")),
                (OUT, format!("HTTP/1.1 200 OK\r\nX-N: {number}\r\n{framed}")),
            ];
            for (told, (direction, message)) in told.iter_mut().zip(messages) {
                let mut rest = message.as_bytes();
                while !rest.is_empty() {
                    let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                    feed.call(1, direction, piece, told);
                    rest = after;
                }
            }
        }
        prop_assert_eq!(feed.out.len(), exchanges.len());
        for (number, (exchange, (_, length))) in feed.out.iter().zip(&exchanges).enumerate() {
            prop_assert_eq!(exchange.outcome, Outcome::Complete);
            let (request, response) = (exchange.request.as_ref().unwrap(), exchange.response.as_ref().unwrap());
            prop_assert_eq!(str::from_utf8(&request.target).unwrap().to_owned(), format!("/{number}"));
            prop_assert_eq!(response.headers.text("x-n").map(str::to_owned), Some(number.to_string()));
            for body in [&request.body, &response.body] {
                prop_assert_eq!(body.total_bytes, u64::try_from(*length).unwrap());
                prop_assert_eq!(body.hole_bytes, 0);
                prop_assert!(body.bytes.len() <= limit);
            }
        }
    }

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
