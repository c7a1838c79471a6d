//! A request's best hits: the first header, host, path that any entry names.
//!
//! In: a request and all entries. Out: [`Hits`], by which a category is reduced. Where Kong's order among equals cannot be known
//! there are several possible ones.

use std::collections::HashSet;

use super::entry::{Entry, PathTerm};
use super::host::Asked;
use super::kinds;
use crate::gateway::router::profile::Era;
use crate::gateway::router::request::{Prepared, ServerName};
use crate::gateway::router::terms::Verdict;

/// How many possible hits are followed; more make the route unknown.
const MAX_WORLDS: usize = 16;

/// What a request hits, whatever entry it comes from.
#[derive(Clone, Debug, Default)]
pub(super) struct Hits<'a> {
    pub(super) kinds: u8,
    /// A wildcard host, only when no plain host was hit.
    pub(super) wildcard_host: Option<&'a [u8]>,
    pub(super) header: Option<&'a str>,
    /// The text of a regular expression or of the longest prefix.
    pub(super) path: Option<&'a [u8]>,
    /// Whether a category may match that `kinds` does not show: one of server names that are not known.
    pub(super) may_have_more: bool,
}

/// Everything that entries name.
#[derive(Debug, Default)]
pub(super) struct Index {
    plain_hosts: HashSet<Vec<u8>>,
    /// Name, dashed name and class, in the order of the entries.
    headers: Vec<(String, String, usize)>,
    prefixes: HashSet<Vec<u8>>,
    /// The lengths of the prefixes, longest first.
    prefix_lengths: Vec<usize>,
    /// Entries with a wildcard host, and those with a regular expression.
    wildcards: Vec<usize>,
    regexes: Vec<usize>,
    methods: HashSet<Vec<u8>>,
    snis: HashSet<Vec<u8>>,
    has_opaque: bool,
}

