//! HTTP/2 (RFC 9113) on one connection: both directions, from any segmentation, with holes, from the start or from anywhere.
//!
//! In: pieces of the client's direction and of the server's, in the order of the gateway's calls. Out: [`Exchange`]s, one a
//! stream, in the order in which they end. gRPC is nothing but HTTP/2 with trailers here. Deliberately absent: flow control
//! (a bystander sees what moved), priorities, h2c by upgrade from HTTP/1 (no gateway of nginx's kind speaks it), pushed streams.
//!
//! How holes are survived. A hole inside a frame's payload costs what it holds: a body's bytes, or a header block. One that takes a
//! frame header costs the direction's place: which streams it hit cannot be known, so each one that was open on this side
//! is marked, and one that shows no life for a while afterwards is given up. A stream's number stays with it, so a loss never pairs a
//! request with another's response. What a lost header block does to those after it, `hpack` says.

pub mod blocks;
mod frame;
mod head;
mod hpack;
pub mod limits;
mod reader;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use bytes::Bytes;

use self::frame::{END_HEADERS, FrameHeader, Kind};
use self::head::Head;
use self::hpack::{Decoder, ListLimit};
use self::reader::{Block, Item, Reader};
use self::stream::Stream;
use crate::capture::event::{Direction, KernelTime};
use crate::http::exchange::{ConnInfo, Exchange, Leg, Peer, Reset};
use crate::http::h1::Side;
use crate::http::h1::limits::HttpLimits;
use crate::http::h1::stats::HttpStats;

/// Ranges of streams whose requests may be lost that are remembered.
const LOST_RANGES: usize = 16;

/// One direction.
#[derive(Debug)]
struct Half {
    reader: Reader,
    decoder: Decoder,
}

/// The parser of one connection.
#[derive(Debug)]
pub struct Http2 {
    limits: HttpLimits,
    conn: ConnInfo,
    leg: Leg,
    requests: Half,
    responses: Half,
    /// Streams that are open, by number.
    streams: BTreeMap<u32, Stream>,
    /// The newest stream that the client was seen to open. `None`: none yet, and older ones are none of our business.
    newest: Option<u32>,
    /// Requests with higher numbers than the newest may be lost.
    requests_lost: bool,
    /// Streams between others that may be lost requests, or were never used.
    lost: VecDeque<RangeInclusive<u32>>,
    /// When streams that may have ended unseen are to be looked at again.
    look_again: Option<KernelTime>,
    stats: HttpStats,
}

impl Http2 {
    /// A parser that stands before the first byte of a connection.
    #[must_use]
    pub fn new(conn: ConnInfo, leg: Leg, limits: HttpLimits) -> Self {
        Self {
            newest: Some(0),
            ..Self::with(
                conn,
                leg,
                limits,
                Reader::of_client(limits.head_bytes),
                Reader::of_server(limits.head_bytes),
                Decoder::new,
            )
        }
    }

    /// A parser that is put into the middle of a connection.
    #[must_use]
    pub fn joining(conn: ConnInfo, leg: Leg, limits: HttpLimits) -> Self {
        Self::with(
            conn,
            leg,
            limits,
            Reader::joining(limits.head_bytes),
            Reader::joining(limits.head_bytes),
            Decoder::joining,
        )
    }

    fn with(
        conn: ConnInfo,
        leg: Leg,
        limits: HttpLimits,
        client: Reader,
        server: Reader,
        decoder: fn(usize) -> Decoder,
    ) -> Self {
        let half = |reader| Half {
            reader,
            decoder: decoder(limits.h2.table_bytes),
        };
        Self {
            limits,
            conn,
            leg,
            requests: half(client),
            responses: half(server),
            streams: BTreeMap::new(),
            newest: None,
            requests_lost: false,
            lost: VecDeque::new(),
            look_again: None,
            stats: HttpStats::default(),
        }
    }

    /// Which leg this connection is.
    #[must_use]
    pub const fn leg(&self) -> Leg {
        self.leg
    }

    /// What was met since the last call; resets.
    pub fn take_stats(&mut self) -> HttpStats {
        let mut stats = std::mem::take(&mut self.stats);
        stats.add(&self.requests.reader.take_stats());
        stats.add(&self.responses.reader.take_stats());
        stats
    }

    /// Takes the bytes of one call, or the next part of them.
    pub fn data(&mut self, side: Side, mut bytes: Bytes, at: KernelTime, out: &mut Vec<Exchange>) {
        self.half_mut(side).reader.begin_call(&mut bytes);
        while let Some(item) = self.half_mut(side).reader.read(&mut bytes, at) {
            self.apply(side, item, at, out);
        }
        self.give_up_doubtful(at, out);
    }

