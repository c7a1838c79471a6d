//! The one thread that owns every connection: batches of events in, messages into the queue.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::intake::Outlet;
use super::steering::{Steering, Took};
use crate::clock;
use crate::guard::levels::Levels;
use crate::message::Message;
use crate::pipeline::{History, Pipeline, PipelineStats, Settings, Sink};
use crate::ship::ShipHandle;
use crate::telemetry::ledger::ExchangeLedger;

/// How often what waits is looked at, and the counters are shown.
const SWEEP: Duration = Duration::from_millis(100);

/// What the worker works with.
pub(super) struct Parts {
    pub(super) batches: Outlet,
    pub(super) settings: Settings,
    pub(super) history: Arc<ArcSwap<History>>,
    pub(super) ledger: Arc<ExchangeLedger>,
    pub(super) ship: ShipHandle,
    pub(super) stats: Arc<ArcSwap<PipelineStats>>,
    /// How often it panicked.
    pub(super) panics: Arc<AtomicU64>,
    /// What is left undone.
    pub(super) levels: Arc<Levels>,
    /// The way back to the probes.
    pub(super) steering: Option<Steering>,
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

fn work(mut parts: Parts) {
    let mut read_before = 0;
    loop {
        let queue = Queue(parts.ship.clone());
        let (history, ledger) = (Arc::clone(&parts.history), Arc::clone(&parts.ledger));
        let mut pipeline = Pipeline::new(parts.settings.clone(), history, ledger, queue)
            .guarded_by(Arc::clone(&parts.levels));
        // A panic is a defect, but not one that may end the agent: what was held is lost, connections are read again from
        // their next request, and `/status` says that it happened.
        let ended = panic::catch_unwind(AssertUnwindSafe(|| drive(&mut parts, &mut pipeline, read_before)));
        if ended.is_ok() {
            return;
        }
        read_before = parts
            .stats
            .load()
            .read_bytes
            .max(read_before.saturating_add(pipeline.stats().read_bytes));
        parts.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!("The worker panicked and starts anew; please report the lines above.");
    }
}

/// Runs until nothing can send batches any more, and everything that was held has come out.
fn drive(parts: &mut Parts, pipeline: &mut Pipeline<Queue>, read_before: u64) {
    let stats_shown = &parts.stats;
    let mut steering = parts.steering.as_mut();
    let show = |pipeline: &Pipeline<Queue>| {
        let mut stats = pipeline.stats();
        stats.read_bytes = stats.read_bytes.saturating_add(read_before);
        stats_shown.store(Arc::new(stats));
    };
    let mut swept = clock::instant();
    loop {
        let took = match parts.batches.recv_timeout(SWEEP) {
            Ok(batch) => {
                for event in batch.events {
                    if let (Some(skip), Some(steering)) = (pipeline.apply(event), steering.as_mut()) {
                        steering.skip(skip);
                    }
                }
                drop(batch.room);
                Took::Batch
            }
            Err(RecvTimeoutError::Timeout) => Took::Nothing,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if let Some(steering) = &mut steering {
            steering.took(pipeline, took);
        }
        if swept.elapsed() >= SWEEP {
            swept = clock::instant();
            pipeline.sweep(clock::kernel_now());
            if let Some(steering) = &mut steering {
                steering.steer(pipeline);
            }
            show(pipeline);
        }
    }
    pipeline.flush(clock::kernel_now());
    show(pipeline);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use arc_swap::ArcSwap;
    use bytes::Bytes;
    use kongtap_common::record::ConnId;

    use super::{Parts, spawn};
    use crate::app::intake;
    use crate::app::setup::{pipeline_settings, ship_limits};
    use crate::capture::event::{CaptureEvent, ConnOpen, DataChunk, Direction, KernelTime};
    use crate::capture::reader::BatchSink as _;
    use crate::config::Config;
    use crate::pipeline::{Bound, History, PipelineStats};
    use crate::ship;
    use crate::telemetry::ledger::ExchangeLedger;

    const CONN: ConnId = ConnId {
        tgid: 1,
        fd: 2,
        generation_ns: 3,
    };

    fn data(direction: Direction, text: &'static str) -> CaptureEvent {
        let len = u64::try_from(text.len()).unwrap();
        CaptureEvent::Data(DataChunk {
            conn: CONN,
            at: KernelTime(5),
            direction,
            pos: 0,
            len,
            bytes: Bytes::from_static(text.as_bytes()),
        })
    }

    #[test]
    fn what_was_captured_is_accounted_for_when_the_worker_ends() {
        let ledger = Arc::new(ExchangeLedger::default());
        let config = Config::default();
        let (queue, _shipper) = ship::new(ship_limits(&config), Arc::clone(&ledger));
        let stats = Arc::new(ArcSwap::from_pointee(PipelineStats::default()));
        let panics = Arc::new(AtomicU64::new(0));
        let (mut batches, received) = intake::channel(4, 1 << 20);
        let worker = spawn(Parts {
            batches: received,
            settings: pipeline_settings(&config),
            history: Arc::new(ArcSwap::from_pointee(History::new(Arc::new(Bound::unread(&[]))))),
            ledger: Arc::clone(&ledger),
            ship: queue,
            stats: Arc::clone(&stats),
            levels: Arc::default(),
            panics: Arc::clone(&panics),
            steering: None,
        })
        .unwrap();
        let open = ConnOpen {
            conn: CONN,
            at: KernelTime(4),
            local: "127.0.0.1:8000".parse().unwrap(),
            remote: "127.0.0.1:4000".parse().unwrap(),
            tls: false,
            late: false,
        };
        let (request, response) = ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n");
        batches
            .offer(vec![
                CaptureEvent::Open(open),
                data(Direction::Ingress, request),
                data(Direction::Egress, response),
            ])
            .unwrap();
        drop(batches);
        worker.join().unwrap();
        let ledger = ledger.snapshot();
        assert!(ledger.is_balanced() && ledger.seen == 1, "{ledger:?}");
        assert!(ledger.filtered.contains(&("no_configuration", 1)), "{ledger:?}");
        assert_eq!(
            stats.load().read_bytes,
            u64::try_from(request.len() + response.len()).unwrap()
        );
        assert_eq!(panics.load(Ordering::Relaxed), 0);
    }
}
