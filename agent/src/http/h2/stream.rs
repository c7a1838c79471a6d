//! One stream: a request, its response, and the exchange that the two become.
//!
//! In: heads, pieces of bodies, ends. Out: an [`Exchange`]. Deliberately absent: which frames these came in.

mod half;

use bytes::Bytes;

use self::half::{Half, Progress, held_bytes};
use super::head::Head;
use super::item::Unseen;
use crate::capture::event::KernelTime;
use crate::http::anomaly::Anomalies;
use crate::http::exchange::{
    ConnInfo, Exchange, HeadState, Leg, Outcome, Peer, Request, Reset, Response, Version,
};
use crate::http::h1::Side;
use crate::http::open::{OpenHead, OpenRequest};

/// A stream that a client opened.
#[derive(Debug)]
pub(super) struct Stream {
    request: Half,
    response: Half,
    /// A request that came in HTTP/1.
    adopted: Option<Request>,
    reset: Option<Reset>,
    /// Who ended the connection before the response had ended.
    left_by: Option<Peer>,
    /// A tunnel (CONNECT) that the server agreed to.
    is_tunnel: bool,
    /// When it last moved.
    last: KernelTime,
}

impl Stream {
    pub(super) fn new(body_bytes: usize, at: KernelTime) -> Self {
        Self {
            request: Half::new(body_bytes),
            response: Half::new(body_bytes),
            adopted: None,
            reset: None,
            left_by: None,
            is_tunnel: false,
            last: at,
        }
    }

    /// A stream whose request was lost.
    pub(super) fn without_request(body_bytes: usize, at: KernelTime) -> Self {
        let mut stream = Self::new(body_bytes, at);
        stream.request.progress = Progress::Lost;
        stream
    }

    /// A stream whose request came whole in HTTP/1.
    pub(super) fn adopted(request: Request, body_bytes: usize) -> Self {
        let mut stream = Self::new(body_bytes, request.ended);
        stream.request.progress = Progress::Complete;
        stream.adopted = Some(request);
        stream
    }

    /// A request's head, or what is left of it.
    pub(super) fn begin_request(&mut self, head: Head, started: KernelTime, at: KernelTime) {
        self.last = at;
        self.request.progress = Progress::Reading;
        self.request.body.declare(head.content_length);
        self.request.head = Some(head);
        self.request.started = started;
        self.request.ended = at;
    }

    /// A header block after the stream's first: the response's head, an interim one, or trailers.
    pub(super) fn block(&mut self, side: Side, head: Head, started: KernelTime, at: KernelTime) {
        self.last = at;
        match (side, self.half(side).progress) {
            (Side::Request, Progress::Lost) if head.asks => self.begin_request(head, started, at),
            (Side::Response, Progress::Awaited) => self.begin_response(head, started, at),
            (_, Progress::Reading) => {
                let half = self.half_mut(side);
                half.are_trailers_whole = head.is_whole;
                half.trailers = head.headers;
            }
            (_, Progress::Awaited | Progress::Complete | Progress::Ended | Progress::Lost) => {}
        }
    }

    fn method(&self) -> Option<&[u8]> {
        let head = self.request.head.as_ref();
        match &self.adopted {
            Some(request) => Some(&request.method),
            None => head.and_then(|head| head.method.as_deref()),
        }
    }

    fn begin_response(&mut self, head: Head, started: KernelTime, at: KernelTime) {
        match head.status {
            // RFC 9113 section 8.1: interim responses have no bodies and end nothing.
            Some(100..200) => return,
            Some(status) => {
                self.is_tunnel = self.method() == Some(b"CONNECT") && (200..300).contains(&status);
                self.response.progress = Progress::Reading;
                // RFC 9113 section 8.1.1: what has no content may say how long it would be.
                let is_bodiless = matches!(status, 204 | 304) || self.method() == Some(b"HEAD");
                if !is_bodiless {
                    self.response.body.declare(head.content_length);
                }
            }
            // Trailers, or a status that is not known: either way this is no answer that can be told.
            None => self.response.progress = Progress::Lost,
        }
        self.response.head = Some(head);
        self.response.started = started;
        self.response.ended = at;
    }

    /// Bytes of a body, of which at most `room` are kept.
    pub(super) fn data(&mut self, side: Side, bytes: &[u8], room: usize, at: KernelTime) {
        self.last = at;
        let half = self.half_mut(side);
        if half.lacks_its_head() || half.progress != Progress::Reading {
            return;
        }
        let (kept, over) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        half.body.push(kept, len(kept), at);
        half.body.push_left(len(over), at);
    }

    pub(super) fn unseen(&mut self, side: Side, bytes: u64, why: Unseen, at: KernelTime) {
        self.last = at;
        let half = self.half_mut(side);
        if half.lacks_its_head() || half.progress != Progress::Reading {
            return;
        }
        match why {
            Unseen::Lost => half.body.push_hole(bytes, at),
            Unseen::Left => half.body.push_left(bytes, at),
        }
    }

    pub(super) const fn open_hole(&mut self, side: Side) {
        let half = self.half_mut(side);
        if matches!(half.progress, Progress::Reading) {
            half.body.push_open_hole();
        }
    }

    /// The direction's place is lost: anything of `side` may have moved.
    pub(super) const fn doubt(&mut self, side: Side) {
        if !self.half(side).is_over() {
            self.open_hole(side);
            self.half_mut(side).in_doubt = true;
        }
    }

    /// Its side ended as it should (END_STREAM).
    pub(super) fn end(&mut self, side: Side, at: KernelTime) {
        self.last = at;
        let half = self.half_mut(side);
        match half.progress {
            Progress::Reading => half.progress = Progress::Complete,
            Progress::Awaited if half.in_doubt => half.progress = Progress::Lost,
            Progress::Awaited => half.progress = Progress::Ended,
            Progress::Complete | Progress::Ended | Progress::Lost => {}
        }
        half.ended = half.ended.max(at);
        if side == Side::Response && self.request.in_doubt {
            self.cut(Side::Request);
        }
    }

