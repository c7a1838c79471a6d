//! How the two generations of Kong's Admin API name things, and what they answer.
//!
//! In: a configuration or a [`Refusal`]. Out: JSON and codes. Sources: Kong 0.13.1 kong/dao/errors.lua, kong/dao/schemas/plugins.lua,
//! kong/tools/responses.lua; Kong 3.9 kong/db/errors.lua, kong/api/endpoints.lua, kong/db/schema/init.lua.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::draft::{KINDS, ScopeKey, slot};
use super::{Answer, Kind, one, shown_id};
use crate::gateway::snapshot::Snapshot;
use crate::plugin::file::NAME;
use crate::plugin::schema::{MAX_DURATION_MS, Wrong};
use crate::plugin::stored::{StoredPlugin, Tokens};
use crate::plugin::transport::PROXY_FORM;

/// A generation of the Admin API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// 0.13 and 0.14.
    Old,
    /// 1.0 on, as 3.x has it.
    Current,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// What the plugin's own schema knows.
    Field(Wrong),
    /// Not a UUID.
    NotUuid,
    /// Not a map.
    NotRecord,
    /// Not a list of strings.
    NotList,
    /// A protocol that is not HTTP's.
    NoProtocol,
    /// A plugin that is not here.
    NotEnabled(String),
    /// It cannot become another one.
    Immutable,
}

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such path, parent or configuration.
    NotFound,
    /// Not with this method.
    MethodNotAllowed,
    /// A PATCH of nothing.
    EmptyBody,
    /// It says JSON and is none.
    NotJson,
    /// A form that cannot be read.
    BadForm,
    /// Neither JSON nor a form.
    Unsupported,
    /// Fields are wrong.
    Schema(Vec<(String, Problem)>),
    /// An API together with a route or a service.
    ApiWithOthers,
    /// The body refers to an entity that is not there.
    NoSuch(Kind, String),
    /// Another configuration has this scope.
    ScopeTaken(ScopeKey),
    /// Another configuration has this id.
    IdTaken(String),
    /// Another configuration has this name.
    InstanceNameTaken(String),
    /// A page's size.
    BadSize(&'static str),
    /// A page's offset.
    BadOffset(String),
    /// A list cannot be filtered by this.
    UnknownFilter(String),
    /// No such plugin, when its schema is asked for.
    NoPlugin(String),
    /// kongtap's own: the gateway's configuration is not known, so references cannot be checked.
    NoGateway,
}

impl Dialect {
    /// The field that a scope has for this kind.
    #[must_use]
    pub fn scope_name(self, kind: Kind) -> String {
        match self {
            Self::Old => format!("{}_id", kind.field()),
            Self::Current => kind.field().to_owned(),
        }
    }

    /// Whether a configuration may have this field.
    #[must_use]
    pub fn is_field(self, name: &str) -> bool {
        let (own, kinds): (&[&str], &[Kind]) = match self {
            Self::Old => (&["id", "name", "enabled", "config", "created_at"], &KINDS),
            Self::Current => (
                &[
                    "id",
                    "name",
                    "instance_name",
                    "enabled",
                    "config",
                    "protocols",
                    "tags",
                    "created_at",
                    "updated_at",
                ],
                &[Kind::Consumer, Kind::Route, Kind::Service],
            ),
        };
        own.contains(&name) || kinds.iter().any(|kind| self.scope_name(*kind) == name)
    }

    /// Whether 0.13's lists can be filtered by this field.
    pub(super) fn is_filter(self, name: &str) -> bool {
        self.is_field(name) && name != "config" && name != "created_at"
    }

