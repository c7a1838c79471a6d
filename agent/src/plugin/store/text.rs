//! The store's file: Kong's declarative form, a `plugins:` list.
//!
//! In: the file's bytes. Out: [`StoredPlugin`]s, or every mistake with its place; and back. What could not be written back
//! is refused rather than dropped: the file is kongtap's, and a rewrite must not lose what stands there. Comments are the
//! exception, and the file's first line says so.

use std::collections::HashMap;

use serde_json::Value;
use uuid::Uuid;

use crate::gateway::document::{self, Mistakes, SourceFile};
use crate::gateway::entities::Reference;
use crate::gateway::fields::{Fields, Report};
use crate::plugin::file::NAME;
use crate::plugin::schema::{self, suggestion};
use crate::plugin::stored::{NamedScope, PROTOCOLS, StoredPlugin, Tokens};

/// The first lines of the file.
const HEADER: &str = "\
# kongtap's plugin API keeps its configurations here (docs/plugin-api.md). The file may be edited while kongtap runs;
# comments are lost when the API writes it again.
";

/// Fields of a plugin in this file.
const FIELDS: [&str; 14] = [
    "api",
    "config",
    "consumer",
    "consumer_group",
    "created_at",
    "enabled",
    "id",
    "instance_name",
    "name",
    "protocols",
    "route",
    "service",
    "tags",
    "updated_at",
];

/// Keys beside the list.
const TOP: [&str; 2] = ["_format_version", "plugins"];

/// Reads the file.
///
/// # Errors
/// Every mistake.
pub fn read(file: &SourceFile) -> Result<Vec<StoredPlugin>, Mistakes> {
    let value = document::parse(file).map_err(|mistake| Mistakes(vec![mistake]))?;
    let mut report = Report::new(&file.name);
    let mut plugins = Vec::new();
    if !value.is_null()
        && let Some(root) = Fields::of(&value, String::new(), &mut report)
    {
        for name in root.map.keys().filter(|name| !TOP.contains(&name.as_str())) {
            let text = format!("cannot be kept here{}", suggestion(name, &TOP));
            report.wrong(name, text);
        }
        let mut seen = Seen::default();
        for fields in root.objects("plugins", &mut report) {
            if let Some(plugin) = plugin(&fields, &mut report) {
                seen.check(&plugin, &fields, &mut report);
                plugins.push(plugin);
            }
        }
    }
    report.finish(plugins)
}

fn plugin(fields: &Fields<'_>, report: &mut Report) -> Option<StoredPlugin> {
    for name in fields.map.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
        let text = format!("is an unknown field{}", suggestion(name, &FIELDS));
        report.wrong(&fields.path_of(name), text);
    }
    match fields.string("name", report) {
        Some(NAME) => {}
        Some(_) => report.wrong(
            &fields.path_of("name"),
            format!("must be `{NAME}`: nothing else is kept here"),
        ),
        None if fields.get("name").is_none() => report.wrong(&fields.path_of("name"), "name is required"),
        None => {}
    }
    let scope = NamedScope {
        service: fields.reference("service", report),
        route: fields.reference("route", report),
        api: fields.reference("api", report),
        consumer: fields.reference("consumer", report),
        consumer_group: fields.reference("consumer_group", report),
    };
    if scope.consumer.is_some() && scope.consumer_group.is_some() {
        report.wrong(
            &fields.path_of("consumer_group"),
            "cannot stand beside a consumer",
        );
    }
    if scope.api.is_some() && (scope.service.is_some() || scope.route.is_some()) {
        report.wrong(&fields.path_of("api"), "cannot stand beside a route or a service");
    }
    let id = id(fields, &scope, report);
    let time = |name: &str, report: &mut Report| {
        let seconds = fields.integer(name, report);
        seconds.map_or(0, |seconds| u64::try_from(seconds).unwrap_or(0))
    };
    let created_at = time("created_at", report);
    let updated_at = time("updated_at", report).max(created_at);
    let enabled = fields.boolean("enabled", report).unwrap_or(true);
    let instance_name = fields.string("instance_name", report).map(str::to_owned);
    let tags = fields.get("tags").is_some();
    let tags = tags.then(|| fields.strings("tags", report));
    let mut protocols = fields.strings("protocols", report);
    if let Some(odd) = protocols.iter().find(|it| !PROTOCOLS.contains(&it.as_str())) {
        let text = format!("`{odd}` is none of {}", PROTOCOLS.join(", "));
        report.wrong(&fields.path_of("protocols"), text);
    }
    if protocols.is_empty() {
        protocols = PROTOCOLS.map(str::to_owned).to_vec();
    }
    Some(StoredPlugin {
        id: id?,
        instance_name,
        scope,
        enabled,
        protocols,
        tags,
        settings: schema::settings(fields.get("config"), fields.path_of("config"), report)?,
        created_at,
        updated_at,
    })
}

