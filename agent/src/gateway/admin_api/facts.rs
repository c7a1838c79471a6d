//! What a gateway says of itself on its Admin API.
//!
//! In: the JSON of `GET /` and `GET /status`. Out: [`GatewayFacts`]: version, router, worker pids, listeners.

use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::gateway::ports::PortMap;
use crate::gateway::router::ClientAddress;

/// The hash of an empty DB-less gateway.
const EMPTY_HASH: &str = "00000000000000000000000000000000";

/// Facts of a running gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct GatewayFacts {
    /// `3.9.1`
    pub version: String,
    /// `community`, `enterprise`; since 3.0.
    pub edition: Option<String>,
    /// Its host's name.
    pub hostname: Option<String>,
    /// Its id.
    pub node_id: Option<String>,
    /// `router_flavor`; since 3.0.
    pub router_flavor: Option<String>,
    /// `postgres`, `off`, …
    pub database: Option<String>,
    /// Its installation prefix.
    pub prefix: Option<String>,
    /// The master process, in the gateway's own pid namespace.
    pub master: Option<u32>,
    /// The worker processes, in the gateway's own pid namespace.
    pub workers: Vec<u32>,
    /// Where clients come in.
    pub proxy_listeners: Vec<Listener>,
    /// Where the Admin API listens: none of its traffic is a client's.
    pub admin_listeners: Vec<Listener>,
    /// Where the Status API listens: none of its traffic is a client's.
    pub status_listeners: Vec<Listener>,
    /// A DB-less gateway's hash of its configuration.
    pub configuration_hash: Option<String>,
    /// Ports by which clients know its listeners (`port_maps`).
    #[serde(skip)]
    pub port_maps: PortMap,
    /// Whether it may take a client's word for the client's address (`trusted_ips`).
    #[serde(skip)]
    pub client_address: ClientAddress,
}

/// An address that a gateway listens on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Listener {
    /// Its address, if it is one; unix sockets have none.
    pub ip: Option<IpAddr>,
    /// Its port.
    pub port: Option<u16>,
    /// Whether it speaks TLS.
    pub tls: bool,
}

impl GatewayFacts {
    /// The facts of `GET /`.
    ///
    /// # Errors
    /// What shows that this is no Admin API.
    pub fn of(root: &Map<String, Value>) -> Result<Self, &'static str> {
        let text =
            |map: &Map<String, Value>, name: &str| map.get(name).and_then(Value::as_str).map(str::to_owned);
        let version = text(root, "version").ok_or("its `/` names no version")?;
        let configuration = root.get("configuration").and_then(Value::as_object);
        let configuration = configuration.ok_or("its `/` has no configuration")?;
        let (master, workers) = pids(root);
        let facts = Self {
            version,
            edition: text(root, "edition"),
            hostname: text(root, "hostname"),
            node_id: text(root, "node_id"),
            router_flavor: text(configuration, "router_flavor"),
            database: text(configuration, "database"),
            prefix: text(configuration, "prefix"),
            master,
            workers,
            proxy_listeners: listeners(configuration, "proxy_listeners"),
            admin_listeners: listeners(configuration, "admin_listeners"),
            status_listeners: listeners(configuration, "status_listeners"),
            configuration_hash: None,
            port_maps: PortMap::of_gateway(configuration.get("port_maps")),
            client_address: client_address(configuration),
        };
        // A control plane carries no traffic: its processes, ports and addresses say nothing of its data planes.
        if text(configuration, "role").as_deref() == Some("control_plane") {
            return Ok(facts.of_control_plane());
        }
        Ok(facts)
    }

    /// Whether it has workspaces. Before 3.0 the version alone tells: `2.8.1.0-enterprise-edition`.
    #[must_use]
    pub fn is_enterprise(&self) -> bool {
        self.edition.as_deref() == Some("enterprise") || self.version.contains("enterprise")
    }

    fn of_control_plane(self) -> Self {
        Self {
            master: None,
            workers: Vec::new(),
            proxy_listeners: Vec::new(),
            admin_listeners: Vec::new(),
            status_listeners: Vec::new(),
            port_maps: PortMap::default(),
            client_address: ClientAddress::Unknown,
            ..self
        }
    }
}

/// Nobody is believed where nobody is trusted. (A listener with the PROXY protocol is not captured.)
fn client_address(configuration: &Map<String, Value>) -> ClientAddress {
    let trusted = configuration.get("trusted_ips");
    let is_nobody = trusted.is_some_and(|trusted| match trusted {
        Value::Array(items) => items.is_empty(),
        // Lua's JSON has `{}` for an empty list.
        Value::Object(map) => map.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    });
    if is_nobody {
        ClientAddress::Peer
    } else {
        ClientAddress::Unknown
    }
}

/// The hash of `GET /status`, unless it is that of an empty configuration, which a gateway has before its first one too.
#[must_use]
pub fn configuration_hash(status: &Map<String, Value>) -> Option<String> {
    let hash = status.get("configuration_hash").and_then(Value::as_str)?;
    (!hash.is_empty() && hash != EMPTY_HASH).then(|| hash.to_owned())
}

/// `pids` since 3.0; before, the workers' pids are keys of `prng_seeds`.
fn pids(root: &Map<String, Value>) -> (Option<u32>, Vec<u32>) {
    let pid = |value: &Value| value.as_u64().and_then(|pid| u32::try_from(pid).ok());
    if let Some(pids) = root.get("pids").and_then(Value::as_object) {
        let workers = pids.get("workers").and_then(Value::as_array);
        let workers = workers.into_iter().flatten().filter_map(pid).collect();
        return (pids.get("master").and_then(pid), workers);
    }
    let seeds = root.get("prng_seeds").and_then(Value::as_object);
    let keys = seeds.into_iter().flat_map(Map::keys);
    let workers = keys
        .filter_map(|key| key.strip_prefix("pid: ")?.parse().ok())
        .collect();
    (None, workers)
}

fn listeners(configuration: &Map<String, Value>, name: &str) -> Vec<Listener> {
    let items = configuration.get(name).and_then(Value::as_array);
    let listener = |item: &Value| Listener {
        ip: item
            .get("ip")
            .and_then(Value::as_str)
            .and_then(|ip| ip.trim_matches(['[', ']']).parse().ok()),
        port: item
            .get("port")
            .and_then(Value::as_u64)
            .and_then(|port| u16::try_from(port).ok()),
        tls: item.get("ssl").and_then(Value::as_bool).unwrap_or(false),
    };
    items.into_iter().flatten().map(listener).collect()
}
