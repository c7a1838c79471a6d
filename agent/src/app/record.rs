//! `kongtap record`: what the probes see, into a file.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kongtap_common::record::ABI;

use super::setup::Setup;
use super::{AppError, stop_signal};
use crate::capture::event::CaptureEvent;
use crate::capture::reader::BatchSink;
use crate::capture::recording::{Header, RecordingError, Writer, Written};
use crate::capture::session::Session;
use crate::cli::RecordArgs;
use crate::clock::WallClock;
use crate::config::Config;

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

/// A file that has not failed yet, and what ended it.
struct Tape {
    writer: Option<Writer>,
    failure: Option<RecordingError>,
}

/// Records until a signal, the time or the size is reached.
///
/// # Errors
/// [`RecordError`].
pub async fn record(config: Config, arguments: &RecordArgs) -> Result<(), RecordError> {
    let setup = Setup::of(&config).await?;
    let header = Header {
        abi: ABI,
        boot_unix_ns: WallClock::of_this_host().boot_unix_ns,
        recorded_by: format!("kongtap {}", env!("CARGO_PKG_VERSION")),
    };
    let writer = Writer::create(&arguments.output, &header, arguments.max_bytes)?;
    let tape = Arc::new(Mutex::new(Tape {
        writer: Some(writer),
        failure: None,
    }));
    let full = Arc::new(AtomicBool::new(false));

    let (taped, filled) = (Arc::clone(&tape), Arc::clone(&full));
    let tap = Box::new(move |record: &[u8]| {
        let mut tape = taped.lock().unwrap_or_else(PoisonError::into_inner);
        match tape.writer.as_mut().map(|writer| writer.push(record)) {
            Some(Ok(Written::Yes)) | None => {}
            Some(Ok(Written::Full)) => filled.store(true, Ordering::Relaxed),
            Some(Err(error)) => {
                tape.writer = None;
                tape.failure = Some(error);
                filled.store(true, Ordering::Relaxed);
            }
        }
    });
    let session = Session::start(setup.session, Nowhere, Some(tap)).map_err(AppError::from)?;
    tracing::warn!(
        file = %arguments.output.display(),
        "Recording. The file holds traffic in the clear, credentials included."
    );
    tokio::select! {
        signal = stop_signal() => { signal?; }
        () = elapsed(arguments.seconds) => {}
        () = filled_up(&full) => tracing::warn!("The recording has reached its bound."),
    }
    let status = Arc::clone(session.status());
    session.stop();
    let tape = Arc::into_inner(tape).map(|tape| tape.into_inner().unwrap_or_else(PoisonError::into_inner));
    let Some(tape) = tape else { return Ok(()) };
    if let Some(error) = tape.failure {
        return Err(error.into());
    }
    let Some(writer) = tape.writer else { return Ok(()) };
    let bytes = writer.written_bytes();
    writer.finish()?;
    let records = status.load().reader.records;
    say(&format!(
        "{}: {records} records, {bytes} bytes",
        arguments.output.display()
    ));
    Ok(())
}

async fn elapsed(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}

async fn filled_up(full: &AtomicBool) {
    while !full.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn say(line: &str) {
    // Nobody listening is no failure of the recording.
    drop(writeln!(io::stdout().lock(), "{line}"));
}
