//! A route as the `traditional` router keeps it: with one of its paths, in an order.
//!
//! In: routes. Out: sorted entries, and whether one matches a request.

use std::cmp::Reverse;
use std::sync::Arc;

use super::hits::Hits;
use super::host;
use super::kinds;
use super::pattern::Pattern;
use crate::gateway::entities::Route;
use crate::gateway::router::considered::{Criterion, Fit};
use crate::gateway::router::path::{normalise, normalise_regex};
use crate::gateway::router::profile::Era;
use crate::gateway::router::request::{Prepared, ServerName};
use crate::gateway::router::terms::{self, UNKNOWN_FOR, Verdict};
use crate::gateway::router::upstream::PathMatch;
use crate::gateway::snapshot::SnapshotWarning;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kinds: u8,
    order: Order,
    /// Entries of one class come in an order that cannot be known.
    pub(super) class: usize,
    pub(super) route: Arc<Route>,
    pub(super) hosts: Vec<host::Term>,
    pub(super) headers: Vec<HeaderTerm>,
    pub(super) paths: Vec<PathTerm>,
    pub(super) methods: Vec<Vec<u8>>,
    pub(super) snis: Vec<Vec<u8>>,
}

/// How entries are sorted; larger first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    /// Wildcard host with port 4, plain hosts only 2, regular expression 1.
    weight: u8,
    headers: usize,
    regex_priority: i64,
    prefix_length: usize,
}

#[derive(Debug)]
pub(super) enum PathTerm {
    Prefix(Vec<u8>),
    Regex { text: Vec<u8>, pattern: Pattern },
}

impl PathTerm {
    /// What it is looked up by.
    pub(super) fn text(&self) -> &[u8] {
        match self {
            Self::Prefix(text) | Self::Regex { text, .. } => text,
        }
    }
}

/// One header's condition: any of its values.
#[derive(Debug)]
pub(super) struct HeaderTerm {
    pub(super) name: String,
    pub(super) dashed: String,
    values: Vec<Vec<u8>>,
    pattern: Option<Pattern>,
}

/// What an entry is asked.
pub(super) struct Asking<'a> {
    pub(super) request: &'a Prepared<'a>,
    pub(super) host: &'a host::Asked<'a>,
    pub(super) hits: &'a Hits<'a>,
    pub(super) era: Era,
}

/// What it answers.
pub(super) enum Answer {
    No,
    Perhaps,
    Yes(PathMatch),
}

/// All entries in Kong's order.
pub(super) fn sorted(routes: &[Arc<Route>], era: Era, warnings: &mut Vec<SnapshotWarning>) -> Vec<Entry> {
    let of_route = |route: &Arc<Route>| {
        let entries = entries_of(route, era);
        report(route, &entries, warnings);
        entries
    };
    let mut entries: Vec<_> = routes.iter().flat_map(of_route).collect();
    entries.retain(|entry| entry.kinds != 0);
    entries.sort_by_key(|entry| (Reverse(entry.order), entry.route.created_at.unwrap_or(i64::MAX)));
    let mut class: usize = 0;
    for same in entries.chunk_by_mut(|one, other| one.order == other.order) {
        // Kong's comparison ends at ages; without one it says nothing.
        let has_ages = same.iter().all(|entry| entry.route.created_at.is_some());
        let mut before = None;
        for entry in same {
            let age = entry.route.created_at.filter(|_| has_ages);
            if before.is_none_or(|before| before != age) {
                class = class.saturating_add(1);
            }
            before = Some(age);
            entry.class = class;
        }
    }
    entries
}

fn entries_of(route: &Arc<Route>, era: Era) -> Vec<Entry> {
    let paths: Vec<_> = route.paths.iter().map(String::as_str).collect();
    if paths.len() <= 1 || era < Era::V1_5 {
        return vec![entry(route, &paths, era)];
    }
    paths.iter().map(|path| entry(route, &[path], era)).collect()
}

