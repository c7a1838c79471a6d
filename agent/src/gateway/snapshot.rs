//! The gateway's configuration at one moment, and what it says of an exchange.
//!
//! In: [`Entities`] and the gateway's router profile. Out: an immutable [`Snapshot`], which resolves a joined exchange to
//! Route, Service, Consumer and the places of its credentials. What the answer contradicts is not claimed. Deliberately
//! absent: where entities come from (`source`), and which `runscope` configuration applies (`plugin`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::correlate::JoinedExchange;
use crate::gateway::consumer;
use crate::gateway::consumer::chain::Judgement;
use crate::gateway::credentials::{self, RouteAuth};
use crate::gateway::entities::{Consumer, Entities, Plugin, Reference, Route, Scope, Service};
use crate::gateway::groups::{ConsumerGroup, ConsumerGroups, Members};
use crate::gateway::ports::PortMap;
use crate::gateway::router::{Found, Refusal, RequestFacts, Router, RouterProfile};
use crate::http::exchange::{Exchange, HeadState, Request};

mod evidence;
mod told;

#[cfg(test)]
mod tests;

/// What the gateway's configuration says of one exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The Route.
    pub route: RouteMatch,
    /// The Route's Service.
    pub service: Option<Arc<Service>>,
    /// The Consumer.
    pub consumer: ConsumerMatch,
    /// Where the auth plugins in force on this route read credentials from: what redaction hides by default.
    pub credentials: Arc<[CredentialPlace]>,
    /// Set when the gateway answered by itself because of the route's protocols. No plugin of the route's had run then.
    pub refusal: Option<Refusal>,
    /// The port by which clients know the listener, where `port_maps` gives it another.
    pub outer_port: Option<u16>,
}

/// Which Route an exchange took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteMatch {
    /// This one.
    Matched(Arc<Route>),
    /// None: the gateway had no route for it.
    NoRoute,
    /// It cannot be said, and why.
    Unknown(UnknownRoute),
}

/// Why a Route cannot be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownRoute {
    /// No configuration of the gateway has been read yet.
    NoConfiguration,
    /// The request's head was not seen.
    NoRequest,
    /// A route that may match uses something that is not evaluated here (SNI, addresses, expressions, look-around).
    Unsupported,
    /// Two routes match alike and what breaks the tie in the gateway is not known.
    Ambiguous,
    /// The answer contradicts the match (the gateway says that no route matched, or the reverse).
    Contradicted,
}

/// Who a request was authenticated as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerMatch {
    /// This Consumer of the configuration.
    Known(Arc<Consumer>, KnownBy),
    /// Nobody: no auth plugin, or it let nobody through.
    Nobody,
    /// It cannot be said (auth is in force, and the upstream leg was not seen or names somebody not in the configuration).
    Unknown,
}

/// How a Consumer was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownBy {
    /// The gateway named it in the upstream leg's `X-Consumer-*` headers.
    UpstreamHeaders,
    /// By a credential of the request that the gateway accepted: the configuration says whose it is.
    Credentials,
    /// By what a token says of itself; the gateway verified its signature, kongtap did not.
    TokenUnverified,
    /// The request showed no good credential, and the plugin's `anonymous` names this Consumer.
    Anonymous,
}

/// A place that carries a credential which Kong itself consumes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CredentialPlace {
    /// A request header of this name (lower case).
    Header(String),
    /// A query parameter of this name.
    Query(String),
    /// A field of this name in a form or JSON body.
    BodyField(String),
    /// A cookie of this name.
    Cookie(String),
}

/// Something in the gateway's configuration that is not expressed here, or not fully.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotWarning {
    /// The entity: `route orders`.
    pub entity: String,
    /// What about it.
    pub text: String,
}

impl std::fmt::Display for SnapshotWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.entity, self.text)
    }
}

/// The gateway's configuration at one moment.
#[derive(Debug)]
pub struct Snapshot {
    is_configured: bool,
    router: Router,
    services: HashMap<Arc<str>, Arc<Service>>,
    services_by_name: HashMap<Arc<str>, Arc<Service>>,
    routes: HashMap<Arc<str>, Arc<Route>>,
    routes_by_name: HashMap<Arc<str>, Arc<Route>>,
    consumers: consumer::Directory,
    /// Whether the gateway has consumer groups at all.
    has_groups: bool,
    groups: HashMap<Arc<str>, Arc<ConsumerGroup>>,
    groups_by_name: HashMap<Arc<str>, Arc<ConsumerGroup>>,
    /// By route id.
    auth: HashMap<Arc<str>, RouteAuth>,
    /// What any request may be asked for.
    all_credentials: Arc<[CredentialPlace]>,
    /// What requests without a route are asked for: by global plugins.
    global_credentials: Arc<[CredentialPlace]>,
    plugins: Vec<Plugin>,
    /// Whether some route looks at header fields.
    routes_by_header: bool,
    ports: PortMap,
}

