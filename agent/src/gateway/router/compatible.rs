//! The `traditional_compatible` flavour, and the `expressions` flavour as far as its routes have no expression.
//!
//! In: routes. Out: the route of the highest priority that matches. A route becomes one entry for each of its paths; the entry's
//! priority is the 64-bit number that Kong computes (Kong 3.9 kong/router/transform.lua get_priority), equal numbers are
//! decided by the higher id. Expressions outrank everything and are not evaluated.

use std::collections::HashMap;
use std::sync::Arc;

use crate::gateway::entities::Route;
use crate::gateway::router::Found;
use crate::gateway::router::request::Prepared;
use crate::gateway::router::terms::{self, Dialect, HeaderTerm, Pattern, Verdict};
use crate::gateway::snapshot::{SnapshotWarning, UnknownRoute};

/// Above every priority that classic attributes give: expression routes have 0xFF in the top byte.
const EXPRESSION_RANK: u64 = u64::MAX;
/// Headers counted at most in a priority.
const MAX_HEADER_RANK: u64 = 255;

#[derive(Debug)]
pub(super) struct Engine {
    /// Highest priority first.
    entries: Vec<Entry>,
    index: Index,
}

/// A route with one of its paths.
#[derive(Debug)]
struct Entry {
    rank: u64,
    route: Arc<Route>,
    hosts: Vec<HostTerm>,
    path: Option<PathTerm>,
    headers: Vec<HeaderTerm>,
    /// Whether the route's own id is what breaks ties: not when Kong splits it into groups of paths, whose ids it
    /// derives in an order that cannot be known.
    id_breaks_ties: bool,
}

#[derive(Debug)]
enum PathTerm {
    Prefix(Vec<u8>),
    Regex(Pattern),
}

#[derive(Clone, Debug)]
struct HostTerm {
    how: HostMatch,
    text: Vec<u8>,
    port: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HostMatch {
    Equal,
    Prefix,
    Suffix,
}

/// Entry numbers by what a request must have for them, so that a match looks at few.
#[derive(Debug, Default)]
struct Index {
    by_host: HashMap<Vec<u8>, PathIndex>,
    any_host: PathIndex,
}

#[derive(Debug, Default)]
struct PathIndex {
    /// The lengths of `by_prefix`'s keys.
    lengths: Vec<usize>,
    by_prefix: HashMap<Vec<u8>, Vec<usize>>,
    others: Vec<usize>,
}

impl Engine {
    pub(super) fn build(routes: &[Arc<Route>], warnings: &mut Vec<SnapshotWarning>) -> Self {
        let mut entries: Vec<_> = routes
            .iter()
            .flat_map(|route| entries_of(route, warnings))
            .collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.rank));
        let mut index = Index::default();
        for (number, entry) in entries.iter().enumerate() {
            index.add(number, entry);
        }
        Self { entries, index }
    }

    pub(super) fn find(&self, request: &Prepared<'_>) -> Found<'_> {
        let (host, port) = request.host.map_or((None, None), split_port);
        let port = port.unwrap_or_else(|| u64::from(request.local_port));
        let mut best: Option<&Entry> = None;
        for number in self.index.candidates(host, &request.path) {
            let Some(entry) = self.entries.get(number) else {
                continue;
            };
            if best.is_some_and(|best| best.rank > entry.rank) {
                break;
            }
            if best.is_some_and(|best| Arc::ptr_eq(&best.route, &entry.route)) {
                continue;
            }
            match entry.verdict(request, host, port) {
                Verdict::No => {}
                Verdict::Perhaps => return Found::Unknown(UnknownRoute::Unsupported),
                Verdict::Yes => match best {
                    None => best = Some(entry),
                    Some(other) => match higher_id(other, entry) {
                        Some(winner) => best = Some(winner),
                        None => return Found::Unknown(UnknownRoute::Ambiguous),
                    },
                },
            }
        }
        best.map_or(Found::Nothing, |entry| Found::Route {
            route: &entry.route,
            prefix: match &entry.path {
                Some(PathTerm::Prefix(prefix)) => Some(prefix),
                Some(PathTerm::Regex(_)) | None => None,
            },
        })
    }
}

