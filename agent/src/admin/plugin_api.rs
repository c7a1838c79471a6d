//! Kong's plugin API for the plugin `runscope`: what a call means.
//!
//! In: a [`Call`], the configurations that there are, and the gateway's entities. Out: an [`Answer`] and, when something is to
//! change, the new configurations. Two dialects ([`dialect`]) give the codes, bodies and texts. Deliberately absent: HTTP
//! (`admin::plugins`), the disk (`plugin::store`) and every clock.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::admin::body::Arguments;
use crate::gateway::entities::{Reference, Route};
use crate::gateway::snapshot::Snapshot;
use crate::plugin::stored::{StoredPlugin, Tokens};

use self::dialect::{Dialect, Refusal};
use self::draft::Draft;
use self::path::{Parent, Target};

pub mod dialect;
pub mod draft;
pub mod page;
pub mod path;
mod schema;

#[cfg(test)]
mod tests;

/// What may be done to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET, and HEAD, whose body is left out when it is sent.
    Get,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
    /// Anything else.
    Other,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// What is to be done.
    pub method: Method,
    /// The request target's path, as it came.
    pub path: String,
    /// The request target's query, decoded.
    pub query: Vec<(String, String)>,
    /// The body.
    pub arguments: Arguments,
    /// `scheme://host`, for addresses in answers.
    pub base: String,
    /// Whether tokens may be in the answer.
    pub tokens: Tokens,
}

/// What a call is answered with.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body; none for 204.
    pub body: Option<Value>,
}

/// What a call is decided on.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// How it is answered.
    pub dialect: Dialect,
    /// The gateway's entities.
    pub snapshot: &'a Snapshot,
    /// The configurations that there are.
    pub plugins: &'a [StoredPlugin],
    /// Unix seconds.
    pub now: u64,
    /// An id for a new configuration, if one is made.
    pub new_id: uuid::Uuid,
}

/// The answer, and what is to change.
pub type Outcome = (Answer, Option<Vec<StoredPlugin>>);

/// Whether a call can change anything.
#[must_use]
pub const fn is_write(method: Method) -> bool {
    match method {
        Method::Get | Method::Other => false,
        Method::Post | Method::Put | Method::Patch | Method::Delete => true,
    }
}

/// Decides on a call.
#[must_use]
pub fn answer(call: &Call, world: &World<'_>) -> Outcome {
    match decide(call, world) {
        Ok(outcome) => outcome,
        Err(refusal) => (world.dialect.refuse(&refusal), None),
    }
}

fn decide(call: &Call, world: &World<'_>) -> Result<Outcome, Refusal> {
    let target = path::parse(&call.path, world.dialect).ok_or(Refusal::NotFound)?;
    match (target, call.method) {
        (Target::Enabled, Method::Get) => Ok(read(schema::enabled())),
        (Target::Schema(form, name), Method::Get) => schema::of(form, &name, world.dialect).map(read),
        (Target::Collection(parent), method) => {
            let parent = parent.map(|parent| world.parent(&parent)).transpose()?;
            on_collection(call, world, parent.as_ref(), method)
        }
        (Target::Item(parent, key), method) => {
            let parent = parent.map(|parent| world.parent(&parent)).transpose()?;
            on_item(call, world, parent.as_ref(), &key, method)
        }
        (Target::Enabled | Target::Schema(..), _) => Err(Refusal::MethodNotAllowed),
    }
}

fn on_collection(
    call: &Call,
    world: &World<'_>,
    parent: Option<&Found>,
    method: Method,
) -> Result<Outcome, Refusal> {
    match (method, world.dialect) {
        (Method::Get, _) => page::page(call, world, parent).map(read),
        (Method::Post, _) => insert(call, world, parent),
        (Method::Put, Dialect::Old) => {
            // With its primary key, which was id and name, a full update; without, an insert [Kong 0.13.1 kong/api/crud_helpers.lua].
            let fields = &call.arguments.fields;
            match fields.get("id").and_then(Value::as_str) {
                Some(id) if fields.contains_key("name") => {
                    let old = world.find(id, parent).ok_or(Refusal::NotFound)?;
                    update(call, world, parent, old, Draft::Replace(old))
                }
                Some(_) | None => insert(call, world, parent),
            }
        }
        (Method::Put, Dialect::Current) | (Method::Patch | Method::Delete | Method::Other, _) => {
            Err(Refusal::MethodNotAllowed)
        }
    }
}

