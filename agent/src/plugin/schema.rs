//! The plugin's own schema: fields, defaults, coercions.
//!
//! In: the `config` of one configuration. Out: a [`Settings`], or every mistake in the plugin's own words
//! (Kong 0.13.1 kong/plugins/runscope/schema.lua, kong/dao/schemas_validation.lua). `tls_verify` and what is in
//! `Transport` are kongtap's: the plugin verified nothing, spoke HTTP/1.1 and knew no proxy.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};
use url::Url;

use crate::gateway::fields::{Fields, Report};
use crate::plugin::Destination;
use crate::plugin::transport::{HttpVersion, PROXY_FORM, ProxyChoice, Transport};
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
const FIELDS: [&str; 10] = [
    "access_token",
    "api_endpoint",
    "bucket_key",
    "http_version",
    "keepalive",
    "log_body",
    "proxy",
    "timeout",
    "tls_ca",
    "tls_verify",
];

/// A checked `config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `api_endpoint` as it was written.
    pub api_endpoint: String,
    /// `bucket_key`
    pub bucket_key: String,
    /// Whether bodies are sent.
    pub log_body: bool,
    /// Where messages go.
    pub destination: Arc<Destination>,
}

/// What is wrong with one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is missing, or empty.
    Required,
    /// The plugin has no such field.
    Unknown,
    /// Not a string.
    NotString,
    /// Not a number.
    NotNumber,
    /// Not a boolean.
    NotBoolean,
    /// Not an address with scheme and host.
    NotUrl,
    /// Not within 0 and [`MAX_DURATION_MS`].
    OutOfRange,
    /// Zero.
    Zero,
    /// It cannot stand in a header.
    NotForHeaders,
    /// It would be taken for a step of the path.
    PathStep,
    /// Not a path that begins at the root.
    NotPath,
    /// Not a version of HTTP that can be asked for.
    NotVersion,
    /// Neither a proxy nor a word for one.
    NotProxy,
    /// Of no use together with `tls_verify: false`.
    Unverified,
}

/// Which values count as numbers and booleans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typing {
    /// Their text too, as the plugin's schema had it (Kong 0.13.1 kong/dao/schemas_validation.lua).
    Lenient,
    /// Only themselves, as Kong has it since 1.0.
    Strict,
}

/// Checks the `config` of one configuration; `None` when there were mistakes.
pub fn settings(config: Option<&Value>, path: String, report: &mut Report) -> Option<Settings> {
    let empty = Map::new();
    let fields = match config {
        None => Fields { map: &empty, path },
        Some(value) => Fields::of(value, path, report)?,
    };
    match check(fields.map, Typing::Lenient) {
        Ok(settings) => Some(settings),
        Err(mistakes) => {
            for (name, wrong) in mistakes {
                report.wrong(&fields.path_of(&name), explain(&name, wrong));
            }
            None
        }
    }
}

/// What is wrong with a field, for whoever wrote a file: in the plugin's own words, and what to write instead.
fn explain(name: &str, wrong: Wrong) -> String {
    match wrong {
        Wrong::Required => format!("{name} is required"),
        Wrong::Unknown => format!("{name} is an unknown field{}", suggestion(name, &FIELDS)),
        Wrong::NotString => format!("{name} is not a string (put it in quotes)"),
        Wrong::NotNumber => format!("{name} is not a number"),
        Wrong::NotBoolean => format!("{name} is not a boolean"),
        Wrong::NotUrl => {
            format!("{name} is not a url; write one such as http://127.0.0.1:8080 or https://host/base")
        }
        Wrong::OutOfRange => format!("{name} must be between 0 and {MAX_DURATION_MS} (milliseconds)"),
        Wrong::Zero => format!("{name} must be greater than 0 (milliseconds)"),
        Wrong::NotForHeaders => format!("{name} cannot stand in a header: only printable ASCII may"),
        Wrong::PathStep => format!("{name} cannot be `.` or `..`"),
        Wrong::NotPath => format!("{name} must be an absolute path"),
        Wrong::NotVersion => format!("{name} must be one of \"auto\", \"1.1\", \"2\""),
        Wrong::NotProxy => format!("{name} {PROXY_FORM}"),
        Wrong::Unverified => format!("{name} is of no use with tls_verify = false; leave one of them out"),
    }
}

