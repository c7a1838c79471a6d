//! The one thread that owns every connection: batches of events in, messages into the queue.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::capture::event::CaptureEvent;
use crate::clock;
use crate::message::Message;
use crate::pipeline::{History, Pipeline, PipelineStats, Settings, Sink};
use crate::ship::ShipHandle;
use crate::telemetry::ledger::ExchangeLedger;

/// How often what waits is looked at, and the counters are shown.
const SWEEP: Duration = Duration::from_millis(100);

/// What the worker works with.
pub(super) struct Parts {
    pub(super) batches: Receiver<Vec<CaptureEvent>>,
    pub(super) settings: Settings,
    pub(super) history: Arc<ArcSwap<History>>,
    pub(super) ledger: Arc<ExchangeLedger>,
    pub(super) ship: ShipHandle,
    pub(super) stats: Arc<ArcSwap<PipelineStats>>,
}

/// The queue as the pipeline's sink.
#[derive(Debug)]
struct Queue(ShipHandle);

impl Sink for Queue {
    fn offer(&mut self, message: Message) {
        self.0.offer(message);
    }
}

/// Starts the worker. It ends when nothing can send batches any more, and everything it held has come out.
pub(super) fn spawn(parts: Parts) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name("kongtap-worker".to_owned())
        .spawn(move || work(parts))
}

fn work(parts: Parts) {
    let Parts {
        batches,
        settings,
        history,
        ledger,
        ship,
        stats,
    } = parts;
    let mut pipeline = Pipeline::new(settings, history, ledger, Queue(ship));
    let mut swept = clock::instant();
    loop {
        match batches.recv_timeout(SWEEP) {
            Ok(batch) => {
                for event in batch {
                    pipeline.apply(event);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if swept.elapsed() >= SWEEP {
            swept = clock::instant();
            pipeline.sweep(clock::kernel_now());
            stats.store(Arc::new(pipeline.stats()));
        }
    }
    pipeline.flush(clock::kernel_now());
    stats.store(Arc::new(pipeline.stats()));
}
