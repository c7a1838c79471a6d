//! TLS by calls on every OpenSSL of the matrix: plaintext of both directions, byte for byte, on the right connections.
//!
//! Each row is a build of OpenSSL, linked in one way, under a server that calls `SSL_*` or `SSL_*_ex`. The traffic is made to
//! make mistakes likely: writes that are repeated, records that are drained while others are served, objects, addresses and
//! descriptors that are used again. The capture is the agent's own, from finding the library to the ring.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use kongtap::capture::event::{CaptureEvent, ConnOpen, DataChunk, Direction};
use kongtap::capture::gateways::{Pid, Selector};
use kongtap::capture::libraries::placements_in;
use kongtap::capture::probes::ProbeOptions;
use kongtap::capture::reader::ReaderOptions;
use kongtap::capture::session::{CaptureStatus, Session, SessionOptions};
use kongtap::capture::symbols::TlsFunction;
use kongtap::capture::tls::choice::TlsOptions;
use kongtap::capture::tls::self_test::ChildCommand;
use kongtap_common::budget::Budget;
use kongtap_common::counter;
use kongtap_common::record::ConnId;
use kongtap_tests::kernel::require_kernel;
use kongtap_tests::openssl::traffic::{self, Said};
use kongtap_tests::openssl::{Api, Linkage, Row, Server, require_matrix, rows};
use kongtap_tests::programs::programs;
use kongtap_tests::tls::Version;
use kongtap_tests::wait::eventually;
use tokio::sync::mpsc::{Receiver, channel};

/// How long the last bytes may take from the server's call to here.
const ARRIVAL: Duration = Duration::from_secs(20);
/// Batches that wait: more than a row makes.
const BATCHES: usize = 100_000;

/// How the TLS of a row has to be captured, as the session's status says it: `BEGIN … END` of the text. What a build is known
/// to allow is asserted, so that a strategy which silently falls back to a dearer one fails here.
///
/// **This is the one place to change when strategies do.**
fn expected_strategy(row: &Row, _api: Api) -> (String, &'static str) {
    let end = match row.linkage {
        Linkage::Shared => "9 functions placed, self-test passed)",
        Linkage::Static | Linkage::StaticExported => "no self-test: OpenSSL is linked into the executable)",
    };
    (format!("calls (OpenSSL {} ", row.version), end)
}

#[tokio::test]
async fn openssl_1_1_1() {
    check("1.1.1").await;
}

#[tokio::test]
async fn openssl_3_0() {
    check("3.0.").await;
}

#[tokio::test]
async fn openssl_3_2() {
    check("3.2.").await;
}

#[tokio::test]
async fn openssl_3_4() {
    check("3.4.").await;
}

#[tokio::test]
async fn openssl_3_5() {
    check("3.5.").await;
}

