//! Header blocks from the frames that carry them: HEADERS or PUSH_PROMISE, and CONTINUATION (RFC 9113 sections 6.2, 6.6 and 6.10).
//!
//! In: payloads, whole or up to their first missing byte. Out: [`Block`]s. Bounded by the longest block that is kept. Deliberately
//! absent: what blocks say (`hpack`).

use bytes::{Buf as _, Bytes, BytesMut};

use super::frame::{END_STREAM, FrameHeader, Kind, PADDED, PRIORITY};
use crate::capture::event::KernelTime;

/// A header block, or what is left of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) stream: u32,
    /// The coded fields, or the first of them.
    pub(super) text: Bytes,
    /// Whether there should be more.
    pub(super) is_cut: bool,
    /// Whether its side of the stream ends with it.
    pub(super) ends: bool,
    /// It announces an exchange that nobody asked for (PUSH_PROMISE).
    pub(super) is_promise: bool,
    /// When its first byte moved.
    pub(super) started: KernelTime,
}

impl Block {
    /// The block that begins with a HEADERS or PUSH_PROMISE frame.
    pub(super) fn begin(header: FrameHeader, payload: Bytes, started: KernelTime) -> Self {
        let (text, is_cut) = fragment(header, payload);
        Self {
            stream: header.stream,
            text,
            is_cut,
            ends: header.kind == Kind::Headers && header.has(END_STREAM),
            is_promise: header.kind == Kind::PushPromise,
            started,
        }
    }
}

/// A block whose last frame has not come.
#[derive(Debug)]
pub(super) struct Unfinished {
    /// Without its text.
    block: Block,
    /// Its text so far, in a buffer that grows: a block may come in thousands of frames.
    text: BytesMut,
}

impl Unfinished {
    pub(super) fn held_bytes(&self) -> usize {
        self.text.len()
    }

    pub(super) fn new(mut block: Block) -> Self {
        let text = BytesMut::from(std::mem::take(&mut block.text));
        Self { block, text }
    }

    pub(super) const fn stream(&self) -> u32 {
        self.block.stream
    }

    /// Adds the payload of a CONTINUATION, as far as `most_bytes` go. What follows something that is missing is of no use.
    pub(super) fn go_on(&mut self, header: FrameHeader, payload: &[u8], most_bytes: usize) {
        if self.block.is_cut {
            return;
        }
        let room = most_bytes.saturating_sub(self.text.len());
        self.block.is_cut = payload.len() < header.length || payload.len() > room;
        self.text
            .extend_from_slice(payload.get(..room).unwrap_or(payload));
    }

    /// Its last frame has come.
    pub(super) fn finish(self) -> Block {
        Block {
            text: self.text.freeze(),
            ..self.block
        }
    }

    /// Its last frame will not come.
    pub(super) fn cut(self) -> Block {
        Block {
            is_cut: true,
            ..self.finish()
        }
    }
}

/// The part of a header block in a HEADERS or PUSH_PROMISE frame (sections 6.2 and 6.6), and whether some of it is missing.
pub(super) fn fragment(header: FrameHeader, mut text: Bytes) -> (Bytes, bool) {
    let padding = match (header.has(PADDED), text.first()) {
        (false, _) => 0,
        (true, Some(padding)) => usize::from(*padding),
        (true, None) => return (Bytes::new(), true),
    };
    let before = usize::from(header.has(PADDED))
        + if header.kind == Kind::PushPromise {
            4 // The promised stream.
        } else if header.has(PRIORITY) {
            5 // Dependency and weight.
        } else {
            0
        };
    let end = header.length.saturating_sub(padding);
    if end < before {
        return (Bytes::new(), true);
    }
    let is_cut = text.len() < end;
    text.truncate(end);
    text.advance(before.min(text.len()));
    (text, is_cut)
}