    /// Takes bytes that moved unseen.
    pub fn hole(&mut self, side: Side, mut hole: u64, at: KernelTime, out: &mut Vec<Exchange>) {
        while let Some(item) = self.half_mut(side).reader.skip(&mut hole) {
            self.apply(side, item, at, out);
        }
    }

    /// One side will send no more.
    pub fn end(&mut self, side: Side, out: &mut Vec<Exchange>) {
        match side {
            Side::Request => {
                for stream in self.streams.values_mut() {
                    stream.cut(Side::Request);
                }
                let over = self.streams.extract_if(.., |_, stream| stream.is_over());
                out.extend(over.map(|(id, stream)| stream.into_exchange(id, self.conn, self.leg)));
            }
            Side::Response => self.close(out),
        }
    }

    /// The connection is gone, or was given up: everything that is left comes out as it is.
    pub fn close(&mut self, out: &mut Vec<Exchange>) {
        let left = std::mem::take(&mut self.streams).into_iter();
        out.extend(left.map(|(id, stream)| stream.into_exchange(id, self.conn, self.leg)));
    }

    fn apply(&mut self, side: Side, item: Item, at: KernelTime, out: &mut Vec<Exchange>) {
        match item {
            Item::Data { stream, bytes } => {
                if let Some(stream) = self.streams.get_mut(&stream) {
                    stream.data(side, &bytes, at);
                }
            }
            Item::Hole { stream, bytes } => {
                if let Some(stream) = self.streams.get_mut(&stream) {
                    stream.hole(side, bytes, at);
                }
            }
            Item::OpenHole { stream } => {
                if let Some(stream) = self.streams.get_mut(&stream) {
                    stream.open_hole(side);
                }
            }
            Item::End { stream: id } => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.end(side, at);
                }
                self.emit_if_over(id, out);
            }
            Item::Block(block) => self.block(side, block, at, out),
            Item::MostPayload(bytes) => {
                let other = match side {
                    Side::Request => Side::Response,
                    Side::Response => Side::Request,
                };
                self.half_mut(other).reader.allow(bytes);
            }
            Item::Reset { stream: id, code } => {
                let by = match side {
                    Side::Request => Peer::Client,
                    Side::Response => Peer::Server,
                };
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.reset(Reset { by, code }, at);
                }
                self.emit_if_over(id, out);
            }
            Item::GoAway { last } => {
                if side == Side::Response {
                    // Section 6.8: these were not looked at and will not be.
                    let refused = self.streams.split_off(&last.saturating_add(1)).into_iter();
                    out.extend(refused.map(|(id, stream)| stream.into_exchange(id, self.conn, self.leg)));
                }
            }
            Item::Lost(block) => {
                if let Some(block) = block {
                    self.block(side, block, at, out);
                }
                self.lose(side, at);
            }
        }
    }

    /// A header block. It is always decoded, because the table depends on it.
    fn block(&mut self, side: Side, block: Block, at: KernelTime, out: &mut Vec<Exchange>) {
        let limit = ListLimit {
            bytes: self.limits.head_bytes,
            fields: self.limits.fields,
        };
        let decoder = &mut self.half_mut(side).decoder;
        let list = if block.is_cut {
            decoder.decode_cut(&block.text, limit)
        } else {
            decoder.decode(&block.text, limit)
        };
        if !list.is_whole {
            self.stats.bad_heads += 1;
        }
        let head = Head::read(list);
        self.stats.unknown_fields += head.unknown;
        if block.is_promise {
            self.stats.pushes += 1;
            return;
        }
        let id = block.stream;
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.block(side, head, block.started, at);
        } else {
            match side {
                Side::Request => self.open(id, head, block.started, at, out),
                Side::Response => self.answer_unasked(id, head, block.started, at, out),
            }
        }
        if block.ends
            && let Some(stream) = self.streams.get_mut(&id)
        {
            stream.end(side, at);
        }
        self.emit_if_over(id, out);
    }

    /// The client opens a stream.
    fn open(&mut self, id: u32, head: Head, started: KernelTime, at: KernelTime, out: &mut Vec<Exchange>) {
        // What comes late on a stream that is over is nobody's. Clients use odd numbers, upwards (section 5.1.1).
        if id.is_multiple_of(2) || self.newest.is_some_and(|newest| id <= newest) {
            return;
        }
        if std::mem::take(&mut self.requests_lost)
            && let Some(newest) = self.newest
        {
            self.lost
                .push_back(newest.saturating_add(1)..=id.saturating_sub(1));
            if self.lost.len() > LOST_RANGES {
                self.lost.pop_front();
            }
        }
        self.newest = Some(id);
        let mut stream = Stream::new(self.body_bytes(), at);
        stream.begin_request(head, started, at);
        self.insert(id, stream, out);
    }

    /// A header block of the server's on a stream that is not open: the answer to a lost request, or something of the past.
    fn answer_unasked(
        &mut self,
        id: u32,
        head: Head,
        started: KernelTime,
        at: KernelTime,
        out: &mut Vec<Exchange>,
    ) {
        let may_be_lost = self
            .newest
            .is_some_and(|newest| id > newest || self.lost.iter().any(|range| range.contains(&id)));
        if id.is_multiple_of(2) || !head.answers {
            return;
        }
        self.stats.unpaired_responses += 1;
        if may_be_lost {
            let mut stream = Stream::without_request(self.body_bytes(), at);
            stream.block(Side::Response, head, started, at);
            self.insert(id, stream, out);
        }
    }

    fn insert(&mut self, id: u32, stream: Stream, out: &mut Vec<Exchange>) {
        self.streams.insert(id, stream);
        while self.streams.len() > self.limits.h2.streams.max(1) {
            if let Some((id, oldest)) = self.streams.pop_first() {
                self.stats.given_up_streams += 1;
                out.push(oldest.into_exchange(id, self.conn, self.leg));
            }
        }
    }

    /// The direction's place is lost.
    fn lose(&mut self, side: Side, at: KernelTime) {
        self.stats.lost_framings += 1;
        self.half_mut(side).decoder.lose();
        self.requests_lost |= side == Side::Request;
        for stream in self.streams.values_mut() {
            stream.doubt(side);
        }
        if !self.streams.is_empty() {
            self.look_again
                .get_or_insert_with(|| at.plus_ns(self.limits.h2.doubtful_ns));
        }
    }

    /// Streams that may have ended in a hole, and have shown no life since, come out as they are.
    fn give_up_doubtful(&mut self, at: KernelTime, out: &mut Vec<Exchange>) {
        if self.look_again.is_none_or(|then| at < then) {
            return;
        }
        let longest = self.limits.h2.doubtful_ns;
        let is_over = |stream: &Stream| {
            stream
                .doubtful_since()
                .is_some_and(|last| at.ns_since(last) >= longest)
        };
        for (id, stream) in self.streams.extract_if(.., |_, stream| is_over(stream)) {
            self.stats.given_up_streams += 1;
            out.push(stream.into_exchange(id, self.conn, self.leg));
        }
        let is_any_left = self
            .streams
            .values()
            .any(|stream| stream.doubtful_since().is_some());
        self.look_again = is_any_left.then(|| at.plus_ns(longest));
    }

    fn emit_if_over(&mut self, id: u32, out: &mut Vec<Exchange>) {
        if self.streams.get(&id).is_some_and(Stream::is_over)
            && let Some(stream) = self.streams.remove(&id)
        {
            out.push(stream.into_exchange(id, self.conn, self.leg));
        }
    }

    /// The upstream leg's bodies are the client's leg's, which is the one that is shipped.
    const fn body_bytes(&self) -> usize {
        match self.leg {
            Leg::Downstream => self.limits.body_bytes,
            Leg::Upstream => 0,
        }
    }

    const fn half_mut(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Request => &mut self.requests,
            Side::Response => &mut self.responses,
        }
    }
}

