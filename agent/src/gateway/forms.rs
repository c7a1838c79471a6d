//! One entity from Kong's own form of it, which declarative files and the Admin API share.
//!
//! In: [`Fields`]. Out: Service, Route, API, Consumer and group, Plugin, with mistakes reported. Unknown fields are Kong's business and are
//! passed over. Deliberately absent: nesting and references between files (that is `declarative`).

use std::collections::BTreeMap;
use std::sync::Arc;

use url::Url;

use crate::gateway::entities::{
    Api, Consumer, Endpoint, PathHandling, Plugin, Reference, Route, Scope, Service, Upstream,
};
use crate::gateway::fields::{Fields, Report};
use crate::gateway::groups::{ConsumerGroup, Groups};
use crate::gateway::ids;
use crate::gateway::retained;

#[cfg(test)]
mod tests;

/// What a plain request gets where only `https` is served.
const UPGRADE_REQUIRED: u16 = 426;
/// How many priorities expressions may have.
const PRIORITIES: u64 = 1 << 46;

/// How a path says that it is a regular expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegexMark {
    /// Since 3.0: it begins with `~`.
    Tilde,
    /// Before: it has a character that no plain path has (2.8 takes the `~` too).
    AnyOddCharacter,
}

/// An entity and how it names its parents, which are resolved once all entities are known.
#[derive(Debug)]
pub struct RouteForm {
    /// The route, its `service_id` not yet set.
    pub route: Route,
    /// Its Service.
    pub service: Option<Reference>,
}

/// A plugin and how it names what it is bound to.
#[derive(Debug)]
pub struct PluginForm {
    /// The plugin, its `scope` not yet set.
    pub plugin: Plugin,
    /// Its Service.
    pub service: Option<Reference>,
    /// Its Route.
    pub route: Option<Reference>,
    /// Its Consumer.
    pub consumer: Option<Reference>,
    /// Its consumer group.
    pub consumer_group: Option<Reference>,
}

/// A Service.
pub fn service(fields: &Fields<'_>, report: &mut Report) -> Service {
    let name = fields.string("name", report);
    let (id, _) = identify("services", "", name, fields, report);
    Service {
        id,
        name: name.map(Arc::from),
        enabled: fields.boolean("enabled", report).unwrap_or(true),
        upstream: upstream(fields, "url", report),
    }
}

/// A Route within `parent` (an id, or nothing).
pub fn route(fields: &Fields<'_>, parent: &str, mark: RegexMark, report: &mut Report) -> RouteForm {
    let name = fields.string("name", report);
    let (id, id_is_known) = identify("routes", parent, name, fields, report);
    let mut protocols = fields.strings("protocols", report);
    if protocols.is_empty() {
        protocols = vec!["http".to_owned(), "https".to_owned()];
    }
    let is_grpc = protocols.iter().any(|protocol| protocol.starts_with("grpc"));
    let hosts = fields.strings("hosts", report);
    let route = Route {
        id,
        id_is_known,
        name: name.map(Arc::from),
        service_id: None,
        protocols,
        has_empty_hosts: hosts.is_empty() && fields.get("hosts").is_some(),
        hosts,
        paths: paths(fields, "paths", mark, report),
        methods: fields.strings("methods", report),
        headers: headers(fields, report),
        snis: fields.strings("snis", report),
        sources: endpoints(fields, "sources", report),
        destinations: endpoints(fields, "destinations", report),
        expression: fields.string("expression", report).map(str::to_owned),
        priority: priority(fields, report),
        regex_priority: fields.integer("regex_priority", report).unwrap_or(0),
        created_at: fields.integer("created_at", report),
        // Kong takes nothing off the path of a gRPC method.
        strip_path: fields.boolean("strip_path", report).unwrap_or(!is_grpc),
        path_handling: path_handling(fields, report),
        preserve_host: fields.boolean("preserve_host", report).unwrap_or(false),
        https_redirect_status_code: fields
            .integer("https_redirect_status_code", report)
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or(UPGRADE_REQUIRED),
        request_buffering: fields.boolean("request_buffering", report).unwrap_or(true),
        response_buffering: fields.boolean("response_buffering", report).unwrap_or(true),
        api: None,
        workspace: None,
    };
    RouteForm {
        route,
        service: fields.reference("service", report),
    }
}

