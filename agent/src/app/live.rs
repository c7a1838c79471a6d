//! The `runscope` configurations of every source, bound to the gateway's newest configuration, while all of them change.
//!
//! In: what the store, the files and the gateway say, whenever one of them changes. Out: readings in the pipeline's [`History`]. No
//! message is lost over a change: a request is resolved against the reading that was in force when it began (I9).

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;

use super::setup;
use crate::clock;
use crate::gateway::admin_api::facts::GatewayFacts;
use crate::gateway::ports::PortMap;
use crate::gateway::snapshot::Snapshot;
use crate::gateway::source::GatewayState;
use crate::pipeline::{Bound, History};
use crate::plugin::UnboundConfig;
use crate::plugin::from_gateway::{self, FromGateway};
use crate::plugin::stored::StoredPlugin;
use crate::ship::ShipHandle;

/// The sources, strongest first: the store, the files, the environment, the gateway itself.
#[derive(Debug)]
pub struct Live {
    sources: Mutex<Sources>,
    from_gateway: FromGateway,
    /// Where the gateway's own are not known.
    ports: PortMap,
    history: Arc<ArcSwap<History>>,
    /// Who is told where configurations post to.
    ship: OnceLock<ShipHandle>,
}

#[derive(Debug)]
struct Sources {
    stored: Vec<UnboundConfig>,
    /// Files, then the environment.
    declared: Vec<UnboundConfig>,
    gateway: Option<(Arc<Snapshot>, Option<Arc<GatewayFacts>>)>,
}

impl Live {
    /// Begins with what is known before the gateway's configuration is.
    #[must_use]
    pub fn new(
        stored: &[StoredPlugin],
        declared: Vec<UnboundConfig>,
        from_gateway: FromGateway,
        ports: PortMap,
    ) -> Self {
        let sources = Sources {
            stored: stored.iter().map(StoredPlugin::unbound).collect(),
            declared,
            gateway: None,
        };
        let unread = Arc::new(Bound::unread_behind(ports.clone(), &sources.named()));
        Self {
            sources: Mutex::new(sources),
            from_gateway,
            ports,
            history: Arc::new(ArcSwap::from_pointee(History::new(unread))),
            ship: OnceLock::new(),
        }
    }

    /// Tells delivery, from now on, where configurations post to.
    pub fn tell(&self, ship: ShipHandle) {
        drop(self.ship.set(ship));
        self.told();
    }

    fn told(&self) {
        if let Some(ship) = self.ship.get() {
            let newest = self.history.load().newest();
            let destinations: Vec<_> = newest
                .plugins
                .active()
                .map(|config| Arc::clone(&config.destination))
                .collect();
            ship.configured(&destinations);
        }
    }

    /// Where the pipeline reads.
    #[must_use]
    pub const fn history(&self) -> &Arc<ArcSwap<History>> {
        &self.history
    }

    /// The gateway has another configuration.
    pub fn gateway_changed(&self, state: &GatewayState) {
        let mut sources = self.lock();
        let is_first = sources.gateway.is_none();
        sources.gateway = Some((Arc::clone(&state.snapshot), state.facts.clone()));
        let bound = Arc::new(self.bind(&sources));
        // What came before the first reading is better resolved by it than by nothing.
        self.history.store(Arc::new(if is_first {
            History::new(bound)
        } else {
            self.history.load().with(clock::kernel_now(), bound)
        }));
        self.told();
    }

    /// The store has other configurations.
    pub fn store_changed(&self, stored: &[StoredPlugin]) {
        let mut sources = self.lock();
        sources.stored = stored.iter().map(StoredPlugin::unbound).collect();
        self.publish(&sources);
    }

    /// The files have other configurations.
    pub fn files_changed(&self, declared: Vec<UnboundConfig>) {
        let mut sources = self.lock();
        sources.declared = declared;
        self.publish(&sources);
    }

    fn publish(&self, sources: &Sources) {
        let bound = Arc::new(self.bind(sources));
        let history = self.history.load().with(clock::kernel_now(), bound);
        self.history.store(Arc::new(history));
        self.told();
    }

    fn bind(&self, sources: &Sources) -> Bound {
        let Some((snapshot, facts)) = &sources.gateway else {
            return Bound::unread_behind(self.ports.clone(), &sources.named());
        };
        bind(sources.named(), self.from_gateway, snapshot, facts.as_deref())
    }

