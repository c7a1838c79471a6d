//! One direction's frames, from any segmentation, with holes.
//!
//! In: bytes, and holes by length. Out: [`Item`]s: pieces of bodies as they come, header blocks whole, the few control frames that
//! matter. A hole inside a payload costs what it holds and no more, because the frame's length says where it ends; one that
//! takes a frame header costs the direction's place, which is then looked for at the start of each call. Deliberately absent: what header
//! blocks say, and streams.

mod held;

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes, BytesMut};

use super::frame::{
    self, Boundary, DEFAULT_PAYLOAD_BYTES, END_HEADERS, END_STREAM, FrameHeader, HEADER_BYTES, Kind,
    MOST_PAYLOAD_BYTES, PADDED, PRIORITY,
};
use crate::capture::event::KernelTime;
use crate::http::h1::stats::HttpStats;

/// The client's connection preface (RFC 9113 section 3.4), bytes.
const PREFACE_BYTES: usize = 24;
/// Bytes that are held of a direction while it is open whether a call began with a frame.
pub(in crate::http::h2) const CANDIDATE_BYTES: usize = 80 << 10;
/// Bytes of a control frame that are looked at; the rest of it is passed over.
const CONTROL_BYTES: usize = 1024;

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

/// What a direction brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Bytes of a body.
    Data { stream: u32, bytes: Bytes },
    /// Bytes of a body that moved unseen.
    Hole { stream: u32, bytes: u64 },
    /// Part of a body, of unknown length, moved unseen.
    OpenHole { stream: u32 },
    /// Its side of the stream ends after a body.
    End { stream: u32 },
    /// A header block.
    Block(Block),
    /// The most payload that frames in the *other* direction may have.
    MostPayload(usize),
    /// RST_STREAM.
    Reset { stream: u32, code: u32 },
    /// GOAWAY.
    GoAway { last: u32 },
    /// The place is lost, and with it this block. Anything may have moved until the next item.
    Lost(Option<Block>),
}

/// What the next byte belongs to.
#[derive(Debug)]
enum State {
    Preface {
        left: usize,
    },
    Header {
        bytes: [u8; HEADER_BYTES],
        have: usize,
    },
    /// DATA: its padding's length comes next.
    PadLength {
        header: FrameHeader,
    },
    Data {
        stream: u32,
        left: usize,
        padding: usize,
        ends: bool,
    },
    /// A frame that is looked at when it has come whole.
    Whole {
        header: FrameHeader,
        left: usize,
        /// Its payload, up to the first hole and up to a bound.
        text: BytesMut,
        most_text_bytes: usize,
    },
    Skip {
        left: usize,
        /// The stream that ends with it.
        ends: Option<u32>,
    },
    Lost {
        /// What may begin with a frame: the bytes since the oldest start that is still in question.
        held: Vec<u8>,
        /// Where calls began in `held`.
        starts: VecDeque<usize>,
    },
}

const HEADER: State = State::Header {
    bytes: [0; HEADER_BYTES],
    have: 0,
};

/// The reader of one direction.
#[derive(Debug)]
pub(super) struct Reader {
    state: State,
    /// Longest payload that the other side allows.
    most_payload_bytes: usize,
    /// Longest header block that is kept.
    block_bytes: usize,
    /// A block whose last frame has not come.
    block: Option<Block>,
    /// When the current frame's first byte moved.
    started: KernelTime,
    stats: HttpStats,
}

impl Reader {
    /// Before the client's preface.
    pub(super) fn of_client(block_bytes: usize) -> Self {
        Self::at(
            State::Preface { left: PREFACE_BYTES },
            DEFAULT_PAYLOAD_BYTES,
            block_bytes,
        )
    }

    /// Before the server's first frame.
    pub(super) fn of_server(block_bytes: usize) -> Self {
        Self::at(HEADER, DEFAULT_PAYLOAD_BYTES, block_bytes)
    }

    /// Somewhere in a stream.
    pub(super) fn joining(block_bytes: usize) -> Self {
        Self::at(lost(), MOST_PAYLOAD_BYTES, block_bytes)
    }

    fn at(state: State, most_payload_bytes: usize, block_bytes: usize) -> Self {
        Self {
            state,
            most_payload_bytes,
            block_bytes,
            block: None,
            started: KernelTime(0),
            stats: HttpStats::default(),
        }
    }

    /// The other side allows payloads of this length. One that it no longer allows may still be on its way.
    pub(super) fn allow(&mut self, payload_bytes: usize) {
        self.most_payload_bytes = self.most_payload_bytes.max(payload_bytes);
    }

    /// What was met since the last call; resets.
    pub(super) fn take_stats(&mut self) -> HttpStats {
        std::mem::take(&mut self.stats)
    }

