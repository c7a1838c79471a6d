//! HTTP/1 on one connection: which bytes are heads, bodies or framing, decided by the parser's own rules, so that a
//! masked stream reads as the one that it was made of.
//!
//! What the parser passes over (it has lost its place) is masked whole.

use std::collections::VecDeque;

use super::MASK;
use super::body::Body;
use super::lines::Lines;
use super::names::Names;
use crate::http::detect::{DETECTION_BYTES, Detection, detect_joining, is_part_of_a_known_start};
use crate::http::h1::Side;
use crate::http::h1::framing::{self, Framing, Part};
use crate::http::h1::head::{HeadEnd, find_end, parse_request, parse_response};
use crate::http::h1::limits::HttpLimits;

/// Both directions.
#[derive(Debug)]
pub(super) struct Http1 {
    limits: HttpLimits,
    requests: Half,
    responses: Half,
    /// What the requests that await their response asked for, as far as framing depends on it.
    asked: VecDeque<Asked>,
    opaque: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Head,
    Connect,
    Other,
}

impl Asked {
    const fn method(self) -> &'static [u8] {
        match self {
            Self::Head => b"HEAD",
            Self::Connect => b"CONNECT",
            Self::Other => b"GET",
        }
    }
}

/// One direction.
#[derive(Debug)]
struct Half {
    state: State,
    /// An unfinished head: masked, and as it was.
    lines: Lines,
    head: Vec<u8>,
    searched: usize,
}

#[derive(Debug)]
enum State {
    Head,
    Body {
        framing: Framing,
        body: Body,
        /// Chunk sizes and trailers.
        between: Lines,
    },
    Lost,
}

/// Where a direction is that has lost its place.
enum Place {
    Unknown,
    /// Perhaps at the beginning of a head.
    MayBe,
    /// At the beginning of a head; so much of it came before.
    Head(Vec<u8>),
}

/// What a head says of what follows it.
enum After {
    Head,
    Body(Framing, Body),
    Tunnel,
    Lost,
}

impl Http1 {
    pub(super) fn new() -> Self {
        Self {
            limits: HttpLimits::default(),
            requests: Half::new(),
            responses: Half::new(),
            asked: VecDeque::new(),
            opaque: false,
        }
    }

    /// Whether what follows is no HTTP, or nobody reads it.
    pub(super) const fn is_opaque(&self) -> bool {
        self.opaque
    }

    /// Masks the bytes of one record; answers how many were masked.
    pub(super) fn mask(&mut self, side: Side, bytes: &mut [u8], names: &Names) -> u64 {
        if matches!(self.half(side).state, State::Lost) {
            match self.find_place(side, bytes) {
                Place::Unknown => return blacken(bytes),
                Place::MayBe => return 0,
                Place::Head(mut before) => {
                    self.follow(side, &mut before, names);
                }
            }
        }
        self.follow(side, bytes, names)
    }