    /// A field of 0.13's flat form, as text.
    pub(super) fn scope_field(
        self,
        plugin: &StoredPlugin,
        name: &str,
        snapshot: &Snapshot,
    ) -> Option<String> {
        match self.entity(plugin, snapshot, Tokens::Hidden).get(name)? {
            Value::String(text) => Some(text.clone()),
            other
            @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Some(other.to_string())
            }
        }
    }

    /// A configuration as this dialect shows it.
    #[must_use]
    pub fn entity(self, plugin: &StoredPlugin, snapshot: &Snapshot, tokens: Tokens) -> Value {
        let mut entity = Map::from_iter([
            ("id".to_owned(), Value::from(plugin.id.as_str())),
            ("name".to_owned(), Value::from(NAME)),
            ("enabled".to_owned(), Value::from(plugin.enabled)),
            ("config".to_owned(), Value::from(plugin.config(tokens))),
        ]);
        let bound = KINDS.map(|kind| (kind, slot(&plugin.scope, kind)));
        match self {
            Self::Old => {
                // Milliseconds, whatever its documentation showed.
                let created = plugin.created_at.saturating_mul(1000);
                entity.insert("created_at".to_owned(), Value::from(created));
                for (kind, reference) in bound {
                    if let Some(reference) = reference {
                        let id = shown_id(snapshot, kind, reference);
                        entity.insert(self.scope_name(kind), Value::from(id));
                    }
                }
            }
            Self::Current => {
                entity.insert("created_at".to_owned(), Value::from(plugin.created_at));
                entity.insert("updated_at".to_owned(), Value::from(plugin.updated_at));
                entity.insert("protocols".to_owned(), json!(plugin.protocols));
                entity.insert("tags".to_owned(), json!(plugin.tags));
                entity.insert("instance_name".to_owned(), json!(plugin.instance_name));
                for (kind, reference) in bound {
                    let shown = reference.map(|reference| one("id", shown_id(snapshot, kind, reference)));
                    if kind != Kind::Api || shown.is_some() {
                        entity.insert(self.scope_name(kind), shown.unwrap_or(Value::Null));
                    }
                }
            }
        }
        Value::Object(entity)
    }

    /// The answer that refuses.
    #[must_use]
    pub fn refuse(self, refusal: &Refusal) -> Answer {
        let (status, body) = match refusal {
            Refusal::NotFound => (404, message("Not found")),
            Refusal::MethodNotAllowed => (405, message("Method not allowed")),
            Refusal::EmptyBody => (400, message("empty body")),
            Refusal::NotJson => (400, message("Cannot parse JSON body")),
            Refusal::BadForm => (400, message("Cannot parse form body")),
            Refusal::Unsupported => (415, message("Unsupported media type")),
            Refusal::NoPlugin(name) => (404, message(&format!("No plugin named '{name}'"))),
            Refusal::NoGateway => (
                503,
                message(
                    "the gateway's configuration has not been read (see /status), so what this is bound to cannot be checked",
                ),
            ),
            Refusal::ApiWithOthers => (
                400,
                message("cannot configure plugin with api_id and one of route_id or service_id"),
            ),
            Refusal::Schema(_)
            | Refusal::NoSuch(..)
            | Refusal::ScopeTaken(_)
            | Refusal::IdTaken(_)
            | Refusal::InstanceNameTaken(_)
            | Refusal::BadSize(_)
            | Refusal::BadOffset(_)
            | Refusal::UnknownFilter(_) => match self {
                Self::Old => old(refusal),
                Self::Current => current(refusal),
            },
        };
        let body = Some(body);
        Answer { status, body }
    }
}

fn message(text: &str) -> Value {
    one("message", text)
}

fn old(refusal: &Refusal) -> (u16, Value) {
    match refusal {
        Refusal::Schema(wrong) => {
            let fields = wrong.iter().map(|(path, problem)| {
                // Who the plugin is was found out by way of its `config`.
                let is_unknown = matches!(problem, Problem::NotEnabled(_));
                let field = if is_unknown { "config" } else { path };
                (field.to_owned(), Value::from(old_text(path, problem)))
            });
            (400, Value::Object(fields.collect()))
        }
        // What 0.13 kept in its new database answered for itself.
        Refusal::NoSuch(Kind::Service | Kind::Route, _) => (404, message("Not found")),
        Refusal::NoSuch(kind @ (Kind::Api | Kind::Consumer), id) => {
            let field = Dialect::Old.scope_name(*kind);
            (404, one(&field, format!("does not exist with value '{id}'")))
        }
        Refusal::ScopeTaken(_) => (409, one("name", format!("already exists with value '{NAME}'"))),
        Refusal::IdTaken(id) => (409, one("id", format!("already exists with value '{id}'"))),
        Refusal::InstanceNameTaken(name) => (
            409,
            one("instance_name", format!("already exists with value '{name}'")),
        ),
        Refusal::BadOffset(_) => (400, message("Invalid offset")),
        Refusal::BadSize(text) => (400, message(text)),
        Refusal::UnknownFilter(name) => (400, one(name, "unknown field")),
        // Answered alike in both dialects, by `refuse`.
        Refusal::NotFound
        | Refusal::MethodNotAllowed
        | Refusal::EmptyBody
        | Refusal::NotJson
        | Refusal::BadForm
        | Refusal::Unsupported
        | Refusal::ApiWithOthers
        | Refusal::NoPlugin(_)
        | Refusal::NoGateway => (500, message("An unexpected error occurred")),
    }
}

