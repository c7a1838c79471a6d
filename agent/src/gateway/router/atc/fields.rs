//! What expressions ask of a request.
//!
//! In: a request. Out: a context of the engine with the values of the fields that some expression uses, and which of
//! those fields cannot be known [K@3.9 kong/router/fields.lua].

use std::collections::BTreeSet;

use atc_router::ast::{Expression, LogicalExpression, Type, Value};
use atc_router::context::Context;
use atc_router::schema::Schema;

use crate::gateway::router::profile::AtcEra;
use crate::gateway::router::request::{Prepared, ServerName};

/// How many query parameters Kong looks at: `lua_max_uri_args` by default.
const MAX_ROUTED_QUERIES: usize = 100;

const HEADERS: &str = "http.headers.";
const QUERIES: &str = "http.queries.";
const SEGMENTS: &str = "http.path.segments.";

/// The fields of HTTP.
pub(super) fn schema() -> Schema {
    let mut schema = Schema::default();
    for field in [
        "net.protocol",
        "tls.sni",
        "http.method",
        "http.host",
        "http.path",
        "http.path.segments.*",
        "http.headers.*",
        "http.queries.*",
    ] {
        schema.add_field(field, Type::String);
    }
    for field in ["net.src.port", "net.dst.port", "http.path.segments.len"] {
        schema.add_field(field, Type::Int);
    }
    for field in ["net.src.ip", "net.dst.ip"] {
        schema.add_field(field, Type::IpAddr);
    }
    schema
}

/// The fields that some expression uses: the others are not even read.
#[derive(Debug, Default)]
pub(super) struct Used(BTreeSet<String>);

/// A request's values.
pub(super) struct Facts<'a> {
    pub(super) context: Context<'a>,
    /// Fields whose value is not known.
    unknown: Vec<&'static str>,
    pub(super) host: Option<String>,
    pub(super) path: String,
}

impl Facts<'_> {
    pub(super) fn is_unknown(&self, field: &str) -> bool {
        self.unknown.contains(&field)
    }
}

impl Used {
    pub(super) fn has(&self, field: &str) -> bool {
        self.0.contains(field)
    }

    pub(super) fn add(&mut self, expression: &Expression) {
        match expression {
            Expression::Predicate(predicate) => {
                self.0.insert(predicate.lhs.var_name.clone());
            }
            Expression::Logical(logical) => match logical.as_ref() {
                LogicalExpression::And(one, other) | LogicalExpression::Or(one, other) => {
                    self.add(one);
                    self.add(other);
                }
                LogicalExpression::Not(inner) => self.add(inner),
            },
        }
    }

    /// `None` when a value is not UTF-8, at which Kong's router fails.
    pub(super) fn values<'s>(
        &self,
        schema: &'s Schema,
        request: &Prepared<'_>,
        era: AtcEra,
    ) -> Option<Facts<'s>> {
        let (host, port) = match request.host.map(text) {
            Some(host) => {
                let host = host?;
                let (name, port) = super::expression::split_port(&host);
                (Some(name.to_owned()), port.map(str::to_owned))
            }
            None => (None, None),
        };
        let path = text(&request.path);
        let mut facts = Facts {
            context: Context::new(schema),
            unknown: Vec::new(),
            host,
            // Not text: only an expression that asks for the path fails by it.
            path: path.clone().unwrap_or_default(),
        };
        for field in &self.0 {
            match field.as_str() {
                "net.protocol" => {
                    let protocol = if request.tls { "https" } else { "http" };
                    facts.add(field, Value::String(protocol.to_owned()));
                }
                "tls.sni" => match request.server_name {
                    ServerName::Named(name) => facts.add(field, Value::String(text(name)?)),
                    ServerName::Absent => {}
                    ServerName::Unknown => facts.unknown.push("tls.sni"),
                },
                "http.method" => facts.add(field, Value::String(text(request.method)?)),
                "http.host" => {
                    if let Some(host) = facts.host.clone() {
                        facts.add(field, Value::String(host));
                    }
                }
                "http.path" => facts.add(field, Value::String(path.clone()?)),
                "net.src.ip" => match request.client {
                    Some(client) => facts.add(field, Value::IpAddr(client.ip())),
                    None => facts.unknown.push("net.src.ip"),
                },
                "net.src.port" => match request.client {
                    Some(client) => facts.add(field, Value::Int(i64::from(client.port()))),
                    None => facts.unknown.push("net.src.port"),
                },
                "net.dst.ip" => facts.add(field, Value::IpAddr(request.local.ip())),
                "net.dst.port" => {
                    let listener = i64::from(request.local.port());
                    // One that no number holds is no port.
                    let port = port.as_ref().map_or(listener, |port| port.parse().unwrap_or(-1));
                    facts.add(field, Value::Int(port));
                }
                "http.path.segments.len" => {
                    let segments = segments(path.as_ref()?).len();
                    facts.add(field, Value::Int(i64::try_from(segments).unwrap_or(i64::MAX)));
                }
                other => facts.add_one_of_many(other, path.as_deref(), request, era)?,
            }
        }
        Some(facts)
    }
}

