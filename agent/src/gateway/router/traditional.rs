//! The `traditional` flavour: the only one before 3.0, and still to be had.
//!
//! In: routes. Out: the route that Kong's search finds. Entries (a route with one of its paths) are sorted into categories by
//! the kinds of attributes they use. Per request the search first reduces a category to the entries that share one of the
//! request's best hits, then takes the whole category, then the next lower one (Kong 3.9 kong/router/traditional.lua). The
//! reduction can prefer an entry that the sort order alone would not, so it is followed here step by step.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::gateway::entities::Route;
use crate::gateway::router::Found;
use crate::gateway::router::path::normalise;
use crate::gateway::router::profile::PathRules;
use crate::gateway::router::request::Prepared;
use crate::gateway::router::terms::{self, Dialect, HeaderTerm, Pattern, Verdict};
use crate::gateway::snapshot::{SnapshotWarning, UnknownRoute};

/// Attribute kinds; the larger number decides between categories with as many kinds.
mod kinds {
    pub(super) const HOST: u8 = 0x40;
    pub(super) const HEADER: u8 = 0x20;
    pub(super) const PATH: u8 = 0x10;
    pub(super) const METHOD: u8 = 0x08;
    pub(super) const SNI: u8 = 0x04;
    pub(super) const ADDRESSES: u8 = 0x03;
}

#[derive(Debug)]
pub(super) struct Engine {
    /// In Kong's order of routes.
    entries: Vec<Entry>,
    /// Highest first.
    categories: Vec<Category>,
    /// Every host without a wildcard.
    plain_hosts: HashSet<Vec<u8>>,
    /// Header names in the order of the entries that use them, with one term of that name.
    header_names: Vec<(String, HeaderTerm)>,
    prefixes: HashSet<Vec<u8>>,
    /// The lengths of the prefixes, longest first.
    prefix_lengths: Vec<usize>,
    /// Entries with a wildcard host, and those with a regular expression, in their order.
    wildcards: Vec<usize>,
    regexes: Vec<usize>,
    methods: HashSet<Vec<u8>>,
    has_snis: bool,
}

#[derive(Debug)]
struct Entry {
    kinds: u8,
    order: Order,
    route: Arc<Route>,
    hosts: Vec<HostTerm>,
    headers: Vec<HeaderTerm>,
    path: Option<PathTerm>,
    methods: Vec<Vec<u8>>,
}

/// How entries of a category are sorted; larger first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    /// Wildcard host with port 4, plain hosts only 2, regular expression 1.
    weight: u8,
    headers: usize,
    regex_priority: i64,
    prefix_length: usize,
}

#[derive(Debug)]
struct HostTerm {
    text: Vec<u8>,
    wildcard: Option<Wildcard>,
}

/// `*` stands for at least one byte; without a port any port is right.
#[derive(Debug)]
struct Wildcard {
    head: Vec<u8>,
    tail: Vec<u8>,
    has_port: bool,
}

#[derive(Debug)]
enum PathTerm {
    Prefix(Vec<u8>),
    Regex { text: Vec<u8>, pattern: Pattern },
}

#[derive(Debug)]
struct Category {
    kinds: u8,
    all: Vec<usize>,
    /// Entries that can answer "perhaps".
    uncertain: Vec<usize>,
    by_host: HashMap<Vec<u8>, Vec<usize>>,
    by_header: HashMap<String, Vec<usize>>,
    by_path: HashMap<Vec<u8>, Vec<usize>>,
    by_method: HashMap<Vec<u8>, Vec<usize>>,
}

/// The best hits of a request, whatever entry they come from.
struct Hits<'a> {
    kinds: u8,
    /// A wildcard host, only when no plain host was hit.
    wildcard_host: Option<&'a [u8]>,
    header: Option<&'a str>,
    path: Option<&'a [u8]>,
    /// Whether no hit was merely the first of several that sort alike: wildcards, headers and regular expressions may be.
    are_certain: bool,
}

/// `Host` taken apart.
struct Host<'a> {
    raw: &'a [u8],
    name: &'a [u8],
    /// With the scheme's default port filled in.
    with_port: Vec<u8>,
}

