//! Kong's entities as far as kongtap needs them, whatever source they came from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::gateway::groups::{ConsumerGroups, Groups};
use crate::telemetry::secret::Secret;

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its id; derived from its name when a declarative file gives none.
    pub id: Arc<str>,
    /// Its name.
    pub name: Option<Arc<str>>,
    /// `false` takes its routes out of the router.
    pub enabled: bool,
    /// Where it is.
    pub upstream: Upstream,
}

/// Where a Service, or an API of 0.13, is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// `http`, `https`, `grpc`, …
    pub protocol: Option<String>,
    /// A name or an address.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// What request paths are appended to.
    pub path: Option<String>,
}

/// A Route, or an API of 0.13, which is one with its own upstream.
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
    /// Whether `hosts` was written down as an empty list, which Kong ranks as a list of plain hosts.
    pub has_empty_hosts: bool,
    /// Prefixes, or `~` and a regular expression.
    pub paths: Vec<String>,
    /// Methods.
    pub methods: Vec<String>,
    /// Header name (lower case) to accepted values.
    pub headers: BTreeMap<String, Vec<String>>,
    /// TLS server names.
    pub snis: Vec<String>,
    /// Addresses of clients.
    pub sources: Vec<Endpoint>,
    /// Addresses of listeners.
    pub destinations: Vec<Endpoint>,
    /// An expression of the `expressions` router flavour.
    pub expression: Option<String>,
    /// Order among expressions: 0 to 2⁴⁶ - 1.
    pub priority: u64,
    /// Order among regular expressions.
    pub regex_priority: i64,
    /// Unix seconds; the older route wins a tie in the `traditional` flavour.
    pub created_at: Option<i64>,
    /// Whether the matched prefix is taken off towards the upstream.
    pub strip_path: bool,
    /// How the rest is joined to the Service's path; `None` for the version's default.
    pub path_handling: Option<PathHandling>,
    /// Whether the upstream gets the client's `Host`.
    pub preserve_host: bool,
    /// What a plain request gets where only `https` is served: 426, or a redirect.
    pub https_redirect_status_code: u16,
    /// Whether the request is read before it is sent on.
    pub request_buffering: bool,
    /// Whether the answer is read before it is sent on.
    pub response_buffering: bool,
    /// For an API of 0.13: what only APIs have.
    pub api: Option<Api>,
    /// Its workspace; `None` for the default one.
    pub workspace: Option<Arc<str>>,
}

impl Default for Route {
    /// Kong's defaults; matches nothing.
    fn default() -> Self {
        Self {
            id: Arc::default(),
            id_is_known: false,
            name: None,
            service_id: None,
            protocols: vec!["http".to_owned(), "https".to_owned()],
            hosts: Vec::new(),
            has_empty_hosts: false,
            paths: Vec::new(),
            methods: Vec::new(),
            headers: BTreeMap::new(),
            snis: Vec::new(),
            sources: Vec::new(),
            destinations: Vec::new(),
            expression: None,
            priority: 0,
            regex_priority: 0,
            created_at: None,
            strip_path: true,
            path_handling: None,
            preserve_host: false,
            https_redirect_status_code: 426,
            request_buffering: true,
            response_buffering: true,
            api: None,
            workspace: None,
        }
    }
}

impl Route {
    /// Whether it has a protocol.
    #[must_use]
    pub fn serves(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|own| own == protocol)
    }
}

/// An address, a port, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// An address or a network.
    pub ip: Option<String>,
    /// A port.
    pub port: Option<u16>,
}

/// Kong's `path_handling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathHandling {
    /// Joined by exactly one slash.
    V0,
    /// Joined as they are.
    V1,
}

/// What an API of 0.13 has and a Route has not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Api {
    /// Where it is: `upstream_url`.
    pub upstream: Upstream,
    /// Plain requests get a 426.
    pub https_only: bool,
    /// Unless a proxy in front, if it is trusted, says that it was asked by TLS.
    pub http_if_terminated: bool,
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
    /// Its groups: of a Consumer of a [`crate::gateway::snapshot::Snapshot`] only.
    pub groups: Groups,
}

/// What a Consumer authenticates with, as far as it tells who that is. The text is a secret for some kinds; a
/// [`crate::gateway::snapshot::Snapshot`] keeps a keyed hash of it only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// What it is.
    pub kind: CredentialKind,
    /// What a request shows: the key, the user name, the issuer, the token.
    pub identity: Secret,
    /// Whose it is: the Consumer's id.
    pub consumer_id: Arc<str>,
    /// Its workspace, outside of which it is nobody's; `None` for the default one.
    pub workspace: Option<Arc<str>>,
}

/// What a credential is, by the plugin that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CredentialKind {
    /// A key of `key-auth`.
    Key,
    /// A key of `key-auth-enc`.
    EncryptedKey,
    /// A user name of `basic-auth`.
    Basic,
    /// An issuer of `jwt`.
    Jwt,
    /// A user name of `hmac-auth`.
    Hmac,
    /// An access token of `oauth2`.
    Token,
}

impl CredentialKind {
    /// All of them, in their order.
    pub const ALL: [Self; 6] = [
        Self::Key,
        Self::EncryptedKey,
        Self::Basic,
        Self::Jwt,
        Self::Hmac,
        Self::Token,
    ];
}

/// The scope of a plugin configuration: ids of the entities it is bound to, all of which must be the exchange's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Bound to this route, or to this API of 0.13.
    pub route_id: Option<Arc<str>>,
    /// Bound to this service.
    pub service_id: Option<Arc<str>>,
    /// Bound to this consumer.
    pub consumer_id: Option<Arc<str>>,
    /// Bound to this consumer group.
    pub consumer_group_id: Option<Arc<str>>,
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
    /// Its workspace, outside of which it does nothing; `None` for the default one.
    pub workspace: Option<Arc<str>>,
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
    /// Routes, and the APIs of 0.13.
    pub routes: Vec<Route>,
    /// Consumers.
    pub consumers: Vec<Consumer>,
    /// Groups of consumers; most gateways have none.
    pub consumer_groups: Box<ConsumerGroups>,
    /// Plugins, `runscope` ones included.
    pub plugins: Vec<Plugin>,
    /// Credentials of consumers.
    pub credentials: Vec<Credential>,
    /// Kinds of credentials that could not be read, or not all of them: one that is not listed may exist.
    pub unread_credentials: BTreeSet<CredentialKind>,
}
