//! Kong's entities as far as kongtap needs them, whatever source they came from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its id; derived from its name when a declarative file gives none.
    pub id: Arc<str>,
    /// Its name.
    pub name: Option<Arc<str>>,
    /// `false` takes its routes out of the router.
    pub enabled: bool,
}

/// A Route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its id; derived from its name when a declarative file gives none.
    pub id: Arc<str>,
    /// Whether `id` is the gateway's own, so that it can break ties as the gateway does.
    pub id_is_known: bool,
    /// Its name.
    pub name: Option<Arc<str>>,
    /// The Service it leads to; `None` for a route without one.
    pub service_id: Option<Arc<str>>,
    /// `http`, `https`, `grpc`, …
    pub protocols: Vec<String>,
    /// Hosts, possibly with a port or a `*` at one end.
    pub hosts: Vec<String>,
    /// Prefixes, or `~` and a regular expression.
    pub paths: Vec<String>,
    /// Methods.
    pub methods: Vec<String>,
    /// Header name (lower case) to accepted values.
    pub headers: BTreeMap<String, Vec<String>>,
    /// TLS server names.
    pub snis: Vec<String>,
    /// Whether `sources` or `destinations` restrict it.
    pub restricts_addresses: bool,
    /// An expression of the `expressions` router flavour.
    pub expression: Option<String>,
    /// Order among regular expressions.
    pub regex_priority: i64,
    /// Unix seconds; the older route wins a tie in the `traditional` flavour.
    pub created_at: Option<i64>,
    /// Whether the matched prefix is taken off towards the upstream.
    pub strip_path: bool,
}

/// A Consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Its id; derived from its username when a declarative file gives none.
    pub id: Arc<str>,
    /// Whether `id` is the gateway's own.
    pub id_is_known: bool,
    /// Its user name.
    pub username: Option<Arc<str>>,
    /// Its custom id.
    pub custom_id: Option<Arc<str>>,
}

/// The scope of a plugin configuration: ids of the entities it is bound to, all of which must be the exchange's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Bound to this route.
    pub route_id: Option<Arc<str>>,
    /// Bound to this service.
    pub service_id: Option<Arc<str>>,
    /// Bound to this consumer.
    pub consumer_id: Option<Arc<str>>,
}

/// A plugin configuration as the gateway has it; `config` is the plugin's own and may hold secrets, so it is not printed.
#[derive(Clone, PartialEq)]
pub struct Plugin {
    /// Its id, if it has one.
    pub id: Option<Arc<str>>,
    /// Plugin name, such as `key-auth`.
    pub name: String,
    /// What it is bound to.
    pub scope: Scope,
    /// A disabled configuration falls through to the next less specific one.
    pub enabled: bool,
    /// Protocols it runs for; empty means the plugin's default.
    pub protocols: Vec<String>,
    /// The plugin's own fields.
    pub config: serde_json::Value,
    /// Where it stands in its source, for messages: `kong.yml: plugins[2]`.
    pub place: String,
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.name)
            .field("scope", &self.scope)
            .field("enabled", &self.enabled)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// How one entity names another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// By its id.
    Id(String),
    /// By its name (a consumer's user name).
    Name(String),
    /// By either: a plain string, as declarative files have it.
    Any(String),
}

impl Reference {
    /// The text that was written.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Id(text) | Self::Name(text) | Self::Any(text) => text,
        }
    }

    /// Whether it names the entity with this id and this name.
    #[must_use]
    pub fn names(&self, id: &str, name: Option<&str>) -> bool {
        match self {
            Self::Id(text) => text == id,
            Self::Name(text) => Some(text.as_str()) == name,
            Self::Any(text) => text == id || Some(text.as_str()) == name,
        }
    }
}

/// Everything that one reading of a source gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entities {
    /// Services.
    pub services: Vec<Service>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Consumers.
    pub consumers: Vec<Consumer>,
    /// Plugins, `runscope` ones included.
    pub plugins: Vec<Plugin>,
}
