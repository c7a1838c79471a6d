//! What a connection turns out to carry, from its start or from the middle.

use super::{GET, IN, OK, OUT, feed};
use crate::capture::event::Direction;
use crate::http::exchange::{Leg, Outcome};

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

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

/// `GET /a` and its answer, on stream 1.
pub(super) const GET_2: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x87\x04\x02/a";

pub(super) const OK_2: &[u8] = b"\0\0\x01\x01\x05\0\0\0\x01\x88";

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

/// Found by the properties: they came out as an exchange of their own.
#[test]
fn trailers_of_a_stream_from_before_us_are_no_request() {
    // `x-t: 0` and END_STREAM, with its name in full and by an index that is not known; then a request.
    for trailers in [
        &b"\0\0\x07\x01\x05\0\0\0\x01@\x03x-t\x010"[..],
        b"\0\0\x04\x01\x05\0\0\0\x01\x0f/\x010",
    ] {
        let on_stream_3 = |frame: &[u8]| [&frame[..8], b"\x03", &frame[9..]].concat();
        let mut feed = feed();
        feed.open(1, true)
            .data(1, IN, [trailers, &on_stream_3(GET_2)].concat())
            .data(1, OUT, OK_2)
            .data(1, OUT, on_stream_3(OK_2));
        feed.expect(&[(Leg::Downstream, Some("/a"), Some(200), Outcome::Complete)]);
    }
}
