//! What a [`Config`] means to the stages: sources read, names resolved, bounds handed down.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kongtap_common::budget::Budget;

use super::AppError;
use super::live::FromGateway;
use crate::admin::access::Access;
use crate::admin::plugin_api::dialect::Dialect;
use crate::capture::gateways::{self, Pid, SelectError, Selector};
use crate::capture::probes::ProbeOptions;
use crate::capture::reader::ReaderOptions;
use crate::capture::session::{SessionError, SessionOptions};
use crate::capture::sources::{SocketSource, SourceChoice};
use crate::capture::tls::choice::{Places, TlsOptions};
use crate::clock::WallClock;
use crate::config::{
    AdminDialect, Config, Flavor, GatewayConfig, KonnectConfig, ProbePlacement, ProfileName, RedactBase,
    SecretSource, SocketCapture, TlsCapture,
};
use crate::conn::{ConnLimits, ReorderLimits};
use crate::correlate::CorrelatorLimits;
use crate::gateway::admin_api::AdminApi;
use crate::gateway::admin_api::facts::GatewayFacts;
use crate::gateway::declarative;
use crate::gateway::document::{Mistake, Mistakes, Place, SourceFile};
use crate::gateway::konnect::{self, Konnect};
use crate::gateway::ports::PortMap;
use crate::gateway::router::{KongVersion, RouterProfile};
use crate::gateway::snapshot::{Snapshot, SnapshotWarning};
use crate::gateway::source::api_client::{ApiOptions, ApiTls, Credential, SecretAt, Trust};
use crate::gateway::source::{self, FileSource, GatewayState, Pace, Source, SourceError, chain, files};
use crate::http::h1::limits::HttpLimits;
use crate::http::h2::limits::H2Limits;
use crate::message::Profile;
use crate::message::redact::{RedactedNames, Redaction};
use crate::pipeline::{Bound, Settings};
use crate::plugin::file::EnvironmentValues;
use crate::plugin::store::Store;
use crate::plugin::stored::StoredPlugin;
use crate::plugin::{PluginSet, UnboundConfig, file};
use crate::ship::ShipLimits;
use crate::ship::retry::RetryLimits;
use crate::ship::spool::SpoolOptions;

/// How long the Admin API, or Konnect, may take for one answer.
const API_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything that is known before capture begins.
#[derive(Debug)]
pub struct Setup {
    /// The `runscope` configurations of files and the environment.
    pub plugins: Vec<UnboundConfig>,
    /// Where the gateway's configuration comes from, if from anywhere.
    pub source: Option<Source>,
    /// The source in words; empty without one.
    pub source_name: String,
    /// What to capture.
    pub session: SessionOptions,
}

impl Setup {
    /// Reads the files, asks the Admin API for its processes, and looks for a gateway.
    ///
    /// # Errors
    /// Wrong configurations, an unusable address, or no gateway (unless it is to be waited for). An Admin API that does
    /// not answer is none: the agent goes on and tries again.
    pub async fn of(config: &Config) -> Result<Self, AppError> {
        let plugins = check_files(config).map_err(AppError::Mistakes)?.plugins;
        let source = source(config)?;
        let facts = match &source {
            Some(Source::AdminApi(api)) => facts(api).await,
            Some(Source::Files(_) | Source::Konnect(_)) | None => None,
        };
        let selector = selector(config, facts.as_ref());
        let missing = gateways::find(&selector).err();
        match missing {
            Some(SelectError::NoGateway) if config.gateway.wait => tracing::info!("Waiting for a gateway."),
            Some(error) => return Err(SessionError::Select(error).into()),
            None => {}
        }
        Ok(Self {
            plugins,
            source_name: source.as_ref().map(Source::to_string).unwrap_or_default(),
            source,
            session: session_options(config, selector),
        })
    }
}

