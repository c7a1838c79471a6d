//! stub: types that other modules build on

use std::sync::Arc;

use crate::gateway::entities::Scope;
use crate::telemetry::secret::Secret;

/// One `runscope` configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginConfig {
    /// Where it came from, for `/status` and messages: `kong.yml: plugins[0]`, `environment`.
    pub origin: String,
    /// What it is bound to.
    pub scope: Scope,
    /// A disabled configuration falls through to the next less specific one.
    pub enabled: bool,
    /// Whether bodies are sent.
    pub log_body: bool,
    /// Where messages go.
    pub destination: Arc<Destination>,
}

/// Where and how messages are posted. Messages of one destination share pooled connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// `{api_endpoint}/buckets/{bucket_key}/messages`, complete.
    pub url: url::Url,
    /// Sent as `Authorization: Bearer …`.
    pub access_token: Secret,
    /// Bounds one attempt in all its phases, milliseconds.
    pub timeout_ms: u64,
    /// Idle time of a pooled connection, milliseconds.
    pub keepalive_ms: u64,
    /// Whether the endpoint's certificate is verified.
    pub tls_verify: bool,
}
