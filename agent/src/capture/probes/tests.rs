//! The probes on the real kernel: what a child process's socket and OpenSSL calls moved must come out byte for byte.
//!
//! Each test watches processes of its own, so what other tests do does not show. Without the right to load eBPF they say
//! so and pass, unless `REQUIRE_KERNEL=1`.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use kongtap_common::budget::Budget;
use kongtap_common::counter;
use kongtap_common::record::ConnId;

use super::{CaptureError, KernelCounters, ProbeOptions, Probes};
use crate::capture::event::{CaptureEvent, ConnOpen, Direction};
use crate::capture::reader::{Reader, ReaderOptions};
use crate::capture::sources::SourceChoice;
use crate::clock;

mod budget;
mod calls;
mod child;
mod following;
mod plain;
mod tls;

/// How long a test waits for something that is bound to happen.
const BUDGET: Duration = Duration::from_secs(20);

/// Loads the probes, or says why not.
fn probes(options: &ProbeOptions) -> Option<Probes> {
    match Probes::load(options) {
        Ok(probes) => Some(probes),
        Err(
            error @ (CaptureError::NoPrivilege { .. }
            | CaptureError::NoBtf { .. }
            | CaptureError::NoTracepoint { .. }
            | CaptureError::NoSyscallTracing { .. }
            | CaptureError::NoUprobes(_)),
        ) => {
            skip(&error.to_string());
            None
        }
        Err(error) => panic!("{error}: {error:?}"),
    }
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(super) fn skip(reason: &str) {
    assert_ne!(std::env::var("REQUIRE_KERNEL").as_deref(), Ok("1"), "{reason}");
    eprintln!("skipped: {reason}");
}

/// Probes with a reader, and what came out so far.
struct Capture {
    probes: Probes,
    reader: Option<Reader>,
    batches: Receiver<Vec<CaptureEvent>>,
    conns: BTreeMap<ConnId, Seen>,
}

/// What was seen of one connection.
#[derive(Debug, Default)]
struct Seen {
    open: Option<ConnOpen>,
    ingress: Stream,
    egress: Stream,
    closed: bool,
}

#[derive(Debug, Default)]
struct Stream {
    /// Position and bytes of each chunk, in order of arrival.
    chunks: Vec<(u64, Vec<u8>)>,
    /// Bytes that moved without any to copy.
    without_payload: u64,
    /// Position and length of what was left uncopied.
    left: Vec<(u64, u64)>,
    end: Option<u64>,
    /// How far it had come when the connection closed.
    closed_at: Option<u64>,
}

impl Stream {
    /// The bytes, and zeros for the ranges (position, length) in which there must be none.
    fn with_holes(&self, length: usize, holes: &[(usize, usize)]) -> Vec<u8> {
        let mut all = vec![0; length];
        let mut expected = 0;
        for (pos, bytes) in &self.chunks {
            let mut pos = usize::try_from(*pos).unwrap();
            while let Some((_, hole)) = holes.iter().find(|(at, _)| *at == expected) {
                expected += hole;
            }
            assert_eq!(pos, expected, "a hole or an overlap");
            all[pos..pos + bytes.len()].copy_from_slice(bytes);
            pos += bytes.len();
            expected = pos;
        }
        while let Some((_, hole)) = holes.iter().find(|(at, _)| *at == expected) {
            expected += hole;
        }
        assert_eq!(expected, length, "what is missing at the end");
        all
    }

    /// The bytes, if they come one after the other from position zero on.
    fn contiguous(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for (pos, bytes) in &self.chunks {
            assert_eq!(*pos, u64::try_from(all.len()).unwrap(), "a hole or an overlap");
            all.extend_from_slice(bytes);
        }
        all
    }

    /// Bytes that no record brought or told of, up to where it was when the connection closed.
    fn missing(&self) -> u64 {
        let copied = self
            .chunks
            .iter()
            .map(|(pos, bytes)| (*pos, u64::try_from(bytes.len()).unwrap()));
        let mut ranges: Vec<_> = copied.chain(self.left.iter().copied()).collect();
        ranges.sort_unstable();
        let (mut next, mut missing) = (0, 0);
        for (pos, len) in ranges {
            assert!(pos >= next, "two records of the same bytes at {pos}");
            missing += pos - next;
            next = pos + len;
        }
        missing + self.closed_at.unwrap().checked_sub(next).unwrap()
    }
}

impl Seen {
    fn stream(&mut self, direction: Direction) -> &mut Stream {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }

    fn take(&mut self, event: CaptureEvent) {
        assert!(!self.closed, "{event:?} after the connection was closed");
        match event {
            CaptureEvent::Open(open) => {
                assert_eq!(self.open, None, "opened twice");
                self.open = Some(open);
            }
            CaptureEvent::Data(chunk) => {
                assert!(self.open.is_some(), "{chunk:?} before the connection was opened");
                let stream = self.stream(chunk.direction);
                if chunk.bytes.is_empty() {
                    stream.without_payload += chunk.len;
                    stream.left.push((chunk.pos, chunk.len));
                } else {
                    stream.chunks.push((chunk.pos, chunk.bytes.to_vec()));
                }
            }
            CaptureEvent::End(end) => {
                let stream = self.stream(end.direction);
                assert_eq!(stream.end, None, "ended twice");
                stream.end = Some(end.pos);
            }
            CaptureEvent::Close(close) => {
                let ends = close.ends.expect("the probes know them");
                self.ingress.closed_at = Some(ends.ingress);
                self.egress.closed_at = Some(ends.egress);
                self.closed = true;
            }
        }
    }
}

impl Capture {
    /// Probes that copy everything.
    fn start() -> Option<Self> {
        Self::by(SourceChoice::Auto)
    }

    /// Likewise, by one source of socket calls.
    fn by(sockets: SourceChoice) -> Option<Self> {
        Self::with(&ProbeOptions {
            sockets,
            budget: Budget::EVERYTHING,
            ..ProbeOptions::default()
        })
    }

    /// Probes that copy so much of each message.
    fn within(budget: Budget) -> Option<Self> {
        Self::with(&ProbeOptions {
            budget,
            ..ProbeOptions::default()
        })
    }

    fn with(options: &ProbeOptions) -> Option<Self> {
        let mut probes = probes(options)?;
        let (sender, batches) = sync_channel(100_000);
        let ring = probes.ring().unwrap();
        let reader = Reader::spawn(ring, ReaderOptions::default(), sender, None).unwrap();
        Some(Self {
            probes,
            reader: Some(reader),
            batches,
            conns: BTreeMap::new(),
        })
    }

    /// Takes events until `done` is content with them.
    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let begin = clock::instant();
        while !done(self) {
            assert!(
                begin.elapsed() < BUDGET,
                "waited in vain for {what}: {}",
                self.describe()
            );
            if let Ok(batch) = self.batches.recv_timeout(Duration::from_millis(20)) {
                for event in batch {
                    self.conns.entry(event.conn()).or_default().take(event);
                }
            }
        }
    }

    /// Takes events until `count` connections are closed, and checks the ledger.
    fn finish(&mut self, count: usize) -> KernelCounters {
        self.until("closed connections", |capture| {
            capture.conns.values().filter(|seen| seen.closed).count() >= count
        });
        assert_eq!(self.conns.len(), count, "{}", self.describe());
        self.reader.take().unwrap().stop();
        let counters = self.probes.counters().unwrap();
        assert!(counters.is_balanced(), "{counters:?}");
        counters
    }

    fn describe(&self) -> String {
        let conns = self.conns.iter().map(|(id, seen)| {
            format!(
                "{id:?}: open {:?}, in {} chunks, end {:?}, out {} chunks, end {:?}, closed {}",
                seen.open,
                seen.ingress.chunks.len(),
                seen.ingress.end,
                seen.egress.chunks.len(),
                seen.egress.end,
                seen.closed
            )
        });
        let counters = self.probes.counters().unwrap();
        format!(
            "{}\n{:?}",
            conns.collect::<Vec<_>>().join("\n"),
            counters.iter().collect::<Vec<_>>()
        )
    }
}

/// Bytes that no two positions nearby share, so that a shift shows.
fn pattern(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_ne_bytes()[1]
        })
        .collect()
}

#[test]
fn a_process_id_that_cannot_be_is_refused() {
    let Some(mut probes) = probes(&ProbeOptions::default()) else {
        return;
    };
    for tgid in [0, 1 << 22, u32::MAX] {
        assert!(matches!(probes.watch(tgid), Err(CaptureError::Pid(_))), "{tgid}");
    }
    assert_eq!(probes.counters().unwrap().get(counter::SEEN_BYTES), 0);
}
