//! One configuration out of the fields of a call.
//!
//! In: fields as they were sent, what they are laid over, and the parent that the path names. Out: a checked [`StoredPlugin`]
//! that no other one is in the way of, or why not. The order of checks is Kong's: fields, what they refer to, what must be unique.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::dialect::{Dialect, Problem, Refusal};
use super::{Found, Kind, World, shown_id};
use crate::admin::body::Arguments;
use crate::gateway::entities::Reference;
use crate::plugin::file::NAME;
use crate::plugin::schema::{self, Typing, Wrong};
use crate::plugin::stored::{HIDDEN_TOKEN, NamedScope, PROTOCOLS, StoredPlugin, Tokens};

/// What fields are laid over.
#[derive(Clone, Copy, Debug)]
pub enum Draft<'a> {
    /// The defaults, for a new one with this id unless another is given.
    Insert(Uuid),
    /// The defaults, in place of this one.
    Replace(&'a StoredPlugin),
    /// This one.
    Merge(&'a StoredPlugin),
}

/// The scopes of two configurations are the same when these are.
pub(super) type ScopeKey = [Option<String>; 4];

/// Every kind, in the order of a [`ScopeKey`].
pub(super) const KINDS: [Kind; 4] = [Kind::Consumer, Kind::Route, Kind::Service, Kind::Api];

/// What a scope names of one kind.
pub(super) const fn slot(scope: &NamedScope, kind: Kind) -> Option<&Reference> {
    match kind {
        Kind::Service => scope.service.as_ref(),
        Kind::Route => scope.route.as_ref(),
        Kind::Api => scope.api.as_ref(),
        Kind::Consumer => scope.consumer.as_ref(),
    }
}

fn set(scope: &mut NamedScope, kind: Kind, reference: Option<Reference>) {
    match kind {
        Kind::Service => scope.service = reference,
        Kind::Route => scope.route = reference,
        Kind::Api => scope.api = reference,
        Kind::Consumer => scope.consumer = reference,
    }
}

pub(super) fn draft(
    arguments: &Arguments,
    world: &World<'_>,
    parent: Option<&Found>,
    how: Draft<'_>,
) -> Result<StoredPlugin, Refusal> {
    let mut fields = arguments.fields.clone();
    if arguments.is_form {
        infer(&mut fields, world.dialect);
    }
    let (old, base) = match how {
        Draft::Insert(_) => (None, None),
        Draft::Replace(old) => (Some(old), None),
        Draft::Merge(old) => (Some(old), Some(old)),
    };
    let mut wrong = Vec::new();
    for name in fields.keys().filter(|name| !world.dialect.is_field(name)) {
        wrong.push((name.clone(), Problem::Field(Wrong::Unknown)));
    }
    let is_ours = name(&fields, base, &mut wrong);
    let id = match how {
        Draft::Insert(new) => id(&fields, new, &mut wrong),
        Draft::Replace(old) | Draft::Merge(old) => old.id.clone(),
    };
    let enabled = match fields.get("enabled") {
        None | Some(Value::Null) => base.is_none_or(|base| base.enabled),
        Some(Value::Bool(flag)) => *flag,
        Some(_) => {
            wrong.push(("enabled".to_owned(), Problem::Field(Wrong::NotBoolean)));
            true
        }
    };
    let instance_name = match fields.get("instance_name") {
        None => base.and_then(|base| base.instance_name.clone()),
        Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name.clone()),
        Some(_) => {
            wrong.push(("instance_name".to_owned(), Problem::Field(Wrong::NotString)));
            None
        }
    };
    let tags = match fields.get("tags") {
        None => base.and_then(|base| base.tags.clone()),
        Some(_) => list(&fields, "tags", &mut wrong),
    };
    let protocols = match fields.get("protocols") {
        None => base.map(|base| base.protocols.clone()),
        Some(_) => list(&fields, "protocols", &mut wrong),
    };
    let protocols = protocols.unwrap_or_else(|| PROTOCOLS.map(str::to_owned).to_vec());
    if protocols.is_empty() || protocols.iter().any(|it| !PROTOCOLS.contains(&it.as_str())) {
        wrong.push(("protocols".to_owned(), Problem::NoProtocol));
    }
    let scope = scope(&fields, base, parent, world.dialect, &mut wrong);
    let config = config(&fields, old, base, &mut wrong);
    let typing = match world.dialect {
        Dialect::Old => Typing::Lenient,
        Dialect::Current => Typing::Strict,
    };
    // Whose name is not ours has a `config` that is not ours to judge.
    let settings = match (is_ours, config) {
        (true, Some(config)) => schema::check(&config, typing)
            .map_err(|mistakes| {
                let mistakes = mistakes.into_iter();
                wrong.extend(mistakes.map(|(name, it)| (format!("config.{name}"), Problem::Field(it))));
            })
            .ok(),
        (true | false, _) => None,
    };
    let settings = settings.filter(|_| wrong.is_empty());
    let Some(settings) = settings else {
        return Err(Refusal::Schema(wrong));
    };
    if scope.api.is_some() && (scope.route.is_some() || scope.service.is_some()) {
        return Err(Refusal::ApiWithOthers);
    }
    let plugin = StoredPlugin {
        created_at: old.map_or(world.now, |old| old.created_at),
        updated_at: world.now,
        id,
        instance_name,
        scope,
        enabled,
        protocols,
        tags,
        settings,
    };
    refers_to_what_exists(&plugin, base, parent, world)?;
    is_unique(&plugin, old, world)?;
    Ok(plugin)
}

