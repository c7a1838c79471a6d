//! Is a destination reachable? For `kongtap doctor`.
//!
//! In: a [`Destination`]. Out: [`Reached`], or what stands in the way. Connects exactly as shipping does, TLS and
//! verification included, and asks for the head of `/`: no message is sent and no token shown.

use std::time::Duration;

use reqwest::Method;

use crate::clock;
use crate::plugin::Destination;
use crate::ship::attempt::Failure;
use crate::ship::clients;
pub use crate::ship::clients::ClientError;

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

/// Connects to `destination`.
///
/// # Errors
///
/// [`ProbeError`] says what stands in the way.
pub async fn probe(destination: &Destination) -> Result<Reached, ProbeError> {
    let client = clients::build(destination, 0).map_err(ProbeError::Client)?;
    let mut url = destination.url.clone();
    url.set_path("/");
    url.set_query(None);
    let started = clock::instant();
    let request = client.request(Method::HEAD, url).send();
    let timeout = clients::duration(destination.timeout_ms);
    let Ok(answer) = tokio::time::timeout(timeout, request).await else {
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
            let failure = Failure::of_transport(&error);
            Err(ProbeError::Failed {
                reason: failure.reason.label(),
                detail: failure.detail.into_owned(),
            })
        }
    }
}
