//! Masking: a recording has the same exchanges as what was recorded, but for the credentials in it.

use std::collections::BTreeSet;

use bytes::Bytes;
use kongtap::capture::decode::decode;
use kongtap::capture::event::{CaptureEvent, DataChunk};
use kongtap::capture::recording::mask::names::Names;
use kongtap::capture::recording::mask::{MaskCounts, Masker};
use kongtap::conn::{ConnLimits, ConnTable};
use kongtap::http::exchange::Exchange;
use kongtap::http::headers::Headers;
use kongtap::message::redact::HiddenNames;

use crate::flow::{Delivery, events};
use crate::record::encode;
use crate::script::{Move, Script};

/// Stands for each masked byte.
const MASK: u8 = b'x';

/// Masks the records of the script in `data`.
///
/// # Panics
/// When masking changes a position, a length or a byte to anything but an `x`, when a credential stays, or when other exchanges come of it.
pub fn run(data: &[u8]) {
    let script = Script::parse(data, b"");
    let plain = events(&script, 0, Delivery::Pieces);
    let (masked, counts) = mask(&plain);
    let (plain, bad_heads) = exchanges(plain);
    let (masked, _) = exchanges(masked);
    for exchange in &masked {
        check_secrets(exchange);
    }
    // What makes a head malformed may stand in a value that is masked; its mask is well formed. And where a chunk's framing was left
    // uncopied, the parser takes each call for itself that may begin like a head, the masker takes them together.
    let is_left = script.moves.iter().any(|step| matches!(step, Move::Left(..)));
    if counts.left_out_bytes == 0 && bad_heads == 0 && !is_left {
        check_same(&plain, &masked);
    }
}

fn names() -> Names {
    let set = |name: &str| BTreeSet::from([name.to_owned()]);
    Names::new(&HiddenNames {
        headers: set("authorization"),
        queries: set("apikey"),
        fields: set("password"),
        cookies: set("session"),
    })
}

fn mask(plain: &[CaptureEvent]) -> (Vec<CaptureEvent>, MaskCounts) {
    let names = names();
    let mut masker = Masker::new();
    let mut events = Vec::new();
    for event in plain {
        let mut kept = Vec::new();
        masker.mask(&encode(event), &names, |record| {
            let event = decode(record);
            assert!(event.is_ok(), "a masked record does not decode: {event:?}");
            kept.extend(event);
        });
        check_record(event, &kept);
        events.extend(kept);
    }
    (events, masker.counts())
}

/// One record, or a part of it and the length of the rest, with nothing changed but bytes to `x`.
fn check_record(plain: &CaptureEvent, kept: &[CaptureEvent]) {
    let CaptureEvent::Data(plain) = plain else {
        assert_eq!(kept, std::slice::from_ref(plain));
        return;
    };
    let mut pos = plain.pos;
    for event in kept {
        let CaptureEvent::Data(chunk) = event else {
            assert!(matches!(event, CaptureEvent::Data(_)), "{event:?} for {plain:?}");
            return;
        };
        let same = |chunk: &DataChunk| (chunk.conn, chunk.at, chunk.direction);
        assert_eq!(same(chunk), same(plain));
        assert_eq!(chunk.pos, pos, "pieces do not follow each other");
        let from = usize::try_from(pos - plain.pos).unwrap_or(usize::MAX);
        let original = plain.bytes.get(from..).unwrap_or_default();
        let is_kept = |(masked, byte): (&u8, &u8)| masked == byte || *masked == MASK;
        assert!(chunk.bytes.len() <= original.len());
        assert!(
            chunk.bytes.iter().zip(original).all(is_kept),
            "{chunk:?} for {plain:?}"
        );
        pos += chunk.len;
    }
    assert_eq!(pos, plain.pos + plain.len, "bytes are missing");
}

/// What comes of events, and how many heads were malformed or too long.
fn exchanges(events: Vec<CaptureEvent>) -> (Vec<Exchange>, u64) {
    let mut table = ConnTable::new(ConnLimits::default());
    let mut out = Vec::new();
    let end = events.last().map(CaptureEvent::at).unwrap_or_default();
    for event in events {
        table.apply(event, &mut out);
    }
    table.flush(end, &mut out);
    (out, table.stats().http.bad_heads)
}

fn check_secrets(exchange: &Exchange) {
    let Some(request) = &exchange.request else { return };
    for value in request.headers.all("authorization") {
        // A folded line (RFC 9112 section 5.2) stays folded.
        assert!(
            value
                .iter()
                .all(|byte| *byte == MASK || byte.is_ascii_whitespace()),
            "a credential: {}",
            value.escape_ascii()
        );
    }
    let query = request.target.iter().position(|byte| *byte == b'?');
    let query = query
        .and_then(|at| request.target.get(at + 1..))
        .unwrap_or_default();
    for pair in query.split(|byte| *byte == b'&') {
        if let Some(value) = pair.strip_prefix(b"apikey=") {
            // What may be the start of the version is shown until it turns out to be none; nobody's key is such text.
            let is_hidden = |byte: &u8| *byte == MASK || b" HTTP/1.".contains(byte);
            assert!(
                value.iter().all(is_hidden),
                "a credential: {}",
                pair.escape_ascii()
            );
        }
    }
}

/// As far as masking may not matter: everything but values.
fn check_same(plain: &[Exchange], masked: &[Exchange]) {
    assert_eq!(plain.len(), masked.len(), "another number of exchanges");
    for (plain, masked) in plain.iter().zip(masked) {
        assert_eq!(shape(masked), shape(plain));
    }
}

fn shape(exchange: &Exchange) -> impl PartialEq + std::fmt::Debug {
    let request = exchange.request.as_ref().map(|request| {
        (
            request.method.clone(),
            request.target.len(),
            names_of_shown(&request.headers),
            request.body.total_bytes,
            request.body.bytes.len(),
        )
    });
    let response = exchange.response.as_ref().map(|response| {
        (
            response.status,
            names_of_shown(&response.headers),
            response.body.total_bytes,
            response.body.bytes.len(),
        )
    });
    (exchange.outcome, request, response)
}

/// Names of fields whose values stay. One that is malformed is passed over, and its mask is not.
fn names_of_shown(headers: &Headers) -> Vec<Bytes> {
    let is_shown = |name: &[u8]| {
        !["authorization", "cookie", "location", "referer"]
            .iter()
            .any(|masked| name.eq_ignore_ascii_case(masked.as_bytes()))
    };
    let names = headers.0.iter().map(|field| &field.name);
    names.filter(|name| is_shown(name)).cloned().collect()
}