fn higher_id<'a>(one: &'a Entry, other: &'a Entry) -> Option<&'a Entry> {
    let known = |entry: &Entry| entry.id_breaks_ties && entry.route.id_is_known;
    (known(one) && known(other)).then(|| if one.route.id > other.route.id { one } else { other })
}

impl Entry {
    fn verdict(&self, request: &Prepared<'_>, host: Option<&[u8]>, port: u64) -> Verdict {
        if self.route.expression.is_some() {
            return Verdict::Perhaps;
        }
        let methods = &self.route.methods;
        Verdict::from(methods.is_empty() || methods.iter().any(|method| method.as_bytes() == request.method))
            .and(|| {
                let holds = |term: &HostTerm| host.is_some_and(|host| term.holds(host, port));
                Verdict::from(self.hosts.is_empty() || self.hosts.iter().any(holds))
            })
            .and(|| match &self.path {
                None => Verdict::Yes,
                Some(PathTerm::Prefix(prefix)) => Verdict::from(request.path.starts_with(prefix)),
                Some(PathTerm::Regex(pattern)) => pattern.verdict(&request.path),
            })
            .and(|| {
                let verdicts = self.headers.iter().map(|term| term.verdict(request));
                verdicts.fold(Verdict::Yes, |all, one| all.and(|| one))
            })
            .and(|| {
                // In plain http, server names are not considered [K issue 6425].
                let unknown_name = request.tls && !self.route.snis.is_empty();
                if unknown_name || self.route.restricts_addresses {
                    Verdict::Perhaps
                } else {
                    Verdict::Yes
                }
            })
    }
}

impl HostTerm {
    fn new(host: &str) -> Self {
        let (name, port) = split_port(host.as_bytes());
        let name = name.unwrap_or_default();
        let (how, text) = match name {
            [b'*', rest @ ..] => (HostMatch::Suffix, rest),
            [rest @ .., b'*'] => (HostMatch::Prefix, rest),
            whole => (HostMatch::Equal, whole),
        };
        Self {
            how,
            text: text.to_vec(),
            port,
        }
    }

    fn holds(&self, host: &[u8], port: u64) -> bool {
        self.port.is_none_or(|wanted| wanted == port)
            && match self.how {
                HostMatch::Equal => host == self.text,
                HostMatch::Prefix => host.starts_with(&self.text),
                HostMatch::Suffix => host.ends_with(&self.text),
            }
    }
}

/// Splits at the first colon if a number follows; `[::1]` and the like stay whole.
fn split_port(host: &[u8]) -> (Option<&[u8]>, Option<u64>) {
    let split = host.iter().position(|byte| *byte == b':').and_then(|at| {
        let port = host.get(at.saturating_add(1)..)?;
        let port = str::from_utf8(port).ok()?.parse().ok()?;
        Some((host.get(..at), Some(port)))
    });
    split.unwrap_or((Some(host), None))
}

fn entries_of(route: &Arc<Route>, warnings: &mut Vec<SnapshotWarning>) -> Vec<Entry> {
    let headers = HeaderTerm::all(route, Dialect::Rust);
    let hosts: Vec<_> = route.hosts.iter().map(|host| HostTerm::new(host)).collect();
    let is_anything =
        route.methods.is_empty() && hosts.is_empty() && route.paths.is_empty() && headers.is_empty();
    if is_anything && route.snis.is_empty() && !route.restricts_addresses && route.expression.is_none() {
        terms::warn(
            route,
            "has nothing to match on; the gateway leaves it out too",
            warnings,
        );
        return Vec::new();
    }
    let mut groups: Vec<Option<usize>> = route.paths.iter().map(|path| prefix_length(path)).collect();
    groups.sort_unstable();
    groups.dedup();
    let entry = |path: Option<&String>| Entry {
        rank: rank(route, headers.len(), path.map(String::as_str)),
        route: Arc::clone(route),
        hosts: hosts.clone(),
        path: path.map(|path| path_term(path)),
        headers: headers.clone(),
        id_breaks_ties: groups.len() <= 1,
    };
    let entries: Vec<_> = if route.paths.is_empty() || route.expression.is_some() {
        vec![entry(None)]
    } else {
        route.paths.iter().map(|path| entry(Some(path))).collect()
    };
    let worst = entries.iter().find_map(|entry| match &entry.path {
        Some(PathTerm::Regex(pattern)) if !pattern.is_supported() => Some(pattern),
        Some(PathTerm::Regex(_) | PathTerm::Prefix(_)) | None => None,
    });
    terms::warn_of_unsupported(route, worst, &headers, warnings);
    entries
}

