//! What is asked of a store: which messages, from where on, how many.
//!
//! In: query parameters of an address. Out: a [`Query`], or which parameter is wrong. Deliberately absent: a search
//! language; a filter is a conjunction of a few attributes.

use thiserror::Error;
use uuid::Uuid;

use crate::clock::UnixMicros;
use crate::store::Arrival;

/// The longest filter text.
pub const TEXT_BYTES: usize = 256;

/// Attributes that an entry must have. The default matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Posted to this bucket.
    pub bucket: Option<String>,
    /// With this request method (upper case).
    pub method: Option<String>,
    /// With such a response status.
    pub status: Option<StatusFilter>,
    /// With this text (any ASCII case) in the URL, the route, service or consumer, or the identifier.
    pub text: Option<String>,
}

/// Which statuses match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusFilter {
    /// The lowest.
    pub from: u16,
    /// The highest.
    pub to: u16,
}

/// Where a page of a list begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// At this time.
    Time(UnixMicros),
    /// At this message, so that pages neither skip nor repeat messages of one instant.
    Message(Uuid),
}

/// A request for entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Which entries.
    pub filter: Filter,
    /// From here on: at or after a time, or newer than a message.
    pub since: Option<Bound>,
    /// Up to here: before a time, or older than a message.
    pub before: Option<Bound>,
    /// In which order, newest first.
    pub order: Order,
    /// At most so many.
    pub most: u32,
}

/// In which order entries come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Latest exchange first.
    Time,
    /// Latest arrival first, and only what arrived after this.
    ArrivedAfter(Arrival),
}

/// A parameter of an address that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{parameter}: {problem}")]
pub struct BadParameter {
    /// Its name.
    pub parameter: &'static str,
    /// What it must be.
    pub problem: &'static str,
}

impl StatusFilter {
    /// `404`, or a class as `4xx`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(class) = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX")) {
            let class: u16 = class.parse().ok().filter(|class| *class < 10)?;
            return Some(Self {
                from: class * 100,
                to: class * 100 + 99,
            });
        }
        let status: u16 = text.parse().ok().filter(|status| *status < 1_000)?;
        Some(Self {
            from: status,
            to: status,
        })
    }
}

/// Parameters as they were given; those not known here are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Filter.
    pub filter: Filter,
    /// `count`.
    pub count: Option<u32>,
    /// `since`.
    pub since: Option<Bound>,
    /// `before`.
    pub before: Option<Bound>,
    /// `after`, an arrival.
    pub after: Option<Arrival>,
}

impl Parameters {
    /// Reads an address's query part. An empty value counts as not given.
    ///
    /// # Errors
    /// The first parameter whose value means nothing.
    pub fn parse(query: &str) -> Result<Self, BadParameter> {
        let mut found = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            match name.as_ref() {
                "bucket" => found.filter.bucket = Some(value.to_owned()),
                "method" => found.filter.method = Some(value.to_ascii_uppercase()),
                "status" => {
                    found.filter.status = Some(StatusFilter::parse(value).ok_or(BadParameter {
                        parameter: "status",
                        problem: "must be a status as 404 or a class as 4xx",
                    })?);
                }
                "text" if value.len() > TEXT_BYTES => {
                    return Err(BadParameter {
                        parameter: "text",
                        problem: "must be at most 256 bytes long",
                    });
                }
                "text" => found.filter.text = Some(value.to_owned()),
                "count" => {
                    found.count = Some(value.parse().map_err(|_not_a_number| BadParameter {
                        parameter: "count",
                        problem: "must be a whole number",
                    })?);
                }
                "since" => found.since = Some(bound(value, "since")?),
                "before" => found.before = Some(bound(value, "before")?),
                "after" => {
                    found.after = Some(Arrival(value.parse().map_err(|_not_a_number| BadParameter {
                        parameter: "after",
                        problem: "must be a whole number",
                    })?));
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

fn bound(value: &str, parameter: &'static str) -> Result<Bound, BadParameter> {
    if let Ok(uuid) = Uuid::parse_str(value) {
        return Ok(Bound::Message(uuid));
    }
    value
        .parse()
        .ok()
        .and_then(UnixMicros::from_seconds)
        .map(Bound::Time)
        .ok_or(BadParameter {
            parameter,
            problem: "must be Unix time in seconds, or the uuid of a message",
        })
}

#[cfg(test)]
mod tests {
    use super::{Bound, Parameters, StatusFilter};
    use crate::clock::UnixMicros;

    #[test]
    fn statuses_and_classes() {
        for (text, expected) in [
            ("404", Some((404, 404))),
            ("5xx", Some((500, 599))),
            ("0", Some((0, 0))),
            ("xx", None),
            ("55xx", None),
            ("1000", None),
            ("-1", None),
            ("teapot", None),
        ] {
            assert_eq!(
                StatusFilter::parse(text).map(|s| (s.from, s.to)),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn parameters_are_read_and_bad_ones_named() {
        let found = Parameters::parse("bucket=b%201&method=get&status=&count=5&before=12.5&other=1").unwrap();
        assert_eq!(found.filter.bucket.as_deref(), Some("b 1"));
        assert_eq!(found.filter.method.as_deref(), Some("GET"));
        assert_eq!(found.filter.status, None);
        assert_eq!(found.count, Some(5));
        assert_eq!(found.before, Some(Bound::Time(UnixMicros(12_500_000))));
        for (query, parameter) in [
            ("status=x", "status"),
            ("count=-1", "count"),
            ("since=yesterday", "since"),
            ("before=1795341581101", "before"),
            ("after=x", "after"),
        ] {
            assert_eq!(
                Parameters::parse(query).unwrap_err().parameter,
                parameter,
                "{query}"
            );
        }
    }
}