fn on_item(
    call: &Call,
    world: &World<'_>,
    parent: Option<&Found>,
    key: &str,
    method: Method,
) -> Result<Outcome, Refusal> {
    let found = world.find(key, parent);
    match (method, world.dialect) {
        (Method::Get, _) => {
            let plugin = found.ok_or(Refusal::NotFound)?;
            Ok(read(world.dialect.entity(plugin, world.snapshot, call.tokens)))
        }
        (Method::Patch, dialect) => {
            let old = found.ok_or(Refusal::NotFound)?;
            if dialect == Dialect::Old && call.arguments.fields.is_empty() {
                return Err(Refusal::EmptyBody);
            }
            update(call, world, parent, old, Draft::Merge(old))
        }
        (Method::Put, Dialect::Current) => upsert(call, world, parent, key),
        (Method::Delete, dialect) => {
            // Kong 1.0 and later answer 204 for what is not there, but not below a parent [Kong 3.9 kong/api/endpoints.lua].
            let old = match (found, dialect, parent) {
                (Some(old), _, _) => old,
                (None, Dialect::Current, None) => return Ok((NO_CONTENT, None)),
                (None, _, _) => return Err(Refusal::NotFound),
            };
            let kept = world.plugins.iter().filter(|plugin| plugin.id != old.id);
            Ok((NO_CONTENT, Some(kept.cloned().collect())))
        }
        (Method::Put, Dialect::Old) | (Method::Post | Method::Other, _) => Err(Refusal::MethodNotAllowed),
    }
}

const NO_CONTENT: Answer = Answer {
    status: 204,
    body: None,
};

fn read(body: Value) -> Outcome {
    let body = Some(body);
    (Answer { status: 200, body }, None)
}

fn insert(call: &Call, world: &World<'_>, parent: Option<&Found>) -> Result<Outcome, Refusal> {
    let plugin = draft::draft(&call.arguments, world, parent, Draft::Insert(world.new_id))?;
    let body = Some(world.dialect.entity(&plugin, world.snapshot, call.tokens));
    let plugins = world.plugins.iter().cloned().chain([plugin]).collect();
    Ok((Answer { status: 201, body }, Some(plugins)))
}

fn update(
    call: &Call,
    world: &World<'_>,
    parent: Option<&Found>,
    old: &StoredPlugin,
    how: Draft<'_>,
) -> Result<Outcome, Refusal> {
    let plugin = draft::draft(&call.arguments, world, parent, how)?;
    let body = Some(world.dialect.entity(&plugin, world.snapshot, call.tokens));
    let replaced = world.plugins.iter().map(|other| {
        if other.id == old.id {
            plugin.clone()
        } else {
            other.clone()
        }
    });
    let plugins = replaced.collect();
    Ok((Answer { status: 200, body }, Some(plugins)))
}

/// PUT of one configuration since Kong 1.0: by id or instance name, there or not.
fn upsert(call: &Call, world: &World<'_>, parent: Option<&Found>, key: &str) -> Result<Outcome, Refusal> {
    // One that stands elsewhere is moved below the parent of the path.
    if let Some(old) = world.find(key, None) {
        return update(call, world, parent, old, Draft::Replace(old));
    }
    let mut call = call.clone();
    let id = match uuid::Uuid::parse_str(key) {
        Ok(id) => id,
        Err(_) => {
            let name = Value::from(key);
            call.arguments.fields.insert("instance_name".to_owned(), name);
            world.new_id
        }
    };
    call.arguments.fields.remove("id");
    let (answer, plugins) = insert(&call, &World { new_id: id, ..*world }, parent)?;
    Ok((
        Answer {
            status: 200,
            ..answer
        },
        plugins,
    ))
}