/// Gives the leaves of a form the types that the fields have.
fn infer(fields: &mut Map<String, Value>, dialect: Dialect) {
    let number = |text: &str| text.trim().parse::<f64>().ok().map(Value::from);
    let flag = |text: &str| text.parse::<bool>().ok().map(Value::from);
    let each = |map: &mut Map<String, Value>| {
        for (name, value) in map.iter_mut() {
            let Value::String(text) = &*value else {
                continue;
            };
            let inferred = match name.as_str() {
                // [Kong 0.13.1 kong/api/init.lua]
                _ if text.is_empty() && dialect == Dialect::Old => Some(Value::Null),
                "enabled" | "log_body" | "tls_verify" => flag(text),
                "timeout" | "keepalive" => number(text),
                "tags" | "protocols" => Some(Value::from(vec![text.clone()])),
                _ => None,
            };
            if let Some(inferred) = inferred {
                *value = inferred;
            }
        }
    };
    each(fields);
    if let Some(Value::Object(config)) = fields.get_mut("config") {
        each(config);
    }
}

/// Whether it is our plugin.
fn name(
    fields: &Map<String, Value>,
    base: Option<&StoredPlugin>,
    wrong: &mut Vec<(String, Problem)>,
) -> bool {
    let problem = match fields.get("name") {
        Some(Value::String(name)) if name == NAME => return true,
        None if base.is_some() => return true,
        Some(Value::String(_)) if base.is_some() => Problem::Immutable,
        Some(Value::String(name)) if !name.is_empty() => Problem::NotEnabled(name.clone()),
        None | Some(Value::Null | Value::String(_)) => Problem::Field(Wrong::Required),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Problem::Field(Wrong::NotString)
        }
    };
    wrong.push(("name".to_owned(), problem));
    false
}

fn id(fields: &Map<String, Value>, new: Uuid, wrong: &mut Vec<(String, Problem)>) -> String {
    let given = match fields.get("id") {
        None | Some(Value::Null) => Ok(new),
        Some(Value::String(text)) => Uuid::parse_str(text).map_err(|_error| ()),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => Err(()),
    };
    let id = given.unwrap_or_else(|()| {
        wrong.push(("id".to_owned(), Problem::NotUuid));
        new
    });
    id.hyphenated().to_string()
}

fn list(fields: &Map<String, Value>, name: &str, wrong: &mut Vec<(String, Problem)>) -> Option<Vec<String>> {
    let items = match fields.get(name)? {
        Value::Null => return None,
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => None,
    };
    if items.is_none() {
        wrong.push((name.to_owned(), Problem::NotList));
    }
    items
}

