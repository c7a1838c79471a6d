//! Any cut, any hole, any bytes.

use proptest::prelude::*;

use super::wire::{PREFACE, block, continuation, data, frame, headers, padded, reset, settings};
use super::{ENDS, GET, Move, OK, POST, REQ, RES, WHOLE, conn, fresh, joining, line, play};
use crate::capture::event::KernelTime;
use crate::http::exchange::{Body, Exchange, HeadState, Leg};
use crate::http::h1::Side;
use crate::http::h1::limits::HttpLimits;
use crate::http::h2::Http2;
use crate::http::headers::Headers;

/// A conversation with everything in it, as the bytes of both directions in the order in which they moved.
fn conversation() -> Vec<(Side, Vec<u8>)> {
    let mut with_priority = b"\0\0\0\0\x10".to_vec();
    with_priority.extend(block(GET));
    vec![
        (
            REQ,
            [PREFACE.to_vec(), settings(&[(1, 4096), (5, 20_000)])].concat(),
        ),
        (RES, [settings(&[(3, 128)]), frame(4, 1, 0, b"")].concat()),
        (
            REQ,
            [
                frame(4, 1, 0, b""),
                frame(1, ENDS | WHOLE | 0x20, 1, &with_priority),
            ]
            .concat(),
        ),
        (
            REQ,
            [
                headers(3, WHOLE, POST),
                padded(0, 3, 0, b"one ", 5),
                data(3, ENDS, b"two"),
            ]
            .concat(),
        ),
        (
            RES,
            [
                headers(3, WHOLE, &[(":status", "100")]),
                headers(1, WHOLE, OK),
                data(1, 0, &[b'y'; 300]),
            ]
            .concat(),
        ),
        (
            REQ,
            frame(1, ENDS | WHOLE, 5, b"\x82\x87\x41\x01x\x44\x02/q\x40\x01a\x01b"),
        ),
        (
            RES,
            [headers(3, WHOLE, OK), data(1, ENDS, b"end"), data(3, 0, b"x")].concat(),
        ),
        (
            REQ,
            [
                frame(1, ENDS, 7, b"\x82\x87\xc0"),
                continuation(7, WHOLE, b"\xbf\xbe"),
                frame(6, 0, 0, &[7; 8]),
            ]
            .concat(),
        ),
        (
            RES,
            [
                headers(3, ENDS | WHOLE, &[("grpc-status", "0")]),
                headers(5, ENDS | WHOLE, OK),
            ]
            .concat(),
        ),
        (RES, [headers(7, WHOLE, OK), reset(7, 2)].concat()),
    ]
}

fn without_times(mut exchanges: Vec<Exchange>) -> Vec<Exchange> {
    exchanges.sort_by_key(|exchange| exchange.stream);
    for exchange in &mut exchanges {
        if let Some(request) = &mut exchange.request {
            (request.started, request.ended) = (KernelTime(0), KernelTime(0));
        }
        if let Some(response) = &mut exchange.response {
            (response.started, response.ended) = (KernelTime(0), KernelTime(0));
        }
    }
    exchanges
}

fn whole_conversation() -> Vec<Exchange> {
    let moves: Vec<Move> = conversation()
        .into_iter()
        .map(|(side, bytes)| Move::Data(side, bytes))
        .collect();
    let (out, mut http) = play(fresh(HttpLimits::default()), &moves);
    assert_eq!(http.take_stats().bad_heads, 0);
    without_times(out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// However the bytes are cut, the exchanges are the same.
    #[test]
    fn any_cut_gives_the_same_exchanges(cuts in prop::collection::vec(1..40usize, 1..40)) {
        let mut cut = cuts.iter().cycle();
        let mut moves = Vec::new();
        for (side, bytes) in conversation() {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                moves.push(Move::Data(side, piece.to_vec()));
                rest = after;
            }
        }
        let (out, _) = play(fresh(HttpLimits::default()), &moves);
        prop_assert_eq!(without_times(out), whole_conversation());
    }

    /// Whatever is lost, nothing is invented: what an exchange has is a part of what it was, and one that claims to be whole is.
    #[test]
    fn holes_take_and_never_give(
        cuts in prop::collection::vec((1..80usize, 0..8u8), 1..60),
        joins in any::<bool>(),
    ) {
        let mut cut = cuts.iter().cycle();
        let mut moves = Vec::new();
        for (side, bytes) in conversation() {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (length, fate) = cut.next().unwrap();
                let (piece, after) = rest.split_at((*length).min(rest.len()));
                moves.push(if *fate == 0 {
                    Move::Hole(side, u64::try_from(piece.len()).unwrap())
                } else {
                    Move::Data(side, piece.to_vec())
                });
                rest = after;
            }
        }
        moves.push(Move::Close);
        let http = if joins {
            joining()
        } else {
            fresh(HttpLimits::default())
        };
        let (out, _) = play(http, &moves);
        let truth = whole_conversation();
        for exchange in &out {
            let Some(whole) = truth.iter().find(|whole| whole.stream == exchange.stream) else {
                return Err(TestCaseError::fail(format!("invented: {}", line(exchange))));
            };
            if let (Some(seen), Some(was)) = (&exchange.request, &whole.request) {
                is_part(&seen.body, &was.body)?;
                are_part(&seen.headers, &was.headers, seen.head)?;
                are_part(&seen.trailers, &was.trailers, HeadState::Partial)?;
                prop_assert!(seen.method.is_empty() || seen.method == was.method);
                prop_assert!(seen.target.is_empty() || seen.target == was.target);
            }
            if let (Some(seen), Some(was)) = (&exchange.response, &whole.response) {
                prop_assert_eq!(seen.status, was.status);
                is_part(&seen.body, &was.body)?;
                are_part(&seen.headers, &was.headers, seen.head)?;
                are_part(&seen.trailers, &was.trailers, HeadState::Partial)?;
            }
        }
    }

    /// No bytes make it panic.
    #[test]
    fn any_bytes_are_taken(
        moves in prop::collection::vec((any::<bool>(), prop::collection::vec(0..12u8, 0..60), 0..20u64), 0..40),
        joins in any::<bool>(),
    ) {
        let http = if joins {
            Http2::joining(conn(), Leg::Upstream, HttpLimits::default())
        } else {
            fresh(HttpLimits::default())
        };
        let moves: Vec<Move> = moves
            .into_iter()
            .flat_map(|(asks, bytes, hole)| {
                let side = if asks { REQ } else { RES };
                let hole = (hole < 3).then_some(Move::Hole(side, hole));
                [Some(Move::Data(side, bytes)), hole].into_iter().flatten()
            })
            .collect();
        let (out, _) = play(http, &moves);
        prop_assert!(out.len() <= moves.len());
    }
}

fn is_part(seen: &Body, was: &Body) -> Result<(), TestCaseError> {
    prop_assert!(was.bytes.starts_with(&seen.bytes));
    prop_assert!(seen.total_bytes <= was.total_bytes);
    prop_assert!(
        !seen.is_whole() || seen.bytes == was.bytes,
        "{:?} claims to be whole",
        seen
    );
    Ok(())
}

fn are_part(seen: &Headers, was: &Headers, state: HeadState) -> Result<(), TestCaseError> {
    for header in &seen.0 {
        prop_assert!(was.0.contains(header), "{:?} in {:?}", header, was);
    }
    prop_assert!(state != HeadState::Whole || seen == was);
    Ok(())
}
