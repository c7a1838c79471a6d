//! The plugin's own schema: fields, defaults, coercions.
//!
//! In: the `config` of one configuration. Out: a [`Settings`], or every mistake in the plugin's own words
//! (Kong 0.13.1 kong/plugins/runscope/schema.lua, kong/dao/schemas_validation.lua). `tls_verify` is kongtap's: the plugin
//! verified nothing.

use std::sync::Arc;

use serde_json::{Map, Value};
use url::Url;

use crate::gateway::fields::{Fields, Report};
use crate::plugin::Destination;
use crate::telemetry::secret::Secret;

/// Where messages go when nothing else is said.
pub const DEFAULT_API_ENDPOINT: &str = "https://api.runscope.com";
/// The default of `timeout`, milliseconds.
pub const DEFAULT_TIMEOUT_MS: u64 = 10_000;
/// The default of `keepalive`, milliseconds.
pub const DEFAULT_KEEPALIVE_MS: u64 = 30;
/// The largest `timeout` and `keepalive`, milliseconds: a day.
pub const MAX_DURATION_MS: u64 = 86_400_000;

/// The fields of `config`.
const FIELDS: [&str; 7] = [
    "access_token",
    "api_endpoint",
    "bucket_key",
    "keepalive",
    "log_body",
    "timeout",
    "tls_verify",
];

/// A checked `config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether bodies are sent.
    pub log_body: bool,
    /// Where messages go.
    pub destination: Arc<Destination>,
}

/// Checks the `config` of one configuration; `None` when there were mistakes.
pub fn settings(config: Option<&Value>, path: String, report: &mut Report) -> Option<Settings> {
    let empty = Map::new();
    let fields = match config {
        None => Fields { map: &empty, path },
        Some(value) => Fields::of(value, path, report)?,
    };
    for name in fields.map.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
        let text = format!("{name} is an unknown field{}", suggestion(name, &FIELDS));
        report.wrong(&fields.path_of(name), text);
    }
    let endpoint = text(&fields, "api_endpoint", report);
    let endpoint = endpoint.as_deref().unwrap_or(DEFAULT_API_ENDPOINT);
    let endpoint = parse_endpoint(endpoint);
    if endpoint.is_none() {
        let text = "api_endpoint is not a url; write one such as http://127.0.0.1:8080 or https://host/base";
        report.wrong(&fields.path_of("api_endpoint"), text);
    }
    let bucket_key = required(&fields, "bucket_key", report);
    let access_token = required(&fields, "access_token", report);
    if let Some(token) = &access_token
        && !token.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
    {
        let text = "access_token cannot stand in a header: only printable ASCII may";
        report.wrong(&fields.path_of("access_token"), text);
    }
    let timeout_ms = milliseconds(&fields, "timeout", DEFAULT_TIMEOUT_MS, report);
    if timeout_ms == Some(0) {
        report.wrong(
            &fields.path_of("timeout"),
            "timeout must be greater than 0 (milliseconds)",
        );
    }
    let keepalive_ms = milliseconds(&fields, "keepalive", DEFAULT_KEEPALIVE_MS, report);
    let log_body = boolean(&fields, "log_body", false, report);
    let tls_verify = boolean(&fields, "tls_verify", true, report);
    Some(Settings {
        log_body: log_body?,
        destination: Arc::new(Destination {
            url: messages_url(&endpoint?, &bucket_key?),
            access_token: Secret::new(&access_token?),
            timeout_ms: timeout_ms?,
            keepalive_ms: keepalive_ms?,
            tls_verify: tls_verify?,
        }),
    })
}

/// `{endpoint}/buckets/{bucket_key}/messages`: the endpoint's base path is kept, its query and credentials are not.
#[must_use]
pub fn messages_url(endpoint: &Url, bucket_key: &str) -> Url {
    let mut url = endpoint.clone();
    url.set_query(None);
    url.set_fragment(None);
    // These two fail only for URLs without a host, of which `parse_endpoint` makes none.
    let _unchanged = url.set_username("");
    let _unchanged = url.set_password(None);
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty();
        segments.extend(["buckets", bucket_key, "messages"]);
    }
    url
}

fn parse_endpoint(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

/// A trimmed string; what is no string is reported, and what is empty counts as absent.
fn text(fields: &Fields<'_>, name: &str, report: &mut Report) -> Option<String> {
    match fields.get(name)? {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            report.wrong(
                &fields.path_of(name),
                format!("{name} is not a string (put it in quotes)"),
            );
            None
        }
    }
}

fn required(fields: &Fields<'_>, name: &str, report: &mut Report) -> Option<String> {
    let is_a_string = fields.get(name).is_none_or(Value::is_string);
    let found = text(fields, name, report);
    if found.is_none() && is_a_string {
        report.wrong(&fields.path_of(name), format!("{name} is required"));
    }
    // `.` and `..` would be taken for steps of the path.
    if name == "bucket_key" && found.as_deref().is_some_and(|key| key == "." || key == "..") {
        report.wrong(&fields.path_of(name), "bucket_key cannot be `.` or `..`");
        return None;
    }
    found
}

/// A number, also as a string, of milliseconds; fractions are cut off.
fn milliseconds(fields: &Fields<'_>, name: &str, default: u64, report: &mut Report) -> Option<u64> {
    let Some(value) = fields.get(name) else {
        return Some(default);
    };
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse::<f64>().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let Some(number) = number.filter(|number| number.is_finite()) else {
        report.wrong(&fields.path_of(name), format!("{name} is not a number"));
        return None;
    };
    let whole = format!("{:.0}", number.trunc()).parse::<u64>().ok();
    let whole = whole.filter(|whole| *whole <= MAX_DURATION_MS && number >= 0.0);
    if whole.is_none() {
        let text = format!("{name} must be between 0 and {MAX_DURATION_MS} (milliseconds)");
        report.wrong(&fields.path_of(name), text);
    }
    whole
}

/// A boolean, also as a string in any case.
fn boolean(fields: &Fields<'_>, name: &str, default: bool, report: &mut Report) -> Option<bool> {
    let Some(value) = fields.get(name) else {
        return Some(default);
    };
    let flag = match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    };
    if flag.is_none() {
        report.wrong(&fields.path_of(name), format!("{name} is not a boolean"));
    }
    flag
}

/// `; did you mean …?` for the nearest of the known names, when one is near.
#[must_use]
pub fn suggestion(name: &str, known: &[&str]) -> String {
    /// More than this many edits away is another word.
    const NEAR: usize = 3;
    let nearest = known.iter().min_by_key(|candidate| distance(name, candidate));
    match nearest {
        Some(nearest) if distance(name, nearest) <= NEAR.min(name.len().saturating_sub(1)) => {
            format!("; did you mean `{nearest}`?")
        }
        Some(_) | None => format!("; known are {}", known.join(", ")),
    }
}

/// Edits between two names, letter case apart. Names beyond 64 bytes are simply far.
fn distance(one: &str, other: &str) -> usize {
    const LONGEST: usize = 64;
    if one.len() > LONGEST {
        return LONGEST;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, a) in one.bytes().enumerate() {
        let mut diagonal = index;
        let mut left = index.saturating_add(1);
        let mut next = vec![left];
        for (b, above) in other.bytes().zip(row.iter().skip(1)) {
            let change = usize::from(!a.eq_ignore_ascii_case(&b));
            left = diagonal
                .saturating_add(change)
                .min(above.saturating_add(1))
                .min(left.saturating_add(1));
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
