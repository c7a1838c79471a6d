//! Bytes that are lost.

use super::{Feed, GET, IN, OK, OUT, feed};
use crate::conn::ConnLimits;
use crate::http::exchange::{Leg, Outcome};

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
    let mut feed = super::feed();
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

/// The bound on waiting requests made each later response that of another request.
#[test]
fn a_request_that_is_given_up_keeps_its_answer_from_the_others() {
    let mut limits = ConnLimits::default();
    limits.http.pipelined = 2;
    let mut feed = Feed::new(limits);
    let asked = |name: &str| GET.replace("/a", name);
    feed.open(1, false)
        .data(
            1,
            IN,
            format!(
                "{GET}{}{}{}",
                asked("/b").replace("GET", "HEAD"),
                asked("/c"),
                asked("/d")
            ),
        )
        .data(1, OUT, OK.replace("200", "201"))
        .data(1, OUT, "HTTP/1.1 202 OK\r\nContent-Length: 20\r\n\r\n")
        .data(1, OUT, OK.replace("200", "203"))
        .data(
            1,
            OUT,
            OK.replace("200", "204")
                .replace("Content-Length: 2\r\n\r\nok", "\r\n"),
        );
    let given_up = |target| (Leg::Downstream, Some(target), None, Outcome::HeadLost);
    feed.expect(&[
        given_up("/a"),
        given_up("/b"),
        (Leg::Downstream, Some("/c"), Some(203), Outcome::Complete),
        (Leg::Downstream, Some("/d"), Some(204), Outcome::Complete),
    ]);
}

/// Found by the properties: whether it has a body is not known without the method, and what followed was taken for one.
#[test]
fn an_answer_to_a_lost_head_request_does_not_swallow_those_after_it() {
    let fields = ["", "Content-Length: 58\r\n", "Transfer-Encoding: chunked\r\n"];
    for (fields, shows_first) in fields
        .into_iter()
        .flat_map(|fields| [(fields, false), (fields, true)])
    {
        let mut feed = feed();
        feed.open(1, false)
            .data(1, IN, GET)
            .data(1, OUT, OK)
            .lose(1, IN, GET.len() + 1);
        if shows_first {
            feed.data(1, IN, "the rest of it");
        }
        feed.data(1, OUT, format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        for name in ["/b", "/c"] {
            feed.data(1, IN, GET.replace("/a", name)).data(1, OUT, OK);
        }
        feed.expect(&[
            (Leg::Downstream, Some("/a"), Some(200), Outcome::Complete),
            (Leg::Downstream, None, Some(200), Outcome::HeadLost),
            (Leg::Downstream, Some("/b"), Some(200), Outcome::Complete),
            (Leg::Downstream, Some("/c"), Some(200), Outcome::Complete),
        ]);
        assert!(
            feed.out[1].response.as_ref().unwrap().body.bytes.is_empty(),
            "{fields}"
        );
    }
}
