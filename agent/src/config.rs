//! The agent's own configuration: one typed value out of `kongtap.toml`, the environment and the command line.
//!
//! In: the file's text, flags and a lookup for environment variables. Out: a [`Config`], or every mistake with its place.
//! Flags win over the environment, the environment over the file, the file over the defaults. Deliberately absent: Kong's
//! configuration (`gateway`) and the `runscope` configurations (`plugin`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::telemetry::secret::Secret;

mod gateway;
mod limits;
mod ship;
mod spool;

pub use gateway::{KonnectConfig, SecretSource};
pub use limits::{Cores, LimitsConfig};
pub use ship::{BreakerConfig, DropFirst, RetryConfig, ShedConfig, ShipConfig};
pub use spool::SpoolConfig;

/// What `kongtap` runs with.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which gateway, and where its configuration is.
    pub gateway: GatewayConfig,
    /// Where `runscope` configurations come from.
    pub plugins: PluginsConfig,
    /// The probes.
    pub capture: CaptureConfig,
    /// What a message holds.
    pub message: MessageConfig,
    /// Bounds on what is kept in memory.
    pub limits: LimitsConfig,
    /// Delivery.
    pub ship: ShipConfig,
    /// The agent's own interface.
    pub admin: AdminConfig,
}

/// `[gateway]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Processes to watch: masters or workers. Empty: those that the Admin API names, or else those found in `/proc`.
    pub pids: Vec<u32>,
    /// Whether to wait for a gateway when none is running.
    pub wait: bool,
    /// Declarative configurations (`kong.yml`).
    pub files: Vec<PathBuf>,
    /// Admin API, such as `http://127.0.0.1:8001`.
    pub admin_url: Option<String>,
    /// `Kong-Admin-Token`; only from the environment (`KONGTAP_ADMIN_TOKEN`).
    #[serde(skip)]
    pub admin_token: Option<Secret>,
    /// A file with the `Kong-Admin-Token`; read for each request, so that it may be replaced.
    pub admin_token_file: Option<PathBuf>,
    /// Other header fields that the Admin API, or a proxy in front of it, wants.
    pub admin_headers: BTreeMap<String, SecretSource>,
    /// Authorities (PEM) that the Admin API's certificate is verified by, and no other.
    pub admin_ca: Option<PathBuf>,
    /// A certificate (PEM) that kongtap shows to the Admin API.
    pub admin_client_cert: Option<PathBuf>,
    /// Its key (PEM).
    pub admin_client_key: Option<PathBuf>,
    /// Whether the Admin API's certificate is verified.
    pub admin_tls_verify: bool,
    /// Workspaces to read; none named: all that there are.
    pub workspaces: Vec<String>,
    /// A Konnect control plane, for data planes.
    pub konnect: Option<KonnectConfig>,
    /// How often the gateway's configuration is read again, seconds.
    pub refresh_seconds: u64,
    /// After how long everything is read although nothing seems to have changed, seconds.
    pub full_refresh_seconds: u64,
    /// Router flavour of a gateway that does not say (a file, Konnect): what `router_flavor` is in its `kong.conf`.
    pub router_flavor: Flavor,
    /// Version of a gateway that does not say (a file, Konnect).
    pub version: Option<String>,
    /// Ports by which clients know the gateway's listeners, as `port_maps` in its `kong.conf`; none: as the Admin API says.
    pub port_maps: Vec<String>,
}

/// `router_flavor`
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Flavor {
    /// What the gateway says, else what is usual for its version.
    #[default]
    Auto,
    /// Kong's first router.
    Traditional,
    /// The default of Kong 3.
    TraditionalCompatible,
    /// Routes may be expressions.
    Expressions,
}

/// `[plugins]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct PluginsConfig {
    /// Files with a `plugins:` list of `name: runscope`.
    pub files: Vec<PathBuf>,
    /// Where the plugin API keeps its configurations; [`DEFAULT_STORE`] when nothing is said.
    pub store: Option<PathBuf>,
    /// Whether `runscope` plugins in the gateway's own configuration are used, too.
    pub from_gateway: bool,
    /// One global configuration; only from the environment.
    #[serde(skip)]
    pub global: Option<GlobalPlugin>,
}

/// Where the plugin API keeps its configurations when nothing is said: the state directory of the packaged service.
pub const DEFAULT_STORE: &str = "/var/lib/kongtap/runscope.yml";

