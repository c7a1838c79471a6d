//! Plays a script to a connection table, and knows what truly moved.
//!
//! In: a [`Script`]. Out: the exchanges and counters that the table came to, and each direction's bytes between what is missing.

use bytes::Bytes;
use kongtap::capture::event::{
    CaptureEvent, ConnClose, ConnEnd, ConnOpen, DataChunk, Direction, KernelTime, StreamEnds,
};
use kongtap::conn::{ConnStats, ConnTable};
use kongtap::http::exchange::Exchange;
use kongtap_common::record::ConnId;

use crate::script::{Move, Script, Settings};

/// The one connection.
pub(crate) const CONN: ConnId = ConnId {
    tgid: 7,
    fd: 3,
    generation_ns: 1,
};

/// One direction as it truly was.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    /// Bytes that moved.
    pub(crate) moved: u64,
    /// Of those, lost.
    pub(crate) lost: u64,
    /// What was copied, in the pieces between which something is missing.
    pub(crate) copied: Vec<Vec<u8>>,
}

/// Both directions as they truly were.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truths {
    pub(crate) ingress: Truth,
    pub(crate) egress: Truth,
    /// Whether bytes are missing anywhere.
    pub(crate) has_gaps: bool,
}

impl Truths {
    pub(crate) const fn of(&self, direction: Direction) -> &Truth {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    const fn of_mut(&mut self, direction: Direction) -> &mut Truth {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }

    fn after(moves: &[Move]) -> Self {
        let mut truths = Self::default();
        for step in moves {
            truths.step(step);
        }
        truths
    }

    fn step(&mut self, step: &Move) {
        match step {
            Move::Data(direction, bytes) => {
                let truth = self.of_mut(*direction);
                truth.moved = truth.moved.saturating_add(len(bytes));
                if truth.copied.is_empty() {
                    truth.copied.push(Vec::new());
                }
                if let Some(last) = truth.copied.last_mut() {
                    last.extend_from_slice(bytes);
                }
            }
            Move::Hole(direction, bytes) | Move::Left(direction, bytes) => {
                self.has_gaps |= *bytes > 0;
                let is_hole = matches!(step, Move::Hole(..));
                let truth = self.of_mut(*direction);
                truth.moved = truth.moved.saturating_add(*bytes);
                truth.lost = truth.lost.saturating_add(if is_hole { *bytes } else { 0 });
                truth.copied.push(Vec::new());
            }
            Move::End(_) | Move::Close | Move::Wait(_) => {}
        }
    }
}

/// What came of a script.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) stats: ConnStats,
    pub(crate) truths: Truths,
}

/// How calls reach the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Each call as one record.
    Whole,
    /// Each call in several records of the same time, some of them twice.
    Pieces,
}

/// Plays a whole script.
pub(crate) fn play(script: &Script, delivery: Delivery) -> Played {
    play_from(script, 0, delivery)
}

/// Plays a script of which the first `skipped` moves are the past, so that the connection is joined late.
pub(crate) fn play_from(script: &Script, skipped: usize, delivery: Delivery) -> Played {
    let past = script.moves.get(..skipped).unwrap_or_default();
    let mut table = ConnTable::new(script.settings.limits);
    let mut exchanges = Vec::new();
    let mut end = KernelTime(0);
    for event in events(script, skipped, delivery) {
        end = event.at();
        table.apply(event, &mut exchanges);
    }
    table.flush(end, &mut exchanges);
    let mut truths = Truths::default();
    for step in script.moves.iter().skip(past.len()) {
        truths.step(step);
    }
    Played {
        exchanges,
        stats: table.stats(),
        truths,
    }
}

