//! Knowing HTTP/2 when it is seen: a server that speaks first, and a connection of which the start was not seen.
//!
//! In: the bytes of a call. Out: whether they begin HTTP/2, and whose they are.

use bytes::Bytes;

use super::block;
use super::frame::{self, Boundary, DEFAULT_PAYLOAD_BYTES, END_HEADERS, FrameHeader, Kind};
use super::head::Head;
use super::hpack::{Decoder, ListLimit};
use crate::capture::event::Direction;
use crate::http::exchange::Leg;

/// Whether a connection may begin with these bytes of a server's: its SETTINGS, which may come before the client's preface
/// (RFC 9113 section 3.4). `None`: too few to say.
#[must_use]
pub fn is_server_preface(bytes: &[u8]) -> Option<bool> {
    let Some(header) = bytes.first_chunk() else {
        // A length below 64 KiB, and the type.
        let may_be =
            bytes.first().is_none_or(|first| *first == 0) && bytes.get(3).is_none_or(|kind| *kind == 4);
        return if may_be { None } else { Some(false) };
    };
    let header = FrameHeader::parse(*header);
    Some(header.kind == Kind::Settings && header.flags == 0 && header.is_legal(DEFAULT_PAYLOAD_BYTES))
}

/// Which leg a connection is that was open before it was watched, if a call of `direction` shows it: it holds frames, and among
/// them a request's or a response's head.
#[must_use]
pub fn leg_of_call(bytes: &[u8], direction: Direction) -> Option<Leg> {
    if frame::boundary(bytes) != Boundary::Yes {
        return None;
    }
    let limit = ListLimit {
        bytes: usize::MAX,
        fields: usize::MAX,
    };
    frame::frames(bytes)
        .filter(|(header, _)| header.kind == Kind::Headers && header.has(END_HEADERS))
        .find_map(|(header, payload)| {
            let (block, _) = block::fragment(header, Bytes::copy_from_slice(payload));
            let head = Head::read(Decoder::joining(0).decode(&block, limit));
            match (direction, head.asks, head.answers) {
                (Direction::Ingress, true, false) | (Direction::Egress, false, true) => Some(Leg::Downstream),
                (Direction::Egress, true, false) | (Direction::Ingress, false, true) => Some(Leg::Upstream),
                (_, false, false) | (_, true, true) => None,
            }
        })
}
