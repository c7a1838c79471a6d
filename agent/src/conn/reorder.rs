//! Puts the records of one connection back into order when they were written out of order.
//!
//! In: what came, in the order of the ring. Out: the same in the order of the stream's positions. Two threads of a gateway that use one
//! connection count its positions and take room in the ring one after the other, so their records may change places on the
//! way. A record that is ahead of its direction therefore waits a moment for what should come before it, and everything that the connection
//! does meanwhile waits behind it, because the order of the two directions says which response answers which
//! request. What has not come by then is a hole. Deliberately absent: what holes mean.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::capture::event::{ConnEnd, DataChunk, Direction, KernelTime};

/// How long and how much waits for a record that may still come (I10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReorderLimits {
    /// Most records of a connection that wait; zero: what is ahead is taken at once, and what it left out is a hole.
    pub records: usize,
    /// Most bytes that wait on one connection.
    pub bytes: usize,
    /// How long they wait, nanoseconds.
    pub age_ns: u64,
}

impl Default for ReorderLimits {
    fn default() -> Self {
        Self {
            records: 64,
            bytes: 256 << 10,
            age_ns: 10_000_000,
        }
    }
}

/// Something that has a place in a direction.
#[derive(Debug)]
pub(super) enum Placed {
    Data(DataChunk),
    End(ConnEnd),
}

impl Placed {
    pub(super) const fn direction(&self) -> Direction {
        match self {
            Self::Data(chunk) => chunk.direction,
            Self::End(end) => end.direction,
        }
    }

    pub(super) const fn pos(&self) -> u64 {
        match self {
            Self::Data(chunk) => chunk.pos,
            Self::End(end) => end.pos,
        }
    }

    pub(super) const fn at(&self) -> KernelTime {
        match self {
            Self::Data(chunk) => chunk.at,
            Self::End(end) => end.at,
        }
    }

    /// Whether it only says how far its direction has come.
    pub(super) const fn is_mark(&self) -> bool {
        match self {
            Self::Data(chunk) => chunk.len == 0 && chunk.bytes.is_empty(),
            Self::End(_) => false,
        }
    }

    const fn bytes(&self) -> usize {
        match self {
            Self::Data(chunk) => chunk.bytes.len(),
            Self::End(_) => 0,
        }
    }
}

/// How far both directions have come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) ingress: u64,
    pub(super) egress: u64,
}

impl Known {
    pub(super) const fn of(self, direction: Direction) -> u64 {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }

    pub(super) const fn reaches(self, placed: &Placed) -> bool {
        placed.pos() <= self.of(placed.direction())
    }
}

/// What waits, in the order in which it came. The first one is ahead of its direction; the others wait for it.
#[derive(Debug, Default)]
pub(super) struct Window {
    waiting: VecDeque<Placed>,
    bytes: usize,
    /// Records that came after others which follow them.
    reordered: u64,
}

impl Window {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, placed: Placed) {
        let placed = match placed {
            // Copied, so that what waits does not keep whole batches of records alive.
            Placed::Data(chunk) => Placed::Data(DataChunk {
                bytes: Bytes::copy_from_slice(&chunk.bytes),
                ..chunk
            }),
            Placed::End(end) => Placed::End(end),
        };
        self.bytes += placed.bytes();
        self.waiting.push_back(placed);
    }

    /// Takes out what need not wait any more, one at a time.
    pub(super) fn ready(&mut self, known: Known) -> Option<Placed> {
        let first = self.waiting.front()?;
        let direction = first.direction();
        let found = if known.reaches(first) {
            0
        } else {
            self.waiting
                .iter()
                .position(|placed| placed.direction() == direction && known.reaches(placed))?
        };
        self.reordered += u64::from(found > 0);
        self.take(found)
    }

    /// How many came late since the last call.
    pub(super) const fn take_reordered(&mut self) -> u64 {
        std::mem::replace(&mut self.reordered, 0)
    }

    /// Whether the limits do not allow to wait any longer.
    pub(super) fn is_over(&self, limits: &ReorderLimits, now: KernelTime) -> bool {
        let is_late = |first: &Placed| now.ns_since(first.at()) > limits.age_ns;
        self.waiting.len() > limits.records
            || self.bytes > limits.bytes
            || self.waiting.front().is_some_and(is_late)
    }

    /// What is waited for will not come: takes out what is next without it.
    pub(super) fn give_up(&mut self) -> Option<Placed> {
        let direction = self.waiting.front()?.direction();
        let (found, _) = self
            .waiting
            .iter()
            .enumerate()
            .filter(|(_, placed)| placed.direction() == direction)
            .min_by_key(|(_, placed)| placed.pos())?;
        self.take(found)
    }

    fn take(&mut self, index: usize) -> Option<Placed> {
        let placed = self.waiting.remove(index)?;
        self.bytes -= placed.bytes();
        if self.waiting.is_empty() {
            // Waiting is rare, connections are many.
            self.waiting = VecDeque::new();
        }
        Some(placed)
    }
}

