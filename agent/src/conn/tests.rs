//! The table as the ring feeds it: opens, chunks by position (some of which never arrive), ends and closes. Cases by theme in the
//! files beside; here is what feeds them.

mod bounds;
mod conversation;
mod holes;
mod http2_conversation;
mod left;
mod lifecycle;
mod losses;
mod parser_bounds;
mod properties;
mod protocols;
mod together;

use bytes::Bytes;
use kongtap_common::record::ConnId;

use super::{ConnLimits, ConnTable, ReorderLimits};
use crate::capture::event::{
    CaptureEvent, ConnClose, ConnEnd, ConnOpen, DataChunk, Direction, KernelTime, Skip, StreamEnds,
};
use crate::http::exchange::{Exchange, Leg, Outcome};

const IN: Direction = Direction::Ingress;
const OUT: Direction = Direction::Egress;
const GET: &str = "GET /a HTTP/1.1\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Feeds a table; positions count by themselves.
struct Feed {
    table: ConnTable,
    out: Vec<Exchange>,
    now: u64,
    positions: std::collections::HashMap<(i32, Direction), u64>,
    /// What the table asked for, as capture keeps it.
    skips: std::collections::HashMap<(i32, Direction), u64>,
}

impl Feed {
    fn new(limits: ConnLimits) -> Self {
        Self {
            table: ConnTable::new(limits),
            out: Vec::new(),
            now: 0,
            positions: std::collections::HashMap::new(),
            skips: std::collections::HashMap::new(),
        }
    }

    fn tick(&mut self) -> KernelTime {
        self.now += 1;
        KernelTime(self.now)
    }

    fn apply(&mut self, event: CaptureEvent) -> &mut Self {
        if let Some(Skip {
            conn,
            direction,
            until,
        }) = self.table.apply(event, &mut self.out)
        {
            self.skips.insert((conn.fd, direction), until);
        }
        self
    }

    fn open(&mut self, fd: i32, late: bool) -> &mut Self {
        let at = self.tick();
        self.apply(CaptureEvent::Open(ConnOpen {
            conn: id(fd),
            at,
            local: "127.0.0.1:8000".parse().unwrap(),
            remote: "127.0.0.1:4000".parse().unwrap(),
            tls: false,
            late,
        }))
    }

    fn data(&mut self, fd: i32, direction: Direction, bytes: impl AsRef<[u8]>) -> &mut Self {
        let at = self.tick();
        let bytes = Bytes::copy_from_slice(bytes.as_ref());
        let len = u64::try_from(bytes.len()).unwrap();
        let pos = self.advance(fd, direction, len);
        self.apply(CaptureEvent::Data(DataChunk {
            conn: id(fd),
            at,
            direction,
            pos,
            len,
            bytes,
        }))
    }

    /// Bytes that move and are left uncopied on purpose.
    fn leave(&mut self, fd: i32, direction: Direction, len: u64) -> &mut Self {
        let at = self.tick();
        let pos = self.advance(fd, direction, len);
        self.apply(CaptureEvent::Data(DataChunk {
            conn: id(fd),
            at,
            direction,
            pos,
            len,
            bytes: Bytes::new(),
        }))
    }

    /// What the probes do with a call: all of it, or what is beyond the range that they were asked to pass over, of which
    /// they tell when it ends.
    fn call(&mut self, fd: i32, direction: Direction, bytes: &[u8], told: &mut u64) {
        let position = self.positions.get(&(fd, direction)).copied().unwrap_or(0);
        let until = self.skips.get(&(fd, direction)).copied().unwrap_or(0);
        let len = u64::try_from(bytes.len()).unwrap();
        let passed = until.saturating_sub(position).min(len);
        if passed > 0 {
            *told += passed;
            if position + passed < until {
                self.advance(fd, direction, passed);
                return;
            }
            *self.positions.get_mut(&(fd, direction)).unwrap() -= *told - passed;
            self.leave(fd, direction, std::mem::take(told));
        }
        let rest = &bytes[usize::try_from(passed).unwrap()..];
        if !rest.is_empty() {
            self.data(fd, direction, rest);
        }
    }

    /// Bytes that move and are never heard of.
    fn lose(&mut self, fd: i32, direction: Direction, len: usize) -> &mut Self {
        self.advance(fd, direction, u64::try_from(len).unwrap());
        self
    }

    fn end(&mut self, fd: i32, direction: Direction) -> &mut Self {
        let at = self.tick();
        let pos = self.advance(fd, direction, 0);
        self.apply(CaptureEvent::End(ConnEnd {
            conn: id(fd),
            at,
            direction,
            pos,
        }))
    }

    fn close(&mut self, fd: i32) -> &mut Self {
        let at = self.tick();
        let ends = StreamEnds {
            ingress: self.advance(fd, IN, 0),
            egress: self.advance(fd, OUT, 0),
        };
        self.apply(CaptureEvent::Close(ConnClose {
            conn: id(fd),
            at,
            ends: Some(ends),
        }))
    }

    fn advance(&mut self, fd: i32, direction: Direction, len: u64) -> u64 {
        let position = self.positions.entry((fd, direction)).or_default();
        let before = *position;
        *position += len;
        before
    }

    #[track_caller]
    fn expect(&mut self, expected: &[(Leg, Option<&str>, Option<u16>, Outcome)]) {
        // Nothing that is missing comes any more.
        let later = KernelTime(self.now).plus_ns(ReorderLimits::default().age_ns + 1);
        self.table.sweep(later, &mut self.out);
        let seen: Vec<_> = self
            .out
            .iter()
            .map(|exchange| {
                let target = exchange
                    .request
                    .as_ref()
                    .map(|request| str::from_utf8(&request.target).unwrap());
                (
                    exchange.leg,
                    target,
                    exchange.response.as_ref().map(|response| response.status),
                    exchange.outcome,
                )
            })
            .collect();
        assert_eq!(seen, expected);
    }
}

fn id(fd: i32) -> ConnId {
    ConnId {
        tgid: 7,
        fd,
        generation_ns: 1,
    }
}

fn feed() -> Feed {
    Feed::new(ConnLimits::default())
}
