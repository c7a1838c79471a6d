//! What is shipped: messages of [`BYTES`] bytes that kongtap made itself, of the exchanges of a tape.
//!
//! In: where they go. Out: [`Message`]s, by the whole pipeline: nothing else can make one.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use kongtap::app::{live, setup};
use kongtap::capture::decode::{Arena, decode_in};
use kongtap::capture::event::KernelTime;
use kongtap::config::Config;
use kongtap::gateway::declarative;
use kongtap::gateway::document::SourceFile;
use kongtap::gateway::router::RouterProfile;
use kongtap::gateway::snapshot::Snapshot;
use kongtap::message::Message;
use kongtap::pipeline::{History, Pipeline, Sink};
use kongtap::plugin::file::{self, EnvironmentValues};
use kongtap::plugin::from_gateway::FromGateway;
use kongtap::telemetry::ledger::ExchangeLedger;

use crate::bench::parse::heads::KONG_YML;
use crate::bench::parse::scenario::{Bodies, taking_turns};

/// How long a message is, about.
pub const BYTES: usize = 2048;

/// How many different ones there are; they are sent in turn.
const DIFFERENT: usize = 64;

/// Keeps what comes out of the pipeline.
#[derive(Debug)]
struct Keep(Sender<Message>);

impl Sink for Keep {
    fn offer(&mut self, message: Message) {
        // The other end is there until the pipeline is gone.
        let _kept = self.0.send(message);
    }
}

/// Messages for `endpoint`, whatever its certificate.
///
/// # Errors
/// When the configurations are wrong, or fewer messages came out than exchanges went in.
pub fn make(endpoint: &str) -> anyhow::Result<Vec<Message>> {
    let without_body = length(&of_body(endpoint, 0)?);
    // Quotation marks in the body are longer in the message.
    let of_a_kilobyte = length(&of_body(endpoint, 1024)?)
        .saturating_sub(without_body)
        .max(1);
    let wanted = BYTES.saturating_sub(without_body) * 1024 / of_a_kilobyte;
    let messages = of_body(endpoint, wanted)?;
    let made = length(&messages);
    ensure!(
        made.abs_diff(BYTES) < BYTES / 10,
        "a message has {made} bytes instead of {BYTES}"
    );
    Ok(messages)
}

fn length(messages: &[Message]) -> usize {
    messages.iter().map(|message| message.json().len()).sum::<usize>() / messages.len().max(1)
}

fn of_body(endpoint: &str, body_bytes: usize) -> anyhow::Result<Vec<Message>> {
    let settings = setup::pipeline_settings(&Config::default());
    let history = Arc::new(ArcSwap::from_pointee(history(endpoint)?));
    let (keep, kept) = channel();
    let mut pipeline = Pipeline::new(settings, history, Arc::new(ExchangeLedger::default()), Keep(keep));
    pipeline.sweep(KernelTime(0));
    let mut arena = Arena::default();
    for record in &taking_turns(DIFFERENT, body_bytes, Bodies::On).records {
        // A tape cannot pass over what it holds.
        let _skip = pipeline.apply(decode_in(record, &mut arena)?);
    }
    drop(pipeline);
    let messages: Vec<Message> = kept.iter().collect();
    ensure!(
        messages.len() == DIFFERENT,
        "{} of {DIFFERENT} messages came out",
        messages.len()
    );
    Ok(messages)
}

fn history(endpoint: &str) -> anyhow::Result<History> {
    let gateway = SourceFile {
        name: "kong.yml".into(),
        bytes: KONG_YML.as_bytes().to_vec(),
    };
    let entities = declarative::read(&[gateway]).context("the gateway's configuration")?;
    let (snapshot, _warnings) = Snapshot::build(entities, &RouterProfile::default());
    let runscope = SourceFile {
        name: "runscope.yml".into(),
        bytes: format!(
            "plugins:\n- name: runscope\n  config: {{ api_endpoint: '{endpoint}', access_token: token, bucket_key: bench, \
             log_body: true, tls_verify: false }}\n"
        )
        .into_bytes(),
    };
    let plugins =
        file::read(&[runscope], EnvironmentValues::default()).context("the plugin's configuration")?;
    let bound = live::bind(plugins, FromGateway::Show, &Arc::new(snapshot), None);
    Ok(History::new(Arc::new(bound)))
}
