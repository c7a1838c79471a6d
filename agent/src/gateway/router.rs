//! Which Route a request takes, as Kong's own router decides it.
//!
//! In: the routes of one reading, the gateway's router profile, a request's facts. Out: the one route with what it matched, none,
//! or why it cannot be said: three-valued all the way, so that what is not known (a server name, an address behind proxies,
//! a regular expression that only PCRE has) never yields a wrong route. What the gateway does with the match is in `upstream`.

use std::sync::Arc;

use crate::gateway::entities::{Route, Service};
use crate::gateway::snapshot::{RouteMatch, SnapshotWarning, UnknownRoute};

mod atc;
mod considered;
mod path;
mod profile;
mod request;
mod terms;
mod traditional;
mod upstream;

#[cfg(test)]
mod tests;

pub use considered::{Considered, Criterion, Fit};
pub use path::normalise;
pub use profile::{ClientAddress, KongVersion, RouterFlavor, RouterProfile};
pub use request::{RequestFacts, ServerName};
pub use upstream::captures::Capture;
pub use upstream::{Approach, PassedOn, PathMatch, Refusal, refusal};

/// The routes of one reading, ready to match.
#[derive(Debug)]
pub struct Router {
    engine: Engine,
    /// 0.13 and 0.14 ask their APIs when no route matches.
    apis: Option<traditional::Engine>,
    profile: RouterProfile,
}

#[derive(Debug)]
enum Engine {
    Traditional(traditional::Engine),
    Atc(atc::Engine),
}

/// A route and how it matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched<'a> {
    /// The route.
    pub route: &'a Arc<Route>,
    /// What of the path it matched.
    pub path: PathMatch,
    /// The request's path, normalised as the gateway does it.
    pub request_path: Vec<u8>,
}

impl<'a> Matched<'a> {
    fn new(route: &'a Arc<Route>, path: PathMatch, request: &request::Prepared<'_>) -> Self {
        Self {
            route,
            path,
            request_path: request.path.to_vec(),
        }
    }

    /// What the gateway takes off the path, and says so in `X-Forwarded-Prefix`.
    #[must_use]
    pub fn stripped(&self) -> Option<&[u8]> {
        match &self.path {
            PathMatch::Text(text) if self.route.strip_path && text != b"/" => Some(text),
            PathMatch::Text(_) | PathMatch::None | PathMatch::Unbounded => None,
        }
    }
}

/// The outcome of a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// This route.
    Route(Matched<'a>),
    /// No route.
    Nothing,
    /// It cannot be said.
    Unknown(UnknownRoute),
}

impl Router {
    /// Compiles routes. Those of disabled services must not be among them; stream routes are passed over. A route that cannot
    /// be fully expressed stays in, answers "perhaps", and is named in the warnings.
    #[must_use]
    pub fn build(routes: &[Arc<Route>], profile: &RouterProfile) -> (Self, Vec<SnapshotWarning>) {
        let mut warnings = Vec::new();
        let http = routes.iter().filter(|route| !is_stream(route)).cloned();
        let (apis, http): (Vec<_>, Vec<_>) = http.partition(|route| route.api.is_some());
        let engine = match profile.flavor {
            RouterFlavor::Traditional => {
                Engine::Traditional(traditional::Engine::build(&http, profile.era(), &mut warnings))
            }
            RouterFlavor::TraditionalCompatible | RouterFlavor::Expressions => {
                Engine::Atc(atc::Engine::build(&http, profile, &mut warnings))
            }
        };
        let apis =
            (!apis.is_empty()).then(|| traditional::Engine::build(&apis, profile.era(), &mut warnings));
        let router = Self {
            engine,
            apis,
            profile: *profile,
        };
        (router, warnings)
    }

    /// The route that `request` takes.
    #[must_use]
    pub fn route(&self, request: &RequestFacts<'_>) -> RouteMatch {
        match self.find(request) {
            Found::Route(matched) => RouteMatch::Matched(Arc::clone(matched.route)),
            Found::Nothing => RouteMatch::NoRoute,
            Found::Unknown(why) => RouteMatch::Unknown(why),
        }
    }

    /// The same, with what it matched.
    #[must_use]
    pub fn find(&self, request: &RequestFacts<'_>) -> Found<'_> {
        let prepared = request::Prepared::new(request, &self.profile);
        let found = match &self.engine {
            Engine::Traditional(engine) => engine.find(&prepared),
            Engine::Atc(engine) => engine.find(&prepared),
        };
        match (found, &self.apis) {
            (Found::Nothing, Some(apis)) => apis.find(&prepared),
            (found, _) => found,
        }
    }

    /// The rules by which it was built.
    #[must_use]
    pub const fn profile(&self) -> &RouterProfile {
        &self.profile
    }

    /// What the gateway sends on of a matched request, the path as normalised: bytes that it escapes again on sending are not
    /// escaped here. `service` is the route's, `host` the client's `Host`.
    #[must_use]
    pub fn passed_on(
        &self,
        matched: &Matched<'_>,
        service: Option<&Service>,
        host: Option<&[u8]>,
    ) -> PassedOn {
        let Matched {
            route,
            path,
            request_path,
        } = matched;
        let of_api = route.api.as_ref().map(|api| &api.upstream);
        let upstream = of_api.or_else(|| service.map(|service| &service.upstream));
        let base = upstream.and_then(|upstream| upstream.path.as_deref());
        PassedOn {
            path: upstream::upstream_path(route, base, request_path, path, &self.profile),
            host: upstream::upstream_host(route, upstream, host),
            prefix: matched.stripped().map(<[u8]>::to_vec),
            captures: upstream::captures::of(&route.paths, request_path, path, &self.profile),
        }
    }
}

/// Routes of the stream subsystem say so with their first protocol.
fn is_stream(route: &Route) -> bool {
    let streams = ["tcp", "udp", "tls", "tls_passthrough"];
    route
        .protocols
        .first()
        .is_some_and(|protocol| streams.contains(&protocol.as_str()))
}
