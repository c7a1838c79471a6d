//! The agent's own interface: `/status`, `/metrics`, `/healthz` and `/readyz` on a loopback address.
//!
//! In: a [`StatusSource`]. Out: HTTP. Deliberately absent: anything that changes the agent, and any captured value.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub mod body;
pub mod plugin_api;

use crate::telemetry::metrics;
use crate::telemetry::status::{State, Status};

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

/// Serves until `cancel`.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    source: Arc<dyn StatusSource>,
    cancel: CancellationToken,
) -> io::Result<()> {
    axum::serve(listener, router(source))
        .with_graceful_shutdown(cancel.cancelled_owned())
        .await
}

fn router(source: Arc<dyn StatusSource>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(exposition))
        .layer(middleware::from_fn(only_this_host))
        .with_state(source)
}

async fn readyz(Shared(source): Shared<Arc<dyn StatusSource>>) -> (StatusCode, String) {
    let status = source.status();
    if is_ready(&status) {
        (StatusCode::OK, "ready\n".to_owned())
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

async fn status(Shared(source): Shared<Arc<dyn StatusSource>>) -> Json<Status> {
    Json(source.status())
}

async fn exposition(Shared(source): Shared<Arc<dyn StatusSource>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match metrics::render(source.status()) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Refuses requests for a name that is not this host's, so that a page in a browser cannot reach the agent through a
/// name that it controls (DNS rebinding).
async fn only_this_host(request: Request, next: Next) -> Response {
    if !names_this_host(request.headers().get(header::HOST)) {
        return (
            StatusCode::MISDIRECTED_REQUEST,
            "this interface answers to localhost only\n",
        )
            .into_response();
    }
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn names_this_host(host: Option<&HeaderValue>) -> bool {
    // HTTP/1.0 clients may send none; a browser always does.
    let Some(host) = host else { return true };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let name = authority.host();
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::{is_ready, names_this_host};
    use crate::telemetry::status::{GatewayStatus, State, Status, WorkerStatus};

    #[test]
    fn only_names_of_this_host_are_answered() {
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST:8011", true),
            ("127.0.0.1", true),
            ("127.0.0.1:8011", true),
            ("127.9.9.9:1", true),
            ("[::1]:8011", true),
            ("[::1]", true),
            ("evil.example", false),
            ("localhost.evil.example:8011", false),
            ("10.0.0.1:8011", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            let value = HeaderValue::from_str(host).unwrap();
            assert_eq!(names_this_host(Some(&value)), expected, "{host:?}");
        }
        assert!(names_this_host(None));
    }

    #[test]
    fn ready_means_attached_and_configured() {
        let mut status = Status {
            state: State::Watching,
            ..Status::default()
        };
        assert!(!is_ready(&status), "no workers yet");
        status.gateways.push(GatewayStatus {
            kind: "nginx",
            master: Some(1),
            workers: vec![WorkerStatus {
                pid: 2,
                tls: "calls".into(),
                watched_since_unix_ms: 0,
                found: "running",
            }],
            listeners: Vec::new(),
            error_log: None,
        });
        assert!(is_ready(&status), "no source of configuration is asked for");
        status.configuration.source = "kong.yml".into();
        assert!(!is_ready(&status), "asked for, and not read yet");
        status.configuration.age_seconds = Some(0);
        assert!(is_ready(&status));
        status.state = State::Stopping;
        assert!(!is_ready(&status));
    }
}
