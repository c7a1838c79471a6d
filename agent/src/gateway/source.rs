//! Where the gateway's configuration comes from, and keeping it current.
//!
//! In: files, an Admin API or a Konnect control plane. Out: [`GatewayState`]s behind an atomic pointer, replaced whenever the
//! configuration changed. A failed refresh keeps the last one and says so. Deliberately absent: what the configuration means, and
//! configurations of `runscope` (the caller rebinds those when told of a new snapshot).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock;
use crate::gateway::admin_api::AdminApi;
use crate::gateway::admin_api::facts::GatewayFacts;
use crate::gateway::document::Mistakes;
use crate::gateway::entities::Entities;
use crate::gateway::konnect::Konnect;
use crate::gateway::ports::PortMap;
use crate::gateway::router::RouterProfile;
use crate::gateway::snapshot::{Snapshot, SnapshotWarning};

pub mod api_client;
pub mod files;
mod pace;

#[cfg(test)]
mod tests;

pub use files::FileSource;
pub use pace::Pace;

/// Where the configuration comes from.
#[derive(Debug)]
pub enum Source {
    /// Declarative files, merged.
    Files(FileSource),
    /// A gateway's Admin API.
    AdminApi(AdminApi),
    /// A Konnect control plane.
    Konnect(Konnect),
}

/// Which API is asked: what helps when it refuses depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiKind {
    /// A gateway's Admin API.
    Admin,
    /// Konnect.
    Konnect,
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
    /// What of it is not here, or not as it is in the gateway.
    pub notes: Vec<SnapshotWarning>,
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
    #[error("{url}: is not an address such as http://127.0.0.1:8001 or http://unix:/run/kong/admin.sock")]
    BadUrl {
        /// As given.
        url: String,
    },
    /// Something that is needed to ask cannot be used.
    #[error("{place}: {what}")]
    BadOption {
        /// Where it stands.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// A certificate or key cannot be used.
    #[error("{}: cannot be used as a certificate or key in PEM form", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// No HTTP client could be set up.
    #[error("the HTTP client cannot be set up")]
    Client {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Nobody answers there.
    #[error(
        "{url}: cannot be reached; is this the API's address, does it run, and is its certificate trusted?"
    )]
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
    #[error("{url}: answered {status}{}", advice(*api, *status))]
    Status {
        /// What was asked for.
        url: String,
        /// Of which API.
        api: ApiKind,
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

fn advice(api: ApiKind, status: u16) -> &'static str {
    match (api, status) {
        (ApiKind::Admin, 401) => {
            "; it wants to know who asks: give its token (gateway.admin_token_file or KONGTAP_ADMIN_TOKEN, sent as Kong-Admin-Token), or what a proxy in front of it wants (gateway.admin_headers)"
        }
        (ApiKind::Admin, 403) => {
            "; whoever the token or header names may not read this: give the right to read services, routes, consumers and plugins, or name the workspaces that may be read (gateway.workspaces)"
        }
        (ApiKind::Admin, 404) => {
            "; is a workspace (gateway.workspaces) or a base path in the address wrong, or is it the proxy's port?"
        }
        (ApiKind::Konnect, 401) => {
            "; the token is not valid: give a personal or system access token (gateway.konnect.token_file or KONGTAP_KONNECT_TOKEN)"
        }
        (ApiKind::Konnect, 403) => {
            "; the token may not read this control plane: give it the Viewer role there"
        }
        (ApiKind::Konnect, 404) => {
            "; there is no such control plane in this region: see gateway.konnect.control_plane_id and gateway.konnect.region"
        }
        (_, 429) => "; it limits requests: make gateway.refresh_seconds longer",
        (_, 301..=308) => {
            "; it leads elsewhere, and a token is not taken along: give the address that it leads to"
        }
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
            Self::Konnect(konnect) => write!(f, "{konnect}"),
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
            Self::Konnect(konnect) => konnect.fetch().await,
        }
    }

    /// Reads what is needed to know whether anything changed, and everything if it may have.
    ///
    /// # Errors
    /// Any [`SourceError`].
    pub async fn look(&self, last: &Fingerprint) -> Result<Look, SourceError> {
        match self {
            Self::Files(files) => {
                let cheap = files.signs().await?;
                if last.cheap.as_deref() == Some(cheap.as_str()) {
                    return Ok(Look::Unchanged(None, last.clone()));
                }
            }
            Self::AdminApi(api) => {
                let facts = api.facts().await?;
                if facts.configuration_hash.is_some() && facts.configuration_hash == last.cheap {
                    return Ok(Look::Unchanged(Some(facts), last.clone()));
                }
            }
            Self::Konnect(_) => {}
        }
        let reading = self.fetch().await?;
        if reading.fingerprint.contents == last.contents {
            return Ok(Look::Unchanged(reading.facts, reading.fingerprint));
        }
        Ok(Look::Changed(reading))
    }
}

/// Keeps `shared` current until cancelled: looks at once and then at the given pace, publishes what changed, and calls
/// `on_change` with each state that has another snapshot or other facts, right before it is published. `ports` are the mapped ones
/// where the gateway's own are not known.
pub async fn refresh(
    source: Source,
    pace: Pace,
    ports: PortMap,
    shared: Arc<ArcSwap<GatewayState>>,
    mut on_change: impl FnMut(&GatewayState) + Send,
    cancel: CancellationToken,
) {
    let mut last = Fingerprint::default();
    let mut rhythm = pace.begin(&source, clock::instant());
    loop {
        if rhythm.is_full_due(clock::instant()) {
            last.cheap = None;
        }
        let began = clock::instant();
        let look = tokio::select! {
            () = cancel.cancelled() => return,
            look = source.look(&last) => look,
        };
        let ended = clock::instant();
        let pause = match &look {
            Err(_) => rhythm.failed(),
            Ok(Look::Unchanged(..)) => rhythm.succeeded(ended.saturating_duration_since(began)),
            Ok(Look::Changed(_)) => {
                rhythm.read_fully(ended);
                rhythm.succeeded(ended.saturating_duration_since(began))
            }
        };
        let old = shared.load_full();
        let new = next(&source, &old, look, &mut last, &ports, clock::unix_ns());
        if !Arc::ptr_eq(&old.snapshot, &new.snapshot) || old.facts != new.facts {
            on_change(&new);
        }
        shared.store(Arc::new(new));
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// The state after a look.
fn next(
    source: &Source,
    old: &GatewayState,
    look: Result<Look, SourceError>,
    last: &mut Fingerprint,
    ports: &PortMap,
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
            new.snapshot = Arc::new(snapshot.with_ports(ports_of(ports, reading.facts.as_ref())));
            new.warnings = reading.notes.into_iter().chain(warnings).collect();
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

/// The ports by which clients know the listeners: as kongtap's own configuration says, else as the gateway does.
#[must_use]
pub fn ports_of(own: &PortMap, facts: Option<&GatewayFacts>) -> PortMap {
    match facts {
        Some(facts) if own.is_empty() => facts.port_maps.clone(),
        Some(_) | None => own.clone(),
    }
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