impl Engine {
    pub(super) fn build(
        routes: &[Arc<Route>],
        rules: PathRules,
        warnings: &mut Vec<SnapshotWarning>,
    ) -> Self {
        let mut entries: Vec<_> = routes
            .iter()
            .flat_map(|route| entries_of(route, rules, warnings))
            .collect();
        entries.sort_by_key(|entry| (Reverse(entry.order), entry.route.created_at.unwrap_or(i64::MAX)));
        let mut engine = Self {
            categories: categories_of(&entries),
            plain_hosts: HashSet::new(),
            header_names: Vec::new(),
            prefixes: HashSet::new(),
            prefix_lengths: Vec::new(),
            wildcards: Vec::new(),
            regexes: Vec::new(),
            methods: HashSet::new(),
            has_snis: false,
            entries: Vec::new(),
        };
        for (number, entry) in entries.iter().enumerate() {
            engine.index(number, entry);
        }
        let mut lengths: Vec<_> = engine.prefixes.iter().map(Vec::len).collect();
        lengths.sort_unstable_by_key(|length| Reverse(*length));
        lengths.dedup();
        engine.prefix_lengths = lengths;
        engine.entries = entries;
        engine
    }

    fn index(&mut self, number: usize, entry: &Entry) {
        if entry.hosts.iter().any(|term| term.wildcard.is_some()) {
            self.wildcards.push(number);
        }
        let plain = entry.hosts.iter().filter(|term| term.wildcard.is_none());
        self.plain_hosts.extend(plain.map(|term| term.text.clone()));
        for term in &entry.headers {
            if !self.header_names.iter().any(|(name, _)| name == term.key()) {
                self.header_names.push((term.key().to_owned(), term.clone()));
            }
        }
        match &entry.path {
            Some(PathTerm::Prefix(prefix)) => {
                self.prefixes.insert(prefix.clone());
            }
            Some(PathTerm::Regex { .. }) => self.regexes.push(number),
            None => {}
        }
        self.methods.extend(entry.methods.iter().cloned());
        self.has_snis |= !entry.route.snis.is_empty();
    }

    pub(super) fn find(&self, request: &Prepared<'_>) -> Found<'_> {
        let host = request.host.map(|raw| Host::new(raw, request.tls));
        let hits = self.hits(request, host.as_ref());
        let first = if self.has_snis && !request.tls {
            // Server names hold for every plain request but are no hit: the search may begin below their categories.
            if hits.kinds == 0 {
                return Found::Nothing;
            }
            let exact = self
                .categories
                .iter()
                .position(|category| category.kinds == hits.kinds);
            exact.unwrap_or(0)
        } else {
            0
        };
        for category in self.categories.iter().skip(first) {
            match self.find_in(category, request, host.as_ref(), &hits) {
                Found::Nothing => {}
                found @ (Found::Route { .. } | Found::Unknown(_)) => return found,
            }
        }
        Found::Nothing
    }

    fn find_in(
        &self,
        category: &Category,
        request: &Prepared<'_>,
        host: Option<&Host<'_>>,
        hits: &Hits<'_>,
    ) -> Found<'_> {
        let verdict = |entry: &Entry| entry.verdict(request, host, hits);
        let first_in = |numbers: &[usize]| {
            let mut entries = numbers.iter().filter_map(|number| self.entries.get(*number));
            entries.find(|entry| verdict(entry) == Verdict::Yes)
        };
        let reduced = category.reduce(request, host, hits);
        let from_reduced = reduced.and_then(first_in);
        let winner = from_reduced.or_else(|| first_in(&category.all));
        let is_other = |entry: &&Entry| winner.is_none_or(|winner| !Arc::ptr_eq(&winner.route, &entry.route));
        let uncertain = category
            .uncertain
            .iter()
            .filter_map(|number| self.entries.get(*number));
        if uncertain
            .filter(is_other)
            .any(|entry| verdict(entry) == Verdict::Perhaps)
        {
            return Found::Unknown(UnknownRoute::Unsupported);
        }
        let Some(winner) = winner else {
            return Found::Nothing;
        };
        // Of the entries that sort alike, those that the reduction left out lose, if it was not by chance itself.
        let rivals = match (from_reduced, reduced) {
            (Some(_), Some(reduced)) if hits.are_certain => reduced,
            _ => &category.all,
        };
        if self
            .ties(rivals, winner)
            .filter(is_other)
            .any(|entry| verdict(entry) == Verdict::Yes)
        {
            return Found::Unknown(UnknownRoute::Ambiguous);
        }
        Found::Route {
            route: &winner.route,
            prefix: match &winner.path {
                Some(PathTerm::Prefix(prefix)) => Some(prefix),
                Some(PathTerm::Regex { .. }) | None => None,
            },
        }
    }

