//! Which of several expressions wins.
//!
//! In: a route. Out: the groups of its paths, each with the id that breaks ties and a 64-bit priority [K@3.9
//! kong/router/transform.lua get_priority, split_routes_and_services_by_path].

use uuid::Uuid;

use crate::gateway::entities::Route;
use crate::gateway::router::profile::AtcEra;

/// Kong's namespace for the ids of groups.
const GROUPS: Uuid = Uuid::from_u128(0x7f14_5bf9_0dce_4f91_98eb_debb_ce4b_9f6b);
/// Expressions outrank everything else.
const EXPRESSION: u64 = 0xFF << 56;
const PLAIN_HOSTS_ONLY: u64 = 1 << 60;
const REGEX_PATH: u64 = 1 << 51;
/// Headers counted at most.
const MAX_HEADERS: u64 = 255;
/// The lengths of prefixes are told apart up to here.
const MAX_PREFIX: u64 = 0x7_FFFF;

/// Paths of a route that make one expression.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) paths: Vec<&'a str>,
    pub(super) id: Option<Uuid>,
}

/// All regular expressions together, and the prefixes of each length, in the order of their first.
pub(super) fn groups(route: &Route, era: AtcEra) -> Vec<Group<'_>> {
    let own_id = Uuid::parse_str(&route.id).ok().filter(|_| route.id_is_known);
    let mut paths: Vec<&str> = route.paths.iter().map(String::as_str).collect();
    if era < AtcEra::V3_3 {
        paths.sort_by_key(|path| !path.starts_with('~'));
    }
    let mut kinds: Vec<usize> = Vec::new();
    for path in &paths {
        let kind = kind(path);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    if route.expression.is_some() || kinds.len() <= 1 || era < AtcEra::V3_3 {
        return vec![Group { paths, id: own_id }];
    }
    let of_kind = |(index, wanted): (usize, &usize)| Group {
        paths: paths
            .iter()
            .copied()
            .filter(|path| kind(path) == *wanted)
            .collect(),
        id: own_id.map(|_| {
            let name = format!("{}#{}", route.id, index.saturating_add(1));
            Uuid::new_v5(&GROUPS, name.as_bytes())
        }),
    };
    kinds.iter().enumerate().map(of_kind).collect()
}

/// The length of a prefix; 0 for regular expressions, as no prefix is empty.
fn kind(path: &str) -> usize {
    if path.starts_with('~') { 0 } else { path.len() }
}

/// The priority, bit for bit.
pub(super) fn of(route: &Route, paths: &[&str]) -> u64 {
    if route.expression.is_some() {
        return EXPRESSION | route.priority;
    }
    let kinds = [
        !route.methods.is_empty(),
        !route.hosts.is_empty(),
        !paths.is_empty(),
        !route.headers.is_empty(),
        !route.snis.is_empty(),
        !route.sources.is_empty(),
        !route.destinations.is_empty(),
    ];
    let kinds = number(kinds.iter().filter(|used| **used).count());
    let mut bits = (kinds << 61) | (number(route.headers.len()).min(MAX_HEADERS) << 52);
    let has_plain_hosts = route.has_empty_hosts || !route.hosts.is_empty();
    if has_plain_hosts && !route.hosts.iter().any(|host| host.contains('*')) {
        bits |= PLAIN_HOSTS_ONLY;
    }
    if paths.iter().any(|path| path.starts_with('~')) {
        // A negative priority floods the bits above, in Kong too.
        let priority = u64::from_ne_bytes(route.regex_priority.to_ne_bytes());
        bits |= REGEX_PATH | priority.wrapping_shl(19);
    }
    let longest = paths.iter().map(|path| kind(path)).max().unwrap_or(0);
    bits | (number(longest) & MAX_PREFIX)
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
