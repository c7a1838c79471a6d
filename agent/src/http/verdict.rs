//! What an exchange's record is worth, in one word: everything, or what is missing.
//!
//! In: an [`Exchange`] of one leg. Out: its [`Verdict`]. It speaks of what moved, not of what was kept: a body that is
//! longer than `limits.body_bytes` is whole here.

use crate::http::exchange::{Body, Exchange, Outcome, Peer};
use crate::http::h1::Side;

/// What is known of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Both messages moved as their framing said, and every byte of them is accounted for.
    Whole,
    /// A body ended before its framing said so.
    BodyCut {
        /// Whose.
        side: Side,
        /// How much of it moved, bytes.
        at: u64,
        /// How long it was to be; not known of a chunked body and of one until the connection's end.
        of: Option<u64>,
    },
    /// Bytes of a body moved unseen.
    Hole {
        /// Whose.
        side: Side,
        /// Position of the first missing byte in the body.
        at: u64,
    },
    /// The request's head or the response's was lost, so what belongs to what cannot be known.
    HeadLost,
    /// No response came, and who gave up is not known.
    ResponseAbsent,
    /// The leg's client left before the response had ended: nginx's status 499, on the client's leg.
    ClientGone,
}

impl Verdict {
    /// Its name in messages: stable, snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::BodyCut { .. } => "body_cut",
            Self::Hole { .. } => "hole",
            Self::HeadLost => "head_lost",
            Self::ResponseAbsent => "response_absent",
            Self::ClientGone => "client_gone",
        }
    }
}

impl Exchange {
    /// What is known of it. A loss of ours ([`Verdict::Hole`]) is said before a cut of theirs, and the request's side before
    /// the response's.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let Some(request) = self
            .request
            .as_ref()
            .filter(|_| self.outcome != Outcome::HeadLost)
        else {
            return Verdict::HeadLost;
        };
        let is_answered = match self.outcome {
            Outcome::Complete | Outcome::Upgraded => true,
            Outcome::ResponseAbsent | Outcome::ResponseCut | Outcome::HeadLost => false,
        };
        let client_broke_off = self.reset.is_some_and(|reset| reset.by == Peer::Client);
        if !is_answered && (client_broke_off || self.left_by == Some(Peer::Client)) {
            return Verdict::ClientGone;
        }
        let Some(response) = &self.response else {
            return Verdict::ResponseAbsent;
        };
        let bodies = [(Side::Request, &request.body), (Side::Response, &response.body)];
        for (side, body) in bodies {
            if let Some(at) = body.hole_at() {
                return Verdict::Hole { side, at };
            }
        }
        for (side, body) in bodies {
            // What follows an upgrade is no body, so it has no end.
            if !body.complete && self.outcome != Outcome::Upgraded {
                return Verdict::BodyCut {
                    side,
                    at: body.total_bytes,
                    of: body.declared_bytes,
                };
            }
        }
        Verdict::Whole
    }
}

