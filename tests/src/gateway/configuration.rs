//! What the stand-in understands of a kong.yml, and what it makes of it: a list of entries in Kong's order of precedence.
//!
//! In: the file's text. Out: [`Configuration`], or every reason why the stand-in cannot behave as Kong would with this file.
//! A field that is not known here is an error, so nothing in a file is ever silently left out.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use http::Uri;
use uuid::Uuid;

pub mod declared;

use declared::{DeclaredConsumer, DeclaredRoute, DeclaredService, File, KeyAuth};

/// Root of the ids that Kong gives to declarative entities that have none.
const DECLARATIVE_NAMESPACE: Uuid = Uuid::from_u128(0xfd02_801f_0957_4a15_a55a_c8d9_606f_30b5);
/// Kong's default for `retries`.
const RETRIES: usize = 5;
/// Kong's default timeouts, milliseconds.
const TIMEOUT_MS: u64 = 60_000;

/// A service as the stand-in needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// `http` or `https`.
    pub scheme: String,
    /// `host:port`, always with the port.
    pub address: String,
    /// The Host field towards it: without the scheme's default port.
    pub host: String,
    /// Path, at least `/`.
    pub path: String,
    /// How often a failed attempt is made again.
    pub retries: usize,
    /// Connect, read and write timeout, milliseconds.
    pub timeouts_ms: [u64; 3],
}

/// One path of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The route's name.
    pub route: String,
    /// Index of its service.
    pub service: usize,
    /// Hosts, lower case; empty for any.
    pub hosts: Vec<String>,
    /// Path prefix.
    pub path: Option<String>,
    /// Methods; empty for any.
    pub methods: Vec<String>,
    /// Whether the prefix is taken off.
    pub strip_path: bool,
    /// Whether the client's Host goes upstream.
    pub preserve_host: bool,
    /// key-auth, where it is in force.
    pub key_auth: Option<KeyAuth>,
}

/// A key and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The key.
    pub key: String,
    /// The credential's id.
    pub id: String,
    /// The consumer's id.
    pub consumer_id: String,
    /// The consumer's name.
    pub username: Option<String>,
    /// The consumer's custom id.
    pub custom_id: Option<String>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Services.
    pub services: Vec<Service>,
    /// Entries, the one that wins first.
    pub entries: Vec<Entry>,
    /// Keys.
    pub credentials: Vec<Credential>,
}

impl Configuration {
    /// Reads a kong.yml.
    ///
    /// # Errors
    /// When it is no kong.yml, or says something that the stand-in cannot do.
    pub fn read(text: &str) -> anyhow::Result<Self> {
        let file: File = serde_saphyr::from_str(text).context("kong.yml for the stand-in gateway")?;
        let mut problems = Vec::new();
        if file.format_version != "3.0" {
            problems.push(format!(
                "_format_version {:?}: the stand-in reads \"3.0\"",
                file.format_version
            ));
        }
        let (mut services, mut entries) = (Vec::new(), Vec::new());
        for declared in &file.services {
            for route in &declared.routes {
                entries.extend(route_entries(declared, route, services.len(), &mut problems));
            }
            match service(declared) {
                Ok(service) => services.push(service),
                Err(error) => problems.push(format!("service {}: {error:#}", declared.name)),
            }
        }
        let credentials = credentials(&file.consumers, &mut problems);
        entries.sort_by_key(|entry| std::cmp::Reverse(precedence(entry)));
        for (index, entry) in entries.iter().enumerate() {
            for other in entries.iter().skip(index.saturating_add(1)) {
                if match_alike(entry, other) {
                    problems.push(format!(
                        "routes {} and {} match the same requests",
                        entry.route, other.route
                    ));
                }
            }
        }
        if !problems.is_empty() {
            bail!(
                "the stand-in gateway cannot behave as Kong would with this kong.yml:\n  {}",
                problems.join("\n  ")
            );
        }
        Ok(Self {
            services,
            entries,
            credentials,
        })
    }
}