/// Reads the files and asks the Admin API once: everything that `run` decides by, without a gateway to watch. Without a source
/// every route is unknown, as it is for `run`.
///
/// # Errors
/// Wrong configurations, or a source that cannot be read.
pub async fn read_once(config: &Config) -> Result<Bound, AppError> {
    let plugins = check_files(config).map_err(AppError::Mistakes)?.plugins;
    let Some(source) = source(config)? else {
        return Ok(Bound::unread_behind(ports(config), &plugins));
    };
    let reading = source.fetch().await?;
    let (snapshot, warnings) = Snapshot::build(reading.entities, &reading.profile);
    for warning in reading.notes.into_iter().chain(warnings) {
        tracing::warn!("{warning}");
    }
    let snapshot = snapshot.with_ports(source::ports_of(&ports(config), reading.facts.as_ref()));
    Ok(Bound {
        plugins: PluginSet::bind(&plugins, &snapshot),
        snapshot: Arc::new(snapshot),
        gateway_api_ports: gateway_api_ports(reading.facts.as_ref()),
    })
}

/// What the files and the environment hold.
#[derive(Debug)]
pub struct Checked {
    /// `runscope` configurations.
    pub plugins: Vec<UnboundConfig>,
    /// Services, routes, consumers of the gateway's files.
    pub entities: (usize, usize, usize),
    /// What of the gateway's configuration is not evaluated.
    pub warnings: Vec<SnapshotWarning>,
}

/// Reads every file that the configuration names.
///
/// # Errors
/// Every mistake of every file at once.
pub fn check_files(config: &Config) -> Result<Checked, Mistakes> {
    let mut mistakes = Vec::new();
    let gateway_files = read_files(&config.gateway.files, &mut mistakes);
    let plugin_files = read_files(&config.plugins.files, &mut mistakes);
    let mut checked = Checked {
        plugins: Vec::new(),
        entities: (0, 0, 0),
        warnings: Vec::new(),
    };
    match declarative::check(&gateway_files, &profile(config), environment) {
        Ok((entities, warnings)) => {
            checked.entities = (
                entities.services.len(),
                entities.routes.len(),
                entities.consumers.len(),
            );
            checked.warnings = warnings;
        }
        Err(found) => mistakes.extend(found.0),
    }
    match file::read(&plugin_files, environment_values(config)) {
        Ok(plugins) => checked.plugins = plugins,
        Err(found) => mistakes.extend(found.0),
    }
    if mistakes.is_empty() {
        Ok(checked)
    } else {
        Err(Mistakes(mistakes))
    }
}

/// The `runscope` configurations of files and the environment, read again.
///
/// # Errors
/// Every mistake of every file.
pub fn declared(config: &Config) -> Result<Vec<UnboundConfig>, Mistakes> {
    let mut mistakes = Vec::new();
    let files = read_files(&config.plugins.files, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(Mistakes(mistakes));
    }
    file::read(&files, environment_values(config))
}

/// Those of a plugin store that was named: what stands at the usual place may be another agent's, or not readable.
///
/// # Errors
/// Every mistake in it.
pub fn stored(config: &Config) -> Result<Vec<UnboundConfig>, Mistakes> {
    let Some(path) = &config.plugins.store else {
        return Ok(Vec::new());
    };
    let store = Store::open(path.clone())?;
    Ok(store.view().plugins.iter().map(StoredPlugin::unbound).collect())
}

/// The dialect of the plugin API that is asked for.
#[must_use]
pub const fn dialect(config: &Config) -> Option<Dialect> {
    match config.admin.dialect {
        AdminDialect::Auto => None,
        AdminDialect::Old => Some(Dialect::Old),
        AdminDialect::Current => Some(Dialect::Current),
    }
}

/// Who may call the agent's own interface.
#[must_use]
pub fn access(config: &Config) -> Access {
    match &config.admin.token {
        Some(token) => Access::Token(token.clone()),
        None => Access::ThisHost,
    }
}

/// What to do with `runscope` configurations in the gateway's own.
#[must_use]
pub const fn from_gateway(config: &Config) -> FromGateway {
    if config.plugins.from_gateway {
        FromGateway::Use
    } else {
        FromGateway::Show
    }
}