impl PluginsConfig {
    /// Where the plugin API keeps its configurations.
    #[must_use]
    pub fn store_path(&self) -> PathBuf {
        self.store.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_STORE))
    }
}

/// The global `runscope` configuration that the environment gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GlobalPlugin {
    /// `KONGTAP_ACCESS_TOKEN`
    pub access_token: Option<Secret>,
    /// `KONGTAP_BUCKET_KEY`
    pub bucket_key: Option<String>,
    /// `KONGTAP_API_ENDPOINT`
    pub api_endpoint: Option<String>,
    /// `KONGTAP_LOG_BODY`
    pub log_body: Option<String>,
}

/// `[capture]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct CaptureConfig {
    /// Size of the ring buffer, bytes; a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Bytes copied of each message beside those wanted of its body: room for its head.
    pub head_bytes: u32,
    /// How often the ring is read, milliseconds.
    pub poll_ms: u64,
    /// Where the bytes of socket calls come from.
    pub sockets: SocketCapture,
    /// Whether OpenSSL calls are probed.
    pub tls: TlsCapture,
    /// Where in OpenSSL's functions the probes are placed.
    pub placement: ProbePlacement,
}

/// `capture.placement`
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ProbePlacement {
    /// Where they cost least, once a self-test has proven that they see the same there.
    #[default]
    Auto,
    /// On the functions' first instructions, and their returns.
    Entry,
}

/// `capture.sockets`
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum SocketCapture {
    /// The first of these that this host offers.
    #[default]
    Auto,
    /// Tracepoints at the end of socket calls: Linux 6.3 on.
    Sock,
    /// Tracepoints at the end of system calls: every process on the host pays a little.
    Syscalls,
    /// libc's functions in the gateway: dearer for the gateway, free for others.
    Uprobes,
}

/// `capture.tls`
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum TlsCapture {
    /// Where the gateway's TLS library has the functions.
    #[default]
    Auto,
    /// Not at all.
    Off,
}

/// `[message]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct MessageConfig {
    /// Which fields are sent.
    pub profile: ProfileName,
    /// What is hidden.
    pub redact: RedactConfig,
}

/// `message.profile`
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ProfileName {
    /// The plugin's fields, and kongtap's beside them.
    #[default]
    Extended,
    /// Exactly what the plugin sent.
    Plugin,
}

/// `[message.redact]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct RedactConfig {
    /// The rules to start from.
    pub base: RedactBase,
    /// Request headers whose values are hidden besides.
    pub headers: Vec<String>,
    /// Query parameters and form fields whose values are hidden besides.
    pub fields: Vec<String>,
}

/// `message.redact.base`
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum RedactBase {
    /// `authorization`, `proxy-authorization` and the credentials that the gateway itself reads on the route.
    #[default]
    Default,
    /// Nothing.
    None,
}

/// `[admin]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Address of the plugin API, `/status`, `/metrics`, `/healthz` and `/readyz`. Without a token, loopback only.
    pub listen: SocketAddr,
    /// What callers must present; asked for on loopback too, once it is set.
    #[serde(deserialize_with = "secret")]
    pub token: Option<Secret>,
    /// Which generation of Kong's Admin API the plugin API speaks.
    pub dialect: AdminDialect,
}

/// `admin.dialect`
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum AdminDialect {
    /// That of the gateway's version, else the one of today.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// Kong 0.13 and 0.14.
    #[serde(rename = "0.13")]
    Old,
    /// Kong 1.0 and later.
    #[serde(rename = "3")]
    Current,
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Some(Secret::new(&String::deserialize(deserializer)?)))
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            pids: Vec::new(),
            wait: false,
            files: Vec::new(),
            admin_url: None,
            admin_token: None,
            admin_token_file: None,
            admin_headers: BTreeMap::new(),
            admin_ca: None,
            admin_client_cert: None,
            admin_client_key: None,
            admin_tls_verify: true,
            workspaces: Vec::new(),
            konnect: None,
            refresh_seconds: 10,
            full_refresh_seconds: 600,
            router_flavor: Flavor::Auto,
            version: None,
            port_maps: Vec::new(),
        }
    }
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            ring_bytes: 8 << 20,
            head_bytes: 64 << 10,
            poll_ms: 5,
            sockets: SocketCapture::Auto,
            tls: TlsCapture::Auto,
            placement: ProbePlacement::Auto,
        }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8011)),
            token: None,
            dialect: AdminDialect::Auto,
        }
    }
}