    /// Entries that sort like `entry`, so that only an unstable sort says which comes first.
    fn ties<'a>(&'a self, rivals: &'a [usize], entry: &'a Entry) -> impl Iterator<Item = &'a Entry> + 'a {
        let order_of = |number: &usize| self.entries.get(*number).map(|other| Reverse(other.order));
        let start = rivals.partition_point(|number| order_of(number) < Some(Reverse(entry.order)));
        let from = rivals.get(start..).unwrap_or_default();
        from.iter()
            .filter_map(|number| self.entries.get(*number))
            .take_while(|other| other.order == entry.order)
            .filter(|other| match (other.route.created_at, entry.route.created_at) {
                (Some(other), Some(own)) => other == own,
                (None, _) | (_, None) => true,
            })
    }

    fn numbered<'a>(&'a self, numbers: &'a [usize]) -> impl Iterator<Item = &'a Entry> + 'a {
        numbers.iter().filter_map(|number| self.entries.get(*number))
    }

    fn hits<'a>(&'a self, request: &Prepared<'_>, host: Option<&Host<'_>>) -> Hits<'a> {
        let mut hits = Hits {
            kinds: 0,
            wildcard_host: None,
            header: None,
            path: None,
            are_certain: true,
        };
        let mut headers = self.header_names.iter();
        if let Some((name, _)) = headers.find(|(_, term)| term.is_present(request)) {
            hits.header = Some(name);
            hits.are_certain = false;
            hits.kinds |= kinds::HEADER;
        }
        if let Some(host) = host {
            if self.plain_hosts.contains(&host.with_port) || self.plain_hosts.contains(host.name) {
                hits.kinds |= kinds::HOST;
            } else {
                let mut terms = self.numbered(&self.wildcards).flat_map(|entry| &entry.hosts);
                let hit =
                    terms.find(|term| term.wildcard.as_ref().is_some_and(|it| it.holds(&host.with_port)));
                if let Some(term) = hit {
                    hits.wildcard_host = Some(&term.text);
                    hits.are_certain = false;
                    hits.kinds |= kinds::HOST;
                }
            }
        }
        let mut paths = self
            .numbered(&self.regexes)
            .filter_map(|entry| entry.path.as_ref());
        hits.path = paths.find_map(|path| match path {
            PathTerm::Regex { text, pattern } => {
                (pattern.verdict(&request.path) != Verdict::No).then_some(text.as_slice())
            }
            PathTerm::Prefix(_) => None,
        });
        if hits.path.is_some() {
            hits.are_certain = false;
        } else {
            let mut prefixes = self
                .prefix_lengths
                .iter()
                .filter_map(|length| request.path.get(..*length));
            hits.path = prefixes
                .find_map(|prefix| self.prefixes.get(prefix))
                .map(Vec::as_slice);
        }
        if hits.path.is_some() {
            hits.kinds |= kinds::PATH;
        }
        if self.methods.contains(request.method) {
            hits.kinds |= kinds::METHOD;
        }
        hits
    }
}

impl Category {
    /// The smallest list of entries that share a hit; those that share a header, if there are any.
    fn reduce(&self, request: &Prepared<'_>, host: Option<&Host<'_>>, hits: &Hits<'_>) -> Option<&[usize]> {
        let by_host = || {
            let key = hits
                .wildcard_host
                .or_else(|| host.map(|host| host.raw))
                .unwrap_or_default();
            self.by_host.get(key)
        };
        let lists = [
            (
                kinds::HOST,
                (self.kinds & kinds::HOST != 0).then(by_host).flatten(),
            ),
            (
                kinds::HEADER,
                hits.header.and_then(|name| self.by_header.get(name)),
            ),
            (kinds::PATH, hits.path.and_then(|path| self.by_path.get(path))),
            (kinds::METHOD, self.by_method.get(request.method)),
        ];
        let mut smallest: Option<&Vec<usize>> = None;
        for (kind, list) in lists {
            let Some(list) = list else { continue };
            if kind == kinds::HEADER {
                return Some(list);
            }
            if smallest.is_none_or(|smallest| list.len() < smallest.len()) {
                smallest = Some(list);
            }
        }
        smallest.map(Vec::as_slice)
    }
}

