//! What a [`Config`] means to the stages: sources read, names resolved, bounds handed down.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{AppError, live};
use crate::admin::access::Access;
use crate::admin::plugin_api::dialect::Dialect;
use crate::capture::gateways::{self, SelectError};
use crate::capture::session::{SessionError, SessionOptions};
use crate::clock::WallClock;
use crate::config::{AdminDialect, Config, DropFirst, ProfileName, RedactBase};
use crate::conn::{ConnLimits, ReorderLimits};
use crate::correlate::CorrelatorLimits;
use crate::explain::account::{self, Account, Held};
use crate::gateway::declarative;
use crate::gateway::document::{Mistake, Mistakes, Place, SourceFile};
use crate::gateway::snapshot::{Snapshot, SnapshotWarning};
use crate::gateway::source::{self, Source, files};
use crate::http::h1::limits::HttpLimits;
use crate::http::h2::limits::H2Limits;
use crate::message::Profile;
use crate::message::redact::{RedactedNames, Redaction};
use crate::pipeline::{Bound, Settings};
use crate::plugin::{UnboundConfig, file};
use crate::ship::retry::RetryLimits;
use crate::ship::shed::{GoesFirst, ShedPolicy};
use crate::ship::spool::SpoolOptions;
use crate::ship::{BreakerLimits, ShipLimits};

pub mod capture;
pub mod gateway;
pub mod plugins;

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
        let source = gateway::source(config)?;
        let facts = match &source {
            Some(Source::AdminApi(api)) => gateway::facts(api).await,
            Some(Source::Files(_) | Source::Konnect(_)) | None => None,
        };
        let selector = capture::selector(config, facts.as_ref());
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
            session: capture::session_options(config, selector),
        })
    }
}

/// Reads the store and the files and asks the Admin API once: everything that `run` decides by, without a gateway to watch.
/// Without a source every route is unknown, as it is for `run`.
///
/// # Errors
/// Wrong configurations, or a source that cannot be read.
pub async fn read_once(config: &Config) -> Result<(Bound, Account), AppError> {
    let stored = plugins::stored(config).map_err(AppError::Mistakes)?;
    let declared = check_files(config).map_err(AppError::Mistakes)?.plugins;
    let choice = plugins::from_gateway(config);
    let named: Vec<_> = stored.plugins.iter().chain(&declared).cloned().collect();
    let (bound, warnings) = match gateway::source(config)? {
        None => (Bound::unread_behind(gateway::ports(config), &named), Vec::new()),
        Some(source) => {
            let reading = source.fetch().await?;
            let (snapshot, warnings) = Snapshot::build(reading.entities, &reading.profile);
            let ports = source::ports_of(&gateway::ports(config), reading.facts.as_ref());
            let snapshot = Arc::new(snapshot.with_ports(ports));
            let warnings = reading.notes.into_iter().chain(warnings);
            (
                live::bind(named, choice, &snapshot, reading.facts.as_ref()),
                warnings.map(|warning| warning.to_string()).collect(),
            )
        }
    };
    let files = config.plugins.files.iter();
    let files: Vec<_> = files.map(|path| path.display().to_string()).collect();
    let from_environment = declared
        .iter()
        .filter(|it| it.origin == file::ENVIRONMENT)
        .count();
    let held = Held {
        store: &stored.path.display().to_string(),
        stored: stored.plugins.len(),
        store_note: stored.note.as_deref(),
        files: &files,
        from_files: declared.len().saturating_sub(from_environment),
        from_environment,
        from_gateway: choice,
    };
    let sources = account::sources(held, &bound.snapshot);
    Ok((bound, Account { sources, warnings }))
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
    match declarative::check(&gateway_files, &gateway::profile(config), gateway::environment) {
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
    match file::read(&plugin_files, plugins::environment_values(config)) {
        Ok(plugins) => checked.plugins = plugins,
        Err(found) => mistakes.extend(found.0),
    }
    if mistakes.is_empty() {
        Ok(checked)
    } else {
        Err(Mistakes(mistakes))
    }
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
            held_bytes: config.limits.held_bytes,
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
            bytes: config.limits.waiting_bytes,
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
        shed: ShedPolicy {
            bodies: config.ship.shed.bodies,
            errors_last: config.ship.shed.errors_last,
            first: match config.ship.shed.drop {
                DropFirst::Newest => GoesFirst::Newest,
                DropFirst::Oldest => GoesFirst::Oldest,
            },
        },
        retry: RetryLimits {
            max_age: Duration::from_secs(config.ship.retry.max_age_seconds),
            first: Duration::from_millis(config.ship.retry.first_ms),
            most: Duration::from_millis(config.ship.retry.most_ms),
        },
        breaker: BreakerLimits {
            failures: config.ship.breaker.failures,
            open: Duration::from_millis(config.ship.breaker.open_ms),
            most: Duration::from_millis(config.ship.breaker.most_ms),
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

#[cfg(test)]
mod tests;
