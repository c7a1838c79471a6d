//! One connection: its two streams, and what protocol they turned out to carry.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::{Bytes, BytesMut};
use kongtap_common::record::ConnId;

use super::stats::ConnStats;
use super::stream::{Stream, Unwanted};
use crate::capture::event::{ConnEnd, ConnOpen, DataChunk, Direction, KernelTime};
use crate::http::detect::{DETECTION_BYTES, Detection, detect, detect_joining};
use crate::http::exchange::{ConnInfo, Exchange, Leg};
use crate::http::h1::limits::HttpLimits;
use crate::http::h1::{Http1, Side};
use crate::http::h2::{self, Http2};

/// A connection that is being followed.
#[derive(Debug)]
pub(super) struct Connection {
    info: ConnInfo,
    ingress: Stream,
    egress: Stream,
    protocol: Protocol,
    last: KernelTime,
    stats: ConnStats,
}

/// What a connection carries.
#[derive(Debug)]
enum Protocol {
    /// Not known yet; the first bytes of whoever spoke first.
    Undecided {
        speaker: Option<Direction>,
        seen: BytesMut,
    },
    /// Its start was not seen: it becomes known when a call begins like a request.
    Joined,
    /// HTTP/1.
    Http1(Box<Http1>),
    /// HTTP/2.
    Http2(Box<Http2>),
    /// Something that is not read.
    Opaque,
}

impl Connection {
    pub(super) fn new(open: &ConnOpen) -> Self {
        let protocol = if open.late {
            Protocol::Joined
        } else {
            Protocol::Undecided {
                speaker: None,
                seen: BytesMut::new(),
            }
        };
        let info = ConnInfo {
            id: open.conn,
            local: open.local,
            remote: open.remote,
            tls: open.tls,
        };
        Self::with(info, protocol, open.at)
    }

