//! The `traditional_compatible` and `expressions` flavours, on Kong's own engine for them: the crate `atc-router`.
//!
//! In: routes. Out: the route of the highest priority whose expression holds. A route becomes one expression, or one for each
//! length of its prefixes; equal priorities are decided by the higher id (Kong 3.9 kong/router/atc.lua, and the order of
//! atc-router's matchers). The crate parses, checks and evaluates; its `Router` is not used, because it must own all
//! routes, knows no "perhaps" and looks at every expression: here an index picks those that may hold.

use std::sync::Arc;

use atc_router::ast::Expression;
use atc_router::context::Match;
use atc_router::schema::Schema;
use atc_router::semantics::Validate as _;
use uuid::Uuid;

use crate::gateway::entities::Route;
use crate::gateway::router::profile::{AtcEra, ClientAddress, RouterFlavor, RouterProfile};
use crate::gateway::router::request::Prepared;
use crate::gateway::router::terms::{self, UNKNOWN_FOR, Verdict};
use crate::gateway::router::upstream::PathMatch;
use crate::gateway::router::{Found, Matched};
use crate::gateway::snapshot::{SnapshotWarning, UnknownRoute};

mod evaluate;
mod explain;
mod expression;
mod fields;
mod index;
mod priority;

#[cfg(test)]
mod tests;

pub(super) struct Engine {
    schema: Schema,
    /// Highest first.
    matchers: Vec<Matcher>,
    index: index::Index,
    fields: fields::Used,
    era: AtcEra,
}

/// One expression of a route.
#[derive(Debug)]
struct Matcher {
    priority: u64,
    /// Breaks ties; `None` when the gateway's own is not known.
    id: Option<Uuid>,
    route: Arc<Route>,
    /// `None` when it cannot be evaluated here, so that it may hold.
    expression: Option<Expression>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Engine");
        shown.field("matchers", &self.matchers.len());
        shown.field("fields", &self.fields).finish_non_exhaustive()
    }
}

impl Engine {
    pub(super) fn build(
        routes: &[Arc<Route>],
        profile: &RouterProfile,
        warnings: &mut Vec<SnapshotWarning>,
    ) -> Self {
        let schema = fields::schema();
        let era = profile.atc_era();
        let mut matchers = Vec::new();
        for route in routes {
            let before = matchers.len();
            matchers_of(route, profile.flavor, era, &schema, &mut matchers, warnings);
            let own = matchers.get(before..).unwrap_or_default();
            report_unknown(route, own, profile, warnings);
        }
        matchers.sort_by_key(|matcher| std::cmp::Reverse((matcher.priority, matcher.id)));
        let mut used = fields::Used::default();
        let mut index = index::Index::default();
        for (number, matcher) in matchers.iter().enumerate() {
            if let Some(expression) = &matcher.expression {
                used.add(expression);
            }
            index.add(number, matcher.expression.as_ref());
        }
        Self {
            schema,
            matchers,
            index,
            fields: used,
            era,
        }
    }

    pub(super) fn find(&self, request: &Prepared<'_>) -> Found<'_> {
        let Some(mut facts) = self.fields.values(&self.schema, request, self.era) else {
            // K@3.9 kong/router/atc.lua: a value that is not UTF-8 makes the router fail, and that is a 404.
            return Found::Nothing;
        };
        let mut best: Option<(&Matcher, PathMatch)> = None;
        for number in self.index.candidates(&facts) {
            let Some(matcher) = self.matchers.get(number) else {
                continue;
            };
            if let Some((best, _)) = &best {
                if best.priority > matcher.priority {
                    break;
                }
                // Equal priorities are in the order of their ids, where those are known.
                let is_later = best.id.is_some() && matcher.id.is_some();
                if is_later || Arc::ptr_eq(&best.route, &matcher.route) {
                    continue;
                }
            }
            let mut found = Match::new();
            let verdict = match &matcher.expression {
                Some(expression) => evaluate::verdict(expression, &mut facts, &mut found),
                None => Verdict::Perhaps,
            };
            match verdict {
                Verdict::No => {}
                Verdict::Perhaps => return Found::Unknown(UnknownRoute::Unsupported),
                Verdict::Yes if best.is_some() => return Found::Unknown(UnknownRoute::Ambiguous),
                Verdict::Yes => best = Some((matcher, evaluate::path_match(&found))),
            }
        }
        best.map_or(Found::Nothing, |(matcher, path)| {
            Found::Route(Matched::new(&matcher.route, path, request))
        })
    }
}

fn matchers_of(
    route: &Arc<Route>,
    flavor: RouterFlavor,
    era: AtcEra,
    schema: &Schema,
    matchers: &mut Vec<Matcher>,
    warnings: &mut Vec<SnapshotWarning>,
) {
    for group in priority::groups(route, era) {
        let text = expression::of(route, &group.paths, flavor, era);
        let expression = parse(&text, schema);
        if let Err(why) = &expression {
            let left_out = era < AtcEra::Newer;
            let what = if text.is_empty() {
                "has nothing to match on; the gateway leaves it out too".to_owned()
            } else if left_out {
                format!("cannot be an expression, and the gateway leaves it out too: {why}")
            } else {
                format!("is no expression that is understood here ({why}): {UNKNOWN_FOR}")
            };
            terms::warn(route, &what, warnings);
            if left_out {
                continue;
            }
        }
        matchers.push(Matcher {
            priority: priority::of(route, &group.paths),
            id: group.id,
            route: Arc::clone(route),
            expression: expression.ok(),
        });
    }
}

/// Names a route that asks for what cannot be known of every request.
fn report_unknown(
    route: &Route,
    matchers: &[Matcher],
    profile: &RouterProfile,
    warnings: &mut Vec<SnapshotWarning>,
) {
    let mut used = fields::Used::default();
    for expression in matchers.iter().filter_map(|matcher| matcher.expression.as_ref()) {
        used.add(expression);
    }
    if used.has("tls.sni") {
        terms::warn(route, terms::ASKS_SERVER_NAME, warnings);
    }
    let asks_client = used.has("net.src.ip") || used.has("net.src.port");
    if asks_client && profile.client_address == ClientAddress::Unknown {
        terms::warn(route, terms::ASKS_CLIENT, warnings);
    }
}

/// Parses and checks an expression; an error is one line.
fn parse(text: &str, schema: &Schema) -> Result<Expression, String> {
    let expression = atc_router::parser::parse(text).map_err(|error| last_words(&error.to_string()))?;
    expression.validate(schema)?;
    Ok(expression)
}

/// What is wrong, without the drawing of where: the last line of a parser's error.
pub(super) fn last_words(error: &str) -> String {
    let mut lines = error.lines().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.next_back().unwrap_or_default();
    let last = last.trim_start_matches("= ").trim_start_matches("error: ");
    last.to_owned()
}
