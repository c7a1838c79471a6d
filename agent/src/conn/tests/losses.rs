//! Whatever is passed over or lost, nothing is paired wrongly.

use proptest::prelude::*;

use super::{Feed, IN, OUT, feed};
use crate::conn::ConnLimits;
use crate::http::exchange::Outcome;

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
