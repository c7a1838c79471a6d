//! One configuration as the plugin API keeps it: what Kong's `plugins` entity has, for the plugin `runscope`.
//!
//! In: checked values. Out: what the pipeline binds ([`UnboundConfig`]), and the fields for a file or an answer. Deliberately
//! absent: the file's form (`store::text`) and the API's dialects (`admin::plugin_api`).

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::gateway::entities::Reference;
use crate::plugin::UnboundConfig;
use crate::plugin::schema::Settings;
use crate::plugin::transport::{HttpVersion, Transport};

/// Protocols that a plugin for HTTP runs for [Kong 3.9 kong/db/schema/typedefs.lua, `protocols_http`].
pub const PROTOCOLS: [&str; 4] = ["grpc", "grpcs", "http", "https"];

/// What stands in an answer instead of a token.
pub const HIDDEN_TOKEN: &str = "[redacted]";

/// What a configuration is bound to, as it was named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedScope {
    /// A Service.
    pub service: Option<Reference>,
    /// A Route.
    pub route: Option<Reference>,
    /// An API of 0.13.
    pub api: Option<Reference>,
    /// A Consumer.
    pub consumer: Option<Reference>,
}

/// A configuration of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPlugin {
    /// Its id, a UUID in lower case.
    pub id: String,
    /// A name of its own (3.x).
    pub instance_name: Option<String>,
    /// What it is bound to.
    pub scope: NamedScope,
    /// A disabled configuration falls through to the next less specific one.
    pub enabled: bool,
    /// Protocols it is for (3.x): kept and shown.
    pub protocols: Vec<String>,
    /// Tags (3.x).
    pub tags: Option<Vec<String>>,
    /// The plugin's own fields.
    pub settings: Settings,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds.
    pub updated_at: u64,
}

/// Whether a token may be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// As it is: towards the file, and whoever has the right and asks.
    Shown,
    /// [`HIDDEN_TOKEN`] instead.
    Hidden,
}

impl StoredPlugin {
    /// What the pipeline binds. An API is a route that has its upstream itself.
    #[must_use]
    pub fn unbound(&self) -> UnboundConfig {
        UnboundConfig {
            origin: format!("store: {}", self.id),
            service: self.scope.service.clone(),
            route: self.scope.route.clone().or_else(|| self.scope.api.clone()),
            consumer: self.scope.consumer.clone(),
            enabled: self.enabled,
            log_body: self.settings.log_body,
            destination: Arc::clone(&self.settings.destination),
        }
    }

    /// The plugin's own fields, defaults filled in.
    #[must_use]
    pub fn config(&self, tokens: Tokens) -> Map<String, Value> {
        let destination = &self.settings.destination;
        let token = match tokens {
            Tokens::Shown => destination.access_token.expose(),
            Tokens::Hidden => HIDDEN_TOKEN,
        };
        let mut config = Map::from_iter([
            ("access_token".to_owned(), Value::from(token)),
            (
                "api_endpoint".to_owned(),
                Value::from(self.settings.api_endpoint.as_str()),
            ),
            (
                "bucket_key".to_owned(),
                Value::from(self.settings.bucket_key.as_str()),
            ),
            ("keepalive".to_owned(), Value::from(destination.keepalive_ms)),
            ("log_body".to_owned(), Value::from(self.settings.log_body)),
            ("timeout".to_owned(), Value::from(destination.timeout_ms)),
        ]);
        // The plugin had no such field: only who uses it sees it.
        if !destination.tls_verify {
            config.insert("tls_verify".to_owned(), Value::from(false));
        }
        let Transport {
            tls_ca,
            http_version,
            proxy,
        } = &destination.transport;
        if let Some(path) = tls_ca {
            config.insert("tls_ca".to_owned(), Value::from(path.to_string_lossy()));
        }
        if *http_version != HttpVersion::Auto {
            config.insert("http_version".to_owned(), Value::from(http_version.text()));
        }
        if let Some(proxy) = proxy {
            let shown = match tokens {
                Tokens::Shown => proxy.expose().to_owned(),
                Tokens::Hidden => proxy.shown(HIDDEN_TOKEN),
            };
            config.insert("proxy".to_owned(), Value::from(shown));
        }
        config
    }
}
