//! One entity from Kong's own form of it, which declarative files and the Admin API share.
//!
//! In: [`Fields`]. Out: Service, Route, Consumer, Plugin, with mistakes reported. Unknown fields are Kong's business and are
//! passed over. Deliberately absent: nesting and references between files (that is `declarative`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::gateway::entities::{Consumer, Plugin, Reference, Route, Scope, Service};
use crate::gateway::fields::{Fields, Report};
use crate::gateway::ids;

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
}

/// A Service.
pub fn service(fields: &Fields<'_>, report: &mut Report) -> Service {
    let name = fields.string("name", report);
    let (id, _) = identify("services", "", name, fields, report);
    Service {
        id,
        name: name.map(Arc::from),
        enabled: fields.boolean("enabled", report).unwrap_or(true),
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
    let route = Route {
        id,
        id_is_known,
        name: name.map(Arc::from),
        service_id: None,
        protocols,
        hosts: fields.strings("hosts", report),
        paths: paths(fields, mark, report),
        methods: fields.strings("methods", report),
        headers: headers(fields, report),
        snis: fields.strings("snis", report),
        restricts_addresses: has_items(fields, "sources") || has_items(fields, "destinations"),
        expression: fields.string("expression", report).map(str::to_owned),
        regex_priority: fields.integer("regex_priority", report).unwrap_or(0),
        created_at: fields.integer("created_at", report),
        strip_path: fields.boolean("strip_path", report).unwrap_or(true),
    };
    RouteForm {
        route,
        service: fields.reference("service", report),
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
    }
}

/// A plugin; `None` when it is bound to a consumer group, which is none of the scopes known here.
pub fn plugin(fields: &Fields<'_>, report: &mut Report) -> Option<PluginForm> {
    let name = fields.string("name", report).unwrap_or_else(|| {
        report.wrong(&fields.path_of("name"), "is required");
        ""
    });
    let form = PluginForm {
        plugin: Plugin {
            id: fields.string("id", report).map(Arc::from),
            name: name.to_owned(),
            scope: Scope::default(),
            enabled: fields.boolean("enabled", report).unwrap_or(true),
            protocols: fields.strings("protocols", report),
            config: fields.get("config").cloned().unwrap_or(Value::Null),
            place: format!("{}: {}", report.origin(), fields.path),
        },
        service: parent(fields, "service", report),
        route: parent(fields, "route", report),
        consumer: parent(fields, "consumer", report),
    };
    fields.get("consumer_group").is_none().then_some(form)
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
        .filter(|(key, _)| !["routes", "plugins"].contains(&key.as_str()))
        .collect();
    let content = serde_json::to_string(&own).unwrap_or_default();
    (ids::of_content(kind, parent, &content), false)
}

fn paths(fields: &Fields<'_>, mark: RegexMark, report: &mut Report) -> Vec<String> {
    let paths = fields.strings("paths", report);
    for (index, path) in paths.iter().enumerate() {
        if !path.starts_with('/') && !path.starts_with('~') {
            let place = format!("{}[{index}]", fields.path_of("paths"));
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

fn has_items(fields: &Fields<'_>, name: &str) -> bool {
    fields
        .get(name)
        .is_some_and(|value| value.as_array().is_none_or(|items| !items.is_empty()))
}