/// The events of a script, as capture would give them. Each move has a moment of its own, whatever was skipped.
pub(crate) fn events(script: &Script, skipped: usize, delivery: Delivery) -> Vec<CaptureEvent> {
    let past = script.moves.get(..skipped).unwrap_or_default();
    let before = Truths::after(past);
    let mut feed = Feed {
        settings: script.settings,
        ingress: before.ingress.moved,
        egress: before.egress.moved,
        now: KernelTime(0),
        cuts: script.settings.cuts,
        delivery,
        events: Vec::new(),
    };
    for (index, step) in script.moves.iter().enumerate() {
        feed.now = feed.now.plus_ns(1);
        if let Move::Wait(ns) = step {
            feed.now = feed.now.plus_ns(*ns);
        }
        if index >= skipped {
            if feed.events.is_empty() {
                feed.open(skipped > 0);
            }
            feed.step(step);
        }
    }
    feed.events
}

struct Feed {
    settings: Settings,
    ingress: u64,
    egress: u64,
    now: KernelTime,
    cuts: u64,
    delivery: Delivery,
    events: Vec<CaptureEvent>,
}

impl Feed {
    fn open(&mut self, late: bool) {
        let end = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        self.events.push(CaptureEvent::Open(ConnOpen {
            conn: CONN,
            at: self.now,
            local: end(8000),
            remote: end(40_000),
            tls: self.settings.tls,
            late,
        }));
    }

    fn step(&mut self, step: &Move) {
        match step {
            Move::Data(direction, bytes) => match self.delivery {
                Delivery::Whole => self.data(*direction, bytes.clone()),
                Delivery::Pieces => self.pieces(*direction, bytes.clone()),
            },
            Move::Hole(direction, bytes) => {
                self.advance(*direction, *bytes);
            }
            Move::Left(direction, bytes) => {
                let pos = self.advance(*direction, *bytes);
                self.chunk(*direction, pos, *bytes, Bytes::new());
            }
            Move::End(direction) => {
                let pos = self.advance(*direction, 0);
                self.events.push(CaptureEvent::End(ConnEnd {
                    conn: CONN,
                    at: self.now,
                    direction: *direction,
                    pos,
                }));
            }
            Move::Close => self.events.push(CaptureEvent::Close(ConnClose {
                conn: CONN,
                at: self.now,
                ends: Some(StreamEnds {
                    ingress: self.ingress,
                    egress: self.egress,
                }),
            })),
            Move::Wait(_) => {}
        }
    }

    fn data(&mut self, direction: Direction, bytes: Bytes) {
        let pos = self.advance(direction, len(&bytes));
        self.chunk(direction, pos, len(&bytes), bytes);
    }

    fn pieces(&mut self, direction: Direction, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let draw = self.draw();
            // Mostly short pieces, because heads are short; now and then all that is left.
            let length = match draw & 7 {
                0 => bytes.len(),
                1 => 1,
                2..=5 => usize::try_from(draw >> 8 & 0x1f).unwrap_or(0) + 1,
                _ => usize::try_from(draw >> 8 & 0x3ff).unwrap_or(0) + 1,
            };
            let piece = bytes.split_to(length.min(bytes.len()));
            let pos = self.advance(direction, len(&piece));
            if draw & 0x70 == 0 {
                self.chunk(direction, pos, len(&piece), piece.clone());
            }
            self.chunk(direction, pos, len(&piece), piece);
        }
    }

    fn chunk(&mut self, direction: Direction, pos: u64, len: u64, bytes: Bytes) {
        self.events.push(CaptureEvent::Data(DataChunk {
            conn: CONN,
            at: self.now,
            direction,
            pos,
            len,
            bytes,
        }));
    }

    /// Where the direction was; it is `bytes` further then.
    const fn advance(&mut self, direction: Direction, bytes: u64) -> u64 {
        let pos = match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        };
        let was = *pos;
        *pos = was.saturating_add(bytes);
        was
    }

    /// Numbers that look random and are the same for the same script (Knuth's MMIX generator, its upper half).
    const fn draw(&mut self) -> u64 {
        self.cuts = self
            .cuts
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.cuts >> 32
    }
}

pub(crate) fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