/// Kong's order (traditional_compatible): kinds of attributes, hosts, length of the prefix.
fn precedence(entry: &Entry) -> (usize, bool, usize) {
    let kinds = [
        !entry.hosts.is_empty(),
        entry.path.is_some(),
        !entry.methods.is_empty(),
    ];
    (
        kinds.iter().filter(|kind| **kind).count(),
        !entry.hosts.is_empty(),
        entry.path.as_ref().map_or(0, String::len),
    )
}

/// Whether Kong would have to choose by id.
fn match_alike(one: &Entry, other: &Entry) -> bool {
    let overlap =
        |a: &[String], b: &[String]| (a.is_empty() && b.is_empty()) || a.iter().any(|item| b.contains(item));
    precedence(one) == precedence(other)
        && one.path == other.path
        && overlap(&one.hosts, &other.hosts)
        && overlap(&one.methods, &other.methods)
}

fn service(declared: &DeclaredService) -> anyhow::Result<Service> {
    let url: Uri = declared
        .url
        .parse()
        .with_context(|| format!("url {:?}", declared.url))?;
    let scheme = url.scheme_str().context("its url has no scheme")?;
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        other => bail!("protocol {other}: the stand-in knows http and https"),
    };
    let host = url.host().context("its url has no host")?;
    let port = url.port_u16().unwrap_or(default_port);
    Ok(Service {
        name: declared.name.clone(),
        scheme: scheme.to_owned(),
        address: format!("{host}:{port}"),
        host: if port == default_port {
            host.to_owned()
        } else {
            format!("{host}:{port}")
        },
        path: url.path().to_owned(),
        retries: declared.retries.unwrap_or(RETRIES),
        timeouts_ms: [
            declared.connect_timeout,
            declared.read_timeout,
            declared.write_timeout,
        ]
        .map(|timeout| timeout.unwrap_or(TIMEOUT_MS)),
    })
}

fn route_entries(
    service: &DeclaredService,
    route: &DeclaredRoute,
    index: usize,
    problems: &mut Vec<String>,
) -> Vec<Entry> {
    if route.paths.is_empty() && route.hosts.is_empty() && route.methods.is_empty() {
        problems.push(format!("route {}: needs hosts, paths or methods", route.name));
    }
    if let Some(host) = route.hosts.iter().find(|host| host.contains(['*', ':'])) {
        problems.push(format!(
            "route {}: host {host:?} has a wildcard or a port",
            route.name
        ));
    }
    if let Some(path) = route
        .paths
        .iter()
        .find(|path| !path.starts_with('/') || path.contains('%'))
    {
        problems.push(format!("route {}: path {path:?} is no plain prefix", route.name));
    }
    let key_auth = service
        .plugins
        .iter()
        .chain(&route.plugins)
        .next_back()
        .map(|plugin| {
            if plugin.name != "key-auth" {
                problems.push(format!(
                    "plugin {} of {} or its route {}: only key-auth",
                    plugin.name, service.name, route.name
                ));
            }
            plugin.config.clone().unwrap_or_default()
        });
    let paths: Vec<Option<String>> = if route.paths.is_empty() {
        vec![None]
    } else {
        route.paths.iter().cloned().map(Some).collect()
    };
    paths
        .into_iter()
        .map(|path| Entry {
            route: route.name.clone(),
            service: index,
            hosts: route.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            path,
            methods: route.methods.clone(),
            strip_path: route.strip_path,
            preserve_host: route.preserve_host,
            key_auth: key_auth.clone(),
        })
        .collect()
}