fn environment_values(config: &Config) -> EnvironmentValues<'_> {
    let global = config.plugins.global.as_ref();
    EnvironmentValues {
        access_token: global
            .and_then(|global| global.access_token.as_ref())
            .map(|token| token.expose()),
        bucket_key: global.and_then(|global| global.bucket_key.as_deref()),
        api_endpoint: global.and_then(|global| global.api_endpoint.as_deref()),
        log_body: global.and_then(|global| global.log_body.as_deref()),
    }
}

fn read_files(paths: &[PathBuf], mistakes: &mut Vec<Mistake>) -> Vec<SourceFile> {
    let mut files = Vec::new();
    for path in paths {
        let mut wrong = |path: &Path, error: &std::io::Error| {
            mistakes.push(Mistake {
                origin: Arc::from(path.display().to_string()),
                place: Place::Whole,
                text: format!("cannot be read: {error}"),
            });
        };
        let expanded = files::expand(path).unwrap_or_else(|error| {
            wrong(path, &error);
            Vec::new()
        });
        for path in expanded {
            match std::fs::read(&path) {
                Ok(bytes) => files.push(SourceFile {
                    name: Arc::from(path.display().to_string()),
                    bytes,
                }),
                Err(error) => wrong(&path, &error),
            }
        }
    }
    files
}

/// The source that the configuration names; files win over an Admin API.
///
/// # Errors
/// The API's address is none, or a certificate cannot be used.
pub fn source(config: &Config) -> Result<Option<Source>, SourceError> {
    let gateway = &config.gateway;
    if !gateway.files.is_empty() {
        let files = FileSource {
            paths: gateway.files.clone(),
            profile: profile(config),
            lookup: environment,
        };
        return Ok(Some(Source::Files(files)));
    }
    if let Some(konnect) = &gateway.konnect {
        let id = konnect.control_plane_id.clone();
        let konnect = Konnect::new(konnect_options(konnect), id, profile(config))?;
        return Ok(Some(Source::Konnect(konnect)));
    }
    let Some(url) = &gateway.admin_url else {
        return Ok(None);
    };
    let api = AdminApi::new(admin_options(gateway, url), gateway.workspaces.clone())?;
    Ok(Some(Source::AdminApi(api)))
}

fn admin_options(gateway: &GatewayConfig, url: &str) -> ApiOptions {
    let token = gateway.admin_token.clone().map(SecretAt::Text);
    let token = token.or_else(|| gateway.admin_token_file.clone().map(SecretAt::File));
    let mut headers: Vec<_> = token
        .map(|value| ("kong-admin-token".to_owned(), Credential { prefix: "", value }))
        .into_iter()
        .collect();
    for (name, source) in &gateway.admin_headers {
        let value = match source {
            SecretSource::Text(secret) => SecretAt::Text(secret.clone()),
            SecretSource::File(path) => SecretAt::File(path.clone()),
            // A mistake, reported by the configuration's check.
            SecretSource::Environment(_) => continue,
        };
        headers.push((name.clone(), Credential { prefix: "", value }));
    }
    let trust = match &gateway.admin_ca {
        Some(path) => Trust::Only(path.clone()),
        None if gateway.admin_tls_verify => Trust::Host,
        None => Trust::Anybody,
    };
    let identity = gateway.admin_client_cert.clone();
    ApiOptions {
        url: url.to_owned(),
        headers,
        timeout: API_TIMEOUT,
        tls: ApiTls {
            trust,
            identity: identity.zip(gateway.admin_client_key.clone()),
        },
    }
}

fn konnect_options(konnect: &KonnectConfig) -> ApiOptions {
    let token = konnect.token.clone().map(SecretAt::Text);
    let token = token.or_else(|| konnect.token_file.clone().map(SecretAt::File));
    let bearer = token.map(|value| Credential {
        prefix: "Bearer ",
        value,
    });
    let region = konnect.region.as_deref().unwrap_or_default();
    let address = konnect.address.clone();
    ApiOptions {
        url: address.unwrap_or_else(|| konnect::address_of(region)),
        headers: bearer
            .into_iter()
            .map(|token| ("authorization".to_owned(), token))
            .collect(),
        timeout: API_TIMEOUT,
        tls: ApiTls::default(),
    }
}

