//! The plugin API over HTTP: from a request to a [`Call`], and from an [`Answer`] to a response.
//!
//! In: requests that [`access`](super::access) let pass. Out: responses, and changes of the store. Bodies are bounded. What a
//! call means is `plugin_api`'s.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{Method as HttpMethod, StatusCode, header};
use axum::response::{IntoResponse as _, Json, Response};
use serde_json::json;
use uuid::Uuid;

use super::access::Grant;
use super::body::{self, Arguments, BadBody};
use super::plugin_api::dialect::{Dialect, Refusal};
use super::plugin_api::{self, Answer, Call, Method, World, is_write};
use crate::clock;
use crate::gateway::router::KongVersion;
use crate::gateway::source::{GatewayState, chain};
use crate::plugin::store::{Store, StoreError};
use crate::plugin::stored::{StoredPlugin, Tokens};

/// The largest body of a call, bytes.
pub const BODY_BYTES: usize = 1 << 20;

/// What is told of other configurations.
pub type OnChange = Arc<dyn Fn(&[StoredPlugin]) + Send + Sync>;

/// The plugin API of a running agent.
pub struct PluginApi {
    /// Where configurations are kept.
    pub store: Arc<Store>,
    /// The gateway as last read.
    pub gateway: Arc<ArcSwap<GatewayState>>,
    /// The dialect that the user chose.
    pub dialect: Option<Dialect>,
    /// Called with the new configurations before the change is answered.
    pub on_change: OnChange,
}

impl std::fmt::Debug for PluginApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginApi")
            .field("store", &self.store.path())
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}

impl PluginApi {
    /// The dialect in force: the user's, else the gateway's own, else that of today.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect.unwrap_or_else(|| {
            let gateway = self.gateway.load();
            let facts = gateway.facts.as_deref();
            dialect_of(facts.map(|facts| facts.version.as_str()))
        })
    }

    /// Answers a request.
    pub async fn serve(self: Arc<Self>, grant: Grant, request: Request) -> Response {
        let dialect = self.dialect();
        match self.call_of(grant, request).await {
            Ok(call) => self.answer(call, dialect).await,
            Err(NoCall::Refused(refusal)) => respond(dialect.refuse(&refusal)),
            Err(NoCall::Said(status, text)) => say(status, text),
        }
    }

    async fn call_of(&self, grant: Grant, request: Request) -> Result<Call, NoCall> {
        let (head, body) = request.into_parts();
        let method = method(&head.method);
        let query = head.uri.query().unwrap_or_default();
        let mut query: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let wants_tokens = query
            .iter()
            .any(|(name, value)| name == "reveal" && value != "false");
        query.retain(|(name, _)| name != "reveal");
        if wants_tokens && grant != Grant::Token {
            let text = "only who presents the token of admin.token may see access tokens";
            return Err(NoCall::Said(StatusCode::FORBIDDEN, text.to_owned()));
        }
        let text = |name| {
            let value = head.headers.get(name);
            value.and_then(|value| value.to_str().ok())
        };
        let arguments = match method {
            Method::Post | Method::Put | Method::Patch => {
                let Ok(bytes) = to_bytes(body, BODY_BYTES).await else {
                    let text = format!("a body has at most {BODY_BYTES} bytes");
                    return Err(NoCall::Said(StatusCode::PAYLOAD_TOO_LARGE, text));
                };
                let read = body::read(text(header::CONTENT_TYPE), bytes).await;
                read.map_err(|bad| {
                    NoCall::Refused(match bad {
                        BadBody::NotJson => Refusal::NotJson,
                        BadBody::BadForm => Refusal::BadForm,
                        BadBody::Unsupported => Refusal::Unsupported,
                    })
                })?
            }
            Method::Get | Method::Delete | Method::Other => Arguments::default(),
        };
        Ok(Call {
            method,
            path: head.uri.path().to_owned(),
            query,
            arguments,
            base: format!("http://{}", text(header::HOST).unwrap_or("localhost")),
            tokens: if wants_tokens {
                Tokens::Shown
            } else {
                Tokens::Hidden
            },
        })
    }

    async fn answer(self: Arc<Self>, call: Call, dialect: Dialect) -> Response {
        let gateway = self.gateway.load_full();
        let decide = move |call: &Call, plugins: &[StoredPlugin]| {
            let world = World {
                dialect,
                snapshot: &gateway.snapshot,
                plugins,
                now: clock::unix_ns() / 1_000_000_000,
                new_id: Uuid::new_v4(),
            };
            plugin_api::answer(call, &world)
        };
        if !is_write(call.method) {
            return respond(decide(&call, &self.store.view().plugins).0);
        }
        // The disk is waited for, by a thread that may wait.
        let (method, path) = (call.method, call.path.clone());
        let changing = tokio::task::spawn_blocking(move || {
            let on_change = |plugins: &[StoredPlugin]| (self.on_change)(plugins);
            self.store.change(|plugins| decide(&call, plugins), &on_change)
        });
        match changing.await {
            Ok(Ok(answer)) => {
                if answer.status < 300 {
                    tracing::info!(
                        ?method,
                        path,
                        status = answer.status,
                        "The plugin API changed a configuration."
                    );
                }
                respond(answer)
            }
            Ok(Err(error)) => {
                let status = match &error {
                    StoreError::Broken(_) => StatusCode::SERVICE_UNAVAILABLE,
                    StoreError::Write { .. } => StatusCode::INTERNAL_SERVER_ERROR,
                };
                let error = chain(&error);
                tracing::error!(error, "A change by the plugin API was not kept.");
                say(status, error)
            }
            Err(_panicked) => say(
                StatusCode::INTERNAL_SERVER_ERROR,
                "An unexpected error occurred".to_owned(),
            ),
        }
    }
}

/// Why a request is no call.
enum NoCall {
    Refused(Refusal),
    Said(StatusCode, String),
}

/// The dialect of a gateway's version. 1.0 brought the errors and entities of today.
pub(super) fn dialect_of(version: Option<&str>) -> Dialect {
    match version.and_then(KongVersion::parse) {
        Some(version) if version.major == 0 => Dialect::Old,
        Some(_) | None => Dialect::Current,
    }
}

fn method(method: &HttpMethod) -> Method {
    match method.as_str() {
        "GET" | "HEAD" => Method::Get,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        _ => Method::Other,
    }
}

fn respond(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match answer.body {
        Some(body) => (status, Json(body)).into_response(),
        None => status.into_response(),
    }
}

fn say(status: StatusCode, text: String) -> Response {
    (status, Json(json!({"message": text}))).into_response()
}
