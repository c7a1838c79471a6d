//! One connection: its two streams, and what protocol they turned out to carry.

mod memory;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};

use bytes::{Buf as _, Bytes, BytesMut};
use kongtap_common::record::ConnId;

use self::memory::{Held, Weight};
use super::ConnLimits;
use super::reorder::{Known, Placed, Window};
use super::stats::ConnStats;
use super::stream::{Stream, Unwanted};
use crate::capture::event::{ConnEnd, ConnOpen, DataChunk, Direction, KernelTime, StreamEnds};
use crate::http::detect::proxy::{ProxyHeader, proxy_header};
use crate::http::detect::{DETECTION_BYTES, Detection, begins_error_response, detect, detect_joining};
use crate::http::exchange::{ConnInfo, Exchange, Leg};
use crate::http::h1::limits::HttpLimits;
use crate::http::h1::{Http1, Side};
use crate::http::h2::{Http2, join, upgrade};
use crate::http::open::OpenRequest;

/// Most bytes that are kept of what stands in the place of a connection's first request.
const UNREADABLE_BYTES: usize = 4096;

/// A connection that is being followed.
#[derive(Debug)]
pub(super) struct Connection {
    info: ConnInfo,
    ingress: Stream,
    egress: Stream,
    protocol: Protocol,
    /// What is ahead of its direction.
    window: Window,
    held: Held,
    weight: Weight,
    /// The newest call before the protocol was known.
    call: Option<(Direction, KernelTime)>,
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
    /// Its first bytes are no request. If the gateway answers them in HTTP, as nginx does with 400, they stood for one.
    Unreadable { client: Direction, seen: BytesMut },
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
            window: Window::default(),
            held: Held::default(),
            weight: Weight::default(),
            call: None,
            last: at,
            stats: ConnStats::default(),
        }
    }

    /// Whether its open record was seen.
    pub(super) const fn is_introduced(&self) -> bool {
        self.info.local.port() != 0 || self.info.remote.port() != 0
    }

    /// When it last moved.
    pub(super) const fn last(&self) -> KernelTime {
        self.last
    }

    /// The clients' requests that are under way on it.
    pub(super) fn open_requests(&self, out: &mut Vec<OpenRequest>) {
        match &self.protocol {
            Protocol::Http1(http) if http.leg() == Leg::Downstream => out.extend(http.open_requests()),
            Protocol::Http2(http) if http.leg() == Leg::Downstream => out.extend(http.open_requests()),
            Protocol::Http1(_) | Protocol::Http2(_) => {}
            Protocol::Undecided { .. }
            | Protocol::Unreadable { .. }
            | Protocol::Joined
            | Protocol::Opaque => {}
        }
    }

    /// What was met since the last call; resets.
    pub(super) fn take_stats(&mut self) -> ConnStats {
        self.collect_stats();
        std::mem::take(&mut self.stats)
    }

    /// Takes a record at its place, which may be ahead of what should come before it.
    pub(super) fn place(&mut self, placed: Placed, limits: &ConnLimits, out: &mut Vec<Exchange>) {
        let at = placed.at();
        self.last = at;
        if self.window.is_empty() && !(limits.reorder.records > 0 && self.is_ahead(&placed)) {
            self.take(placed, limits, out);
            return;
        }
        self.window.push(placed);
        self.settle(at, limits, out);
    }

    /// Whether something waits for what should have come before it.
    pub(super) fn is_waiting(&self) -> bool {
        !self.window.is_empty()
    }

    /// How many bytes wait so.
    #[cfg(test)]
    pub(super) const fn waiting_bytes(&self) -> usize {
        self.window.bytes()
    }

    /// Takes what waits, if what it waits for has come, or may be waited for no longer.
    pub(super) fn settle(&mut self, now: KernelTime, limits: &ConnLimits, out: &mut Vec<Exchange>) {
        loop {
            while let Some(ready) = self.window.ready(self.known()) {
                self.take(ready, limits, out);
            }
            self.stats.reordered += self.window.take_reordered();
            if !self.window.is_over(&limits.reorder, now) {
                return;
            }
            if let Some(next) = self.window.give_up() {
                self.take(next, limits, out);
            }
        }
    }

    fn is_ahead(&self, placed: &Placed) -> bool {
        match self.protocol {
            Protocol::Joined | Protocol::Opaque => false,
            Protocol::Undecided { .. }
            | Protocol::Unreadable { .. }
            | Protocol::Http1(_)
            | Protocol::Http2(_) => {
                // What has no bytes says that those before it are lost.
                !placed.is_mark() && !self.known().reaches(placed)
            }
        }
    }

    const fn known(&self) -> Known {
        Known {
            ingress: self.ingress.position(),
            egress: self.egress.position(),
        }
    }

    fn take(&mut self, placed: Placed, limits: &ConnLimits, out: &mut Vec<Exchange>) {
        match placed {
            Placed::Data(chunk) => {
                let mut http = limits.http;
                if self.held.is_full() {
                    http.body_bytes = 0;
                }
                let bytes = chunk.bytes.len();
                self.data(chunk, http, out);
                self.weigh(bytes, limits, out);
            }
            Placed::End(end) => self.end(&end, out),
        }
    }

    fn data(&mut self, chunk: DataChunk, limits: HttpLimits, out: &mut Vec<Exchange>) {
        self.stats.repeated += u64::from(self.stream(chunk.direction).knows(&chunk));
        if matches!(self.protocol, Protocol::Opaque) {
            self.stream(chunk.direction).place(&chunk);
            return;
        }
        if matches!(self.protocol, Protocol::Joined) {
            // What moved before this call is the past, not a hole.
            self.stream(chunk.direction).start_at(chunk.pos);
            if self.call.replace((chunk.direction, chunk.at)) == Some((chunk.direction, chunk.at)) {
                // The same call goes on: a request in its middle may follow others, whose answers are still to come.
                let piece = self.stream(chunk.direction).place(&chunk);
                self.stats.http.skipped_bytes += u64::try_from(piece.bytes.len()).unwrap_or(u64::MAX);
                return;
            }
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
            Protocol::Http2(_)
            | Protocol::Undecided { .. }
            | Protocol::Unreadable { .. }
            | Protocol::Joined => Unwanted::Bytes(0),
        };
        self.stream(direction).skip(unwanted)
    }

    /// `direction` had come to `pos` when the connection ended.
    fn reached(&mut self, direction: Direction, pos: u64, at: KernelTime, out: &mut Vec<Exchange>) {
        if matches!(self.protocol, Protocol::Opaque | Protocol::Joined) {
            return;
        }
        let hole = self.stream(direction).place_end(pos);
        self.hole(direction, hole, at, out);
        if let Protocol::Http1(http) = &mut self.protocol {
            http.socket_is_gone();
        }
    }

    fn end(&mut self, end: &ConnEnd, out: &mut Vec<Exchange>) {
        let hole = self.stream(end.direction).place_end(end.pos);
        self.hole(end.direction, hole, end.at, out);
        match &mut self.protocol {
            Protocol::Http1(http) => http.end(side(http.leg(), end.direction), end.at, out),
            Protocol::Http2(http) => http.end(side(http.leg(), end.direction), out),
            Protocol::Undecided { .. }
            | Protocol::Unreadable { .. }
            | Protocol::Joined
            | Protocol::Opaque => {}
        }
    }

    /// It is gone, its directions having come to `ends` if that is known: everything that is left comes out.
    pub(super) fn close(
        mut self,
        at: KernelTime,
        ends: Option<StreamEnds>,
        limits: &ConnLimits,
        out: &mut Vec<Exchange>,
    ) -> ConnStats {
        while let Some(next) = self.window.ready(self.known()).or_else(|| self.window.give_up()) {
            self.take(next, limits, out);
        }
        self.stats.reordered += self.window.take_reordered();
        if let Some(ends) = ends {
            self.reached(Direction::Ingress, ends.ingress, at, out);
            self.reached(Direction::Egress, ends.egress, at, out);
        }
        match &mut self.protocol {
            Protocol::Http1(http) if ends.is_none() => http.give_up(at, out),
            Protocol::Http1(http) => http.close(at, out),
            Protocol::Http2(http) => http.close(out),
            Protocol::Unreadable { seen, .. } => {
                let what = detect(seen);
                self.give_up(what);
            }
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
                    self.leave_http1(direction, at, limits, out);
                }
            }
            Protocol::Http2(http) => {
                http.keep_bodies(limits.body_bytes);
                http.data(side(http.leg(), direction), bytes, at, out);
            }
            Protocol::Undecided { speaker, seen } => {
                // The client speaks first, but for HTTP/2's SETTINGS, so the other direction's first bytes say that this is no HTTP
                // from its start.
                let speaker = *speaker.get_or_insert(direction);
                if speaker != direction {
                    if join::is_server_preface(&bytes) == Some(true) {
                        let before = std::mem::take(seen).freeze();
                        self.begin_http2(speaker, limits);
                        self.bytes(speaker, before, at, limits, out);
                        self.bytes(direction, bytes, at, limits, out);
                    } else {
                        self.give_up(Detection::Other);
                    }
                    return;
                }
                let mut bytes = if seen.is_empty() {
                    bytes
                } else {
                    seen.extend_from_slice(&bytes);
                    std::mem::take(seen).freeze()
                };
                match proxy_header(&bytes) {
                    ProxyHeader::EndsAt(end) => {
                        bytes.advance(end);
                        if bytes.is_empty() {
                            return;
                        }
                    }
                    // A blank line may be the beginning of one; where nothing else is there, it does not matter which.
                    ProxyHeader::SoFar => {
                        seen.extend_from_slice(&bytes);
                        return;
                    }
                    ProxyHeader::Absent => {}
                }
                match join::is_server_preface(&bytes) {
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
                        self.find_unreadable(direction, &bytes, detection);
                    }
                }
            }
            Protocol::Unreadable { client, seen } => {
                let client = *client;
                if direction == client && seen.len().saturating_add(bytes.len()) <= UNREADABLE_BYTES {
                    seen.extend_from_slice(&bytes);
                } else if direction != client && begins_error_response(&bytes) {
                    let seen = std::mem::take(seen).freeze();
                    self.begin_http1(client, seen, at, limits, out);
                    self.bytes(direction, bytes, at, limits, out);
                } else {
                    let what = detect(seen);
                    self.give_up(what);
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
                    if let Some(leg) = join::leg_of_call(&bytes, direction) {
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

    /// Its first bytes are no request, but perhaps somebody answers them as one.
    fn find_unreadable(&mut self, client: Direction, bytes: &[u8], what: Detection) {
        if bytes.len() > UNREADABLE_BYTES {
            self.give_up(what);
        } else {
            self.protocol = Protocol::Unreadable {
                client,
                seen: BytesMut::from(bytes),
            };
        }
    }

    /// HTTP/1 is over here: the connection goes on in HTTP/2 if both sides said so, and in something that is not read otherwise.
    fn leave_http1(
        &mut self,
        direction: Direction,
        at: KernelTime,
        limits: HttpLimits,
        out: &mut Vec<Exchange>,
    ) {
        let Protocol::Http1(http) = &mut self.protocol else {
            return;
        };
        let (leg, rest) = (http.leg(), http.take_rest());
        let conn = self.info.id;
        let asked = out
            .pop_if(|exchange| exchange.conn.id == conn && upgrade::is_agreed(exchange))
            .and_then(|exchange| exchange.request);
        self.become_opaque();
        if let Some(request) = asked {
            self.stats.http2 += 1;
            let http = Http2::upgraded(self.info, leg, limits, request);
            self.protocol = Protocol::Http2(Box::new(http));
            if !rest.is_empty() {
                self.bytes(direction, rest, at, limits, out);
            }
        }
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
            Protocol::Undecided { .. }
            | Protocol::Unreadable { .. }
            | Protocol::Joined
            | Protocol::Opaque => {}
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
            Protocol::Unreadable { .. } => self.give_up(Detection::Other),
            Protocol::Joined | Protocol::Opaque => {}
        }
    }

    fn left(&mut self, direction: Direction, bytes: u64, at: KernelTime, out: &mut Vec<Exchange>) {
        if bytes == 0 {
            return;
        }
        match &mut self.protocol {
            Protocol::Http1(http) => http.left(side(http.leg(), direction), bytes, at, out),
            Protocol::Http2(http) => http.left(side(http.leg(), direction), bytes, at, out),
            Protocol::Undecided { .. } => self.protocol = Protocol::Joined,
            Protocol::Unreadable { .. } => self.give_up(Detection::Other),
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
