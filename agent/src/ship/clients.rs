//! HTTP clients, each with its own pool of connections.
//!
//! In: destinations. Out: one client for each (origin, `tls_verify`, `keepalive`), the last [`MAX_CLIENTS`] of them kept.

use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;

use crate::plugin::Destination;

/// Clients that are kept. Configurations that come and go, with ever new endpoints, must not pile them up.
const MAX_CLIENTS: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Longest `timeout` and `keepalive` that are taken at their word. A deadline further off than clocks reach is a panic.
const MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// How kongtap introduces itself.
const USER_AGENT: &str = concat!("kongtap/", env!("CARGO_PKG_VERSION"));

/// A client; clones share its connections.
pub(super) type PooledClient = reqwest::Client;

/// Why nothing can be sent to a destination, ever.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The HTTP client cannot be set up; for HTTPS mostly because the host has no root certificates.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
    /// The token has characters that a header cannot carry.
    #[error("the access token cannot stand in a header")]
    Token,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ClientKey {
    origin: String,
    tls_verify: bool,
    keepalive_ms: u64,
}

#[derive(Debug)]
pub(super) struct Clients {
    kept: LruCache<ClientKey, PooledClient>,
    idle_connections: usize,
}

impl Clients {
    /// `idle_connections`: how many connections of one client may wait for their next use.
    pub(super) fn new(idle_connections: usize) -> Self {
        Self {
            kept: LruCache::new(MAX_CLIENTS),
            idle_connections,
        }
    }

    pub(super) fn client(&mut self, destination: &Destination) -> Result<PooledClient, ClientError> {
        let key = ClientKey {
            origin: destination.url.origin().ascii_serialization(),
            tls_verify: destination.tls_verify,
            keepalive_ms: destination.keepalive_ms,
        };
        self.kept
            .try_get_or_insert(key, || build(destination, self.idle_connections))
            .cloned()
    }
}

/// A configuration's milliseconds, up to a day.
pub(super) fn duration(ms: u64) -> Duration {
    Duration::from_millis(ms.min(MAX_MS))
}

/// A client for `destination`: no proxy, no redirects, and its certificate verified unless the configuration says not to.
pub(super) fn build(destination: &Destination, idle_connections: usize) -> Result<PooledClient, ClientError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(if destination.keepalive_ms == 0 {
            0
        } else {
            idle_connections
        })
        .pool_idle_timeout(duration(destination.keepalive_ms));
    if destination.url.scheme() == "https" {
        builder = builder.tls_danger_accept_invalid_certs(!destination.tls_verify);
    } else {
        // No TLS will be spoken: do not read the host's root certificates, which may not even be there.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(ClientError::Client)
}

#[cfg(test)]
mod tests {
    use super::{Clients, MAX_CLIENTS, MAX_MS, duration};
    use crate::message::tests::config;
    use crate::plugin::Destination;

    #[test]
    fn clients_are_bounded() {
        let mut clients = Clients::new(1);
        for port in 0..2 * MAX_CLIENTS.get() {
            let url = format!("http://127.0.0.1:{}/", 1000 + port);
            let destination = Destination::clone(&config(true, &url).destination);
            clients.client(&destination).unwrap();
            clients.client(&destination).unwrap();
            assert_eq!(clients.kept.len(), (port + 1).min(MAX_CLIENTS.get()));
        }
    }

    #[test]
    fn a_duration_is_at_most_a_day() {
        assert_eq!(duration(MAX_MS - 1).as_millis(), u128::from(MAX_MS - 1));
        assert_eq!(duration(u64::MAX).as_millis(), u128::from(MAX_MS));
    }
}
