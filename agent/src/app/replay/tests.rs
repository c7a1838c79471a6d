//! The committed recording: it gives the committed messages on any machine, and nothing done to it makes a replay panic.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use proptest::prelude::*;

use super::{End, feed, replay};
use crate::app::setup::pipeline_settings;
use crate::capture::recording::Redacted;
use crate::capture::recording::reader::Reader;
use crate::cli::{ReplayArgs, WatchArgs};
use crate::config::Config;
use crate::message::Message;
use crate::pipeline::{Bound, History, Pipeline, Sink};
use crate::telemetry::ledger::ExchangeLedger;

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

/// Counts what comes out.
struct Counter(Arc<ExchangeLedger>);

impl Sink for Counter {
    fn offer(&mut self, _message: Message) {
        self.0.enqueue();
        self.0.ship_queued();
    }
}

fn replay_bytes(recording: &[u8]) {
    let Ok((_, mut reader)) = Reader::of(recording) else {
        return;
    };
    let ledger = Arc::new(ExchangeLedger::default());
    let history = Arc::new(ArcSwap::from_pointee(History::new(Arc::new(Bound::unread(&[])))));
    let settings = pipeline_settings(&Config::default());
    let sink = Counter(Arc::clone(&ledger));
    let mut pipeline = Pipeline::new(settings, history, Arc::clone(&ledger), sink);
    feed(&mut reader, &mut pipeline).unwrap();
    assert!(ledger.snapshot().is_balanced());
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
        replay_bytes(&recording);
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
        replay_bytes(&recording);
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
