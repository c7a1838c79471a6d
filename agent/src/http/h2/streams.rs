//! The streams of a connection that are open: which there are, what they hold together, when they are given up.
//!
//! In: what happens on a stream. Out: [`Exchange`]s, in the order in which they end. Bounded by their number and by the bytes that they
//! hold. Deliberately absent: frames, header compression.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use super::head::Head;
use super::item::Unseen;
use super::stream::Stream;
use crate::capture::event::KernelTime;
use crate::http::exchange::{ConnInfo, Exchange, Leg, Peer, Request, Reset};
use crate::http::h1::Side;
use crate::http::h1::limits::HttpLimits;
use crate::http::h1::stats::HttpStats;
use crate::http::open::OpenRequest;

/// Ranges of streams whose requests may be lost that are remembered.
const LOST_RANGES: usize = 16;

/// The client's streams that were seen to open.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The first: older ones are none of our business.
    first: u32,
    newest: u32,
}

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct Streams {
    limits: HttpLimits,
    conn: ConnInfo,
    leg: Leg,
    /// By number.
    open: BTreeMap<u32, Stream>,
    /// What they hold.
    held_bytes: usize,
    seen: Option<Seen>,
    /// Requests with higher numbers than the newest may be lost.
    requests_lost: bool,
    /// Streams between others that may be lost requests, or were never used.
    lost: VecDeque<RangeInclusive<u32>>,
    /// When streams that may have ended unseen are to be looked at again.
    look_again: Option<KernelTime>,
    stats: HttpStats,
}

impl Streams {
    /// Those of a connection that is joined in its middle.
    pub(super) fn joining(conn: ConnInfo, leg: Leg, limits: HttpLimits) -> Self {
        Self {
            limits,
            conn,
            leg,
            open: BTreeMap::new(),
            held_bytes: 0,
            seen: None,
            requests_lost: false,
            lost: VecDeque::new(),
            look_again: None,
            stats: HttpStats::default(),
        }
    }

    /// Those of a connection that begins.
    pub(super) fn new(conn: ConnInfo, leg: Leg, limits: HttpLimits) -> Self {
        Self {
            seen: Some(Seen { first: 0, newest: 0 }),
            ..Self::joining(conn, leg, limits)
        }
    }

    /// The first stream is a request that came whole in HTTP/1.
    pub(super) fn adopt(&mut self, request: Request) {
        let stream = Stream::adopted(request, self.body_bytes());
        self.held_bytes = stream.held_bytes();
        self.open.insert(1, stream);
        self.seen = Some(Seen { first: 0, newest: 1 });
    }

