//! The sans-IO core put together: capture events in, messages out.
//!
//! One [`Pipeline`] owns its connections (I4); it runs behind the ring, behind a recording, and in tests. It reads no clock:
//! time comes with the events and from whoever calls [`Pipeline::sweep`]. Deliberately absent: where messages go
//! ([`Sink`]).

mod bound;

use std::sync::Arc;

use arc_swap::ArcSwap;
use kongtap_common::record::ConnId;

pub use self::bound::{Bound, History};
use crate::capture::event::{CaptureEvent, KernelTime, Skip};
use crate::clock::WallClock;
use crate::conn::{ConnLimits, ConnStats, ConnTable};
use crate::correlate::{Correlator, CorrelatorLimits, CorrelatorStats, Joined, JoinedExchange, merge};
use crate::guard::Resource;
use crate::guard::levels::{Levels, Shed};
use crate::http::exchange::{Exchange, Leg, Response};
use crate::message::answer::is_gateway_made_error;
use crate::message::redact::Redaction;
use crate::message::shedding;
use crate::message::{self, BuildInput, Message, Profile};
use crate::plugin::Decision;
use crate::telemetry::ledger::{DropReason, ExchangeLedger, FilterReason};

/// Kept of a body although none is wanted: an error page of the gateway's own is known by its text.
const GLIMPSE_BYTES: usize = 1024;

/// Takes finished messages; accounts for each in the ledger, and never waits.
pub trait Sink {
    /// Takes one message.
    fn offer(&mut self, message: Message);
}

/// How messages are made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which fields are sent.
    pub profile: Profile,
    /// What is hidden.
    pub redaction: Redaction,
    /// Bytes that are decoded of a request body, at most, to look for what to hide.
    pub decoded_bytes: usize,
    /// The captured host's clock.
    pub wall: WallClock,
    /// Bounds of the connection table.
    pub connections: ConnLimits,
    /// Bounds of the correlator.
    pub correlator: CorrelatorLimits,
}

/// Counters of the stages.
#[derive(Clone, Copy, Debug, Default)]
pub struct PipelineStats {
    /// Connections and parsing.
    pub connections: ConnStats,
    /// Joining of the legs.
    pub correlator: CorrelatorStats,
    /// Payload bytes taken from events.
    pub read_bytes: u64,
}

/// Capture events in, messages out.
#[derive(Debug)]
pub struct Pipeline<S> {
    settings: Settings,
    history: Arc<ArcSwap<History>>,
    ledger: Arc<ExchangeLedger>,
    levels: Arc<Levels>,
    connections: ConnTable,
    correlator: Correlator,
    sink: S,
    read_bytes: u64,
    exchanges: Vec<Exchange>,
    joined: Vec<Joined>,
}

impl<S: Sink> Pipeline<S> {
    /// An empty pipeline; `history` may be swapped while it runs.
    #[must_use]
    pub fn new(
        settings: Settings,
        history: Arc<ArcSwap<History>>,
        ledger: Arc<ExchangeLedger>,
        sink: S,
    ) -> Self {
        Self {
            connections: ConnTable::new(settings.connections),
            correlator: Correlator::new(settings.correlator),
            settings,
            history,
            ledger,
            levels: Arc::default(),
            sink,
            read_bytes: 0,
            exchanges: Vec::new(),
            joined: Vec::new(),
        }
    }

    /// The same, doing less while `levels` say so.
    #[must_use]
    pub fn guarded_by(self, levels: Arc<Levels>) -> Self {
        Self { levels, ..self }
    }

    /// Takes one event. Answers what capture may pass over from now on; a replay has no use for that.
    pub fn apply(&mut self, event: CaptureEvent) -> Option<Skip> {
        let now = event.at();
        if let CaptureEvent::Data(chunk) = &event {
            self.read_bytes = self
                .read_bytes
                .saturating_add(u64::try_from(chunk.bytes.len()).unwrap_or(u64::MAX));
        }
        let skip = self.connections.apply(event, &mut self.exchanges);
        self.advance(now);
        skip
    }

    /// Bytes that are wanted of each body, as the newest configurations have it and the guard allows. Zero: no bodies are.
    #[must_use]
    pub fn wanted_body_bytes(&self) -> usize {
        if self.history.load().newest().plugins.wants_bodies() {
            let most = self.levels.now().body_bytes();
            self.settings.connections.http.body_bytes.min(most)
        } else {
            0
        }
    }

    /// The connections that are followed.
    pub fn connections(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.connections.names()
    }

