//! Conversations whose exchanges are known by construction, and what may happen to their records on the way.
//!
//! In: plans, which proptest makes and shrinks. Out: calls of a gateway, the records of those calls, and the exchanges that
//! must come out. An exchange's number is in its request, in its response and in every byte of its bodies.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::{IN, OUT, id};
use crate::capture::event::{
    CaptureEvent, ConnClose, ConnEnd, ConnOpen, DataChunk, Direction, KernelTime, StreamEnds,
};
use crate::conn::ConnTable;
use crate::http::exchange::{Body, Exchange, Leg, Outcome};

/// Nanoseconds between two records.
const STEP_NS: u64 = 1_000;

/// How a message is framed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Framed {
    Nothing,
    Length(usize),
    /// Chunks of at most so many bytes, with an extension, and perhaps trailers.
    Chunked {
        bytes: usize,
        piece: usize,
        trailers: bool,
    },
}

impl Framed {
    const fn bytes(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Length(bytes) | Self::Chunked { bytes, .. } => bytes,
        }
    }
}

/// What goes on beside one request and one response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Plain,
    /// The next request is sent before this one is answered.
    Pipelined,
    /// The response comes before the request's body has ended.
    Early,
    /// 100 (Continue) before the body, and a 103 before the response.
    Interim,
}

/// One exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    request: Framed,
    response: Framed,
    /// HEAD, or a status without a body.
    bodiless: u8,
    turn: Turn,
}

/// How the conversation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Silence,
    UntilClose(usize),
    Upgrade,
}

pub(super) fn framed() -> impl Strategy<Value = Framed> {
    prop_oneof![
        2 => Just(Framed::Nothing),
        3 => size().prop_map(Framed::Length),
        3 => (size(), 1..5000usize, any::<bool>()).prop_map(|(bytes, piece, trailers)| Framed::Chunked {
            bytes,
            piece: piece.max(bytes / 50),
            trailers,
        }),
    ]
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0..200usize, 2 => 0..5_000usize, 1 => 0..40_000usize]
}

pub(super) fn plan() -> impl Strategy<Value = Plan> {
    let turn = prop_oneof![
        4 => Just(Turn::Plain),
        2 => Just(Turn::Pipelined),
        1 => Just(Turn::Early),
        1 => Just(Turn::Interim),
    ];
    (framed(), framed(), 0..12u8, turn).prop_map(|(request, response, bodiless, turn)| Plan {
        request,
        response,
        bodiless,
        turn,
    })
}

pub(super) fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        3 => Just(Ending::Silence),
        1 => size().prop_map(Ending::UntilClose),
        1 => Just(Ending::Upgrade),
    ]
}

/// What must come out of an exchange.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) status: u16,
    pub(super) outcome: Outcome,
    pub(super) request_bytes: usize,
    pub(super) response_bytes: usize,
}

/// One call of the gateway.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) direction: Direction,
    pub(super) bytes: Vec<u8>,
    /// Where in `bytes` body data lies, to be left uncopied.
    pub(super) data: Vec<std::ops::Range<usize>>,
    /// A gateway that is asked here owes no earlier answer.
    pub(super) is_quiet: bool,
}

impl Call {
    pub(super) const fn new(direction: Direction) -> Self {
        Self {
            direction,
            bytes: Vec::new(),
            data: Vec::new(),
            is_quiet: false,
        }
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes.extend(text.as_bytes());
        self
    }

    fn data(&mut self, data: &[u8]) -> &mut Self {
        if !data.is_empty() {
            let start = self.bytes.len();
            self.data.push(start..start + data.len());
            self.bytes.extend(data);
        }
        self
    }

    /// Framing and body, from byte `from` of the body.
    fn body(&mut self, body: &[u8], framed: Framed) -> &mut Self {
        match framed {
            Framed::Nothing => self,
            Framed::Length(_) => self.data(body),
            Framed::Chunked { piece, trailers, .. } => {
                for piece in body.chunks(piece) {
                    self.text(&format!("{:x};e=1\r\n", piece.len()))
                        .data(piece)
                        .text("\r\n");
                }
                self.text(if trailers {
                    "0\r\nX-T: t\r\n\r\n"
                } else {
                    "0\r\n\r\n"
                })
            }
        }
    }
}

/// What the gateway did, and what must come of it.
#[derive(Clone)]
pub(super) struct Conversation {
    pub(super) leg: Leg,
    pub(super) calls: Vec<Call>,
    pub(super) expected: BTreeMap<usize, Expected>,
}