/// An API, which Kong had until 0.14: a Route with an upstream of its own. Its names for things are older; APIs without a
/// list in some field have `{}` or nothing there [Kong 0.13.1 kong/dao/schemas/apis.lua].
pub fn api(fields: &Fields<'_>, report: &mut Report) -> Route {
    let name = fields.string("name", report);
    let (id, id_is_known) = identify("apis", "", name, fields, report);
    Route {
        id,
        id_is_known,
        name: name.map(Arc::from),
        hosts: fields.strings("hosts", report),
        paths: paths(fields, "uris", RegexMark::AnyOddCharacter, report),
        methods: fields.strings("methods", report),
        created_at: fields.integer("created_at", report),
        strip_path: fields.boolean("strip_uri", report).unwrap_or(true),
        preserve_host: fields.boolean("preserve_host", report).unwrap_or(false),
        api: Some(Api {
            upstream: upstream(fields, "upstream_url", report),
            https_only: fields.boolean("https_only", report).unwrap_or(false),
            http_if_terminated: fields.boolean("http_if_terminated", report).unwrap_or(false),
        }),
        ..Route::default()
    }
}

/// A Consumer.
pub fn consumer(fields: &Fields<'_>, report: &mut Report) -> Consumer {
    let username = fields.string("username", report);
    let custom_id = fields.string("custom_id", report);
    if username.is_none() && custom_id.is_none() && fields.get("id").is_none() {
        report.wrong(&fields.path, "needs a `username`, a `custom_id` or an `id`");
    }
    let (id, id_is_known) = identify("consumers", "", username, fields, report);
    Consumer {
        id,
        id_is_known,
        username: username.map(Arc::from),
        custom_id: custom_id.map(Arc::from),
        groups: Groups::default(),
    }
}

/// A consumer group.
pub fn consumer_group(fields: &Fields<'_>, report: &mut Report) -> ConsumerGroup {
    let name = fields.string("name", report);
    if name.is_none() && fields.get("id").is_none() {
        report.wrong(&fields.path, "needs a `name` or an `id`");
    }
    let (id, _) = identify("consumer_groups", "", name, fields, report);
    ConsumerGroup {
        id,
        name: name.map(Arc::from),
    }
}

/// A plugin.
pub fn plugin(fields: &Fields<'_>, report: &mut Report) -> PluginForm {
    let name = fields.string("name", report).unwrap_or_else(|| {
        report.wrong(&fields.path_of("name"), "is required");
        ""
    });
    PluginForm {
        plugin: Plugin {
            id: fields.string("id", report).map(Arc::from),
            name: name.to_owned(),
            scope: Scope::default(),
            enabled: fields.boolean("enabled", report).unwrap_or(true),
            protocols: fields.strings("protocols", report),
            config: retained::of(name, fields.get("config")),
            place: format!("{}: {}", report.origin(), fields.path),
            workspace: None,
        },
        service: parent(fields, "service", report),
        route: parent(fields, "route", report).or_else(|| parent(fields, "api", report)),
        consumer: parent(fields, "consumer", report),
        consumer_group: fields.reference("consumer_group", report),
    }
}

/// `service`, or `service_id` as Kong had it before 1.0.
fn parent(fields: &Fields<'_>, name: &str, report: &mut Report) -> Option<Reference> {
    let old = format!("{name}_id");
    if let Some(reference) = fields.reference(name, report) {
        return Some(reference);
    }
    fields.string(&old, report).map(|id| Reference::Id(id.to_owned()))
}

/// The entity's id and whether it is the gateway's own.
fn identify(
    kind: &str,
    parent: &str,
    name: Option<&str>,
    fields: &Fields<'_>,
    report: &mut Report,
) -> (Arc<str>, bool) {
    if let Some(id) = fields.string("id", report) {
        return (Arc::from(id.to_ascii_lowercase()), true);
    }
    if let Some(name) = name {
        return (ids::of_name(kind, name), false);
    }
    let own: BTreeMap<_, _> = fields
        .map
        .iter()
        .filter(|(key, _)| !["routes", "plugins", "groups"].contains(&key.as_str()))
        .collect();
    let content = serde_json::to_string(&own).unwrap_or_default();
    (ids::of_content(kind, parent, &content), false)
}