impl Snapshot {
    /// A snapshot of nothing: every route is unknown, and every place where Kong's plugins read credentials by default counts.
    #[must_use]
    pub fn empty() -> Self {
        let (snapshot, _) = Self::build(Entities::default(), &RouterProfile::default());
        Self {
            is_configured: false,
            all_credentials: credentials::defaults(),
            ..snapshot
        }
    }

    /// Builds a snapshot. Never refuses: what cannot be expressed is named in the warnings and answers "unknown".
    #[must_use]
    pub fn build(entities: Entities, profile: &RouterProfile) -> (Self, Vec<SnapshotWarning>) {
        let services: Vec<_> = entities.services.into_iter().map(Arc::new).collect();
        let routes: Vec<_> = entities.routes.into_iter().map(Arc::new).collect();
        let disabled: HashSet<_> = services
            .iter()
            .filter(|service| !service.enabled)
            .map(|service| &*service.id)
            .collect();
        let is_routed = |route: &&Arc<Route>| {
            let service = route.service_id.as_deref();
            service.is_none_or(|id| !disabled.contains(id))
        };
        let routed: Vec<_> = routes.iter().filter(is_routed).cloned().collect();
        let (router, warnings) = Router::build(&routed, profile);
        let plans = credentials::Plans::of(&entities.plugins);
        let auth = routes
            .iter()
            .map(|route| (Arc::clone(&route.id), plans.on(route)))
            .collect();
        let by_name = |service: &Arc<Service>| Some((service.name.clone()?, Arc::clone(service)));
        let route_by_name = |route: &Arc<Route>| Some((route.name.clone()?, Arc::clone(route)));
        let ConsumerGroups {
            exist: has_groups,
            groups,
            members,
            is_partial,
        } = *entities.consumer_groups;
        let groups: HashMap<_, _> = groups
            .into_iter()
            .map(|it| (Arc::clone(&it.id), Arc::new(it)))
            .collect();
        let group_by_name = |group: &Arc<ConsumerGroup>| Some((group.name.clone()?, Arc::clone(group)));
        let members = Members::of(members, &groups, is_partial);
        let snapshot = Self {
            is_configured: true,
            router,
            routes_by_header: routes.iter().any(|route| !route.headers.is_empty()),
            services_by_name: services.iter().filter_map(by_name).collect(),
            routes_by_name: routes.iter().filter_map(route_by_name).collect(),
            services: services.into_iter().map(|it| (Arc::clone(&it.id), it)).collect(),
            routes: routes.into_iter().map(|it| (Arc::clone(&it.id), it)).collect(),
            consumers: consumer::Directory::of(
                entities.consumers,
                members,
                entities.credentials,
                entities.unread_credentials,
            ),
            has_groups,
            groups_by_name: groups.values().filter_map(group_by_name).collect(),
            groups,
            auth,
            all_credentials: plans.everywhere(),
            global_credentials: plans.global(),
            plugins: entities.plugins,
            ports: PortMap::default(),
        };
        (snapshot, warnings)
    }

    /// The snapshot of a gateway whose clients know its listeners by other ports.
    #[must_use]
    pub fn with_ports(self, ports: PortMap) -> Self {
        Self { ports, ..self }
    }

    /// Whether it comes from a reading, rather than from [`Snapshot::empty`].
    #[must_use]
    pub const fn is_configured(&self) -> bool {
        self.is_configured
    }

    /// Where any route's credentials stand; for [`Snapshot::empty`], where Kong's plugins read them by default.
    #[must_use]
    pub fn credential_places(&self) -> &[CredentialPlace] {
        &self.all_credentials
    }

    /// What the configuration says of an exchange.
    #[must_use]
    pub fn resolve(&self, joined: &JoinedExchange) -> Resolution {
        let outer_port = self.ports.outer(joined.client.conn.local.port());
        if !self.is_configured {
            return Resolution {
                credentials: Arc::clone(&self.all_credentials),
                outer_port,
                ..told::resolution(joined)
            };
        }
        let (route, why_unknown) = match self.find(joined) {
            Found::Route(matched) => (Some(matched.route), None),
            Found::Nothing => (None, None),
            Found::Unknown(why) => (None, Some(why)),
        };
        let auth = route.and_then(|route| self.auth.get(&route.id));
        let refusal = route.and_then(|route| evidence::refusal_of(route, joined));
        let consumer = match (route, why_unknown) {
            _ if refusal.is_some() => ConsumerMatch::Nobody,
            (Some(_), _) => self.consumers.on_route(joined, auth),
            (None, None) => ConsumerMatch::Nobody,
            (None, Some(_)) => self.consumers.on_unknown_route(joined),
        };
        let credentials = match (auth, why_unknown) {
            (Some(auth), _) => &auth.credentials,
            (None, None) => &self.global_credentials,
            (None, Some(_)) => &self.all_credentials,
        };
        Resolution {
            service: route
                .and_then(|route| route.service_id.as_ref())
                .and_then(|id| self.services.get(id))
                .cloned(),
            route: match (route, why_unknown) {
                (Some(route), _) => RouteMatch::Matched(Arc::clone(route)),
                (None, None) => RouteMatch::NoRoute,
                (None, Some(why)) => RouteMatch::Unknown(why),
            },
            consumer,
            credentials: Arc::clone(credentials),
            refusal,
            outer_port,
        }
    }

