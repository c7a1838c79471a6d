//! HTTP/2 conversations: interleaved streams, with header blocks by another encoder.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::conversation::{Call, Conversation, Expected, body, directions};
use super::protocols::{PREFACE, SETTINGS};
use crate::http::exchange::{Leg, Outcome};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// One stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    request_bytes: usize,
    response_bytes: usize,
    /// Most bytes of a DATA frame.
    piece: usize,
    padding: u8,
    trailers: bool,
    /// Bytes of a header block's first frame.
    block_cut: usize,
    interim: bool,
    /// The server breaks it off instead of ending it.
    reset: bool,
}

pub(super) fn stream() -> impl Strategy<Value = Stream> {
    let size = || prop_oneof![3 => 0..300usize, 1 => 0..20_000usize];
    (
        (size(), size(), 1..16_000usize, prop_oneof![Just(0), any::<u8>()]),
        (
            any::<bool>(),
            1..60usize,
            any::<bool>(),
            prop::bool::weighted(0.1),
        ),
    )
        .prop_map(
            |((request_bytes, response_bytes, piece, padding), (trailers, block_cut, interim, reset))| {
                Stream {
                    request_bytes,
                    response_bytes,
                    piece: piece.max(request_bytes.max(response_bytes) / 20 + 1),
                    padding,
                    trailers,
                    block_cut,
                    interim,
                    reset,
                }
            },
        )
}

/// What one side of a stream still does.
enum Step {
    Block(Vec<(String, String)>, u8),
    Data(Vec<u8>, u8),
    Reset,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn steps(plan: &Stream, number: usize, side: usize, head: &[(&str, &str)]) -> VecDeque<Step> {
    let bytes = body(number, side, [plan.request_bytes, plan.response_bytes][side]);
    let number = number.to_string();
    let named = |fields: &[(&str, &str)]| -> Vec<(String, String)> {
        fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let mut fields = named(head);
    fields.extend(named(&[("x-n", &number), ("x-same", "the same each time")]));
    let mut steps = VecDeque::new();
    if side == 1 && plan.interim {
        steps.push_back(Step::Block(named(&[(":status", "103"), ("link", "</x>")]), 0));
    }
    let is_broken = side == 1 && plan.reset;
    let ends_with = |is_last: bool| if is_last && !is_broken { END_STREAM } else { 0 };
    steps.push_back(Step::Block(fields, ends_with(bytes.is_empty() && !plan.trailers)));
    let pieces = bytes.chunks(plan.piece);
    let count = pieces.len();
    for (at, piece) in pieces.enumerate() {
        steps.push_back(Step::Data(
            piece.to_vec(),
            ends_with(at + 1 == count && !plan.trailers),
        ));
    }
    if is_broken {
        steps.push_back(Step::Reset);
    } else if plan.trailers {
        steps.push_back(Step::Block(named(&[("x-t", &number)]), END_STREAM));
    }
    steps
}

/// A conversation of `streams`, whose frames come in an order that `order` chooses.
pub(super) fn http2(leg: Leg, streams: &[Stream], order: &[u8]) -> Conversation {
    let (client, server) = directions(leg);
    let mut encoders = [loona_hpack::Encoder::new(), loona_hpack::Encoder::new()];
    let mut calls = vec![Call::new(client), Call::new(server)];
    calls[0].bytes = [PREFACE, SETTINGS].concat();
    calls[1].bytes = SETTINGS.to_vec();
    let mut expected = BTreeMap::new();
    let mut left: Vec<[VecDeque<Step>; 2]> = Vec::new();
    for (number, plan) in streams.iter().enumerate() {
        let path = format!("/{number}");
        let request = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "h"),
            (":path", &path),
        ];
        left.push([
            steps(plan, number, 0, &request),
            steps(plan, number, 1, &[(":status", "200")]),
        ]);
        expected.insert(
            number,
            Expected {
                status: 200,
                outcome: if plan.reset {
                    Outcome::ResponseCut
                } else {
                    Outcome::Complete
                },
                request_bytes: plan.request_bytes,
                response_bytes: plan.response_bytes,
            },
        );
    }
    let mut order = order.iter().copied().cycle();
    let mut opened = 0;
    loop {
        // What can be next: the next stream's request, and on open streams either side.
        let mut choices: Vec<(usize, usize)> = Vec::new();
        for (number, [asks, answers]) in left.iter().enumerate().take(opened + 1) {
            if !asks.is_empty() {
                choices.push((number, 0));
            }
            let waits = matches!(answers.front(), Some(Step::Reset)) && !asks.is_empty();
            if number < opened && !answers.is_empty() && !waits {
                choices.push((number, 1));
            }
        }
        if choices.is_empty() {
            break;
        }
        let choice = order.next().unwrap();
        let (number, side) = choices[usize::from(choice >> 1) % choices.len()];
        opened = opened.max(number + 1);
        let id = u32::try_from(number * 2 + 1).unwrap();
        let plan = &streams[number];
        let bytes = match left[number][side].pop_front().unwrap() {
            Step::Block(fields, flags) => {
                let fields = fields
                    .iter()
                    .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
                let block = encoders[side].encode(fields);
                let (first, rest) = block.split_at(plan.block_cut.min(block.len()));
                if rest.is_empty() {
                    frame(HEADERS, flags | END_HEADERS, id, first)
                } else {
                    [
                        frame(HEADERS, flags, id, first),
                        frame(CONTINUATION, END_HEADERS, id, rest),
                    ]
                    .concat()
                }
            }
            Step::Data(data, flags) if plan.padding > 0 => {
                let padded = [&[plan.padding], &data[..], &vec![0; plan.padding.into()]].concat();
                frame(DATA, flags | PADDED, id, &padded)
            }
            Step::Data(data, flags) => frame(DATA, flags, id, &data),
            Step::Reset => frame(RESET, 0, id, &[0, 0, 0, 2]),
        };
        let direction = [client, server][side];
        match calls.last_mut() {
            Some(last) if last.direction == direction && choice & 1 == 0 => last.bytes.extend(bytes),
            _ => {
                let mut call = Call::new(direction);
                call.bytes = bytes;
                call.is_quiet = true;
                calls.push(call);
            }
        }
    }
    Conversation { leg, calls, expected }
}
