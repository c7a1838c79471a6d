//! HTTP clients, each with its own pool of connections, and what the posts of one destination have in common.
//!
//! In: destinations. Out: an [`Endpoint`] for each, made once; one pool for those that differ in nothing but bucket and
//! `timeout`: an endpoint and a token (so that nobody's messages travel on another token's connection), `keepalive` and how the
//! endpoint is reached. The last [`MAX_CLIENTS`] of both are kept.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use hyper::http::uri::{InvalidUri, Uri};
use lru::LruCache;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Proxy};
use url::{Host, Url};

use crate::plugin::Destination;
use crate::plugin::transport::{HttpVersion, ProxyChoice, Transport};
use crate::ship::tls::{self, Stamp, TlsError};

/// Destinations and pools that are kept. Configurations that come and go, with ever new endpoints, must not pile them up.
const MAX_CLIENTS: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Longest `timeout` and `keepalive` that are taken at their word. A deadline further off than clocks reach is a panic.
const MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// How often a file of authorities is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long an HTTP/2 connection with posts under way may be silent before it is asked, and then before it is given up:
/// other than over HTTP/1.1, a post that runs into its `timeout` leaves the connection to the next one.
const PING_AFTER: Duration = Duration::from_secs(5);

/// How kongtap introduces itself.
const USER_AGENT: &str = concat!("kongtap/", env!("CARGO_PKG_VERSION"));

/// Why nothing can be sent to a destination as things are.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Its file of authorities cannot be used.
    #[error("TLS cannot be set up")]
    Tls(#[source] TlsError),
    /// The HTTP client cannot be set up; over TLS mostly because the host has no root certificates.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
    /// The proxy's address is none.
    #[error("the proxy's address cannot be used")]
    Proxy(#[source] reqwest::Error),
    /// The address is none that HTTP can be spoken to.
    #[error("the endpoint's address cannot be used")]
    Address(#[source] InvalidUri),
    /// The token has characters that a header cannot carry.
    #[error("the access token cannot stand in a header")]
    Token,
}

impl ClientError {
    /// Whether time alone, or somebody's change of a file, can set it right.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::Client(_))
    }
}

/// A destination with all that its posts have in common.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Clones share its connections.
    pub(super) client: Client,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct PoolKey {
    origin: String,
    token: [u8; SHA256_OUTPUT_LEN],
    tls_verify: bool,
    authorities: Stamp,
    keepalive_ms: u64,
    transport: Transport,
}

impl std::fmt::Debug for PoolKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolKey")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Kept {
    endpoint: Arc<Endpoint>,
    authorities: Stamp,
    looked: Instant,
}

#[derive(Debug)]
pub(super) struct Clients {
    endpoints: LruCache<Arc<Destination>, Kept>,
    pools: LruCache<PoolKey, Client>,
    idle_connections: usize,
    proxy: ProxyChoice,
}

impl Clients {
    /// `idle_connections`: how many connections of one client may wait for their next use.
    pub(super) fn new(idle_connections: usize) -> Self {
        Self {
            endpoints: LruCache::new(MAX_CLIENTS),
            pools: LruCache::new(MAX_CLIENTS),
            idle_connections,
            proxy: ProxyChoice::default(),
        }
    }

    /// The proxy of destinations that name none.
    pub(super) fn set_proxy(&mut self, proxy: ProxyChoice) {
        self.proxy = proxy;
    }

    pub(super) fn endpoint(
        &mut self,
        destination: &Arc<Destination>,
        now: Instant,
    ) -> Result<Arc<Endpoint>, ClientError> {
        if let Some(kept) = self.endpoints.get_mut(destination)
            && kept.is_current(destination, now)
        {
            return Ok(Arc::clone(&kept.endpoint));
        }
        let authorities = stamp(destination);
        let key = PoolKey {
            origin: destination.url.origin().ascii_serialization(),
            token: token_digest(destination),
            tls_verify: destination.tls_verify,
            authorities,
            keepalive_ms: destination.keepalive_ms,
            transport: destination.transport.clone(),
        };
        let client = self
            .pools
            .try_get_or_insert(key, || build(destination, &self.proxy, self.idle_connections))?
            .clone();
        let endpoint = Arc::new(Endpoint::of_client(client, destination)?);
        let kept = Kept {
            endpoint: Arc::clone(&endpoint),
            authorities,
            looked: now,
        };
        self.endpoints.put(Arc::clone(destination), kept);
        Ok(endpoint)
    }
}

