//! A connection that is joined in its middle: what is said of a message is what who saw all of it says.
//!
//! Only of traffic that leaves no room for guessing, because every call begins where a head does (or a frame). In any other, a body
//! that looks like a head where a call begins is taken for one; `LIMITATIONS.md` says so.

use std::collections::BTreeSet;

use bytes::Bytes;
use kongtap::capture::event::{Direction, KernelTime};
use kongtap::http::exchange::{Exchange, HeadState, Leg};
use kongtap::http::headers::{Header, Headers};

use crate::flow::{Delivery, Played, play_from};
use crate::script::{Move, Script};

/// Places that a connection is joined at.
const JOINTS: usize = 8;

/// RFC 9113 section 3.4.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// HTTP/1: heads of late joins are those of `all`, if each call of the client's is one request from its start on.
pub(crate) fn check_h1(script: &Script, all: &Played) {
    let Some(client) = client(all) else { return };
    let Some(starts) = request_starts(script, all, client) else {
        return;
    };
    for joint in joints(script) {
        let late = play_from(script, joint, Delivery::Whole);
        for exchange in &late.exchanges {
            let Some(request) = &exchange.request else {
                continue;
            };
            assert!(
                starts.contains(&request.started),
                "a head where none began: {exchange:?}"
            );
            let same = all
                .exchanges
                .iter()
                .filter_map(|exchange| exchange.request.as_ref())
                .any(|whole| {
                    whole.started == request.started
                        && whole.method == request.method
                        && whole.target == request.target
                        && whole.headers == request.headers
                });
            assert!(same, "another head than the one that moved: {request:?}");
        }
    }
}

/// When each request began, if each begins with a call and no call of the client's begins with anything else.
fn request_starts(script: &Script, all: &Played, client: Direction) -> Option<BTreeSet<KernelTime>> {
    let mut now = KernelTime(0);
    let mut starts = BTreeSet::new();
    let mut requests = all.exchanges.iter();
    for step in &script.moves {
        now = now.plus_ns(1);
        if let Move::Wait(ns) = step {
            now = now.plus_ns(*ns);
        }
        let Move::Data(direction, bytes) = step else {
            continue;
        };
        if *direction != client {
            continue;
        }
        let request = requests.next()?.request.as_ref()?;
        let line = [&*request.method, b" ", &*request.target, b" "].concat();
        if request.started != now || !bytes.starts_with(&line) {
            return None;
        }
        starts.insert(now);
    }
    requests.next().is_none().then_some(starts)
}

/// HTTP/2: what is known of a stream's heads is so, if every call is nothing but whole frames.
pub(crate) fn check_h2(script: &Script, all: &Played) {
    if client(all).is_none() || !script.moves.iter().all(is_whole_frames) {
        return;
    }
    for joint in joints(script) {
        let late = play_from(script, joint, Delivery::Whole);
        for exchange in &late.exchanges {
            let mut same_stream = all
                .exchanges
                .iter()
                .filter(|whole| (whole.leg, whole.stream) == (exchange.leg, exchange.stream))
                .peekable();
            // Who the client is can only be told from what calls hold; a script can make that look otherwise.
            if same_stream.peek().is_some() {
                assert!(
                    same_stream.any(|whole| is_part_of(exchange, whole)),
                    "more than the stream has: {exchange:?}"
                );
            }
        }
    }
}

/// Whether nothing in `late` is but in `whole`.
fn is_part_of(late: &Exchange, whole: &Exchange) -> bool {
    let request = match (&late.request, &whole.request) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(late), Some(whole)) => {
            let is_part = |part: &Bytes, of: &Bytes| part.is_empty() || part == of;
            is_part(&late.method, &whole.method)
                && is_part(&late.target, &whole.target)
                && is_within(&late.headers, &[&whole.headers, &whole.trailers])
                && (late.head != HeadState::Whole || late.headers == whole.headers)
        }
    };
    let response = match (&late.response, &whole.response) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(late), Some(whole)) => {
            is_within(&late.headers, &[&whole.headers, &whole.trailers])
                && (late.head != HeadState::Whole
                    || (late.status == whole.status && late.headers == whole.headers))
        }
    };
    request && response
}

fn is_within(part: &Headers, of: &[&Headers]) -> bool {
    let fields: Vec<&Header> = of.iter().flat_map(|headers| &headers.0).collect();
    part.0.iter().all(|field| fields.contains(&field))
}

fn is_whole_frames(step: &Move) -> bool {
    let mut rest: &[u8] = match step {
        Move::Data(_, bytes) => bytes.strip_prefix(PREFACE).unwrap_or(bytes),
        Move::Hole(..) | Move::Left(..) => return false,
        Move::End(_) | Move::Close | Move::Wait(_) => &[],
    };
    while let Some(([l2, l1, l0, ..], after)) = rest.split_first_chunk::<9>() {
        let length = usize::from(*l2) << 16 | usize::from(*l1) << 8 | usize::from(*l0);
        let Some(after) = after.get(length..) else {
            return false;
        };
        rest = after;
    }
    rest.is_empty()
}

/// The client's direction, if there is one client.
fn client(all: &Played) -> Option<Direction> {
    match all.exchanges.first()?.leg {
        Leg::Downstream => Some(Direction::Ingress),
        Leg::Upstream => Some(Direction::Egress),
    }
}

/// The first few moves, other than the very first, before which the connection is joined.
fn joints(script: &Script) -> impl Iterator<Item = usize> {
    1..script.moves.len().min(JOINTS)
}
