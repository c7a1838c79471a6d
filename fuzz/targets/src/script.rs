//! A connection's traffic as bytes that a fuzzer can mutate and a person can read.
//!
//! In: four bytes of [`Settings`], then what moves, as it is on the wire. The byte `0xff` begins an order: `<` what follows comes to the
//! gateway, `>` it goes from the gateway, `|` another call begins, `h` and `l` with two bytes: so many are lost, or left uncopied,
//! `t` with one byte: time passes, `e`: this direction ends, `c`: the connection closes, `0xff`: the byte itself. Out: [`Move`]s.
//! Every input is a script: what is no order counts as `|`. Deliberately absent: positions and times, which follow from the order.

use bytes::Bytes;
use kongtap::capture::event::Direction;
use kongtap::conn::ConnLimits;

/// Begins an order.
pub const ORDER: u8 = 0xff;

/// Moves of one script that are looked at; what follows is left out, so that one input takes a bounded time.
const MOVES: usize = 4096;

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// The bytes of one call.
    Data(Direction, Bytes),
    /// So many bytes moved and are lost.
    Hole(Direction, u64),
    /// So many bytes moved and were left uncopied on purpose.
    Left(Direction, u64),
    /// Nothing will move in this direction any more.
    End(Direction),
    /// The connection is gone.
    Close,
    /// So many nanoseconds pass.
    Wait(u64),
}

/// How a script is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bounds of the table.
    pub limits: ConnLimits,
    /// Where calls are cut in two and repeated, where that must make no difference.
    pub cuts: u64,
    /// Whether the connection carries TLS.
    pub tls: bool,
}

/// A connection's traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// How it is played.
    pub settings: Settings,
    /// In order.
    pub moves: Vec<Move>,
}

impl Script {
    /// The script in `data`, with `before` in front of what first comes to the gateway.
    #[must_use]
    pub fn parse(data: &[u8], before: &[u8]) -> Self {
        let (settings, mut rest) = data.split_at_checked(4).unwrap_or((&[], data));
        let mut parser = Parser {
            moves: Vec::new(),
            direction: Direction::Ingress,
            call: before.to_vec(),
        };
        while let Some((byte, after)) = rest.split_first() {
            rest = after;
            if *byte == ORDER {
                rest = parser.order(after);
            } else {
                parser.call.push(*byte);
            }
        }
        parser.end_call();
        parser.moves.truncate(MOVES);
        Self {
            settings: self::settings(settings),
            moves: parser.moves,
        }
    }
}

struct Parser {
    moves: Vec<Move>,
    direction: Direction,
    call: Vec<u8>,
}

impl Parser {
    fn end_call(&mut self) {
        if !self.call.is_empty() {
            let call = std::mem::take(&mut self.call).into();
            self.moves.push(Move::Data(self.direction, call));
        }
    }

    /// Follows the order at the start of `rest`; what is after it.
    fn order<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        let Some((order, after)) = rest.split_first() else {
            return rest;
        };
        if *order == ORDER {
            self.call.push(ORDER);
            return after;
        }
        self.end_call();
        let direction = self.direction;
        match order {
            b'<' => self.direction = Direction::Ingress,
            b'>' => self.direction = Direction::Egress,
            b'h' | b'l' => {
                let (length, after) = number(after);
                self.moves.push(if *order == b'h' {
                    Move::Hole(direction, length)
                } else {
                    Move::Left(direction, length)
                });
                return after;
            }
            b't' => {
                let (exponent, after) = after.split_first().unwrap_or((&0, after));
                self.moves.push(Move::Wait(1 << (exponent % 40)));
                return after;
            }
            b'e' => self.moves.push(Move::End(direction)),
            b'c' => self.moves.push(Move::Close),
            _ => {}
        }
        after
    }
}

fn number(rest: &[u8]) -> (u64, &[u8]) {
    rest.split_first_chunk().map_or((0, &[]), |(bytes, after)| {
        (u16::from_le_bytes(*bytes).into(), after)
    })
}

/// All zero, or missing: the limits of a running agent.
fn settings(bytes: &[u8]) -> Settings {
    let mut limits = ConnLimits::default();
    let [sizes, counts, cuts, flags] = *bytes.first_chunk().unwrap_or(&[0; 4]);
    let http = &mut limits.http;
    let choose = |bits: u8, usual: usize, others: [usize; 3]| match bits & 3 {
        0 => usual,
        bits => others.get(usize::from(bits - 1)).copied().unwrap_or(usual),
    };
    http.head_bytes = choose(sizes, http.head_bytes, [64, 512, 4096]);
    http.body_bytes = choose(sizes >> 2, http.body_bytes, [0, 10, 1000]);
    http.h2.table_bytes = choose(sizes >> 4, http.h2.table_bytes, [0, 100, 4096]);
    http.fields = choose(counts, http.fields, [1, 8, 64]);
    http.pipelined = choose(counts >> 2, http.pipelined, [1, 2, 8]);
    http.h2.streams = choose(counts >> 4, http.h2.streams, [1, 2, 8]);
    Settings {
        limits,
        cuts: cuts.into(),
        tls: flags & 1 != 0,
    }
}

#[cfg(test)]
mod tests {
    use kongtap::capture::event::Direction::{Egress, Ingress};
    use kongtap::conn::ConnLimits;

    use super::{Move, Script};

    #[test]
    fn orders_and_bytes_are_told_apart() {
        let check = |script: &[u8], expected: &[Move]| {
            let data = [&[0; 4], script].concat();
            assert_eq!(
                Script::parse(&data, b"").moves,
                expected,
                "{}",
                script.escape_ascii()
            );
        };
        let data = |direction, bytes: &'static [u8]| Move::Data(direction, bytes.into());
        check(b"", &[]);
        check(
            b"a\xff>b\xff\xffc\xff|d",
            &[data(Ingress, b"a"), data(Egress, b"b\xffc"), data(Egress, b"d")],
        );
        check(
            b"\xffh\x02\x01a\xffl\x01\x00",
            &[
                Move::Hole(Ingress, 258),
                data(Ingress, b"a"),
                Move::Left(Ingress, 1),
            ],
        );
        check(
            b"\xff>\xffe\xff<\xffe\xffc\xfft\x03",
            &[Move::End(Egress), Move::End(Ingress), Move::Close, Move::Wait(8)],
        );
        check(b"a\xff", &[data(Ingress, b"a")]);
        check(b"a\xffh\x01", &[data(Ingress, b"a"), Move::Hole(Ingress, 0)]);
    }

    #[test]
    fn settings_of_zero_are_those_of_a_running_agent() {
        for data in [&[0, 0, 0, 0][..], &[]] {
            assert_eq!(Script::parse(data, b"").settings.limits, ConnLimits::default());
        }
        let few = Script::parse(&[1, 1, 7, 1], b"x").settings;
        assert_eq!((few.limits.http.head_bytes, few.limits.http.fields), (64, 1));
        assert_eq!((few.cuts, few.tls), (7, true));
    }
}
