//! Is a destination reachable? For `kongtap doctor`.
//!
//! In: a [`Destination`]. Out: [`Reached`], or what stands in the way. Connects exactly as shipping does, TLS and
//! verification included, and asks for the head of `/`: no message is sent and no token shown.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, Request};

use crate::clock;
use crate::plugin::Destination;
use crate::plugin::transport::ProxyChoice;
pub use crate::ship::clients::ClientError;
use crate::ship::clients::Endpoint;
use crate::ship::failure;

/// An endpoint that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The status that it answered `HEAD /` with; any is fine.
    pub status: u16,
    /// How long that took, connecting included.
    pub took: Duration,
}

/// Why an endpoint cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No client can be set up for it.
    #[error("nothing can be sent to it")]
    Client(#[source] ClientError),
    /// It did not answer within the destination's `timeout`.
    #[error("no answer within {timeout_ms} ms")]
    Timeout {
        /// The bound, milliseconds.
        timeout_ms: u64,
    },
    /// Connecting failed, or what answered does not speak HTTP.
    #[error("{reason}: {detail}")]
    Failed {
        /// The label of the reason with which the ledger would count a message.
        reason: &'static str,
        /// What went wrong.
        detail: String,
    },
}

/// Connects to `destination`, by `proxy` unless it names one itself.
///
/// # Errors
///
/// [`ProbeError`] says what stands in the way.
pub async fn probe(destination: &Destination, proxy: &ProxyChoice) -> Result<Reached, ProbeError> {
    let endpoint = Endpoint::alone(destination, proxy).map_err(ProbeError::Client)?;
    let mut root = endpoint.url;
    root.set_path("/");
    root.set_query(None);
    let mut request = Request::new(Method::HEAD, root);
    *request.headers_mut() = endpoint.headers;
    request.headers_mut().remove(AUTHORIZATION);
    request.headers_mut().remove(CONTENT_TYPE);
    let started = clock::instant();
    let Ok(answer) = tokio::time::timeout(endpoint.timeout, endpoint.client.execute(request)).await else {
        return Err(ProbeError::Timeout {
            timeout_ms: destination.timeout_ms,
        });
    };
    match answer {
        Ok(answer) => Ok(Reached {
            status: answer.status().as_u16(),
            took: clock::instant().saturating_duration_since(started),
        }),
        Err(error) => {
            let (reason, detail) = failure::of_probe(&error);
            Err(ProbeError::Failed { reason, detail })
        }
    }
}