/// Shown by its calls, since that is what one wants to read of a case that fails.
impl std::fmt::Debug for Conversation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.leg)?;
        for call in &self.calls {
            let shown = &call.bytes[..call.bytes.len().min(400)];
            write!(
                f,
                "\n  {:?} {} bytes: {}",
                call.direction,
                call.bytes.len(),
                shown.escape_ascii()
            )?;
        }
        write!(f, "\n  {:?}\n", self.expected)
    }
}

/// Byte `at` of a body: another sequence for each, in which nothing looks like a head.
fn body_byte(number: usize, side: usize, at: usize) -> u8 {
    let mixed = (number * 2 + side + 1)
        .wrapping_mul(0x9e37_79b9)
        .wrapping_add(at.wrapping_mul(0x85eb_ca6b));
    [b'\r', b'\n', 0, 0xff, b'a', b'0', b' ', 0x80][(mixed >> 13) % 8]
}

pub(super) fn body(number: usize, side: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| body_byte(number, side, at)).collect()
}

fn fields(number: usize, framed: Framed) -> String {
    match framed {
        Framed::Nothing => format!("X-N: {number}\r\n\r\n"),
        Framed::Length(bytes) => format!("X-N: {number}\r\nContent-Length: {bytes}\r\n\r\n"),
        Framed::Chunked { .. } => format!("X-N: {number}\r\nTransfer-Encoding: chunked\r\n\r\n"),
    }
}

/// An HTTP/1 conversation.
pub(super) fn http1(leg: Leg, plans: &[Plan], ending: Ending) -> Conversation {
    let (client, server) = directions(leg);
    let mut calls = Vec::new();
    let mut expected = BTreeMap::new();
    let mut asked = Call::new(client);
    let mut answers = Vec::new();
    for (number, plan) in plans.iter().enumerate() {
        let is_last = number + 1 == plans.len();
        let turn = match plan.turn {
            Turn::Pipelined if is_last => Turn::Plain,
            // A body that is waited for is not sent together with others.
            Turn::Early | Turn::Interim if !asked.bytes.is_empty() || plan.request.bytes() == 0 => {
                Turn::Plain
            }
            turn @ (Turn::Plain | Turn::Pipelined | Turn::Early | Turn::Interim) => turn,
        };
        let mut response = plan.response;
        let (mut method, mut status) = ("POST", 200);
        match plan.bodiless {
            0 => method = "HEAD",
            1 => status = 204,
            2 => status = 304,
            _ if matches!(response, Framed::Nothing) => response = Framed::Length(0),
            _ => {}
        }
        let mut outcome = Outcome::Complete;
        let mut until_close = None;
        match ending {
            Ending::UntilClose(bytes) if is_last => {
                (method, status, response, until_close) = ("GET", 200, Framed::Nothing, Some(bytes));
            }
            Ending::Upgrade if is_last && asked.bytes.is_empty() && plan.request.bytes() == 0 => {
                (method, status, response, outcome) = ("GET", 101, Framed::Nothing, Outcome::Upgraded);
            }
            Ending::Silence | Ending::UntilClose(_) | Ending::Upgrade => {}
        }
        let has_body = method != "HEAD" && !matches!(status, 204 | 304 | 101);
        let request_body = body(number, 0, plan.request.bytes());
        let response_bytes = until_close.unwrap_or_else(|| if has_body { response.bytes() } else { 0 });
        let response_body = body(number, 1, response_bytes);
        expected.insert(
            number,
            Expected {
                status,
                outcome,
                request_bytes: request_body.len(),
                response_bytes,
            },
        );

        asked.text(&format!(
            "{method} /{number} HTTP/1.1\r\nHost: h\r\n{}",
            fields(number, plan.request)
        ));
        let mut answer = Call::new(server);
        if turn == Turn::Interim {
            answer.text("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
        }
        answer.text(&format!("HTTP/1.1 {status} Fine\r\n{}", fields(number, response)));
        if until_close.is_some() {
            answer.data(&response_body);
        } else if has_body {
            answer.body(&response_body, response);
        }
        match turn {
            Turn::Early | Turn::Interim => {
                let mut rest = Call::new(client);
                rest.body(&request_body, plan.request);
                asked.is_quiet = true;
                calls.push(std::mem::replace(&mut asked, Call::new(client)));
                if turn == Turn::Early {
                    calls.extend([answer, rest]);
                } else {
                    let mut go_on = Call::new(server);
                    go_on.text("HTTP/1.1 100 Continue\r\n\r\n");
                    calls.extend([go_on, rest, answer]);
                }
                continue;
            }
            Turn::Plain | Turn::Pipelined => {
                asked.body(&request_body, plan.request);
            }
        }
        answers.push(answer);
        if turn == Turn::Plain {
            asked.is_quiet = true;
            calls.push(std::mem::replace(&mut asked, Call::new(client)));
            calls.append(&mut answers);
        }
        if status == 101 {
            for direction in [client, server, client] {
                let mut opaque = Call::new(direction);
                opaque.text("\u{1}\u{5}hello");
                calls.push(opaque);
            }
        }
    }
    Conversation { leg, calls, expected }
}

pub(super) const fn directions(leg: Leg) -> (Direction, Direction) {
    match leg {
        Leg::Downstream => (IN, OUT),
        Leg::Upstream => (OUT, IN),
    }
}

/// One record.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) direction: Direction,
    pub(super) pos: u64,
    pub(super) len: u64,
    pub(super) bytes: Bytes,
    pub(super) at: KernelTime,
    /// It is the first of a call that [`Call::is_quiet`].
    pub(super) is_quiet: bool,
    /// It lies in the data of a body.
    pub(super) is_data: bool,
}

