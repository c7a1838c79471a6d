//! Kong's precedence: the scopes that an exchange may be configured by, the strongest first.
//!
//! In: its route, its service and who it is. Out: [`Scope`]s. The table is that of Kong since 3.4, with consumer groups
//! (documentation of the entity Plugin); without groups it is that of every version from 0.13 on
//! (Kong 3.9 kong/runloop/plugins_iterator.lua). Of several groups at one place the first by name counts, which Kong says may change.

use std::sync::Arc;

use crate::gateway::entities::Scope;

/// What a configuration is bound to, by kinds of entities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// As an explanation calls it.
    pub(super) name: &'static str,
    pub(super) route: bool,
    pub(super) service: bool,
    pub(super) by: By,
}

/// For whom a configuration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Anybody,
    Consumer,
    Group,
}

/// An exchange's entities.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parts<'a> {
    pub(super) route: Option<&'a Arc<str>>,
    pub(super) service: Option<&'a Arc<str>>,
    pub(super) consumer: Option<&'a Arc<str>>,
    /// In the order in which they count.
    pub(super) groups: &'a [&'a Arc<str>],
}

/// The shapes, the strongest first.
pub(super) const SHAPES: [Shape; 12] = [
    shape("route, service and consumer", true, true, By::Consumer),
    shape("route, service and group", true, true, By::Group),
    shape("route and consumer", true, false, By::Consumer),
    shape("service and consumer", false, true, By::Consumer),
    shape("route and group", true, false, By::Group),
    shape("service and group", false, true, By::Group),
    shape("route and service", true, true, By::Anybody),
    shape("consumer", false, false, By::Consumer),
    shape("consumer group", false, false, By::Group),
    shape("route", true, false, By::Anybody),
    shape("service", false, true, By::Anybody),
    shape("global", false, false, By::Anybody),
];

const fn shape(name: &'static str, route: bool, service: bool, by: By) -> Shape {
    Shape {
        name,
        route,
        service,
        by,
    }
}

impl Shape {
    /// Whether a configuration with this scope is of this shape.
    pub(super) fn is_of(&self, scope: &Scope) -> bool {
        self.route == scope.route_id.is_some()
            && self.service == scope.service_id.is_some()
            && (self.by == By::Consumer) == scope.consumer_id.is_some()
            && (self.by == By::Group) == scope.consumer_group_id.is_some()
    }

    /// The scopes of this shape; none where the exchange has no such entity, several for a consumer in several groups.
    pub(super) fn scopes<'a>(&self, parts: Parts<'a>) -> impl Iterator<Item = Scope> + use<'a> {
        let Self {
            route, service, by, ..
        } = *self;
        let lacks = route && parts.route.is_none() || service && parts.service.is_none();
        let anybody = (by == By::Anybody).then_some((None, None));
        let consumer = parts.consumer.filter(|_| by == By::Consumer);
        let groups = parts.groups.iter().filter(move |_| by == By::Group);
        let all = anybody
            .into_iter()
            .chain(consumer.map(|id| (Some(id), None)))
            .chain(groups.map(|id| (None, Some(*id))));
        all.filter(move |_| !lacks).map(move |(consumer, group)| Scope {
            route_id: parts.route.filter(|_| route).cloned(),
            service_id: parts.service.filter(|_| service).cloned(),
            consumer_id: consumer.cloned(),
            consumer_group_id: group.cloned(),
        })
    }
}

/// All scopes of an exchange, the strongest first.
pub(super) fn precedence(parts: Parts<'_>) -> impl Iterator<Item = Scope> {
    SHAPES.iter().flat_map(move |shape| shape.scopes(parts))
}

/// How weak a scope is: 0 is the strongest. What can be in no table is weaker than everything.
pub(super) fn rank(scope: &Scope) -> usize {
    let found = SHAPES.iter().position(|shape| shape.is_of(scope));
    found.unwrap_or(SHAPES.len())
}
