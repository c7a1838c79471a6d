//! One direction's frames, from any segmentation, with holes.
//!
//! In: bytes, and bytes that moved unseen, by length. Out: [`Item`]s: pieces of bodies as they come, header blocks whole, the few
//! control frames that matter. What is missing inside a payload costs that and no more, because the frame's length says where it
//! ends; what takes a frame header costs the direction's place (`resync` finds it again). Deliberately absent: what header blocks
//! say, and streams.

use bytes::{Buf as _, Bytes, BytesMut};

use super::block::{Block, Unfinished};
use super::frame::{
    self, DEFAULT_PAYLOAD_BYTES, END_HEADERS, END_STREAM, FrameHeader, HEADER_BYTES, Kind,
    MOST_PAYLOAD_BYTES, PADDED,
};
use super::item::{Item, Unseen};
use super::resync::Search;
use crate::capture::event::KernelTime;
use crate::http::h1::stats::HttpStats;

/// The client's connection preface (RFC 9113 section 3.4), bytes.
const PREFACE_BYTES: usize = 24;
/// Bytes of a control frame that are looked at; the rest of it is passed over.
const CONTROL_BYTES: usize = 1024;

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
        /// Its payload, up to the first byte that is missing and up to a bound.
        text: BytesMut,
        most_text_bytes: usize,
    },
    Skip {
        left: usize,
        /// The stream that ends with it.
        ends: Option<u32>,
    },
    Lost(Search),
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
    block: Option<Unfinished>,
    /// When the current frame's first byte moved.
    started: KernelTime,
    stats: HttpStats,
}

impl Reader {
    /// Bytes of memory in an unfinished frame or header block, or while the place is looked for.
    pub(super) fn held_bytes(&self) -> usize {
        let block = self.block.as_ref().map_or(0, Unfinished::held_bytes);
        let frame = match &self.state {
            State::Whole { text, .. } => text.len(),
            State::Lost(search) => search.held_bytes(),
            State::Preface { .. }
            | State::Header { .. }
            | State::PadLength { .. }
            | State::Data { .. }
            | State::Skip { .. } => 0,
        };
        block.saturating_add(frame)
    }

    /// Before the client's preface.
    pub(super) fn of_client(block_bytes: usize) -> Self {
        let state = State::Preface { left: PREFACE_BYTES };
        Self::at(state, DEFAULT_PAYLOAD_BYTES, block_bytes)
    }

    /// Before the server's first frame.
    pub(super) fn of_server(block_bytes: usize) -> Self {
        Self::at(HEADER, DEFAULT_PAYLOAD_BYTES, block_bytes)
    }

    /// Somewhere in a stream.
    pub(super) fn joining(block_bytes: usize) -> Self {
        Self::at(State::Lost(Search::default()), MOST_PAYLOAD_BYTES, block_bytes)
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

    /// What the other side allows is lost: anything it may be.
    pub(super) const fn allow_all(&mut self) {
        self.most_payload_bytes = MOST_PAYLOAD_BYTES;
    }

    /// What was met since the last call; resets.
    pub(super) fn take_stats(&mut self) -> HttpStats {
        std::mem::take(&mut self.stats)
    }

    /// A call's bytes begin here.
    pub(super) fn begin_call(&mut self, bytes: &mut Bytes) {
        let State::Lost(search) = &mut self.state else {
            return;
        };
        let found = search.call(bytes);
        self.stats.skipped_bytes += len(found.skipped_bytes);
        *bytes = match found.frames {
            Some(frames) => {
                self.stats.resyncs += 1;
                self.state = HEADER;
                frames
            }
            None => Bytes::new(),
        };
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
                State::Lost(_) => {
                    self.stats.skipped_bytes += len(bytes.len());
                    bytes.clear();
                }
            }
        }
    }

    /// Takes from `unseen` bytes that moved unseen until there is something to say; `None` when they are used up.
    pub(super) fn skip(&mut self, unseen: &mut u64, why: Unseen) -> Option<Item> {
        loop {
            if let Some(item) = self.end_frame() {
                return Some(item);
            }
            if *unseen == 0 {
                return None;
            }
            match &mut self.state {
                State::Header { have, .. } => {
                    let skipped = len(*have).saturating_add(std::mem::take(unseen));
                    self.stats.skipped_bytes = self.stats.skipped_bytes.saturating_add(skipped);
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
                    let bytes = take_unseen(unseen, left);
                    return Some(Item::Unseen { stream, bytes, why });
                }
                State::Data { padding: left, .. }
                | State::Preface { left }
                | State::Whole { left, .. }
                | State::Skip { left, .. } => {
                    take_unseen(unseen, left);
                }
                State::Lost(search) => {
                    let skipped = len(search.forget()).saturating_add(std::mem::take(unseen));
                    self.stats.skipped_bytes = self.stats.skipped_bytes.saturating_add(skipped);
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
            | State::Lost(_) => None,
        }
    }

    fn begin_frame(&mut self, header: FrameHeader) -> Option<Item> {
        let continues = header.kind == Kind::Continuation;
        let belongs = match &self.block {
            // Section 6.10: nothing comes between the frames of one block.
            Some(block) => continues && header.stream == block.stream(),
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
                let block = Block::begin(header, text, self.started);
                if header.has(END_HEADERS) {
                    return Some(Item::Block(block));
                }
                self.block = Some(Unfinished::new(block));
                None
            }
            Kind::Continuation => {
                self.block.as_mut()?.go_on(header, &text, self.block_bytes);
                if !header.has(END_HEADERS) {
                    return None;
                }
                Some(Item::Block(self.block.take()?.finish()))
            }
            // What it lacks may be the setting.
            Kind::Settings if text.len() < header.length => Some(Item::MostPayload(MOST_PAYLOAD_BYTES)),
            Kind::Settings => frame::most_payload(&text).map(Item::MostPayload),
            Kind::Reset => Some(Item::Reset {
                stream: header.stream,
                code: text.first_chunk().map(|code| u32::from_be_bytes(*code)),
            }),
            Kind::GoAway => text.first_chunk().map(|last| Item::GoAway {
                last: u32::from_be_bytes(*last) & (u32::MAX >> 1),
            }),
            Kind::Data | Kind::Priority | Kind::Ping | Kind::WindowUpdate | Kind::Extension => None,
        }
    }

    fn lose(&mut self) -> Item {
        self.state = State::Lost(Search::default());
        Item::Lost(self.block.take().map(Unfinished::cut))
    }
}

fn take_unseen(unseen: &mut u64, left: &mut usize) -> u64 {
    let taken = usize::try_from(*unseen).unwrap_or(usize::MAX).min(*left);
    *left -= taken;
    let taken = len(taken);
    *unseen -= taken;
    taken
}

fn len(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
