//! HTTP/1.0 and 1.1 on one connection: both directions, from any segmentation, with holes.
//!
//! In: pieces of the request direction and of the response direction, in the order of the gateway's calls. Out:
//! [`Exchange`]s, in the order of their requests. Deliberately absent: which bytes are HTTP at all (`detect`), positions
//! (`conn`).
//!
//! `heads` begins messages, this file reads their bodies and ends them, `gaps` survives what is missing, `slot` holds the
//! requests that wait for their response.

pub(crate) mod framing;
mod gaps;
mod half;
pub(crate) mod head;
mod heads;
mod held;
pub mod limits;
mod slot;
pub mod stats;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};

use self::framing::{Part, Step};
use self::half::{Half, State};
use self::limits::HttpLimits;
use self::slot::Slot;
use self::stats::HttpStats;
use crate::capture::event::KernelTime;
use crate::http::anomaly::Anomaly;
use crate::http::body::BodyBuilder;
use crate::http::exchange::{ConnInfo, Exchange, Leg, Outcome, Peer};
use crate::http::open::OpenRequest;

/// Which half of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's messages.
    Request,
    /// The server's.
    Response,
}

/// Answers to given-up requests that are waited for; a connection that owes more is not read any further.
const OWED_ANSWERS: usize = 64 << 10;

/// The parser of one connection.
#[derive(Debug)]
pub struct Http1 {
    limits: HttpLimits,
    conn: ConnInfo,
    leg: Leg,
    requests: Half,
    responses: Half,
    /// Requests in order; the newest is the one being read, the oldest the one being answered.
    slots: VecDeque<Slot>,
    /// The response being read belongs to no slot and is thrown away.
    discarding: bool,
    /// Responses were lost, so that one without a request may be one that was given up already.
    in_doubt: bool,
    /// Responses since the newest request whose own request was not seen.
    unasked: u32,
    /// Whether the answers that given-up requests still get, in their order, are answers to HEAD.
    owed: VecDeque<bool>,
    /// The response that was begun answers a request that was not seen, perhaps a HEAD, so it may have no body.
    unsure: bool,
    /// The gateway refused a request, and reads no further.
    refused: bool,
    /// The client has ended its direction.
    client_ended: bool,
    /// The server has.
    server_ended: bool,
    /// The socket is gone, and not just given up.
    socket_gone: bool,
    /// No more HTTP follows: another protocol, or nothing that is answered.
    opaque: bool,
    /// A request was seen, so a response without one is a loss and not just the past.
    saw_request: bool,
    /// What came with the last of HTTP/1 in one call, and is another protocol's.
    rest: Bytes,
    stats: HttpStats,
}

impl Http1 {
    /// A parser that stands before the first head of a connection.
    #[must_use]
    pub fn new(conn: ConnInfo, leg: Leg, limits: HttpLimits) -> Self {
        Self {
            limits,
            conn,
            leg,
            requests: Half::new(),
            responses: Half::new(),
            slots: VecDeque::new(),
            discarding: false,
            in_doubt: false,
            unasked: 0,
            owed: VecDeque::new(),
            unsure: false,
            refused: false,
            client_ended: false,
            server_ended: false,
            socket_gone: false,
            opaque: false,
            saw_request: false,
            rest: Bytes::new(),
            stats: HttpStats::default(),
        }
    }

    /// Which leg this connection is.
    #[must_use]
    pub const fn leg(&self) -> Leg {
        self.leg
    }

    /// Whether nothing more can be read from it: it changed protocol, or one side will answer no more.
    #[must_use]
    pub const fn is_opaque(&self) -> bool {
        self.opaque
    }

