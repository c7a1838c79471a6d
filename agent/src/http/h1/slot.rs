//! A request that waits for its response, and the exchange that the two become.

use super::head::{RequestHead, ResponseHead};
use crate::capture::event::KernelTime;
use crate::http::anomaly::Anomalies;
use crate::http::body::BodyBuilder;
use crate::http::exchange::{ConnInfo, Exchange, HeadState, Leg, Outcome, Request, Response};
use crate::http::headers::Headers;

/// A message that is being read, or was.
#[derive(Debug)]
struct Message<H> {
    head: H,
    body: BodyBuilder,
    started: KernelTime,
    ended: KernelTime,
    complete: bool,
}

impl<H> Message<H> {
    const fn new(head: H, body: BodyBuilder, started: KernelTime, at: KernelTime) -> Self {
        Self {
            head,
            body,
            started,
            ended: at,
            complete: false,
        }
    }

    fn ended(&self) -> KernelTime {
        self.body.last().map_or(self.ended, |last| last.max(self.ended))
    }
}

/// How far one side of an exchange has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Its head has not come.
    Awaited,
    /// Its body is being read.
    Reading,
    /// It ended.
    Ended,
    /// Its head is lost, so nothing of it can be told apart.
    Lost,
}

/// One request and what has come of its response.
#[derive(Debug)]
pub(super) struct Slot {
    request: Option<Message<RequestHead>>,
    request_progress: Progress,
    response: Option<Message<ResponseHead>>,
    response_progress: Progress,
    upgraded: bool,
}

impl Slot {
    pub(super) fn new(head: RequestHead, body: BodyBuilder, started: KernelTime, at: KernelTime) -> Self {
        Self {
            request: Some(Message::new(head, body, started, at)),
            request_progress: Progress::Reading,
            response: None,
            response_progress: Progress::Awaited,
            upgraded: false,
        }
    }

    /// Stands for a request whose head is lost.
    pub(super) const fn lost_request() -> Self {
        Self {
            request: None,
            request_progress: Progress::Lost,
            response: None,
            response_progress: Progress::Awaited,
            upgraded: false,
        }
    }

    pub(super) fn method(&self) -> Option<&[u8]> {
        self.request.as_ref().map(|request| request.head.method.as_ref())
    }

    pub(super) fn request_body(&mut self) -> Option<&mut BodyBuilder> {
        if self.request_progress != Progress::Reading {
            return None;
        }
        self.request.as_mut().map(|request| &mut request.body)
    }

    pub(super) fn response_body(&mut self) -> Option<&mut BodyBuilder> {
        if self.response_progress != Progress::Reading {
            return None;
        }
        self.response.as_mut().map(|response| &mut response.body)
    }

    pub(super) fn takes_a_response(&self) -> bool {
        self.response_progress == Progress::Awaited
    }

    pub(super) fn begin_response(
        &mut self,
        head: ResponseHead,
        body: BodyBuilder,
        started: KernelTime,
        at: KernelTime,
    ) {
        self.response = Some(Message::new(head, body, started, at));
        self.response_progress = Progress::Reading;
    }

    pub(super) fn finish_request(&mut self, complete: bool, at: KernelTime) {
        if self.request_progress == Progress::Reading {
            self.request_progress = Progress::Ended;
            finish(self.request.as_mut(), complete, at);
        }
    }

    pub(super) fn finish_response(&mut self, complete: bool, at: KernelTime) {
        if self.response_progress == Progress::Reading {
            self.response_progress = Progress::Ended;
            finish(self.response.as_mut(), complete, at);
        }
    }

    /// The client sends no more, whatever its framing promised.
    pub(super) fn end_request(&mut self) {
        if self.request_progress == Progress::Reading {
            self.request_progress = Progress::Ended;
        }
    }

    /// The response's head is lost, if it has not come. Says whether it is.
    pub(super) fn lose_response(&mut self) -> bool {
        if self.response_progress == Progress::Awaited {
            self.response_progress = Progress::Lost;
        }
        self.response_progress == Progress::Lost
    }

    /// Another request begins: if this one's answer is lost, there is nothing more to wait for.
    pub(super) fn end_lost(&mut self) {
        if self.response_progress == Progress::Lost && self.request_progress == Progress::Reading {
            self.request_progress = Progress::Ended;
        }
    }

    /// Whether it stands for requests that were lost, of which no answer came yet.
    pub(super) fn is_lost_and_unanswered(&self) -> bool {
        self.request_progress == Progress::Lost && self.response_progress == Progress::Awaited
    }

    pub(super) const fn upgrade(&mut self) {
        self.upgraded = true;
    }

    /// Whether nothing more can come of it.
    pub(super) const fn is_ready(&self) -> bool {
        let request_over = matches!(self.request_progress, Progress::Ended | Progress::Lost);
        let response_over = matches!(self.response_progress, Progress::Ended | Progress::Lost);
        request_over && response_over
    }

    pub(super) fn into_exchange(self, conn: ConnInfo, leg: Leg) -> Exchange {
        let outcome = self.outcome();
        Exchange {
            conn,
            leg,
            request: self.request.map(|message| Request {
                ended: message.ended(),
                started: message.started,
                method: message.head.method,
                target: message.head.target,
                version: message.head.version,
                headers: message.head.headers,
                body: message.body.finish(message.complete),
                head: HeadState::Whole,
                trailers: Headers::default(),
            }),
            response: self.response.map(|message| Response {
                ended: message.ended(),
                started: message.started,
                status: message.head.status,
                reason: message.head.reason,
                version: message.head.version,
                headers: message.head.headers,
                body: message.body.finish(message.complete),
                head: HeadState::Whole,
                trailers: Headers::default(),
            }),
            outcome,
            stream: None,
            reset: None,
            left_by: None,
            anomalies: Anomalies::NONE,
        }
    }

    fn outcome(&self) -> Outcome {
        if self.upgraded {
            return Outcome::Upgraded;
        }
        if self.request_progress == Progress::Lost || self.response_progress == Progress::Lost {
            return Outcome::HeadLost;
        }
        match &self.response {
            None => Outcome::ResponseAbsent,
            Some(response) if response.complete => Outcome::Complete,
            Some(_) => Outcome::ResponseCut,
        }
    }
}

fn finish<H>(message: Option<&mut Message<H>>, complete: bool, at: KernelTime) {
    if let Some(message) = message {
        message.complete = complete;
        message.ended = message.ended.max(at);
    }
}
