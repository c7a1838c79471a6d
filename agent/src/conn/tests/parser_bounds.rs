//! The parsers' bounds, reached through the table: what happens then, and which counter shows it (docs/limits.md).

use super::protocols::{GET_2, OK_2, PREFACE};
use super::{Feed, GET, IN, OK, OUT, feed};
use crate::conn::ConnLimits;
use crate::http::anomaly::Anomaly;
use crate::http::exchange::{Leg, Outcome};

#[test]
fn a_head_with_more_fields_than_the_limit_loses_the_last_of_them() {
    let with = |fields: usize| GET.replace("\r\n\r\n", &format!("\r\n{}\r\n", "a: b\r\n".repeat(fields)));
    let mut limits = ConnLimits::default();
    limits.http.fields = 10;
    let mut feed = Feed::new(limits);
    feed.open(1, false)
        .data(1, IN, with(10))
        .data(1, OUT, OK)
        .data(1, IN, with(11))
        .data(1, OUT, OK);
    feed.expect(&[
        (Leg::Downstream, Some("/a"), Some(200), Outcome::Complete),
        (Leg::Downstream, Some("/a"), Some(200), Outcome::Complete),
    ]);
    for (exchange, is_cut) in feed.out.iter().zip([false, true]) {
        assert_eq!(exchange.anomalies.contains(Anomaly::TooManyFields), is_cut);
        assert_eq!(exchange.request.as_ref().unwrap().headers.0.len(), 10);
    }
}

#[test]
fn chunk_framing_is_bounded() {
    let answer = |extension: usize, trailer: usize| {
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2{}\r\nok\r\n0\r\n{}\r\n",
            ";".repeat(extension),
            "x: yyyy\r\n".repeat(trailer / 9)
        )
    };
    for (extension, trailer, outcome) in [
        (4_000, 65_000, Outcome::Complete),
        (5_000, 0, Outcome::ResponseCut),
        (0, 66_000, Outcome::ResponseCut),
    ] {
        let mut feed = feed();
        feed.open(1, false)
            .data(1, IN, GET)
            .data(1, OUT, answer(extension, trailer))
            .close(1);
        feed.expect(&[(Leg::Downstream, Some("/a"), Some(200), outcome)]);
        assert_eq!(
            feed.table.stats().http.lost_framings,
            u64::from(outcome != Outcome::Complete)
        );
    }
}

#[test]
fn a_connection_that_owes_too_many_answers_is_read_no_further() {
    let mut limits = ConnLimits::default();
    limits.http.pipelined = 1;
    let mut feed = Feed::new(limits);
    let many = (64 << 10) + 3;
    feed.open(1, false)
        .data(1, IN, GET.repeat(many))
        .data(1, OUT, OK)
        .data(1, IN, GET)
        .data(1, OUT, OK)
        .close(1);
    assert_eq!(feed.out.len(), many - 1, "the last one was not read any more");
    assert!(feed.out.iter().all(|exchange| exchange.response.is_none()));
}

#[test]
fn a_frame_that_is_longer_than_allowed_costs_the_place() {
    for (length, lost) in [(&b"\0\x40\0"[..], 0), (b"\0\x40\x01", 1), (b"\xff\xff\xff", 1)] {
        let mut feed = feed();
        feed.open(1, false)
            .data(1, IN, PREFACE)
            .data(1, IN, [length, b"\0\0\0\0\0\x09"].concat());
        if lost == 0 {
            feed.data(1, IN, [0; 0x4000]);
        }
        feed.data(1, IN, GET_2).data(1, OUT, OK_2);
        feed.expect(&[(Leg::Downstream, Some("/a"), Some(200), Outcome::Complete)]);
        assert_eq!(feed.table.stats().http.lost_framings, lost, "{length:?}");
    }
}
