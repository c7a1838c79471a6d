//! Opens, ends, closes, and the bounds of the table.

use super::{Feed, GET, IN, OUT, feed};
use crate::capture::event::KernelTime;
use crate::conn::ConnLimits;
use crate::http::exchange::{Leg, Outcome};

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
