//! What the groups of a route's regular expression took of a path: Kong's `uri_captures`, which plugins may use.
//!
//! In: a match. Out: the groups by number, and by name where they have one. A group that took no part is left out, as is what a
//! prefix took [K@3.9 kong/router/traditional.lua, atc.lua]. For telling somebody only: nothing here is decided by it.

use std::str;

use crate::gateway::router::profile::{RouterFlavor, RouterProfile};
use crate::gateway::router::traditional;
use crate::gateway::router::upstream::PathMatch;

/// A group, by its number (from 1) or its name, and the text that it took.
pub type Capture = (String, String);

/// The groups of the first regular expression among `paths` that takes what was matched.
pub(in crate::gateway::router) fn of(
    paths: &[String],
    request_path: &[u8],
    matched: &PathMatch,
    profile: &RouterProfile,
) -> Vec<Capture> {
    let expressions = paths.iter().filter_map(|path| path.strip_prefix('~'));
    let mut found = expressions.filter_map(|expression| match profile.flavor {
        RouterFlavor::Traditional => traditional::captures(expression, request_path, profile.era()),
        RouterFlavor::TraditionalCompatible | RouterFlavor::Expressions => atc(expression, request_path),
    });
    let is_it = |(taken, _): &(PathMatch, Vec<Capture>)| taken == matched;
    found.find(is_it).map(|(_, groups)| groups).unwrap_or_default()
}

/// As the engine of the expression flavours reads it (`atc::expression`).
fn atc(expression: &str, request_path: &[u8]) -> Option<(PathMatch, Vec<Capture>)> {
    let regex = regex::Regex::new(&format!("^{}", expression.replace("?<", "?P<"))).ok()?;
    let captures = regex.captures(str::from_utf8(request_path).ok()?)?;
    let taken = captures.get(0)?.as_str().as_bytes().to_vec();
    let groups = groups(&regex.capture_names().collect::<Vec<_>>(), |number| {
        captures.get(number).map(|group| group.as_str().to_owned())
    });
    Some((PathMatch::Text(taken), groups))
}

/// Numbers and names of the groups that took part.
pub(in crate::gateway::router) fn groups(
    names: &[Option<&str>],
    text: impl Fn(usize) -> Option<String>,
) -> Vec<Capture> {
    let mut groups = Vec::new();
    // Group 0 is the whole.
    for (number, name) in names.iter().enumerate().skip(1) {
        let Some(text) = text(number) else { continue };
        groups.push((number.to_string(), text.clone()));
        groups.extend(name.map(|name| (name.to_owned(), text)));
    }
    groups
}