    /// It was broken off; `None`: it is not known why.
    pub(super) fn reset(&mut self, reset: Option<Reset>, at: KernelTime) {
        self.last = at;
        self.reset = reset;
        self.cut(Side::Request);
        self.cut(Side::Response);
    }

    /// One end of the connection will send no more.
    pub(super) fn leave(&mut self, by: Peer) {
        if !self.response.is_over() {
            self.left_by.get_or_insert(by);
        }
    }

    /// Nothing more will come of this side.
    pub(super) fn cut(&mut self, side: Side) {
        let half = self.half_mut(side);
        if !half.is_over() {
            half.progress = if half.progress == Progress::Awaited && half.in_doubt {
                Progress::Lost
            } else {
                Progress::Ended
            };
        }
    }

    /// Whether nothing more can come of it.
    pub(super) const fn is_over(&self) -> bool {
        self.is_tunnel || (self.request.is_over() && self.response.is_over())
    }

    /// Bytes of memory that what it keeps takes.
    pub(super) fn held_bytes(&self) -> usize {
        let adopted = self.adopted.as_ref().map_or(0, |request| {
            request
                .body
                .bytes
                .len()
                .saturating_add(held_bytes(&request.headers))
        });
        adopted
            .saturating_add(self.request.held_bytes())
            .saturating_add(self.response.held_bytes())
    }

    /// Bytes that are kept of its bodies.
    pub(super) fn body_bytes(&self) -> usize {
        self.adopted
            .as_ref()
            .map_or(0, |request| request.body.bytes.len())
            .saturating_add(self.request.body.kept_bytes())
            .saturating_add(self.response.body.kept_bytes())
    }

    /// Gives back what is kept of its bodies.
    pub(super) fn release_bodies(&mut self) {
        if let Some(request) = &mut self.adopted {
            request.body.bytes = Bytes::new();
        }
        self.request.body.release();
        self.response.body.release();
    }

    /// What is known of it while it is under way.
    pub(super) fn as_open(&self, conn: ConnInfo) -> OpenRequest {
        let answered = self.response.head.as_ref().map(|_| self.response.started);
        if let Some(request) = &self.adopted {
            return OpenRequest {
                conn,
                started: request.started,
                answered,
                head: Some(OpenHead {
                    target: request.target.clone(),
                    headers: request.headers.clone(),
                    is_whole: request.head == HeadState::Whole,
                }),
            };
        }
        let head = self.request.head.as_ref();
        OpenRequest {
            conn,
            started: head.map_or(KernelTime(0), |_| self.request.started),
            answered,
            head: head.map(|head| OpenHead {
                target: head.path.clone().unwrap_or_default(),
                headers: head.headers.clone(),
                is_whole: head.is_whole && head.unknown == 0,
            }),
        }
    }

    /// When it last moved, if it may have ended unseen.
    pub(super) fn doubtful_since(&self) -> Option<KernelTime> {
        (self.request.in_doubt || self.response.in_doubt).then_some(self.last)
    }

    /// The exchange, as far as it came.
    pub(super) fn into_exchange(mut self, id: u32, conn: ConnInfo, leg: Leg) -> Exchange {
        self.cut(Side::Request);
        self.cut(Side::Response);
        let outcome = self.outcome();
        let (request, response) = (self.request, self.response);
        let mut anomalies = Anomalies::NONE;
        for half in [&request, &response] {
            anomalies.extend(half.anomalies());
        }
        let (request_ended, response_ended) = (request.ended(), response.ended());
        Exchange {
            conn,
            leg,
            request: self.adopted.or_else(|| {
                request.head.map(|head| {
                    // A tunnel has no path (RFC 9113 section 8.5).
                    let target = if head.path.is_none() && head.method.as_deref() == Some(b"CONNECT") {
                        head.authority.clone()
                    } else {
                        head.path.clone()
                    };
                    Request {
                        head: if request.are_trailers_whole {
                            head.state()
                        } else {
                            HeadState::Partial
                        },
                        method: head.method.unwrap_or_default(),
                        target: target.unwrap_or_default(),
                        version: Version::Http2,
                        headers: head.headers,
                        body: request.body.finish(request.progress == Progress::Complete),
                        trailers: request.trailers,
                        started: request.started,
                        ended: request_ended,
                    }
                })
            }),
            response: response.head.and_then(|head| {
                Some(Response {
                    head: if response.are_trailers_whole {
                        head.state()
                    } else {
                        HeadState::Partial
                    },
                    status: head.status?,
                    reason: Bytes::new(),
                    version: Version::Http2,
                    headers: head.headers,
                    body: response.body.finish(response.progress == Progress::Complete),
                    trailers: response.trailers,
                    started: response.started,
                    ended: response_ended,
                })
            }),
            outcome,
            stream: Some(id),
            reset: self.reset,
            left_by: self.left_by,
            anomalies,
        }
    }

    fn outcome(&self) -> Outcome {
        if self.is_tunnel {
            return Outcome::Upgraded;
        }
        if self.request.progress == Progress::Lost {
            return Outcome::HeadLost;
        }
        match self.response.progress {
            Progress::Lost => Outcome::HeadLost,
            Progress::Complete => Outcome::Complete,
            Progress::Ended if self.response.head.is_some() => Outcome::ResponseCut,
            Progress::Awaited | Progress::Reading | Progress::Ended => Outcome::ResponseAbsent,
        }
    }

    const fn half(&self, side: Side) -> &Half {
        match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
        }
    }

    const fn half_mut(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