impl Entry {
    fn verdict(&self, request: &Prepared<'_>, host: Option<&Host<'_>>, hits: &Hits<'_>) -> Verdict {
        if self.route.expression.is_some() {
            return Verdict::Perhaps;
        }
        Verdict::from(self.methods.is_empty() || self.methods.iter().any(|method| method == request.method))
            .and(|| match host {
                _ if self.hosts.is_empty() => Verdict::Yes,
                Some(host) => Verdict::from(self.hosts.iter().any(|term| term.holds(host, hits))),
                None => Verdict::No,
            })
            .and(|| match &self.path {
                None => Verdict::Yes,
                Some(PathTerm::Prefix(prefix)) => Verdict::from(request.path.starts_with(prefix)),
                Some(PathTerm::Regex { pattern, .. }) => pattern.verdict(&request.path),
            })
            .and(|| {
                let verdicts = self.headers.iter().map(|term| term.verdict(request));
                verdicts.fold(Verdict::Yes, |all, one| all.and(|| one))
            })
            .and(|| {
                let unknown_name = request.tls && !self.route.snis.is_empty();
                if unknown_name || self.route.restricts_addresses {
                    Verdict::Perhaps
                } else {
                    Verdict::Yes
                }
            })
    }

    fn can_be_perhaps(&self) -> bool {
        let path_is_supported = match &self.path {
            Some(PathTerm::Regex { pattern, .. }) => pattern.is_supported(),
            Some(PathTerm::Prefix(_)) | None => true,
        };
        self.route.expression.is_some()
            || self.route.restricts_addresses
            || !self.route.snis.is_empty()
            || !path_is_supported
            || !self.headers.iter().all(HeaderTerm::is_supported)
    }
}

impl HostTerm {
    fn new(host: &str) -> Self {
        let wildcard = host.split_once('*').map(|(head, tail)| Wildcard {
            head: head.as_bytes().to_vec(),
            tail: tail.as_bytes().to_vec(),
            has_port: split_port(host.as_bytes()).2,
        });
        Self {
            text: host.as_bytes().to_vec(),
            wildcard,
        }
    }

    fn holds(&self, host: &Host<'_>, hits: &Hits<'_>) -> bool {
        match &self.wildcard {
            // When a wildcard was hit, the raw value is not looked at any more.
            None => (hits.wildcard_host.is_none() && host.raw == self.text) || host.name == self.text,
            Some(wildcard) => wildcard.holds(&host.with_port),
        }
    }
}

impl Wildcard {
    fn holds(&self, host_with_port: &[u8]) -> bool {
        let fits = |host: &[u8]| {
            let inner = host.strip_prefix(self.head.as_slice());
            let inner = inner.and_then(|inner| inner.strip_suffix(self.tail.as_slice()));
            inner.is_some_and(|inner| !inner.is_empty())
        };
        if fits(host_with_port) {
            return true;
        }
        let colon = host_with_port.iter().rposition(|byte| *byte == b':');
        let name = colon.and_then(|at| {
            let port = host_with_port.get(at.saturating_add(1)..)?;
            let is_port = !port.is_empty() && port.iter().all(u8::is_ascii_digit);
            is_port.then(|| host_with_port.get(..at))?
        });
        !self.has_port && name.is_some_and(fits)
    }
}

impl<'a> Host<'a> {
    fn new(raw: &'a [u8], tls: bool) -> Self {
        let (name, with_port, has_port) = split_port(raw);
        let mut with_port = with_port.to_vec();
        if !has_port {
            let default: &[u8] = if tls { b"443" } else { b"80" };
            if with_port.last() != Some(&b':') {
                with_port.push(b':');
            }
            with_port.extend(default);
        }
        Self { raw, name, with_port }
    }
}

/// The name without port and brackets, what a port is appended to, and whether there was a port.
fn split_port(host: &[u8]) -> (&[u8], &[u8], bool) {
    let digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    if let Some(inner) = host.strip_prefix(b"[") {
        if let Some(name) = inner.strip_suffix(b"]") {
            return (name, host, false);
        }
        let close = inner.windows(2).position(|pair| pair == b"]:");
        let Some(close) = close else {
            return (host, host, false);
        };
        let name = inner.get(..close).unwrap_or_default();
        let port = inner.get(close.saturating_add(2)..).unwrap_or_default();
        return match port {
            [] => (name, host, false),
            port if digits(port) => (name, host, true),
            _ => (host, host, false),
        };
    }
    let Some(colon) = host.iter().position(|byte| *byte == b':') else {
        return (host, host, false);
    };
    let name = host.get(..colon).unwrap_or_default();
    match host.get(colon.saturating_add(1)..).unwrap_or_default() {
        [] => (name, name, false),
        port if digits(port) => (name, host, true),
        _ => (host, host, false),
    }
}

