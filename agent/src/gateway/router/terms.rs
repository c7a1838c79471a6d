//! The conditions of a route, each of which answers yes, no or perhaps.
//!
//! In: a route's attributes. Out: terms that both engines share: methods, headers, regular expressions. How hosts and prefixes
//! compare differs by flavour and stands with the engines.

use crate::gateway::entities::Route;
use crate::gateway::router::request::Prepared;
use crate::gateway::snapshot::SnapshotWarning;

/// How many header lines Kong looks at [`ngx.req.get_headers`].
const MAX_ROUTED_HEADERS: usize = 100;
/// The largest compiled regular expression, bytes; one that needs more is not evaluated.
const MAX_REGEX_BYTES: usize = 2 << 20;

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    No,
    Perhaps,
    Yes,
}

impl Verdict {
    pub(super) const fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    /// Both; the other is not asked when the first says no.
    pub(super) fn and(self, other: impl FnOnce() -> Self) -> Self {
        match (self, if self == Self::No { Self::No } else { other() }) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            (Self::Perhaps, _) | (_, Self::Perhaps) => Self::Perhaps,
        }
    }

    /// Either.
    pub(super) fn any(verdicts: impl Iterator<Item = Self>) -> Self {
        let mut best = Self::No;
        for verdict in verdicts {
            match verdict {
                Self::Yes => return Self::Yes,
                Self::Perhaps => best = Self::Perhaps,
                Self::No => {}
            }
        }
        best
    }
}

/// Which engine a regular expression is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// PCRE over bytes, as `traditional` uses it.
    Pcre,
    /// Rust's over Unicode text, as Kong's expression engine uses it.
    Rust,
}

/// A compiled regular expression, or one that is not to be had here.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    Bytes(regex::bytes::Regex),
    Text(regex::Regex),
    Unsupported,
}

impl Pattern {
    pub(super) fn compile(dialect: Dialect, pattern: &str) -> Self {
        match dialect {
            Dialect::Pcre => regex::bytes::RegexBuilder::new(pattern)
                .unicode(false)
                .size_limit(MAX_REGEX_BYTES)
                .build()
                .map_or(Self::Unsupported, Self::Bytes),
            Dialect::Rust => regex::RegexBuilder::new(pattern)
                .size_limit(MAX_REGEX_BYTES)
                .build()
                .map_or(Self::Unsupported, Self::Text),
        }
    }

    pub(super) fn verdict(&self, text: &[u8]) -> Verdict {
        match self {
            Self::Bytes(regex) => Verdict::from(regex.is_match(text)),
            // What Kong's engine makes of a value that is not text is not known.
            Self::Text(regex) => {
                str::from_utf8(text).map_or(Verdict::Perhaps, |text| Verdict::from(regex.is_match(text)))
            }
            Self::Unsupported => Verdict::Perhaps,
        }
    }

    pub(super) const fn is_supported(&self) -> bool {
        !matches!(self, Self::Unsupported)
    }
}

/// One header's condition: any of its values.
#[derive(Clone, Debug)]
pub(super) struct HeaderTerm {
    name: String,
    /// The name with dashes for underscores, under which OpenResty finds it too.
    dashed: String,
    values: Vec<Vec<u8>>,
    patterns: Vec<Pattern>,
}

impl HeaderTerm {
    /// The headers' conditions. `traditional` takes `~*` for a regular expression only in a value that stands alone; the others
    /// in each value, and lower-case the expression.
    pub(super) fn all(route: &Route, dialect: Dialect) -> Vec<Self> {
        let headers = route.headers.iter().filter(|(name, _)| *name != "host");
        headers
            .map(|(name, values)| {
                let pattern_of = |value: &String| {
                    let pattern = value.strip_prefix("~*")?;
                    match dialect {
                        Dialect::Pcre => (values.len() == 1).then(|| Pattern::compile(dialect, pattern)),
                        Dialect::Rust => Some(Pattern::compile(dialect, &pattern.to_lowercase())),
                    }
                };
                let name = match dialect {
                    Dialect::Pcre => name.clone(),
                    Dialect::Rust => name.replace('-', "_"),
                };
                Self {
                    dashed: name.replace('_', "-"),
                    name,
                    values: values
                        .iter()
                        .filter(|value| pattern_of(value).is_none())
                        .map(|value| value.to_ascii_lowercase().into_bytes())
                        .collect(),
                    patterns: values.iter().filter_map(pattern_of).collect(),
                }
            })
            .collect()
    }

    /// The name that requests are looked up by.
    pub(super) fn key(&self) -> &str {
        &self.dashed
    }

    pub(super) fn is_supported(&self) -> bool {
        self.patterns.iter().all(Pattern::is_supported)
    }

    pub(super) fn verdict(&self, request: &Prepared<'_>) -> Verdict {
        Verdict::any(self.values_in(request).map(|value| {
            let value = value.to_ascii_lowercase();
            if self.values.contains(&value) {
                Verdict::Yes
            } else {
                Verdict::any(self.patterns.iter().map(|pattern| pattern.verdict(&value)))
            }
        }))
    }

    /// Whether the request has the header at all.
    pub(super) fn is_present(&self, request: &Prepared<'_>) -> bool {
        self.values_in(request).next().is_some()
    }

    fn values_in<'a>(&'a self, request: &'a Prepared<'_>) -> impl Iterator<Item = &'a [u8]> + 'a {
        let headers = request.headers.0.iter().take(MAX_ROUTED_HEADERS);
        headers
            .filter(|header| {
                let name = &header.name;
                name.eq_ignore_ascii_case(self.name.as_bytes())
                    || name.eq_ignore_ascii_case(self.dashed.as_bytes())
            })
            .map(|header| &*header.value)
    }
}

/// Notes the attributes that are not evaluated, by the route's name.
pub(super) fn warn(route: &Route, what: &str, warnings: &mut Vec<SnapshotWarning>) {
    warnings.push(SnapshotWarning {
        entity: format!("route {}", route.name.as_deref().unwrap_or(&route.id)),
        text: what.to_owned(),
    });
}

/// Warns of what makes the route answer "perhaps".
pub(super) fn warn_of_unsupported(
    route: &Route,
    path: Option<&Pattern>,
    headers: &[HeaderTerm],
    warnings: &mut Vec<SnapshotWarning>,
) {
    if route.expression.is_some() {
        let what = "has an expression, which is not evaluated: requests that it may take have no known route";
        warn(route, what, warnings);
    }
    if route.restricts_addresses {
        let what =
            "restricts addresses, which is not evaluated: requests that it may take have no known route";
        warn(route, what, warnings);
    }
    if !route.snis.is_empty() {
        let what = "names TLS server names, which are not evaluated: TLS requests that it may take have no known route";
        warn(route, what, warnings);
    }
    if path.is_some_and(|path| !path.is_supported()) {
        let what = "has a regular expression in `paths` that is not evaluated (look-around, back-references, too large): \
                    requests that it may take have no known route";
        warn(route, what, warnings);
    }
    if !headers.iter().all(HeaderTerm::is_supported) {
        let what = "has a regular expression in `headers` that is not evaluated: requests that it may take have no known \
                    route";
        warn(route, what, warnings);
    }
}