    /// Lets time pass: expires what waits too long. To be called a few times a second.
    pub fn sweep(&mut self, now: KernelTime) {
        self.connections
            .keep_bodies(self.wanted_body_bytes().max(GLIMPSE_BYTES));
        self.connections.sweep(now, &mut self.exchanges);
        self.advance(now);
        let open = if self.correlator.asks_for_open_requests(now) {
            self.connections.open_requests()
        } else {
            Vec::new()
        };
        self.correlator.sweep(now, &open, &mut self.joined);
        self.finish();
    }

    /// Everything that is still held comes out as it is: the end of a recording, or of the agent.
    pub fn flush(&mut self, now: KernelTime) {
        self.connections.flush(now, &mut self.exchanges);
        self.advance(now);
        self.correlator.flush(&mut self.joined);
        self.finish();
    }

    /// The counters of the stages.
    #[must_use]
    pub fn stats(&self) -> PipelineStats {
        PipelineStats {
            connections: self.connections.stats(),
            correlator: self.correlator.stats(),
            read_bytes: self.read_bytes,
        }
    }

    /// Gives the sink back.
    pub fn into_sink(self) -> S {
        self.sink
    }

    fn advance(&mut self, now: KernelTime) {
        if self.exchanges.is_empty() {
            return;
        }
        for exchange in self.exchanges.drain(..) {
            self.correlator.offer(exchange, now, &mut self.joined);
        }
        self.finish();
    }

    fn finish(&mut self) {
        if self.joined.is_empty() {
            return;
        }
        let history = self.history.load_full();
        let shed = self.levels.now();
        for joined in self.joined.drain(..) {
            self.ledger.saw();
            let exchange = match joined {
                Joined::Orphan(_) => {
                    self.ledger.filter(FilterReason::NotProxied);
                    continue;
                }
                Joined::Exchange(exchange) => exchange,
            };
            if let Some(resource) = self.levels.leaves_out(&exchange, shed) {
                self.ledger.filter(match resource {
                    Resource::Cpu => FilterReason::SampledCpu,
                    Resource::Memory => FilterReason::SampledMemory,
                });
                continue;
            }
            match decide(&exchange, &history, &self.settings, &self.levels, shed) {
                Verdict::Ship(message) => self.sink.offer(message),
                Verdict::Filter(reason) => self.ledger.filter(reason),
                Verdict::Drop(reason) => self.ledger.drop_unqueued(reason),
            }
        }
    }
}

/// A call of the gateway's own Admin or Status API: by its port, or by a header that only the Admin API's answers have
/// (Kong 1.4 on) and that no service's answer can bring, as there is no upstream leg.
fn is_gateway_api(joined: &JoinedExchange, bound: &Bound) -> bool {
    let says_so = |response: &Response| response.headers.contains("x-kong-admin-latency");
    bound.gateway_api_ports.contains(&joined.client.conn.local.port())
        || (joined.upstream.is_empty() && joined.client.response.as_ref().is_some_and(says_so))
}

/// What becomes of one exchange.
enum Verdict {
    Ship(Message),
    Filter(FilterReason),
    Drop(DropReason),
}

fn decide(
    joined: &JoinedExchange,
    history: &History,
    settings: &Settings,
    levels: &Levels,
    shed: Shed,
) -> Verdict {
    debug_assert_eq!(
        joined.client.leg,
        Leg::Downstream,
        "the correlator joins onto the client's leg"
    );
    let Some(request) = &joined.client.request else {
        return Verdict::Drop(DropReason::HeadLost);
    };
    if !request.names_its_target() {
        return Verdict::Drop(DropReason::HeadLost);
    }
    let bound = history.at(request.started);
    if is_gateway_api(joined, &bound) {
        return Verdict::Filter(FilterReason::GatewayApi);
    }
    let resolution = bound.snapshot.resolve(joined);
    let config = match bound.plugins.decide(&resolution) {
        Decision::Use(config) => config,
        Decision::None => return Verdict::Filter(FilterReason::NoConfiguration),
        Decision::RouteUnknown => return Verdict::Drop(DropReason::RouteUnknown),
        Decision::ConsumerUnknown => return Verdict::Drop(DropReason::ConsumerUnknown),
    };
    if settings.profile == Profile::Plugin && is_gateway_made_error(joined) {
        return Verdict::Filter(FilterReason::Profile);
    }
    if config.log_body
        && let Some(resource) = shed.cuts_bodies_for()
    {
        let wanted = settings.connections.http.body_bytes;
        levels.cut_bodies(resource, shedding::left_out(&joined.client, shed, wanted));
    }
    let input = BuildInput {
        joined,
        request_headers: &merge::plugin_view(joined),
        resolution: &resolution,
        config: &config,
        profile: settings.profile,
        redaction: &settings.redaction,
        decoded_bytes: settings.decoded_bytes,
        wall: settings.wall,
    };
    Verdict::Ship(message::build_within(&input, shed))
}
