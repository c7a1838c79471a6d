//! Which Route a request takes, as Kong's own router decides it.
//!
//! In: the routes of one reading and a request's facts. Out: the one route, none, or why it cannot be said: three-valued
//! all the way, so that what is not evaluated (server names, addresses, expressions, look-around) never yields a wrong
//! route. Rules: K@3.9 kong/router/{traditional,transform}.lua. Deliberately absent: what the gateway then does with the
//! match (redirects for `https` routes, upstream addresses).

use std::sync::Arc;

use crate::gateway::entities::Route;
use crate::gateway::snapshot::{RouteMatch, SnapshotWarning, UnknownRoute};

mod compatible;
mod path;
mod profile;
mod request;
mod terms;
mod traditional;

#[cfg(test)]
mod tests;

pub use path::normalise;
pub use profile::{KongVersion, PathRules, RouterFlavor, RouterProfile};
pub use request::RequestFacts;

/// The routes of one reading, ready to match.
#[derive(Debug)]
pub struct Router {
    engine: Engine,
    paths: PathRules,
}

#[derive(Debug)]
enum Engine {
    Traditional(traditional::Engine),
    Compatible(compatible::Engine),
}

/// The outcome of a match, with what it matched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// This route.
    Route {
        /// The route.
        route: &'a Arc<Route>,
        /// The path prefix that matched, when it was one (normalised; not a regular expression).
        prefix: Option<&'a [u8]>,
    },
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
        let http: Vec<_> = routes.iter().filter(|route| !is_stream(route)).cloned().collect();
        let engine = match profile.flavor {
            RouterFlavor::Traditional => {
                Engine::Traditional(traditional::Engine::build(&http, profile.paths, &mut warnings))
            }
            RouterFlavor::TraditionalCompatible | RouterFlavor::Expressions => {
                Engine::Compatible(compatible::Engine::build(&http, &mut warnings))
            }
        };
        let router = Self {
            engine,
            paths: profile.paths,
        };
        (router, warnings)
    }

    /// The route that `request` takes.
    #[must_use]
    pub fn route(&self, request: &RequestFacts<'_>) -> RouteMatch {
        match self.find(request) {
            Found::Route { route, .. } => RouteMatch::Matched(Arc::clone(route)),
            Found::Nothing => RouteMatch::NoRoute,
            Found::Unknown(why) => RouteMatch::Unknown(why),
        }
    }

    /// The same, with the prefix that matched.
    #[must_use]
    pub fn find(&self, request: &RequestFacts<'_>) -> Found<'_> {
        let prepared = request::Prepared::new(request, self.paths);
        match &self.engine {
            Engine::Traditional(engine) => engine.find(&prepared),
            Engine::Compatible(engine) => engine.find(&prepared),
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
