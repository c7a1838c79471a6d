//! HTTP/1.0 and 1.1 on one connection: both directions, from any segmentation, with holes.
//!
//! In: pieces of the request direction and of the response direction, in the order of the gateway's calls. Out:
//! [`Exchange`]s, in the order of their requests. Deliberately absent: which bytes are HTTP at all (`detect`), positions
//! (`conn`).
//!
//! How missing bytes are survived. Bytes that were left uncopied on purpose are a body's, whose size stays exact. A hole
//! in a body whose length is known costs that body's completeness and nothing else. Any other hole costs the message that
//! it falls into: the reader of that direction then waits for a call that begins like a head. Where that does not settle
//! which response belongs to which request, the exchange says [`Outcome::HeadLost`] rather than guess.

pub(crate) mod framing;
mod half;
pub(crate) mod head;
pub mod limits;
mod slot;
pub mod stats;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};

use self::framing::{Framing, Step};
use self::half::{Half, State};
use self::head::{HeadEnd, ResponseHead};
use self::limits::HttpLimits;
use self::slot::Slot;
use self::stats::HttpStats;
use crate::capture::event::KernelTime;
use crate::http::body::BodyBuilder;
use crate::http::detect::{DETECTION_BYTES, Detection, detect_joining};
use crate::http::exchange::{ConnInfo, Exchange, Leg, Outcome};

