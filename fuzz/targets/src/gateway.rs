//! The whole pipeline with a gateway's configuration, for targets that look at messages.
//!
//! In: capture events. Out: messages, kept, and a ledger that must balance.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use kongtap::clock::WallClock;
use kongtap::conn::ConnLimits;
use kongtap::correlate::CorrelatorLimits;
use kongtap::gateway::declarative;
use kongtap::gateway::router::RouterProfile;
use kongtap::gateway::snapshot::Snapshot;
use kongtap::message::redact::{RedactedNames, Redaction};
use kongtap::message::{Message, Profile};
use kongtap::pipeline::{Bound, History, Pipeline, Settings, Sink};
use kongtap::plugin::PluginSet;
use kongtap::plugin::file::{EnvironmentValues, read};
use kongtap::telemetry::ledger::ExchangeLedger;

use crate::file::source;

/// Routes with and without credentials; `/keyed` reads `apikey` from header, query and body.
const GATEWAY: &str = r#"
_format_version: "3.0"
services:
- name: plain
  url: http://127.0.0.1:9
  routes: [{ name: plain, paths: [/] }, { name: hosts, hosts: [a.test] }]
- name: keyed
  url: http://127.0.0.1:9
  routes: [{ name: keyed, paths: [/keyed] }]
  plugins: [{ name: key-auth, config: { key_names: [apikey], key_in_body: true } }]
"#;

/// Everything is shipped, with bodies.
const PLUGINS: &str = "
plugins:
- name: runscope
  config: { api_endpoint: 'http://127.0.0.1:9', access_token: t, bucket_key: b, log_body: true }
";

static BOUND: LazyLock<Arc<Bound>> = LazyLock::new(|| {
    let entities = declarative::read(&[source(GATEWAY.as_bytes())]).unwrap_or_default();
    let (snapshot, _) = Snapshot::build(entities, &RouterProfile::default());
    let configs = read(&[source(PLUGINS.as_bytes())], EnvironmentValues::default()).unwrap_or_default();
    Arc::new(Bound {
        plugins: PluginSet::bind(&configs, &snapshot),
        snapshot: Arc::new(snapshot),
        gateway_api_ports: BTreeSet::new(),
    })
});

/// Names that [`pipeline`] hides beyond the default.
pub(crate) const HIDDEN_FIELDS: [&str; 2] = ["password", "apikey"];

/// Keeps messages.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) messages: Vec<Message>,
    ledger: Arc<ExchangeLedger>,
}

impl Sink for Kept {
    fn offer(&mut self, message: Message) {
        self.ledger.enqueue();
        self.messages.push(message);
        self.ledger.ship_queued();
    }
}

/// A pipeline behind that gateway, and its ledger.
pub(crate) fn pipeline(profile: Profile) -> (Pipeline<Kept>, Arc<ExchangeLedger>) {
    let settings = Settings {
        profile,
        redaction: Redaction::DefaultAnd(RedactedNames {
            headers: vec!["x-secret".to_owned()],
            fields: HIDDEN_FIELDS.map(str::to_owned).to_vec(),
            cookies: vec!["session".to_owned()],
        }),
        decoded_bytes: 64 << 10,
        wall: WallClock { boot_unix_ns: 0 },
        connections: ConnLimits::default(),
        correlator: CorrelatorLimits::default(),
    };
    let ledger = Arc::new(ExchangeLedger::default());
    let kept = Kept {
        messages: Vec::new(),
        ledger: Arc::clone(&ledger),
    };
    let history = Arc::new(ArcSwap::from_pointee(History::new(Arc::clone(&BOUND))));
    (
        Pipeline::new(settings, history, Arc::clone(&ledger), kept),
        ledger,
    )
}

#[cfg(test)]
mod tests {
    use kongtap::gateway::entities::Reference;

    use super::BOUND;

    #[test]
    fn the_gateway_is_what_it_should_be() {
        assert!(
            BOUND
                .snapshot
                .route(&Reference::Name("keyed".to_owned()))
                .is_some()
        );
        assert_eq!(BOUND.plugins.active().count(), 1);
        assert!(BOUND.plugins.wants_bodies());
    }
}
