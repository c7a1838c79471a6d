//! A gateway that runs already, named by its Admin API or its pid. The lab starts, changes and stops nothing of it, and sends
//! it nothing that a service behind it could take for work: only paths that no route should have.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, bail};
use http::Uri;

use crate::client::get_json;
use crate::gateway::Listeners;

/// A gateway of the user's.
#[derive(Debug)]
pub struct Running {
    named: Named,
    listeners: Listeners,
}

/// How it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// By its Admin API.
    AdminUrl(String),
    /// By the pid of its master or of a worker.
    Pid(u32),
}

impl Running {
    /// Finds out where it takes requests: from the Admin API, or from what the user said.
    ///
    /// # Errors
    /// When the Admin API does not answer, or a pid was given without an address to send to.
    pub async fn find(named: Named, given: Listeners) -> anyhow::Result<Self> {
        let listeners = match &named {
            Named::AdminUrl(url) => {
                let address = address(url)?;
                let (status, root) = get_json(address, "/", None)
                    .await
                    .with_context(|| format!("Admin API {url}"))?;
                if status != 200 {
                    bail!("Admin API {url} answered {status}");
                }
                let found = proxy_listeners(&root);
                Listeners {
                    plain: given.plain.or(found.plain),
                    tls: given.tls.or(found.tls),
                }
            }
            Named::Pid(_) => given,
        };
        if listeners.plain.is_none() && listeners.tls.is_none() {
            bail!(
                "where does the gateway take requests? Say --proxy 127.0.0.1:8000, --proxy-tls 127.0.0.1:8443, or both"
            );
        }
        Ok(Self { named, listeners })
    }

    /// Where it takes requests.
    #[must_use]
    pub const fn listeners(&self) -> Listeners {
        self.listeners
    }

    /// How `kongtap run` is told about it.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        match &self.named {
            Named::AdminUrl(url) => vec!["--admin-url".to_owned(), url.clone()],
            Named::Pid(pid) => vec!["--pid".to_owned(), pid.to_string()],
        }
    }

    /// One line for the user.
    #[must_use]
    pub fn description(&self) -> String {
        match &self.named {
            Named::AdminUrl(url) => format!("your gateway, Admin API {url}"),
            Named::Pid(pid) => format!("your gateway, pid {pid}"),
        }
    }
}

/// The address in an `http://` URL.
///
/// # Errors
/// When it has none.
pub fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let uri: Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
    if uri.scheme_str() != Some("http") {
        bail!("{url:?}: the lab speaks http:// to an Admin API");
    }
    let host = uri.host().with_context(|| format!("{url:?} has no host"))?;
    let port = uri.port_u16().unwrap_or(80);
    (host, port)
        .to_socket_addrs()
        .with_context(|| format!("look up {host}"))?
        .next()
        .with_context(|| format!("{host} has no address"))
}

/// From the document at `/` of a Kong's Admin API.
fn proxy_listeners(root: &serde_json::Value) -> Listeners {
    let mut found = Listeners {
        plain: None,
        tls: None,
    };
    let listeners = root
        .pointer("/configuration/proxy_listeners")
        .and_then(serde_json::Value::as_array);
    for listener in listeners.into_iter().flatten() {
        let ip = listener
            .get("ip")
            .and_then(serde_json::Value::as_str)
            .and_then(|ip| ip.parse::<IpAddr>().ok());
        let port = listener
            .get("port")
            .and_then(serde_json::Value::as_u64)
            .and_then(|port| u16::try_from(port).ok());
        let (Some(ip), Some(port)) = (ip, port) else {
            continue;
        };
        let ip = if ip.is_unspecified() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            ip
        };
        let tls = listener.get("ssl").and_then(serde_json::Value::as_bool) == Some(true);
        let place = if tls { &mut found.tls } else { &mut found.plain };
        place.get_or_insert(SocketAddr::from((ip, port)));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{address, proxy_listeners};

    #[test]
    fn listeners_are_read_from_what_kong_says_of_itself() {
        let root = json!({"configuration": {"proxy_listeners": [
            {"ip": "0.0.0.0", "port": 8000, "ssl": false, "reuseport": true, "listener": "0.0.0.0:8000 reuseport"},
            {"ip": "127.0.0.1", "port": 8443, "ssl": true, "http2": true, "listener": "127.0.0.1:8443 ssl"},
        ]}});
        let found = proxy_listeners(&root);
        assert_eq!(found.plain, Some("127.0.0.1:8000".parse().unwrap()));
        assert_eq!(found.tls, Some("127.0.0.1:8443".parse().unwrap()));
        assert_eq!(proxy_listeners(&json!({})).plain, None);
    }

    #[test]
    fn an_admin_url_needs_scheme_and_host() {
        assert_eq!(
            address("http://127.0.0.1:8001").unwrap(),
            "127.0.0.1:8001".parse().unwrap()
        );
        for url in ["127.0.0.1:8001", "https://127.0.0.1", "x y"] {
            assert!(address(url).is_err(), "{url}");
        }
    }
}
