//! The committed recording: it gives the committed messages on any machine, and nothing done to it makes a replay panic.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use kongtap_common::record::{ABI, ConnId, DIRECTION_EGRESS, DIRECTION_INGRESS, KIND_DATA, RecordHeader};
use proptest::prelude::*;
use zerocopy::IntoBytes as _;

use super::{End, feed, replay};
use crate::app::setup::pipeline_settings;
use crate::capture::recording::reader::Reader;
use crate::capture::recording::writer::Writer;
use crate::capture::recording::{Header, Redacted, SMALLEST_LIMIT_BYTES};
use crate::cli::{ReplayArgs, WatchArgs};
use crate::config::Config;
use crate::message::Message;
use crate::pipeline::{Bound, History, Pipeline, Sink};
use crate::telemetry::ledger::{ExchangeLedger, LedgerSnapshot};

const RECORDING: &[u8] = include_bytes!("../../../../testdata/recordings/lab.rec");
const MESSAGES: &str = include_str!("../../../../testdata/recordings/lab.jsonl");

fn testdata(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/recordings")).join(name)
}

#[tokio::test]
async fn the_committed_recording_gives_the_committed_messages() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("out.jsonl");
    let watch = WatchArgs {
        gateway_config: vec![testdata("kong.yml")],
        plugins: vec![testdata("runscope.yml")],
        ..WatchArgs::default()
    };
    let config = watch.resolve(&|_| None).unwrap();
    let arguments = ReplayArgs {
        recording: testdata("lab.rec"),
        watch,
        output: Some(output.clone()),
    };
    let replayed = replay(&config, &arguments).await.unwrap();
    assert_eq!(replayed.redaction, Redacted::Masked);
    let End::Told(trailer) = &replayed.end else {
        panic!("{:?}", replayed.end)
    };
    assert_eq!(
        (trailer.lost_bytes(), trailer.counts.records),
        (0, replayed.read.records)
    );
    assert_eq!((replayed.read.unknown, replayed.read.undecodable), (0, 0));
    assert!(replayed.ledger.is_balanced());
    let written = std::fs::read_to_string(output).unwrap();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&written), lines(MESSAGES));
}

/// A data record of connection `fd` at `at_ms`.
fn data(fd: i32, direction: u8, at_ms: u64, pos_bytes: u64, text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap();
    let header = RecordHeader {
        kind: KIND_DATA,
        abi: ABI,
        flags: 0,
        captured_bytes: length,
        at_ns: at_ms * 1_000_000,
        conn: ConnId {
            tgid: 1,
            fd,
            generation_ns: 1,
        },
        pos_bytes,
        call_bytes: length,
        direction,
        source: 0,
        pad: 0,
    };
    [header.as_bytes(), text.as_bytes()].concat()
}

#[test]
fn what_waited_too_long_does_not_see_what_came_later() {
    let id = "X-Kong-Request-Id: 0123456789abcdef0123456789abcdef\r\n";
    let request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let (sent, answer) = (
        format!("GET / HTTP/1.1\r\n{id}\r\n"),
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    );
    let response = format!("HTTP/1.1 200 OK\r\nX-Kong-Upstream-Latency: 1\r\n{id}Content-Length: 0\r\n\r\n");
    let directory = tempfile::tempdir().unwrap();
    // The upstream leg ends in time, and long after the client's leg was given up waiting for it.
    for (late_ms, seen, without_client) in [(100, 1, 0), (9000, 2, 1)] {
        let path = directory.path().join(format!("{late_ms}.rec"));
        let header = Header {
            abi: ABI,
            ..Header::default()
        };
        let mut writer = Writer::create(&path, &header, SMALLEST_LIMIT_BYTES).unwrap();
        for record in [
            data(3, DIRECTION_INGRESS, 1000, 0, request),
            data(4, DIRECTION_EGRESS, 1001, 0, &sent),
            data(3, DIRECTION_EGRESS, 1002, 0, &response),
            data(4, DIRECTION_INGRESS, 1002 + late_ms, 0, answer),
        ] {
            writer.push(&record).unwrap();
        }
        writer.flush().unwrap();
        let ledger = replay_bytes(&std::fs::read(&path).unwrap()).unwrap();
        let not_proxied = ledger.filtered.iter().find(|(name, _)| *name == "not_proxied");
        assert_eq!(
            (ledger.seen, not_proxied.unwrap().1),
            (seen, without_client),
            "{late_ms} ms late"
        );
    }
}

/// Counts what comes out.
struct Counter(Arc<ExchangeLedger>);

impl Sink for Counter {
    fn offer(&mut self, _message: Message) {
        self.0.enqueue();
        self.0.ship_queued();
    }
}

fn replay_bytes(recording: &[u8]) -> Option<LedgerSnapshot> {
    let (_, mut reader) = Reader::of(recording).ok()?;
    let ledger = Arc::new(ExchangeLedger::default());
    let history = Arc::new(ArcSwap::from_pointee(History::new(Arc::new(Bound::unread(&[])))));
    let settings = pipeline_settings(&Config::default());
    let sink = Counter(Arc::clone(&ledger));
    let mut pipeline = Pipeline::new(settings, history, Arc::clone(&ledger), sink);
    feed(&mut reader, &mut pipeline).unwrap();
    let ledger = ledger.snapshot();
    assert!(ledger.is_balanced());
    Some(ledger)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_recording_never_panics(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..=255), 1..200),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut recording = RECORDING.to_vec();
        for (index, flip) in flips {
            recording[index.index(RECORDING.len())] ^= flip;
        }
        if is_cut {
            recording.truncate(cut.index(RECORDING.len()));
        }
        let _ledger = replay_bytes(&recording);
    }

    // Most flips above hit a length early on, after which nothing more is read; these leave the items whole.
    #[test]
    fn records_with_damage_in_them_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..90, 1_u8..=255), 1..200),
    ) {
        let mut recording = RECORDING.to_vec();
        let items = items();
        for (index, offset, flip) in flips {
            let (start, length) = items[index.index(items.len())];
            if offset < length {
                recording[start + offset] ^= flip;
            }
        }
        let _ledger = replay_bytes(&recording);
    }
}

/// Where each item's bytes are in the recording: start and length.
fn items() -> Vec<(usize, usize)> {
    let mut newlines = RECORDING.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let mut at = newlines.nth(1).unwrap().0 + 1;
    let mut items = Vec::new();
    while let Some([_tag, length @ ..]) = RECORDING[at..].first_chunk::<5>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap();
        items.push((at + 5, length));
        at += 5 + length;
    }
    items
}