/// [Kong 0.13.1 kong/dao/schemas_validation.lua]
fn old_text(path: &str, problem: &Problem) -> String {
    let name = path.rsplit('.').next().unwrap_or(path);
    match problem {
        Problem::Field(Wrong::Required) => format!("{name} is required"),
        Problem::Field(Wrong::Unknown) => format!("{name} is an unknown field"),
        Problem::Field(Wrong::NotString) => format!("{name} is not a string"),
        Problem::Field(Wrong::NotNumber) => format!("{name} is not a number"),
        Problem::Field(Wrong::NotBoolean) => format!("{name} is not a boolean"),
        Problem::Field(Wrong::NotUrl) => format!("{name} is not a url"),
        Problem::Field(Wrong::OutOfRange) => format!("{name} must be between 0 and {MAX_DURATION_MS}"),
        Problem::Field(Wrong::Zero) => format!("{name} must be greater than 0"),
        Problem::Field(Wrong::NotForHeaders) => format!("{name} cannot stand in a header"),
        Problem::Field(Wrong::PathStep) => format!("{name} cannot be '.' or '..'"),
        Problem::Field(Wrong::NotPath) => format!("{name} must be an absolute path"),
        Problem::Field(Wrong::NotVersion) => format!("{name} must be one of 'auto', '1.1', '2'"),
        Problem::Field(Wrong::NotProxy) => format!("{name} {PROXY_FORM}"),
        Problem::Field(Wrong::Unverified) => format!("{name} is of no use when tls_verify is false"),
        Problem::NotUuid => format!("{name} is not a valid uuid"),
        Problem::NotRecord => format!("{name} is not a table"),
        Problem::NotList => format!("{name} is not an array"),
        Problem::NoProtocol => format!("{name} is not one of HTTP's"),
        Problem::Immutable => format!("{name} cannot be updated"),
        Problem::NotEnabled(plugin) => {
            format!("plugin '{plugin}' not enabled; add it to the 'custom_plugins' configuration property")
        }
    }
}

fn current(refusal: &Refusal) -> (u16, Value) {
    match refusal {
        Refusal::Schema(wrong) => (400, violation(wrong)),
        Refusal::NoSuch(kind, id) => {
            let table = kind.collection();
            let text =
                format!("the foreign key '{{id=\"{id}\"}}' does not reference an existing '{table}' entity.");
            let fields = one(kind.field(), one("id", id.as_str()));
            (400, error(4, "foreign key violation", &text, Some(fields)))
        }
        Refusal::ScopeTaken(scope) => taken(scope),
        Refusal::IdTaken(id) => {
            let text = format!("primary key violation on key '{{id=\"{id}\"}}'");
            let fields = one("id", id.as_str());
            (400, error(3, "primary key violation", &text, Some(fields)))
        }
        Refusal::InstanceNameTaken(name) => {
            let text = format!("UNIQUE violation detected on '{{instance_name=\"{name}\"}}'");
            let fields = one("instance_name", name.as_str());
            (409, error(5, "unique constraint violation", &text, Some(fields)))
        }
        Refusal::BadSize(text) => (400, error(9, "invalid size", text, None)),
        Refusal::BadOffset(offset) => {
            let text = format!("'{offset}' is not a valid offset: bad base64 encoding");
            (400, error(7, "invalid offset", &text, None))
        }
        // Answered alike in both dialects, by `refuse`.
        Refusal::NotFound
        | Refusal::MethodNotAllowed
        | Refusal::EmptyBody
        | Refusal::NotJson
        | Refusal::BadForm
        | Refusal::Unsupported
        | Refusal::ApiWithOthers
        | Refusal::NoPlugin(_)
        | Refusal::NoGateway
        | Refusal::UnknownFilter(_) => (500, message("An unexpected error occurred")),
    }
}