/// Where decK's placeholders find their values.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// How often the source is looked at.
#[must_use]
pub const fn pace(config: &Config) -> Pace {
    Pace {
        interval: Duration::from_secs(config.gateway.refresh_seconds),
        full: Duration::from_secs(config.gateway.full_refresh_seconds),
    }
}

/// The mapped ports that kongtap's own configuration names.
#[must_use]
pub fn ports(config: &Config) -> PortMap {
    // What is none was refused by the configuration's check.
    PortMap::parse(config.gateway.port_maps.iter().map(String::as_str)).unwrap_or_default()
}

fn profile(config: &Config) -> RouterProfile {
    let flavor = match config.gateway.router_flavor {
        Flavor::Auto => None,
        Flavor::Traditional => Some("traditional"),
        Flavor::TraditionalCompatible => Some("traditional_compatible"),
        Flavor::Expressions => Some("expressions"),
    };
    let version = config.gateway.version.as_deref().and_then(KongVersion::parse);
    RouterProfile::of(version, flavor)
}

async fn facts(api: &AdminApi) -> Option<GatewayFacts> {
    match api.facts().await {
        Ok(facts) => Some(facts),
        Err(error) => {
            tracing::warn!(
                error = chain(&error),
                "The Admin API does not answer; going on, and trying again."
            );
            None
        }
    }
}

/// Which processes to watch: those that were named, else those that the Admin API tells of, else what `/proc` shows.
#[must_use]
pub fn selector(config: &Config, facts: Option<&GatewayFacts>) -> Selector {
    if !config.gateway.pids.is_empty() {
        return Selector::Pids(config.gateway.pids.iter().copied().map(Pid).collect());
    }
    match facts {
        Some(facts) if facts.master.is_some() || !facts.workers.is_empty() => Selector::Reported {
            master: facts.master.map(Pid),
            workers: facts.workers.iter().copied().map(Pid).collect(),
        },
        _ => Selector::Scan,
    }
}

/// What to capture, and how.
#[must_use]
pub fn session_options(config: &Config, selector: Selector) -> SessionOptions {
    SessionOptions {
        selector,
        tls: TlsOptions {
            is_on: config.capture.tls == TlsCapture::Auto,
            places: match config.capture.placement {
                ProbePlacement::Auto => Places::Proven,
                ProbePlacement::Entry => Places::Entries,
            },
            ..TlsOptions::default()
        },
        probes: ProbeOptions {
            sockets: source_choice(config.capture.sockets),
            ring_bytes: config.capture.ring_bytes,
            budget: Budget {
                head_bytes: config.capture.head_bytes,
                body_bytes: u32::try_from(config.limits.body_bytes).unwrap_or(u32::MAX),
            },
            ..ProbeOptions::default()
        },
        reader: ReaderOptions {
            poll: Duration::from_millis(config.capture.poll_ms),
            ..ReaderOptions::default()
        },
    }
}

/// Which source of socket bytes is asked for.
#[must_use]
pub const fn source_choice(sockets: SocketCapture) -> SourceChoice {
    match sockets {
        SocketCapture::Auto => SourceChoice::Auto,
        SocketCapture::Sock => SourceChoice::Only(SocketSource::Sock),
        SocketCapture::Syscalls => SourceChoice::Only(SocketSource::Syscalls),
        SocketCapture::Uprobes => SourceChoice::Only(SocketSource::Uprobes),
    }
}

