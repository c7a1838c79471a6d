//! Where the gateway's configuration comes from, and keeping it current.
//!
//! In: files or an Admin API. Out: [`GatewayState`]s behind an atomic pointer, replaced whenever the configuration changed. A
//! failed refresh keeps the last one and says so. Deliberately absent: what the configuration means, and configurations of
//! `runscope` (the caller rebinds those when told of a new snapshot).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock;
use crate::gateway::admin_api::AdminApi;
use crate::gateway::admin_api::facts::GatewayFacts;
use crate::gateway::declarative;
use crate::gateway::document::{MAX_FILE_BYTES, Mistakes, SourceFile};
use crate::gateway::entities::Entities;
use crate::gateway::router::RouterProfile;
use crate::gateway::snapshot::{Snapshot, SnapshotWarning};

#[cfg(test)]
mod tests;

/// Where the configuration comes from.
#[derive(Debug)]
pub enum Source {
    /// Declarative files, merged.
    Files(FileSource),
    /// A gateway's Admin API.
    AdminApi(AdminApi),
}

/// Declarative files.
#[derive(Debug)]
pub struct FileSource {
    /// The files.
    pub paths: Vec<PathBuf>,
    /// The gateway's router, which no file tells.
    pub profile: RouterProfile,
}

/// Tells one reading from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// What can be had without reading everything: times and sizes, or the gateway's own hash.
    pub cheap: Option<String>,
    /// A hash of the contents.
    pub contents: Uuid,
}

/// One reading of a source.
#[derive(Debug)]
pub struct Reading {
    /// The configuration.
    pub entities: Entities,
    /// The gateway's router.
    pub profile: RouterProfile,
    /// What the gateway says of itself, when it was asked.
    pub facts: Option<GatewayFacts>,
    /// What tells it from the next one.
    pub fingerprint: Fingerprint,
}

/// What a look at a source gave.
#[derive(Debug)]
pub enum Look {
    /// The configuration, which is new or not known to be the old one.
    Changed(Reading),
    /// It is the one of the fingerprint; the facts are current.
    Unchanged(Option<GatewayFacts>, Fingerprint),
}

/// Why a source gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The address cannot be used.
    #[error("{url}: is not an http or https address such as http://127.0.0.1:8001")]
    BadUrl {
        /// As given.
        url: String,
    },
    /// No HTTP client could be set up.
    #[error("the HTTP client cannot be set up")]
    Client {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Nobody answers there.
    #[error("{url}: cannot be reached; is this the Admin API's address, and does the gateway run?")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// No answer in time.
    #[error("{url}: no whole answer within {seconds} s")]
    Timeout {
        /// What was asked for.
        url: String,
        /// The bound.
        seconds: u64,
    },
    /// Another status than 200.
    #[error("{url}: answered {status}{}", advice(*status))]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
    },
    /// Something answers, but not Kong's Admin API.
    #[error("{url}: is not Kong's Admin API ({what})")]
    NotAdminApi {
        /// What was asked for.
        url: String,
        /// What is odd.
        what: String,
    },
    /// An answer that cannot be understood.
    #[error("{url}: {what}")]
    Malformed {
        /// What was asked for.
        url: String,
        /// What is wrong.
        what: String,
    },
    /// More than is ever read.
    #[error("{url}: is larger than {limit} {unit}")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The bound.
        limit: usize,
        /// Of what.
        unit: &'static str,
    },
    /// A file cannot be read.
    #[error("{}: cannot be read", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Mistakes in files.
    #[error("{0}")]
    Mistakes(Mistakes),
}

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            "; give the token that it wants (sent as Kong-Admin-Token), with the right to read entities"
        }
        404 => "; is a workspace or a base path missing in the address, or is it the proxy's port?",
        429 => "; it limits requests, make the refresh interval longer",
        _ => "",
    }
}

/// How a source has been doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SourceState {
    /// What is asked.
    pub source: String,
    /// When the configuration was last seen to be current, Unix nanoseconds.
    pub current_at_unix_ns: Option<u64>,
    /// When it last changed, Unix nanoseconds.
    pub changed_at_unix_ns: Option<u64>,
    /// Why the last look failed, if it did.
    pub error: Option<String>,
    /// Looks that succeeded.
    pub succeeded: u64,
    /// Looks that failed.
    pub failed: u64,
}

impl SourceState {
    /// How old the configuration may be, nanoseconds; `None` before the first one.
    #[must_use]
    pub fn age_ns(&self, now_unix_ns: u64) -> Option<u64> {
        self.current_at_unix_ns.map(|at| now_unix_ns.saturating_sub(at))
    }
}

/// The gateway as last read.
#[derive(Debug)]
pub struct GatewayState {
    /// Its configuration.
    pub snapshot: Arc<Snapshot>,
    /// What of it is not expressed.
    pub warnings: Arc<[SnapshotWarning]>,
    /// What it says of itself.
    pub facts: Option<Arc<GatewayFacts>>,
    /// How its source is doing.
    pub source: SourceState,
}

impl GatewayState {
    /// Nothing read yet.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            snapshot: Arc::new(Snapshot::empty()),
            warnings: Arc::from([]),
            facts: None,
            source: SourceState::default(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(files) => {
                let names: Vec<_> = files
                    .paths
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                f.write_str(&names.join(", "))
            }
            Self::AdminApi(api) => write!(f, "{api}"),
        }
    }
}