impl Kept {
    /// Whether the file of authorities, if there is one, is what it was.
    fn is_current(&mut self, destination: &Destination, now: Instant) -> bool {
        if destination.transport.tls_ca.is_none() || now.saturating_duration_since(self.looked) < LOOK_EVERY {
            return true;
        }
        self.looked = now;
        stamp(destination) == self.authorities
    }
}

fn stamp(destination: &Destination) -> Stamp {
    destination.transport.tls_ca.as_deref().and_then(tls::stamp)
}

fn token_digest(destination: &Destination) -> [u8; SHA256_OUTPUT_LEN] {
    let digest = digest(&SHA256, destination.access_token.expose().as_bytes());
    digest.as_ref().try_into().unwrap_or_default()
}

impl Endpoint {
    /// With a pool of its own.
    pub(super) fn alone(destination: &Destination, proxy: &ProxyChoice) -> Result<Self, ClientError> {
        Self::of_client(build(destination, proxy, 0)?, destination)
    }

    fn of_client(client: Client, destination: &Destination) -> Result<Self, ClientError> {
        // The client would find it with each post.
        destination
            .url
            .as_str()
            .parse::<Uri>()
            .map_err(ClientError::Address)?;
        let bearer = format!("Bearer {}", destination.access_token.expose());
        let mut authorization = HeaderValue::try_from(bearer).map_err(|_invalid| ClientError::Token)?;
        authorization.set_sensitive(true);
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Self {
            client,
            url: destination.url.clone(),
            headers,
            timeout: duration(destination.timeout_ms),
        })
    }
}

/// A client for `destination`. It follows no redirects, and verifies a certificate unless the configuration says not to.
fn build(
    destination: &Destination,
    proxy: &ProxyChoice,
    idle_connections: usize,
) -> Result<Client, ClientError> {
    let idle_connections = if destination.keepalive_ms == 0 {
        0
    } else {
        idle_connections
    };
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        .redirect(Policy::none())
        .tcp_nodelay(true)
        .pool_max_idle_per_host(idle_connections)
        .pool_idle_timeout(duration(destination.keepalive_ms))
        .http2_keep_alive_interval(PING_AFTER)
        .http2_keep_alive_timeout(PING_AFTER);
    builder = match destination.transport.http_version {
        HttpVersion::Auto => builder,
        HttpVersion::One => builder.http1_only(),
        HttpVersion::Two => builder.http2_prior_knowledge(),
    };
    builder = match destination.transport.proxy.as_ref().unwrap_or(proxy) {
        ProxyChoice::Direct => builder.no_proxy(),
        // What is on this host is not reached by a proxy that was set for everybody.
        ProxyChoice::Environment if is_this_host(&destination.url) => builder.no_proxy(),
        ProxyChoice::Environment => builder,
        ProxyChoice::Url(url) => builder.proxy(Proxy::all(url.expose()).map_err(ClientError::Proxy)?),
    };
    builder = if destination.url.scheme() != "https" {
        // Without TLS the host's root certificates, which may not even be there, are not wanted.
        builder.tls_certs_only([])
    } else if !destination.tls_verify {
        builder.tls_danger_accept_invalid_certs(true)
    } else if let Some(path) = &destination.transport.tls_ca {
        builder.tls_certs_only(tls::authorities(path).map_err(ClientError::Tls)?)
    } else {
        builder
    };
    builder.build().map_err(ClientError::Client)
}

fn is_this_host(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A configuration's milliseconds, up to a day.
pub(super) fn duration(ms: u64) -> Duration {
    Duration::from_millis(ms.min(MAX_MS))
}

#[cfg(test)]
mod tests;