    fn follow(&mut self, side: Side, bytes: &mut [u8], names: &Names) -> u64 {
        let mut masked = 0;
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.opaque {
                return masked + blacken(rest);
            }
            let taken = match &mut self.half_mut(side).state {
                State::Lost => return masked + blacken(rest),
                State::Head => self.head(side, rest, names, &mut masked),
                State::Body {
                    framing,
                    body,
                    between,
                } => {
                    let step = framing.read(rest);
                    let taken = usize::try_from(step.taken).unwrap_or(usize::MAX).min(rest.len());
                    let (part, _) = rest.split_at_mut(taken);
                    masked += if step.part == Part::Data {
                        body.mask(part, names)
                    } else {
                        between.mask(part, names)
                    };
                    if step.ended {
                        self.half_mut(side).begin_head();
                    } else if step.lost {
                        self.lose_place(side);
                    }
                    taken
                }
            };
            rest = rest.get_mut(taken..).unwrap_or_default();
        }
        masked
    }

    /// Bytes of `side` went by unseen.
    pub(super) fn hole(&mut self, side: Side, mut hole: u64) {
        while hole > 0 && !self.opaque {
            match &mut self.half_mut(side).state {
                State::Lost | State::Head => {
                    self.lose_place(side);
                    return;
                }
                State::Body { framing, body, .. } => {
                    body.lose_place();
                    let step = framing.skip(hole);
                    hole -= step.taken.min(hole);
                    if step.ended {
                        self.half_mut(side).begin_head();
                    } else if step.lost {
                        self.lose_place(side);
                    }
                }
            }
        }
    }

    /// `side` will send no more.
    pub(super) fn end(&mut self, side: Side) {
        match side {
            Side::Request => {
                let half = self.half_mut(side);
                half.begin_head();
                half.state = State::Lost;
            }
            // What is read after the last response is thrown away unread.
            Side::Response => self.opaque = true,
        }
    }

    /// Takes the next part of a head; answers how many bytes that were.
    fn head(&mut self, side: Side, rest: &mut [u8], names: &Names, masked: &mut u64) -> usize {
        let limit = self.limits.head_bytes;
        let half = self.half_mut(side);
        if half.head.is_empty() {
            let blank = rest
                .iter()
                .take_while(|byte| matches!(byte, b'\r' | b'\n'))
                .count();
            if blank > 0 {
                return blank;
            }
        }
        let before = half.head.len();
        half.head.extend_from_slice(rest);
        let end = match find_end(&half.head, &mut half.searched) {
            HeadEnd::At(end) => Some(end),
            HeadEnd::NotYet => None,
        };
        let taken = end.map_or(rest.len(), |end| end.saturating_sub(before).min(rest.len()));
        if let Some(part) = rest.get_mut(..taken) {
            *masked += half.lines.mask(part, names);
        }
        match end {
            Some(end) => {
                half.head.truncate(end);
                let text = std::mem::take(&mut half.head);
                half.begin_head();
                let after = match side {
                    Side::Request => self.after_request(&text, names),
                    Side::Response => self.after_response(&text),
                };
                self.go_on(side, after);
                // Its memory serves the next head.
                let half = self.half_mut(side);
                half.head = text;
                half.head.clear();
            }
            None if half.head.len() > limit => self.lose_place(side),
            None => {}
        }
        taken
    }

    fn go_on(&mut self, side: Side, after: After) {
        match after {
            After::Head => {}
            After::Tunnel => self.opaque = true,
            After::Lost => self.lose_place(side),
            After::Body(framing, body) => {
                self.half_mut(side).state = State::Body {
                    framing,
                    body,
                    between: Lines::default(),
                };
            }
        }
    }

    fn after_request(&mut self, text: &[u8], names: &Names) -> After {
        if text.len() > self.limits.head_bytes {
            return After::Lost;
        }
        let head = parse_request(text, self.limits.fields);
        // A gateway reads on when it has answered what it had read before a hole.
        if matches!(self.responses.state, State::Lost) {
            self.asked.clear();
        }
        self.asked.push_back(match &*head.method {
            b"HEAD" => Asked::Head,
            b"CONNECT" => Asked::Connect,
            _ => Asked::Other,
        });
        if self.asked.len() > self.limits.pipelined {
            self.asked.pop_front();
        }
        let (framing, _) = framing::of_request(&head);
        if framing.is_refused() {
            After::Lost
        } else if framing.is_empty() {
            After::Head
        } else {
            After::Body(framing, Body::of_request(&head.headers, names))
        }
    }

    fn after_response(&mut self, text: &[u8]) -> After {
        if text.len() > self.limits.head_bytes {
            return After::Lost;
        }
        let Some(head) = parse_response(text, self.limits.fields) else {
            return After::Lost;
        };
        if (100..200).contains(&head.status) && head.status != 101 {
            return After::Head;
        }
        let asked = self.asked.pop_front().map(Asked::method);
        let (framing, _) = framing::of_response(&head, asked);
        if framing.is_tunnel() {
            After::Tunnel
        } else if framing.is_empty() {
            After::Head
        } else {
            After::Body(framing, Body::of_response())
        }
    }

    /// Whether a record begins like a head, from which `side` can be followed again.
    fn find_place(&mut self, side: Side, bytes: &[u8]) -> Place {
        let half = self.half_mut(side);
        let before = half.head.len();
        let mut seen = std::mem::take(&mut half.head);
        seen.extend_from_slice(bytes);
        let detection = detect_joining(&seen);
        let is_head = matches!(
            (side, detection),
            (Side::Request, Detection::Request) | (Side::Response, Detection::Response)
        );
        if is_head {
            half.begin_head();
            seen.truncate(before);
            return Place::Head(seen);
        }
        // The parser waits for more. It is shown no more than the beginning of a word that everybody knows.
        if detection == Detection::Undecided
            && seen.len() < DETECTION_BYTES
            && is_part_of_a_known_start(&seen)
        {
            half.head = seen;
            return Place::MayBe;
        }
        Place::Unknown
    }

    fn lose_place(&mut self, side: Side) {
        // Whose answers the next ones are is not known.
        self.asked.clear();
        let half = self.half_mut(side);
        half.begin_head();
        half.state = State::Lost;
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

impl Half {
    fn new() -> Self {
        Self {
            state: State::Head,
            lines: Lines::of_head(),
            head: Vec::new(),
            searched: 0,
        }
    }

    fn begin_head(&mut self) {
        self.state = State::Head;
        self.lines = Lines::of_head();
        self.head.clear();
        self.searched = 0;
    }
}

/// Masks all of `bytes`.
pub(super) fn blacken(bytes: &mut [u8]) -> u64 {
    bytes.fill(MASK);
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
