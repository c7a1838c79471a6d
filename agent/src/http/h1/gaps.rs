//! What is missing, and how the reader goes on.
//!
//! Bytes that were left uncopied on purpose are a body's, whose size stays exact. A hole in a body whose length is known costs
//! that body's completeness and nothing else. Any other hole costs the message that it falls into: the reader of that
//! direction then waits for a call that begins like a head. Where that does not settle which response belongs to which
//! request, the exchange says [`Outcome::HeadLost`] rather than guess.
//!
//! [`Outcome::HeadLost`]: crate::http::exchange::Outcome::HeadLost

use bytes::Bytes;

use super::framing::Step;
use super::half::State;
use super::slot::Slot;
use super::{Http1, Side, len};
use crate::capture::event::KernelTime;
use crate::http::detect::{DETECTION_BYTES, Detection, detect_joining};
use crate::http::exchange::Exchange;

impl Http1 {
    /// Takes bytes that were left uncopied on purpose: of a body, since nothing else is left. Where they are of something
    /// else after all, they are as good as lost.
    pub fn left(&mut self, side: Side, mut left: u64, at: KernelTime, out: &mut Vec<Exchange>) {
        self.doubt_body(side, at, out);
        while left > 0 && !self.opaque {
            let State::Body(framing) = &mut self.half_mut(side).state else {
                self.hole(side, left, at, out);
                return;
            };
            let step = framing.leave(left);
            left -= step.taken.min(left);
            // A part of a trailer section is none.
            self.half_mut(side).forget_head();
            if let Some(body) = self.body(side) {
                body.push_left(step.taken, at);
            }
            if step.ended {
                self.half_mut(side).state = State::Head;
                self.finish_message(side, true, at, out);
            }
        }
    }

    /// Takes bytes that are lost.
    pub fn hole(&mut self, side: Side, mut hole: u64, at: KernelTime, out: &mut Vec<Exchange>) {
        self.doubt_body(side, at, out);
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
                State::Resync | State::Ignored => {
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

    /// Looks where `bytes` belong, if the place was lost. `None`: nowhere, or it is not known yet.
    pub(super) fn find_place(
        &mut self,
        side: Side,
        bytes: Bytes,
        at: KernelTime,
        out: &mut Vec<Exchange>,
    ) -> Option<Bytes> {
        self.doubt_body(side, at, out);
        if self.is_adrift(side) && begins_like_head(side, &bytes) {
            self.land(side, at, out);
        }
        if self.is_resyncing(side) {
            return self.resync(side, bytes, out);
        }
        Some(bytes)
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
        }
    }

    /// The current body cannot be followed any further.
    pub(super) fn lose_framing(&mut self, side: Side, at: KernelTime, out: &mut Vec<Exchange>) {
        self.end_without_framing(side, at, out);
        if side == Side::Response {
            self.lose_responses();
            self.emit_ready(out);
        }
    }

    /// Another call follows a response of which it is not known whether it has a body: its framing cannot be trusted.
    fn doubt_body(&mut self, side: Side, at: KernelTime, out: &mut Vec<Exchange>) {
        if side == Side::Response
            && std::mem::take(&mut self.unsure)
            && matches!(self.responses.state, State::Body(_))
        {
            self.end_without_framing(side, at, out);
        }
    }

    /// The current body ends here, as far as anybody can tell.
    fn end_without_framing(&mut self, side: Side, at: KernelTime, out: &mut Vec<Exchange>) {
        self.stats.lost_framings += 1;
        self.half_mut(side).forget_head();
        self.half_mut(side).state = State::Resync;
        self.finish_message(side, false, at, out);
    }

    /// The head that should be here is lost, wholly or in part.
    pub(super) fn lose_head(&mut self, side: Side, out: &mut Vec<Exchange>) {
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

    /// Responses are lost; which ones cannot be known, so none that is still awaited will be taken for another.
    fn lose_responses(&mut self) {
        // Which of those that are owed are among them cannot be known either, and no later request could be told from theirs.
        self.opaque |= !std::mem::take(&mut self.owed).is_empty();
        for slot in &mut self.slots {
            self.in_doubt |= slot.lose_response();
        }
    }

    const fn is_resyncing(&self, side: Side) -> bool {
        matches!(self.half(side).state, State::Resync) && !self.opaque
    }

    pub(super) const fn is_adrift(&self, side: Side) -> bool {
        matches!(&self.half(side).state, State::Body(framing) if framing.is_adrift()) && !self.opaque
    }

    /// A body whose framing was left uncopied turns out to have ended.
    pub(super) fn land(&mut self, side: Side, at: KernelTime, out: &mut Vec<Exchange>) {
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
}

fn begins_like_head(side: Side, bytes: &[u8]) -> bool {
    match side {
        Side::Request => detect_joining(bytes) == Detection::Request,
        Side::Response => detect_joining(bytes) == Detection::Response,
    }
}
