//! A route as an expression.
//!
//! In: a route and one group of its paths. Out: the text that Kong would write [K@3.9 kong/router/transform.lua, expressions.lua].
//! What Kong writes differently in older versions without meaning something else is not told apart.

use std::net::Ipv4Addr;

use crate::gateway::entities::{Endpoint, Route};
use crate::gateway::router::profile::{AtcEra, RouterFlavor};

/// The text; empty when the route asks for nothing.
pub(super) fn of(route: &Route, paths: &[&str], flavor: RouterFlavor, era: AtcEra) -> String {
    let own = match &route.expression {
        Some(expression) if flavor == RouterFlavor::Expressions => with_current_names(expression),
        Some(expression) => expression.clone(),
        None => classic(route, paths, era),
    };
    if flavor != RouterFlavor::Expressions || own.is_empty() {
        return own;
    }
    // A plain request must find a route of `https` alone, to be sent to TLS.
    if matches!(route.protocols.as_slice(), [only] if only == "https") {
        return own;
    }
    let protocols = route.protocols.iter().map(|protocol| match protocol.as_str() {
        "grpc" => "http",
        "grpcs" => "https",
        other => other,
    });
    let protocols = any_of(protocols.map(|protocol| format!("net.protocol == {}", quote(protocol))));
    // The expression itself stands without parentheses, as in Kong: `||` binds tighter than `&&` there.
    both(Some(own), protocols).unwrap_or_default()
}

fn classic(route: &Route, paths: &[&str], era: AtcEra) -> String {
    let snis = route.snis.iter().map(|sni| server_name(sni, era));
    let snis = any_of(snis).map(|snis| format!("(net.protocol != \"https\" || {snis})"));
    let (sources, destinations) = if era >= AtcEra::V3_7 {
        (
            any_of(route.sources.iter().filter_map(|it| endpoint("net.src", it))),
            any_of(route.destinations.iter().filter_map(|it| endpoint("net.dst", it))),
        )
    } else {
        (None, None)
    };
    let methods = route
        .methods
        .iter()
        .map(|method| format!("http.method == {}", quote(method)));
    let hosts = route.hosts.iter().map(|host| self::host(host));
    let paths = paths.iter().map(|path| match path.strip_prefix('~') {
        // The anchor stands before the whole, alternatives or not; Rust's older name for named groups.
        Some(regex) => {
            let regex = format!("^{}", regex.replace("?<", "?P<"));
            format!("http.path ~ {}", quote(&regex))
        }
        None => format!("http.path ^= {}", quote(path)),
    });
    let headers = route.headers.iter().map(|(name, values)| {
        let name = name.replace('-', "_").to_lowercase();
        any_of(values.iter().map(|value| header(&name, value)))
    });
    let parts = [
        snis,
        sources,
        destinations,
        any_of(methods),
        any_of(hosts),
        any_of(paths),
    ];
    parts
        .into_iter()
        .chain(headers)
        .fold(None, both)
        .unwrap_or_default()
}

/// `*` at one end, and a last dot that a client never sends.
fn server_name(sni: &str, era: AtcEra) -> String {
    let undotted = |sni: &str| {
        sni.strip_suffix('.')
            .filter(|rest| !rest.is_empty())
            .unwrap_or(sni)
            .to_owned()
    };
    let (operator, name) = match (sni.strip_prefix('*'), sni.strip_suffix('*')) {
        (Some(rest), _) if era >= AtcEra::V3_7 => ("=^", undotted(rest)),
        (None, Some(rest)) if era >= AtcEra::V3_7 => ("^=", rest.to_owned()),
        (Some(_) | None, _) => ("==", undotted(sni)),
    };
    format!("tls.sni {operator} {}", quote(&name))
}

fn endpoint(field: &str, endpoint: &Endpoint) -> Option<String> {
    let ip = endpoint.ip.as_ref().map(|ip| match ip.split_once('/') {
        Some((address, bits)) => format!("{field}.ip in {}/{bits}", network(address, bits)),
        None => format!("{field}.ip == {ip}"),
    });
    let port = endpoint.port.map(|port| format!("{field}.port == {port}"));
    match (ip, port) {
        (Some(ip), Some(port)) => Some(format!("({ip} && {port})")),
        (ip, port) => ip.or(port),
    }
}

/// The first address of a network: the engine refuses one with host bits.
fn network(address: &str, bits: &str) -> String {
    let parsed: Option<(Ipv4Addr, u32)> = address.parse().ok().zip(bits.parse().ok());
    let Some((v4, bits)) = parsed.filter(|(_, bits)| *bits <= 32) else {
        return address.to_owned();
    };
    let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits)).unwrap_or(0);
    Ipv4Addr::from(u32::from(v4) & mask).to_string()
}

fn host(written: &str) -> String {
    let (name, port) = split_port(written);
    let (operator, name) = match (name.strip_prefix('*'), name.strip_suffix('*')) {
        (Some(rest), _) => ("=^", rest),
        (None, Some(rest)) => ("^=", rest),
        (None, None) => ("==", name),
    };
    let host = format!("http.host {operator} {}", quote(name));
    match port {
        Some(port) => format!("({host} && net.dst.port == {port})"),
        None => host,
    }
}

/// Splits at the first colon if a number follows; `[::1]:8000` and the like stay whole.
pub(super) fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.split_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (name, Some(port))
        }
        Some(_) | None => (host, None),
    }
}

fn header(name: &str, value: &str) -> String {
    let (operator, value) = match value.strip_prefix("~*") {
        Some(regex) => ("~", regex),
        None => ("==", value),
    };
    let value = quote(&value.to_ascii_lowercase());
    format!("any(lower(http.headers.{name})) {operator} {value}")
}

fn any_of(terms: impl Iterator<Item = String>) -> Option<String> {
    let terms: Vec<_> = terms.collect();
    (!terms.is_empty()).then(|| format!("({})", terms.join(" || ")))
}

fn both(one: Option<String>, other: Option<String>) -> Option<String> {
    match (one, other) {
        (Some(one), Some(other)) => Some(format!("{one} && {other}")),
        (one, other) => one.or(other),
    }
}

/// A raw string, or an escaped one where a raw one would end early.
fn quote(text: &str) -> String {
    if text.contains("\"#") {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        format!("r#\"{text}\"#")
    }
}

/// `net.port` is the name that `net.dst.port` had before 3.5, where an operator follows [K@3.9 amending_expression].
fn with_current_names(expression: &str) -> String {
    const OLD: &str = "net.port";
    let mut out = String::with_capacity(expression.len());
    let mut rest = expression;
    while let Some((before, after)) = rest.split_once(OLD) {
        out.push_str(before);
        let is_compared = after.trim_start().starts_with(['=', '>', '<', '!']);
        out.push_str(if is_compared { "net.dst.port" } else { OLD });
        rest = after;
    }
    out.push_str(rest);
    out
}