/// Whether a connection may begin with these bytes of a server's: its SETTINGS, which may come before the client's preface
/// (section 3.4). `None`: too few to say.
#[must_use]
pub fn is_server_preface(bytes: &[u8]) -> Option<bool> {
    let Some(header) = bytes.first_chunk() else {
        // A length below 64 KiB, and the type.
        let may_be =
            bytes.first().is_none_or(|first| *first == 0) && bytes.get(3).is_none_or(|kind| *kind == 4);
        return if may_be { None } else { Some(false) };
    };
    let header = FrameHeader::parse(*header);
    Some(header.kind == Kind::Settings && header.flags == 0 && header.is_legal(frame::DEFAULT_PAYLOAD_BYTES))
}

/// Which leg a connection is that was open before it was watched, if a call of `direction` shows it: it holds frames, and among
/// them a request's or a response's head.
#[must_use]
pub fn leg_of_call(bytes: &[u8], direction: Direction) -> Option<Leg> {
    if frame::boundary(bytes) != frame::Boundary::Yes {
        return None;
    }
    let limit = ListLimit {
        bytes: usize::MAX,
        fields: usize::MAX,
    };
    frame::frames(bytes)
        .filter(|(header, _)| header.kind == Kind::Headers && header.has(END_HEADERS))
        .find_map(|(header, payload)| {
            let (block, _) = reader::fragment(header, Bytes::copy_from_slice(payload));
            let head = Head::read(Decoder::joining(0).decode(&block, limit));
            match (direction, head.asks, head.answers) {
                (Direction::Ingress, true, false) | (Direction::Egress, false, true) => Some(Leg::Downstream),
                (Direction::Egress, true, false) | (Direction::Ingress, false, true) => Some(Leg::Upstream),
                (_, false, false) | (_, true, true) => None,
            }
        })
}
