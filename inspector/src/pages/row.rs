//! One exchange as a row of the list: the same values for the template and for the live stream.

use serde::Serialize;

use super::text::{clock_time, duration, full_time, line, size};
use crate::message::Halves;
use crate::store::Entry;

/// The longest URL shown in a row.
const URL_BYTES: usize = 512;
/// The longest name shown in a row.
const NAME_BYTES: usize = 64;

/// A row, as text.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) uuid: String,
    pub(super) clock: String,
    pub(super) time: String,
    pub(super) bucket: String,
    pub(super) method: String,
    /// The URL up to its path, and the rest, which is what differs from row to row.
    pub(super) origin: String,
    pub(super) path: String,
    pub(super) status: String,
    /// `s2` to `s5` for the classes of statuses, `s0` for none.
    pub(super) status_class: &'static str,
    pub(super) duration: String,
    pub(super) size: String,
    /// Service and route.
    pub(super) route: String,
    pub(super) consumer: String,
    /// What to know before reading: a missing half, something incomplete.
    pub(super) mark: &'static str,
}

impl Row {
    pub(super) fn of(entry: &Entry) -> Self {
        let summary = &entry.summary;
        let name = |name: &Option<String>| {
            name.as_deref()
                .map(|name| line(name, NAME_BYTES))
                .unwrap_or_default()
        };
        let url = summary
            .url
            .as_deref()
            .map(|url| line(url, URL_BYTES))
            .unwrap_or_default();
        let (origin, path) = split_origin(&url);
        let (service, route) = (name(&summary.service), name(&summary.route));
        Self {
            uuid: entry.uuid.to_string(),
            clock: clock_time(entry.at),
            time: full_time(entry.at),
            bucket: line(&entry.bucket, NAME_BYTES),
            method: name(&summary.method),
            origin: origin.to_owned(),
            path: path.to_owned(),
            status: status(summary.status),
            status_class: status_class(summary.status),
            duration: summary.response_time_us.map(duration).unwrap_or_default(),
            size: summary
                .size_bytes
                .and_then(|bytes| u64::try_from(bytes).ok())
                .map(size)
                .unwrap_or_default(),
            route: match (service.is_empty(), route.is_empty()) {
                (false, false) => format!("{service} · {route}"),
                _ => service + &route,
            },
            consumer: name(&summary.consumer),
            mark: match (summary.halves, summary.incomplete) {
                (Halves::Request, _) => "request only",
                (Halves::Response, _) => "response only",
                (Halves::Both, true) => "incomplete",
                (Halves::Both, false) => "",
            },
        }
    }
}

/// `http://host:port` and what follows. A URL of another form is all path.
fn split_origin(url: &str) -> (&str, &str) {
    let Some(after_scheme) = url.find("://").map(|at| at + 3) else {
        return ("", url);
    };
    let rest = url.get(after_scheme..).unwrap_or_default();
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    url.split_at_checked(after_scheme + host).unwrap_or(("", url))
}

/// A status to read: 0 is what nginx reports when it never had one.
fn status(status: Option<u16>) -> String {
    match status {
        None => String::new(),
        Some(0) => "none".to_owned(),
        Some(status) => status.to_string(),
    }
}

const fn status_class(status: Option<u16>) -> &'static str {
    match status {
        Some(100..=299) => "s2",
        Some(300..=399) => "s3",
        Some(400..=499) => "s4",
        Some(500..=999) => "s5",
        Some(_) | None => "s0",
    }
}

#[cfg(test)]
mod tests {
    use super::split_origin;

    #[test]
    fn an_origin_ends_where_the_path_begins() {
        for (url, expected) in [
            ("http://a:8000/x?y=://", ("http://a:8000", "/x?y=://")),
            ("http://a?x", ("http://a", "?x")),
            ("http://a", ("http://a", "")),
            ("/path", ("", "/path")),
            ("", ("", "")),
        ] {
            assert_eq!(split_origin(url), expected, "{url}");
        }
    }
}