/// A mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct ConfigError {
    /// Where: a file and key, a flag, or an environment variable.
    pub place: String,
    /// What is wrong and what to write instead.
    pub what: String,
}

impl ConfigError {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            what: what.into(),
        }
    }
}

/// Reads `kongtap.toml`'s text.
///
/// # Errors
/// The first thing that TOML or the configuration's shape forbids, with its line.
pub fn from_toml(path: &Path, text: &str) -> Result<Config, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| {
            1 + text.bytes().take(span.start).filter(|b| *b == b'\n').count()
        });
        ConfigError::new(
            format!("{}:{line}", path.display()),
            error.message().trim().to_owned(),
        )
    })
}

/// Lays the environment over `config`. `lookup` gives a variable's value.
pub fn apply_environment(config: &mut Config, lookup: &dyn Fn(&str) -> Option<String>) {
    let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
    if let Some(url) = set("KONGTAP_ADMIN_URL") {
        config.gateway.admin_url = Some(url);
    }
    config.gateway.admin_token = set("KONGTAP_ADMIN_TOKEN").map(|token| Secret::new(&token));
    gateway::apply_environment(&mut config.gateway, &set);
    if let Some(token) = set("KONGTAP_LISTEN_TOKEN") {
        config.admin.token = Some(Secret::new(&token));
    }
    limits::apply_environment(&mut config.limits, &set);
    if let Some(path) = set("KONGTAP_STORE") {
        config.plugins.store = Some(PathBuf::from(path));
    }
    let global = GlobalPlugin {
        access_token: set("KONGTAP_ACCESS_TOKEN").map(|token| Secret::new(&token)),
        bucket_key: set("KONGTAP_BUCKET_KEY"),
        api_endpoint: set("KONGTAP_API_ENDPOINT"),
        log_body: set("KONGTAP_LOG_BODY"),
    };
    // An endpoint alone is no configuration: without a token and a bucket nothing can be posted to it.
    if global.access_token.is_some() || global.bucket_key.is_some() {
        config.plugins.global = Some(global);
    }
}

