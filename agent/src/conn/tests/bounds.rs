//! Each bound of a connection is reached: what happens then, and which counter shows it (docs/limits.md).

use super::{Feed, GET, IN, OK, OUT, id};
use crate::capture::event::{CaptureEvent, DataChunk, KernelTime};
use crate::conn::ConnLimits;
use crate::http::exchange::{Leg, Outcome};
use crate::http::h2::held::SEARCHED_BYTES;

const MIB: usize = 1 << 20;

fn limits(bytes: usize) -> ConnLimits {
    let mut limits = ConnLimits {
        bytes,
        ..ConnLimits::default()
    };
    (limits.http.head_bytes, limits.http.body_bytes) = (1024, MIB);
    limits
}

/// A call of the client's, and its answer, of which a part comes `late` records later.
fn reorder(mut limits: ConnLimits, change: impl Fn(&mut ConnLimits), pause_ns: u64, between: &[u8]) -> Feed {
    change(&mut limits);
    let mut feed = Feed::new(limits);
    feed.open(1, false).data(1, IN, GET).lose(1, OUT, 20);
    feed.data(1, OUT, &OK.as_bytes()[20..]);
    feed.now += pause_ns;
    feed.data(1, OUT, between);
    let at = feed.tick();
    feed.apply(CaptureEvent::Data(DataChunk {
        conn: id(1),
        at,
        direction: OUT,
        pos: 0,
        len: 20,
        bytes: OK.as_bytes()[..20].to_vec().into(),
    }));
    feed
}

#[test]
fn a_record_that_comes_late_is_put_in_its_place() {
    let mut feed = reorder(ConnLimits::default(), |_| (), 0, b"");
    feed.expect(&[(Leg::Downstream, Some("/a"), Some(200), Outcome::Complete)]);
    let stats = feed.table.stats();
    assert_eq!((stats.reordered, stats.holes, stats.repeated), (1, 0, 0));
}

#[test]
fn what_comes_later_than_the_window_allows_is_a_hole() {
    let check = |name: &str, change: &dyn Fn(&mut ConnLimits), pause_ns, between: &[u8]| {
        let mut feed = reorder(ConnLimits::default(), change, pause_ns, between);
        feed.expect(&[(Leg::Downstream, Some("/a"), None, Outcome::HeadLost)]);
        let stats = feed.table.stats();
        assert_eq!(
            (stats.reordered, stats.hole_bytes, stats.repeated),
            (0, 20, 1),
            "{name}"
        );
    };
    check("age", &|limits| limits.reorder.age_ns = 1000, 1000, b"x");
    check("records", &|limits| limits.reorder.records = 1, 0, b"x");
    check("bytes", &|limits| limits.reorder.bytes = OK.len() - 20, 0, b"x");
    check("none", &|limits| limits.reorder.records = 0, 0, b"");
}

#[test]
fn what_waits_is_given_up_by_a_sweep() {
    let mut feed = Feed::new(ConnLimits::default());
    feed.open(1, false)
        .data(1, IN, GET)
        .lose(1, OUT, 20)
        .data(1, OUT, OK);
    assert_eq!(feed.table.held_bytes(id(1)).1, OK.len());
    let age_ns = ConnLimits::default().reorder.age_ns;
    for (now, waiting) in [(feed.now + age_ns, OK.len()), (feed.now + age_ns + 1, 0)] {
        feed.table.sweep(KernelTime(now), &mut feed.out);
        assert_eq!(feed.table.held_bytes(id(1)).1, waiting);
    }
    assert_eq!(feed.table.stats().holes, 1);
}

#[test]
fn bodies_are_cut_when_a_connection_holds_too_much_and_kept_again_later() {
    let limits = limits(0);
    let most = limits.held_bytes();
    let mut feed = Feed::new(limits);
    feed.open(1, false);
    // Pipelined, so that all of them are held until the first is answered.
    let post = |bytes| {
        [
            format!("POST /a HTTP/1.1\r\nContent-Length: {bytes}\r\n\r\n").as_bytes(),
            &vec![b'x'; bytes],
        ]
        .concat()
    };
    for _ in 0..8 {
        feed.data(1, IN, post(MIB));
        assert!(
            feed.table.held_bytes(id(1)).0 <= most,
            "{}",
            feed.table.held_bytes(id(1)).0
        );
    }
    for _ in 0..8 {
        feed.data(1, OUT, OK);
    }
    feed.data(1, IN, post(10))
        .data(1, OUT, OK)
        .data(1, IN, post(10))
        .data(1, OUT, OK);
    let kept: Vec<usize> = feed
        .out
        .iter()
        .map(|exchange| exchange.request.as_ref().unwrap().body.bytes.len())
        .collect();
    let complete = feed
        .out
        .iter()
        .filter(|exchange| exchange.outcome == Outcome::Complete)
        .count();
    assert_eq!((feed.out.len(), complete), (10, 10), "no exchange gave way");
    assert_eq!((kept[0], kept[7], kept[8]), (MIB, 0, 10), "{kept:?}");
    assert!(
        feed.out
            .iter()
            .all(|exchange| exchange.request.as_ref().unwrap().body.complete)
    );
    assert_eq!(feed.table.stats().full, 1);
}

#[test]
fn the_oldest_exchanges_give_way_when_heads_alone_are_too_many() {
    let mut limits = limits(0);
    (limits.http.body_bytes, limits.http.pipelined) = (0, 100_000);
    let most = limits.held_bytes();
    let mut feed = Feed::new(limits);
    feed.open(1, false);
    let asked = |number: usize| format!("GET /{number} HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(900));
    let requests = 2 * most / 900;
    for number in 0..requests {
        feed.data(1, IN, asked(number));
        assert!(feed.table.held_bytes(id(1)).0 <= most);
    }
    let gave_way = feed.out.len();
    assert!(gave_way > 0 && feed.table.stats().full > 0);
    for number in 0..requests {
        feed.data(1, OUT, OK.replace("200", &(number % 500 + 400).to_string()));
    }
    assert_eq!(feed.out.len(), requests);
    for (number, exchange) in feed.out.iter().enumerate() {
        let answered = exchange
            .response
            .as_ref()
            .map(|response| usize::from(response.status));
        assert_eq!(
            answered,
            (number >= gave_way).then_some(number % 500 + 400),
            "{number}"
        );
    }
}

/// What was decided of it was kept for as long as something after it was still in question.
#[test]
fn what_is_searched_for_a_frame_is_bounded() {
    let mut feed = Feed::new(limits(0));
    feed.open(1, false)
        .data(1, IN, super::protocols::PREFACE)
        .lose(1, IN, 3);
    let length = SEARCHED_BYTES / 2 / 20;
    // Each call may begin with a frame, and none of them does.
    let call = [&b"\0\xff\xff\0\0\0\0\0\x01"[..], &vec![b'x'; length]].concat();
    for _ in 0..200 {
        feed.data(1, IN, &call);
        let held = feed.table.held_bytes(id(1)).0;
        assert!(held <= SEARCHED_BYTES, "{held}");
    }
    assert!(feed.table.stats().http.skipped_bytes > 0);
}
