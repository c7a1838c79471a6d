//! Gathers what every stage says of itself into one [`Status`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use kongtap_common::counter;

use crate::admin::StatusSource;
use crate::capture::session::{CaptureStatus, WatchedGateway};
use crate::capture::sources::SocketSource;
use crate::capture::usage;
use crate::clock;
use crate::gateway::source::GatewayState;
use crate::pipeline::{History, PipelineStats};
use crate::plugin::store::Store;
use crate::plugin::{PluginConfig, PluginSet};
use crate::ship::{EndpointState, ShipHandle, ShipStats};
use crate::telemetry::ledger::ExchangeLedger;
use crate::telemetry::status::guard::GuardStatus;
use crate::telemetry::status::{
    Bytes, ConfigurationStatus, Counts, Delivery, Exchanges, GatewayStatus, PluginStatus, State, Status,
    WorkerStatus,
};

/// Where every stage's state can be read without waiting.
#[derive(Debug)]
pub struct Board {
    started: Instant,
    state: AtomicU8,
    capture: Arc<ArcSwap<CaptureStatus>>,
    gateway: Arc<ArcSwap<GatewayState>>,
    history: Arc<ArcSwap<History>>,
    pipeline: Arc<ArcSwap<PipelineStats>>,
    worker_panics: Arc<AtomicU64>,
    ledger: Arc<ExchangeLedger>,
    ship: ShipHandle,
    store: Arc<Store>,
    source_name: String,
    guard: Arc<ArcSwap<GuardStatus>>,
}

const STATES: [State; 4] = [State::Starting, State::Waiting, State::Watching, State::Stopping];

impl Board {
    /// A board of these stages.
    #[must_use]
    pub fn new(
        capture: Arc<ArcSwap<CaptureStatus>>,
        gateway: Arc<ArcSwap<GatewayState>>,
        history: Arc<ArcSwap<History>>,
        ledger: Arc<ExchangeLedger>,
        ship: ShipHandle,
        store: Arc<Store>,
        source_name: String,
    ) -> Self {
        Self {
            started: clock::instant(),
            state: AtomicU8::new(0),
            capture,
            gateway,
            history,
            pipeline: Arc::new(ArcSwap::from_pointee(PipelineStats::default())),
            worker_panics: Arc::default(),
            ledger,
            ship,
            store,
            source_name,
            guard: Arc::default(),
        }
    }

    /// Where the guard shows how it stands.
    #[must_use]
    pub const fn guard(&self) -> &Arc<ArcSwap<GuardStatus>> {
        &self.guard
    }

    /// Where the worker shows its counters.
    #[must_use]
    pub const fn pipeline_stats(&self) -> &Arc<ArcSwap<PipelineStats>> {
        &self.pipeline
    }

    /// Where the worker counts its panics.
    #[must_use]
    pub const fn worker_panics(&self) -> &Arc<AtomicU64> {
        &self.worker_panics
    }

    /// Says what the agent is doing.
    pub fn set_state(&self, state: State) {
        let index = STATES
            .iter()
            .position(|candidate| *candidate == state)
            .unwrap_or(0);
        self.state
            .store(u8::try_from(index).unwrap_or(0), Ordering::Relaxed);
    }

    fn state(&self, capture: &CaptureStatus) -> State {
        let index = usize::from(self.state.load(Ordering::Relaxed));
        match STATES.get(index) {
            Some(State::Watching) if capture.gateways.is_empty() => State::Waiting,
            Some(state) => *state,
            None => State::Starting,
        }
    }
}