#[cfg(test)]
mod tests {
    use kongtap_common::record::ConnId;

    use super::{Known, Placed, ReorderLimits, Window};
    use crate::capture::event::{ConnEnd, DataChunk, Direction, KernelTime};

    const IN: Direction = Direction::Ingress;
    const OUT: Direction = Direction::Egress;
    const CONN: ConnId = ConnId {
        tgid: 1,
        fd: 2,
        generation_ns: 3,
    };

    fn chunk(direction: Direction, pos: u64, bytes: &'static [u8]) -> Placed {
        Placed::Data(DataChunk {
            conn: CONN,
            at: KernelTime(pos),
            direction,
            pos,
            len: u64::try_from(bytes.len()).unwrap(),
            bytes: bytes.into(),
        })
    }

    /// Everything that is ready, as capture would have written it; bytes of each direction count on.
    fn drain(window: &mut Window, known: &mut Known) -> Vec<(Direction, u64)> {
        let mut order = Vec::new();
        while let Some(placed) = window.ready(*known) {
            order.push((placed.direction(), placed.pos()));
            let end = placed.pos() + u64::try_from(placed.bytes()).unwrap();
            match placed.direction() {
                Direction::Ingress => known.ingress = known.ingress.max(end),
                Direction::Egress => known.egress = known.egress.max(end),
            }
        }
        order
    }

    #[test]
    fn what_is_ahead_waits_for_what_is_missing_and_the_other_direction_behind_it() {
        let mut known = Known {
            ingress: 2,
            egress: 0,
        };
        let mut window = Window::default();
        for placed in [chunk(IN, 6, b"gh"), chunk(OUT, 0, b"answer"), chunk(IN, 4, b"ef")] {
            window.push(placed);
            assert_eq!(drain(&mut window, &mut known), []);
        }
        window.push(chunk(IN, 2, b"cd"));
        assert_eq!(
            drain(&mut window, &mut known),
            [(IN, 2), (IN, 4), (IN, 6), (OUT, 0)]
        );
        assert!(window.is_empty() && window.bytes() == 0);
    }

    #[test]
    fn what_is_given_up_comes_by_position_whatever_order_it_came_in() {
        let mut known = Known {
            ingress: 0,
            egress: 0,
        };
        let mut window = Window::default();
        window.push(chunk(IN, 8, b"ij"));
        window.push(chunk(IN, 4, b"ef"));
        window.push(chunk(OUT, 0, b"x"));
        let first = window.give_up().unwrap();
        assert_eq!((first.direction(), first.pos()), (IN, 4));
        known.ingress = 6;
        assert_eq!(
            drain(&mut window, &mut known),
            [],
            "the one after it is ahead too"
        );
        assert_eq!(window.give_up().unwrap().pos(), 8);
        assert_eq!(drain(&mut window, &mut known), [(OUT, 0)]);
    }

    #[test]
    fn each_limit_ends_the_wait() {
        let limits = ReorderLimits {
            records: 2,
            bytes: 10,
            age_ns: 100,
        };
        let now = KernelTime(50);
        for (placed, is_over) in [
            (vec![chunk(IN, 50, b"0123456789")], false),
            (vec![chunk(IN, 50, b"0123456789a")], true),
            (vec![chunk(IN, 50, b"0"), chunk(IN, 52, b"0")], false),
            (
                vec![
                    chunk(IN, 50, b"0"),
                    chunk(IN, 52, b"0"),
                    Placed::End(ConnEnd {
                        conn: CONN,
                        at: now,
                        direction: IN,
                        pos: 53,
                    }),
                ],
                true,
            ),
        ] {
            let text = format!("{placed:?}");
            let mut window = Window::default();
            placed.into_iter().for_each(|placed| window.push(placed));
            assert_eq!(window.is_over(&limits, now), is_over, "{text}");
        }
        let mut window = Window::default();
        window.push(chunk(IN, 50, b"0"));
        assert!(!window.is_over(&limits, KernelTime(150)) && window.is_over(&limits, KernelTime(151)));
    }
}
