//! HTTP/2 (RFC 9113) on one connection: both directions, from any segmentation, with holes, from the start or from anywhere.
//!
//! In: pieces of the client's direction and of the server's, in the order of the gateway's calls. Out: [`Exchange`]s, one a
//! stream, in the order in which they end. gRPC is nothing but HTTP/2 with trailers here. Deliberately absent: flow control
//! (a bystander sees what moved), priorities, pushed streams.
//!
//! How holes are survived. A hole inside a frame's payload costs what it holds: a body's bytes, or a header block. One that takes a
//! frame header costs the direction's place: which streams it hit cannot be known, so each one that was open on this side
//! is marked, and one that shows no life for a while afterwards is given up. A stream's number stays with it, so a loss never pairs a
//! request with another's response. What a lost header block does to those after it, `hpack` says.

mod block;
pub mod blocks;
mod frame;
mod head;
pub(crate) mod held;
mod hpack;
mod item;
pub mod join;
pub mod limits;
mod reader;
mod resync;
mod stream;
mod streams;
#[cfg(test)]
mod tests;
pub mod upgrade;

use bytes::Bytes;

use self::block::Block;
use self::head::Head;
use self::hpack::{Decoder, ListLimit};
use self::item::{Item, Unseen};
use self::reader::Reader;
use self::streams::Streams;
use crate::capture::event::KernelTime;
use crate::http::exchange::{ConnInfo, Exchange, Leg, Peer, Request, Reset};
use crate::http::h1::Side;
use crate::http::h1::limits::HttpLimits;
use crate::http::h1::stats::HttpStats;
use crate::http::open::OpenRequest;

/// One direction.
#[derive(Debug)]
struct Half {
    reader: Reader,
    decoder: Decoder,
}

/// The parser of one connection.
#[derive(Debug)]
pub struct Http2 {
    /// How much of one header list is kept.
    lists: ListLimit,
    leg: Leg,
    requests: Half,
    responses: Half,
    streams: Streams,
    stats: HttpStats,
}

impl Http2 {
    /// A parser that stands before the first byte of a connection.
    #[must_use]
    pub fn new(conn: ConnInfo, leg: Leg, limits: HttpLimits) -> Self {
        let (client, server) = (
            Reader::of_client(limits.head_bytes),
            Reader::of_server(limits.head_bytes),
        );
        Self::with(
            Streams::new(conn, leg, limits),
            leg,
            limits,
            [client, server],
            Decoder::new,
        )
    }

    /// A parser that is put into the middle of a connection.
    #[must_use]
    pub fn joining(conn: ConnInfo, leg: Leg, limits: HttpLimits) -> Self {
        let readers = [
            Reader::joining(limits.head_bytes),
            Reader::joining(limits.head_bytes),
        ];
        Self::with(
            Streams::joining(conn, leg, limits),
            leg,
            limits,
            readers,
            Decoder::joining,
        )
    }

    /// A parser that stands behind the 101 with which a server agreed to go on in HTTP/2. `request` asked for it, and is answered on the
    /// first stream.
    #[must_use]
    pub fn upgraded(conn: ConnInfo, leg: Leg, limits: HttpLimits, request: Request) -> Self {
        let mut http = Self::new(conn, leg, limits);
        if let Some(bytes) = upgrade::most_payload(&request) {
            http.responses.reader.allow(bytes);
        }
        http.streams.adopt(request);
        http
    }

    fn with(
        streams: Streams,
        leg: Leg,
        limits: HttpLimits,
        [client, server]: [Reader; 2],
        decoder: fn(usize) -> Decoder,
    ) -> Self {
        let half = |reader| Half {
            reader,
            decoder: decoder(limits.h2.table_bytes),
        };
        Self {
            lists: ListLimit {
                bytes: limits.head_bytes,
                fields: limits.fields,
            },
            leg,
            requests: half(client),
            responses: half(server),
            streams,
            stats: HttpStats::default(),
        }
    }

    /// Which leg this connection is.
    #[must_use]
    pub const fn leg(&self) -> Leg {
        self.leg
    }