/// Checks what the types cannot say. Every mistake at once.
#[must_use]
pub fn check(config: &Config) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let ring = config.capture.ring_bytes;
    if !ring.is_power_of_two() || ring < 4096 {
        errors.push(ConfigError::new(
            "capture.ring_bytes",
            "must be a power of two of at least 4096, such as 8388608",
        ));
    }
    if !(1024..=1 << 20).contains(&config.capture.head_bytes) {
        errors.push(ConfigError::new(
            "capture.head_bytes",
            "must be between 1024 and 1048576, such as 65536",
        ));
    }
    if !(1..=1000).contains(&config.capture.poll_ms) {
        errors.push(ConfigError::new(
            "capture.poll_ms",
            "must be between 1 and 1000 (milliseconds)",
        ));
    }
    errors.extend(gateway::check(&config.gateway));
    let is_token = |token: &Secret| {
        let token = token.expose();
        !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match &config.admin.token {
        None if !config.admin.listen.ip().is_loopback() => errors.push(ConfigError::new(
            "admin.listen",
            "must be a loopback address, such as 127.0.0.1:8011, unless admin.token (KONGTAP_LISTEN_TOKEN) is set",
        )),
        Some(token) if !is_token(token) => errors.push(ConfigError::new(
            "admin.token",
            "must be of visible ASCII characters without blanks, as it stands in a header",
        )),
        None | Some(_) => {}
    }
    errors.extend(limits::check(&config.limits));
    errors.extend(ship::check(&config.ship));
    errors
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Config, ProfileName, apply_environment, check, from_toml};

    #[test]
    fn an_empty_file_is_the_default_and_passes_its_own_check() {
        let config = from_toml(Path::new("kongtap.toml"), "").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(check(&config), []);
    }

    #[test]
    fn the_documented_defaults_are_the_defaults_and_every_key_is_documented() {
        let page = include_str!("../../docs/configuration.md");
        let text = page
            .split("```toml\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .unwrap();
        assert_eq!(
            from_toml(Path::new("docs/configuration.md"), text).unwrap(),
            Config::default()
        );
        let sources = [
            include_str!("config.rs"),
            include_str!("config/gateway.rs"),
            include_str!("config/ship.rs"),
            include_str!("config/spool.rs"),
            include_str!("config/limits.rs"),
        ];
        let keys = sources
            .iter()
            .flat_map(|source| source.lines().take_while(|line| !line.starts_with("impl ")))
            .filter_map(|line| {
                let (name, _) = line.strip_prefix("    pub ")?.split_once(':')?;
                Some(name)
            });
        // Set by the environment alone, or named as tables.
        let elsewhere = [
            "admin_token",
            "token",
            "address",
            "global",
            "access_token",
            "bucket_key",
            "api_endpoint",
            "log_body",
        ];
        for key in keys.filter(|key| !elsewhere.contains(key)) {
            let is_there = page.contains(&format!("\n{key} =")) || page.contains(&format!("# {key} ="));
            let is_table = page.contains(&format!("[{key}]")) || page.contains(&format!(".{key}]"));
            assert!(is_there || is_table, "{key} is not in docs/configuration.md");
        }
    }

    #[test]
    fn a_misspelt_key_is_refused_with_its_line() {
        let error = from_toml(Path::new("kongtap.toml"), "[capture]\nring_byte = 1\n").unwrap_err();
        assert!(error.place.contains("kongtap.toml:2"), "{error}");
        assert!(error.what.contains("ring_bytes"), "{error}");
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let text = "[capture]\nring_bytes = 5000\npoll_ms = 0\n[admin]\nlisten = \"0.0.0.0:1\"\n[ship]\nin_flight = 0";
        let places: Vec<String> = check(&from_toml(Path::new("f"), text).unwrap())
            .into_iter()
            .map(|error| error.place)
            .collect();
        assert_eq!(
            places,
            [
                "capture.ring_bytes",
                "capture.poll_ms",
                "admin.listen",
                "ship.in_flight"
            ]
        );
    }

    #[test]
    fn the_environment_gives_one_global_plugin_and_wins_over_the_file() {
        let text = "[gateway]\nadmin_url = \"http://file\"\n[message]\nprofile = \"plugin\"";
        let mut config = from_toml(Path::new("f"), text).unwrap();
        assert_eq!(config.message.profile, ProfileName::Plugin);
        apply_environment(&mut config, &|name| match name {
            "KONGTAP_ADMIN_URL" => Some("http://environment".into()),
            "KONGTAP_BUCKET_KEY" => Some("bucket".into()),
            _ => None,
        });
        assert_eq!(config.gateway.admin_url.as_deref(), Some("http://environment"));
        let global = config.plugins.global.unwrap();
        assert_eq!(
            (global.bucket_key.as_deref(), global.access_token),
            (Some("bucket"), None)
        );
    }

    #[test]
    fn another_address_than_loopback_needs_a_token() {
        let places = |text: &str| -> Vec<String> {
            let errors = check(&from_toml(Path::new("f"), text).unwrap());
            errors.into_iter().map(|error| error.place).collect()
        };
        assert_eq!(places("[admin]\nlisten = \"0.0.0.0:8011\""), ["admin.listen"]);
        assert_eq!(
            places("[admin]\nlisten = \"0.0.0.0:8011\"\ntoken = \"t\""),
            [""; 0]
        );
        assert_eq!(places("[admin]\ntoken = \"\""), ["admin.token"]);
        assert_eq!(places("[admin]\ntoken = \"a b\""), ["admin.token"]);
        let mut config = from_toml(Path::new("f"), "[admin]\ntoken = \"file\"\ndialect = \"0.13\"").unwrap();
        assert_eq!(config.admin.dialect, super::AdminDialect::Old);
        apply_environment(&mut config, &|name| match name {
            "KONGTAP_LISTEN_TOKEN" => Some("environment".into()),
            "KONGTAP_STORE" => Some("/s.yml".into()),
            _ => None,
        });
        assert_eq!(config.admin.token.as_ref().unwrap().expose(), "environment");
        assert_eq!(config.plugins.store_path(), Path::new("/s.yml"));
        assert!(!format!("{config:?}").contains("environment"));
    }

    #[test]
    fn an_endpoint_alone_is_not_a_plugin_configuration() {
        let mut config = Config::default();
        apply_environment(&mut config, &|name| {
            (name == "KONGTAP_API_ENDPOINT").then(|| "http://x".into())
        });
        assert_eq!(config.plugins.global, None);
    }
}
