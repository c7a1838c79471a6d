//! The measured path: a scenario's records through kongtap's own stages, on one thread.
//!
//! In: a [`Scenario`] and how far to go. Out: passes over its tape, each of which is checked to have brought out every exchange. The
//! same code that runs behind the ring runs here, with the same defaults; batches are as large as the reader's.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use kongtap::app::{live, setup};
use kongtap::capture::decode::{Arena, decode_in};
use kongtap::capture::event::{CaptureEvent, KernelTime};
use kongtap::capture::reader::ReaderOptions;
use kongtap::config::Config;
use kongtap::conn::ConnTable;
use kongtap::correlate::{Correlator, Joined};
use kongtap::gateway::declarative;
use kongtap::gateway::document::SourceFile;
use kongtap::gateway::router::RouterProfile;
use kongtap::gateway::snapshot::Snapshot;
use kongtap::http::exchange::Exchange;
use kongtap::message::Message;
use kongtap::pipeline::{Bound, History, Pipeline, Settings, Sink};
use kongtap::plugin::file::{self, EnvironmentValues};
use kongtap::plugin::from_gateway::FromGateway;
use kongtap::telemetry::ledger::ExchangeLedger;

use super::heads::KONG_YML;
use super::scenario::{Bodies, Scenario};
use super::tape::Tape;

/// How far the records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Stage {
    /// Records decoded: what the ring's reader does.
    Events,
    /// Both legs parsed and joined: the finished exchange.
    Exchange,
    /// Resolved against the gateway's configuration, decided, written as JSON: what is queued for delivery.
    Message,
}

impl Stage {
    /// In the order in which data flows; each holds what stands before it.
    pub const ALL: [Self; 3] = [Self::Events, Self::Exchange, Self::Message];

    /// Its name in figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Exchange => "exchange",
            Self::Message => "message",
        }
    }
}

/// A tape that can be passed through the stages any number of times, and what the stages keep in between.
#[derive(Debug)]
pub struct Path {
    tape: Tape,
    arena: Arena,
    batch: Vec<CaptureEvent>,
    rest: Rest,
}

/// What stands behind the decoder.
#[derive(Debug)]
enum Rest {
    Nothing,
    Legs(Box<Legs>),
    Pipeline(Box<Whole>),
}

#[derive(Debug)]
struct Legs {
    connections: ConnTable,
    correlator: Correlator,
    exchanges: Vec<Exchange>,
    joined: Vec<Joined>,
    whole: usize,
}

#[derive(Debug)]
struct Whole {
    pipeline: Pipeline<Counter>,
    ledger: Arc<ExchangeLedger>,
    shipped_before: u64,
}

/// Counts messages and lets them go.
#[derive(Debug)]
struct Counter(Arc<ExchangeLedger>);

impl Sink for Counter {
    fn offer(&mut self, message: Message) {
        black_box(message.json());
        self.0.enqueue();
        self.0.ship_queued();
    }
}

impl Path {
    /// Makes the tape and the stages.
    ///
    /// # Errors
    /// When the configurations are wrong.
    pub fn new(scenario: Scenario, stage: Stage) -> anyhow::Result<Self> {
        let settings = setup::pipeline_settings(&Config::default());
        Ok(Self {
            tape: scenario.tape()?,
            arena: Arena::default(),
            batch: Vec::with_capacity(ReaderOptions::default().batch_events),
            rest: match stage {
                Stage::Events => Rest::Nothing,
                Stage::Exchange => Rest::Legs(Box::new(Legs::new(&settings, scenario.bodies()))),
                Stage::Message => Rest::Pipeline(Box::new(Whole::new(settings, scenario.bodies())?)),
            },
        })
    }

    /// Exchanges of one pass.
    #[must_use]
    pub const fn exchanges(&self) -> usize {
        self.tape.exchanges
    }