/// What it is to be bound to: the path's parent wins over the body.
fn scope(
    fields: &Map<String, Value>,
    base: Option<&StoredPlugin>,
    parent: Option<&Found>,
    dialect: Dialect,
    wrong: &mut Vec<(String, Problem)>,
) -> NamedScope {
    let mut scope = base.map(|base| base.scope.clone()).unwrap_or_default();
    for kind in KINDS {
        let name = dialect.scope_name(kind);
        let sent = match (fields.get(&name), dialect) {
            (None, _) => continue,
            (Some(Value::Null), _) => Ok(None),
            (Some(Value::String(id)), Dialect::Old) => Ok(Some(id)),
            (Some(Value::Object(map)), Dialect::Current) => match map.get("id") {
                _ if map.keys().any(|key| key != "id") => {
                    let odd = map.keys().find(|key| *key != "id");
                    Err((odd.cloned(), Problem::Field(Wrong::Unknown)))
                }
                Some(Value::String(id)) if Uuid::parse_str(id).is_ok() => Ok(Some(id)),
                Some(Value::String(_)) => Err((Some("id".to_owned()), Problem::NotUuid)),
                Some(_) => Err((Some("id".to_owned()), Problem::Field(Wrong::NotString))),
                None => Err((Some("id".to_owned()), Problem::Field(Wrong::Required))),
            },
            (Some(_), Dialect::Old) => Err((None, Problem::Field(Wrong::NotString))),
            (Some(_), Dialect::Current) => Err((None, Problem::NotRecord)),
        };
        match sent {
            Ok(id) => set(
                &mut scope,
                kind,
                id.map(|id| Reference::Id(id.to_ascii_lowercase())),
            ),
            Err((sub, problem)) => {
                let path = sub.map_or_else(|| name.clone(), |sub| format!("{name}.{sub}"));
                wrong.push((path, problem));
            }
        }
    }
    if let Some(parent) = parent {
        set(&mut scope, parent.kind, Some(Reference::Id(parent.id.clone())));
    }
    scope
}

/// The `config` to check; `null` clears a field, so that its default applies.
fn config(
    fields: &Map<String, Value>,
    old: Option<&StoredPlugin>,
    base: Option<&StoredPlugin>,
    wrong: &mut Vec<(String, Problem)>,
) -> Option<Map<String, Value>> {
    let mut config = base.map(|base| base.config(Tokens::Shown)).unwrap_or_default();
    match fields.get("config") {
        None | Some(Value::Null) => {}
        Some(Value::Object(sent)) => config.extend(sent.clone()),
        // Lua has no other empty list.
        Some(Value::Array(items)) if items.is_empty() => {}
        Some(_) => {
            wrong.push(("config".to_owned(), Problem::NotRecord));
            return None;
        }
    }
    // Whoever sends back what was read means the token that is there.
    if config.get("access_token").and_then(Value::as_str) == Some(HIDDEN_TOKEN) {
        match old {
            Some(old) => {
                let token = old.settings.destination.access_token.expose();
                config.insert("access_token".to_owned(), Value::from(token));
            }
            None => {
                config.remove("access_token");
            }
        }
    }
    // Likewise the proxy's password.
    let proxy = old.and_then(|old| old.settings.destination.transport.proxy.as_ref());
    if let Some(proxy) = proxy
        && config.get("proxy").and_then(Value::as_str) == Some(&proxy.shown(HIDDEN_TOKEN))
    {
        config.insert("proxy".to_owned(), Value::from(proxy.expose()));
    }
    Some(config)
}

/// What a call names must be there; what a configuration named before may be gone by now.
fn refers_to_what_exists(
    plugin: &StoredPlugin,
    base: Option<&StoredPlugin>,
    parent: Option<&Found>,
    world: &World<'_>,
) -> Result<(), Refusal> {
    for kind in KINDS {
        let Some(reference) = slot(&plugin.scope, kind) else {
            continue;
        };
        let is_old = base.is_some_and(|base| slot(&base.scope, kind) == Some(reference));
        let is_parent = parent.is_some_and(|parent| parent.kind == kind);
        if !is_old && !is_parent && world.resolve(kind, reference)?.is_none() {
            return Err(Refusal::NoSuch(kind, reference.text().to_owned()));
        }
    }
    Ok(())
}

fn is_unique(plugin: &StoredPlugin, old: Option<&StoredPlugin>, world: &World<'_>) -> Result<(), Refusal> {
    let own = key(plugin, world);
    let others = world
        .plugins
        .iter()
        .filter(|other| old.is_none_or(|old| other.id != old.id));
    for other in others {
        if other.id == plugin.id {
            return Err(Refusal::IdTaken(plugin.id.clone()));
        }
        if key(other, world) == own {
            return Err(Refusal::ScopeTaken(own));
        }
        if let Some(name) = &plugin.instance_name
            && other.instance_name.as_ref() == Some(name)
        {
            return Err(Refusal::InstanceNameTaken(name.clone()));
        }
    }
    Ok(())
}

fn key(plugin: &StoredPlugin, world: &World<'_>) -> ScopeKey {
    KINDS.map(|kind| slot(&plugin.scope, kind).map(|reference| shown_id(world.snapshot, kind, reference)))
}
