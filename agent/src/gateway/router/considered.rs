//! Every entry of a router with what it makes of one request: for explaining a decision, never on the way of an exchange.
//!
//! In: a router and a request. Out: [`Considered`] entries in the gateway's order, each with its criteria and with what places it
//! before or after the others. Deliberately absent: which of them wins, which is [`super::Router::find`]'s to say.

use std::sync::Arc;

use super::request::Prepared;
use super::terms::Verdict;
use super::{Engine, RequestFacts, Router};
use crate::gateway::entities::Route;

/// One entry of the router: a route, or the part of one that stands for some of its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered<'a> {
    /// The route.
    pub route: &'a Arc<Route>,
    /// What it asks for, in the order in which the gateway looks, and whether the request has it.
    pub criteria: Vec<(Criterion, Fit)>,
    /// What orders it among the others: the first that differs decides, and the larger comes first.
    pub standing: Vec<(&'static str, i64)>,
}

/// What a route may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// The scheme.
    Protocols,
    /// The method.
    Methods,
    /// The host.
    Hosts,
    /// The path.
    Paths,
    /// Header fields.
    Headers,
    /// The TLS server name.
    Snis,
    /// The client's address.
    Sources,
    /// The listener's address.
    Destinations,
    /// Query parameters.
    Queries,
    /// Several of these at once, in an expression.
    Expression,
}

/// Whether a request has what a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// It has.
    Holds,
    /// It has not.
    Fails,
    /// It cannot be said.
    Perhaps,
}

impl From<Verdict> for Fit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::No => Self::Fails,
            Verdict::Perhaps => Self::Perhaps,
            Verdict::Yes => Self::Holds,
        }
    }
}

impl Considered<'_> {
    /// The criteria that do not hold.
    pub fn failing(&self) -> impl Iterator<Item = Criterion> {
        let fails = self.criteria.iter().filter(|(_, fit)| *fit == Fit::Fails);
        fails.map(|(criterion, _)| *criterion)
    }

    /// Whether it matches, as far as its criteria say.
    #[must_use]
    pub fn fit(&self) -> Fit {
        let has = |wanted: Fit| self.criteria.iter().any(|(_, fit)| *fit == wanted);
        if has(Fit::Fails) {
            Fit::Fails
        } else if has(Fit::Perhaps) {
            Fit::Perhaps
        } else {
            Fit::Holds
        }
    }
}

impl Router {
    /// All entries in the gateway's order, with what each makes of `request`. It looks at every one of them.
    #[must_use]
    pub fn explain(&self, request: &RequestFacts<'_>) -> Vec<Considered<'_>> {
        let prepared = Prepared::new(request, &self.profile);
        let mut all = match &self.engine {
            Engine::Traditional(engine) => engine.explain(&prepared),
            Engine::Atc(engine) => engine.explain(&prepared),
        };
        if let Some(apis) = &self.apis {
            all.extend(apis.explain(&prepared));
        }
        all
    }
}