    fn lock(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reading of the gateway's configuration with the `runscope` configurations bound to it. What a running agent decides by, and
/// whoever tells what it would decide.
#[must_use]
pub fn bind(
    named: Vec<UnboundConfig>,
    from_gateway: FromGateway,
    snapshot: &Arc<Snapshot>,
    facts: Option<&GatewayFacts>,
) -> Bound {
    Bound {
        plugins: from_gateway::bind(named, from_gateway, snapshot),
        snapshot: Arc::clone(snapshot),
        gateway_api_ports: setup::gateway::api_ports(facts),
    }
}

impl Sources {
    fn named(&self) -> Vec<UnboundConfig> {
        self.stored.iter().chain(&self.declared).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{FromGateway, Live};
    use crate::gateway::declarative;
    use crate::gateway::document::SourceFile;
    use crate::gateway::ports::PortMap;
    use crate::gateway::router::RouterProfile;
    use crate::gateway::snapshot::Snapshot;
    use crate::gateway::source::GatewayState;
    use crate::plugin::file::{self, EnvironmentValues};
    use crate::plugin::store::text;

    fn source(text: &str) -> SourceFile {
        SourceFile {
            name: Arc::from("f.yml"),
            bytes: text.as_bytes().to_vec(),
        }
    }

    fn gateway(text: &str) -> GatewayState {
        let entities = declarative::read(&[source(text)]).unwrap();
        GatewayState {
            snapshot: Arc::new(Snapshot::build(entities, &RouterProfile::default()).0),
            ..GatewayState::empty()
        }
    }

    /// Every configuration's origin, with why it does not apply if it does not.
    fn shown(live: &Live) -> Vec<String> {
        let newest = live.history().load().newest();
        let active = newest.plugins.active().map(|config| config.origin.clone());
        let inactive = newest.plugins.inactive().iter();
        let inactive = inactive.map(|it| format!("{} ({})", it.origin, it.reason));
        active.chain(inactive).collect()
    }

    const CONFIG: &str = "name: runscope, config: {access_token: T, bucket_key: B}";

    #[test]
    fn the_order_of_sources_decides_between_equal_scopes() {
        let stored = text::read(&source(&format!(
            "plugins: [{{{CONFIG}, id: 00000000-0000-4000-8000-000000000001}}]"
        )))
        .unwrap();
        let environment = EnvironmentValues {
            access_token: Some("T"),
            bucket_key: Some("B"),
            ..EnvironmentValues::default()
        };
        let declared = file::read(
            &[source(&format!("plugins: [{{{CONFIG}, service: s}}]"))],
            environment,
        )
        .unwrap();
        let kong = format!(
            "{{_format_version: '3.0', services: [{{name: s}}, {{name: t}}], plugins: [{{{CONFIG}}}, {{{CONFIG}, service: t}}, {{name: runscope, config: {{}}, service: s}}]}}"
        );
        for (choice, expected) in [
            (
                FromGateway::Use,
                [
                    "store: 00000000-0000-4000-8000-000000000001",
                    "f.yml: plugins[0]",
                    "gateway: f.yml: plugins[1]",
                    "environment (store: 00000000-0000-4000-8000-000000000001 has the same scope and comes first)",
                    "gateway: f.yml: plugins[0] (store: 00000000-0000-4000-8000-000000000001 has the same scope and comes first)",
                    "gateway: f.yml: plugins[2] (it cannot be used: bucket_key is required; access_token is required)",
                ],
            ),
            (
                FromGateway::Show,
                [
                    "store: 00000000-0000-4000-8000-000000000001",
                    "f.yml: plugins[0]",
                    "environment (store: 00000000-0000-4000-8000-000000000001 has the same scope and comes first)",
                    "gateway: f.yml: plugins[0] (it is the gateway's own, which may post by itself; `plugins.from_gateway = true` uses it)",
                    "gateway: f.yml: plugins[1] (it is the gateway's own, which may post by itself; `plugins.from_gateway = true` uses it)",
                    "gateway: f.yml: plugins[2] (it cannot be used: bucket_key is required; access_token is required)",
                ],
            ),
        ] {
            let live = Live::new(&stored, declared.clone(), choice, PortMap::default());
            live.gateway_changed(&gateway(&kong));
            assert_eq!(shown(&live), expected);
        }
    }

    #[test]
    fn what_a_workspace_says_is_not_taken_for_all_of_them() {
        let live = Live::new(&[], Vec::new(), FromGateway::Use, PortMap::default());
        let of = |workspace: &str| {
            format!(
                "{{_format_version: '3.0', _workspace: {workspace}, services: [{{name: s}}], plugins: [{{{CONFIG}, service: s}}, {{{CONFIG}}}]}}"
            )
        };
        live.gateway_changed(&gateway(&of("team")));
        assert_eq!(
            shown(&live),
            [
                "gateway: f.yml: plugins[0]",
                "gateway: f.yml: plugins[1] (it cannot be used: it is for the workspace `team` alone; bind it to a service or a route)",
            ]
        );
        live.gateway_changed(&gateway(&of("default")));
        assert_eq!(
            shown(&live),
            ["gateway: f.yml: plugins[0]", "gateway: f.yml: plugins[1]"]
        );
    }

    #[test]
    fn a_parent_that_the_gateway_loses_leaves_the_configuration_inactive_until_it_is_back() {
        let stored = text::read(&source(&format!(
            "plugins: [{{{CONFIG}, service: s, id: 00000000-0000-4000-8000-000000000001}}]"
        )))
        .unwrap();
        let live = Live::new(&[], Vec::new(), FromGateway::Show, PortMap::default());
        let with = "{_format_version: '3.0', services: [{name: s}]}";
        let without = "{_format_version: '3.0', services: []}";
        live.gateway_changed(&gateway(with));
        live.store_changed(&stored);
        let active = ["store: 00000000-0000-4000-8000-000000000001"];
        assert_eq!(shown(&live), active);
        live.gateway_changed(&gateway(without));
        assert_eq!(
            shown(&live),
            ["store: 00000000-0000-4000-8000-000000000001 (the gateway has no service `s`)"]
        );
        live.gateway_changed(&gateway(with));
        assert_eq!(shown(&live), active);
        live.store_changed(&[]);
        assert_eq!(shown(&live), [""; 0]);
    }
}