    /// The requests that are under way.
    pub fn open_requests(&self) -> impl Iterator<Item = OpenRequest> + '_ {
        self.slots.iter().map(|slot| slot.as_open(self.conn))
    }

    /// What was met since the last call; resets.
    pub fn take_stats(&mut self) -> HttpStats {
        std::mem::take(&mut self.stats)
    }

    /// Takes the bytes of one call, or the next part of them.
    pub fn data(&mut self, side: Side, bytes: Bytes, at: KernelTime, out: &mut Vec<Exchange>) {
        let Some(mut bytes) = self.find_place(side, bytes, at, out) else {
            return;
        };
        while !bytes.is_empty() && !self.opaque {
            match &self.half(side).state {
                State::Head => self.read_head(side, &mut bytes, at, out),
                State::Body(_) => {
                    // What follows a head in its own call is its body.
                    self.unsure &= side == Side::Request;
                    self.read_body(side, &mut bytes, at, out);
                }
                State::Resync | State::Ignored => {
                    self.stats.skipped_bytes = self.stats.skipped_bytes.saturating_add(len(&bytes));
                    return;
                }
            }
        }
        if self.opaque {
            self.rest = bytes;
        }
    }

    /// What followed the last of HTTP/1 in its call.
    pub fn take_rest(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    /// How many of the next bytes of `side` are of no use to anybody: body bytes that will not be kept.
    #[must_use]
    pub fn unwanted(&mut self, side: Side) -> u64 {
        if self.opaque {
            return u64::MAX;
        }
        let State::Body(framing) = &self.half(side).state else {
            return 0;
        };
        let known = framing.known_data();
        if known == 0 || self.body(side).is_some_and(|body| !body.is_full()) {
            return 0;
        }
        known
    }

    /// Keeps at most so many bytes of the bodies that begin from now on.
    pub const fn keep_bodies(&mut self, bytes: usize) {
        self.limits.body_bytes = bytes;
    }

    /// The socket is gone, and everything that moved on it has been said.
    pub const fn socket_is_gone(&mut self) {
        self.socket_gone = true;
    }

    /// One side will send no more.
    pub fn end(&mut self, side: Side, at: KernelTime, out: &mut Vec<Exchange>) {
        match side {
            Side::Request if self.opaque => {}
            Side::Request => {
                self.client_ended = true;
                self.end_body(side, at, out);
                if let Some(slot) = self.slots.back_mut() {
                    slot.end_request();
                }
                self.emit_ready(out);
            }
            Side::Response => {
                self.server_ended = true;
                self.end_responses(at, out);
            }
        }
    }

    fn end_responses(&mut self, at: KernelTime, out: &mut Vec<Exchange>) {
        if self.opaque {
            return;
        }
        self.end_body(Side::Response, at, out);
        self.emit_all(out);
        // What is read after that is thrown away unread (nginx's lingering close), so it is no request.
        self.opaque = true;
    }

    fn end_body(&mut self, side: Side, at: KernelTime, out: &mut Vec<Exchange>) {
        if let State::Body(framing) = &self.half(side).state
            && framing.ends_with_the_connection()
            && self.server_ended
        {
            self.finish_message(side, true, at, out);
        }
        self.half_mut(side).forget_head();
        self.half_mut(side).state = State::Resync;
    }

    /// The connection is gone, or was given up: everything that is left comes out as it is.
    pub fn close(&mut self, at: KernelTime, out: &mut Vec<Exchange>) {
        // On the client's leg the socket is the server's own: unless its client left first, it has said all.
        self.server_ended |= self.leg == Leg::Downstream && self.socket_gone && !self.client_ended;
        self.end_responses(at, out);
        self.emit_all(out);
    }

    fn read_body(&mut self, side: Side, bytes: &mut Bytes, at: KernelTime, out: &mut Vec<Exchange>) {
        // The message is looked up once for the call, not for each chunk of the body.
        let (half, mut slot) = match side {
            Side::Request => (&mut self.requests, self.slots.back_mut()),
            Side::Response if self.discarding => (&mut self.responses, None),
            Side::Response => (&mut self.responses, self.slots.front_mut()),
        };
        let State::Body(framing) = &mut half.state else {
            return;
        };
        let mut last = Step::default();
        while !bytes.is_empty() {
            let step = framing.read(bytes);
            if let Some(slot) = slot.as_deref_mut() {
                if let Some(body) = slot.body(side) {
                    body.push(step.bytes_of(Part::Data, bytes), step.taken, at);
                }
                slot.odd(step.bare_line_feed, Anomaly::BareLineFeed);
                slot.odd(step.lost, Anomaly::BadChunk);
                half.head.extend_from_slice(step.bytes_of(Part::Trailer, bytes));
            }
            bytes.advance(usize::try_from(step.taken).unwrap_or(usize::MAX).min(bytes.len()));
            last = step;
            if last.ended || last.lost {
                break;
            }
        }
        if last.ended {
            if !half.head.is_empty() {
                let text = std::mem::take(&mut half.head).freeze();
                if let Some(slot) = slot {
                    slot.set_trailers(side, &text, self.limits.fields);
                }
            }
            half.state = State::Head;
            self.finish_message(side, true, at, out);
        } else if last.lost {
            self.lose_framing(side, at, out);
            // Nothing says how long the nonsense is, and the other end takes it for nonsense too.
            self.half_mut(side).state = State::Ignored;
            bytes.clear();
        }
    }

    fn slot(&mut self, side: Side) -> Option<&mut Slot> {
        match side {
            Side::Request => self.slots.back_mut(),
            Side::Response if self.discarding => None,
            Side::Response => self.slots.front_mut(),
        }
    }

    fn body(&mut self, side: Side) -> Option<&mut BodyBuilder> {
        self.slot(side)?.body(side)
    }

    /// The current message of `side` ended. `complete`: as its framing said.
    fn finish_message(&mut self, side: Side, complete: bool, at: KernelTime, out: &mut Vec<Exchange>) {
        if let Some(slot) = self.slot(side) {
            slot.finish(side, complete, at);
        }
        self.emit_ready(out);
        if side == Side::Response {
            self.discarding = false;
            self.opaque |= self.refused;
            if matches!(self.requests.state, State::Ignored) && self.slots.is_empty() {
                // It was answered. If there is more, it begins with a call.
                self.requests.state = State::Resync;
            }
        }
    }

    fn emit_ready(&mut self, out: &mut Vec<Exchange>) {
        while let Some(slot) = self.slots.pop_front_if(|slot| slot.is_ready()) {
            out.push(slot.into_exchange(self.conn, self.leg, None));
        }
        if self.opaque {
            self.emit_all(out);
        }
    }

    fn emit_all(&mut self, out: &mut Vec<Exchange>) {
        self.discarding = false;
        let left_by = self.left_by();
        out.extend(
            self.slots
                .drain(..)
                .map(|slot| slot.into_exchange(self.conn, self.leg, left_by)),
        );
    }

    /// Who ended the connection, as far as its end tells. The gateway may learn without a call that its client has left
    /// (nginx, by `EPOLLRDHUP`), so that its own end says nothing.
    fn left_by(&self) -> Option<Peer> {
        if self.client_ended {
            return Some(Peer::Client);
        }
        match self.leg {
            // Neither end said goodbye: a reset. A gateway resets only what it has not read.
            Leg::Downstream if self.socket_gone => self
                .slots
                .back()
                .is_some_and(Slot::has_whole_request)
                .then_some(Peer::Client),
            Leg::Downstream => None,
            Leg::Upstream if self.server_ended => Some(Peer::Server),
            Leg::Upstream => None,
        }
    }

    fn shed_pipelined(&mut self, out: &mut Vec<Exchange>) {
        while self.slots.len() > self.limits.pipelined && self.shed_oldest(out) {}
    }

    /// Gives up the oldest request. The answer that it still gets must not be taken for another's.
    fn shed_oldest(&mut self, out: &mut Vec<Exchange>) -> bool {
        let Some(mut slot) = self.slots.pop_front() else {
            return false;
        };
        if slot.takes_a_response() {
            self.owed.push_back(slot.method() == Some(b"HEAD"));
        } else if slot.body(Side::Response).is_some() {
            self.discarding = true;
        }
        let mut exchange = slot.into_exchange(self.conn, self.leg, None);
        exchange.outcome = Outcome::HeadLost;
        out.push(exchange);
        if self.owed.len() > OWED_ANSWERS {
            self.emit_all(out);
            self.opaque = true;
        }
        true
    }

    /// The upstream leg's bodies are the client's leg's, which is the one that is shipped.
    const fn body_limit(&self) -> usize {
        match self.leg {
            Leg::Downstream => self.limits.body_bytes,
            Leg::Upstream => 0,
        }
    }

    const fn half(&self, side: Side) -> &Half {
        match side {
            Side::Request => &self.requests,
            Side::Response => &self.responses,
        }
    }

    const fn half_mut(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Request => &mut self.requests,
            Side::Response => &mut self.responses,
        }
    }
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
