//! Why a configuration is in force: every scope of the precedence table, and what stands there.
//!
//! In: a [`Resolution`]. Out: [`ScopeTrace`]s, the strongest first. For explaining a decision; deciding is [`PluginSet::decide`].

use std::sync::Arc;

use serde::Serialize;

use super::{PluginConfig, PluginSet, Who, precedence};
use crate::gateway::snapshot::{ConsumerMatch, Resolution, RouteMatch};

/// One scope of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScopeTrace {
    /// What a configuration would have to be bound to.
    pub scope: &'static str,
    /// What stands there.
    #[serde(flatten)]
    pub found: Found,
}

/// What stands at a scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "found")]
pub enum Found {
    /// No configuration.
    Nothing,
    /// One that is disabled: the next weaker scope is asked.
    Disabled {
        /// Where it is written.
        origin: String,
    },
    /// The one in force.
    InForce {
        /// Where it is written.
        origin: String,
    },
    /// One that would be, were there no stronger one.
    Weaker {
        /// Where it is written.
        origin: String,
    },
    /// The exchange has no such entity.
    NotApplicable,
    /// There are some, and it is not known whether the exchange is theirs.
    Unknown,
}

/// The scopes in the order of [`precedence`].
const SCOPES: [(&str, [bool; 3]); 8] = [
    ("route, service and consumer", [true, true, true]),
    ("route and consumer", [true, false, true]),
    ("service and consumer", [false, true, true]),
    ("route and service", [true, true, false]),
    ("consumer", [false, false, true]),
    ("route", [true, false, false]),
    ("service", [false, true, false]),
    ("global", [false, false, false]),
];

impl PluginSet {
    /// What stands at each scope that an exchange may be configured by.
    #[must_use]
    pub fn trace(&self, resolution: &Resolution) -> Vec<ScopeTrace> {
        let (route, is_route_known) = match &resolution.route {
            // As for a request without a route: no plugin of this one ran.
            RouteMatch::Matched(_) if resolution.refusal.is_some() => (None, true),
            RouteMatch::Matched(route) => (Some(&route.id), true),
            RouteMatch::NoRoute => (None, true),
            RouteMatch::Unknown(_) => (None, false),
        };
        let service = resolution
            .service
            .as_ref()
            .filter(|_| resolution.refusal.is_none());
        let service = service.map(|service| &service.id);
        let (consumer, is_consumer_known) = match &resolution.consumer {
            ConsumerMatch::Known(consumer, _) => (Some(&consumer.id), true),
            ConsumerMatch::Nobody => (None, true),
            // Nobody is authenticated where no route is.
            ConsumerMatch::Unknown => (None, matches!(resolution.route, RouteMatch::NoRoute)),
        };
        let consumer = consumer.filter(|_| !matches!(resolution.route, RouteMatch::NoRoute));
        let scopes = precedence(route, service, consumer.map_or(Who::Nobody, Who::Consumer));
        let mut is_decided = false;
        let of = |((name, needs), scope): (&(&'static str, [bool; 3]), super::Scope)| {
            let [needs_route, needs_service, needs_consumer] = *needs;
            let is_unknown =
                (needs_route || needs_service) && !is_route_known || needs_consumer && !is_consumer_known;
            let lacks = needs_route && route.is_none()
                || needs_service && service.is_none()
                || needs_consumer && consumer.is_none();
            let found = if is_unknown {
                if self.has_any(needs, &scope) {
                    Found::Unknown
                } else {
                    Found::Nothing
                }
            } else if lacks {
                Found::NotApplicable
            } else {
                let here = self.bound.iter().find(|config| config.scope == scope);
                found(here, &mut is_decided)
            };
            ScopeTrace { scope: name, found }
        };
        SCOPES.iter().zip(scopes).map(of).collect()
    }

    /// Whether an enabled configuration has these kinds of parts, and those of `scope` where it has any.
    fn has_any(&self, needs: &[bool; 3], scope: &super::Scope) -> bool {
        let agrees = |own: &Option<Arc<str>>, wanted: &Option<Arc<str>>, needed: bool| {
            own.is_some() == needed && (wanted.is_none() || own == wanted)
        };
        let [route, service, consumer] = *needs;
        self.active.keys().any(|own| {
            agrees(&own.route_id, &scope.route_id, route)
                && agrees(&own.service_id, &scope.service_id, service)
                && agrees(&own.consumer_id, &scope.consumer_id, consumer)
        })
    }
}

fn found(here: Option<&Arc<PluginConfig>>, is_decided: &mut bool) -> Found {
    let Some(config) = here else {
        return Found::Nothing;
    };
    let origin = config.origin.clone();
    if !config.enabled {
        Found::Disabled { origin }
    } else if *is_decided {
        Found::Weaker { origin }
    } else {
        *is_decided = true;
        Found::InForce { origin }
    }
}
