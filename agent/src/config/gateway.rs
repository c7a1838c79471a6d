//! The parts of `[gateway]` that say how its configuration is reached: secrets, Konnect.
//!
//! In: TOML and the environment. Out: typed values, and mistakes. Deliberately absent: reading the files that secrets stand in; that
//! is done for each request.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::{ConfigError, GatewayConfig};
use crate::gateway::ports::PortMap;
use crate::gateway::router::KongVersion;
use crate::telemetry::secret::Secret;

/// `[gateway.konnect]`
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct KonnectConfig {
    /// Its region, such as `eu`.
    pub region: Option<String>,
    /// Its address, in the place of a region.
    pub address: Option<String>,
    /// The control plane's id.
    pub control_plane_id: String,
    /// A file with the access token; read for each request.
    pub token_file: Option<PathBuf>,
    /// The access token; only from the environment (`KONGTAP_KONNECT_TOKEN`).
    #[serde(skip)]
    pub token: Option<Secret>,
}

/// Where a secret stands.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(
    untagged,
    expecting = "must be a text, { env = \"NAME\" } or { file = \"/path\" }"
)]
pub enum SecretSource {
    /// Here.
    Text(#[serde(deserialize_with = "secret")] Secret),
    /// In an environment variable.
    #[serde(deserialize_with = "in_environment")]
    Environment(String),
    /// In a file.
    #[serde(deserialize_with = "in_file")]
    File(PathBuf),
}

fn secret<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
    String::deserialize(from).map(|text| Secret::new(&text))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InEnvironment {
    env: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InFile {
    file: PathBuf,
}

fn in_environment<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    InEnvironment::deserialize(from).map(|place| place.env)
}

fn in_file<'de, D: serde::Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    InFile::deserialize(from).map(|place| place.file)
}

/// Lays the environment over `gateway`. A variable that a header names and that is not set stays as it is, for [`check`] to report.
pub(super) fn apply_environment(gateway: &mut GatewayConfig, set: &dyn Fn(&str) -> Option<String>) {
    if let Some(konnect) = &mut gateway.konnect {
        konnect.token = set("KONGTAP_KONNECT_TOKEN").map(|token| Secret::new(&token));
    }
    for value in gateway.admin_headers.values_mut() {
        if let SecretSource::Environment(name) = value
            && let Some(text) = set(name)
        {
            *value = SecretSource::Text(Secret::new(&text));
        }
    }
}

