//! The `runscope` configurations: which there are, and which is in force for an exchange.
//!
//! In: configurations in Kong's own declarative form or from the environment's values, a [`Snapshot`] to bind them to, and
//! [`Resolution`]s. Out: a [`Decision`]. Precedence is Kong's (Kong 3.9 kong/runloop/plugins_iterator.lua). Deliberately absent:
//! reading files and the environment (values come as arguments), and a store.

use std::collections::HashMap;
use std::sync::Arc;

use crate::gateway::entities::{Reference, Scope};
use crate::gateway::snapshot::{ConsumerMatch, Resolution, RouteMatch, Snapshot};
use crate::plugin::transport::Transport;
use crate::telemetry::secret::Secret;

pub mod file;
pub mod from_gateway;
pub mod schema;
pub mod store;
pub mod stored;
pub mod trace;
pub mod transport;

#[cfg(test)]
mod tests;

/// One `runscope` configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginConfig {
    /// Where it came from, for `/status` and messages: `kong.yml: plugins[0]`, `environment`.
    pub origin: String,
    /// What it is bound to.
    pub scope: Scope,
    /// A disabled configuration falls through to the next less specific one.
    pub enabled: bool,
    /// Whether bodies are sent.
    pub log_body: bool,
    /// Where messages go.
    pub destination: Arc<Destination>,
}

impl PluginConfig {
    /// Whether both make the same message for the same place.
    fn says_the_same(&self, other: &Self) -> bool {
        self.log_body == other.log_body && self.destination == other.destination
    }
}

/// Where and how messages are posted. Messages of one destination share pooled connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// `{api_endpoint}/buckets/{bucket_key}/messages`, complete.
    pub url: url::Url,
    /// Sent as `Authorization: Bearer …`.
    pub access_token: Secret,
    /// Bounds one attempt in all its phases, milliseconds.
    pub timeout_ms: u64,
    /// Idle time of a pooled connection, milliseconds.
    pub keepalive_ms: u64,
    /// Whether the endpoint's certificate is verified.
    pub tls_verify: bool,
    /// How it is reached beyond that; what every configuration without such keys has in common.
    pub transport: Transport,
}

/// A configuration as it was written: it names its entities, which are looked up at each snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnboundConfig {
    /// Where it came from.
    pub origin: String,
    /// The Service it names.
    pub service: Option<Reference>,
    /// The Route it names.
    pub route: Option<Reference>,
    /// The Consumer it names.
    pub consumer: Option<Reference>,
    /// A disabled configuration falls through to the next less specific one.
    pub enabled: bool,
    /// Whether bodies are sent.
    pub log_body: bool,
    /// Where messages go.
    pub destination: Arc<Destination>,
}

/// A configuration that cannot apply at this snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inactive {
    /// Where it came from.
    pub origin: String,
    /// What it names: `service=orders consumer=alice`, `global`.
    pub scope: String,
    /// Where it would post to.
    pub endpoint: String,
    /// Why it does not apply.
    pub reason: InactiveReason,
}

/// Why a configuration cannot apply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InactiveReason {
    /// `enabled: false`.
    #[error("it is disabled")]
    Disabled,
    /// The gateway has no such Service.
    #[error("the gateway has no service `{0}`")]
    NoService(String),
    /// The gateway has no such Route.
    #[error("the gateway has no route `{0}`")]
    NoRoute(String),
    /// The gateway has no such Consumer.
    #[error("the gateway has no consumer `{0}`")]
    NoConsumer(String),
    /// It names a Route and a Service that the Route does not lead to.
    #[error("its route does not lead to its service")]
    Disjoint,
    /// Another one has the very same scope (named otherwise), and comes first.
    #[error("{0} has the same scope and comes first")]
    SameScope(String),
    /// It stands in the gateway's own configuration, and was not asked for.
    #[error("it is the gateway's own, which may post by itself; `plugins.from_gateway = true` uses it")]
    NotTaken,
    /// It stands in the gateway's own configuration, and is none that can be used.
    #[error("it cannot be used: {0}")]
    Invalid(String),
}

impl UnboundConfig {
    /// This configuration as one that does not apply.
    #[must_use]
    pub fn inactive(&self, reason: InactiveReason) -> Inactive {
        let parts: Vec<String> = [
            ("route", &self.route),
            ("service", &self.service),
            ("consumer", &self.consumer),
        ]
        .into_iter()
        .filter_map(|(kind, reference)| Some(format!("{kind}={}", reference.as_ref()?.text())))
        .collect();
        Inactive {
            origin: self.origin.clone(),
            scope: if parts.is_empty() {
                "global".to_owned()
            } else {
                parts.join(" ")
            },
            endpoint: self.destination.url.to_string(),
            reason,
        }
    }
}