fn paths(fields: &Fields<'_>, name: &str, mark: RegexMark, report: &mut Report) -> Vec<String> {
    let paths = fields.strings(name, report);
    for (index, path) in paths.iter().enumerate() {
        if !path.starts_with('/') && !path.starts_with('~') {
            let place = format!("{}[{index}]", fields.path_of(name));
            report.wrong(
                &place,
                format!("`{path}` must begin with `/`, or with `~/` for a regular expression"),
            );
        }
    }
    let marked = |path: String| match mark {
        RegexMark::AnyOddCharacter if is_regex_by_characters(&path) => format!("~{path}"),
        RegexMark::AnyOddCharacter | RegexMark::Tilde => path,
    };
    paths.into_iter().map(marked).collect()
}

/// The rule of Kong before 3.0 [Kong kong/router.lua at 2.8]: whatever has another character is a regular expression.
fn is_regex_by_characters(path: &str) -> bool {
    !path.starts_with('~')
        && path
            .bytes()
            .any(|byte| !byte.is_ascii_alphanumeric() && !b".-_~/%".contains(&byte))
}

fn headers(fields: &Fields<'_>, report: &mut Report) -> BTreeMap<String, Vec<String>> {
    let path = fields.path_of("headers");
    let Some(value) = fields.get("headers") else {
        return BTreeMap::new();
    };
    // Lua's JSON has `[]` or `{}` for an empty map.
    if value.as_array().is_some_and(Vec::is_empty) {
        return BTreeMap::new();
    }
    let Some(headers) = Fields::of(value, path, report) else {
        return BTreeMap::new();
    };
    headers
        .map
        .keys()
        .map(|name| (name.to_ascii_lowercase(), headers.strings(name, report)))
        .filter(|(_, values)| !values.is_empty())
        .collect()
}

fn endpoints(fields: &Fields<'_>, name: &str, report: &mut Report) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for fields in fields.objects(name, report) {
        let port = fields.integer("port", report);
        endpoints.push(Endpoint {
            ip: fields.string("ip", report).map(str::to_owned),
            port: port.and_then(|port| u16::try_from(port).ok()),
        });
    }
    endpoints
}

fn priority(fields: &Fields<'_>, report: &mut Report) -> u64 {
    let Some(priority) = fields.integer("priority", report) else {
        return 0;
    };
    let in_range = u64::try_from(priority)
        .ok()
        .filter(|priority| *priority < PRIORITIES);
    in_range.unwrap_or_else(|| {
        report.wrong(
            &fields.path_of("priority"),
            "must be from 0 to 70368744177663 (2^46 - 1)",
        );
        0
    })
}

fn path_handling(fields: &Fields<'_>, report: &mut Report) -> Option<PathHandling> {
    match fields.string("path_handling", report)? {
        "v0" => Some(PathHandling::V0),
        "v1" => Some(PathHandling::V1),
        other => {
            let text = format!("must be \"v0\" or \"v1\", not `{other}`");
            report.wrong(&fields.path_of("path_handling"), text);
            None
        }
    }
}

/// Protocol, host, port and path, in fields of their own or in one address, which wins as it does in Kong.
fn upstream(fields: &Fields<'_>, url: &str, report: &mut Report) -> Upstream {
    let port = fields.integer("port", report);
    let apart = Upstream {
        protocol: fields.string("protocol", report).map(str::to_owned),
        host: fields.string("host", report).map(str::to_owned),
        port: port.and_then(|port| u16::try_from(port).ok()),
        path: fields.string("path", report).map(str::to_owned),
    };
    let Some(text) = fields.string(url, report) else {
        return apart;
    };
    let Ok(parsed) = Url::parse(text) else {
        let advice = format!("`{text}` is not an address such as http://example.test/path");
        report.wrong(&fields.path_of(url), advice);
        return apart;
    };
    Upstream {
        protocol: Some(parsed.scheme().to_owned()),
        host: parsed.host_str().map(str::to_owned),
        port: parsed.port(),
        path: written_path(text).map(str::to_owned),
    }
}

/// The path of an address, if it was written: a parser would add a `/`.
fn written_path(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let path = rest.find('/').and_then(|at| rest.get(at..))?;
    path.split(['?', '#']).next()
}
