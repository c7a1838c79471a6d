//! Proves the points of OpenSSL probes before a gateway is touched.
//!
//! In: the very files that a gateway maps, and the chosen points. Out: a [`Verdict`]. A child of ours loads the files, shakes
//! hands with itself over a loopback connection, and reads and writes bytes that are known beforehand: in pieces, with and without
//! `_ex`, with calls that cannot finish. The probes watch the child, in maps and a ring of their own, and must have seen exactly
//! those bytes, in their order, on their connections. Deliberately absent: what follows from a verdict (`choice`).
//!
//! The files are a container's, perhaps, and loading a library runs its code. So the child gives up every privilege first
//! (`sandbox`), gets no environment, and has seconds to live.

pub mod child;
mod openssl;
mod sandbox;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use kongtap_common::budget::Budget;
use kongtap_common::counter;
use kongtap_common::record::ConnId;

use super::TlsProbePlan;
use crate::capture::decode;
use crate::capture::event::{CaptureEvent, Direction};
use crate::capture::libraries::TlsLibrary;
use crate::capture::placement::Placement;
use crate::capture::probes::{CaptureError, ProbeOptions, Probes};
use crate::capture::ring::Ring;
use crate::capture::symbols::TlsFunction;
use crate::clock;

/// How long the whole of it may take.
pub const BUDGET: Duration = Duration::from_secs(5);
/// How long records may take to arrive after the child has said that it is done.
const ARRIVAL: Duration = Duration::from_secs(1);
/// How often the ring is looked at.
const POLL: Duration = Duration::from_millis(1);
/// Ring of the test: more than all that it makes.
const RING_BYTES: u32 = 4 << 20;
/// Lines that the child may be ahead of us.
const LINES: usize = 64;

/// How to start the child: a program that calls [`child::run`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl Default for ChildCommand {
    /// This program, by its hidden verb.
    fn default() -> Self {
        Self {
            program: PathBuf::from("/proc/self/exe"),
            arguments: vec![child::VERB.into()],
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The probes saw what the child did.
    Passed,
    /// They saw something else.
    Failed(String),
    /// The child cannot use the library, or cannot be started.
    Impossible(String),
}

/// One test.
#[derive(Debug)]
pub struct SelfTest<'a> {
    /// Of which library.
    pub library: &'a TlsLibrary,
    /// Which points.
    pub placements: &'a BTreeMap<TlsFunction, Placement>,
    /// By which child.
    pub child: &'a ChildCommand,
}

/// Why there is no verdict on the points.
#[derive(Debug, thiserror::Error)]
enum Obstacle {
    #[error("OpenSSL is linked into the executable")]
    Executable,
    #[error("the child cannot be started: {0}")]
    Start(io::Error),
    #[error("{0}")]
    Child(String),
    #[error("the child does not answer")]
    Silence,
    #[error("no probes for it: {0}")]
    Probes(#[from] CaptureError),
}

impl SelfTest<'_> {
    /// Runs it. Takes some tenths of a second, and never longer than [`BUDGET`] and the removal of a process.
    #[must_use]
    pub fn run(&self) -> Verdict {
        match self.observe() {
            Ok(Ok(())) => Verdict::Passed,
            Ok(Err(difference)) => Verdict::Failed(difference),
            Err(obstacle) => Verdict::Impossible(obstacle.to_string()),
        }
    }

    fn observe(&self) -> Result<Result<(), String>, Obstacle> {
        if self.library.is_executable {
            return Err(Obstacle::Executable);
        }
        let mut child = Running::start(self.child, self.library)?;
        child.expect(child::READY)?;
        let mut probes = Probes::load(&ProbeOptions {
            ring_bytes: RING_BYTES,
            budget: Budget::EVERYTHING,
            ..ProbeOptions::default()
        })?;
        let mut ring = probes.ring()?;
        let tgid = child.process.id();
        probes.watch(tgid)?;
        let plan = TlsProbePlan {
            path: self.library.path_for_agent.clone(),
            placements: self.placements.clone(),
        };
        let attached = probes.attach_tls(tgid, &plan);
        let seen = attached
            .map_err(Obstacle::Probes)
            .and_then(|_attachment| observe(&mut child, &mut ring));
        let counters = probes.counters();
        // Probes are taken off slowly, and nobody need wait for it.
        drop(probes.forget(tgid));
        drop(thread::Builder::new().spawn(move || drop(probes)));
        let (versions, seen) = seen?;
        let counters = counters?;
        for (slot, what) in [
            (counter::TLS_PLACEMENT_DISAGREEMENTS, "counts that cannot be"),
            (
                counter::TLS_BINDING_DISAGREEMENTS,
                "sockets that contradict each other",
            ),
        ] {
            if counters.get(slot) > 0 {
                return Ok(Err(format!("{} {what}", counters.get(slot))));
            }
        }
        if counters.lost_bytes() > 0 || !counters.is_balanced() {
            return Ok(Err(format!("{} bytes were lost", counters.lost_bytes())));
        }
        Ok(compare(versions, &seen))
    }
}

/// What each connection carried.
type Seen = BTreeMap<ConnId, Streams>;

#[derive(Debug, Default)]
struct Streams {
    is_tls: bool,
    ingress: Vec<u8>,
    egress: Vec<u8>,
    ended: bool,
    closed: bool,
    broken: bool,
}