impl StatusSource for Board {
    fn status(&self) -> Status {
        let capture = self.capture.load();
        let gateway = self.gateway.load();
        let pipeline = self.pipeline.load();
        let ship = self.ship.stats();
        let state = self.state(&capture);
        let mut problems = capture.problems.clone();
        problems.extend(spool_problem(&ship));
        if state == State::Waiting {
            problems.push("no gateway runs; waiting for one".to_owned());
        }
        if let Some(error) = &gateway.source.error {
            problems.push(format!("the gateway's configuration cannot be read: {error}"));
        }
        if let Some(mistakes) = &self.store.view().mistakes {
            problems.push(format!(
                "the plugin store was edited and is not in force; its last state is: {mistakes}"
            ));
        }
        if capture.reader.undecodable_records > 0 {
            problems.push(format!(
                "{} records could not be decoded",
                capture.reader.undecodable_records
            ));
        }
        let guard = guard(&self.guard.load(), &pipeline, &ship);
        problems.extend(guard.problems());
        let panics = self.worker_panics.load(Ordering::Relaxed);
        if panics > 0 {
            problems.push(format!(
                "the worker panicked {panics} times; what it held then is lost"
            ));
        }
        Status {
            version: env!("CARGO_PKG_VERSION"),
            state,
            uptime_seconds: self.started.elapsed().as_secs(),
            usage: usage::of_this_process(),
            guard,
            sockets: capture.sockets.map(SocketSource::label),
            gateways: capture.gateways.iter().map(gateway_status).collect(),
            bytes: bytes(&capture, pipeline.read_bytes),
            exchanges: Exchanges::from(&self.ledger.snapshot()),
            connections: pipeline.connections.named().into_iter().collect(),
            joins: pipeline.correlator.named().collect(),
            probes: probe_events(&capture),
            configuration: configuration(&gateway, &self.source_name),
            plugins: plugins(&self.history.load().newest().plugins),
            delivery: delivery(&ship),
            problems,
        }
    }
}

/// What the guard shows, with what the stages say that they hold.
fn guard(shown: &GuardStatus, pipeline: &PipelineStats, ship: &ShipStats) -> GuardStatus {
    let mut guard = shown.clone();
    let queued = u64::try_from(ship.queued_bytes).unwrap_or(u64::MAX);
    guard.memory.held_bytes.extend([
        ("connections", pipeline.connections.held_bytes),
        ("joins", pipeline.correlator.held_bytes),
        ("queue", queued),
    ]);
    guard
}

fn gateway_status(watched: &WatchedGateway) -> GatewayStatus {
    GatewayStatus {
        kind: watched.gateway.kind.label(),
        master: watched.gateway.master.map(|pid| pid.0),
        workers: watched
            .workers
            .iter()
            .map(|(pid, worker)| WorkerStatus {
                pid: pid.0,
                tls: worker.tls.describe(),
                watched_since_unix_ms: worker.since_unix_ns / 1_000_000,
                found: worker.found.label(),
            })
            .collect(),
        listeners: watched.gateway.listeners.clone(),
        error_log: watched.gateway.error_log.clone(),
    }
}

/// The kernel's counts, with what the agent lost afterwards moved from *copied* to *lost*.
fn bytes(capture: &CaptureStatus, read: u64) -> Bytes {
    let reason = |prefix: &str| -> Counts {
        let named = capture.kernel.iter();
        named
            .filter_map(|(name, count)| Some((name.strip_prefix(prefix)?.strip_suffix("_bytes")?, count)))
            .collect()
    };
    let queue_full = capture.reader.queue_full_bytes;
    let mut lost = reason("lost_");
    lost.insert("queue_full", queue_full);
    Bytes {
        seen: capture.kernel.get(counter::SEEN_BYTES),
        copied: capture
            .kernel
            .get(counter::COPIED_BYTES)
            .saturating_sub(queue_full),
        read,
        left: reason("left_"),
        lost,
        ciphertext: capture.kernel.get(counter::CIPHERTEXT_BYTES),
        balanced: false,
    }
    .balance()
}

fn probe_events(capture: &CaptureStatus) -> Counts {
    let mut events: Counts = capture
        .kernel
        .iter()
        .filter(|(name, _)| !name.ends_with("_bytes"))
        .collect();
    events.insert("undecodable_records", capture.reader.undecodable_records);
    events.insert("queue_full_events", capture.reader.queue_full_events);
    events
}

