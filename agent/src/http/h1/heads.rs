//! Messages begin: a head is put together, read, and says what follows it.
//!
//! A request that nginx refuses is recorded with what it had, and what follows it is nothing: the gateway reads no further.
//! Which versions refuse what differs, so where a request has a reading that older ones take, the answer decides.

use bytes::{Buf as _, Bytes};

use super::framing::{self, Framing};
use super::half::State;
use super::head::{self, HeadEnd, RequestHead, ResponseHead};
use super::slot::Slot;
use super::{Http1, Side, len};
use crate::capture::event::KernelTime;
use crate::http::anomaly::Anomaly;
use crate::http::body::BodyBuilder;
use crate::http::detect;
use crate::http::exchange::Exchange;

impl Http1 {
    pub(super) fn read_head(
        &mut self,
        side: Side,
        bytes: &mut Bytes,
        at: KernelTime,
        out: &mut Vec<Exchange>,
    ) {
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
            if side == Side::Response && !detect::may_be_status_line(bytes) {
                self.stats.skipped_bytes = self.stats.skipped_bytes.saturating_add(len(bytes));
                bytes.clear();
                self.pass_over_responses(out);
                return;
            }
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
                let is_none = side == Side::Response && !detect::may_be_status_line(&half.head);
                if is_none {
                    self.pass_over_responses(out);
                } else if half.head.len() > limit {
                    self.give_up_head(side, out);
                }
            }
        }
    }

    fn finish_head(&mut self, side: Side, text: &[u8], at: KernelTime, out: &mut Vec<Exchange>) {
        if text.len() > self.limits.head_bytes {
            self.give_up_head(side, out);
            return;
        }
        match side {
            Side::Request => {
                let request = head::parse_request(text, self.limits.fields);
                self.take_request(request, at, out);
            }
            Side::Response => match head::parse_response(text, self.limits.fields) {
                Some(response) => self.begin_response(response, at, out),
                None => self.give_up_head(side, out),
            },
        }
    }

    /// What is there is no head that can be read, although nothing is missing.
    fn give_up_head(&mut self, side: Side, out: &mut Vec<Exchange>) {
        self.stats.bad_heads += 1;
        self.lose_head(side, out);
        self.half_mut(side).state = State::Ignored;
    }

    /// What comes from the server is no response: HTTP/0.9's answer, or more than the last response was to have.
    fn pass_over_responses(&mut self, out: &mut Vec<Exchange>) {
        if head::is_http09(&self.requests.head) {
            self.take_unfinished_head(self.responses.started, out);
        }
        self.give_up_head(Side::Response, out);
    }

    fn take_request(&mut self, request: RequestHead, at: KernelTime, out: &mut Vec<Exchange>) {
        let (framing, anomalies) = framing::of_request(&request);
        self.stats.bad_heads += u64::from(framing.is_refused());
        if self.is_adrift(Side::Response) {
            // It reads on, so it has sent all of its answer.
            self.land(Side::Response, at, out);
        }
        self.begin_request();
        let mut body = BodyBuilder::new(self.body_limit());
        body.declare(framing.declared());
        // How many requests are missing is not known, so the answers after them cannot be told apart.
        let follows_a_loss = self.slots.iter().any(Slot::is_lost_and_unanswered);
        let mut slot = Slot::new(request, anomalies, body, self.requests.started, at);
        if follows_a_loss {
            self.in_doubt |= slot.lose_response();
        }
        self.slots.push_back(slot);
        self.saw_request = true;
        self.shed_pipelined(out);
        self.begin_body(Side::Request, framing, at, out);
    }

    /// A refusal comes, or HTTP/0.9's answer, although the request's head has not ended: it is taken as it is.
    fn take_unfinished_head(&mut self, at: KernelTime, out: &mut Vec<Exchange>) {
        if !self.slots.is_empty() || !matches!(self.requests.state, State::Head) {
            return;
        }
        let text = std::mem::take(&mut self.requests.head);
        self.requests.searched = 0;
        if text.is_empty() {
            return;
        }
        let mut request = head::parse_request(&text, self.limits.fields);
        if !request.anomalies.contains(Anomaly::Http09) {
            request.anomalies.insert(Anomaly::UnfinishedHead);
        }
        self.take_request(request, at, out);
        // The request has ended, whatever its fields promised.
        if !matches!(self.requests.state, State::Ignored) {
            self.requests.state = State::Ignored;
            if let Some(slot) = self.slots.back_mut() {
                slot.end_request();
            }
        }
    }

    /// Another request: responses from here on have one to belong to. That earlier ones were answered cannot be concluded: a
    /// gateway may read several requests, in one call or in more, before it answers the first. (An answer that was lost
    /// shows as a hole in its own direction.)
    pub(super) fn begin_request(&mut self) {
        for slot in &mut self.slots {
            slot.end_lost();
        }
        self.in_doubt = false;
        self.unasked = 0;
        if matches!(self.responses.state, State::Ignored) {
            self.responses.state = State::Resync;
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
        if is_refusal(&response) {
            self.take_unfinished_head(started, out);
        }
        if let Some(is_to_head) = self.owed.pop_front() {
            // Its request was given up, and came out without it.
            let (framing, _) = framing::of_response(&response, is_to_head.then_some(b"HEAD"));
            self.stats.unpaired_responses += 1;
            self.discarding = true;
            self.begin_body(Side::Response, framing, at, out);
            return;
        }
        let Some(slot) = self.slots.front_mut().filter(|slot| slot.takes_a_response()) else {
            let (framing, anomalies) = framing::of_response(&response, None);
            self.unsure = !framing.is_empty();
            body.declare(framing.declared());
            self.stats.unpaired_responses += 1;
            if self.slots.is_empty() && self.saw_request && !self.in_doubt {
                // A request was lost: say so, with the answer that it got.
                self.unasked += 1;
                let mut slot = Slot::lost_request();
                slot.begin_response(response, anomalies, body, started, at);
                self.slots.push_back(slot);
            } else {
                self.discarding = true;
            }
            self.begin_body(Side::Response, framing, at, out);
            return;
        };
        let (framing, anomalies) = framing::of_response(&response, slot.method());
        self.unsure = slot.method().is_none() && !framing.is_empty();
        let refuses = slot.may_be_refused() && is_refusal(&response);
        let upgrades = framing.is_tunnel();
        body.declare(framing.declared());
        slot.begin_response(response, anomalies, body, started, at);
        if upgrades {
            slot.upgrade(at);
            self.stats.upgrades += 1;
            self.opaque = true;
            self.requests.forget_head();
            self.emit_all(out);
            return;
        }
        if refuses {
            self.refuse();
        }
        self.begin_body(Side::Response, framing, at, out);
    }

    /// The request that is being answered was refused: whatever followed it was never read as anything.
    fn refuse(&mut self) {
        self.refused = true;
        self.slots.truncate(1);
        if let Some(slot) = self.slots.front_mut() {
            slot.end_request();
        }
        self.requests.forget_head();
        self.requests.state = State::Ignored;
    }

    fn begin_body(&mut self, side: Side, framing: Framing, at: KernelTime, out: &mut Vec<Exchange>) {
        if framing.is_refused() {
            self.half_mut(side).state = State::Ignored;
            self.finish_message(side, true, at, out);
        } else if framing.is_empty() {
            self.half_mut(side).state = State::Head;
            self.finish_message(side, true, at, out);
        } else {
            self.half_mut(side).state = State::Body(framing);
        }
    }
}

/// nginx closes after an error of its own making that leaves it without a next request; a service's error goes by without.
fn is_refusal(response: &ResponseHead) -> bool {
    let closes = response
        .headers
        .first("connection")
        .is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
    closes && response.status >= 400
}
