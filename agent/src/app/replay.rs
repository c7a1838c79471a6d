//! `kongtap replay`: a recording through the whole pipeline, without root, into lines of JSON.

use std::fs::File;
use std::io::{self, BufRead, BufWriter, Write};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{AppError, live, setup};
use crate::capture::decode::{DecodeError, decode};
use crate::capture::event::KernelTime;
use crate::capture::recording::reader::{Next, Reader};
use crate::capture::recording::{RecordedGateway, RecordingError, Redacted, Trailer};
use crate::cli::ReplayArgs;
use crate::clock::WallClock;
use crate::config::{Config, Flavor};
use crate::gateway::router::{KongVersion, RouterProfile};
use crate::gateway::snapshot::Snapshot;
use crate::gateway::source::{self, GatewayState};
use crate::message::Message;
use crate::pipeline::{Bound, History, Pipeline, Sink};
use crate::telemetry::ledger::{ExchangeLedger, LedgerSnapshot};

/// How much recorded time passes between two sweeps, nanoseconds: as much as passes between those of a running agent.
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
    /// Whether credentials are masked in the recording.
    pub redaction: Redacted,
    /// How the recording ended.
    pub end: End,
    /// What was read.
    pub read: Read,
    /// What became of the exchanges: a written message counts as shipped.
    pub ledger: LedgerSnapshot,
}

/// How a recording ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Properly, and it tells what was lost while it was made.
    Told(Box<Trailer>),
    /// After a whole record: the recorder was killed.
    Cut,
    /// Within a record, or in something that is none. What came before is good.
    Damaged,
}

/// Counts of what was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Records.
    pub records: u64,
    /// Records of a kind, or with a field, that this version does not know.
    pub unknown: u64,
    /// Records that contradict themselves.
    pub undecodable: u64,
    /// Other items of a later version, which were passed over.
    pub passed_over: u64,
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
    let (header, mut recording) = Reader::open(&arguments.recording)?;
    let bound = bound(config, &header.gateway).await?;
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
    let history = Arc::new(ArcSwap::from_pointee(History::new(Arc::new(bound))));
    let mut pipeline = Pipeline::new(settings, history, Arc::clone(&ledger), lines);
    let (end, read) = feed(&mut recording, &mut pipeline)?;
    let mut lines = pipeline.into_sink();
    lines.out.flush().map_err(ReplayError::Output)?;
    match lines.failure {
        Some(error) => Err(ReplayError::Output(error)),
        None => Ok(Replayed {
            redaction: header.redaction,
            end,
            read,
            ledger: ledger.snapshot(),
        }),
    }
}

/// The gateway's configuration as it is now, with what the recording knows of the gateway where nobody else says it.
async fn bound(config: &Config, recorded: &RecordedGateway) -> Result<Bound, ReplayError> {
    let mut plugins = match config.plugins.store {
        Some(_) => {
            setup::plugins::stored(config)
                .map_err(AppError::Mistakes)?
                .plugins
        }
        // What stands at the usual place is this host's, which need not be the recorded one.
        None => Vec::new(),
    };
    plugins.extend(setup::check_files(config).map_err(AppError::Mistakes)?.plugins);
    let mut state = GatewayState::empty();
    if let Some(source) = setup::gateway::source(config).map_err(AppError::from)? {
        let reading = source.fetch().await.map_err(AppError::from)?;
        let profile = match reading.facts {
            None if config.gateway.router_flavor == Flavor::Auto && config.gateway.version.is_none() => {
                recorded_profile(recorded)
            }
            None | Some(_) => reading.profile,
        };
        let ports = source::ports_of(&setup::gateway::ports(config), reading.facts.as_ref());
        let (snapshot, _warnings) = Snapshot::build(reading.entities, &profile);
        state.snapshot = Arc::new(snapshot.with_ports(ports));
        state.facts = reading.facts.map(Arc::new);
    }
    let choice = setup::plugins::from_gateway(config);
    let mut bound = live::bind(plugins, choice, &state.snapshot, state.facts.as_deref());
    if state.facts.is_none() {
        bound.gateway_api_ports.extend(&recorded.api_ports);
    }
    Ok(bound)
}

fn recorded_profile(recorded: &RecordedGateway) -> RouterProfile {
    let version = recorded.version.as_deref().and_then(KongVersion::parse);
    RouterProfile::of(version, recorded.router_flavor.as_deref())
}

/// Gives every record to the pipeline, and lets time pass in between as it did for the running agent.
fn feed<R: BufRead, S: Sink>(
    recording: &mut Reader<R>,
    pipeline: &mut Pipeline<S>,
) -> Result<(End, Read), RecordingError> {
    let mut read = Read::default();
    let mut now = KernelTime(0);
    let mut next_sweep = None;
    let end = loop {
        let record = match recording.next_record()? {
            Next::Record(record) => record,
            Next::Trailer(trailer) => break End::Told(trailer),
            Next::End => break End::Cut,
            Next::Damaged => break End::Damaged,
        };
        read.records += 1;
        let event = match decode(record) {
            Ok(event) => event,
            Err(DecodeError::Kind { .. } | DecodeError::Family { .. } | DecodeError::Abi { .. }) => {
                read.unknown += 1;
                continue;
            }
            Err(
                DecodeError::ShortHeader { .. }
                | DecodeError::Direction { .. }
                | DecodeError::ShortPayload { .. }
                | DecodeError::Length { .. },
            ) => {
                read.undecodable += 1;
                continue;
            }
        };
        now = now.max(event.at());
        // What waited too long before this event came must not see it.
        let due = *next_sweep.get_or_insert_with(|| now.plus_ns(SWEEP_NS));
        if due <= now {
            let missed = now.ns_since(due) / SWEEP_NS * SWEEP_NS;
            let last = due.plus_ns(missed);
            pipeline.sweep(last);
            next_sweep = Some(last.plus_ns(SWEEP_NS));
        }
        pipeline.apply(event);
    };
    pipeline.flush(now);
    read.passed_over = recording.passed_over();
    Ok((end, read))
}

#[cfg(test)]
mod tests;