impl Record {
    pub(super) fn event(&self) -> CaptureEvent {
        CaptureEvent::Data(DataChunk {
            conn: id(1),
            at: self.at,
            direction: self.direction,
            pos: self.pos,
            len: self.len,
            bytes: self.bytes.clone(),
        })
    }

    /// The same without its bytes.
    pub(super) fn left(&self) -> Self {
        Self {
            bytes: Bytes::new(),
            ..self.clone()
        }
    }
}

impl Conversation {
    /// The calls' records, which are cut after so many bytes, and where body data begins and ends if `at_data`.
    pub(super) fn records(&self, cuts: &[usize], at_data: bool) -> Vec<Record> {
        let mut cuts = cuts.iter().cycle();
        let mut positions = [0u64; 2];
        let mut records = Vec::new();
        for call in &self.calls {
            // All records of a call say when it ended.
            let at = KernelTime(STEP_NS * u64::try_from(records.len() + 1).unwrap());
            let mut start = 0;
            while start < call.bytes.len() {
                let data = call.data.iter().find(|data| data.contains(&start));
                let mut end = (start + cuts.next().copied().unwrap_or(usize::MAX)).min(call.bytes.len());
                if at_data {
                    let edges = call.data.iter().flat_map(|data| [data.start, data.end]);
                    end = edges.filter(|edge| *edge > start).fold(end, usize::min);
                }
                let position = &mut positions[usize::from(call.direction == OUT)];
                let len = u64::try_from(end - start).unwrap();
                records.push(Record {
                    direction: call.direction,
                    pos: *position,
                    len,
                    bytes: Bytes::copy_from_slice(&call.bytes[start..end]),
                    at,
                    is_quiet: call.is_quiet && start == 0,
                    is_data: data.is_some_and(|data| data.end >= end),
                });
                *position += len;
                start = end;
            }
        }
        records
    }

    /// Opens, the records, the ends of both directions and the close.
    pub(super) fn events(&self, records: &[Record], late: bool) -> Vec<CaptureEvent> {
        let mut events = vec![CaptureEvent::Open(ConnOpen {
            conn: id(1),
            at: KernelTime(0),
            local: "127.0.0.1:8000".parse().unwrap(),
            remote: "127.0.0.1:4000".parse().unwrap(),
            tls: false,
            late,
        })];
        events.extend(records.iter().map(Record::event));
        events
    }

    /// The server ends its direction, and the connection is gone.
    pub(super) fn end(&self, records: &[Record]) -> Vec<CaptureEvent> {
        let ends = self.ends(records);
        let (_, server) = directions(self.leg);
        let end = CaptureEvent::End(ConnEnd {
            conn: id(1),
            at: ends.0,
            direction: server,
            pos: match server {
                Direction::Ingress => ends.1.ingress,
                Direction::Egress => ends.1.egress,
            },
        });
        vec![end, self.close(ends.0, Some(ends.1))]
    }

    /// The connection was found gone.
    pub(super) fn close(&self, at: KernelTime, ends: Option<StreamEnds>) -> CaptureEvent {
        CaptureEvent::Close(ConnClose {
            conn: id(1),
            at,
            ends,
        })
    }

    fn ends(&self, records: &[Record]) -> (KernelTime, StreamEnds) {
        let at = KernelTime(records.iter().map(|record| record.at.0).max().unwrap_or(0) + STEP_NS);
        let reached = |direction| {
            let ends = records.iter().filter(|record| record.direction == direction);
            ends.map(|record| record.pos + record.len).max().unwrap_or(0)
        };
        let ends = StreamEnds {
            ingress: reached(IN),
            egress: reached(OUT),
        };
        (at, ends)
    }