    /// A call's bytes begin here.
    pub(super) fn begin_call(&mut self, bytes: &mut Bytes) {
        let State::Lost { held, starts } = &mut self.state else {
            return;
        };
        starts.push_back(held.len());
        held.extend_from_slice(bytes);
        bytes.clear();
        while let Some(start) = starts.front().copied() {
            let found = match held.get(start..).map(frame::boundary) {
                Some(Boundary::NotYet) if held.len() - start <= CANDIDATE_BYTES => {
                    // What is before it is decided.
                    self.stats.skipped_bytes += len(start);
                    held.drain(..start);
                    starts.iter_mut().for_each(|later| *later -= start);
                    return;
                }
                Some(Boundary::Yes) => true,
                Some(Boundary::NotYet | Boundary::No) | None => false,
            };
            if found {
                *bytes = std::mem::take(held).into();
                bytes.advance(start);
                self.stats.skipped_bytes += len(start);
                self.stats.resyncs += 1;
                self.state = HEADER;
                return;
            }
            starts.pop_front();
        }
        self.stats.skipped_bytes += len(held.len());
        held.clear();
    }

    /// Takes from `bytes` until there is something to say; `None` when they are used up.
    pub(super) fn read(&mut self, bytes: &mut Bytes, at: KernelTime) -> Option<Item> {
        loop {
            if let Some(item) = self.end_frame() {
                return Some(item);
            }
            if bytes.is_empty() {
                return None;
            }
            match &mut self.state {
                State::Header { bytes: header, have } => {
                    if *have == 0 {
                        self.started = at;
                    }
                    let taken = bytes.len().min(HEADER_BYTES - *have);
                    for (place, byte) in header.iter_mut().skip(*have).zip(bytes.split_to(taken)) {
                        *place = byte;
                    }
                    *have += taken;
                    if *have == HEADER_BYTES {
                        let header = FrameHeader::parse(*header);
                        if let Some(lost) = self.begin_frame(header) {
                            self.stats.skipped_bytes += len(HEADER_BYTES + bytes.len());
                            bytes.clear();
                            return Some(lost);
                        }
                    }
                }
                State::PadLength { header } => {
                    let header = *header;
                    let padding = usize::from(bytes.get_u8());
                    self.begin_data(header, header.length.saturating_sub(1), padding);
                }
                State::Data { stream, left, .. } if *left > 0 => {
                    let bytes = bytes.split_to(bytes.len().min(*left));
                    *left -= bytes.len();
                    return Some(Item::Data {
                        stream: *stream,
                        bytes,
                    });
                }
                State::Data { padding: left, .. } | State::Preface { left } | State::Skip { left, .. } => {
                    let taken = bytes.len().min(*left);
                    bytes.advance(taken);
                    *left -= taken;
                }
                State::Whole {
                    header,
                    left,
                    text,
                    most_text_bytes,
                } => {
                    let piece = bytes.split_to(bytes.len().min(*left));
                    // Only what follows without a hole.
                    if text.len() == header.length - *left {
                        let room = most_text_bytes.saturating_sub(text.len());
                        text.extend_from_slice(piece.get(..room).unwrap_or(&piece));
                    }
                    *left -= piece.len();
                }
                State::Lost { .. } => {
                    self.stats.skipped_bytes += len(bytes.len());
                    bytes.clear();
                }
            }
        }
    }

    /// Takes from `hole` bytes that moved unseen until there is something to say; `None` when they are used up.
    pub(super) fn skip(&mut self, hole: &mut u64) -> Option<Item> {
        loop {
            if let Some(item) = self.end_frame() {
                return Some(item);
            }
            if *hole == 0 {
                return None;
            }
            match &mut self.state {
                State::Header { .. } => {
                    self.stats.skipped_bytes = self.stats.skipped_bytes.saturating_add(std::mem::take(hole));
                    return Some(self.lose());
                }
                State::PadLength { header } => {
                    // How much of the rest is padding is not known any more.
                    let stream = header.stream;
                    self.state = State::Skip {
                        left: header.length,
                        ends: header.has(END_STREAM).then_some(stream),
                    };
                    return Some(Item::OpenHole { stream });
                }
                State::Data { stream, left, .. } if *left > 0 => {
                    let stream = *stream;
                    return Some(Item::Hole {
                        stream,
                        bytes: take_hole(hole, left),
                    });
                }
                State::Data { padding: left, .. }
                | State::Preface { left }
                | State::Whole { left, .. }
                | State::Skip { left, .. } => {
                    take_hole(hole, left);
                }
                State::Lost { held, starts } => {
                    self.stats.skipped_bytes = self
                        .stats
                        .skipped_bytes
                        .saturating_add(len(held.len()) + std::mem::take(hole));
                    held.clear();
                    starts.clear();
                }
            }
        }
    }

    /// Ends the current frame if nothing of it is left.
    fn end_frame(&mut self) -> Option<Item> {
        match &mut self.state {
            State::Preface { left: 0 } | State::Skip { left: 0, ends: None } => {
                self.state = HEADER;
                None
            }
            State::Skip {
                left: 0,
                ends: Some(stream),
            } => {
                let stream = *stream;
                self.state = HEADER;
                Some(Item::End { stream })
            }
            State::Data {
                stream,
                left: 0,
                padding: 0,
                ends,
            } => {
                let item = ends.then_some(Item::End { stream: *stream });
                self.state = HEADER;
                item
            }
            State::Whole {
                header,
                left: 0,
                text,
                ..
            } => {
                let (header, text) = (*header, std::mem::take(text).freeze());
                self.state = HEADER;
                self.end_whole(header, text)
            }
            State::Preface { .. }
            | State::Header { .. }
            | State::PadLength { .. }
            | State::Data { .. }
            | State::Whole { .. }
            | State::Skip { .. }
            | State::Lost { .. } => None,
        }
    }

