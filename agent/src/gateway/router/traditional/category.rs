//! Entries of the same kinds of attributes, and the lists that a request reduces them to.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::entry::Entry;
use super::hits::Hits;
use super::host::Asked;
use super::kinds;
use crate::gateway::router::profile::Era;
use crate::gateway::router::request::{Prepared, ServerName};

type Lists<K> = HashMap<K, Vec<usize>>;

#[derive(Debug, Default)]
pub(super) struct Category {
    pub(super) kinds: u8,
    pub(super) all: Vec<usize>,
    by_host: Lists<Vec<u8>>,
    by_header: Lists<String>,
    by_path: Lists<Vec<u8>>,
    by_method: Lists<Vec<u8>>,
    by_sni: Lists<Vec<u8>>,
}

/// All categories, the highest first: more kinds, then the larger bits. (The fixed order of 0.13 is the same.)
pub(super) fn sorted(entries: &[Entry]) -> Vec<Category> {
    let mut by_kinds: HashMap<u8, Category> = HashMap::new();
    for (number, entry) in entries.iter().enumerate() {
        let category = by_kinds.entry(entry.kinds).or_default();
        category.kinds = entry.kinds;
        category.add(number, entry);
    }
    let mut categories: Vec<_> = by_kinds.into_values().collect();
    categories.sort_by_key(|category| Reverse((category.kinds.count_ones(), category.kinds)));
    categories
}

impl Category {
    fn add(&mut self, number: usize, entry: &Entry) {
        self.all.push(number);
        for term in &entry.hosts {
            self.by_host.entry(term.text.clone()).or_default().push(number);
        }
        for term in &entry.headers {
            self.by_header.entry(term.name.clone()).or_default().push(number);
        }
        for term in &entry.paths {
            self.by_path.entry(term.text().to_vec()).or_default().push(number);
        }
        for method in &entry.methods {
            self.by_method.entry(method.clone()).or_default().push(number);
        }
        for sni in &entry.snis {
            self.by_sni.entry(sni.clone()).or_default().push(number);
        }
    }

    /// The smallest list of entries that share a hit; since 2.4 those that share a header, if there are any. Before 1.3 it is
    /// up to a Lua table which of several smallest it is.
    pub(super) fn reductions<'a>(
        &'a self,
        request: &Prepared<'_>,
        host: &Asked<'_>,
        hits: &Hits<'_>,
        era: Era,
    ) -> Vec<&'a [usize]> {
        let is_early = era < Era::V1_3;
        let by_header = hits.header.and_then(|name| self.by_header.get(name));
        if let Some(list) = by_header.filter(|_| era >= Era::V2_4) {
            return vec![list];
        }
        let host = hits.wildcard_host.or_else(|| (!is_early).then_some(host.raw));
        let path = hits.path.or_else(|| is_early.then_some(&*request.path));
        let sni = match request.server_name {
            ServerName::Named(name) => Some(name),
            ServerName::Absent | ServerName::Unknown => None,
        };
        let method = request.method.to_ascii_uppercase();
        let method = if era < Era::V1_0 { &method } else { request.method };
        let has_kind = |kind: u8| self.kinds & kind != 0;
        let lists = [
            host.filter(|_| has_kind(kinds::HOST))
                .and_then(|host| self.by_host.get(host)),
            by_header,
            path.and_then(|path| self.by_path.get(path)),
            self.by_method.get(method),
            sni.and_then(|sni| self.by_sni.get(sni)),
        ];
        let lists: Vec<_> = lists.into_iter().flatten().map(Vec::as_slice).collect();
        let Some(smallest) = lists.iter().map(|list| list.len()).min() else {
            return Vec::new();
        };
        let mut lists = lists.into_iter().filter(|list| list.len() == smallest);
        if is_early {
            lists.collect()
        } else {
            lists.next().into_iter().collect()
        }
    }
}
