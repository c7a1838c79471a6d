//! The routes that came nearest to a request, and why each was not taken.
//!
//! In: every entry of the router with what it makes of the request. Out: the few that are worth showing, in the gateway's order.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use serde::Serialize;

use crate::gateway::entities::Route;
use crate::gateway::router::{Considered, Criterion, Fit};

/// The most that are shown.
pub(super) const MAX_SHOWN: usize = 8;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Its place in the gateway's order, from 1.
    pub place: usize,
    /// The route's name, or its id.
    pub route: String,
    /// What it asks for.
    pub asks: String,
    /// `taken`, `fails`, `later`, `passed_over` or `perhaps`.
    pub verdict: &'static str,
    /// What it asks for and the request has not; the gateway stops at the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fails: Vec<Criterion>,
    /// Why, in words.
    pub why: String,
}

/// The nearest, and how many others there are.
pub(super) fn nearest(
    all: &[Considered<'_>],
    winner: Option<&Arc<Route>>,
    path: &[u8],
) -> (Vec<Candidate>, usize) {
    let is_winner = |entry: &Considered<'_>| winner.is_some_and(|winner| Arc::ptr_eq(winner, entry.route));
    let taken = all
        .iter()
        .position(|entry| is_winner(entry) && entry.fit() == Fit::Holds)
        .or_else(|| all.iter().position(is_winner));
    let mut order: Vec<(usize, &Considered<'_>)> = all.iter().enumerate().collect();
    order.sort_by_key(|(place, entry)| {
        let rank = match entry.fit() {
            Fit::Holds => 0,
            Fit::Perhaps => 1,
            Fit::Fails => 2,
        };
        let fails = entry.failing().count();
        let holds = entry.criteria.len().saturating_sub(fails);
        let path = Reverse(shared_path(entry.route, path));
        (Some(*place) != taken, rank, fails, Reverse(holds), path, *place)
    });
    let others = order.len().saturating_sub(MAX_SHOWN);
    order.truncate(MAX_SHOWN);
    order.sort_by_key(|(place, _)| *place);
    let taken = taken.and_then(|place| Some((place, all.get(place)?)));
    let shown = order
        .into_iter()
        .map(|(place, entry)| candidate(place, entry, taken));
    (shown.collect(), others)
}

/// How many bytes of a request's path some path of a route begins with.
fn shared_path(route: &Route, path: &[u8]) -> usize {
    let shared = |own: &String| {
        let own = own.trim_start_matches('~').bytes();
        own.zip(path).take_while(|(own, asked)| own == *asked).count()
    };
    route.paths.iter().map(shared).max().unwrap_or(0)
}

fn candidate(place: usize, entry: &Considered<'_>, taken: Option<(usize, &Considered<'_>)>) -> Candidate {
    let fails: Vec<_> = entry.failing().collect();
    let (verdict, why) = match (entry.fit(), taken) {
        (_, Some((taken, _))) if taken == place => {
            ("taken", "it has everything that this route asks for".to_owned())
        }
        (Fit::Fails, _) => {
            let first = fails.first().map_or("", |criterion| lacks(*criterion));
            ("fails", first.to_owned())
        }
        (Fit::Perhaps, _) => {
            let unknown = entry.criteria.iter().find(|(_, fit)| *fit == Fit::Perhaps);
            let what = unknown.map_or("", |(criterion, _)| name(*criterion));
            (
                "perhaps",
                format!("{what}: it cannot be said here whether that holds"),
            )
        }
        (Fit::Holds, Some((taken_at, winner))) if taken_at < place => ("later", why_later(winner, entry)),
        (Fit::Holds, Some(_)) => (
            "passed_over",
            "the gateway first looks among the routes that share the request's best hit".to_owned(),
        ),
        (Fit::Holds, None) => (
            "perhaps",
            "it matches; another that may match comes before it or alike".to_owned(),
        ),
    };
    Candidate {
        place: place.saturating_add(1),
        route: entry.route.name.as_deref().unwrap_or(&entry.route.id).to_owned(),
        asks: asks(entry.route),
        verdict,
        fails,
        why,
    }
}

/// What puts a route that matches too behind the one that was taken.
fn why_later(winner: &Considered<'_>, entry: &Considered<'_>) -> String {
    if Arc::ptr_eq(winner.route, entry.route) {
        return "it matches too, by another of its paths".to_owned();
    }
    let pairs = winner.standing.iter().zip(&entry.standing);
    for ((what, one), (_, other)) in pairs {
        match one.cmp(other) {
            Ordering::Equal => {}
            Ordering::Greater if *what == "age (created_at)" => {
                return "it matches too, and is younger".to_owned();
            }
            Ordering::Less | Ordering::Greater => {
                return format!("it matches too, but {what}: {other} against {one}");
            }
        }
    }
    "it matches too, and ranks alike: its id is the lower".to_owned()
}

/// What a request lacks.
const fn lacks(criterion: Criterion) -> &'static str {
    match criterion {
        Criterion::Protocols => "the scheme is another",
        Criterion::Methods => "the method is another",
        Criterion::Hosts => "the host is another",
        Criterion::Paths => "the path is another",
        Criterion::Headers => "the header fields are missing or others",
        Criterion::Snis => "the server name is another",
        Criterion::Sources => "the client's address is another, or not looked at by this router",
        Criterion::Destinations => "the listener's address is another, or not looked at by this router",
        Criterion::Queries => "the query parameters are missing or others",
        Criterion::Expression => "a condition of its expression does not hold",
    }
}

const fn name(criterion: Criterion) -> &'static str {
    match criterion {
        Criterion::Protocols => "the scheme",
        Criterion::Methods => "the method",
        Criterion::Hosts => "the host",
        Criterion::Paths => "the path",
        Criterion::Headers => "the headers",
        Criterion::Snis => "the server name",
        Criterion::Sources => "the sources",
        Criterion::Destinations => "the destinations",
        Criterion::Queries => "the query parameters",
        Criterion::Expression => "the conditions of its expression",
    }
}

fn asks(route: &Route) -> String {
    if let Some(expression) = &route.expression {
        return format!("{expression} (priority {})", route.priority);
    }
    let mut parts = Vec::new();
    let mut add = |name: &str, values: &[String]| {
        if !values.is_empty() {
            parts.push(format!("{name} {}", values.join(", ")));
        }
    };
    add("methods", &route.methods);
    add("hosts", &route.hosts);
    add("paths", &route.paths);
    for (header, values) in &route.headers {
        add(&format!("header {header}"), values);
    }
    add("snis", &route.snis);
    if !route.sources.is_empty() {
        parts.push("sources".to_owned());
    }
    if !route.destinations.is_empty() {
        parts.push("destinations".to_owned());
    }
    if route.regex_priority != 0 {
        parts.push(format!("regex_priority {}", route.regex_priority));
    }
    parts.join("; ")
}
