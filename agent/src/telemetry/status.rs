//! The state of the agent at one moment, as `/status` shows it.

pub mod guard;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;

use self::guard::GuardStatus;
use crate::ship::EndpointStats;
use crate::ship::shed::ShedStats;
use crate::ship::spool::SpoolStats;
use crate::telemetry::ledger::LedgerSnapshot;

/// Counts by name.
pub type Counts = BTreeMap<&'static str, u64>;

/// Everything that `/status` shows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// kongtap's version.
    pub version: &'static str,
    /// What the agent is doing.
    pub state: State,
    /// Since its start.
    pub uptime_seconds: u64,
    /// What it costs.
    pub usage: Usage,
    /// How it stands to its own limits.
    pub guard: GuardStatus,
    /// The source of socket bytes in force: `sock`, `syscalls` or `uprobes`.
    pub sockets: Option<&'static str>,
    /// What it watches.
    pub gateways: Vec<GatewayStatus>,
    /// The byte half of the ledger.
    pub bytes: Bytes,
    /// The exchange half.
    pub exchanges: Exchanges,
    /// Connections and parsing, by event.
    pub connections: Counts,
    /// Joining of the two legs, by event.
    pub joins: Counts,
    /// Probe events beside bytes.
    pub probes: Counts,
    /// The gateway's configuration.
    pub configuration: ConfigurationStatus,
    /// The `runscope` configurations.
    pub plugins: Vec<PluginStatus>,
    /// Delivery.
    pub delivery: Delivery,
    /// What needs attention, one sentence each.
    pub problems: Vec<String>,
}

/// What the agent is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not attached yet.
    #[default]
    Starting,
    /// No gateway runs; waiting for one.
    Waiting,
    /// Attached.
    Watching,
    /// Draining.
    Stopping,
}

/// What the agent costs its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Resident memory, bytes.
    pub memory_bytes: u64,
    /// CPU time since the start, seconds.
    pub cpu_seconds: f64,
    /// Size of the program's file, bytes.
    pub executable_bytes: u64,
}

/// One gateway.
#[derive(Clone, Debug, Serialize)]
pub struct GatewayStatus {
    /// `kong`, `openresty`, `nginx` or `other`.
    pub kind: &'static str,
    /// Its master process.
    pub master: Option<u32>,
    /// Its workers.
    pub workers: Vec<WorkerStatus>,
    /// Where it listens.
    pub listeners: Vec<SocketAddr>,
    /// Where its own errors are.
    pub error_log: Option<PathBuf>,
}

/// One watched process.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerStatus {
    /// Its process id.
    pub pid: u32,
    /// How its TLS is captured: `calls`, `off`, or why not.
    pub tls: String,
    /// Since when it is watched, milliseconds of Unix time.
    pub watched_since_unix_ms: u64,
    /// How it was found: `running` with its gateway, by its `birth`, or at a `glance` at its master's children.
    pub found: &'static str,
}

/// `seen = copied + left + lost`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Bytes {
    /// Bytes that moved on the watched streams.
    pub seen: u64,
    /// Copied, and given to the parser or on their way to it.
    pub copied: u64,
    /// Of `copied`: given to the parser so far.
    pub read: u64,
    /// Deliberately not copied, by reason.
    pub left: Counts,
    /// Lost, by reason.
    pub lost: Counts,
    /// Ciphertext beneath TLS; outside the sum.
    pub ciphertext: u64,
    /// Whether the sum holds.
    pub balanced: bool,
}

impl Bytes {
    /// Checks the sum.
    #[must_use]
    pub fn balance(mut self) -> Self {
        let left: u64 = self.left.values().sum();
        let lost: u64 = self.lost.values().sum();
        self.balanced = self.seen == self.copied.saturating_add(left).saturating_add(lost);
        self
    }
}

/// `seen = shipped + queued + filtered + dropped`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Exchanges {
    /// Exchanges that were put together.
    pub seen: u64,
    /// Accepted by an endpoint.
    pub shipped: u64,
    /// Queued or in flight.
    pub queued: u64,
    /// Not shipped on purpose, by reason.
    pub filtered: Counts,
    /// Lost, by reason.
    pub dropped: Counts,
    /// Whether the sum holds.
    pub balanced: bool,
}

impl From<&LedgerSnapshot> for Exchanges {
    fn from(ledger: &LedgerSnapshot) -> Self {
        Self {
            seen: ledger.seen,
            shipped: ledger.shipped,
            queued: ledger.queued,
            filtered: ledger.filtered.iter().copied().collect(),
            dropped: ledger.dropped.iter().copied().collect(),
            balanced: ledger.is_balanced(),
        }
    }
}

/// The gateway's configuration as last read.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ConfigurationStatus {
    /// Where it is read from.
    pub source: String,
    /// The gateway's version, if it says.
    pub gateway_version: Option<String>,
    /// The router flavour in use.
    pub router_flavor: Option<String>,
    /// Services, routes, consumers.
    pub entities: Counts,
    /// Seconds since it was last read; `None` before the first time.
    pub age_seconds: Option<u64>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// What of it cannot be evaluated.
    pub warnings: Vec<String>,
}

/// One `runscope` configuration.
#[derive(Clone, Debug, Serialize)]
pub struct PluginStatus {
    /// Where it came from.
    pub origin: String,
    /// What it is bound to: `service=orders consumer=alice`, `global`.
    pub scope: String,
    /// Where it posts to, without credentials.
    pub endpoint: String,
    /// Whether it takes part, or why not.
    pub state: String,
}

/// Delivery to endpoints.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Delivery {
    /// Attempts, answers and failures, by name.
    pub counts: Counts,
    /// Posts in flight.
    pub in_flight: u64,
    /// Posts that may be in flight at once, over all endpoints.
    pub allowed: u64,
    /// Bytes of queued messages.
    pub queued_bytes: u64,
    /// Queued messages that failed and wait to be sent again.
    pub queued_repeats: u64,
    /// How many there may be now: `ship.queue_bytes`, or less under pressure.
    pub limit_bytes: u64,
    /// What was given up.
    pub shed: Shed,
    /// The newest failure.
    pub last_error: Option<String>,
    /// The spool, if there is to be one.
    pub spool: Option<SpoolStats>,
    /// Endpoints by state.
    pub endpoint_states: Counts,
    /// The endpoints that messages wait for, and those that are remembered.
    pub endpoints: Vec<EndpointStats>,
}

/// Bodies and messages that were not delivered.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Shed {
    /// Messages that were kept without their bodies, by cause.
    pub bodies: Counts,
    /// The bytes that this saved, by cause.
    pub body_bytes: Counts,
    /// Messages of successes that were dropped, by reason.
    pub successes: Counts,
    /// Messages of errors that were dropped, by reason.
    pub errors: Counts,
}

impl From<&ShedStats> for Shed {
    fn from(stats: &ShedStats) -> Self {
        let (bodies, dropped) = (&stats.bodies, &stats.dropped);
        Self {
            bodies: bodies.iter().map(|shed| (shed.cause, shed.messages)).collect(),
            body_bytes: bodies.iter().map(|shed| (shed.cause, shed.bytes)).collect(),
            successes: dropped.iter().map(|of| (of.reason, of.successes)).collect(),
            errors: dropped.iter().map(|of| (of.reason, of.errors)).collect(),
        }
    }
}