fn credentials(consumers: &[DeclaredConsumer], problems: &mut Vec<String>) -> Vec<Credential> {
    let mut credentials = BTreeMap::new();
    for consumer in consumers {
        let Some(name) = consumer.username.as_ref().or(consumer.custom_id.as_ref()) else {
            problems.push("a consumer with neither username nor custom_id".to_owned());
            continue;
        };
        // A consumer without a username gets an id that nobody can derive.
        let id = consumer.id.clone().unwrap_or_else(|| {
            consumer.username.as_ref().map_or_else(
                || Uuid::new_v4().to_string(),
                |name| declarative_id("consumers", name),
            )
        });
        for credential in &consumer.keyauth_credentials {
            let known = credentials.insert(
                credential.key.clone(),
                Credential {
                    key: credential.key.clone(),
                    id: credential
                        .id
                        .clone()
                        .unwrap_or_else(|| Uuid::new_v4().to_string()),
                    consumer_id: id.clone(),
                    username: consumer.username.clone(),
                    custom_id: consumer.custom_id.clone(),
                },
            );
            if known.is_some() {
                problems.push(format!("consumer {name}: its key is given twice in the file"));
            }
        }
    }
    credentials.into_values().collect()
}

/// The id that Kong gives to a declarative entity: a name-based UUID of its endpoint key, under one of its table's name.
#[must_use]
pub fn declarative_id(table: &str, name: &str) -> String {
    let table = Uuid::new_v5(&DECLARATIVE_NAMESPACE, table.as_bytes());
    Uuid::new_v5(&table, name.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::{Configuration, declarative_id};

    fn with_route(route: &str) -> String {
        format!(
            "_format_version: '3.0'\nservices:\n- name: s\n  url: http://127.0.0.1:9100\n  routes:\n  - {{ name: r, {route} }}\n"
        )
    }

    #[test]
    fn what_the_stand_in_cannot_do_is_said() {
        let check = |text: &str, expect: &str| {
            let error = format!("{:#}", Configuration::read(text).unwrap_err());
            assert!(error.contains(expect), "{error}");
        };
        check(&with_route("paths: ['~/x']"), "no plain prefix");
        check(&with_route("hosts: ['*.x.test']"), "wildcard");
        check(&with_route("paths: [/x], headers: {a: [b]}"), "headers");
        check(&with_route("paths: [/x], protocols: [https]"), "protocols");
        check(&with_route("tags: [x]"), "needs hosts, paths or methods");
        check(
            &with_route("paths: [/x], plugins: [{name: acl}]"),
            "only key-auth",
        );
        check(&with_route("paths: [/x, /x]"), "match the same requests");
        check("_format_version: '1.1'\n", "_format_version");
        check("_format_version: '3.0'\nupstreams: []\n", "upstreams");
        check(
            "_format_version: '3.0'\nservices: [{name: s, url: 'tcp://127.0.0.1:1'}]\n",
            "tcp",
        );
        check(
            "_format_version: '3.0'\nservices: [{name: s, url: 'https://127.0.0.1', tls_verify: true}]\n",
            "do without",
        );
    }

    #[test]
    fn entries_stand_in_the_order_in_which_kong_tries_them() {
        let text = include_str!("../../../testdata/lab/kong.yml")
            .replace("${UPSTREAM}", "127.0.0.1:1")
            .replace("${UPSTREAM_TLS}", "127.0.0.1:2")
            .replace("${NOBODY}", "127.0.0.1:3");
        let configuration = Configuration::read(&text).unwrap();
        let order: Vec<_> = configuration
            .entries
            .iter()
            .map(|entry| entry.route.as_str())
            .collect();
        assert_eq!(
            order.first(),
            Some(&"writes"),
            "two kinds of attributes come before one"
        );
        assert_eq!(order.get(1), Some(&"by-host"), "a host comes before a path");
        let place = |route| order.iter().position(|name| *name == route);
        assert!(
            place("unstripped") < place("plain"),
            "a longer prefix comes first: {order:?}"
        );
        assert_eq!(configuration.services.len(), 6);
        assert_eq!(configuration.credentials.len(), 4);
    }

    #[test]
    fn ids_are_those_that_kong_gives() {
        // What a Kong 3.9.1 told its upstream about the consumers `alice` and `bob` of a kong.yml.
        assert_eq!(
            declarative_id("consumers", "alice"),
            "b32379d9-3d28-5683-a79c-72139be6e34f"
        );
        assert_eq!(
            declarative_id("consumers", "bob"),
            "def4f7d3-9863-5ad2-8fa9-c949bf26f55e"
        );
    }
}