impl Streams {
    fn take(&mut self, event: CaptureEvent) {
        match event {
            CaptureEvent::Open(open) => self.is_tls = open.tls,
            CaptureEvent::Data(chunk) => {
                let stream = match chunk.direction {
                    Direction::Ingress => &mut self.ingress,
                    Direction::Egress => &mut self.egress,
                };
                self.broken |= u64::try_from(stream.len()) != Ok(chunk.pos);
                stream.extend_from_slice(&chunk.bytes);
            }
            CaptureEvent::End(end) => self.ended |= end.direction == Direction::Ingress,
            CaptureEvent::Close(_) => self.closed = true,
        }
    }
}

/// Lets the child go, and takes what its probes record until it is done and its connections are closed.
fn observe(child: &mut Running, ring: &mut Ring) -> Result<(usize, Seen), Obstacle> {
    child.go()?;
    let begin = clock::instant();
    let mut seen = Seen::new();
    let mut done = None;
    while begin.elapsed() < BUDGET {
        ring.drain(usize::MAX, |record| {
            if let Ok(event) = decode::decode(record) {
                seen.entry(event.conn()).or_default().take(event);
            }
        });
        match done {
            None => match child.line(POLL)? {
                Some(line) => {
                    done = line
                        .strip_prefix(child::DONE)
                        .and_then(|count| count.trim().parse::<usize>().ok())
                        .map(|versions| (versions, clock::instant()));
                }
                None => continue,
            },
            Some((versions, at)) => {
                let closed = seen.values().filter(|streams| streams.closed).count();
                if closed >= 2 * versions || at.elapsed() > ARRIVAL {
                    return Ok((versions, seen));
                }
                thread::park_timeout(POLL);
            }
        }
    }
    Err(Obstacle::Silence)
}

/// What was seen, against what the child did in that many versions of the protocol.
fn compare(versions: usize, seen: &Seen) -> Result<(), String> {
    for version in 0..versions {
        let (up, down) = (child::up(version), child::down(version));
        for (ingress, egress, whose) in [(&up, &down, "server"), (&down, &up, "client")] {
            let matching = seen.values().filter(|streams| {
                streams.is_tls && !streams.broken && streams.ingress == *ingress && streams.egress == *egress
            });
            let found: Vec<&Streams> = matching.collect();
            let [streams] = found.as_slice() else {
                return Err(format!(
                    "the {whose}'s {} and {} bytes are not what was seen: {}",
                    ingress.len(),
                    egress.len(),
                    describe(seen)
                ));
            };
            if whose == "server" && !streams.ended {
                return Err("the end of a stream was not seen".to_owned());
            }
        }
    }
    let stray = seen.len().saturating_sub(2 * versions);
    if versions == 0 || stray > 0 {
        return Err(format!("{stray} more connections than there were"));
    }
    Ok(())
}

fn describe(seen: &Seen) -> String {
    let parts: Vec<String> = seen
        .values()
        .map(|streams| format!("{} and {}", streams.ingress.len(), streams.egress.len()))
        .collect();
    if parts.is_empty() {
        "nothing".to_owned()
    } else {
        parts.join(", ")
    }
}

/// The child, with what it says.
#[derive(Debug)]
struct Running {
    process: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Running {
    fn start(command: &ChildCommand, library: &TlsLibrary) -> Result<Self, Obstacle> {
        let mut start = Command::new(&command.program);
        start
            .args(&command.arguments)
            .env_clear()
            .env(child::LIBRARY, &library.path_for_agent)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(crypto) = &library.crypto_for_agent {
            start.env(child::CRYPTO, crypto);
        }
        let mut process = start.spawn().map_err(Obstacle::Start)?;
        let input = process.stdin.take();
        let output = process.stdout.take();
        let (sender, lines) = sync_channel(LINES);
        let listen = move || {
            // Bounded by the child's lifetime; a line is bounded by nothing but what a pipe lets through in that time.
            for line in output
                .into_iter()
                .flat_map(|output| BufReader::new(output).lines())
            {
                if line.is_err() || sender.send(line.unwrap_or_default()).is_err() {
                    return;
                }
            }
        };
        let running = Self {
            process,
            input,
            lines,
        };
        thread::Builder::new()
            .name("kongtap-selftest".to_owned())
            .spawn(listen)
            .map_err(Obstacle::Start)?;
        Ok(running)
    }

    /// The child's next line that is meant for us; none if there is none in time.
    fn line(&self, wait: Duration) -> Result<Option<String>, Obstacle> {
        match self.lines.recv_timeout(wait) {
            Ok(line) => {
                // A test harness may have begun the line.
                let ours = line.find(child::MARK).and_then(|at| line.get(at..));
                match ours.and_then(|line| line.strip_prefix(child::CANNOT)) {
                    Some(why) => Err(Obstacle::Child(why.trim().to_owned())),
                    None => Ok(ours.map(str::to_owned)),
                }
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Obstacle::Child("the child ended before it was done".to_owned()))
            }
        }
    }

    fn expect(&self, wanted: &str) -> Result<(), Obstacle> {
        let begin = clock::instant();
        while begin.elapsed() < BUDGET {
            if self.line(BUDGET)?.is_some_and(|line| line.starts_with(wanted)) {
                return Ok(());
            }
        }
        Err(Obstacle::Silence)
    }

    fn go(&mut self) -> Result<(), Obstacle> {
        let Some(mut input) = self.input.take() else {
            return Err(Obstacle::Silence);
        };
        input.write_all(b"go\n").map_err(Obstacle::Start)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already, and a hostile one may not want to go.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[cfg(test)]
mod tests;
