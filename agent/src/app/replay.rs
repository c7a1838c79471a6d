//! `kongtap replay`: a recording through the whole pipeline, without root, into lines of JSON.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{AppError, setup};
use crate::capture::decode::decode;
use crate::capture::event::KernelTime;
use crate::capture::recording::{Next, Reader, RecordingError};
use crate::cli::ReplayArgs;
use crate::clock::WallClock;
use crate::config::Config;
use crate::gateway::snapshot::Snapshot;
use crate::gateway::source::GatewayState;
use crate::message::Message;
use crate::pipeline::{History, Pipeline, Sink};
use crate::telemetry::ledger::{ExchangeLedger, LedgerSnapshot};

/// How much recorded time passes between two sweeps, nanoseconds.
const SWEEP_NS: u64 = 100_000_000;

/// Why a recording could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The configuration cannot be used.
    #[error(transparent)]
    App(#[from] AppError),
    /// The recording cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The messages cannot be written.
    #[error("cannot write the messages")]
    Output(#[source] io::Error),
}

/// What a replay did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Records that were read.
    pub records: u64,
    /// Records that were none.
    pub undecodable: u64,
    /// Whether the file broke off.
    pub damaged: bool,
    /// What became of the exchanges: a written message counts as shipped.
    pub ledger: LedgerSnapshot,
}

/// Writes messages as lines of `{"endpoint": …, "message": …}`.
struct Lines<W> {
    out: W,
    ledger: Arc<ExchangeLedger>,
    failure: Option<io::Error>,
}

impl<W: Write> Sink for Lines<W> {
    fn offer(&mut self, message: Message) {
        self.ledger.enqueue();
        let endpoint = serde_json::Value::from(message.destination().url.as_str());
        let written = write!(self.out, "{{\"endpoint\":{endpoint},\"message\":")
            .and_then(|()| self.out.write_all(message.json()))
            .and_then(|()| self.out.write_all(b"}\n"));
        if let Err(error) = written {
            self.failure.get_or_insert(error);
        }
        self.ledger.ship_queued();
    }
}

/// Replays a recording.
///
/// # Errors
/// [`ReplayError`].
pub async fn replay(config: &Config, arguments: &ReplayArgs) -> Result<Replayed, ReplayError> {
    let plugins = setup::check_files(config).map_err(AppError::Mistakes)?.plugins;
    let mut state = GatewayState::empty();
    if let Some(source) = setup::source(config).map_err(AppError::from)? {
        let reading = source.fetch().await.map_err(AppError::from)?;
        let (snapshot, _warnings) = Snapshot::build(reading.entities, &reading.profile);
        state.snapshot = Arc::new(snapshot);
        state.facts = reading.facts.map(Arc::new);
    }
    let history = History::new(Arc::new(setup::bind(&plugins, &state)));
    let (header, mut recording) = Reader::open(&arguments.recording)?;

    let mut settings = setup::pipeline_settings(config);
    settings.wall = WallClock {
        boot_unix_ns: header.boot_unix_ns,
    };
    let ledger = Arc::new(ExchangeLedger::default());
    let out: Box<dyn Write> = match &arguments.output {
        Some(path) => Box::new(BufWriter::new(File::create(path).map_err(ReplayError::Output)?)),
        None => Box::new(BufWriter::new(io::stdout())),
    };
    let lines = Lines {
        out,
        ledger: Arc::clone(&ledger),
        failure: None,
    };
    let mut pipeline = Pipeline::new(
        settings,
        Arc::new(ArcSwap::from_pointee(history)),
        Arc::clone(&ledger),
        lines,
    );

    let (mut records, mut undecodable) = (0, 0);
    let (mut now, mut swept) = (KernelTime(0), KernelTime(0));
    let damaged = loop {
        match recording.next_record()? {
            Next::End => break false,
            Next::Damaged => break true,
            Next::Record(record) => {
                records += 1;
                let Ok(event) = decode(record) else {
                    undecodable += 1;
                    continue;
                };
                now = now.max(event.at());
                pipeline.apply(event);
                if now.ns_since(swept) >= SWEEP_NS {
                    swept = now;
                    pipeline.sweep(now);
                }
            }
        }
    };
    pipeline.flush(now);
    let mut lines = pipeline.into_sink();
    lines.out.flush().map_err(ReplayError::Output)?;
    match lines.failure {
        Some(error) => Err(ReplayError::Output(error)),
        None => Ok(Replayed {
            records,
            undecodable,
            damaged,
            ledger: ledger.snapshot(),
        }),
    }
}