impl Source {
    /// Reads everything.
    ///
    /// # Errors
    /// Any [`SourceError`].
    pub async fn fetch(&self) -> Result<Reading, SourceError> {
        match self {
            Self::Files(files) => files.fetch().await,
            Self::AdminApi(api) => api.fetch().await,
        }
    }

    /// Reads what is needed to know whether anything changed, and everything if it may have.
    ///
    /// # Errors
    /// Any [`SourceError`].
    pub async fn look(&self, last: &Fingerprint) -> Result<Look, SourceError> {
        match self {
            Self::Files(files) => {
                let cheap = files.times_and_sizes().await?;
                if Some(&cheap) == last.cheap.as_ref() {
                    return Ok(Look::Unchanged(None, last.clone()));
                }
            }
            Self::AdminApi(api) => {
                let facts = api.facts().await?;
                if facts.configuration_hash.is_some() && facts.configuration_hash == last.cheap {
                    return Ok(Look::Unchanged(Some(facts), last.clone()));
                }
            }
        }
        let reading = self.fetch().await?;
        if reading.fingerprint.contents == last.contents {
            return Ok(Look::Unchanged(reading.facts, reading.fingerprint));
        }
        Ok(Look::Changed(reading))
    }
}

impl FileSource {
    async fn fetch(&self) -> Result<Reading, SourceError> {
        // Taken before the contents: a change in between shows at the next look.
        let cheap = self.times_and_sizes().await?;
        let mut files = Vec::new();
        for path in &self.paths {
            let failed = |source| SourceError::File {
                path: path.clone(),
                source,
            };
            let size = tokio::fs::metadata(path).await.map_err(failed)?.len();
            if usize::try_from(size).is_ok_and(|size| size > MAX_FILE_BYTES) {
                return Err(SourceError::TooLarge {
                    url: path.display().to_string(),
                    limit: MAX_FILE_BYTES,
                    unit: "bytes",
                });
            }
            let bytes = tokio::fs::read(path).await.map_err(failed)?;
            files.push(SourceFile {
                name: Arc::from(path.display().to_string()),
                bytes,
            });
        }
        let contents: Vec<u8> = files.iter().flat_map(|file| file.bytes.iter().copied()).collect();
        let entities = declarative::read(&files).map_err(SourceError::Mistakes)?;
        Ok(Reading {
            entities,
            profile: self.profile,
            facts: None,
            fingerprint: Fingerprint {
                cheap: Some(cheap),
                contents: Uuid::new_v5(&Uuid::NAMESPACE_OID, &contents),
            },
        })
    }

    async fn times_and_sizes(&self) -> Result<String, SourceError> {
        let mut all = String::new();
        for path in &self.paths {
            let failed = |source| SourceError::File {
                path: path.clone(),
                source,
            };
            let metadata = tokio::fs::metadata(path).await.map_err(failed)?;
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let since = modified
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            all.push_str(&format!("{}:{};", since.as_nanos(), metadata.len()));
        }
        Ok(all)
    }
}

/// Keeps `shared` current until cancelled: looks at once and then at every interval, publishes what changed, and calls
/// `on_change` with each new snapshot right before it is published.
pub async fn refresh(
    source: Source,
    interval: Duration,
    shared: Arc<ArcSwap<GatewayState>>,
    mut on_change: impl FnMut(&Arc<Snapshot>) + Send,
    cancel: CancellationToken,
) {
    let mut last = Fingerprint::default();
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let look = tokio::select! {
            () = cancel.cancelled() => return,
            look = source.look(&last) => look,
        };
        let old = shared.load_full();
        let new = next(&source, &old, look, &mut last, clock::unix_ns());
        if !Arc::ptr_eq(&old.snapshot, &new.snapshot) {
            on_change(&new.snapshot);
        }
        shared.store(Arc::new(new));
    }
}

/// The state after a look.
fn next(
    source: &Source,
    old: &GatewayState,
    look: Result<Look, SourceError>,
    last: &mut Fingerprint,
    now_unix_ns: u64,
) -> GatewayState {
    let mut new = GatewayState {
        snapshot: Arc::clone(&old.snapshot),
        warnings: Arc::clone(&old.warnings),
        facts: old.facts.clone(),
        source: old.source.clone(),
    };
    new.source.source = source.to_string();
    let facts = match look {
        Err(error) => {
            new.source.failed = new.source.failed.saturating_add(1);
            new.source.error = Some(chain(&error));
            return new;
        }
        Ok(Look::Unchanged(facts, fingerprint)) => {
            *last = fingerprint;
            facts
        }
        Ok(Look::Changed(reading)) => {
            let (snapshot, warnings) = Snapshot::build(reading.entities, &reading.profile);
            new.snapshot = Arc::new(snapshot);
            new.warnings = warnings.into();
            new.source.changed_at_unix_ns = Some(now_unix_ns);
            *last = reading.fingerprint;
            reading.facts
        }
    };
    new.facts = facts.map(Arc::new).or(new.facts);
    new.source.succeeded = new.source.succeeded.saturating_add(1);
    new.source.current_at_unix_ns = Some(now_unix_ns);
    new.source.error = None;
    new
}

/// An error and everything behind it, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
