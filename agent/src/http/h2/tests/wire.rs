//! For tests: frames, and header blocks of nothing but literals.

use super::{Move, REQ, RES};
use crate::http::h1::Side;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What moves, in order.
#[derive(Default)]
pub(super) struct Script {
    pub(super) moves: Vec<Move>,
}

impl Script {
    pub(super) fn then(mut self, step: Move) -> Self {
        self.moves.push(step);
        self
    }

    /// The bytes that moved.
    pub(super) fn calls(self) -> impl Iterator<Item = (Side, Vec<u8>)> {
        self.moves.into_iter().filter_map(|step| {
            if let Move::Data(side, bytes) = step {
                Some((side, bytes))
            } else {
                None
            }
        })
    }

    /// A call of the client's.
    pub(super) fn ask(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Move::Data(REQ, bytes.as_ref().to_vec()))
    }

    /// A call of the server's.
    pub(super) fn answer(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Move::Data(RES, bytes.as_ref().to_vec()))
    }

    /// Bytes that are lost.
    pub(super) fn hole(self, side: Side, bytes: usize) -> Self {
        self.then(Move::Hole(side, u64::try_from(bytes).unwrap()))
    }

    /// Bytes that were left uncopied on purpose.
    pub(super) fn left(self, side: Side, bytes: usize) -> Self {
        self.then(Move::Left(side, u64::try_from(bytes).unwrap()))
    }
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// DATA, HEADERS or PUSH_PROMISE with padding.
pub(super) fn padded(kind: u8, stream: u32, flags: u8, payload: &[u8], padding: u8) -> Vec<u8> {
    let mut whole = vec![padding];
    whole.extend(payload);
    whole.extend(vec![0; padding.into()]);
    frame(kind, flags | 0x8, stream, &whole)
}

pub(super) fn data(stream: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(0, flags, stream, bytes)
}

pub(super) fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(1, flags, stream, &block(fields))
}

pub(super) fn continuation(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(9, flags, stream, block)
}

pub(super) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(3, 0, stream, &code.to_be_bytes())
}

pub(super) fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(4, 0, 0, &payload)
}

pub(super) fn settings_ack() -> Vec<u8> {
    frame(4, 1, 0, b"")
}

pub(super) fn goaway(last: u32, debug: &[u8]) -> Vec<u8> {
    let code = 0_u32.to_be_bytes();
    frame(7, 0, 0, &[&last.to_be_bytes()[..], &code[..], debug].concat())
}

/// A header block; `GET` and `200` as everybody encodes them.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for field in fields {
        match field {
            (":method", "GET") => block.push(0x82),
            (":status", "200") => block.push(0x88),
            (name, value) => {
                block.push(0);
                for text in [name, value] {
                    // Lengths of two bytes do for the tests.
                    match text.len() {
                        length @ ..127 => block.push(u8::try_from(length).unwrap()),
                        length => {
                            let rest = length - 127;
                            block.push(127);
                            block.push(0x80 | u8::try_from(rest % 128).unwrap());
                            block.push(u8::try_from(rest / 128).unwrap());
                        }
                    }
                    block.extend(text.bytes());
                }
            }
        }
    }
    block
}
