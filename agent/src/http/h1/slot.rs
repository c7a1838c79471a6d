//! A request that waits for its response, and the exchange that the two become.

mod held;

use bytes::Bytes;

use super::head::{RequestHead, ResponseHead, fields};
use super::{Side, framing};
use crate::capture::event::KernelTime;
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::body::BodyBuilder;
use crate::http::exchange::{ConnInfo, Exchange, HeadState, Leg, Outcome, Peer, Request, Response};
use crate::http::headers::Headers;
use crate::http::open::{OpenHead, OpenRequest};

/// A message that is being read, or was.
#[derive(Debug)]
struct Message<H> {
    head: H,
    body: BodyBuilder,
    trailers: Headers,
    started: KernelTime,
    ended: KernelTime,
    complete: bool,
}

impl<H> Message<H> {
    const fn new(head: H, body: BodyBuilder, started: KernelTime, at: KernelTime) -> Self {
        Self {
            head,
            body,
            trailers: Headers(Vec::new()),
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
    anomalies: Anomalies,
}

impl Slot {
    pub(super) fn new(
        head: RequestHead,
        anomalies: Anomalies,
        body: BodyBuilder,
        started: KernelTime,
        at: KernelTime,
    ) -> Self {
        Self {
            request: Some(Message::new(head, body, started, at)),
            request_progress: Progress::Reading,
            response: None,
            response_progress: Progress::Awaited,
            upgraded: false,
            anomalies,
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
            anomalies: Anomalies::NONE,
        }
    }

    /// Something was odd.
    pub(super) const fn odd(&mut self, is_there: bool, anomaly: Anomaly) {
        self.anomalies.insert_if(is_there, anomaly);
    }

    /// Whether the gateway may have read no further than its request's head.
    pub(super) fn may_be_refused(&self) -> bool {
        framing::may_be_refused(self.anomalies)
    }

    pub(super) fn method(&self) -> Option<&[u8]> {
        self.request.as_ref().map(|request| request.head.method.as_ref())
    }

    /// The body of `side`, if it is being read.
    pub(super) fn body(&mut self, side: Side) -> Option<&mut BodyBuilder> {
        match side {
            Side::Request if self.request_progress == Progress::Reading => {
                self.request.as_mut().map(|request| &mut request.body)
            }
            Side::Response if self.response_progress == Progress::Reading => {
                self.response.as_mut().map(|response| &mut response.body)
            }
            Side::Request | Side::Response => None,
        }
    }

    /// The trailer section of `side` was `text`.
    pub(super) fn set_trailers(&mut self, side: Side, text: &Bytes, most: usize) {
        let (trailers, odd) = fields::parse(text, text, most);
        let place = match side {
            Side::Request => self.request.as_mut().map(|request| &mut request.trailers),
            Side::Response => self.response.as_mut().map(|response| &mut response.trailers),
        };
        if let Some(place) = place {
            *place = trailers;
            self.anomalies.extend(odd);
        }
    }

    pub(super) fn takes_a_response(&self) -> bool {
        self.response_progress == Progress::Awaited
    }

    pub(super) fn begin_response(
        &mut self,
        head: ResponseHead,
        anomalies: Anomalies,
        body: BodyBuilder,
        started: KernelTime,
        at: KernelTime,
    ) {
        self.anomalies.extend(anomalies);
        self.response = Some(Message::new(head, body, started, at));
        self.response_progress = Progress::Reading;
    }

    /// A message ended. `complete`: as its framing said.
    pub(super) fn finish(&mut self, side: Side, complete: bool, at: KernelTime) {
        match side {
            Side::Request if self.request_progress == Progress::Reading => {
                self.request_progress = Progress::Ended;
                finish(self.request.as_mut(), complete, at);
            }
            Side::Response if self.response_progress == Progress::Reading => {
                self.response_progress = Progress::Ended;
                finish(self.response.as_mut(), complete, at);
            }
            Side::Request | Side::Response => {}
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
            // HTTP/0.9's answer has no head to lose.
            self.response_progress = if self.anomalies.contains(Anomaly::Http09) {
                Progress::Ended
            } else {
                Progress::Lost
            };
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

    /// The response is the last of HTTP, and has no body.
    pub(super) fn upgrade(&mut self, at: KernelTime) {
        self.upgraded = true;
        self.finish(Side::Response, true, at);
    }

    /// Whether all of the request is known to have come.
    pub(super) fn has_whole_request(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.complete)
    }

    /// Whether nothing more can come of it.
    pub(super) const fn is_ready(&self) -> bool {
        let request_over = matches!(self.request_progress, Progress::Ended | Progress::Lost);
        let response_over = matches!(self.response_progress, Progress::Ended | Progress::Lost);
        request_over && response_over
    }

    /// The exchange, as far as it came. `left_by`: who ended the connection with it.
    pub(super) fn into_exchange(self, conn: ConnInfo, leg: Leg, left_by: Option<Peer>) -> Exchange {
        let outcome = self.outcome();
        let is_over = matches!(outcome, Outcome::Complete | Outcome::Upgraded);
        let head_state = match &self.request {
            Some(request)
                if request.head.method.is_empty()
                    || request.head.target.is_empty()
                    || self.anomalies.contains(Anomaly::UnfinishedHead) =>
            {
                HeadState::Partial
            }
            Some(_) | None => HeadState::Whole,
        };
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
                head: head_state,
                trailers: message.trailers,
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
                trailers: message.trailers,
            }),
            outcome,
            stream: None,
            reset: None,
            left_by: left_by.filter(|_| !is_over),
            anomalies: self.anomalies,
        }
    }

    /// What is known of it while it is under way.
    pub(super) fn as_open(&self, conn: ConnInfo) -> OpenRequest {
        let request = self.request.as_ref();
        OpenRequest {
            conn,
            started: request.map_or(KernelTime(0), |message| message.started),
            answered: self.response.as_ref().map(|message| message.started),
            head: request.map(|message| OpenHead {
                target: message.head.target.clone(),
                headers: message.head.headers.clone(),
                is_whole: true,
            }),
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
