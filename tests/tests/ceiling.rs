//! The ceiling on memory: fed far more than it may hold, the pipeline holds what its limits say and no more.
//!
//! This program's resident memory is measured, so nothing else is tested in it.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use kongtap::app::setup::pipeline_settings;
use kongtap::capture::event::{CaptureEvent, ConnOpen, DataChunk, Direction, KernelTime};
use kongtap::config::Config;
use kongtap::message::Message;
use kongtap::pipeline::{Bound, History, Pipeline, Sink};
use kongtap::telemetry::ledger::ExchangeLedger;
use kongtap_common::record::ConnId;

const PIECE_BYTES: usize = 16 << 10;

/// Messages leave at once.
#[derive(Debug)]
struct Gone;

impl Sink for Gone {
    fn offer(&mut self, _message: Message) {}
}

/// A pipeline with the limits of a running agent, and connections that are fed in turn.
struct Feed {
    pipeline: Pipeline<Gone>,
    now: u64,
    fed: u64,
}

impl Feed {
    fn conn(number: i32) -> ConnId {
        ConnId {
            tgid: 1,
            fd: number,
            generation_ns: 1,
        }
    }

    fn at(&mut self) -> KernelTime {
        self.now += 1;
        KernelTime(self.now)
    }

    fn open(&mut self, number: i32) {
        let at = self.at();
        self.pipeline.apply(CaptureEvent::Open(ConnOpen {
            conn: Self::conn(number),
            at,
            local: SocketAddr::from(([127, 0, 0, 1], 8000)),
            remote: SocketAddr::from(([127, 0, 0, 1], 40_000)),
            tls: false,
            late: false,
        }));
    }

    fn data(&mut self, number: i32, direction: Direction, pos: usize, bytes: Bytes) {
        let at = self.at();
        let len = u64::try_from(bytes.len()).unwrap();
        self.fed += len;
        self.pipeline.apply(CaptureEvent::Data(DataChunk {
            conn: Self::conn(number),
            at,
            direction,
            pos: u64::try_from(pos).unwrap(),
            len,
            bytes,
        }));
    }
}

/// The most memory that was ever resident in this process.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

#[expect(clippy::print_stderr, reason = "figures for whoever runs it")]
#[test]
fn fed_far_more_than_it_may_hold_the_pipeline_stays_under_the_ceiling() {
    let config = Config::default();
    let ledger = Arc::new(ExchangeLedger::default());
    let history = Arc::new(ArcSwap::from_pointee(History::new(Arc::new(Bound::unread(&[])))));
    let pipeline = Pipeline::new(pipeline_settings(&config), history, Arc::clone(&ledger), Gone);
    let mut feed = Feed {
        pipeline,
        now: 0,
        fed: 0,
    };
    let before = peak_bytes();

    // Uploads that do not end: 20,000 at once, each with 128 KiB.
    let head = Bytes::from_static(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n");
    let piece = Bytes::from(vec![b'x'; PIECE_BYTES]);
    for number in 0..20_000 {
        feed.open(number);
        feed.data(number, Direction::Ingress, 0, head.clone());
    }
    for round in 0..8 {
        for number in 0..20_000 {
            let pos = head.len() + round * PIECE_BYTES;
            feed.data(number, Direction::Ingress, pos, piece.clone());
        }
    }
    let uploads = feed.pipeline.stats().connections;
    let after_uploads = (feed.fed, peak_bytes());
    assert!(uploads.held_bytes <= u64::try_from(config.limits.held_bytes).unwrap());
    assert!(uploads.released_bodies > 0);

    // Exchanges that are over and wait for an upstream leg that never comes: 10,000, each with 256 KiB.
    let ask = Bytes::from_static(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    for number in 100_000..110_000 {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nVia: kong/3.9.1\r\nX-Kong-Request-Id: {number:032}\r\nContent-Length: 262144\r\n\r\n"
        );
        feed.open(number);
        feed.data(number, Direction::Ingress, 0, ask.clone());
        let mut pos = answer.len();
        feed.data(number, Direction::Egress, 0, answer.into());
        for _ in 0..16 {
            feed.data(number, Direction::Egress, pos, piece.clone());
            pos += PIECE_BYTES;
        }
    }
    let joins = feed.pipeline.stats().correlator;
    assert!(joins.waiting > 0 && joins.evicted > 0, "{joins:?}");
    assert!(
        joins.held_bytes <= u64::try_from(config.limits.waiting_bytes).unwrap(),
        "{joins:?}"
    );
    let peak = peak_bytes();
    feed.pipeline.flush(KernelTime(feed.now));
    let mib = |bytes: u64| bytes >> 20;
    eprintln!(
        "{} MiB of uploads: {} MiB resident at most ({} held as counted); {} MiB in all: {} MiB (before: {})",
        mib(after_uploads.0),
        mib(after_uploads.1),
        mib(uploads.held_bytes),
        mib(feed.fed),
        mib(peak),
        mib(before),
    );
    assert!(
        ledger.snapshot().is_balanced() && ledger.snapshot().seen == 30_000,
        "{ledger:?}"
    );
    assert!(feed.fed > 8 * config.limits.memory_bytes);
    assert!(peak < config.limits.memory_bytes, "{} MiB", mib(peak));
}