fn entry(route: &Arc<Route>, paths: &[&str], era: Era) -> Entry {
    let hosts: Vec<_> = route.hosts.iter().map(|host| host::Term::new(host)).collect();
    let headers: Vec<_> = HeaderTerm::all(route, era);
    let used = [
        (kinds::HOST, !hosts.is_empty()),
        (kinds::HEADER, !headers.is_empty()),
        (kinds::PATH, !paths.is_empty()),
        (kinds::METHOD, !route.methods.is_empty()),
        (kinds::SNI, !route.snis.is_empty()),
        (kinds::SOURCE, !route.sources.is_empty()),
        (kinds::DESTINATION, !route.destinations.is_empty()),
    ];
    let kinds = used
        .iter()
        .filter(|(_, used)| *used)
        .fold(0, |bits, (bit, _)| bits | bit);
    Entry {
        // Kong looks at an expression's other attributes; without any it cannot build its router at all.
        kinds: if kinds == 0 && route.expression.is_some() {
            u8::MAX
        } else {
            kinds
        },
        order: order(route, &hosts, headers.len(), paths, era),
        class: 0,
        route: Arc::clone(route),
        hosts,
        headers,
        paths: paths.iter().map(|path| path_term(path, era)).collect(),
        methods: route
            .methods
            .iter()
            .map(|method| method.to_ascii_uppercase().into_bytes())
            .collect(),
        snis: route
            .snis
            .iter()
            .map(|sni| undotted(sni).as_bytes().to_vec())
            .collect(),
    }
}

fn order(route: &Route, hosts: &[host::Term], headers: usize, paths: &[&str], era: Era) -> Order {
    if era < Era::V1_3 {
        return Order {
            weight: 0,
            headers: 0,
            regex_priority: route.regex_priority,
            prefix_length: 0,
        };
    }
    let has_regex = paths.iter().any(|path| path.starts_with('~'));
    let has_hosts = !hosts.is_empty() || route.has_empty_hosts;
    let mut wildcards = hosts.iter().filter_map(|host| host.wildcard.as_ref());
    let weights = [
        (
            4,
            era >= Era::V2_0 && wildcards.clone().any(|wildcard| wildcard.has_port),
        ),
        (2, has_hosts && wildcards.next().is_none()),
        (1, has_regex),
    ];
    let prefixes = paths.iter().filter(|path| !path.starts_with('~'));
    Order {
        weight: weights
            .iter()
            .filter(|(_, holds)| *holds)
            .fold(0, |bits, (bit, _)| bits | bit),
        headers,
        regex_priority: if has_regex || era < Era::V2_6 {
            route.regex_priority
        } else {
            0
        },
        prefix_length: prefixes.map(|path| path.len()).max().unwrap_or(0),
    }
}

pub(super) fn path_term(path: &str, era: Era) -> PathTerm {
    let normalises = (Era::V2_4..Era::V3_0).contains(&era);
    match path.strip_prefix('~') {
        Some(regex) => {
            let regex = if normalises {
                normalise_regex(regex)
            } else {
                regex.to_owned()
            };
            PathTerm::Regex {
                pattern: Pattern::of_path(&regex),
                text: regex.into_bytes(),
            }
        }
        None if normalises => PathTerm::Prefix(normalise(path.as_bytes()).into_owned()),
        None => PathTerm::Prefix(path.as_bytes().to_vec()),
    }
}

/// The last dot of a full name is not sent by clients.
fn undotted(sni: &str) -> &str {
    sni.strip_suffix('.')
        .filter(|rest| !rest.is_empty())
        .unwrap_or(sni)
}