    fn find(&self, joined: &JoinedExchange) -> Found<'_> {
        if !self.is_configured {
            return Found::Unknown(UnknownRoute::NoConfiguration);
        }
        let Some(facts) = self.facts(&joined.client).filter(|_| self.can_judge(joined)) else {
            return Found::Unknown(UnknownRoute::NoRequest);
        };
        let found = self.router.find(&facts);
        if evidence::contradicts(&found, joined) {
            Found::Unknown(UnknownRoute::Contradicted)
        } else {
            found
        }
    }

    /// What the router looks at.
    #[must_use]
    pub fn facts<'a>(&self, client: &'a Exchange) -> Option<RequestFacts<'a>> {
        let mut facts = RequestFacts::of(client)?;
        if let Some(port) = self.ports.outer(facts.local.port()) {
            facts.local.set_port(port);
        }
        Some(facts)
    }

    /// Whether enough of the request is known: a field that is not may be one that a route asks for.
    fn can_judge(&self, joined: &JoinedExchange) -> bool {
        joined
            .client
            .request
            .as_ref()
            .is_some_and(|request| match request.head {
                HeadState::Whole | HeadState::FromUpstream => true,
                HeadState::Partial => request.names_its_target() && !self.routes_by_header,
            })
    }

    /// The router alone, for explaining a decision.
    #[must_use]
    pub const fn router(&self) -> &Router {
        &self.router
    }

    /// The Service that a reference names.
    #[must_use]
    pub fn service(&self, reference: &Reference) -> Option<&Arc<Service>> {
        by(reference, &self.services, &self.services_by_name)
    }

    /// The Route that a reference names.
    #[must_use]
    pub fn route(&self, reference: &Reference) -> Option<&Arc<Route>> {
        by(reference, &self.routes, &self.routes_by_name)
    }

    /// The Consumer that a reference names.
    #[must_use]
    pub fn consumer(&self, reference: &Reference) -> Option<&Arc<Consumer>> {
        self.consumers.named(reference)
    }

    /// The consumer group that a reference names.
    #[must_use]
    pub fn consumer_group(&self, reference: &Reference) -> Option<&Arc<ConsumerGroup>> {
        by(reference, &self.groups, &self.groups_by_name)
    }

    /// Whether the gateway has consumer groups at all: whether it is Kong Enterprise or Konnect.
    #[must_use]
    pub const fn has_consumer_groups(&self) -> bool {
        self.has_groups
    }

    /// How many consumer groups there are.
    #[must_use]
    pub fn consumer_groups(&self) -> usize {
        self.groups.len()
    }

    /// What the auth plugins in force on `route` make of a request, for explaining a decision.
    #[must_use]
    pub fn judge(&self, route: &Route, request: &Request) -> Judgement {
        let none = RouteAuth::default();
        let auth = self.auth.get(&route.id).unwrap_or(&none);
        self.consumers.judge(auth, request)
    }

    /// How many credentials of consumers are known.
    #[must_use]
    pub fn credentials(&self) -> usize {
        self.consumers.credentials()
    }

    /// The gateway's plugins, those called `runscope` included.
    #[must_use]
    pub fn plugins(&self) -> &[Plugin] {
        &self.plugins
    }

    /// How many services, routes and consumers there are.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.services.len(), self.routes.len(), self.consumers.len())
    }
}

/// Looks a reference up by id, by name, or by either.
fn by<'a, T>(
    reference: &Reference,
    ids: &'a HashMap<Arc<str>, Arc<T>>,
    names: &'a HashMap<Arc<str>, Arc<T>>,
) -> Option<&'a Arc<T>> {
    match reference {
        Reference::Id(text) => ids.get(text.to_ascii_lowercase().as_str()),
        Reference::Name(text) => names.get(text.as_str()),
        Reference::Any(text) => {
            let by_id = ids.get(text.to_ascii_lowercase().as_str());
            by_id.or_else(|| names.get(text.as_str()))
        }
    }
}

/// Which configuration of one plugin is in force on a route (consumers aside): the most specific enabled one. `None` for
/// requests without a route, where only global ones count.
pub(in crate::gateway) fn in_force<'a>(
    plugins: &'a [&'a Plugin],
    route: Option<&Route>,
) -> Option<&'a Plugin> {
    let workspace = route.and_then(|route| route.workspace.as_ref());
    let service_id = route.and_then(|route| route.service_id.clone());
    let route_id = route.map(|route| Arc::clone(&route.id));
    let scopes = [
        (route_id.clone(), service_id.clone()),
        (route_id, None),
        (None, service_id),
        (None, None),
    ];
    scopes.into_iter().find_map(|(route_id, service_id)| {
        let scope = Scope {
            route_id,
            service_id,
            consumer_id: None,
            consumer_group_id: None,
        };
        let works_here = |plugin: &&&Plugin| plugin.enabled && plugin.workspace.as_ref() == workspace;
        let mut enabled = plugins.iter().filter(works_here);
        enabled.find(|plugin| plugin.scope == scope).copied()
    })
}