/// How messages are made, on this host.
#[must_use]
pub fn pipeline_settings(config: &Config) -> Settings {
    let http = HttpLimits {
        body_bytes: config.limits.body_bytes,
        head_bytes: config.limits.message_head_bytes,
        fields: config.limits.header_fields,
        pipelined: config.limits.pipelined_requests,
        h2: H2Limits {
            streams: config.limits.http2_streams,
            held_bytes: config.limits.connection_bytes,
            table_bytes: config.limits.hpack_table_bytes,
            ..H2Limits::default()
        },
    };
    Settings {
        profile: match config.message.profile {
            ProfileName::Extended => Profile::Extended,
            ProfileName::Plugin => Profile::Plugin,
        },
        redaction: redaction(config),
        decoded_bytes: config.limits.decoded_bytes,
        wall: WallClock::of_this_host(),
        connections: ConnLimits {
            connections: config.limits.connections,
            idle_ns: config.limits.idle_seconds.saturating_mul(1_000_000_000),
            bytes: config.limits.connection_bytes,
            reorder: ReorderLimits {
                records: config.limits.reorder_records,
                bytes: config.limits.reorder_bytes,
                age_ns: config.limits.reorder_ms.saturating_mul(1_000_000),
            },
            http,
        },
        correlator: CorrelatorLimits {
            upstream_legs: config.limits.held_upstream_legs,
            waiting: config.limits.waiting_exchanges,
            grace_ns: config.limits.join_grace_ms.saturating_mul(1_000_000),
            ..CorrelatorLimits::default()
        },
    }
}

/// What a recording hides: the default and what is asked for besides, whatever messages hide.
#[must_use]
pub fn recording_redaction(config: &Config) -> Redaction {
    let mut config = config.clone();
    config.message.redact.base = RedactBase::Default;
    redaction(&config)
}

/// Ports of the gateway's Admin and Status API.
#[must_use]
pub fn gateway_api_ports(facts: Option<&GatewayFacts>) -> BTreeSet<u16> {
    facts
        .into_iter()
        .flat_map(|facts| facts.admin_listeners.iter().chain(&facts.status_listeners))
        .filter_map(|listener| listener.port)
        .collect()
}

fn redaction(config: &Config) -> Redaction {
    let redact = &config.message.redact;
    match redact.base {
        RedactBase::None => Redaction::None,
        RedactBase::Default if redact.headers.is_empty() && redact.fields.is_empty() => Redaction::Default,
        RedactBase::Default => Redaction::DefaultAnd(RedactedNames {
            headers: redact.headers.clone(),
            fields: redact.fields.clone(),
            cookies: Vec::new(),
        }),
    }
}

/// What delivery may take.
#[must_use]
pub fn ship_limits(config: &Config) -> ShipLimits {
    ShipLimits {
        queue_messages: config.ship.queue_messages,
        queue_bytes: config.ship.queue_bytes,
        in_flight: config.ship.in_flight,
        drain_timeout: Duration::from_millis(config.ship.drain_timeout_ms),
        batch: config.ship.batch,
        batch_bytes: config.ship.batch_bytes,
        retry: RetryLimits {
            max_age: Duration::from_secs(config.ship.retry.max_age_seconds),
            first: Duration::from_millis(config.ship.retry.first_ms),
            most: Duration::from_millis(config.ship.retry.most_ms),
        },
        ..ShipLimits::default()
    }
}

/// Where messages are kept on disk, if anywhere.
#[must_use]
pub fn spool_options(config: &Config) -> Option<SpoolOptions> {
    let spool = &config.ship.spool;
    Some(SpoolOptions {
        path: spool.path.clone()?,
        bytes: spool.bytes,
        segment_bytes: spool.segment_bytes,
        max_age: Duration::from_secs(spool.max_age_seconds),
        sync: Duration::from_millis(spool.sync_ms),
    })
}

/// A reading of the gateway's configuration with the `runscope` configurations bound to it.
#[must_use]
pub fn bind(configs: &[UnboundConfig], state: &GatewayState) -> Bound {
    Bound {
        plugins: PluginSet::bind(configs, &state.snapshot),
        snapshot: Arc::clone(&state.snapshot),
        gateway_api_ports: gateway_api_ports(state.facts.as_deref()),
    }
}

#[cfg(test)]
mod tests;