/// An entity of the gateway's that a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which kind.
    pub kind: Kind,
    /// Its id.
    pub id: String,
}

/// What a configuration can be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A Service.
    Service,
    /// A Route.
    Route,
    /// An API of 0.13.
    Api,
    /// A Consumer.
    Consumer,
}

impl Kind {
    /// As fields call it.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Route => "route",
            Self::Api => "api",
            Self::Consumer => "consumer",
        }
    }

    /// As paths and Kong's tables call it.
    #[must_use]
    pub const fn collection(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::Route => "routes",
            Self::Api => "apis",
            Self::Consumer => "consumers",
        }
    }
}

impl World<'_> {
    /// The id of the entity that `reference` names.
    ///
    /// # Errors
    /// The gateway's configuration is not known, so nobody can say.
    pub fn resolve(&self, kind: Kind, reference: &Reference) -> Result<Option<String>, Refusal> {
        if !self.snapshot.is_configured() {
            return Err(Refusal::NoGateway);
        }
        Ok(id_of(self.snapshot, kind, reference))
    }

    fn parent(&self, parent: &Parent) -> Result<Found, Refusal> {
        let reference = match (parent.kind, self.dialect) {
            // Routes have had names since 0.15 only.
            (Kind::Route, Dialect::Old) => Reference::Id(parent.key.clone()),
            (Kind::Service | Kind::Route | Kind::Api | Kind::Consumer, _) => {
                Reference::Any(parent.key.clone())
            }
        };
        let id = self.resolve(parent.kind, &reference)?;
        let id = id.ok_or(Refusal::NotFound)?;
        let kind = parent.kind;
        Ok(Found { kind, id })
    }

    /// A configuration by id, or by instance name where there are such; below `parent` if one is given.
    fn find(&self, key: &str, parent: Option<&Found>) -> Option<&StoredPlugin> {
        let lower = key.to_ascii_lowercase();
        let is_it = |plugin: &&StoredPlugin| {
            plugin.id == lower
                || (self.dialect == Dialect::Current && plugin.instance_name.as_deref() == Some(key))
        };
        let found = self.plugins.iter().find(is_it)?;
        parent
            .is_none_or(|parent| is_below(found, parent, self.snapshot))
            .then_some(found)
    }
}

/// Whether a configuration is bound to an entity.
fn is_below(plugin: &StoredPlugin, parent: &Found, snapshot: &Snapshot) -> bool {
    let reference = draft::slot(&plugin.scope, parent.kind);
    let id = reference.map(|reference| shown_id(snapshot, parent.kind, reference));
    id.as_ref() == Some(&parent.id)
}

/// The id that a reference is shown with: the entity's, or as it was written when the gateway has none such.
#[must_use]
pub fn shown_id(snapshot: &Snapshot, kind: Kind, reference: &Reference) -> String {
    id_of(snapshot, kind, reference).unwrap_or_else(|| reference.text().to_owned())
}

fn id_of(snapshot: &Snapshot, kind: Kind, reference: &Reference) -> Option<String> {
    let id = match kind {
        Kind::Service => &snapshot.service(reference)?.id,
        Kind::Route => {
            let route = snapshot.route(reference);
            &route.filter(|route| route.api.is_none())?.id
        }
        // Of a gateway of 0.13, or a route that leads to no Service where somebody asks a later one in that dialect: 0.13 had no
        // other such routes.
        Kind::Api => {
            let route = snapshot.route(reference);
            let is_api = |route: &&Arc<Route>| route.api.is_some() || route.service_id.is_none();
            &route.filter(is_api)?.id
        }
        Kind::Consumer => &snapshot.consumer(reference)?.id,
    };
    Some(id.to_string())
}

/// A map of one field.
fn one(name: &str, value: impl Into<Value>) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value.into())]))
}