/// Every row of a version. All are tried, so that a failure shows which have it in common.
async fn check(version: &str) {
    let test = format!("OpenSSL {version}");
    let rows = rows(version).unwrap();
    if !require_matrix(&test, &rows) {
        return;
    }
    // Compiled before the turn is taken.
    for row in &rows {
        row.server().unwrap();
        require_build(row).unwrap_or_else(|error| panic!("{row}: {error:#}"));
    }
    let Some(_turn) = require_kernel(&test).unwrap() else {
        return;
    };
    let mut failures = Vec::new();
    for row in &rows {
        for api in Api::ALL {
            if let Err(error) = check_row(row, api).await {
                failures.push(format!("{row}, {api}: {error:#}"));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// The build is what the row says: otherwise two rows would test the same code.
fn require_build(row: &Row) -> anyhow::Result<()> {
    let path = row.defining_file()?;
    let placements =
        placements_in(&path).with_context(|| format!("{} defines no functions", path.display()))?;
    for function in [TlsFunction::Read, TlsFunction::WriteEx, TlsFunction::SetFd] {
        let placement = placements.get(&function).context("a function is missing")?;
        let is_marked = placement.first == "endbr64";
        ensure!(
            !cfg!(target_arch = "x86_64") || is_marked == row.is_protected,
            "{} begins with {}",
            function.symbol(),
            placement.first
        );
    }
    Ok(())
}

async fn check_row(row: &Row, api: Api) -> anyhow::Result<()> {
    let mut server = Server::start(row, api).await?;
    let (sender, batches) = channel(BATCHES);
    let options = SessionOptions {
        selector: Selector::Pids(vec![Pid(server.process.pid())]),
        tls: TlsOptions {
            is_on: true,
            child: self_test()?,
            ..TlsOptions::default()
        },
        probes: ProbeOptions {
            budget: Budget::EVERYTHING,
            ..ProbeOptions::default()
        },
        reader: ReaderOptions::default(),
    };
    let session = Session::start(options, sender, None).context("start the capture")?;
    let mut captured = Captured::new(batches);
    let strategy = strategy(&session.status().load())?;
    let (begin, end) = expected_strategy(row, api);
    ensure!(
        strategy.starts_with(&begin) && strategy.ends_with(end),
        "captured by `{strategy}`, expected `{begin}…{end}`"
    );
    let mut said = Vec::new();
    for version in [Version::V12, Version::V13] {
        let made = traffic::all(server.address, version)
            .await
            .with_context(|| format!("the traffic, {version:?}; {}", server.process.log_tail()));
        said.extend(made?);
        server.process.require_running()?;
        captured
            .compare(&said)
            .await
            .with_context(|| format!("{version:?}"))?;
    }
    let status = Arc::clone(session.status());
    session.stop();
    require_ledger(&status.load(), &said)
}

/// How the child of the self-test is started: kongtap's own program, since this is not it.
fn self_test() -> anyhow::Result<ChildCommand> {
    Ok(ChildCommand {
        program: programs()?.kongtap.clone(),
        ..ChildCommand::default()
    })
}

/// How the one process's TLS is captured.
fn strategy(status: &CaptureStatus) -> anyhow::Result<String> {
    ensure!(status.problems.is_empty(), "{}", status.problems.join("; "));
    let states: Vec<_> = status
        .gateways
        .iter()
        .flat_map(|gateway| gateway.workers.values())
        .collect();
    match states[..] {
        [worker] => Ok(worker.tls.describe()),
        _ => bail!("{} processes are watched", states.len()),
    }
}

/// Every byte that the clients saw was seen and copied, and none is unaccounted for.
fn require_ledger(status: &CaptureStatus, said: &[Said]) -> anyhow::Result<()> {
    let kernel = &status.kernel;
    let moved: usize = said
        .iter()
        .map(|said| said.sent.len() + said.received.len())
        .sum();
    let moved = u64::try_from(moved)?;
    let counts: Vec<_> = kernel.iter().filter(|(_, count)| *count > 0).collect();
    ensure!(kernel.is_balanced(), "the ledger does not balance: {counts:?}");
    for (what, count, expected) in [
        ("seen", kernel.get(counter::SEEN_BYTES), moved),
        ("copied", kernel.get(counter::COPIED_BYTES), moved),
        ("delivered", status.reader.delivered_bytes, moved),
        ("lost", kernel.lost_bytes(), 0),
        ("left", kernel.left_bytes(), 0),
        ("refused", status.reader.queue_full_bytes, 0),
        ("undecodable", status.reader.undecodable_records, 0),
        (
            "lost lifecycle records",
            kernel.get(counter::LOST_LIFECYCLE_RECORDS),
            0,
        ),
        (
            "binding disagreements",
            kernel.get(counter::TLS_BINDING_DISAGREEMENTS),
            0,
        ),
        ("map update failures", kernel.get(counter::MAP_UPDATE_FAILURES), 0),
    ] {
        ensure!(
            count == expected,
            "{what}: {count} instead of {expected}; {counts:?}"
        );
    }
    ensure!(
        kernel.get(counter::CIPHERTEXT_BYTES) > moved,
        "less ciphertext than plaintext: {counts:?}"
    );
    Ok(())
}

/// What the capture has delivered.
struct Captured {
    batches: Receiver<Vec<CaptureEvent>>,
    conns: BTreeMap<ConnId, Seen>,
}

/// What it has delivered of one connection.
#[derive(Debug, Default)]
struct Seen {
    open: Option<ConnOpen>,
    ingress: Vec<u8>,
    egress: Vec<u8>,
    is_closed: bool,
    /// What must not be: holes, overlaps, events out of order.
    wrong: Vec<String>,
}

impl Captured {
    const fn new(batches: Receiver<Vec<CaptureEvent>>) -> Self {
        Self {
            batches,
            conns: BTreeMap::new(),
        }
    }

    /// Waits until all connections are closed, then compares each with what its client says.
    async fn compare(&mut self, said: &[Said]) -> anyhow::Result<()> {
        let closed = eventually("every connection to be closed", ARRIVAL, async || {
            while let Ok(batch) = self.batches.try_recv() {
                for event in batch {
                    self.conns.entry(event.conn()).or_default().take(event);
                }
            }
            let closed = self.conns.values().filter(|seen| seen.is_closed).count();
            if closed >= said.len() {
                Ok(())
            } else {
                Err(format!("{closed} of {} are", said.len()))
            }
        })
        .await;
        let mut wrong: Vec<String> = closed
            .err()
            .into_iter()
            .map(|error| format!("{error:#}"))
            .collect();
        let mut by_client: BTreeMap<SocketAddr, Vec<&Seen>> = BTreeMap::new();
        for (id, seen) in &self.conns {
            match seen.open {
                Some(open) => by_client.entry(open.remote).or_default().push(seen),
                None => wrong.push(format!("{id:?} was never opened")),
            }
        }
        for said in said {
            let found = by_client.remove(&said.client).unwrap_or_default();
            if let Err(error) = compare_one(said, &found) {
                wrong.push(format!("{} ({}): {error:#}", said.what, said.client));
            }
        }
        wrong.extend(
            by_client
                .keys()
                .map(|client| format!("a connection with {client}, which is no client")),
        );
        ensure!(wrong.is_empty(), "{}", wrong.join("; "));
        Ok(())
    }
}

fn compare_one(said: &Said, found: &[&Seen]) -> anyhow::Result<()> {
    let [seen] = found else {
        bail!("captured as {} connections", found.len());
    };
    ensure!(seen.wrong.is_empty(), "{}", seen.wrong.join(", "));
    let open = seen.open.context("never opened")?;
    ensure!(open.tls, "taken for a plain connection");
    ensure!(!open.late, "taken for a connection that began before");
    for (what, sent, captured) in [
        ("request bytes", &said.sent, &seen.ingress),
        ("response bytes", &said.received, &seen.egress),
    ] {
        let same = sent
            .iter()
            .zip(captured)
            .take_while(|(one, other)| one == other)
            .count();
        ensure!(
            sent == captured,
            "{} {what} captured instead of {}; they differ from {same} on",
            captured.len(),
            sent.len()
        );
    }
    Ok(())
}

impl Seen {
    fn take(&mut self, event: CaptureEvent) {
        if self.is_closed {
            self.wrong.push(format!("{} after it was closed", kind(&event)));
        }
        match event {
            CaptureEvent::Open(open) => {
                if self.open.replace(open).is_some() {
                    self.wrong.push("opened twice".to_owned());
                }
            }
            CaptureEvent::Data(chunk) => self.data(&chunk),
            CaptureEvent::End(_) => {}
            CaptureEvent::Close(_) => self.is_closed = true,
        }
    }

    fn data(&mut self, chunk: &DataChunk) {
        let stream = match chunk.direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        };
        let expected = stream.len();
        stream.extend_from_slice(&chunk.bytes);
        if usize::try_from(chunk.pos) != Ok(expected) {
            self.wrong.push(format!(
                "{:?} goes on at {} after {expected}",
                chunk.direction, chunk.pos
            ));
        }
        if usize::try_from(chunk.len) != Ok(chunk.bytes.len()) {
            self.wrong.push(format!("{} bytes were not copied", chunk.len));
        }
    }
}

const fn kind(event: &CaptureEvent) -> &'static str {
    match event {
        CaptureEvent::Open(_) => "opened",
        CaptureEvent::Data(_) => "bytes",
        CaptureEvent::End(_) => "an end",
        CaptureEvent::Close(_) => "closed",
    }
}