fn entries_of(route: &Arc<Route>, rules: PathRules, warnings: &mut Vec<SnapshotWarning>) -> Vec<Entry> {
    let entries: Vec<_> = if route.paths.is_empty() || route.expression.is_some() {
        vec![entry(route, None, rules)]
    } else {
        let paths = route.paths.iter();
        paths.map(|path| entry(route, Some(path), rules)).collect()
    };
    if entries.iter().all(|entry| entry.kinds == 0) && route.expression.is_none() {
        terms::warn(
            route,
            "has nothing to match on; the gateway leaves it out too",
            warnings,
        );
        return Vec::new();
    }
    let worst = entries.iter().find_map(|entry| match &entry.path {
        Some(PathTerm::Regex { pattern, .. }) if !pattern.is_supported() => Some(pattern),
        Some(PathTerm::Regex { .. } | PathTerm::Prefix(_)) | None => None,
    });
    let headers = HeaderTerm::all(route, Dialect::Pcre);
    terms::warn_of_unsupported(route, worst, &headers, warnings);
    entries
}

fn entry(route: &Arc<Route>, path: Option<&String>, rules: PathRules) -> Entry {
    let hosts: Vec<_> = route.hosts.iter().map(|host| HostTerm::new(host)).collect();
    let headers = HeaderTerm::all(route, Dialect::Pcre);
    let regex = path.and_then(|path| path.strip_prefix('~'));
    let term = path.map(|path| match regex {
        Some(regex) => PathTerm::Regex {
            text: regex.as_bytes().to_vec(),
            pattern: Pattern::compile(Dialect::Pcre, &format!("^(?:{regex})")),
        },
        None if rules.normalise_routes => PathTerm::Prefix(normalise(path.as_bytes()).into_owned()),
        None => PathTerm::Prefix(path.as_bytes().to_vec()),
    });
    let used = [
        (kinds::HOST, !hosts.is_empty()),
        (kinds::HEADER, !headers.is_empty()),
        (kinds::PATH, path.is_some()),
        (kinds::METHOD, !route.methods.is_empty()),
        (kinds::SNI, !route.snis.is_empty()),
        (kinds::ADDRESSES, route.restricts_addresses),
    ];
    let kinds = used
        .iter()
        .filter(|(_, used)| *used)
        .fold(0, |bits, (bit, _)| bits | bit);
    // Kong looks at the first wildcard only, and asks for plain hosts even where there are none.
    let first_wildcard = hosts.iter().find_map(|term| term.wildcard.as_ref());
    let weights = [
        (4, first_wildcard.is_some_and(|wildcard| wildcard.has_port)),
        (2, !hosts.is_empty() && first_wildcard.is_none()),
        (1, regex.is_some()),
    ];
    Entry {
        kinds: if route.expression.is_some() {
            u8::MAX
        } else {
            kinds
        },
        order: Order {
            weight: weights
                .iter()
                .filter(|(_, holds)| *holds)
                .fold(0, |bits, (bit, _)| bits | bit),
            headers: headers.len(),
            regex_priority: regex.map_or(0, |_| route.regex_priority),
            prefix_length: if regex.is_some() {
                0
            } else {
                path.map_or(0, String::len)
            },
        },
        route: Arc::clone(route),
        hosts,
        headers,
        path: term,
        methods: route
            .methods
            .iter()
            .map(|method| method.to_ascii_uppercase().into_bytes())
            .collect(),
    }
}

fn categories_of(entries: &[Entry]) -> Vec<Category> {
    let mut by_kinds: HashMap<u8, Category> = HashMap::new();
    for (number, entry) in entries.iter().enumerate() {
        let category = by_kinds.entry(entry.kinds).or_insert_with(|| Category {
            kinds: entry.kinds,
            all: Vec::new(),
            uncertain: Vec::new(),
            by_host: HashMap::new(),
            by_header: HashMap::new(),
            by_path: HashMap::new(),
            by_method: HashMap::new(),
        });
        category.all.push(number);
        if entry.can_be_perhaps() {
            category.uncertain.push(number);
        }
        for term in &entry.hosts {
            category
                .by_host
                .entry(term.text.clone())
                .or_default()
                .push(number);
        }
        for term in &entry.headers {
            category
                .by_header
                .entry(term.key().to_owned())
                .or_default()
                .push(number);
        }
        match &entry.path {
            Some(PathTerm::Prefix(text) | PathTerm::Regex { text, .. }) => {
                category.by_path.entry(text.clone()).or_default().push(number);
            }
            None => {}
        }
        for method in &entry.methods {
            category.by_method.entry(method.clone()).or_default().push(number);
        }
    }
    let mut categories: Vec<_> = by_kinds.into_values().collect();
    categories.sort_by_key(|category| Reverse((category.kinds.count_ones(), category.kinds)));
    categories
}