    /// A connection whose first sight was lost.
    pub(super) fn unknown(id: ConnId, at: KernelTime) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let info = ConnInfo {
            id,
            local: nowhere,
            remote: nowhere,
            tls: false,
        };
        Self {
            ingress: Stream::anywhere(),
            egress: Stream::anywhere(),
            ..Self::with(info, Protocol::Joined, at)
        }
    }

    fn with(info: ConnInfo, protocol: Protocol, at: KernelTime) -> Self {
        Self {
            info,
            ingress: Stream::default(),
            egress: Stream::default(),
            protocol,
            last: at,
            stats: ConnStats::default(),
        }
    }

    /// When it last moved.
    pub(super) const fn last(&self) -> KernelTime {
        self.last
    }

    /// What was met since the last call; resets.
    pub(super) fn take_stats(&mut self) -> ConnStats {
        self.collect_stats();
        std::mem::take(&mut self.stats)
    }

    pub(super) fn data(&mut self, chunk: DataChunk, limits: HttpLimits, out: &mut Vec<Exchange>) {
        self.last = chunk.at;
        if matches!(self.protocol, Protocol::Opaque) {
            self.stream(chunk.direction).place(&chunk);
            return;
        }
        if matches!(self.protocol, Protocol::Joined) {
            // What moved before this call is the past, not a hole.
            self.stream(chunk.direction).start_at(chunk.pos);
        }
        let piece = self.stream(chunk.direction).place(&chunk);
        self.hole(chunk.direction, piece.hole_before, chunk.at, out);
        if !piece.bytes.is_empty() {
            self.bytes(chunk.direction, piece.bytes, chunk.at, limits, out);
        }
        self.left(chunk.direction, piece.left, chunk.at, out);
    }

    /// The position up to which nothing more is wanted of `direction`, if that is worth telling.
    pub(super) fn skip(&mut self, direction: Direction) -> Option<u64> {
        let unwanted = match &mut self.protocol {
            Protocol::Http1(http) => match http.unwanted(side(http.leg(), direction)) {
                u64::MAX => Unwanted::Rest,
                bytes => Unwanted::Bytes(bytes),
            },
            Protocol::Opaque => Unwanted::All,
            Protocol::Http2(_) | Protocol::Undecided { .. } | Protocol::Joined => Unwanted::Bytes(0),
        };
        self.stream(direction).skip(unwanted)
    }

    /// `direction` had come to `pos` when the connection ended.
    pub(super) fn reached(
        &mut self,
        direction: Direction,
        pos: u64,
        at: KernelTime,
        out: &mut Vec<Exchange>,
    ) {
        if matches!(self.protocol, Protocol::Opaque | Protocol::Joined) {
            return;
        }
        let hole = self.stream(direction).place_end(pos);
        self.hole(direction, hole, at, out);
    }

    pub(super) fn end(&mut self, end: &ConnEnd, out: &mut Vec<Exchange>) {
        self.last = end.at;
        let hole = self.stream(end.direction).place_end(end.pos);
        self.hole(end.direction, hole, end.at, out);
        match &mut self.protocol {
            Protocol::Http1(http) => http.end(side(http.leg(), end.direction), end.at, out),
            Protocol::Http2(http) => http.end(side(http.leg(), end.direction), out),
            Protocol::Undecided { .. } | Protocol::Joined | Protocol::Opaque => {}
        }
    }

    /// It is gone: everything that is left comes out.
    pub(super) fn close(mut self, at: KernelTime, out: &mut Vec<Exchange>) -> ConnStats {
        match &mut self.protocol {
            Protocol::Http1(http) => http.close(at, out),
            Protocol::Http2(http) => http.close(out),
            Protocol::Undecided { .. } | Protocol::Joined | Protocol::Opaque => {}
        }
        self.take_stats()
    }

    fn bytes(
        &mut self,
        direction: Direction,
        bytes: Bytes,
        at: KernelTime,
        limits: HttpLimits,
        out: &mut Vec<Exchange>,
    ) {
        match &mut self.protocol {
            Protocol::Http1(http) => {
                http.keep_bodies(limits.body_bytes);
                http.data(side(http.leg(), direction), bytes, at, out);
                if http.is_opaque() {
                    self.become_opaque();
                }
            }
            Protocol::Http2(http) => http.data(side(http.leg(), direction), bytes, at, out),
            Protocol::Undecided { speaker, seen } => {
                // The client speaks first, but for HTTP/2's SETTINGS, so the other direction's first bytes say that this is no HTTP
                // from its start.
                let speaker = *speaker.get_or_insert(direction);
                if speaker != direction {
                    if h2::is_server_preface(&bytes) == Some(true) {
                        let before = std::mem::take(seen).freeze();
                        self.begin_http2(speaker, limits);
                        self.bytes(speaker, before, at, limits, out);
                        self.bytes(direction, bytes, at, limits, out);
                    } else {
                        self.give_up(Detection::Other);
                    }
                    return;
                }
                let bytes = if seen.is_empty() {
                    bytes
                } else {
                    seen.extend_from_slice(&bytes);
                    std::mem::take(seen).freeze()
                };
                match h2::is_server_preface(&bytes) {
                    Some(true) => {
                        self.begin_http2(direction.opposite(), limits);
                        self.bytes(direction, bytes, at, limits, out);
                        return;
                    }
                    None => {
                        seen.extend_from_slice(&bytes);
                        return;
                    }
                    Some(false) => {}
                }
                let detection = detect(&bytes);
                match detection {
                    Detection::Http2 => {
                        self.begin_http2(direction, limits);
                        self.bytes(direction, bytes, at, limits, out);
                    }
                    Detection::Undecided if bytes.len() < DETECTION_BYTES => seen.extend_from_slice(&bytes),
                    Detection::Request => self.begin_http1(direction, bytes, at, limits, out),
                    // Its request is lost, and there will be others.
                    Detection::Response => self.protocol = Protocol::Joined,
                    Detection::Tls | Detection::Other | Detection::Undecided => {
                        self.give_up(detection);
                    }
                }
            }
            Protocol::Joined => match detect_joining(&bytes) {
                Detection::Request => self.begin_http1(direction, bytes, at, limits, out),
                Detection::Http2 => {
                    self.begin_http2(direction, limits);
                    self.bytes(direction, bytes, at, limits, out);
                }
                Detection::Tls => self.give_up(Detection::Tls),
                Detection::Response | Detection::Other | Detection::Undecided => {
                    if let Some(leg) = h2::leg_of_call(&bytes, direction) {
                        self.stats.http2 += 1;
                        let mut http = Http2::joining(self.info, leg, limits);
                        http.data(side(leg, direction), bytes, at, out);
                        self.protocol = Protocol::Http2(Box::new(http));
                    } else {
                        self.stats.http.skipped_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    }
                }
            },
            Protocol::Opaque => {}
        }
    }

    fn begin_http1(
        &mut self,
        direction: Direction,
        bytes: Bytes,
        at: KernelTime,
        limits: HttpLimits,
        out: &mut Vec<Exchange>,
    ) {
        let mut http = Http1::new(self.info, leg_asked_by(direction), limits);
        http.data(Side::Request, bytes, at, out);
        self.protocol = Protocol::Http1(Box::new(http));
    }

    /// HTTP/2 from its start, with `client` as the client's direction.
    fn begin_http2(&mut self, client: Direction, limits: HttpLimits) {
        self.stats.http2 += 1;
        self.protocol = Protocol::Http2(Box::new(Http2::new(self.info, leg_asked_by(client), limits)));
    }

    fn give_up(&mut self, what: Detection) {
        match what {
            Detection::Tls => self.stats.ciphertext += 1,
            Detection::Http2
            | Detection::Request
            | Detection::Response
            | Detection::Other
            | Detection::Undecided => {
                self.stats.not_http += 1;
            }
        }
        self.become_opaque();
    }

    fn collect_stats(&mut self) {
        match &mut self.protocol {
            Protocol::Http1(http) => self.stats.http.add(&http.take_stats()),
            Protocol::Http2(http) => self.stats.http.add(&http.take_stats()),
            Protocol::Undecided { .. } | Protocol::Joined | Protocol::Opaque => {}
        }
    }

    fn become_opaque(&mut self) {
        self.collect_stats();
        self.protocol = Protocol::Opaque;
    }

    fn hole(&mut self, direction: Direction, bytes: u64, at: KernelTime, out: &mut Vec<Exchange>) {
        if bytes == 0 {
            return;
        }
        self.stats.holes += 1;
        self.stats.hole_bytes = self.stats.hole_bytes.saturating_add(bytes);
        match &mut self.protocol {
            Protocol::Http1(http) => http.hole(side(http.leg(), direction), bytes, at, out),
            Protocol::Http2(http) => http.hole(side(http.leg(), direction), bytes, at, out),
            // The start is lost: what comes next may be anywhere in a message.
            Protocol::Undecided { .. } => self.protocol = Protocol::Joined,
            Protocol::Joined | Protocol::Opaque => {}
        }
    }

    fn left(&mut self, direction: Direction, bytes: u64, at: KernelTime, out: &mut Vec<Exchange>) {
        if bytes == 0 {
            return;
        }
        match &mut self.protocol {
            Protocol::Http1(http) => http.left(side(http.leg(), direction), bytes, at, out),
            // Which bytes are left of it cannot be chosen, so they are as good as lost.
            Protocol::Http2(http) => http.hole(side(http.leg(), direction), bytes, at, out),
            Protocol::Undecided { .. } => self.protocol = Protocol::Joined,
            Protocol::Joined | Protocol::Opaque => {}
        }
    }

    const fn stream(&mut self, direction: Direction) -> &mut Stream {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }
}

const fn leg_asked_by(client: Direction) -> Leg {
    match client {
        Direction::Ingress => Leg::Downstream,
        Direction::Egress => Leg::Upstream,
    }
}

const fn side(leg: Leg, direction: Direction) -> Side {
    match (leg, direction) {
        (Leg::Downstream, Direction::Ingress) | (Leg::Upstream, Direction::Egress) => Side::Request,
        (Leg::Downstream, Direction::Egress) | (Leg::Upstream, Direction::Ingress) => Side::Response,
    }
}