/// Which configuration is in force for one exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// This one.
    Use(Arc<PluginConfig>),
    /// None: nothing is shipped.
    None,
    /// It depends on the route, which is not known.
    RouteUnknown,
    /// It depends on the consumer, who is not known.
    ConsumerUnknown,
}

/// All configurations, bound to one snapshot.
#[derive(Clone, Debug, Default)]
pub struct PluginSet {
    /// The enabled ones.
    active: HashMap<Scope, Arc<PluginConfig>>,
    /// Every one that could be bound, disabled ones too.
    bound: Vec<Arc<PluginConfig>>,
    inactive: Vec<Inactive>,
    wants_bodies: bool,
}

impl PluginSet {
    /// Binds configurations to the entities they name. One that names what the gateway does not have stays visible in
    /// [`PluginSet::inactive`].
    #[must_use]
    pub fn bind(configs: &[UnboundConfig], snapshot: &Snapshot) -> Self {
        let mut set = Self {
            // Bound or not: what a configuration names may be there at the next reading, and body bytes are wanted before.
            wants_bodies: configs.iter().any(|config| config.enabled && config.log_body),
            ..Self::default()
        };
        for config in configs {
            if let Err(reason) = set.add(config, snapshot) {
                set.inactive.push(config.inactive(reason));
            }
        }
        set
    }

    fn add(&mut self, config: &UnboundConfig, snapshot: &Snapshot) -> Result<(), InactiveReason> {
        let scope = scope_of(config, snapshot)?;
        let same = self.bound.iter().find(|other| other.scope == scope);
        if let Some(other) = same {
            return Err(InactiveReason::SameScope(other.origin.clone()));
        }
        let config = Arc::new(PluginConfig {
            origin: config.origin.clone(),
            scope: scope.clone(),
            enabled: config.enabled,
            log_body: config.log_body,
            destination: Arc::clone(&config.destination),
        });
        self.bound.push(Arc::clone(&config));
        if !config.enabled {
            return Err(InactiveReason::Disabled);
        }
        self.active.insert(scope, config);
        Ok(())
    }

    /// Notes configurations that were found and cannot apply for a reason of their own.
    pub fn note(&mut self, inactive: impl IntoIterator<Item = Inactive>) {
        self.inactive.extend(inactive);
    }

    /// Whether any configuration asks for bodies.
    #[must_use]
    pub const fn wants_bodies(&self) -> bool {
        self.wants_bodies
    }

    /// The enabled configurations that the gateway has the entities for, in their order.
    pub fn active(&self) -> impl Iterator<Item = &Arc<PluginConfig>> {
        self.bound.iter().filter(|config| config.enabled)
    }

    /// The others, each with the reason.
    #[must_use]
    pub fn inactive(&self) -> &[Inactive] {
        &self.inactive
    }

    /// Which configuration is in force.
    #[must_use]
    pub fn decide(&self, resolution: &Resolution) -> Decision {
        let consumer = &resolution.consumer;
        match &resolution.route {
            // Refused before any plugin of its route ran: those of the rewrite phase log it, and they are global.
            RouteMatch::Matched(_) if resolution.refusal.is_some() => {
                self.on_route(None, None, &ConsumerMatch::Nobody)
            }
            RouteMatch::Matched(route) => {
                let service_id = resolution.service.as_ref().map(|service| &service.id);
                self.on_route(Some(&route.id), service_id, consumer)
            }
            // Nobody is authenticated where no route is: global configurations only.
            RouteMatch::NoRoute => self.on_route(None, None, &ConsumerMatch::Nobody),
            RouteMatch::Unknown(_) => self.on_unknown_route(consumer),
        }
    }