impl Facts<'_> {
    /// Only fields of the schema come here, with values of their type: the engine panics at others.
    fn add(&mut self, field: &str, value: Value) {
        self.context.add_value(field, value);
    }

    fn add_one_of_many(
        &mut self,
        field: &str,
        path: Option<&str>,
        request: &Prepared<'_>,
        era: AtcEra,
    ) -> Option<()> {
        if let Some(name) = field.strip_prefix(HEADERS) {
            let dashed = name.replace('_', "-");
            for value in request.header(name, &dashed) {
                let value = text(value)?;
                let value = if era < AtcEra::V3_6 {
                    value.to_ascii_lowercase()
                } else {
                    value
                };
                self.add(field, Value::String(value));
            }
        } else if let Some(name) = field.strip_prefix(QUERIES) {
            for (key, value) in queries(request.query.unwrap_or_default()) {
                if key == name.as_bytes() {
                    self.add(field, Value::String(text(&value)?));
                }
            }
        } else if let Some(range) = field.strip_prefix(SEGMENTS)
            && let Some(value) = segment(&segments(path?), range)
        {
            self.add(field, Value::String(value));
        }
        Some(())
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    str::from_utf8(bytes).ok().map(str::to_owned)
}

/// The parts of a path, without empty ones at the end.
fn segments(path: &str) -> Vec<&str> {
    let mut segments: Vec<_> = path.get(1..).unwrap_or_default().split('/').collect();
    while segments.last().is_some_and(|last| last.is_empty()) {
        segments.pop();
    }
    segments
}

/// `1`, or `1_3` for several with their slashes.
fn segment(segments: &[&str], range: &str) -> Option<String> {
    let Some((first, last)) = range.split_once('_') else {
        return segments
            .get(range.parse::<usize>().ok()?)
            .map(|&segment| segment.to_owned());
    };
    let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    let parts = segments.get(first..=last).filter(|_| first < last)?;
    Some(parts.join("/"))
}

/// Parameters as OpenResty reads them: no name, no parameter; no value, an empty one.
fn queries(query: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
    let pairs = query.split(|byte| *byte == b'&').map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=');
        let (key, value) = match equals {
            Some(at) => (pair.get(..at), pair.get(at.saturating_add(1)..)),
            None => (Some(pair), None),
        };
        (
            unescaped(key.unwrap_or_default()),
            unescaped(value.unwrap_or_default()),
        )
    });
    pairs.filter(|(key, _)| !key.is_empty()).take(MAX_ROUTED_QUERIES)
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        rest = match rest {
            [b'%', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digits = [*high, *low];
                let byte = str::from_utf8(&digits)
                    .ok()
                    .and_then(|text| u8::from_str_radix(text, 16).ok());
                out.extend(byte);
                tail
            }
            [b'+', tail @ ..] => {
                out.push(b' ');
                tail
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
            [] => return out,
        };
    }
}
