//! Regular expressions of PCRE, run by Rust's engine where both mean the same.
//!
//! In: an expression as OpenResty gives it to PCRE (bytes, no Unicode). Out: a pattern, or the feature that stands in the way.
//! Deliberately absent: PCRE's limit of 10,000 steps, which makes Kong answer 404 where a hostile path hits it.

use crate::gateway::router::terms::Verdict;
use crate::gateway::router::upstream::PathMatch;
use crate::gateway::router::upstream::captures::{Capture, groups};

/// The largest compiled regular expression, bytes; one that needs more is not evaluated.
const MAX_REGEX_BYTES: usize = 2 << 20;
/// What follows the match in the path; Kong's own name for it.
const REST: &str = "uri_postfix";

/// A compiled regular expression, or why there is none.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Result<regex::bytes::Regex, String>);

impl Pattern {
    /// Anywhere in a text: for header values.
    pub(super) fn within(expression: &str) -> Self {
        Self::compile(expression, expression)
    }

    /// At the beginning of a path, with what follows it. The name for the rest stands behind the last alternative only, as in Kong.
    pub(super) fn of_path(expression: &str) -> Self {
        Self::compile(expression, &format!("^(?:{expression}(?P<{REST}>.*))"))
    }

    fn compile(written: &str, whole: &str) -> Self {
        if let Some(feature) = differs(written) {
            return Self(Err(feature.to_owned()));
        }
        let built = regex::bytes::RegexBuilder::new(whole)
            .unicode(false)
            .size_limit(MAX_REGEX_BYTES)
            .build();
        Self(built.map_err(|error| super::super::atc::last_words(&error.to_string())))
    }

    pub(super) fn verdict(&self, text: &[u8]) -> Verdict {
        match &self.0 {
            Ok(regex) => Verdict::from(regex.is_match(text)),
            Err(_) => Verdict::Perhaps,
        }
    }

    /// How many bytes of `path` come before the rest; `None` inside when the branch that matched does not say.
    pub(super) fn taken(&self, path: &[u8]) -> Option<Option<usize>> {
        let captures = self.0.as_ref().ok()?.captures(path)?;
        Some(
            captures
                .name(REST)
                .map(|rest| path.len().saturating_sub(rest.len())),
        )
    }

    /// What was taken, and the groups.
    pub(super) fn groups(&self, path: &[u8]) -> Option<(PathMatch, Vec<Capture>)> {
        let regex = self.0.as_ref().ok()?;
        let found = regex.captures(path)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut groups = groups(&regex.capture_names().collect::<Vec<_>>(), |number| {
            found.get(number).map(|group| text(group.as_bytes()))
        });
        // Kong's own is the last one, by number and by name.
        if found.name(REST).is_some() {
            groups.truncate(groups.len().saturating_sub(2));
        }
        let taken = self.taken(path)?.and_then(|taken| path.get(..taken));
        Some((
            taken.map_or(PathMatch::Unbounded, |text| PathMatch::Text(text.to_vec())),
            groups,
        ))
    }

    /// Why it cannot be evaluated.
    pub(super) fn missing(&self) -> Option<&str> {
        self.0.as_ref().err().map(String::as_str)
    }
}

/// A feature by which the two engines differ without Rust's refusing it.
fn differs(expression: &str) -> Option<&'static str> {
    let mut rest = expression;
    let mut in_class = false;
    while let Some(first) = rest.chars().next() {
        let tail = rest.get(first.len_utf8()..).unwrap_or_default();
        rest = tail;
        match (first, in_class) {
            ('\\', _) => {
                if tail.starts_with(['<', '>']) {
                    return Some("`\\<` and `\\>`, which are word boundaries in one engine only");
                }
                if tail.starts_with("b{") {
                    return Some("`\\b{`, which is a word boundary in one engine only");
                }
                if tail.starts_with('Z') {
                    return Some("`\\Z`, the end before a line's end");
                }
                rest = tail
                    .get(tail.chars().next().map_or(0, char::len_utf8)..)
                    .unwrap_or_default();
            }
            ('[', false) => {
                in_class = true;
                // A bracket right at the beginning is a member.
                let inner = tail.strip_prefix('^').unwrap_or(tail);
                rest = inner.strip_prefix(']').unwrap_or(inner);
            }
            ('[', true) if !tail.starts_with(':') => {
                return Some("`[` in a class, which begins another class in one engine only");
            }
            ('[', true) => {
                let close = tail.find(":]").map_or(tail.len(), |at| at.saturating_add(2));
                rest = tail.get(close..).unwrap_or_default();
            }
            (']', true) => in_class = false,
            ('&' | '-' | '~', true) if tail.starts_with(first) => {
                return Some("a doubled `&`, `-` or `~` in a class, which is an operator in one engine only");
            }
            ('+' | '*' | '?' | '}', false) if tail.starts_with('+') => {
                return Some("a possessive quantifier, which only one engine has");
            }
            ('(', false) => {
                let flags = tail.strip_prefix('?').unwrap_or_default();
                let flags = flags.split([')', ':']).next().unwrap_or_default();
                let are_flags = flags
                    .chars()
                    .all(|flag| flag.is_ascii_alphabetic() || flag == '-');
                if are_flags && flags.contains(['x', 'u', 'R']) {
                    return Some("the flag `x`, `u` or `R`, which differs between the engines");
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn what_the_engines_read_differently_is_named() {
        for (expression, expected) in [
            (r"/users/\d+(?<rest>.*)$", None),
            (r"/[^]/]+/[[:alpha:]-]+", None),
            (r"/(?i:abc)(?=x)", Some("look-around")),
            (r"/(a)\1", Some("backreferences")),
            (r"/[[a]", Some("`[` in a class")),
            (r"/[a--b]", Some("doubled")),
            (r"/[a&&b]", Some("doubled")),
            (r"/\<b", Some("word boundaries")),
            (r"/a\Z", Some("`\\Z`")),
            (r"/(?x) a b", Some("the flag")),
            (r"/a++b", Some("possessive")),
            (r"/a\++b{2}", None),
            (r"/\Qa.b\E", Some("escape")),
        ] {
            let pattern = Pattern::of_path(expression);
            let missing = pattern.missing();
            match expected {
                None => assert_eq!(missing, None, "{expression}"),
                Some(part) => assert!(
                    missing.is_some_and(|text| text.contains(part)),
                    "{expression}: {missing:?}"
                ),
            }
        }
    }
}
