//! The agent's own interface: `/status`, `/metrics`, `/healthz`, `/readyz`, and the plugin API on every other path.
//!
//! In: a [`StatusSource`], a [`PluginApi`] and who may call ([`Access`]). Out: HTTP. Every request is judged by one rule and bounded
//! in time. Deliberately absent: any captured value.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request, State as Shared};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::access::{Access, Denied, Grant};
use self::plugins::PluginApi;
use crate::telemetry::metrics;
use crate::telemetry::status::{State, Status};

pub mod access;
pub mod body;
pub mod plugin_api;
pub mod plugins;
pub mod serve;

#[cfg(test)]
mod tests;

/// How long a request may take, its body included.
pub const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Who can say how the agent is.
pub trait StatusSource: Send + Sync + 'static {
    /// How it is now.
    fn status(&self) -> Status;
}

/// Why the interface cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address is taken, or not this host's.
    #[error("cannot listen on {address} (admin.listen)")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Binds the address.
///
/// # Errors
/// The address is taken, or not this host's.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, AdminError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| AdminError::Bind { address, source })
}

/// What is served.
#[derive(Clone)]
pub struct Interface {
    /// Who knows how the agent is.
    pub source: Arc<dyn StatusSource>,
    /// Who keeps the configurations.
    pub plugins: Arc<PluginApi>,
    /// Who may call.
    pub access: Access,
}

impl std::fmt::Debug for Interface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interface")
            .field("plugins", &self.plugins)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

/// Serves until `cancel`.
///
/// # Errors
/// The listener fails.
pub async fn serve(listener: TcpListener, interface: Interface, cancel: CancellationToken) -> io::Result<()> {
    serve::serve(listener, router(interface), cancel).await
}

fn router(interface: Interface) -> Router {
    let interface = Arc::new(interface);
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(exposition))
        .fallback(plugin_api)
        .layer(middleware::from_fn_with_state(Arc::clone(&interface), guard))
        .with_state(interface)
}

type Served = Shared<Arc<Interface>>;

async fn plugin_api(
    Shared(interface): Served,
    Extension(grant): Extension<Grant>,
    request: Request,
) -> Response {
    Arc::clone(&interface.plugins).serve(grant, request).await
}

/// Lets pass what may, for as long as it may take.
async fn guard(Shared(interface): Served, mut request: Request, next: Next) -> Response {
    let judged = access::judge(
        &interface.access,
        request.method(),
        request.uri().path(),
        request.headers(),
    );
    let mut response = match judged {
        Ok(grant) => {
            request.extensions_mut().insert(grant);
            let answered = tokio::time::timeout(REQUEST_TIME, next.run(request)).await;
            answered.unwrap_or_else(|_elapsed| StatusCode::REQUEST_TIMEOUT.into_response())
        }
        Err(denied) => refuse(denied),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

fn refuse(denied: Denied) -> Response {
    let mut response = (denied.status(), Json(json!({"message": denied.to_string()}))).into_response();
    if denied == Denied::NoToken {
        let bearer = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    }
    response
}

async fn readyz(Shared(interface): Served, Extension(grant): Extension<Grant>) -> (StatusCode, String) {
    let status = interface.source.status();
    if is_ready(&status) {
        (StatusCode::OK, "ready\n".to_owned())
    } else if grant == Grant::Probe {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned())
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {}\n", why_not_ready(&status)),
        )
    }
}

fn is_ready(status: &Status) -> bool {
    status.state == State::Watching
        && status.gateways.iter().any(|gateway| !gateway.workers.is_empty())
        && (status.configuration.source.is_empty() || status.configuration.age_seconds.is_some())
}

fn why_not_ready(status: &Status) -> &str {
    match status.problems.first() {
        Some(problem) => problem,
        None => "still starting",
    }
}

async fn status(Shared(interface): Served) -> Json<Status> {
    Json(interface.source.status())
}

async fn exposition(Shared(interface): Served) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match metrics::render(interface.source.status()) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