/// What Kong groups a route's paths by.
fn prefix_length(path: &str) -> Option<usize> {
    (!path.starts_with('~')).then_some(path.len())
}

fn path_term(path: &str) -> PathTerm {
    match path.strip_prefix('~') {
        // Kong puts the anchor in front of the whole, alternatives or not, and renames named groups.
        Some(regex) => {
            let regex = format!("^{}", regex.replace("?<", "?P<"));
            PathTerm::Regex(Pattern::compile(Dialect::Rust, &regex))
        }
        None => PathTerm::Prefix(path.as_bytes().to_vec()),
    }
}

/// The priority, bit for bit.
fn rank(route: &Route, headers: usize, path: Option<&str>) -> u64 {
    if route.expression.is_some() {
        return EXPRESSION_RANK;
    }
    let kinds = [
        !route.methods.is_empty(),
        !route.hosts.is_empty(),
        path.is_some(),
        headers > 0,
        !route.snis.is_empty(),
        // One of `sources` and `destinations`, perhaps both: the higher number, as such a route is only ever "perhaps".
        route.restricts_addresses,
        route.restricts_addresses,
    ];
    let kinds = u64::try_from(kinds.iter().filter(|used| **used).count()).unwrap_or(0);
    let headers = u64::try_from(headers)
        .unwrap_or(MAX_HEADER_RANK)
        .min(MAX_HEADER_RANK);
    let plain_hosts_only = !route.hosts.is_empty() && !route.hosts.iter().any(|host| host.contains('*'));
    let mut bits = (kinds << 61) | (headers << 52);
    if plain_hosts_only {
        bits |= 1 << 60;
    }
    match path.map(prefix_length) {
        Some(Some(length)) => bits | (u64::try_from(length).unwrap_or(u64::MAX) & 0x7_FFFF),
        Some(None) => {
            // A negative priority floods the bits above, in Kong too.
            let priority = u64::from_ne_bytes(route.regex_priority.to_ne_bytes());
            bits | (1 << 51) | priority.wrapping_shl(19)
        }
        None => bits,
    }
}

impl Index {
    fn add(&mut self, number: usize, entry: &Entry) {
        let all_plain = entry.hosts.iter().all(|term| term.how == HostMatch::Equal);
        if entry.hosts.is_empty() || !all_plain {
            self.any_host.add(number, entry);
            return;
        }
        let mut hosts: Vec<_> = entry.hosts.iter().map(|term| &term.text).collect();
        hosts.sort_unstable();
        hosts.dedup();
        for host in hosts {
            self.by_host.entry(host.clone()).or_default().add(number, entry);
        }
    }

    /// Numbers of entries that may match, in order.
    fn candidates(&self, host: Option<&[u8]>, path: &[u8]) -> Vec<usize> {
        let mut numbers = Vec::new();
        if let Some(of_host) = host.and_then(|host| self.by_host.get(host)) {
            of_host.candidates(path, &mut numbers);
        }
        self.any_host.candidates(path, &mut numbers);
        numbers.sort_unstable();
        numbers
    }
}

impl PathIndex {
    fn add(&mut self, number: usize, entry: &Entry) {
        if let Some(PathTerm::Prefix(prefix)) = &entry.path {
            if !self.lengths.contains(&prefix.len()) {
                self.lengths.push(prefix.len());
            }
            self.by_prefix.entry(prefix.clone()).or_default().push(number);
        } else {
            self.others.push(number);
        }
    }

    fn candidates(&self, path: &[u8], numbers: &mut Vec<usize>) {
        let prefixes = self.lengths.iter().filter_map(|length| path.get(..*length));
        for of_prefix in prefixes.filter_map(|prefix| self.by_prefix.get(prefix)) {
            numbers.extend(of_prefix);
        }
        numbers.extend(&self.others);
    }
}