/// Checks the fields of a `config`. `null` counts as absent.
///
/// # Errors
/// Everything that is wrong, each with its field.
pub fn check(config: &Map<String, Value>, typing: Typing) -> Result<Settings, Vec<(String, Wrong)>> {
    let mut wrong = Vec::new();
    for name in config.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
        wrong.push((name.clone(), Wrong::Unknown));
    }
    let mut take = |name: &str, problem| wrong.push((name.to_owned(), problem));
    let api_endpoint = text(config, "api_endpoint").unwrap_or_else(|problem| {
        take("api_endpoint", problem);
        None
    });
    let api_endpoint = api_endpoint.unwrap_or_else(|| DEFAULT_API_ENDPOINT.to_owned());
    let endpoint = parse_endpoint(&api_endpoint);
    if endpoint.is_none() {
        take("api_endpoint", Wrong::NotUrl);
    }
    let mut required = |name: &str| match text(config, name) {
        Ok(Some(text)) => Some(text),
        Ok(None) => {
            take(name, Wrong::Required);
            None
        }
        Err(problem) => {
            take(name, problem);
            None
        }
    };
    let bucket_key = required("bucket_key");
    let access_token = required("access_token");
    if bucket_key.as_deref().is_some_and(|key| key == "." || key == "..") {
        take("bucket_key", Wrong::PathStep);
    }
    let in_header = |token: &str| token.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if access_token.as_deref().is_some_and(|token| !in_header(token)) {
        take("access_token", Wrong::NotForHeaders);
    }
    let mut number = |name: &str, default| {
        milliseconds(config.get(name), default, typing).unwrap_or_else(|problem| {
            take(name, problem);
            default
        })
    };
    let timeout_ms = number("timeout", DEFAULT_TIMEOUT_MS);
    let keepalive_ms = number("keepalive", DEFAULT_KEEPALIVE_MS);
    if timeout_ms == 0 {
        take("timeout", Wrong::Zero);
    }
    let mut flag = |name: &str, default| {
        boolean(config.get(name), default, typing).unwrap_or_else(|problem| {
            take(name, problem);
            default
        })
    };
    let log_body = flag("log_body", false);
    let tls_verify = flag("tls_verify", true);
    let transport = transport(config, &mut take);
    if transport.tls_ca.is_some() && !tls_verify {
        take("tls_ca", Wrong::Unverified);
    }
    match (endpoint, bucket_key, access_token) {
        (Some(endpoint), Some(bucket_key), Some(access_token)) if wrong.is_empty() => Ok(Settings {
            api_endpoint,
            log_body,
            destination: Arc::new(Destination {
                url: messages_url(&endpoint, &bucket_key),
                access_token: Secret::new(&access_token),
                timeout_ms,
                keepalive_ms,
                tls_verify,
                transport,
            }),
            bucket_key,
        }),
        (Some(_) | None, Some(_) | None, Some(_) | None) => Err(wrong),
    }
}

fn transport(config: &Map<String, Value>, take: &mut impl FnMut(&str, Wrong)) -> Transport {
    let mut of = |name: &str, check: &dyn Fn(&str) -> Result<(), Wrong>| {
        // Unquoted in YAML, a version is a number.
        let found = match config.get(name) {
            Some(Value::Number(number)) if name == "http_version" => Ok(Some(number.to_string())),
            Some(_) | None => text(config, name),
        };
        let checked = found.and_then(|found| {
            found.as_deref().map_or(Ok(()), check)?;
            Ok(found)
        });
        checked.unwrap_or_else(|problem| {
            take(name, problem);
            None
        })
    };
    let is_path = |path: &str| path.starts_with('/').then_some(()).ok_or(Wrong::NotPath);
    let is_version = |text: &str| HttpVersion::parse(text).map(drop).ok_or(Wrong::NotVersion);
    let is_proxy = |text: &str| ProxyChoice::parse(text).map(drop).ok_or(Wrong::NotProxy);
    Transport {
        tls_ca: of("tls_ca", &is_path).map(PathBuf::from),
        http_version: of("http_version", &is_version)
            .and_then(|text| HttpVersion::parse(&text))
            .unwrap_or_default(),
        proxy: of("proxy", &is_proxy).and_then(|text| ProxyChoice::parse(&text)),
    }
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

/// A trimmed string; what is empty counts as absent.
fn text(config: &Map<String, Value>, name: &str) -> Result<Option<String>, Wrong> {
    match config.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => Err(Wrong::NotString),
    }
}

/// A number of milliseconds; fractions are cut off.
fn milliseconds(value: Option<&Value>, default: u64, typing: Typing) -> Result<u64, Wrong> {
    let number = match (value, typing) {
        (None | Some(Value::Null), _) => return Ok(default),
        (Some(Value::Number(number)), _) => number.as_f64(),
        (Some(Value::String(text)), Typing::Lenient) => text.trim().parse::<f64>().ok(),
        (Some(Value::String(_)), Typing::Strict)
        | (Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)), _) => None,
    };
    let number = number
        .filter(|number| number.is_finite())
        .ok_or(Wrong::NotNumber)?;
    let whole = format!("{:.0}", number.trunc()).parse::<u64>().ok();
    let whole = whole.filter(|whole| *whole <= MAX_DURATION_MS && number >= 0.0);
    whole.ok_or(Wrong::OutOfRange)
}

/// A boolean; as text, in any case.
fn boolean(value: Option<&Value>, default: bool, typing: Typing) -> Result<bool, Wrong> {
    match (value, typing) {
        (None | Some(Value::Null), _) => Ok(default),
        (Some(Value::Bool(flag)), _) => Ok(*flag),
        (Some(Value::String(text)), Typing::Lenient) if text.trim().eq_ignore_ascii_case("true") => Ok(true),
        (Some(Value::String(text)), Typing::Lenient) if text.trim().eq_ignore_ascii_case("false") => {
            Ok(false)
        }
        (Some(Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_)), _) => {
            Err(Wrong::NotBoolean)
        }
    }
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
