//! What decK's files have beyond Kong's own format.
//!
//! In: a file, values for placeholders. Out: the tree that Kong would be given, with `${{ env "DECK_…" }}` filled in, `_info.defaults`
//! applied and `_plugin_configs` copied to where plugins name them; and notes on what such a file leaves out. A placeholder without a
//! value is a mistake where kongtap reads the field, and nothing where it does not: most hold secrets of plugins. Source: decK's
//! documentation on environment variables, defaults, tags and shared plugin configurations.

use std::sync::{Arc, LazyLock};

use regex::Regex;
use serde_json::{Map, Value};

use crate::gateway::declarative::Lookup;
use crate::gateway::document::{self, Mistake, Mistakes, Place, SourceFile};
use crate::gateway::fields::Report;
use crate::gateway::snapshot::SnapshotWarning;

/// decK reads variables of this prefix alone.
const PREFIX: &str = "DECK_";
/// What stands for a value that is not there, so that the file can be parsed.
const UNSET: [&str; 2] = ["__unset_", "__"];

static PLACEHOLDER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\$\{\{(?s:(.*?))\}\}").ok());
static VARIABLE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"^\s*env\s+["'`]([A-Za-z0-9_]+)["'`]\s*(\|.*)?$"#).ok());

/// Parses a file with its placeholders filled in.
///
/// # Errors
/// Placeholders that cannot be understood, or what is not well formed: with their places.
pub(super) fn parse(file: &SourceFile, lookup: Lookup) -> Result<Value, Mistakes> {
    let one = |mistake| Mistakes(vec![mistake]);
    let has_placeholders = file.bytes.windows(3).any(|bytes| bytes == b"${{");
    let Some(text) = str::from_utf8(&file.bytes).ok().filter(|_| has_placeholders) else {
        return document::parse(file).map_err(one);
    };
    let filled = SourceFile {
        name: Arc::clone(&file.name),
        bytes: fill(text, &file.name, lookup)?.into_bytes(),
    };
    document::parse(&filled).map_err(one)
}

/// Fills placeholders in as text, as decK does before it parses.
fn fill(text: &str, name: &Arc<str>, lookup: Lookup) -> Result<String, Mistakes> {
    let (Some(placeholder), Some(variable)) = (&*PLACEHOLDER, &*VARIABLE) else {
        return Ok(text.to_owned());
    };
    let mut filled = String::with_capacity(text.len());
    let mut mistakes = Vec::new();
    let mut rest_from = 0;
    for found in placeholder.captures_iter(text) {
        let (Some(whole), Some(inner)) = (found.get(0), found.get(1)) else {
            continue;
        };
        let before = text.get(..whole.start()).unwrap_or_default();
        filled.push_str(before.get(rest_from..).unwrap_or_default());
        rest_from = whole.end();
        let line = before.rsplit('\n').next().unwrap_or_default();
        if line.trim_start().starts_with('#') {
            continue;
        }
        let named = variable.captures(inner.as_str()).and_then(|found| found.get(1));
        let wrong = match named.map(|named| named.as_str()) {
            None => "is not understood; write ${{ env \"DECK_NAME\" }}",
            Some(named) if !named.starts_with(PREFIX) => {
                "names a variable that decK does not read; its name must begin with DECK_"
            }
            Some(named) => {
                let [open, close] = UNSET;
                filled.push_str(&lookup(named).unwrap_or_else(|| format!("{open}{named}{close}")));
                continue;
            }
        };
        mistakes.push(Mistake {
            origin: Arc::clone(name),
            place: Place::Position(count(before.matches('\n').count()), count(line.chars().count())),
            text: format!("the placeholder `{}` {wrong}", whole.as_str()),
        });
    }
    filled.push_str(text.get(rest_from..).unwrap_or_default());
    if mistakes.is_empty() {
        Ok(filled)
    } else {
        Err(Mistakes(mistakes))
    }
}

/// A place from 1.
fn count(before: usize) -> u64 {
    u64::try_from(before).unwrap_or(u64::MAX).saturating_add(1)
}

/// Turns decK's own keys into what Kong has, and says what the file leaves out.
pub(super) fn prepare(root: &mut Value, report: &mut Report) -> Vec<SnapshotWarning> {
    for kind in ["services", "routes", "consumers", "consumer_groups"] {
        if let Some(value) = root.get(kind) {
            find_unset(value, kind, report);
        }
    }
    let info = root.get("_info").cloned().unwrap_or_default();
    let defaults = info.get("defaults");
    let of = |kind: &str| {
        defaults
            .and_then(|defaults| defaults.get(kind))
            .and_then(Value::as_object)
    };
    for service in items(root, "services") {
        add_missing(service, of("service"));
        for route in items(service, "routes") {
            add_missing(route, of("route"));
        }
    }
    for route in items(root, "routes") {
        add_missing(route, of("route"));
    }
    if let Some(Value::Object(shared)) = root.get("_plugin_configs").cloned() {
        share(root, &shared);
    }
    let tags = info.get("select_tags").and_then(Value::as_array);
    let tags: Vec<_> = tags.into_iter().flatten().filter_map(Value::as_str).collect();
    if tags.is_empty() {
        return Vec::new();
    }
    vec![SnapshotWarning {
        entity: format!("file {}", report.origin()),
        text: format!(
            "holds only what is tagged {} (_info.select_tags): routes that the gateway has besides are not known here",
            tags.join(", ")
        ),
    }]
}

/// Fields whose values are not read here, or may be missing: whom a credential names is then unknown.
fn is_unread(key: &str) -> bool {
    let others = ["plugins", "tags", "acls", "client_certificate", "ca_certificates"];
    others.contains(&key) || key.ends_with("_credentials") || key.ends_with("_secrets")
}

/// Whether a text stands, in part, for a value that is not there.
pub(super) fn is_unset(text: &str) -> bool {
    unset(text).is_some()
}

/// The variable of a text that stands for a value that is not there.
fn unset(text: &str) -> Option<&str> {
    let [open, close] = UNSET;
    let (name, _) = text.split_once(open)?.1.split_once(close)?;
    Some(name)
}

fn find_unset(value: &Value, path: &str, report: &mut Report) {
    match value {
        Value::String(text) => {
            if let Some(name) = unset(text) {
                let what = format!("needs the environment variable `{name}`, which kongtap does not have");
                report.wrong(path, what);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                find_unset(item, &format!("{path}[{index}]"), report);
            }
        }
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(key, _)| !is_unread(key)) {
                find_unset(value, &format!("{path}.{key}"), report);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The items of a list, none if there is no list.
fn items<'a>(parent: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> {
    let list = parent.get_mut(name).and_then(Value::as_array_mut);
    list.into_iter().flatten()
}

fn add_missing(entity: &mut Value, defaults: Option<&Map<String, Value>>) {
    let (Some(entity), Some(defaults)) = (entity.as_object_mut(), defaults) else {
        return;
    };
    for (key, value) in defaults {
        let own = entity.entry(key.clone()).or_insert(Value::Null);
        if own.is_null() {
            own.clone_from(value);
        }
    }
}

/// Gives each plugin that names a shared configuration (`_config`) what it does not have itself.
fn share(value: &mut Value, shared: &Map<String, Value>) {
    for plugin in items(value, "plugins") {
        let name = plugin.get("_config").and_then(Value::as_str);
        let config = name.and_then(|name| shared.get(name)).cloned();
        if let (Some(config), Some(plugin)) = (config, plugin.as_object_mut()) {
            let own = plugin.entry("config").or_insert(Value::Null);
            if own.is_null() {
                *own = Value::Object(Map::new());
            }
            add_missing(own, config.as_object());
        }
    }
    for kind in ["services", "routes", "consumers", "consumer_groups"] {
        for parent in items(value, kind) {
            share(parent, shared);
        }
    }
}