fn report(route: &Route, entries: &[Entry], warnings: &mut Vec<SnapshotWarning>) {
    if entries.iter().all(|entry| entry.kinds == 0) {
        terms::warn(
            route,
            "has nothing to match on; the gateway leaves it out too",
            warnings,
        );
    }
    if entries.iter().any(|entry| entry.kinds == u8::MAX) {
        let what = format!(
            "has an expression, with which this flavour of the router cannot be built: {UNKNOWN_FOR}"
        );
        terms::warn(route, &what, warnings);
    }
    if entries.iter().any(|entry| !entry.snis.is_empty()) {
        terms::warn(route, terms::ASKS_SERVER_NAME, warnings);
    }
    let paths = entries.iter().flat_map(|entry| &entry.paths);
    let mut in_paths = paths.filter_map(|path| match path {
        PathTerm::Regex { pattern, .. } => pattern.missing(),
        PathTerm::Prefix(_) => None,
    });
    let headers = entries.first().into_iter().flat_map(|entry| &entry.headers);
    let mut in_headers = headers.filter_map(|header| header.pattern.as_ref()?.missing());
    for (what, missing) in [("paths", in_paths.next()), ("headers", in_headers.next())] {
        if let Some(missing) = missing {
            let what = format!(
                "has a regular expression in `{what}` that is not evaluated ({missing}): {UNKNOWN_FOR}"
            );
            terms::warn(route, &what, warnings);
        }
    }
}

impl HeaderTerm {
    fn all(route: &Route, era: Era) -> Vec<Self> {
        let headers = route.headers.iter().filter(|(name, _)| *name != "host");
        let term = |(name, values): (&String, &Vec<String>)| {
            // `~*` marks a regular expression in a value that stands alone.
            let pattern = match values.as_slice() {
                [only] if era >= Era::V2_8 => only.strip_prefix("~*"),
                _ => None,
            };
            Self {
                dashed: name.replace('_', "-"),
                name: name.clone(),
                values: values
                    .iter()
                    .map(|value| value.to_ascii_lowercase().into_bytes())
                    .collect(),
                pattern: pattern.map(Pattern::within),
            }
        };
        headers.map(term).collect()
    }

    fn verdict(&self, request: &Prepared<'_>) -> Verdict {
        Verdict::any(request.header(&self.name, &self.dashed).map(|value| {
            let value = value.to_ascii_lowercase();
            let pattern = |pattern: &Pattern| pattern.verdict(&value);
            if self.values.contains(&value) {
                Verdict::Yes
            } else {
                self.pattern.as_ref().map_or(Verdict::No, pattern)
            }
        }))
    }
}

impl Entry {
    pub(super) fn matches(&self, asking: &Asking<'_>) -> Answer {
        if self.kinds == u8::MAX {
            return Answer::Perhaps;
        }
        // In HTTP, Kong 1.1 to 3.9 gives its traditional router no addresses.
        if !self.route.sources.is_empty() || !self.route.destinations.is_empty() {
            return Answer::No;
        }
        let mut path = PathMatch::None;
        let verdict = Verdict::from(self.allows_method(asking))
            .and(|| Verdict::from(self.hosts.is_empty() || self.allows_host(asking)))
            .and(|| {
                let (verdict, found) = self.path(asking);
                path = found;
                verdict
            })
            .and(|| Verdict::all(self.headers.iter().map(|header| header.verdict(asking.request))))
            .and(|| self.server_name(asking));
        match verdict {
            Verdict::No => Answer::No,
            Verdict::Perhaps => Answer::Perhaps,
            Verdict::Yes => Answer::Yes(path),
        }
    }

    /// What it asks for, each by itself, in the order of [`Entry::matches`].
    pub(super) fn criteria(&self, asking: &Asking<'_>) -> Vec<(Criterion, Fit)> {
        let mut criteria = Vec::new();
        if !self.route.sources.is_empty() {
            criteria.push((Criterion::Sources, Fit::Fails));
        }
        if !self.route.destinations.is_empty() {
            criteria.push((Criterion::Destinations, Fit::Fails));
        }
        let mut add = |is_used: bool, criterion: Criterion, verdict: &dyn Fn() -> Verdict| {
            if is_used {
                criteria.push((criterion, Fit::from(verdict())));
            }
        };
        add(!self.methods.is_empty(), Criterion::Methods, &|| {
            Verdict::from(self.allows_method(asking))
        });
        add(!self.hosts.is_empty(), Criterion::Hosts, &|| {
            Verdict::from(self.allows_host(asking))
        });
        add(!self.paths.is_empty(), Criterion::Paths, &|| self.path(asking).0);
        add(!self.headers.is_empty(), Criterion::Headers, &|| {
            Verdict::all(self.headers.iter().map(|header| header.verdict(asking.request)))
        });
        add(!self.snis.is_empty(), Criterion::Snis, &|| {
            self.server_name(asking)
        });
        criteria
    }

