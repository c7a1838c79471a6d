//! `kongtap record`: what the probes see, into a file, with credentials masked unless that was switched off.

use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use kongtap_common::record::ABI;
use tokio_util::sync::CancellationToken;

use super::setup::{self, Setup};
use super::{AppError, stop_signal};
use crate::capture::event::CaptureEvent;
use crate::capture::reader::BatchSink;
use crate::capture::recording::mask::names::Names;
use crate::capture::recording::tape::{Finished, Tape};
use crate::capture::recording::writer::Writer;
use crate::capture::recording::{
    ByteOrder, Counts, Ended, Header, RecordedGateway, RecordingError, Redacted, Trailer, kernel_version,
};
use crate::capture::session::{CaptureStatus, Session};
use crate::cli::RecordArgs;
use crate::clock::{self, WallClock};
use crate::config::Config;
use crate::gateway::admin_api::facts::GatewayFacts;
use crate::gateway::credentials;
use crate::gateway::snapshot::Snapshot;
use crate::gateway::source::{self, GatewayState, Source, chain};
use crate::message::redact::HiddenNames;

/// Why a recording could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Capture cannot begin.
    #[error(transparent)]
    App(#[from] AppError),
    /// The file cannot be written.
    #[error(transparent)]
    Recording(#[from] RecordingError),
}

/// Takes batches and forgets them: only the raw records are wanted.
struct Nowhere;

impl BatchSink for Nowhere {
    fn offer(&mut self, _batch: Vec<CaptureEvent>) -> Result<(), Vec<CaptureEvent>> {
        Ok(())
    }
}

/// Names to mask. They only become more: what was a credential's name once may still be sent under it.
#[derive(Debug)]
struct Hidden {
    so_far: Mutex<HiddenNames>,
    prepared: Arc<ArcSwap<Names>>,
}

impl Hidden {
    /// What Kong hides, the default places of every auth plugin, and what the agent's configuration adds.
    fn by_default(config: &Config) -> Self {
        let names = HiddenNames::of(&setup::recording_redaction(config), &credentials::defaults());
        Self {
            prepared: Arc::new(ArcSwap::from_pointee(Names::new(&names))),
            so_far: Mutex::new(names),
        }
    }

    /// Adds the places where a gateway's configuration has credentials.
    fn add(&self, config: &Config, snapshot: &Snapshot) {
        let redaction = setup::recording_redaction(config);
        let more = HiddenNames::of(&redaction, snapshot.credential_places());
        let mut so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        so_far.extend(more);
        self.prepared.store(Arc::new(Names::new(&so_far)));
    }
}

/// Records until a signal, or until the time or the size is reached.
///
/// # Errors
/// [`RecordError`].
pub async fn record(config: Config, arguments: &RecordArgs) -> Result<(), RecordError> {
    let setup = Setup::of(&config).await?;
    let hidden = Arc::new(Hidden::by_default(&config));
    let facts = match &setup.source {
        Some(source) => first_reading(source, &config, &hidden).await,
        None => None,
    };
    let redaction = if arguments.no_redact {
        Redacted::No
    } else {
        Redacted::Masked
    };
    let header = header(redaction, facts.as_ref());
    let writer = Writer::create(&arguments.output, &header, arguments.max_bytes)?;
    let names = match redaction {
        Redacted::Masked => Some(Arc::clone(&hidden.prepared)),
        Redacted::No => None,
    };
    let (tape, tap) = Tape::start(writer, names)?;
    let session = Session::start(setup.session, Nowhere, Some(tap)).map_err(AppError::from)?;
    announce(redaction, arguments);

    let following = CancellationToken::new();
    let follower = setup.source.map(|source| {
        let (config, hidden) = (config.clone(), Arc::clone(&hidden));
        tokio::spawn(source::refresh(
            source,
            setup::gateway::pace(&config),
            setup::gateway::ports(&config),
            Arc::new(ArcSwap::from_pointee(GatewayState::empty())),
            move |state| hidden.add(&config, &state.snapshot),
            following.clone(),
        ))
    });
    let ended = tokio::select! {
        signal = stop_signal() => { signal?; Ended::Signal }
        () = elapsed(arguments.seconds) => Ended::Seconds,
        () = tape.over() => Ended::Full,
    };
    following.cancel();
    if let Some(follower) = follower {
        super::note("refresh", follower.await);
    }
    finish(session, tape, ended, arguments).await
}

/// Takes the probes off, writes what is left, and says what is in the file.
async fn finish(
    session: Session,
    tape: Tape,
    ended: Ended,
    arguments: &RecordArgs,
) -> Result<(), RecordError> {
    let status = Arc::clone(session.status());
    let stopping = tokio::task::spawn_blocking(move || {
        session.stop();
        tape.finish()
    });
    let stopped = stopping.await.map_err(|error| AppError::Os {
        action: "end the recording",
        source: io::Error::other(error),
    })?;
    let Finished {
        writer,
        counts,
        is_full,
    } = stopped?;
    // The bound may have been reached while the probes came off.
    let ended = if is_full { Ended::Full } else { ended };
    let trailer = trailer(ended, counts, &status.load());
    let bytes = writer.finish(&trailer)?;
    tell(&trailer, bytes, arguments);
    Ok(())
}

fn header(redaction: Redacted, facts: Option<&GatewayFacts>) -> Header {
    Header {
        abi: ABI,
        byte_order: ByteOrder::default(),
        boot_unix_ns: WallClock::of_this_host().boot_unix_ns,
        recorded_by: format!("kongtap {}", env!("CARGO_PKG_VERSION")),
        kernel: kernel_version(),
        redaction,
        gateway: RecordedGateway {
            version: facts.map(|facts| facts.version.clone()),
            router_flavor: facts.and_then(|facts| facts.router_flavor.clone()),
            api_ports: setup::gateway::api_ports(facts).into_iter().collect(),
        },
    }
}

fn trailer(ended: Ended, counts: Counts, status: &CaptureStatus) -> Trailer {
    Trailer {
        ended,
        ended_unix_ns: clock::unix_ns(),
        counts,
        kernel: status
            .kernel
            .iter()
            .map(|(name, count)| (name.to_owned(), count))
            .collect(),
        ring_records: status.reader.records,
    }
}

/// Reads the gateway's configuration before the first record comes: it names what to mask.
async fn first_reading(source: &Source, config: &Config, hidden: &Hidden) -> Option<GatewayFacts> {
    match source.fetch().await {
        Ok(reading) => {
            let (snapshot, _warnings) = Snapshot::build(reading.entities, &reading.profile);
            hidden.add(config, &snapshot);
            reading.facts
        }
        Err(error) => {
            tracing::warn!(
                error = chain(&error),
                "The gateway's configuration cannot be read: credentials are masked where Kong reads them by default."
            );
            None
        }
    }
}

fn announce(redaction: Redacted, arguments: &RecordArgs) {
    let file = arguments.output.display();
    match redaction {
        Redacted::Masked => tracing::info!(
            %file,
            "Recording. Credentials are masked; bodies and everything else are in the file."
        ),
        Redacted::No => tracing::warn!(
            %file,
            "Recording WITHOUT REDACTION: the file holds traffic in the clear, passwords, keys and cookies included."
        ),
    }
}

/// Says what is in the file, and what is not.
fn tell(trailer: &Trailer, bytes: u64, arguments: &RecordArgs) {
    let counts = &trailer.counts;
    if trailer.ended == Ended::Full {
        tracing::warn!(
            max_bytes = arguments.max_bytes,
            "The recording has reached its bound; what came later is not in it."
        );
    }
    if trailer.lost_bytes() > 0 || counts.dropped_records > 0 {
        tracing::warn!(
            bytes = trailer.lost_bytes(),
            dropped_records = counts.dropped_records,
            "Bytes were lost while recording; a replay shows holes there."
        );
    }
    let mask = &counts.mask;
    if mask.http2_connections + mask.upgraded_connections + mask.not_http_connections > 0 {
        tracing::warn!(
            http2 = mask.http2_connections,
            upgraded = mask.upgraded_connections,
            not_http = mask.not_http_connections,
            bytes = mask.left_out_bytes,
            "Connections that cannot be masked are in the recording by their lengths only; --no-redact keeps them."
        );
    }
    let line = format!(
        "{}: {} records, {bytes} bytes, {} bytes masked; ended by {}",
        arguments.output.display(),
        counts.records,
        mask.masked_bytes,
        trailer.ended.describe()
    );
    // Nobody listening is no failure of the recording.
    drop(writeln!(io::stdout().lock(), "{line}"));
}

async fn elapsed(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}
