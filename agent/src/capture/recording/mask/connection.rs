//! One connection: what it turns out to carry, decided as `conn` decides it, and what of a record may be kept.

use super::MASK;
use super::http1::{Http1, blacken};
use super::names::Names;
use crate::capture::event::Direction;
use crate::http::detect::proxy::{ProxyHeader, proxy_header};
use crate::http::detect::{DETECTION_BYTES, Detection, detect, detect_joining};
use crate::http::h1::Side;

/// The client's first bytes of HTTP/2 (RFC 9113 section 3.4), as far as it is known by them: all that is kept of it.
const HTTP2_MARK_BYTES: usize = b"PRI * HTTP/2.0\r\n".len();

/// Of a TLS record: content type and major version, by which it is known.
const TLS_MARK_BYTES: usize = 2;

/// Of a response, by which it is known.
const RESPONSE_MARK_BYTES: usize = b"HTTP/1.".len();

/// What is kept of a record's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// All of it, masked in place.
    All,
    /// So many bytes; the rest by its length only.
    First(usize),
}

/// Why the payload of a connection is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// HTTP/2: header compression does not let values be masked in place.
    Http2,
    /// It changed protocol (WebSocket), or is over.
    Upgraded,
    /// It is no HTTP, or ciphertext.
    NotHttp,
}

/// A piece of one direction.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub(super) direction: Direction,
    /// Position of its first byte.
    pub(super) pos: u64,
    /// Bytes that it stands for.
    pub(super) len: u64,
    /// The first of them, as far as they were copied.
    pub(super) bytes: &'a mut [u8],
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    protocol: Protocol,
    ingress: u64,
    egress: u64,
    /// Bytes masked since the last question.
    masked: u64,
}

#[derive(Debug)]
enum Protocol {
    Undecided {
        speaker: Option<Direction>,
        seen: Vec<u8>,
    },
    Joined,
    Http1 {
        /// Where requests come from.
        asks: Direction,
        http: Box<Http1>,
    },
    LeftOut(LeftOut),
}

impl Connection {
    /// One that is seen from its first byte.
    pub(super) const fn new() -> Self {
        Self::with(Protocol::Undecided {
            speaker: None,
            seen: Vec::new(),
        })
    }

    /// One that was in use before.
    pub(super) const fn joined() -> Self {
        Self::with(Protocol::Joined)
    }

    const fn with(protocol: Protocol) -> Self {
        Self {
            protocol,
            ingress: 0,
            egress: 0,
            masked: 0,
        }
    }

    /// Bytes masked since the last question.
    pub(super) fn take_masked(&mut self) -> u64 {
        std::mem::take(&mut self.masked)
    }

    /// Why its payload is left out, if it is.
    pub(super) const fn left_out(&self) -> Option<LeftOut> {
        match &self.protocol {
            Protocol::LeftOut(why) => Some(*why),
            Protocol::Undecided { .. } | Protocol::Joined | Protocol::Http1 { .. } => None,
        }
    }

    /// Masks a piece in place, and says how much of it may be kept.
    pub(super) fn mask(&mut self, piece: Piece<'_>, names: &Names) -> Kept {
        if matches!(self.protocol, Protocol::LeftOut(_)) {
            return Kept::First(0);
        }
        let Piece {
            direction,
            pos,
            len,
            bytes,
        } = piece;
        let is_joining = matches!(self.protocol, Protocol::Joined);
        let next = self.next(direction);
        if is_joining && *next < pos {
            *next = pos;
        }
        let (before, known) = (pos.saturating_sub(*next), next.saturating_sub(pos));
        let copied = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let copied_end = pos.saturating_add(copied);
        let end = pos.saturating_add(len).max(copied_end);
        let after = end.saturating_sub(copied_end.max(*next));
        *next = end.max(*next);

        self.hole(direction, before);
        // Nobody reads what was read before.
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(bytes.len());
        let (repeated, new) = bytes.split_at_mut(known);
        self.masked += blacken(repeated);
        let kept = if new.is_empty() {
            Kept::All
        } else {
            match self.bytes(direction, new, names) {
                Kept::All => Kept::All,
                Kept::First(bytes) => Kept::First(known + bytes),
            }
        };
        self.hole(direction, after);
        kept
    }

    /// One direction ended at `pos`.
    pub(super) fn end(&mut self, direction: Direction, pos: u64) {
        let next = self.next(direction);
        let hole = pos.saturating_sub(*next);
        *next = pos.max(*next);
        self.hole(direction, hole);
        if let Protocol::Http1 { asks, http } = &mut self.protocol {
            http.end(side(*asks, direction));
            if http.is_opaque() {
                self.protocol = Protocol::LeftOut(LeftOut::Upgraded);
            }
        }
    }