    fn begin_frame(&mut self, header: FrameHeader) -> Option<Item> {
        let continues = header.kind == Kind::Continuation;
        let belongs = match &self.block {
            // Section 6.10: nothing comes between the frames of one block.
            Some(block) => continues && header.stream == block.stream,
            // After a loss, the rest of a block whose start was lost.
            None => true,
        };
        if !belongs || !header.is_legal(self.most_payload_bytes) {
            return Some(self.lose());
        }
        match header.kind {
            Kind::Data if header.has(PADDED) => self.state = State::PadLength { header },
            Kind::Data => self.begin_data(header, header.length, 0),
            Kind::Headers | Kind::PushPromise | Kind::Continuation => {
                self.begin_whole(header, self.block_bytes);
            }
            Kind::Settings | Kind::Reset | Kind::GoAway => self.begin_whole(header, CONTROL_BYTES),
            Kind::Priority | Kind::Ping | Kind::WindowUpdate | Kind::Extension => {
                self.state = State::Skip {
                    left: header.length,
                    ends: None,
                }
            }
        }
        None
    }

    fn begin_whole(&mut self, header: FrameHeader, most_text_bytes: usize) {
        self.state = State::Whole {
            header,
            left: header.length,
            text: BytesMut::new(),
            most_text_bytes,
        };
    }

    fn begin_data(&mut self, header: FrameHeader, payload: usize, padding: usize) {
        self.state = State::Data {
            stream: header.stream,
            left: payload.saturating_sub(padding),
            padding: padding.min(payload),
            ends: header.has(END_STREAM),
        };
    }

    /// A frame came whole, but for what `text` lacks.
    fn end_whole(&mut self, header: FrameHeader, text: Bytes) -> Option<Item> {
        match header.kind {
            Kind::Headers | Kind::PushPromise => {
                let (text, is_cut) = fragment(header, text);
                self.block = Some(Block {
                    stream: header.stream,
                    text,
                    is_cut,
                    ends: header.kind == Kind::Headers && header.has(END_STREAM),
                    is_promise: header.kind == Kind::PushPromise,
                    started: self.started,
                });
                self.end_block(header)
            }
            Kind::Continuation => {
                let limit = self.block_bytes;
                if let Some(block) = &mut self.block
                    && !block.is_cut
                {
                    let room = limit.saturating_sub(block.text.len());
                    block.is_cut = text.len() < header.length || text.len() > room;
                    let mut joined = BytesMut::from(std::mem::take(&mut block.text));
                    joined.extend_from_slice(text.get(..room).unwrap_or(&text));
                    block.text = joined.freeze();
                }
                self.end_block(header)
            }
            Kind::Settings => {
                // Section 6.5: the last one counts. 5 is SETTINGS_MAX_FRAME_SIZE. The table's size is said again in the header blocks
                // (RFC 7541 section 4.2), so it is not taken from here.
                let (settings, _) = text.as_chunks::<6>();
                let most = settings
                    .iter()
                    .rev()
                    .find(|setting| setting.starts_with(&[0, 5]))?;
                let [_, _, value @ ..] = *most;
                let most = usize::try_from(u32::from_be_bytes(value)).ok()?;
                Some(Item::MostPayload(most.min(MOST_PAYLOAD_BYTES)))
            }
            Kind::Reset => Some(Item::Reset {
                stream: header.stream,
                code: text.first_chunk().map_or(0, |code| u32::from_be_bytes(*code)),
            }),
            Kind::GoAway => text.first_chunk().map(|last| Item::GoAway {
                last: u32::from_be_bytes(*last) & (u32::MAX >> 1),
            }),
            Kind::Data | Kind::Priority | Kind::Ping | Kind::WindowUpdate | Kind::Extension => None,
        }
    }

    fn end_block(&mut self, header: FrameHeader) -> Option<Item> {
        if header.has(END_HEADERS) {
            self.block.take().map(Item::Block)
        } else {
            None
        }
    }

    fn lose(&mut self) -> Item {
        self.state = lost();
        let block = self.block.take().map(|block| Block {
            is_cut: true,
            ..block
        });
        Item::Lost(block)
    }
}

const fn lost() -> State {
    State::Lost {
        held: Vec::new(),
        starts: VecDeque::new(),
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

fn take_hole(hole: &mut u64, left: &mut usize) -> u64 {
    let taken = usize::try_from(*hole).unwrap_or(usize::MAX).min(*left);
    *left -= taken;
    let taken = len(taken);
    *hole -= taken;
    taken
}

fn len(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