fn configuration(gateway: &GatewayState, source_name: &str) -> ConfigurationStatus {
    let (services, routes, consumers) = gateway.snapshot.sizes();
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let facts = gateway.facts.as_deref();
    ConfigurationStatus {
        source: source_name.to_owned(),
        gateway_version: facts.map(|facts| facts.version.clone()),
        router_flavor: facts.and_then(|facts| facts.router_flavor.clone()),
        entities: [
            ("services", count(services)),
            ("routes", count(routes)),
            ("consumers", count(consumers)),
            ("consumer_groups", count(gateway.snapshot.consumer_groups())),
        ]
        .into(),
        age_seconds: gateway
            .source
            .age_ns(clock::unix_ns())
            .map(|ns| ns / 1_000_000_000),
        error: gateway.source.error.clone(),
        warnings: gateway.warnings.iter().map(ToString::to_string).collect(),
    }
}

fn plugins(set: &PluginSet) -> Vec<PluginStatus> {
    let active = set.active().map(|config| PluginStatus {
        origin: config.origin.clone(),
        scope: scope(config),
        endpoint: config.destination.url.to_string(),
        state: "active".to_owned(),
    });
    let inactive = set.inactive().iter().map(|inactive| PluginStatus {
        origin: inactive.origin.clone(),
        scope: inactive.scope.clone(),
        endpoint: inactive.endpoint.clone(),
        state: format!("inactive: {}", inactive.reason),
    });
    active.chain(inactive).collect()
}

fn scope(config: &PluginConfig) -> String {
    let scope = &config.scope;
    let parts: Vec<String> = [
        ("route", &scope.route_id),
        ("service", &scope.service_id),
        ("consumer", &scope.consumer_id),
        ("consumer_group", &scope.consumer_group_id),
    ]
    .into_iter()
    .filter_map(|(kind, id)| Some(format!("{kind}={}", id.as_ref()?)))
    .collect();
    if parts.is_empty() {
        "global".to_owned()
    } else {
        parts.join(" ")
    }
}

/// That nothing is written to the spool, and why.
fn spool_problem(ship: &ShipStats) -> Option<String> {
    let fault = ship.spool.as_ref()?.fault.as_ref()?;
    fault.is_current.then(|| {
        format!(
            "messages are kept in memory alone, because the spool refuses: {}",
            fault.detail
        )
    })
}

fn delivery(ship: &ShipStats) -> Delivery {
    let newest = ship.last_errors.iter().max_by_key(|error| error.at_unix_ms);
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Delivery {
        counts: [
            ("attempts", ship.attempts),
            ("ended", ship.latency_count),
            ("latency_us", ship.latency_us_sum),
            ("warnings", ship.warnings),
            ("repeats", ship.repeats),
            ("looks", ship.looks),
            ("breaker_opened", ship.breaker_opened),
            ("breaker_closed", ship.breaker_closed),
        ]
        .into(),
        in_flight: ship.in_flight,
        allowed: count(ship.endpoints.iter().map(|endpoint| endpoint.allowed).sum()),
        queued_bytes: count(ship.queued_bytes),
        queued_repeats: count(ship.endpoints.iter().map(|endpoint| endpoint.repeats).sum()),
        endpoint_states: EndpointState::ALL
            .into_iter()
            .map(|state| {
                let endpoints = ship.endpoints.iter();
                let alike = endpoints.filter(|endpoint| endpoint.state == state);
                (state.label(), count(alike.count()))
            })
            .collect(),
        endpoints: ship.endpoints.clone(),
        limit_bytes: u64::try_from(ship.limit_bytes).unwrap_or(u64::MAX),
        shed: (&ship.shed).into(),
        last_error: newest.map(|error| format!("{}: {}", error.reason, error.detail)),
        spool: ship.spool.clone(),
    }
}

#[cfg(test)]
mod tests;