/// Which half of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's messages.
    Request,
    /// The server's.
    Response,
}

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
    /// No more HTTP follows: another protocol, or nothing that is answered.
    opaque: bool,
    /// What followed the last head in its call when the protocol changed.
    rest: Bytes,
    /// A request was seen, so a response without one is a loss and not just the past.
    saw_request: bool,
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
            opaque: false,
            rest: Bytes::new(),
            saw_request: false,
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

    /// The bytes that followed, in the same call, the head with which the connection changed its protocol.
    pub fn take_rest(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    /// What was met since the last call; resets.
    pub fn take_stats(&mut self) -> HttpStats {
        std::mem::take(&mut self.stats)
    }

    /// Takes the bytes of one call, or the next part of them.
    pub fn data(&mut self, side: Side, mut bytes: Bytes, at: KernelTime, out: &mut Vec<Exchange>) {
        if self.is_adrift(side) && begins_like_head(side, &bytes) {
            self.land(side, at, out);
        }
        if self.is_resyncing(side) {
            let Some(found) = self.resync(side, bytes, out) else {
                return;
            };
            bytes = found;
        }
        while !bytes.is_empty() && !self.opaque {
            match &self.half(side).state {
                State::Head => self.read_head(side, &mut bytes, at, out),
                State::Body(_) => self.read_body(side, &mut bytes, at, out),
                State::Resync => {
                    self.stats.skipped_bytes = self.stats.skipped_bytes.saturating_add(len(&bytes));
                    return;
                }
            }
        }
        if self.opaque {
            self.rest = bytes;
        }
    }

    /// Takes bytes that were left uncopied on purpose: of a body, since nothing else is left. Where they are of something
    /// else after all, they are as good as lost.
    pub fn left(&mut self, side: Side, mut left: u64, at: KernelTime, out: &mut Vec<Exchange>) {
        while left > 0 && !self.opaque {
            let State::Body(framing) = &mut self.half_mut(side).state else {
                self.hole(side, left, at, out);
                return;
            };
            let step = framing.leave(left);
            left -= step.taken.min(left);
            if let Some(body) = self.body(side) {
                body.push_left(step.taken, at);
            }
            if step.ended {
                self.half_mut(side).state = State::Head;
                self.finish_message(side, true, at, out);
            }
        }
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

    /// Takes bytes that are lost.
    pub fn hole(&mut self, side: Side, mut hole: u64, at: KernelTime, out: &mut Vec<Exchange>) {
        while hole > 0 && !self.opaque {
            match &mut self.half_mut(side).state {
                State::Head => {
                    self.lose_head(side, out);
                    return;
                }
                State::Body(framing) => {
                    let step = framing.skip(hole);
                    hole -= step.taken.min(hole);
                    self.apply_hole(side, &step, at, out);
                }
                State::Resync => {
                    self.half_mut(side).forget_head();
                    if side == Side::Response {
                        self.lose_responses();
                        self.emit_ready(out);
                    }
                    self.stats.skipped_bytes = self.stats.skipped_bytes.saturating_add(hole);
                    return;
                }
            }
        }
    }

    /// One side will send no more.
    pub fn end(&mut self, side: Side, at: KernelTime, out: &mut Vec<Exchange>) {
        if self.opaque {
            return;
        }
        if let State::Body(framing) = &self.half(side).state {
            let complete = framing.ends_with_the_connection();
            self.finish_message(side, complete, at, out);
        }
        self.half_mut(side).forget_head();
        self.half_mut(side).state = State::Resync;
        match side {
            Side::Request => {
                if let Some(slot) = self.slots.back_mut() {
                    slot.end_request();
                }
                self.emit_ready(out);
            }
            Side::Response => {
                self.emit_all(out);
                // What is read after that is thrown away unread (nginx's lingering close), so it is no request.
                self.opaque = true;
            }
        }
    }

    /// The connection is gone, or was given up: everything that is left comes out as it is.
    pub fn close(&mut self, at: KernelTime, out: &mut Vec<Exchange>) {
        self.end(Side::Response, at, out);
        self.emit_all(out);
    }

    fn read_head(&mut self, side: Side, bytes: &mut Bytes, at: KernelTime, out: &mut Vec<Exchange>) {
        let limit = self.limits.head_bytes;
        let half = self.half_mut(side);
        if half.head.is_empty() {
            // Empty lines before a head are no part of it.
            let blank = bytes
                .iter()
                .take_while(|byte| matches!(byte, b'\r' | b'\n'))
                .count();
            bytes.advance(blank);
            if bytes.is_empty() {
                return;
            }
            half.started = at;
            // A head within one call, which is the usual one, is parsed where it lies.
            if let HeadEnd::At(end) = head::find_end(bytes, &mut 0) {
                let text = bytes.split_to(end);
                self.finish_head(side, &text, at, out);
                return;
            }
        }
        let before = half.head.len();
        half.head.extend_from_slice(bytes);
        match head::find_end(&half.head, &mut half.searched) {
            HeadEnd::At(end) => {
                bytes.advance(end.saturating_sub(before));
                let mut text = std::mem::take(&mut half.head);
                half.searched = 0;
                text.truncate(end);
                self.finish_head(side, &text, at, out);
            }
            HeadEnd::NotYet => {
                bytes.clear();
                if half.head.len() > limit {
                    self.stats.bad_heads += 1;
                    self.lose_head(side, out);
                }
            }
        }
    }

    fn finish_head(&mut self, side: Side, text: &[u8], at: KernelTime, out: &mut Vec<Exchange>) {
        if text.len() > self.limits.head_bytes {
            self.stats.bad_heads += 1;
            self.lose_head(side, out);
            return;
        }
        match side {
            Side::Request => match head::parse_request(text, self.limits.fields) {
                Some(request) => {
                    let framing = framing::of_request(&request);
                    if self.is_adrift(Side::Response) {
                        // It reads on, so it has sent all of its answer.
                        self.land(Side::Response, at, out);
                    }
                    self.begin_request();
                    let mut body = BodyBuilder::new(self.body_limit());
                    body.declare(framing.declared());
                    // How many requests are missing is not known, so the answers after them cannot be told apart.
                    let follows_a_loss = self.slots.iter().any(Slot::is_lost_and_unanswered);
                    let mut slot = Slot::new(request, body, self.requests.started, at);
                    if follows_a_loss {
                        self.in_doubt |= slot.lose_response();
                    }
                    self.slots.push_back(slot);
                    self.saw_request = true;
                    self.shed_pipelined(out);
                    self.begin_body(side, framing, at, out);
                }
                None => {
                    self.stats.bad_heads += 1;
                    self.lose_head(side, out);
                }
            },
            Side::Response => match head::parse_response(text, self.limits.fields) {
                Some(response) => self.begin_response(response, at, out),
                None => {
                    self.stats.bad_heads += 1;
                    self.lose_head(side, out);
                }
            },
        }
    }

    /// Another request: responses from here on have one to belong to. That earlier ones were answered cannot be concluded: a
    /// gateway may read several requests, in one call or in more, before it answers the first. (An answer that was lost
    /// shows as a hole in its own direction.)
    fn begin_request(&mut self) {
        for slot in &mut self.slots {
            slot.end_lost();
        }
        self.in_doubt = false;
        self.unasked = 0;
    }

    /// Responses are lost; which ones cannot be known, so none that is still awaited will be taken for another.
    fn lose_responses(&mut self) {
        for slot in &mut self.slots {
            self.in_doubt |= slot.lose_response();
        }
    }

    fn begin_response(&mut self, response: ResponseHead, at: KernelTime, out: &mut Vec<Exchange>) {
        // RFC 9110 section 15.2: interim responses, of which only 101 is final for HTTP.
        if (100..200).contains(&response.status) && response.status != 101 {
            self.responses.state = State::Head;
            return;
        }
        let mut body = BodyBuilder::new(self.body_limit());
        let started = self.responses.started;
        let Some(slot) = self.slots.front_mut().filter(|slot| slot.takes_a_response()) else {
            let framing = framing::of_response(&response, None);
            body.declare(framing.declared());
            self.stats.unpaired_responses += 1;
            if self.slots.is_empty() && self.saw_request && !self.in_doubt {
                // A request was lost: say so, with the answer that it got.
                self.unasked += 1;
                let mut slot = Slot::lost_request();
                slot.begin_response(response, body, started, at);
                self.slots.push_back(slot);
            } else {
                self.discarding = true;
            }
            self.begin_body(Side::Response, framing, at, out);
            return;
        };
        let framing = framing::of_response(&response, slot.method());
        let upgrades = framing.is_tunnel();
        body.declare(framing.declared());
        slot.begin_response(response, body, started, at);
        if upgrades {
            slot.upgrade();
            self.stats.upgrades += 1;
            self.opaque = true;
            self.requests.forget_head();
            self.emit_all(out);
            return;
        }
        self.begin_body(Side::Response, framing, at, out);
    }

    fn begin_body(&mut self, side: Side, framing: Framing, at: KernelTime, out: &mut Vec<Exchange>) {
        if framing.is_empty() {
            self.half_mut(side).state = State::Head;
            self.finish_message(side, true, at, out);
        } else {
            self.half_mut(side).state = State::Body(framing);
        }
    }

    fn read_body(&mut self, side: Side, bytes: &mut Bytes, at: KernelTime, out: &mut Vec<Exchange>) {
        // The message is looked up once for the call, not for each chunk of the body.
        let (half, body) = match side {
            Side::Request => (
                &mut self.requests,
                self.slots.back_mut().and_then(Slot::request_body),
            ),
            Side::Response if self.discarding => (&mut self.responses, None),
            Side::Response => (
                &mut self.responses,
                self.slots.front_mut().and_then(Slot::response_body),
            ),
        };
        let State::Body(framing) = &mut half.state else {
            return;
        };
        let mut body = body;
        let mut last = Step::default();
        while !bytes.is_empty() {
            let step = framing.read(bytes);
            if let Some(body) = body.as_deref_mut() {
                body.push(step.data_of(bytes), step.taken, at);
            }
            bytes.advance(usize::try_from(step.taken).unwrap_or(usize::MAX).min(bytes.len()));
            last = step;
            if last.ended || last.lost {
                break;
            }
        }
        if last.ended {
            half.state = State::Head;
            self.finish_message(side, true, at, out);
        } else if last.lost {
            self.lose_framing(side, at, out);
        }
    }

    fn apply_hole(&mut self, side: Side, step: &Step, at: KernelTime, out: &mut Vec<Exchange>) {
        if let Some(body) = self.body(side) {
            body.push_hole(step.taken, at);
        }
        if step.ended {
            self.half_mut(side).state = State::Head;
            self.finish_message(side, true, at, out);
        } else if step.lost {
            self.lose_framing(side, at, out);
            if side == Side::Response {
                self.lose_responses();
                self.emit_ready(out);
            }
        }
    }

    fn body(&mut self, side: Side) -> Option<&mut BodyBuilder> {
        match side {
            Side::Request => self.slots.back_mut()?.request_body(),
            Side::Response if self.discarding => None,
            Side::Response => self.slots.front_mut()?.response_body(),
        }
    }

    /// The current message of `side` ended. `complete`: as its framing said.
    fn finish_message(&mut self, side: Side, complete: bool, at: KernelTime, out: &mut Vec<Exchange>) {
        match side {
            Side::Request => {
                if let Some(slot) = self.slots.back_mut() {
                    slot.finish_request(complete, at);
                }
            }
            Side::Response if self.discarding => self.discarding = false,
            Side::Response => {
                if let Some(slot) = self.slots.front_mut() {
                    slot.finish_response(complete, at);
                }
            }
        }
        self.emit_ready(out);
    }

    /// The current body cannot be followed any further.
    fn lose_framing(&mut self, side: Side, at: KernelTime, out: &mut Vec<Exchange>) {
        self.stats.lost_framings += 1;
        self.half_mut(side).state = State::Resync;
        self.finish_message(side, false, at, out);
    }

    /// The head that should be here is lost, wholly or in part.
    fn lose_head(&mut self, side: Side, out: &mut Vec<Exchange>) {
        self.half_mut(side).forget_head();
        self.half_mut(side).state = State::Resync;
        match side {
            Side::Request => {
                // A hole shows when the bytes after it come; the answers to what it held may have come before.
                let answered_already = self.unasked > 0;
                self.begin_request();
                self.saw_request = true;
                if !answered_already {
                    self.slots.push_back(Slot::lost_request());
                    self.shed_pipelined(out);
                }
            }
            Side::Response => self.lose_responses(),
        }
        self.emit_ready(out);
    }

    const fn is_resyncing(&self, side: Side) -> bool {
        matches!(self.half(side).state, State::Resync) && !self.opaque
    }

    const fn is_adrift(&self, side: Side) -> bool {
        matches!(&self.half(side).state, State::Body(framing) if framing.is_adrift()) && !self.opaque
    }

    /// A body whose framing was left uncopied turns out to have ended.
    fn land(&mut self, side: Side, at: KernelTime, out: &mut Vec<Exchange>) {
        self.half_mut(side).state = State::Head;
        let newest = self.body(side).and_then(|body| body.last()).unwrap_or(at);
        self.finish_message(side, true, newest, out);
    }

    /// Looks whether a call begins like a head. `None`: it does not, or not yet.
    fn resync(&mut self, side: Side, bytes: Bytes, out: &mut Vec<Exchange>) -> Option<Bytes> {
        let half = self.half_mut(side);
        let bytes = if half.head.is_empty() {
            bytes
        } else {
            half.head.extend_from_slice(&bytes);
            std::mem::take(&mut half.head).freeze()
        };
        let is_head = match (side, detect_joining(&bytes)) {
            (Side::Request, Detection::Request) | (Side::Response, Detection::Response) => true,
            (_, Detection::Undecided) if bytes.len() < DETECTION_BYTES => {
                half.head.extend_from_slice(&bytes);
                return None;
            }
            _ => false,
        };
        if !is_head {
            self.stats.skipped_bytes = self.stats.skipped_bytes.saturating_add(len(&bytes));
            if side == Side::Response {
                // They may have been, or have held, any response that is awaited.
                self.lose_responses();
                self.emit_ready(out);
            }
            return None;
        }
        self.stats.resyncs += 1;
        self.half_mut(side).state = State::Head;
        if side == Side::Request {
            self.begin_request();
            self.emit_ready(out);
        }
        Some(bytes)
    }

    fn emit_ready(&mut self, out: &mut Vec<Exchange>) {
        while let Some(slot) = self.slots.pop_front_if(|slot| slot.is_ready()) {
            out.push(slot.into_exchange(self.conn, self.leg));
        }
    }

    fn emit_all(&mut self, out: &mut Vec<Exchange>) {
        self.discarding = false;
        out.extend(
            self.slots
                .drain(..)
                .map(|slot| slot.into_exchange(self.conn, self.leg)),
        );
    }

    fn shed_pipelined(&mut self, out: &mut Vec<Exchange>) {
        while self.slots.len() > self.limits.pipelined {
            if let Some(slot) = self.slots.pop_front() {
                let mut exchange = slot.into_exchange(self.conn, self.leg);
                exchange.outcome = Outcome::HeadLost;
                out.push(exchange);
            }
        }
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

fn begins_like_head(side: Side, bytes: &[u8]) -> bool {
    match side {
        Side::Request => detect_joining(bytes) == Detection::Request,
        Side::Response => detect_joining(bytes) == Detection::Response,
    }
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