/// The id; for one that was written by hand without it, one that only its scope decides, so that an edit of its `config` leaves
/// it the same configuration.
fn id(fields: &Fields<'_>, scope: &NamedScope, report: &mut Report) -> Option<String> {
    if fields.get("id").is_none() {
        let text = |reference: &Option<Reference>| {
            let text = reference.as_ref().map(Reference::text);
            text.unwrap_or_default().to_owned()
        };
        let mut scope = [
            &scope.service,
            &scope.route,
            &scope.api,
            &scope.consumer,
            &scope.consumer_group,
        ]
        .map(text)
        .to_vec();
        // Ids were derived before there were groups, and stay.
        scope.pop_if(|group| group.is_empty());
        let derived = Uuid::new_v5(&Uuid::NAMESPACE_OID, scope.join("\n").as_bytes());
        return Some(derived.hyphenated().to_string());
    }
    let text = fields.string("id", report)?;
    let Ok(id) = Uuid::parse_str(text) else {
        report.wrong(&fields.path_of("id"), "must be a UUID, or left out");
        return None;
    };
    Some(id.hyphenated().to_string())
}

/// What may stand in the file once only.
#[derive(Default)]
struct Seen {
    ids: HashMap<String, String>,
    names: HashMap<String, String>,
    scopes: HashMap<[Option<String>; 5], String>,
}

impl Seen {
    fn check(&mut self, plugin: &StoredPlugin, fields: &Fields<'_>, report: &mut Report) {
        let path = &fields.path;
        let text = |reference: &Option<Reference>| reference.as_ref().map(|it| it.text().to_owned());
        let scope = &plugin.scope;
        let scope = [
            &scope.service,
            &scope.route,
            &scope.api,
            &scope.consumer,
            &scope.consumer_group,
        ]
        .map(text);
        if let Some(other) = self.scopes.insert(scope, path.clone()) {
            report.wrong(
                path,
                format!("has the same scope as {other}; one of them must go"),
            );
        } else if let Some(other) = self.ids.insert(plugin.id.clone(), path.clone()) {
            report.wrong(
                path,
                format!("has the same id as {other}; leave out the id of the newer one"),
            );
        }
        if let Some(name) = &plugin.instance_name
            && let Some(other) = self.names.insert(name.clone(), path.clone())
        {
            report.wrong(path, format!("has the same instance_name as {other}"));
        }
    }
}

/// The file's text.
#[must_use]
pub fn write(plugins: &[StoredPlugin]) -> String {
    let mut text = format!("{HEADER}_format_version: \"3.0\"\n");
    if plugins.is_empty() {
        text.push_str("plugins: []\n");
        return text;
    }
    text.push_str("plugins:\n");
    for plugin in plugins {
        entry(plugin, &mut text);
    }
    text
}

fn entry(plugin: &StoredPlugin, text: &mut String) {
    let mut line = |key: &str, value: String| text.push_str(&format!("  {key}: {value}\n"));
    let list = |items: &[String]| {
        let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
        format!("[{}]", items.join(", "))
    };
    line("id", plugin.id.clone());
    line("name", NAME.to_owned());
    if let Some(name) = &plugin.instance_name {
        line("instance_name", quoted(name));
    }
    let scope = &plugin.scope;
    for (key, reference) in [
        ("service", &scope.service),
        ("route", &scope.route),
        ("api", &scope.api),
        ("consumer", &scope.consumer),
        ("consumer_group", &scope.consumer_group),
    ] {
        match reference {
            None => {}
            Some(Reference::Any(text)) => line(key, quoted(text)),
            Some(Reference::Id(text)) => line(key, format!("{{ id: {} }}", quoted(text))),
            Some(Reference::Name(text)) => line(key, format!("{{ name: {} }}", quoted(text))),
        }
    }
    line("enabled", plugin.enabled.to_string());
    if plugin.protocols != PROTOCOLS {
        line("protocols", list(&plugin.protocols));
    }
    if let Some(tags) = &plugin.tags {
        line("tags", list(tags));
    }
    line("created_at", plugin.created_at.to_string());
    line("updated_at", plugin.updated_at.to_string());
    line("config", String::new());
    for (key, value) in plugin.config(Tokens::Shown) {
        let value = match &value {
            Value::String(text) => quoted(text),
            other
            @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                other.to_string()
            }
        };
        line(&format!("  {key}"), value);
    }
    // The first line of an item begins with the dash.
    if let Some(at) = text.rfind(&format!("  id: {}\n", plugin.id)) {
        text.replace_range(at..at.saturating_add(1), "-");
    }
}

/// A double-quoted scalar (YAML 1.2 section 7.3.1); what is neither printable ASCII nor a letter or digit is escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len().saturating_add(2));
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            letter if letter.is_alphanumeric() => quoted.push(letter),
            other => quoted.push_str(&format!("\\U{:08X}", u32::from(other))),
        }
    }
    quoted.push('"');
    quoted
}
