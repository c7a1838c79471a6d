//! HTTP clients, each with its own pool of connections, and what the posts of one destination have in common.
//!
//! In: destinations. Out: an [`Endpoint`] for each, made once; one pool for those that differ in nothing but bucket and
//! `timeout`: an endpoint and a token (so that nobody's messages travel on another token's connection), `keepalive` and how the
//! endpoint is reached. The last [`MAX_CLIENTS`] of both are kept.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT,
};
use hyper::http::uri::{InvalidUri, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lru::LruCache;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::plugin::Destination;
use crate::plugin::transport::{HttpVersion, ProxyChoice};
use crate::ship::body::Outgoing;
use crate::ship::tls::{self, Stamp, TlsError};
use crate::ship::wire::{Dialer, Tls, Way};

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
const NAME: HeaderValue = HeaderValue::from_static(concat!("kongtap/", env!("CARGO_PKG_VERSION")));

/// A client; clones share its connections.
pub(super) type PooledClient = Client<Dialer, Outgoing>;

/// Why nothing can be sent to a destination as things are.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] TlsError),
    /// The token has characters that a header cannot carry.
    #[error("the access token cannot stand in a header")]
    Token,
    /// The address is none that HTTP can be spoken to.
    #[error("the endpoint's address cannot be used")]
    Address(#[source] InvalidUri),
    /// The endpoint's name is none that a certificate could be for.
    #[error("the endpoint's name cannot be used for TLS")]
    Name(#[source] rustls::pki_types::InvalidDnsNameError),
    /// The proxy that the environment names is none that kongtap can use.
    #[error("the environment names a proxy that is not http://")]
    Proxy,
}

impl ClientError {
    /// Whether time alone, or somebody's change of a file, can set it right.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

/// A destination with all that its posts have in common.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) client: PooledClient,
    pub(super) uri: Uri,
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
    transport: crate::plugin::transport::Transport,
}

impl std::fmt::Debug for PoolKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolKey")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
struct Pool {
    client: PooledClient,
    /// For a proxy that is sent the requests themselves.
    proxy_authorization: Option<HeaderValue>,
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
    pools: LruCache<PoolKey, Pool>,
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
        let pool = self
            .pools
            .try_get_or_insert(key, || Pool::new(destination, &self.proxy, self.idle_connections))?
            .clone();
        let endpoint = Arc::new(Endpoint::of_pool(pool, destination)?);
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
        Self::of_pool(Pool::new(destination, proxy, 0)?, destination)
    }

    fn of_pool(pool: Pool, destination: &Destination) -> Result<Self, ClientError> {
        let bearer = format!("Bearer {}", destination.access_token.expose());
        let mut authorization = HeaderValue::try_from(bearer).map_err(|_invalid| ClientError::Token)?;
        authorization.set_sensitive(true);
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, NAME);
        if let Some(credentials) = pool.proxy_authorization {
            headers.insert(PROXY_AUTHORIZATION, credentials);
        }
        let uri: Uri = destination.url.as_str().parse().map_err(ClientError::Address)?;
        // Where it is certain that HTTP/1.1 will be spoken, the client need not write it anew for each post.
        let is_http1 = match destination.transport.http_version {
            HttpVersion::Auto => destination.url.scheme() == "http",
            HttpVersion::One => true,
            HttpVersion::Two => false,
        };
        if is_http1
            && let Some(authority) = uri.authority()
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            headers.insert(HOST, host);
        }
        Ok(Self {
            client: pool.client,
            uri,
            headers,
            timeout: duration(destination.timeout_ms),
        })
    }
}

impl Pool {
    /// No redirects are followed, and a certificate is verified unless the configuration says not to.
    fn new(
        destination: &Destination,
        proxy: &ProxyChoice,
        idle_connections: usize,
    ) -> Result<Self, ClientError> {
        let url = &destination.url;
        let is_tls = url.scheme() == "https";
        let version = destination.transport.http_version;
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(443);
        let target: Uri = format!("{}://{host}:{port}/", url.scheme())
            .parse()
            .map_err(ClientError::Address)?;
        let tls = if is_tls {
            let config = tls::client_config(destination).map_err(ClientError::Tls)?;
            let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            Some(Tls {
                connector: TlsConnector::from(Arc::new(config)),
                name: ServerName::try_from(bare).map_err(ClientError::Name)?,
            })
        } else {
            None
        };
        let chosen = destination.transport.proxy.as_ref().unwrap_or(proxy);
        let mut proxy_authorization = None;
        let way = match intercept(chosen, &target)? {
            None => Way::Direct,
            // A forwarding proxy speaks HTTP/1.1 to its clients.
            Some(proxy) if is_tls || version == HttpVersion::Two => Way::Tunnel {
                proxy: proxy.uri().clone(),
                credentials: proxy.basic_auth().cloned(),
            },
            Some(proxy) => {
                proxy_authorization = proxy.basic_auth().cloned();
                Way::Forward(proxy.uri().clone())
            }
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let dialer = Dialer {
            tcp,
            way,
            tls,
            version,
            target,
        };
        let idle = if destination.keepalive_ms == 0 {
            0
        } else {
            idle_connections
        };
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(idle)
            .pool_idle_timeout(duration(destination.keepalive_ms))
            .http2_only(version == HttpVersion::Two)
            .http2_keep_alive_interval(PING_AFTER)
            .http2_keep_alive_timeout(PING_AFTER)
            .build(dialer);
        Ok(Self {
            client,
            proxy_authorization,
        })
    }
}

/// The proxy to take to `target`, if any.
fn intercept(choice: &ProxyChoice, target: &Uri) -> Result<Option<Intercept>, ClientError> {
    let matcher = match choice {
        ProxyChoice::Direct => return Ok(None),
        // What is on this host is not reached by a proxy that was set for everybody.
        ProxyChoice::Environment if is_this_host(target) => return Ok(None),
        ProxyChoice::Environment => Matcher::from_env(),
        ProxyChoice::Url(url) => Matcher::builder().all(url.expose()).build(),
    };
    let found = matcher.intercept(target);
    if found
        .as_ref()
        .is_some_and(|proxy| proxy.uri().scheme_str() != Some("http"))
    {
        return Err(ClientError::Proxy);
    }
    Ok(found)
}

fn is_this_host(target: &Uri) -> bool {
    let host = target.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// A configuration's milliseconds, up to a day.
pub(super) fn duration(ms: u64) -> Duration {
    Duration::from_millis(ms.min(MAX_MS))
}

#[cfg(test)]
mod tests;