    /// What applies wherever no route or service is configured, unless one may be that is stronger.
    fn on_unknown_route(&self, consumer: &ConsumerMatch) -> Decision {
        let elsewhere = self.on_route(None, None, consumer);
        let by_consumer = match &elsewhere {
            Decision::Use(config) => config.scope.consumer_id.is_some(),
            Decision::None | Decision::RouteUnknown | Decision::ConsumerUnknown => false,
        };
        let may_come_first = |scope: &Scope| match (&scope.consumer_id, consumer) {
            (None, ConsumerMatch::Nobody | ConsumerMatch::Unknown) => true,
            // A consumer's own configuration yields only to one of route and service together.
            (None, ConsumerMatch::Known(..)) => {
                !by_consumer || (scope.route_id.is_some() && scope.service_id.is_some())
            }
            (Some(id), ConsumerMatch::Known(known, _)) => *id == known.id,
            (Some(_), ConsumerMatch::Unknown) => true,
            (Some(_), ConsumerMatch::Nobody) => false,
        };
        let depends = |scope: &Scope| scope.route_id.is_some() || scope.service_id.is_some();
        if self
            .active
            .keys()
            .any(|scope| depends(scope) && may_come_first(scope))
        {
            Decision::RouteUnknown
        } else {
            elsewhere
        }
    }

    fn on_route(
        &self,
        route: Option<&Arc<str>>,
        service: Option<&Arc<str>>,
        consumer: &ConsumerMatch,
    ) -> Decision {
        let scopes = precedence(route, service, Who::Nobody);
        let rank_without = scopes.iter().position(|scope| self.active.contains_key(scope));
        let found = rank_without
            .and_then(|rank| scopes.get(rank))
            .and_then(|scope| self.active.get(scope));
        let without = found.map_or(Decision::None, |config| Decision::Use(Arc::clone(config)));
        match consumer {
            ConsumerMatch::Nobody => without,
            ConsumerMatch::Known(consumer, _) => {
                let scopes = precedence(route, service, Who::Consumer(&consumer.id));
                let found = scopes.iter().find_map(|scope| self.active.get(scope));
                found.map_or(Decision::None, |config| Decision::Use(Arc::clone(config)))
            }
            ConsumerMatch::Unknown => {
                // Could any consumer's configuration come before what applies without one, and say otherwise?
                let somebodys_differs = self.active.values().any(|config| {
                    let Some(id) = &config.scope.consumer_id else {
                        return false;
                    };
                    let scopes = precedence(route, service, Who::Consumer(id));
                    let first = scopes.iter().find_map(|scope| self.active.get(scope));
                    first.is_some_and(|first| !found.is_some_and(|found| first.says_the_same(found)))
                });
                if somebodys_differs {
                    Decision::ConsumerUnknown
                } else {
                    without
                }
            }
        }
    }
}

enum Who<'a> {
    Nobody,
    Consumer(&'a Arc<str>),
}

/// The scopes that an exchange may be configured by, the strongest first.
fn precedence(route: Option<&Arc<str>>, service: Option<&Arc<str>>, who: Who<'_>) -> Vec<Scope> {
    let consumer = match who {
        Who::Nobody => None,
        Who::Consumer(id) => Some(id),
    };
    let combinations = [
        (route, service, consumer),
        (route, None, consumer),
        (None, service, consumer),
        (route, service, None),
        (None, None, consumer),
        (route, None, None),
        (None, service, None),
        (None, None, None),
    ];
    let scopes = combinations
        .into_iter()
        .map(|(route_id, service_id, consumer_id)| Scope {
            route_id: route_id.cloned(),
            service_id: service_id.cloned(),
            consumer_id: consumer_id.cloned(),
        });
    scopes.collect()
}

fn scope_of(config: &UnboundConfig, snapshot: &Snapshot) -> Result<Scope, InactiveReason> {
    let missing = |reference: &Reference| reference.text().to_owned();
    let service_id = match &config.service {
        None => None,
        Some(reference) => match snapshot.service(reference) {
            Some(service) => Some(Arc::clone(&service.id)),
            None => return Err(InactiveReason::NoService(missing(reference))),
        },
    };
    let route = match &config.route {
        None => None,
        Some(reference) => match snapshot.route(reference) {
            Some(route) => Some(route),
            None => return Err(InactiveReason::NoRoute(missing(reference))),
        },
    };
    let consumer_id = match &config.consumer {
        None => None,
        Some(reference) => match snapshot.consumer(reference) {
            Some(consumer) => Some(Arc::clone(&consumer.id)),
            None => return Err(InactiveReason::NoConsumer(missing(reference))),
        },
    };
    if let (Some(service_id), Some(route)) = (&service_id, route)
        && route.service_id.as_ref() != Some(service_id)
    {
        return Err(InactiveReason::Disjoint);
    }
    Ok(Scope {
        route_id: route.map(|route| Arc::clone(&route.id)),
        service_id,
        consumer_id,
    })
}