impl Index {
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut index = Self::default();
        for (number, entry) in entries.iter().enumerate() {
            index.has_opaque |= entry.kinds == u8::MAX;
            if entry.hosts.iter().any(|term| term.wildcard.is_some()) {
                index.wildcards.push(number);
            }
            let plain = entry.hosts.iter().filter(|term| term.wildcard.is_none());
            index.plain_hosts.extend(plain.map(|term| term.text.clone()));
            for term in &entry.headers {
                if !index.headers.iter().any(|(name, _, _)| *name == term.name) {
                    index
                        .headers
                        .push((term.name.clone(), term.dashed.clone(), entry.class));
                }
            }
            if entry
                .paths
                .iter()
                .any(|path| matches!(path, PathTerm::Regex { .. }))
            {
                index.regexes.push(number);
            }
            for path in &entry.paths {
                if let PathTerm::Prefix(prefix) = path {
                    index.prefixes.insert(prefix.clone());
                }
            }
            index.methods.extend(entry.methods.iter().cloned());
            index.snis.extend(entry.snis.iter().cloned());
        }
        let mut lengths: Vec<_> = index.prefixes.iter().map(Vec::len).collect();
        lengths.sort_unstable_by_key(|length| std::cmp::Reverse(*length));
        lengths.dedup();
        index.prefix_lengths = lengths;
        index
    }

    /// Every possible set of hits; `None` when there are too many.
    pub(super) fn hits<'a>(
        &'a self,
        request: &Prepared<'_>,
        host: &Asked<'_>,
        era: Era,
        entries: &'a [Entry],
    ) -> Option<Vec<Hits<'a>>> {
        let mut common = Hits {
            may_have_more: self.has_opaque,
            ..Hits::default()
        };
        let upper = request.method.to_ascii_uppercase();
        let method = if era < Era::V2_0 { &*upper } else { request.method };
        if self.methods.contains(method) {
            common.kinds |= kinds::METHOD;
        }
        match request.server_name {
            ServerName::Named(name) if self.snis.contains(name) => common.kinds |= kinds::SNI,
            ServerName::Unknown if request.tls && !self.snis.is_empty() => common.may_have_more = true,
            ServerName::Named(_) | ServerName::Absent | ServerName::Unknown => {}
        }
        let mut worlds = vec![common];
        worlds = spread(&worlds, &self.headers(request), |hits, header| {
            hits.header = *header;
            hits.kinds |= header.map_or(0, |_| kinds::HEADER);
        })?;
        worlds = spread(
            &worlds,
            &self.hosts(host, era, entries),
            |hits, (kinds, wildcard)| {
                hits.wildcard_host = *wildcard;
                hits.kinds |= kinds;
            },
        )?;
        spread(
            &worlds,
            &self.paths(&request.path, era, entries),
            |hits, (kinds, path)| {
                hits.path = *path;
                hits.kinds |= kinds;
            },
        )
    }

    /// The first name that the request has. Which of one entry's headers comes first is up to a Lua table.
    fn headers(&self, request: &Prepared<'_>) -> Vec<Option<&str>> {
        let present = self
            .headers
            .iter()
            .filter(|(name, dashed, _)| request.header(name, dashed).next().is_some());
        let mut first = None;
        let names: Vec<_> = present
            .take_while(|(_, _, class)| *first.get_or_insert(*class) == *class)
            .map(|(name, _, _)| Some(name.as_str()))
            .collect();
        if names.is_empty() { vec![None] } else { names }
    }

    fn hosts<'a>(&self, host: &Asked<'_>, era: Era, entries: &'a [Entry]) -> Vec<(u8, Option<&'a [u8]>)> {
        if !host.is_there {
            return vec![(0, None)];
        }
        if self.plain_hosts.contains(&host.with_port) || self.plain_hosts.contains(host.name) {
            return vec![(kinds::HOST, None)];
        }
        let mut found: Vec<(u8, Option<&[u8]>)> = Vec::new();
        let mut first = None;
        for entry in self.wildcards.iter().filter_map(|number| entries.get(*number)) {
            if first.is_some_and(|first| first != entry.class) {
                break;
            }
            let fits = |term: &&super::host::Term| {
                let wildcard = term.wildcard.as_ref();
                wildcard.is_some_and(|wildcard| wildcard.holds(&host.with_port, era))
            };
            if let Some(term) = entry.hosts.iter().find(fits) {
                first = Some(entry.class);
                let hit = (kinds::HOST, Some(term.text.as_slice()));
                if !found.contains(&hit) {
                    found.push(hit);
                }
            }
        }
        if found.is_empty() {
            found.push((0, None));
        }
        found
    }

    fn paths<'a>(&'a self, path: &[u8], era: Era, entries: &'a [Entry]) -> Vec<(u8, Option<&'a [u8]>)> {
        if era < Era::V1_5 && self.prefixes.contains(path) {
            // An equal prefix ends the search there, and is no hit to reduce by.
            return vec![(kinds::PATH, None)];
        }
        let mut found: Vec<(u8, Option<&[u8]>)> = Vec::new();
        let mut first = None;
        for entry in self.regexes.iter().filter_map(|number| entries.get(*number)) {
            if first.is_some_and(|first| first != entry.class) {
                break;
            }
            for term in &entry.paths {
                let PathTerm::Regex { text, pattern } = term else {
                    continue;
                };
                let verdict = pattern.verdict(path);
                let hit = (kinds::PATH, Some(text.as_slice()));
                if verdict != Verdict::No && !found.contains(&hit) {
                    found.push(hit);
                }
                if verdict == Verdict::Yes {
                    first = Some(entry.class);
                    break;
                }
            }
        }
        if first.is_none() {
            let mut prefixes = self
                .prefix_lengths
                .iter()
                .filter_map(|length| path.get(..*length));
            let longest = prefixes.find_map(|prefix| self.prefixes.get(prefix));
            found.push(match longest {
                Some(prefix) => (kinds::PATH, Some(prefix.as_slice())),
                None => (0, None),
            });
        }
        found
    }
}

/// Each of `worlds` with each of `options`.
fn spread<'a, T>(
    worlds: &[Hits<'a>],
    options: &[T],
    set: impl Fn(&mut Hits<'a>, &T),
) -> Option<Vec<Hits<'a>>> {
    if worlds.len().saturating_mul(options.len()) > MAX_WORLDS {
        return None;
    }
    let pairs = worlds
        .iter()
        .flat_map(|world| options.iter().map(move |option| (world, option)));
    let spread = pairs.map(|(world, option)| {
        let mut world = world.clone();
        set(&mut world, option);
        world
    });
    Some(spread.collect())
}
