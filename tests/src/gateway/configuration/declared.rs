//! A kong.yml as it is written, as far as the stand-in understands it. What is not named here is refused.

use serde::Deserialize;

/// key-auth, as it applies to one route.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyAuth {
    /// Names of the header and query parameter.
    pub key_names: Vec<String>,
    /// Whether the key is taken out of the request.
    pub hide_credentials: bool,
    /// Whether headers are looked at.
    pub key_in_header: bool,
    /// Whether the query is looked at.
    pub key_in_query: bool,
}

impl Default for KeyAuth {
    fn default() -> Self {
        Self {
            key_names: vec!["apikey".to_owned()],
            hide_credentials: false,
            key_in_header: true,
            key_in_query: true,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(rename = "_format_version")]
    pub(super) format_version: String,
    #[serde(rename = "_transform", default)]
    _transform: bool,
    #[serde(default)]
    pub(super) services: Vec<DeclaredService>,
    #[serde(default)]
    pub(super) consumers: Vec<DeclaredConsumer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeclaredService {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) retries: Option<usize>,
    pub(super) connect_timeout: Option<u64>,
    pub(super) read_timeout: Option<u64>,
    pub(super) write_timeout: Option<u64>,
    #[serde(rename = "tls_verify", default)]
    _tls_verify: No,
    #[serde(rename = "tags", default)]
    _tags: Vec<String>,
    #[serde(default)]
    pub(super) routes: Vec<DeclaredRoute>,
    #[serde(default)]
    pub(super) plugins: Vec<DeclaredPlugin>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeclaredRoute {
    pub(super) name: String,
    #[serde(default)]
    pub(super) hosts: Vec<String>,
    #[serde(default)]
    pub(super) paths: Vec<String>,
    #[serde(default)]
    pub(super) methods: Vec<String>,
    #[serde(default = "yes")]
    pub(super) strip_path: bool,
    #[serde(default)]
    pub(super) preserve_host: bool,
    #[serde(rename = "tags", default)]
    _tags: Vec<String>,
    #[serde(default)]
    pub(super) plugins: Vec<DeclaredPlugin>,
}

const fn yes() -> bool {
    true
}

/// `false`, or nothing.
#[derive(Debug, Default)]
struct No;

impl<'de> Deserialize<'de> for No {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if bool::deserialize(deserializer)? {
            return Err(serde::de::Error::custom("the stand-in can only do without this"));
        }
        Ok(Self)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeclaredPlugin {
    pub(super) name: String,
    pub(super) config: Option<KeyAuth>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeclaredConsumer {
    pub(super) id: Option<String>,
    pub(super) username: Option<String>,
    pub(super) custom_id: Option<String>,
    #[serde(rename = "tags", default)]
    _tags: Vec<String>,
    #[serde(default)]
    pub(super) keyauth_credentials: Vec<DeclaredKey>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeclaredKey {
    pub(super) id: Option<String>,
    pub(super) key: String,
}
