//! The `traditional` flavour: the only one before 3.0, and still to be had.
//!
//! In: routes, and the era whose rules apply. Out: the route that Kong's search finds. Entries are sorted into categories by the
//! kinds of attributes they use. Per request the search first reduces a category to the entries that share one of the
//! request's best hits, then takes the whole category, then the next lower one (Kong 3.9 kong/router/traditional.lua; older
//! ones kong/router.lua and kong/core/router.lua at their tags). The reduction can prefer an entry that the sort order
//! alone would not, so it is followed here step by step. Where an unstable sort or the order of a Lua table decides in Kong,
//! every outcome is tried: they agree, or the route is not known.

use std::sync::Arc;

use crate::gateway::entities::Route;
use crate::gateway::router::profile::Era;
use crate::gateway::router::request::Prepared;
use crate::gateway::router::upstream::PathMatch;
use crate::gateway::router::upstream::captures::Capture;
use crate::gateway::router::{Found, Matched};
use crate::gateway::snapshot::{SnapshotWarning, UnknownRoute};

mod category;
mod entry;
mod explain;
mod hits;
mod host;
mod pattern;

use category::Category;
use entry::{Entry, PathTerm};
use hits::{Hits, Index};

/// Attribute kinds; the larger number decides between categories with as many kinds.
mod kinds {
    pub(super) const HOST: u8 = 0x40;
    pub(super) const HEADER: u8 = 0x20;
    pub(super) const PATH: u8 = 0x10;
    pub(super) const METHOD: u8 = 0x08;
    pub(super) const SNI: u8 = 0x04;
    pub(super) const SOURCE: u8 = 0x02;
    pub(super) const DESTINATION: u8 = 0x01;
}

/// What the regular expression of a route's path takes of a request's path, and its groups.
pub(super) fn captures(expression: &str, path: &[u8], era: Era) -> Option<(PathMatch, Vec<Capture>)> {
    match entry::path_term(&format!("~{expression}"), era) {
        PathTerm::Regex { pattern, .. } => pattern.groups(path),
        PathTerm::Prefix(_) => None,
    }
}

#[derive(Debug)]
pub(super) struct Engine {
    era: Era,
    /// In Kong's order of routes.
    entries: Vec<Entry>,
    /// Highest first.
    categories: Vec<Category>,
    index: Index,
}

impl Engine {
    pub(super) fn build(routes: &[Arc<Route>], era: Era, warnings: &mut Vec<SnapshotWarning>) -> Self {
        let entries = entry::sorted(routes, era, warnings);
        Self {
            era,
            categories: category::sorted(&entries),
            index: Index::of(&entries),
            entries,
        }
    }

    pub(super) fn find(&self, request: &Prepared<'_>) -> Found<'_> {
        let host = host::Asked::of(request, self.era);
        let Some(worlds) = self.index.hits(request, &host, self.era, &self.entries) else {
            return Found::Unknown(UnknownRoute::Ambiguous);
        };
        let found = worlds.iter().map(|hits| self.find_with(request, &host, hits));
        found.reduce(agree).unwrap_or(Found::Nothing)
    }

    fn find_with(&self, request: &Prepared<'_>, host: &host::Asked<'_>, hits: &Hits<'_>) -> Found<'_> {
        if hits.kinds == 0 && !hits.may_have_more {
            return Found::Nothing;
        }
        let exact = self
            .categories
            .iter()
            .position(|category| category.kinds == hits.kinds);
        // What lies above an exact category cannot match, but for server names, which hold for every plain request.
        let first = exact.filter(|_| !hits.may_have_more).unwrap_or(0);
        for category in self.categories.iter().skip(first) {
            match self.find_in(category, request, host, hits) {
                Found::Nothing => {}
                found @ (Found::Route(_) | Found::Unknown(_)) => return found,
            }
        }
        Found::Nothing
    }

    fn find_in(
        &self,
        category: &Category,
        request: &Prepared<'_>,
        host: &host::Asked<'_>,
        hits: &Hits<'_>,
    ) -> Found<'_> {
        let asking = entry::Asking {
            request,
            host,
            hits,
            era: self.era,
        };
        let reductions = category.reductions(request, host, hits, self.era);
        let whole = || self.first_in(&category.all, &asking);
        let found = reductions
            .iter()
            .map(|reduced| match self.first_in(reduced, &asking) {
                Found::Nothing => whole(),
                found @ (Found::Route(_) | Found::Unknown(_)) => found,
            });
        found.reduce(agree).unwrap_or_else(whole)
    }

    /// The first entry that matches; those of one class come in an order that cannot be known.
    fn first_in(&self, numbers: &[usize], asking: &entry::Asking<'_>) -> Found<'_> {
        let entries = numbers.iter().filter_map(|number| self.entries.get(*number));
        let mut winner: Option<(&Entry, Found<'_>)> = None;
        for entry in entries {
            if let Some((winner, _)) = &winner {
                if entry.class != winner.class {
                    break;
                }
                if Arc::ptr_eq(&winner.route, &entry.route) {
                    continue;
                }
            }
            match entry.matches(asking) {
                entry::Answer::No => {}
                entry::Answer::Perhaps => return Found::Unknown(UnknownRoute::Unsupported),
                entry::Answer::Yes(_) if winner.is_some() => return Found::Unknown(UnknownRoute::Ambiguous),
                entry::Answer::Yes(path) => {
                    let matched = Matched::new(&entry.route, path, asking.request);
                    winner = Some((entry, Found::Route(matched)));
                }
            }
        }
        winner.map_or(Found::Nothing, |(_, found)| found)
    }
}

/// What two possible outcomes say together.
fn agree<'a>(one: Found<'a>, other: Found<'a>) -> Found<'a> {
    match (&one, &other) {
        (Found::Route(first), Found::Route(second)) if Arc::ptr_eq(first.route, second.route) => one,
        (Found::Nothing, Found::Nothing) | (Found::Unknown(_), Found::Route(_) | Found::Nothing) => one,
        (Found::Unknown(UnknownRoute::Unsupported), _) => one,
        (_, Found::Unknown(_)) => other,
        (Found::Route(_), Found::Route(_) | Found::Nothing) | (Found::Nothing, Found::Route(_)) => {
            Found::Unknown(UnknownRoute::Ambiguous)
        }
    }
}