/// What the types cannot say.
pub(super) fn check(gateway: &GatewayConfig) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let mut wrong = |key: &str, what: String| errors.push(ConfigError::new(format!("gateway.{key}"), what));
    for (key, seconds) in [
        ("refresh_seconds", gateway.refresh_seconds),
        ("full_refresh_seconds", gateway.full_refresh_seconds),
    ] {
        if seconds == 0 {
            wrong(key, "must be at least 1".to_owned());
        }
    }
    for (name, value) in &gateway.admin_headers {
        if let SecretSource::Environment(variable) = value {
            let what = format!("the environment variable {variable} is not set");
            wrong(&format!("admin_headers.{name}"), what);
        }
    }
    if gateway.admin_ca.is_some() && !gateway.admin_tls_verify {
        let what = "is of no use with admin_tls_verify = false; leave one of them out";
        wrong("admin_ca", what.to_owned());
    }
    if gateway.admin_client_cert.is_some() != gateway.admin_client_key.is_some() {
        let what = "and admin_client_key belong together; give both";
        wrong("admin_client_cert", what.to_owned());
    }
    let version = gateway.version.as_deref();
    if let Some(text) = version.filter(|text| KongVersion::parse(text).is_none()) {
        wrong("version", format!("`{text}` is not a version such as \"3.9.1\""));
    }
    if let Err(text) = PortMap::parse(gateway.port_maps.iter().map(String::as_str)) {
        let what =
            format!("`{text}` is not a pair of ports such as \"80:8000\" (outer port, listener's port)");
        wrong("port_maps", what);
    }
    if let Some(konnect) = &gateway.konnect {
        if gateway.admin_url.is_some() || !gateway.files.is_empty() {
            let what = "cannot be used together with admin_url or files; leave all but one of them out";
            wrong("konnect", what.to_owned());
        }
        if konnect.region.is_some() == konnect.address.is_some() {
            let what = "must be given, such as \"eu\", or else konnect.address; one of them";
            wrong("konnect.region", what.to_owned());
        }
        let odd = |region: &&String| {
            !region
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if let Some(region) = konnect.region.as_ref().filter(odd) {
            let what = format!("`{region}` is not a region such as \"eu\", \"us\" or \"au\"");
            wrong("konnect.region", what);
        }
        if konnect.control_plane_id.is_empty() {
            let what = "must be given: Konnect shows it on the control plane's page";
            wrong("konnect.control_plane_id", what.to_owned());
        }
        if konnect.token.is_none() && konnect.token_file.is_none() {
            let what = "must be given, or KONGTAP_KONNECT_TOKEN be set";
            wrong("konnect.token_file", what.to_owned());
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::SecretSource;
    use crate::config::{Config, apply_environment, check, from_toml};
    use crate::telemetry::secret::Secret;

    fn mistakes(text: &str) -> Vec<String> {
        let mut config = from_toml(Path::new("f"), &format!("[gateway]\n{text}")).expect(text);
        apply_environment(&mut config, &|_| None);
        check(&config).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn secrets_come_from_the_file_the_environment_or_a_file_of_their_own() {
        let text = "[gateway]\nadmin_headers = { a = \"text\", b = { env = \"B\" }, c = { file = \"/c\" } }\n\
                    [gateway.konnect]\nregion = \"eu\"\ncontrol_plane_id = \"id\"";
        let mut config = from_toml(Path::new("f"), text).expect("TOML");
        apply_environment(&mut config, &|name| match name {
            "B" => Some("from b".to_owned()),
            "KONGTAP_KONNECT_TOKEN" => Some("hunter2".to_owned()),
            _ => None,
        });
        let headers: Vec<_> = config.gateway.admin_headers.values().cloned().collect();
        assert_eq!(
            headers,
            [
                SecretSource::Text(Secret::new("text")),
                SecretSource::Text(Secret::new("from b")),
                SecretSource::File("/c".into()),
            ]
        );
        assert_eq!(check(&config), []);
        let shown = format!("{config:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("from b") && !shown.contains("\"text\""),
            "{shown}"
        );
        let odd = from_toml(Path::new("f"), "[gateway]\nadmin_headers = { a = 7 }").expect_err("no text");
        assert!(odd.what.contains("{ env = \"NAME\" }"), "{odd}");
    }

    #[test]
    fn mistakes_name_the_key_and_what_to_write() {
        for (text, expected) in [
            (
                "refresh_seconds = 0",
                "gateway.refresh_seconds: must be at least 1",
            ),
            (
                "full_refresh_seconds = 0",
                "gateway.full_refresh_seconds: must be at least 1",
            ),
            (
                "admin_headers = { x = { env = \"NOPE\" } }",
                "gateway.admin_headers.x: the environment variable NOPE is not set",
            ),
            (
                "admin_ca = \"/ca\"\nadmin_tls_verify = false",
                "gateway.admin_ca: is of no use with admin_tls_verify = false; leave one of them out",
            ),
            (
                "admin_client_cert = \"/c\"",
                "gateway.admin_client_cert: and admin_client_key belong together; give both",
            ),
            (
                "version = \"three\"",
                "gateway.version: `three` is not a version such as \"3.9.1\"",
            ),
            (
                "port_maps = [\"80\"]",
                "gateway.port_maps: `80` is not a pair of ports such as \"80:8000\" (outer port, listener's port)",
            ),
        ] {
            assert_eq!(mistakes(text), [expected], "{text}");
        }
        let konnect = mistakes("admin_url = \"http://h\"\n[gateway.konnect]\nregion = \"e/u\"");
        let keys: Vec<_> = konnect
            .iter()
            .filter_map(|mistake| mistake.split(':').next())
            .collect();
        assert_eq!(
            keys,
            [
                "gateway.konnect",
                "gateway.konnect.region",
                "gateway.konnect.control_plane_id",
                "gateway.konnect.token_file"
            ]
        );
        assert_eq!(check(&Config::default()), []);
    }
}
