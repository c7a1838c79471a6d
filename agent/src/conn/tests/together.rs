//! All connections share one bound on bytes: the sum is exact, and those that hold most give way.

use proptest::prelude::*;

use super::protocols::PREFACE;
use super::{Feed, GET, IN, OK, OUT, id};
use crate::conn::ConnLimits;

const KIB: usize = 1 << 10;

fn limits(held_bytes: usize) -> ConnLimits {
    ConnLimits {
        held_bytes,
        ..ConnLimits::default()
    }
}

fn post(length: usize, sent: usize) -> Vec<u8> {
    let head = format!("POST /a HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), &vec![b'x'; sent]].concat()
}

impl Feed {
    fn together(&self) -> usize {
        usize::try_from(self.table.stats().held_bytes).unwrap()
    }

    /// What the connections `fds` hold, added up.
    fn added_up(&self, fds: std::ops::RangeInclusive<i32>) -> usize {
        fds.map(|fd| self.table.weigh(id(fd))).sum()
    }
}

#[test]
fn the_connections_that_hold_most_give_their_bodies_back() {
    let mut feed = Feed::new(limits(1000 * KIB));
    // Nine large bodies, and as many small ones as fit beside them until the bound is passed.
    for fd in 1..=9 {
        feed.open(fd, false).data(fd, IN, post(200 * KIB, 100 * KIB));
    }
    let small = 10..=300;
    for fd in small.clone() {
        feed.open(fd, false).data(fd, IN, post(KIB, 512));
        assert!(feed.together() <= 1000 * KIB, "{}", feed.together());
    }
    assert_eq!(feed.together(), feed.added_up(1..=300));
    let stats = feed.table.stats();
    assert!((1..9).contains(&stats.released_bodies), "{stats:?}");
    assert_eq!(stats.given_up_heaviest, 0);
    for fd in 1..=9 {
        feed.data(fd, IN, vec![b'x'; 100 * KIB]).data(fd, OUT, OK);
    }
    for fd in small {
        feed.data(fd, IN, [b'x'; 512]).data(fd, OUT, OK);
    }
    let (mut whole, mut cut) = (0, 0);
    for exchange in &feed.out {
        let body = &exchange.request.as_ref().unwrap().body;
        assert!(body.complete, "sizes stay exact");
        match body.total_bytes {
            204_800 if body.bytes.is_empty() => cut += 1,
            204_800 => whole += 1,
            size => assert_eq!((size, body.bytes.len()), (1024, KIB), "a small one"),
        }
    }
    assert_eq!((feed.out.len(), whole + cut), (300, 9));
    assert_eq!(u64::try_from(cut).unwrap(), stats.released_bodies);
    assert_eq!(feed.together(), 0, "nothing is under way");
}

#[test]
fn connections_that_hold_too_much_without_bodies_are_given_up_heaviest_first() {
    let mut feed = Feed::new(limits(200 * KIB));
    let head = |bytes: usize| format!("GET /a HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(bytes));
    feed.open(1, false).data(1, IN, head(60_000));
    for fd in 2..=200 {
        feed.open(fd, false).data(fd, IN, head(1000));
        assert!(feed.together() <= 200 * KIB, "{}", feed.together());
    }
    let stats = feed.table.stats();
    assert!(
        stats.given_up_heaviest > 0 && stats.released_bodies == 0,
        "{stats:?}"
    );
    assert_eq!(feed.table.weigh(id(1)), 0, "the heaviest went first");
    assert_eq!(
        u64::try_from(feed.out.len()).unwrap(),
        stats.given_up_heaviest,
        "each came out as it was"
    );
    // It is read again from its next request on.
    feed.data(1, IN, GET).data(1, OUT, OK);
    let last = feed.out.last().unwrap();
    assert_eq!(last.request.as_ref().unwrap().target, "/a");
    assert_eq!(last.response.as_ref().unwrap().status, 200);
}

proptest! {
    #[test]
    fn the_sum_is_what_the_connections_hold_and_stays_within_its_bound(
        calls in prop::collection::vec((1..9_i32, any::<bool>(), 0..12u8, 0..3000usize, 0..30u8), 1..200),
    ) {
        let bound = 24 * KIB;
        let mut feed = Feed::new(limits(bound));
        for fd in 1..=8 {
            let first = if fd % 2 == 0 { PREFACE } else { GET.as_bytes() };
            feed.open(fd, false).data(fd, IN, first);
        }
        for (number, (fd, is_in, kind, bytes, order)) in calls.iter().enumerate() {
            let direction = if *is_in { IN } else { OUT };
            match order {
                0 => {
                    feed.lose(*fd, direction, 10);
                }
                1 => {
                    feed.close(*fd);
                }
                2 => feed.table.sweep(crate::capture::event::KernelTime(feed.now + 20_000_000), &mut feed.out),
                _ => {
                    feed.data(*fd, direction, super::properties::nasty(number, *kind, *bytes));
                }
            }
            prop_assert_eq!(feed.together(), feed.added_up(1..=8), "after {}", number);
            // What came since a connection with many exchanges was weighed is the slack.
            prop_assert!(feed.together() <= bound, "{} after {}", feed.together(), number);
        }
        let at = crate::capture::event::KernelTime(feed.now);
        feed.table.flush(at, &mut feed.out);
        prop_assert_eq!(feed.together(), 0);
    }
}
