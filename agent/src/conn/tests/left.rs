//! Bytes that were left uncopied on purpose, and what capture is asked to pass over.

use super::{Feed, GET, IN, OK, OUT, feed};
use crate::conn::ConnLimits;
use crate::http::exchange::{Leg, Outcome};

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
    let mut feed = super::feed();
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
    let mut feed = super::feed();
    begin(&mut feed);
    feed.close(1);
    feed.expect(&[(Leg::Downstream, Some("/a"), Some(200), Outcome::ResponseCut)]);
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