fn error(code: u8, name: &str, text: &str, fields: Option<Value>) -> Value {
    let mut error = json!({"code": code, "name": name, "message": text});
    if let (Some(fields), Value::Object(error)) = (fields, &mut error) {
        error.insert("fields".to_owned(), fields);
    }
    error
}

fn taken(scope: &ScopeKey) -> (u16, Value) {
    let mut fields = BTreeMap::from([("name".to_owned(), Value::from(NAME))]);
    let mut shown = BTreeMap::from([("name".to_owned(), format!("\"{NAME}\""))]);
    for (kind, id) in KINDS.into_iter().zip(scope) {
        if kind == Kind::Api {
            continue;
        }
        let field = kind.field().to_owned();
        let text = id
            .as_ref()
            .map_or_else(|| "null".to_owned(), |id| format!("{{id=\"{id}\"}}"));
        shown.insert(field.clone(), text);
        let value = id.as_ref().map_or(Value::Null, |id| one("id", id.as_str()));
        fields.insert(field, value);
    }
    let shown: Vec<_> = shown
        .into_iter()
        .map(|(name, text)| format!("{name}={text}"))
        .collect();
    let text = format!("UNIQUE violation detected on '{{{}}}'", shown.join(","));
    let fields = Value::Object(fields.into_iter().collect());
    (409, error(5, "unique constraint violation", &text, Some(fields)))
}

/// Fields nest in the answer and are listed flat in its message, both in the order of their names.
fn violation(wrong: &[(String, Problem)]) -> Value {
    let flat: BTreeMap<&str, String> = wrong
        .iter()
        .map(|(path, problem)| (path.as_str(), current_text(problem)))
        .collect();
    let mut fields = Map::new();
    for (path, text) in &flat {
        match path.split_once('.') {
            None => {
                fields.insert((*path).to_owned(), Value::from(text.as_str()));
            }
            Some((name, sub)) => {
                let inner = fields.entry(name).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(inner) = inner {
                    inner.insert(sub.to_owned(), Value::from(text.as_str()));
                }
            }
        }
    }
    let listed: Vec<_> = flat
        .iter()
        .map(|(path, text)| format!("{path}: {text}"))
        .collect();
    let text = match listed.as_slice() {
        [only] => format!("schema violation ({only})"),
        several => format!("{} schema violations ({})", several.len(), several.join("; ")),
    };
    error(2, "schema violation", &text, Some(Value::Object(fields)))
}

/// [Kong 3.9 kong/db/schema/init.lua]
fn current_text(problem: &Problem) -> String {
    match problem {
        Problem::Field(Wrong::Required) => "required field missing".to_owned(),
        Problem::Field(Wrong::Unknown) => "unknown field".to_owned(),
        Problem::Field(Wrong::NotString) => "expected a string".to_owned(),
        Problem::Field(Wrong::NotNumber) => "expected a number".to_owned(),
        Problem::Field(Wrong::NotBoolean) => "expected a boolean".to_owned(),
        Problem::Field(Wrong::NotUrl) => "missing host in url".to_owned(),
        Problem::Field(Wrong::OutOfRange) => format!("value should be between 0 and {MAX_DURATION_MS}"),
        Problem::Field(Wrong::Zero) => "value must be greater than 0".to_owned(),
        Problem::Field(Wrong::NotForHeaders) => "cannot stand in a header".to_owned(),
        Problem::Field(Wrong::PathStep) => "cannot be '.' or '..'".to_owned(),
        Problem::Field(Wrong::NotPath) => "should start with: /".to_owned(),
        Problem::Field(Wrong::NotVersion) => "expected one of: auto, 1.1, 2".to_owned(),
        Problem::Field(Wrong::NotProxy) => PROXY_FORM.to_owned(),
        Problem::Field(Wrong::Unverified) => "of no use when tls_verify is false".to_owned(),
        Problem::NotUuid => "expected a valid UUID".to_owned(),
        Problem::NotRecord => "expected a record".to_owned(),
        Problem::NotList => "expected a set".to_owned(),
        Problem::NoProtocol => "expected one of: grpc, grpcs, http, https".to_owned(),
        // Since 1.0 a PATCH may name another plugin, if there is one.
        Problem::Immutable => "immutable field cannot be updated".to_owned(),
        Problem::NotEnabled(plugin) => {
            format!("plugin '{plugin}' not enabled; add it to the 'plugins' configuration property")
        }
    }
}