    /// Passes the tape through once. Every connection is opened in it and closed, so the next pass is like the first.
    ///
    /// # Errors
    /// When fewer exchanges came out than went in.
    pub fn pass(&mut self) -> anyhow::Result<()> {
        let options = ReaderOptions::default();
        let mut bytes = 0;
        for record in &self.tape.records {
            bytes += record.len();
            self.batch.push(decode_in(record, &mut self.arena)?);
            if self.batch.len() >= options.batch_events || bytes >= options.batch_bytes {
                bytes = 0;
                self.rest.take(&mut self.batch);
            }
        }
        self.rest.take(&mut self.batch);
        self.rest.check(self.tape.exchanges)
    }
}

impl Rest {
    fn take(&mut self, batch: &mut Vec<CaptureEvent>) {
        match self {
            Self::Nothing => {
                black_box(&*batch);
                batch.clear();
            }
            Self::Legs(legs) => batch.drain(..).for_each(|event| legs.apply(event)),
            Self::Pipeline(whole) => {
                for event in batch.drain(..) {
                    // A tape cannot pass over what it holds.
                    let _skip = whole.pipeline.apply(event);
                }
            }
        }
    }

    /// Whether as many came out as were in a pass; forgets them.
    fn check(&mut self, expected: usize) -> anyhow::Result<()> {
        let seen = match self {
            Self::Nothing => expected,
            Self::Legs(legs) => std::mem::take(&mut legs.whole),
            Self::Pipeline(whole) => whole.take_shipped()?,
        };
        ensure!(seen == expected, "{seen} of {expected} exchanges came out");
        Ok(())
    }
}

impl Legs {
    fn new(settings: &Settings, bodies: Bodies) -> Self {
        let mut connections = ConnTable::new(settings.connections);
        if bodies == Bodies::Off {
            connections.keep_bodies(0);
        }
        Self {
            connections,
            correlator: Correlator::new(settings.correlator),
            exchanges: Vec::new(),
            joined: Vec::new(),
            whole: 0,
        }
    }

    fn apply(&mut self, event: CaptureEvent) {
        let now = event.at();
        // A tape cannot pass over what it holds.
        let _skip = self.connections.apply(event, &mut self.exchanges);
        for exchange in self.exchanges.drain(..) {
            self.correlator.offer(exchange, now, &mut self.joined);
        }
        for joined in self.joined.drain(..) {
            if let Joined::Exchange(exchange) = &joined {
                self.whole += usize::from(exchange.upstream.len() == 1);
            }
            black_box(&joined);
        }
    }
}

impl Whole {
    fn new(settings: Settings, bodies: Bodies) -> anyhow::Result<Self> {
        let history = Arc::new(ArcSwap::from_pointee(History::new(Arc::new(configuration(
            bodies,
        )?))));
        let ledger = Arc::new(ExchangeLedger::default());
        let sink = Counter(Arc::clone(&ledger));
        let mut pipeline = Pipeline::new(settings, history, Arc::clone(&ledger), sink);
        // Tells the parsers how much of a body is wanted.
        pipeline.sweep(KernelTime(0));
        Ok(Self {
            pipeline,
            ledger,
            shipped_before: 0,
        })
    }

    /// How many were shipped since the last time.
    fn take_shipped(&mut self) -> anyhow::Result<usize> {
        let shipped = self.ledger.snapshot().shipped;
        let since = shipped - std::mem::replace(&mut self.shipped_before, shipped);
        Ok(usize::try_from(since)?)
    }
}

/// The recorded gateway's, with one `runscope` configuration for all of it.
fn configuration(bodies: Bodies) -> anyhow::Result<Bound> {
    let gateway = SourceFile {
        name: "kong.yml".into(),
        bytes: KONG_YML.as_bytes().to_vec(),
    };
    let entities = declarative::read(&[gateway]).context("the gateway's configuration")?;
    let (snapshot, _warnings) = Snapshot::build(entities, &RouterProfile::default());
    let environment = EnvironmentValues {
        access_token: Some("token"),
        bucket_key: Some("bench"),
        api_endpoint: Some("http://127.0.0.1:9"),
        log_body: Some(match bodies {
            Bodies::On => "true",
            Bodies::Off => "false",
        }),
    };
    let plugins = file::read(&[], environment).context("the plugin's configuration")?;
    Ok(live::bind(plugins, FromGateway::Show, &Arc::new(snapshot), None))
}