    /// The requests that are under way.
    pub(super) fn open_requests(&self) -> impl Iterator<Item = OpenRequest> + '_ {
        self.open.values().map(|stream| stream.as_open(self.conn))
    }

    pub(super) fn take_stats(&mut self) -> HttpStats {
        std::mem::take(&mut self.stats)
    }

    /// Keeps at most so many bytes of the bodies that begin from now on.
    pub(super) const fn keep_bodies(&mut self, bytes: usize) {
        self.limits.body_bytes = bytes;
    }

    pub(super) fn data(&mut self, side: Side, id: u32, bytes: &[u8], at: KernelTime) {
        // Heads outrank bodies.
        let room = (self.limits.h2.held_bytes / 2).saturating_sub(self.held_bytes);
        self.change(id, |stream| stream.data(side, bytes, room, at));
    }

    pub(super) fn unseen(&mut self, side: Side, id: u32, bytes: u64, why: Unseen, at: KernelTime) {
        self.change(id, |stream| stream.unseen(side, bytes, why, at));
    }

    pub(super) fn open_hole(&mut self, side: Side, id: u32) {
        self.change(id, |stream| stream.open_hole(side));
    }

    pub(super) fn end(&mut self, side: Side, id: u32, at: KernelTime, out: &mut Vec<Exchange>) {
        self.change(id, |stream| stream.end(side, at));
        self.emit_if_over(id, out);
    }

    pub(super) fn reset(&mut self, id: u32, reset: Option<Reset>, at: KernelTime, out: &mut Vec<Exchange>) {
        self.change(id, |stream| stream.reset(reset, at));
        self.emit_if_over(id, out);
    }

    /// The fields of a header block.
    pub(super) fn head(
        &mut self,
        side: Side,
        id: u32,
        head: Head,
        (started, at): (KernelTime, KernelTime),
        out: &mut Vec<Exchange>,
    ) {
        if self.open.contains_key(&id) {
            self.change(id, |stream| stream.block(side, head, started, at));
            self.make_room(out);
            return;
        }
        match side {
            Side::Request => self.begin(id, head, started, at, out),
            Side::Response => self.answer_unasked(id, head, started, at, out),
        }
    }

    /// The server will not answer the streams after `last` (RFC 9113 section 6.8): they were not looked at.
    pub(super) fn refuse_after(&mut self, last: u32, out: &mut Vec<Exchange>) {
        for (id, stream) in self.open.split_off(&last.saturating_add(1)) {
            self.emit(id, stream, out);
        }
    }

    /// The direction's place is lost.
    pub(super) fn lose(&mut self, side: Side, at: KernelTime) {
        self.stats.lost_framings += 1;
        self.requests_lost |= side == Side::Request;
        for stream in self.open.values_mut() {
            stream.doubt(side);
        }
        if !self.open.is_empty() {
            self.look_again
                .get_or_insert_with(|| at.plus_ns(self.limits.h2.doubtful_ns));
        }
    }

    /// Streams that may have ended in a hole, and have shown no life since, come out as they are.
    pub(super) fn give_up_doubtful(&mut self, at: KernelTime, out: &mut Vec<Exchange>) {
        if self.look_again.is_none_or(|then| at < then) {
            return;
        }
        let longest = self.limits.h2.doubtful_ns;
        let is_over = |stream: &Stream| {
            stream
                .doubtful_since()
                .is_some_and(|last| at.ns_since(last) >= longest)
        };
        let over: Vec<_> = self.open.extract_if(.., |_, stream| is_over(stream)).collect();
        for (id, stream) in over {
            self.stats.given_up_streams += 1;
            self.emit(id, stream, out);
        }
        let is_any_left = self.open.values().any(|stream| stream.doubtful_since().is_some());
        self.look_again = is_any_left.then(|| at.plus_ns(longest));
    }

    /// One side of the connection will send no more.
    pub(super) fn end_side(&mut self, side: Side, out: &mut Vec<Exchange>) {
        let by = match side {
            Side::Request => Peer::Client,
            Side::Response => Peer::Server,
        };
        for stream in self.open.values_mut() {
            stream.leave(by);
            stream.cut(side);
        }
        let over: Vec<_> = self
            .open
            .extract_if(.., |_, stream| side == Side::Response || stream.is_over())
            .collect();
        for (id, stream) in over {
            self.emit(id, stream, out);
        }
    }

    /// Everything that is left comes out as it is.
    pub(super) fn close(&mut self, out: &mut Vec<Exchange>) {
        self.refuse_after(0, out);
    }

    /// The client opens a stream.
    fn begin(&mut self, id: u32, head: Head, started: KernelTime, at: KernelTime, out: &mut Vec<Exchange>) {
        // What comes late on a stream that is over is nobody's. Clients use odd numbers, upwards (section 5.1.1).
        if id.is_multiple_of(2) || self.seen.is_some_and(|seen| id <= seen.newest) {
            return;
        }
        // Trailers of a stream of which the head was lost, or is of the past.
        if !head.asks && (!head.is_cut || head.begins_regular) {
            return;
        }
        let may_be_trailers =
            !head.asks && (self.requests_lost || self.seen.is_none_or(|seen| seen.first > 0));
        if self.requests_lost
            && let Some(seen) = self.seen
        {
            self.lost
                .push_back(seen.newest.saturating_add(1)..=id.saturating_sub(1));
            if self.lost.len() > LOST_RANGES {
                self.lost.pop_front();
            }
        }
        // Behind trailers of a lost request, there may be those of another.
        self.requests_lost &= may_be_trailers;
        let first = self.seen.map_or(id, |seen| seen.first);
        self.seen = Some(Seen { first, newest: id });
        let mut stream = Stream::new(self.body_bytes(), at);
        if may_be_trailers {
            stream.begin_request(head.without_fields(), started, at);
            stream.open_hole(Side::Request);
        } else {
            stream.begin_request(head, started, at);
        }
        self.insert(id, stream, out);
    }

    /// A head of the server's on a stream that is not open: the answer to a lost request, or something of the past.
    fn answer_unasked(
        &mut self,
        id: u32,
        head: Head,
        started: KernelTime,
        at: KernelTime,
        out: &mut Vec<Exchange>,
    ) {
        if id.is_multiple_of(2) || !head.answers {
            return;
        }
        let Some(seen) = self.seen else {
            self.stats.unpaired_responses += 1;
            return;
        };
        let is_lost = id > seen.newest || self.lost.iter().any(|range| range.contains(&id));
        // Between the two, it comes late on a stream that was broken off.
        if is_lost || id < seen.first {
            self.stats.unpaired_responses += 1;
        }
        if is_lost {
            let mut stream = Stream::without_request(self.body_bytes(), at);
            stream.block(Side::Response, head, started, at);
            self.insert(id, stream, out);
        }
    }

    fn insert(&mut self, id: u32, stream: Stream, out: &mut Vec<Exchange>) {
        self.held_bytes = self.held_bytes.saturating_add(stream.held_bytes());
        self.open.insert(id, stream);
        self.make_room(out);
    }

    /// The oldest streams give way.
    fn make_room(&mut self, out: &mut Vec<Exchange>) {
        let limits = self.limits.h2;
        while self.open.len() > limits.streams.max(1) || self.held_bytes > limits.held_bytes {
            let Some((id, oldest)) = self.open.pop_first() else {
                return;
            };
            self.stats.given_up_streams += 1;
            self.emit(id, oldest, out);
        }
    }

    fn change(&mut self, id: u32, change: impl FnOnce(&mut Stream)) {
        if let Some(stream) = self.open.get_mut(&id) {
            let before = stream.held_bytes();
            change(stream);
            self.held_bytes = self
                .held_bytes
                .saturating_sub(before)
                .saturating_add(stream.held_bytes());
        }
    }

    /// A stream of which nothing more can come comes out.
    pub(super) fn emit_if_over(&mut self, id: u32, out: &mut Vec<Exchange>) {
        if self.open.get(&id).is_some_and(Stream::is_over)
            && let Some(stream) = self.open.remove(&id)
        {
            self.emit(id, stream, out);
        }
    }

    fn emit(&mut self, id: u32, stream: Stream, out: &mut Vec<Exchange>) {
        self.held_bytes = self.held_bytes.saturating_sub(stream.held_bytes());
        out.push(stream.into_exchange(id, self.conn, self.leg));
    }

    /// The upstream leg's bodies are the client's leg's, which is the one that is shipped.
    const fn body_bytes(&self) -> usize {
        match self.leg {
            Leg::Downstream => self.limits.body_bytes,
            Leg::Upstream => 0,
        }
    }

    /// What they hold of bodies.
    pub(super) fn kept_body_bytes(&self) -> usize {
        self.open.values().map(Stream::body_bytes).sum()
    }

    /// Gives back what is held of bodies.
    pub(super) fn release_bodies(&mut self) {
        for stream in self.open.values_mut() {
            stream.release_bodies();
        }
        self.held_bytes = self.open.values().map(Stream::held_bytes).sum();
    }

    /// What the open streams hold.
    pub(super) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }
}
