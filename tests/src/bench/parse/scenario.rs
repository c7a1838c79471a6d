//! What is parsed: each scenario as the records that the probes would have written of it.
//!
//! In: a [`Scenario`]. Out: its [`Tape`], made anew each time and always the same. Request ids, times and positions are a counter's.

use super::tape::{Connection, Direction, Recorder, Tape};
use super::{heads, http2};

/// Client connections that take turns in most scenarios, each with an upstream connection of its own.
const CONNECTIONS: usize = 10;

/// Requests of one client connection in [`Scenario::Pipelined`] and [`Scenario::Http2`].
const ON_A_CONNECTION: usize = 100;

/// Bytes of one call of the gateway's behind the first: nginx reads into eight buffers of a page.
const CALL_BYTES: usize = 32 << 10;

/// Bytes of the first call of a response: nginx reads its head into a buffer of a page.
const FIRST_CALL_BYTES: usize = 4 << 10;

/// Bytes that the probes copy behind a head where no bodies are wanted (`kongtap_common::budget`).
const GLIMPSE_BYTES: usize = 1024;

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// 1 KiB responses, bodies on.
    #[value(name = "1k")]
    Small,
    /// 8 KiB responses, bodies on.
    #[value(name = "8k")]
    Medium,
    /// 64 KiB responses, bodies on.
    #[value(name = "64k")]
    Large,
    /// 64 KiB responses, bodies off: behind the first KiB a record of its length for each call.
    #[value(name = "off_64k")]
    LargeOff,
    /// The same with 5 MiB. The probes were not told to pass anything over, which is the most records that there can be.
    #[value(name = "off_5m")]
    HugeOff,
    /// 1 KiB responses, HTTP/2 to the client, 100 streams on each connection.
    #[value(name = "http2")]
    Http2,
    /// 1 KiB responses, 100 requests sent ahead on each client connection.
    #[value(name = "pipelined")]
    Pipelined,
    /// 1 KiB responses on 10,000 client connections, all of them in the middle of an exchange.
    #[value(name = "10k")]
    Connections,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Small,
        Self::Medium,
        Self::Large,
        Self::LargeOff,
        Self::HugeOff,
        Self::Http2,
        Self::Pipelined,
        Self::Connections,
    ];

    /// Its name in figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Small => "1k",
            Self::Medium => "8k",
            Self::Large => "64k",
            Self::LargeOff => "off_64k",
            Self::HugeOff => "off_5m",
            Self::Http2 => "http2",
            Self::Pipelined => "pipelined",
            Self::Connections => "10k",
        }
    }

    /// Its name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Small => "1 KiB",
            Self::Medium => "8 KiB",
            Self::Large => "64 KiB",
            Self::LargeOff => "64 KiB, bodies off",
            Self::HugeOff => "5 MiB, bodies off",
            Self::Http2 => "1 KiB, HTTP/2 to the client",
            Self::Pipelined => "1 KiB, 100 pipelined",
            Self::Connections => "1 KiB, 10,000 connections",
        }
    }

    /// Whether the `runscope` configuration asks for bodies.
    #[must_use]
    pub const fn bodies(self) -> Bodies {
        match self {
            Self::LargeOff | Self::HugeOff => Bodies::Off,
            Self::Small | Self::Medium | Self::Large | Self::Http2 | Self::Pipelined | Self::Connections => {
                Bodies::On
            }
        }
    }

    /// Its records.
    ///
    /// # Errors
    /// When the HTTP/2 client and its gateway do not understand each other.
    pub fn tape(self) -> anyhow::Result<Tape> {
        Ok(match self {
            Self::Small => taking_turns(1000, 1 << 10, self.bodies()),
            Self::Medium => taking_turns(500, 8 << 10, self.bodies()),
            Self::Large => taking_turns(100, 64 << 10, self.bodies()),
            Self::LargeOff => taking_turns(100, 64 << 10, self.bodies()),
            Self::HugeOff => taking_turns(100, 5 << 20, self.bodies()),
            Self::Http2 => http2::tape(CONNECTIONS, ON_A_CONNECTION, 1 << 10)?,
            Self::Pipelined => pipelined(1000),
            Self::Connections => at_once(10_000),
        })
    }
}

/// What `log_body` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bodies {
    /// Bodies are wanted, and copied.
    On,
    /// They are not.
    Off,
}