impl Body {
    /// Position of its first missing byte, if any is missing.
    const fn hole_at(&self) -> Option<u64> {
        match self.first_hole_at {
            Some(at) => Some(at),
            None if self.hole_bytes > 0 || self.has_open_hole => Some(self.total_bytes),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use bytes::Bytes;
    use kongtap_common::record::ConnId;

    use super::Verdict;
    use crate::capture::event::KernelTime;
    use crate::http::anomaly::Anomalies;
    use crate::http::exchange::{
        Body, ConnInfo, Exchange, HeadState, Leg, Outcome, Peer, Request, Reset, Response, Version,
    };
    use crate::http::h1::Side;
    use crate::http::headers::Headers;

    fn body() -> Body {
        Body {
            bytes: Bytes::from_static(b"abc"),
            total_bytes: 3,
            wire_bytes: 3,
            declared_bytes: Some(3),
            complete: true,
            ..Body::default()
        }
    }

    fn whole() -> Exchange {
        let address = SocketAddr::from(([127, 0, 0, 1], 8000));
        Exchange {
            conn: ConnInfo {
                id: ConnId {
                    tgid: 1,
                    fd: 2,
                    generation_ns: 3,
                },
                local: address,
                remote: address,
                tls: false,
            },
            leg: Leg::Downstream,
            request: Some(Request {
                head: HeadState::Whole,
                method: Bytes::from_static(b"POST"),
                target: Bytes::from_static(b"/"),
                version: Version::Http11,
                headers: Headers::default(),
                body: body(),
                trailers: Headers::default(),
                started: KernelTime(1),
                ended: KernelTime(2),
            }),
            response: Some(Response {
                head: HeadState::Whole,
                status: 200,
                reason: Bytes::new(),
                version: Version::Http11,
                headers: Headers::default(),
                body: body(),
                trailers: Headers::default(),
                started: KernelTime(3),
                ended: KernelTime(4),
            }),
            outcome: Outcome::Complete,
            stream: None,
            reset: None,
            left_by: None,
            anomalies: Anomalies::NONE,
        }
    }

    fn request_body(exchange: &mut Exchange) -> &mut Body {
        &mut exchange.request.as_mut().unwrap().body
    }

    fn cut(exchange: &mut Exchange) -> &mut Body {
        exchange.outcome = Outcome::ResponseCut;
        let body = &mut exchange.response.as_mut().unwrap().body;
        body.complete = false;
        body
    }

    fn absent(exchange: &mut Exchange) {
        exchange.outcome = Outcome::ResponseAbsent;
        exchange.response = None;
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Exchange), expected: Verdict) {
        let mut exchange = whole();
        change(&mut exchange);
        assert_eq!(exchange.verdict(), expected);
    }

    #[test]
    fn every_verdict() {
        let (request, response) = (Side::Request, Side::Response);
        check(|_| {}, Verdict::Whole);
        // What is not kept is accounted for all the same.
        check(
            |exchange| request_body(exchange).total_bytes = 1 << 30,
            Verdict::Whole,
        );
        check(
            |exchange| cut(exchange).declared_bytes = Some(9),
            Verdict::BodyCut {
                side: response,
                at: 3,
                of: Some(9),
            },
        );
        check(
            |exchange| cut(exchange).declared_bytes = None,
            Verdict::BodyCut {
                side: response,
                at: 3,
                of: None,
            },
        );
        // An answer that came before the request had ended.
        check(
            |exchange| request_body(exchange).complete = false,
            Verdict::BodyCut {
                side: request,
                at: 3,
                of: Some(3),
            },
        );
        check(
            |exchange| {
                let body = cut(exchange);
                (body.first_hole_at, body.has_open_hole) = (Some(1), true);
            },
            Verdict::Hole {
                side: response,
                at: 1,
            },
        );
        check(
            |exchange| {
                cut(exchange);
                request_body(exchange).first_hole_at = Some(0);
            },
            Verdict::Hole { side: request, at: 0 },
        );
        check(|exchange| exchange.request = None, Verdict::HeadLost);
        check(|exchange| exchange.outcome = Outcome::HeadLost, Verdict::HeadLost);
        check(absent, Verdict::ResponseAbsent);
        check(
            |exchange| {
                cut(exchange);
                exchange.outcome = Outcome::Upgraded;
            },
            Verdict::Whole,
        );
    }

    #[test]
    fn a_client_that_leaves_before_the_end_of_the_response_is_gone() {
        let left = |exchange: &mut Exchange| exchange.left_by = Some(Peer::Client);
        check(
            |exchange| {
                absent(exchange);
                left(exchange);
            },
            Verdict::ClientGone,
        );
        check(
            |exchange| {
                cut(exchange).first_hole_at = Some(1);
                left(exchange);
            },
            Verdict::ClientGone,
        );
        let broke_off = |by| Some(Reset { by, code: 8 });
        check(
            |exchange| {
                absent(exchange);
                exchange.reset = broke_off(Peer::Client);
            },
            Verdict::ClientGone,
        );
        check(
            |exchange| {
                absent(exchange);
                exchange.reset = broke_off(Peer::Server);
            },
            Verdict::ResponseAbsent,
        );
        check(
            |exchange| {
                absent(exchange);
                exchange.left_by = Some(Peer::Server);
            },
            Verdict::ResponseAbsent,
        );
        // It had all of it.
        check(left, Verdict::Whole);
    }
}