    /// What orders it within its category.
    pub(super) fn standing(&self) -> [(&'static str, i64); 5] {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        [
            (
                "wildcard host with a port, plain hosts only, regular expression",
                i64::from(self.order.weight),
            ),
            ("headers", number(self.order.headers)),
            ("regex_priority", self.order.regex_priority),
            ("length of the prefix", number(self.order.prefix_length)),
            (
                "age (created_at)",
                self.route.created_at.map_or(i64::MIN, i64::wrapping_neg),
            ),
        ]
    }

    fn allows_method(&self, asking: &Asking<'_>) -> bool {
        let asked = asking.request.method;
        let same = |method: &Vec<u8>| {
            method == asked || asking.era < Era::V1_0 && method.eq_ignore_ascii_case(asked)
        };
        self.methods.is_empty() || self.methods.iter().any(same)
    }

    fn allows_host(&self, asking: &Asking<'_>) -> bool {
        let host = asking.host;
        let key = asking.hits.wildcard_host.unwrap_or(host.raw);
        host.is_there
            && self.hosts.iter().any(|term| match &term.wildcard {
                // When a wildcard was hit, the host as sent is not looked at any more.
                None => term.text == key || asking.era >= Era::V2_0 && term.text == host.name,
                Some(wildcard) if asking.era >= Era::V1_3 => wildcard.holds(&host.with_port, asking.era),
                Some(_) => term.text == key,
            })
    }

    fn path(&self, asking: &Asking<'_>) -> (Verdict, PathMatch) {
        let path: &[u8] = &asking.request.path;
        if self.paths.is_empty() {
            return (Verdict::Yes, PathMatch::None);
        }
        if path.is_empty() {
            return (Verdict::No, PathMatch::None);
        }
        let key = asking.hits.path.unwrap_or(path);
        // The hit is taken at its word, even where it is another entry's regular expression with the text of this prefix.
        let own_hit = self.paths.iter().find(|term| term.text() == key);
        if let Some(term) = own_hit {
            let as_written = PathMatch::Text(path.get(..term.text().len()).unwrap_or(path).to_vec());
            return match term.answer(path) {
                (Verdict::No, _) => (Verdict::Yes, as_written),
                answer => answer,
            };
        }
        let mut best = (Verdict::No, PathMatch::None);
        for term in &self.paths {
            match term.answer(path) {
                yes @ (Verdict::Yes, _) => return yes,
                perhaps @ (Verdict::Perhaps, _) => best = perhaps,
                (Verdict::No, _) => {}
            }
        }
        best
    }

    fn server_name(&self, asking: &Asking<'_>) -> Verdict {
        if self.snis.is_empty() {
            return Verdict::Yes;
        }
        if !asking.request.tls {
            return Verdict::from(asking.era >= Era::V2_2);
        }
        match asking.request.server_name {
            ServerName::Named(name) => Verdict::from(self.snis.iter().any(|sni| sni == name)),
            ServerName::Absent => Verdict::No,
            ServerName::Unknown => Verdict::Perhaps,
        }
    }
}

impl PathTerm {
    fn answer(&self, path: &[u8]) -> (Verdict, PathMatch) {
        match self {
            Self::Prefix(prefix) if path.starts_with(prefix) => {
                (Verdict::Yes, PathMatch::Text(prefix.clone()))
            }
            Self::Prefix(_) => (Verdict::No, PathMatch::None),
            Self::Regex { pattern, .. } => match pattern.verdict(path) {
                Verdict::Yes => {
                    let taken = pattern.taken(path).flatten().and_then(|taken| path.get(..taken));
                    let found = taken.map_or(PathMatch::Unbounded, |text| PathMatch::Text(text.to_vec()));
                    (Verdict::Yes, found)
                }
                verdict @ (Verdict::No | Verdict::Perhaps) => (verdict, PathMatch::None),
            },
        }
    }
}