    fn bytes(&mut self, direction: Direction, bytes: &mut [u8], names: &Names) -> Kept {
        match &mut self.protocol {
            Protocol::Http1 { asks, http } => {
                self.masked += http.mask(side(*asks, direction), bytes, names);
                if http.is_opaque() {
                    self.protocol = Protocol::LeftOut(LeftOut::Upgraded);
                }
                Kept::All
            }
            Protocol::Undecided { speaker, seen } => {
                if *speaker.get_or_insert(direction) != direction {
                    return self.give_up(LeftOut::NotHttp, bytes, 0);
                }
                let mut seen = std::mem::take(seen);
                let before = seen.len();
                seen.extend_from_slice(bytes);
                match proxy_header(&seen) {
                    ProxyHeader::EndsAt(end) => {
                        let header = end.saturating_sub(before).min(bytes.len());
                        let (_, rest) = bytes.split_at_mut(header);
                        return match self.bytes(direction, rest, names) {
                            Kept::First(kept) if !rest.is_empty() => Kept::First(header + kept),
                            Kept::First(_) | Kept::All => Kept::All,
                        };
                    }
                    ProxyHeader::SoFar => {
                        let speaker = Some(direction);
                        self.protocol = Protocol::Undecided { speaker, seen };
                        return Kept::All;
                    }
                    ProxyHeader::Absent => {}
                }
                match detect(&seen) {
                    Detection::Undecided if seen.len() < DETECTION_BYTES => {
                        let speaker = Some(direction);
                        self.protocol = Protocol::Undecided { speaker, seen };
                        Kept::All
                    }
                    Detection::Request => {
                        let mut http = Box::new(Http1::new());
                        // What was too little to decide by holds no value that could be masked.
                        seen.truncate(before);
                        http.mask(Side::Request, &mut seen, names);
                        self.begin(direction, http, bytes, names)
                    }
                    Detection::Http2 => self.leave_out_http2(bytes, HTTP2_MARK_BYTES.saturating_sub(before)),
                    Detection::Tls => {
                        self.give_up(LeftOut::NotHttp, bytes, TLS_MARK_BYTES.saturating_sub(before))
                    }
                    // Its request is lost, and there will be others.
                    Detection::Response => {
                        self.protocol = Protocol::Joined;
                        let blank = seen.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                        let shown = (blank + RESPONSE_MARK_BYTES).saturating_sub(before);
                        self.masked += bytes.get_mut(shown..).map_or(0, blacken);
                        Kept::All
                    }
                    Detection::Other | Detection::Undecided => self.give_up(LeftOut::NotHttp, bytes, 0),
                }
            }
            Protocol::Joined => match detect_joining(bytes) {
                Detection::Request => self.begin(direction, Box::new(Http1::new()), bytes, names),
                Detection::Http2 => self.leave_out_http2(bytes, HTTP2_MARK_BYTES),
                Detection::Tls => self.give_up(LeftOut::NotHttp, bytes, TLS_MARK_BYTES),
                Detection::Response | Detection::Other | Detection::Undecided => {
                    self.masked += blacken(bytes);
                    Kept::All
                }
            },
            Protocol::LeftOut(_) => Kept::First(0),
        }
    }

    fn begin(&mut self, asks: Direction, mut http: Box<Http1>, bytes: &mut [u8], names: &Names) -> Kept {
        self.masked += http.mask(Side::Request, bytes, names);
        self.protocol = Protocol::Http1 { asks, http };
        Kept::All
    }

    fn leave_out_http2(&mut self, bytes: &[u8], shown: usize) -> Kept {
        self.protocol = Protocol::LeftOut(LeftOut::Http2);
        Kept::First(shown.min(bytes.len()))
    }

    /// The piece that shows what it is stays, masked but for what shows it: a replay must come to the same verdict.
    fn give_up(&mut self, why: LeftOut, bytes: &mut [u8], shown: usize) -> Kept {
        self.protocol = Protocol::LeftOut(why);
        if let Some(hidden) = bytes.get_mut(shown..) {
            hidden.fill(MASK);
            self.masked += u64::try_from(hidden.len()).unwrap_or(u64::MAX);
        }
        Kept::All
    }

    fn hole(&mut self, direction: Direction, bytes: u64) {
        if bytes == 0 {
            return;
        }
        match &mut self.protocol {
            Protocol::Http1 { asks, http } => http.hole(side(*asks, direction), bytes),
            Protocol::Undecided { .. } => self.protocol = Protocol::Joined,
            Protocol::Joined | Protocol::LeftOut(_) => {}
        }
    }

    const fn next(&mut self, direction: Direction) -> &mut u64 {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }
}

fn side(asks: Direction, direction: Direction) -> Side {
    if asks == direction {
        Side::Request
    } else {
        Side::Response
    }
}