    /// The requests that are under way.
    pub fn open_requests(&self) -> impl Iterator<Item = OpenRequest> + '_ {
        self.streams.open_requests()
    }

    /// What was met since the last call; resets.
    pub fn take_stats(&mut self) -> HttpStats {
        let mut stats = std::mem::take(&mut self.stats);
        stats.add(&self.streams.take_stats());
        stats.add(&self.requests.reader.take_stats());
        stats.add(&self.responses.reader.take_stats());
        stats
    }

    /// Keeps at most so many bytes of the bodies that begin from now on.
    pub const fn keep_bodies(&mut self, bytes: usize) {
        self.streams.keep_bodies(bytes);
    }

    /// Takes the bytes of one call, or the next part of them.
    pub fn data(&mut self, side: Side, mut bytes: Bytes, at: KernelTime, out: &mut Vec<Exchange>) {
        self.half_mut(side).reader.begin_call(&mut bytes);
        while let Some(item) = self.half_mut(side).reader.read(&mut bytes, at) {
            self.apply(side, item, at, out);
        }
        self.streams.give_up_doubtful(at, out);
    }

    /// Takes bytes that are lost.
    pub fn hole(&mut self, side: Side, hole: u64, at: KernelTime, out: &mut Vec<Exchange>) {
        self.skip(side, hole, Unseen::Lost, at, out);
    }

    /// Takes bytes that were left uncopied on purpose. Of a body they are as good as known; of something else they are lost.
    pub fn left(&mut self, side: Side, left: u64, at: KernelTime, out: &mut Vec<Exchange>) {
        self.skip(side, left, Unseen::Left, at, out);
    }

    fn skip(&mut self, side: Side, mut bytes: u64, why: Unseen, at: KernelTime, out: &mut Vec<Exchange>) {
        while let Some(item) = self.half_mut(side).reader.skip(&mut bytes, why) {
            self.apply(side, item, at, out);
        }
    }

    /// One side will send no more.
    pub fn end(&mut self, side: Side, out: &mut Vec<Exchange>) {
        self.streams.end_side(side, out);
    }

    /// The connection is gone, or was given up: everything that is left comes out as it is.
    pub fn close(&mut self, out: &mut Vec<Exchange>) {
        self.streams.close(out);
    }

    fn apply(&mut self, side: Side, item: Item, at: KernelTime, out: &mut Vec<Exchange>) {
        match item {
            Item::Data { stream, bytes } => self.streams.data(side, stream, &bytes, at),
            Item::Unseen { stream, bytes, why } => self.streams.unseen(side, stream, bytes, why, at),
            Item::OpenHole { stream } => self.streams.open_hole(side, stream),
            Item::End { stream } => self.streams.end(side, stream, at, out),
            Item::Block(block) => self.block(side, block, at, out),
            Item::MostPayload(bytes) => self.half_mut(opposite(side)).reader.allow(bytes),
            Item::Reset { stream, code } => {
                let by = match side {
                    Side::Request => Peer::Client,
                    Side::Response => Peer::Server,
                };
                let reset = code.map(|code| Reset { by, code });
                self.streams.reset(stream, reset, at, out);
            }
            Item::GoAway { last } => {
                // A client's speaks of streams that the server opened.
                if side == Side::Response {
                    self.streams.refuse_after(last, out);
                }
            }
            Item::Lost(block) => {
                if let Some(block) = block {
                    self.block(side, block, at, out);
                }
                self.half_mut(side).decoder.lose();
                // SETTINGS may be lost too.
                self.half_mut(opposite(side)).reader.allow_all();
                self.streams.lose(side, at);
            }
        }
    }

    /// A header block. It is always decoded, because the table depends on it.
    fn block(&mut self, side: Side, block: Block, at: KernelTime, out: &mut Vec<Exchange>) {
        let lists = self.lists;
        let decoder = &mut self.half_mut(side).decoder;
        let list = if block.is_cut {
            decoder.decode_cut(&block.text, lists)
        } else {
            decoder.decode(&block.text, lists)
        };
        if !list.is_whole {
            self.stats.bad_heads += 1;
        }
        let mut head = Head::read(list);
        head.is_cut = block.is_cut;
        self.stats.unknown_fields += head.unknown;
        if block.is_promise {
            self.stats.pushes += 1;
            return;
        }
        let id = block.stream;
        self.streams.head(side, id, head, (block.started, at), out);
        if block.ends {
            self.streams.end(side, id, at, out);
        } else {
            self.streams.emit_if_over(id, out);
        }
    }

    const fn half_mut(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Request => &mut self.requests,
            Side::Response => &mut self.responses,
        }
    }
}

const fn opposite(side: Side) -> Side {
    match side {
        Side::Request => Side::Response,
        Side::Response => Side::Request,
    }
}
