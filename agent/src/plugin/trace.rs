//! Why a configuration is in force: every scope of the precedence table, and what stands there.
//!
//! In: a [`Resolution`]. Out: [`ScopeTrace`]s, the strongest first. For explaining a decision; deciding is [`PluginSet::decide`].

use std::sync::Arc;

use serde::Serialize;

use super::precedence::{By, Parts, SHAPES, Shape};
use super::{PluginConfig, PluginSet};
use crate::gateway::groups::ConsumerGroup;
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
        let is_in = |group: &ConsumerGroup| match &resolution.consumer {
            ConsumerMatch::Known(known, _) => consumer.is_some() && known.groups.contains(&group.id),
            ConsumerMatch::Nobody | ConsumerMatch::Unknown => false,
        };
        let (has_groups, are_groups_known) = match &resolution.consumer {
            ConsumerMatch::Known(known, _) => {
                (known.groups.iter().next().is_some(), !known.groups.is_partial())
            }
            ConsumerMatch::Nobody | ConsumerMatch::Unknown => (false, true),
        };
        let groups = self.groups_where(is_in);
        let parts = Parts {
            route,
            service,
            consumer,
            groups: &groups,
        };
        let mut is_decided = false;
        let of = |shape: &Shape| {
            let is_unknown = (shape.route || shape.service) && !is_route_known
                || shape.by != By::Anybody && !is_consumer_known
                || shape.by == By::Group && consumer.is_some() && !are_groups_known;
            let lacks = shape.route && route.is_none()
                || shape.service && service.is_none()
                || shape.by == By::Consumer && consumer.is_none()
                || shape.by == By::Group && !(consumer.is_some() && has_groups);
            let found = if is_unknown {
                if self.has_any(shape, parts) {
                    Found::Unknown
                } else {
                    Found::Nothing
                }
            } else if lacks {
                Found::NotApplicable
            } else {
                let at = |scope| self.bound.iter().find(|config| config.scope == scope);
                let here: Vec<_> = shape.scopes(parts).filter_map(at).collect();
                let enabled = here.iter().find(|config| config.enabled);
                found(enabled.or_else(|| here.first()).copied(), &mut is_decided)
            };
            ScopeTrace {
                scope: shape.name,
                found,
            }
        };
        // Most gateways have no consumer groups.
        let shows_groups = has_groups || !self.groups.is_empty();
        let shapes = SHAPES
            .iter()
            .filter(|shape| shape.by != By::Group || shows_groups);
        shapes.map(of).collect()
    }

    /// Whether an enabled configuration has this shape, and the parts that are known.
    fn has_any(&self, shape: &Shape, parts: Parts<'_>) -> bool {
        let agrees = |own: &Option<Arc<str>>, known: Option<&Arc<str>>| {
            own.is_none() || known.is_none() || own.as_ref() == known
        };
        self.active.keys().any(|own| {
            shape.is_of(own)
                && agrees(&own.route_id, parts.route)
                && agrees(&own.service_id, parts.service)
                && agrees(&own.consumer_id, parts.consumer)
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