/// Exchanges one after the other, on connections that take turns and are kept.
pub(in crate::bench) fn taking_turns(exchanges: usize, body_bytes: usize, bodies: Bodies) -> Tape {
    let mut recorder = Recorder::new();
    let mut pairs: Vec<_> = (0..CONNECTIONS).map(|_| pair(&mut recorder)).collect();
    let body = heads::body(body_bytes);
    for number in 0..exchanges {
        let Some((client, upstream)) = pairs.get_mut(number % CONNECTIONS) else {
            break;
        };
        recorder.call(client, Direction::Ingress, &heads::request(number));
        pass_on(&mut recorder, upstream, number);
        answer(&mut recorder, upstream, client, number, &body, bodies);
    }
    close(recorder, pairs, exchanges)
}

/// Requests sent ahead of their answers.
fn pipelined(exchanges: usize) -> Tape {
    let mut recorder = Recorder::new();
    let mut pairs = Vec::new();
    let body = heads::body(1 << 10);
    for first in (0..exchanges).step_by(ON_A_CONNECTION) {
        let (mut client, mut upstream) = pair(&mut recorder);
        let numbers = first..first + ON_A_CONNECTION;
        let requests: Vec<u8> = numbers.clone().flat_map(heads::request).collect();
        recorder.call(&mut client, Direction::Ingress, &requests);
        for number in numbers {
            pass_on(&mut recorder, &mut upstream, number);
            answer(
                &mut recorder,
                &mut upstream,
                &mut client,
                number,
                &body,
                Bodies::On,
            );
        }
        pairs.push((client, upstream));
    }
    close(recorder, pairs, exchanges)
}

/// Every exchange on connections of its own, all of them under way at one time.
fn at_once(exchanges: usize) -> Tape {
    let mut recorder = Recorder::new();
    let mut pairs: Vec<_> = (0..exchanges).map(|_| pair(&mut recorder)).collect();
    let body = heads::body(1 << 10);
    for (number, (client, _)) in pairs.iter_mut().enumerate() {
        recorder.call(client, Direction::Ingress, &heads::request(number));
    }
    for (number, (_, upstream)) in pairs.iter_mut().enumerate() {
        pass_on(&mut recorder, upstream, number);
    }
    for (number, (client, upstream)) in pairs.iter_mut().enumerate() {
        answer(&mut recorder, upstream, client, number, &body, Bodies::On);
    }
    close(recorder, pairs, exchanges)
}

fn pair(recorder: &mut Recorder) -> (Connection, Connection) {
    (recorder.open(heads::LISTENER_PORT), recorder.open(0))
}

fn close(mut recorder: Recorder, pairs: Vec<(Connection, Connection)>, exchanges: usize) -> Tape {
    for (client, upstream) in pairs {
        recorder.close(&client);
        recorder.close(&upstream);
    }
    recorder.finish(exchanges)
}

fn pass_on(recorder: &mut Recorder, upstream: &mut Connection, number: usize) {
    recorder.call(upstream, Direction::Egress, &heads::passed_on(number));
}

/// The service answers, and the gateway passes it on call by call.
fn answer(
    recorder: &mut Recorder,
    upstream: &mut Connection,
    client: &mut Connection,
    number: usize,
    body: &[u8],
    bodies: Bodies,
) {
    let heads = [
        heads::service_answer(body.len()),
        heads::answer(number, body.len()),
    ];
    let first = body.len().min(FIRST_CALL_BYTES);
    let (now, later) = body.split_at_checked(first).unwrap_or((body, &[]));
    let legs = [(upstream, Direction::Ingress), (client, Direction::Egress)];
    for ((connection, direction), head) in legs.into_iter().zip(heads) {
        moved(recorder, connection, direction, &head, now, bodies);
        for part in later.chunks(CALL_BYTES) {
            match bodies {
                Bodies::On => recorder.call(connection, direction, part),
                Bodies::Off => recorder.left(connection, direction, part.len()),
            }
        }
    }
}

/// One call with a head and the beginning of a body.
fn moved(
    recorder: &mut Recorder,
    connection: &mut Connection,
    direction: Direction,
    head: &[u8],
    body: &[u8],
    bodies: Bodies,
) {
    let kept = match bodies {
        Bodies::On => body,
        Bodies::Off => body.get(..GLIMPSE_BYTES).unwrap_or(body),
    };
    recorder.call(connection, direction, &[head, kept].concat());
    recorder.left(connection, direction, body.len() - kept.len());
}