    /// Whether `exchanges` are exactly those that took place, each whole.
    pub(super) fn check_whole(&self, exchanges: &[Exchange], limit: usize) -> Result<(), TestCaseError> {
        self.check(exchanges, limit)?;
        prop_assert_eq!(exchanges.len(), self.expected.len(), "{:?}", exchanges);
        for exchange in exchanges {
            let (request, response) = (
                exchange.request.as_ref().unwrap(),
                exchange.response.as_ref().unwrap(),
            );
            let expected = &self.expected[&number_of(exchange).unwrap()];
            prop_assert_eq!(exchange.outcome, expected.outcome);
            for (body, bytes) in [
                (&request.body, expected.request_bytes),
                (&response.body, expected.response_bytes),
            ] {
                prop_assert_eq!(body.total_bytes, u64::try_from(bytes).unwrap());
                prop_assert_eq!(body.hole_bytes, 0);
                prop_assert!(body.complete || expected.outcome != Outcome::Complete);
            }
        }
        Ok(())
    }

    /// Whether nothing in `exchanges` is invented, paired wrongly or told twice, whatever is missing.
    pub(super) fn check(&self, exchanges: &[Exchange], limit: usize) -> Result<(), TestCaseError> {
        // A request and its response may come out apart, where a loss leaves open that they belong together.
        let (mut asked, mut answered) = (BTreeSet::new(), BTreeSet::new());
        for exchange in exchanges {
            prop_assert_eq!(exchange.leg, self.leg);
            let Some(number) = number_of(exchange) else {
                // Its request's head is lost, and its response's too or unknown.
                prop_assert_ne!(exchange.outcome, Outcome::Complete);
                continue;
            };
            let is_new = exchange.request.is_none() || asked.insert(number);
            let is_first = exchange.response.is_none() || answered.insert(number);
            prop_assert!(is_new && is_first, "{} came out twice: {:?}", number, exchanges);
            let expected = self.expected.get(&number);
            prop_assert!(expected.is_some(), "{} is invented: {:?}", number, exchange);
            let expected = expected.unwrap();
            if let Some(request) = &exchange.request {
                if !request.target.is_empty() {
                    let target = str::from_utf8(&request.target).unwrap_or("not text");
                    prop_assert_eq!(target.to_owned(), format!("/{number}"));
                }
                check_number(request.headers.text("x-n"), number)?;
                check_body(&request.body, number, 0, expected.request_bytes, self.kept(limit))?;
            }
            if let Some(response) = &exchange.response {
                check_number(response.headers.text("x-n"), number)?;
                prop_assert_eq!(response.status, expected.status);
                check_body(
                    &response.body,
                    number,
                    1,
                    expected.response_bytes,
                    self.kept(limit),
                )?;
            }
        }
        Ok(())
    }

    const fn kept(&self, limit: usize) -> usize {
        match self.leg {
            Leg::Downstream => limit,
            Leg::Upstream => 0,
        }
    }
}

/// The exchange's number, by whatever is left of it.
pub(super) fn number_of(exchange: &Exchange) -> Option<usize> {
    if let Some(stream) = exchange.stream {
        return usize::try_from(stream / 2).ok();
    }
    let request = exchange
        .request
        .as_ref()
        .and_then(|request| request.headers.text("x-n"));
    let response = exchange
        .response
        .as_ref()
        .and_then(|response| response.headers.text("x-n"));
    request.or(response)?.parse().ok()
}

fn check_number(text: Option<&str>, number: usize) -> Result<(), TestCaseError> {
    if let Some(text) = text {
        prop_assert_eq!(text, number.to_string(), "paired wrongly");
    }
    Ok(())
}

fn check_body(
    seen: &Body,
    number: usize,
    side: usize,
    bytes: usize,
    limit: usize,
) -> Result<(), TestCaseError> {
    let sent = body(number, side, bytes);
    prop_assert!(
        sent.starts_with(&seen.bytes),
        "{} {}: bytes that were not sent",
        number,
        side
    );
    prop_assert!(seen.bytes.len() <= limit, "more is kept than may be");
    prop_assert!(seen.hole_bytes <= seen.total_bytes);
    if seen.is_whole() {
        prop_assert_eq!(seen.bytes.len(), bytes, "{} {}: taken for whole", number, side);
    }
    Ok(())
}

/// Everything that comes out of `events`, with a sweep when they are over.
pub(super) fn run(table: &mut ConnTable, events: impl IntoIterator<Item = CaptureEvent>) -> Vec<Exchange> {
    let mut out = Vec::new();
    for event in events {
        let _skip = table.apply(event, &mut out);
    }
    out
}
