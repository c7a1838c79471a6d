//! Which auth plugins are in force where, and where they read credentials from.
//!
//! In: the gateway's plugins. Out: for each route whether and how it authenticates, and the [`CredentialPlace`]s that redaction
//! hides by default. Rules: the schemas of K@3.9 kong/plugins/*/schema.lua. Whose a credential is says `store`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::gateway::credentials::authenticator::Authenticator;
use crate::gateway::entities::{Plugin, Route};
use crate::gateway::snapshot::{CredentialPlace, in_force};

pub mod authenticator;
pub mod forms;
mod presented;
pub mod store;

/// Kong's plugins that find a Consumer.
const AUTH_PLUGINS: [&str; 16] = [
    "basic-auth",
    "header-cert-auth",
    "hmac-auth",
    "jwt",
    "jwt-signer",
    "key-auth",
    "key-auth-enc",
    "ldap-auth",
    "ldap-auth-advanced",
    "mtls-auth",
    "oauth2",
    "oauth2-introspection",
    "openid-connect",
    "saml",
    "session",
    "vault-auth",
];

/// Other plugins that may answer 401 or 403, some of them to a consumer that is known.
const REFUSING_PLUGINS: [&str; 8] = [
    "acl",
    "bot-detection",
    "ip-restriction",
    "opa",
    "post-function",
    "pre-function",
    "request-termination",
    "route-by-header",
];

/// Plugins that answer before authentication, with any status.
const EARLY_PLUGINS: [&str; 4] = ["acme", "cors", "degraphql", "pre-function"];

/// Plugins that can take headers away from the upstream's request.
const TRANSFORMERS: [&str; 2] = ["request-transformer", "request-transformer-advanced"];

/// What is in force on one route.
#[derive(Clone, Debug, Default)]
pub struct RouteAuth {
    /// Whether an auth plugin is.
    pub authenticates: bool,
    /// Whether a plugin is that may refuse a known consumer with 401 or 403.
    pub may_refuse: bool,
    /// Whether `acl` is, which says so when it refuses.
    pub has_acl: bool,
    /// Whether a plugin is that may answer before anybody is authenticated.
    pub answers_before: bool,
    /// Whether a transformer is that takes `X-Consumer-*` away.
    pub hides_consumer: bool,
    /// Where credentials stand.
    pub credentials: Arc<[CredentialPlace]>,
    /// The auth plugins, the first to run first.
    pub chain: Arc<[Authenticator]>,
}

/// The plugins that matter here, by name.
pub struct Plans<'a> {
    by_name: BTreeMap<&'a str, Vec<&'a Plugin>>,
}

impl std::fmt::Debug for Plans<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.by_name.keys()).finish()
    }
}

impl<'a> Plans<'a> {
    /// Sorts a gateway's plugins. Those that only run for stream protocols are left out.
    #[must_use]
    pub fn of(plugins: &'a [Plugin]) -> Self {
        let mut by_name: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for plugin in plugins {
            let name = plugin.name.as_str();
            let matters = [
                &AUTH_PLUGINS[..],
                &REFUSING_PLUGINS,
                &EARLY_PLUGINS,
                &TRANSFORMERS,
            ]
            .iter()
            .any(|names| names.contains(&name));
            if matters && speaks_http(&plugin.protocols) {
                by_name.entry(name).or_default().push(plugin);
            }
        }
        Self { by_name }
    }

    /// What is in force on a route.
    #[must_use]
    pub fn on(&self, route: &Route) -> RouteAuth {
        let mut auth = RouteAuth::default();
        let mut places = BTreeSet::new();
        let mut chain = Vec::new();
        for (name, plugins) in &self.by_name {
            let Some(plugin) = in_force(plugins, Some(route)) else {
                continue;
            };
            auth.authenticates |= AUTH_PLUGINS.contains(name);
            auth.may_refuse |= REFUSING_PLUGINS.contains(name);
            auth.has_acl |= *name == "acl";
            auth.answers_before |= EARLY_PLUGINS.contains(name);
            chain.extend(Authenticator::of(plugin));
            auth.hides_consumer |= TRANSFORMERS.contains(name) && removes_consumer_headers(&plugin.config);
            places.extend(places_of(name, &plugin.config));
        }
        chain.sort_by_key(Authenticator::place);
        auth.chain = chain.into();
        auth.credentials = places.into_iter().collect();
        auth
    }

    /// Where any route's credentials stand, for requests whose route is not known.
    #[must_use]
    pub fn everywhere(&self) -> Arc<[CredentialPlace]> {
        let plugins = self
            .by_name
            .iter()
            .flat_map(|(name, plugins)| plugins.iter().map(|it| (*name, it)));
        let enabled = plugins.filter(|(_, plugin)| plugin.enabled);
        let places: BTreeSet<_> = enabled
            .flat_map(|(name, plugin)| places_of(name, &plugin.config))
            .collect();
        places.into_iter().collect()
    }

    /// Where the credentials of requests without a route stand.
    #[must_use]
    pub fn global(&self) -> Arc<[CredentialPlace]> {
        let plugins = self
            .by_name
            .iter()
            .filter_map(|(name, plugins)| Some((*name, in_force(plugins, None)?)));
        let places: BTreeSet<_> = plugins
            .flat_map(|(name, plugin)| places_of(name, &plugin.config))
            .collect();
        places.into_iter().collect()
    }
}

/// Where every auth plugin reads credentials from when it is left at its defaults.
#[must_use]
pub fn defaults() -> Arc<[CredentialPlace]> {
    let places: BTreeSet<_> = AUTH_PLUGINS
        .iter()
        .flat_map(|name| places_of(name, &Value::Null))
        .collect();
    places.into_iter().collect()
}

/// Whether a plugin's protocols let it run for HTTP; an empty list is the plugin's default, which does.
#[must_use]
pub fn speaks_http(protocols: &[String]) -> bool {
    let http = ["http", "https", "grpc", "grpcs", "ws", "wss"];
    protocols.is_empty() || protocols.iter().any(|protocol| http.contains(&protocol.as_str()))
}

fn places_of(name: &str, config: &Value) -> Vec<CredentialPlace> {
    use CredentialPlace::{BodyField, Cookie, Header, Query};
    let names = |field: &str, default: &[&str]| strings(config, field, default);
    let flag = |field: &str, default: bool| config.get(field).and_then(Value::as_bool).unwrap_or(default);
    let header = |name: &str| Header(name.to_ascii_lowercase());
    match name {
        "key-auth" | "key-auth-enc" => {
            let keys = names("key_names", &["apikey"]);
            let mut places = Vec::new();
            for key in keys {
                if flag("key_in_header", true) {
                    places.push(header(&key));
                }
                if flag("key_in_query", true) {
                    places.push(Query(key.clone()));
                }
                if flag("key_in_body", false) {
                    places.push(BodyField(key));
                }
            }
            places
        }
        "jwt" => {
            let headers = names("header_names", &["authorization"])
                .into_iter()
                .map(|name| header(&name));
            let queries = names("uri_param_names", &["jwt"]).into_iter().map(Query);
            let cookies = names("cookie_names", &[]).into_iter().map(Cookie);
            headers.chain(queries).chain(cookies).collect()
        }
        "oauth2" => {
            let own = names("auth_header_name", &["authorization"])
                .into_iter()
                .map(|name| header(&name));
            let secrets = [
                "access_token",
                "client_secret",
                "refresh_token",
                "code",
                "password",
                "provision_key",
            ];
            let fields = secrets.iter().map(|name| BodyField((*name).to_owned()));
            let queries = secrets.iter().map(|name| Query((*name).to_owned()));
            own.chain(queries).chain(fields).collect()
        }
        "oauth2-introspection" => vec![
            header("authorization"),
            Query("access_token".to_owned()),
            BodyField("access_token".to_owned()),
        ],
        "session" => names("cookie_name", &["session"])
            .into_iter()
            .map(Cookie)
            .collect(),
        "openid-connect" => {
            let mut places = vec![
                header("authorization"),
                header("proxy-authorization"),
                header("access_token"),
                Query("access_token".to_owned()),
                BodyField("access_token".to_owned()),
                BodyField("client_secret".to_owned()),
            ];
            places.extend(names("session_cookie_name", &["session"]).into_iter().map(Cookie));
            places.extend(names("id_token_param_name", &[]).into_iter().map(Query));
            places
        }
        "vault-auth" => {
            let mut places: Vec<_> = names("access_token_name", &["access_token"])
                .into_iter()
                .map(Query)
                .collect();
            places.extend(
                names("secret_token_name", &["secret_token"])
                    .into_iter()
                    .map(Query),
            );
            let headers: Vec<_> = places
                .iter()
                .filter_map(|place| match place {
                    Query(name) => Some(header(name)),
                    Header(_) | BodyField(_) | Cookie(_) => None,
                })
                .collect();
            places.extend(headers);
            places
        }
        "header-cert-auth" => names("certificate_header_name", &[])
            .iter()
            .map(|name| header(name))
            .collect(),
        "saml" => names("session_cookie_name", &["session"])
            .into_iter()
            .map(Cookie)
            .collect(),
        "jwt-signer" => vec![header("authorization")],
        "basic-auth" | "hmac-auth" | "ldap-auth" | "ldap-auth-advanced" => {
            vec![header("authorization"), header("proxy-authorization")]
        }
        // mtls-auth reads the connection; the others do not authenticate.
        _ => Vec::new(),
    }
}

/// A field that holds one string or a list of them.
fn strings(config: &Value, field: &str, default: &[&str]) -> Vec<String> {
    let one = |value: &Value| value.as_str().map(str::to_owned);
    match config.get(field) {
        Some(Value::Array(items)) => items.iter().filter_map(one).collect(),
        Some(Value::String(text)) => vec![text.clone()],
        // Lua's JSON has `{}` for an empty list.
        Some(Value::Object(_)) => Vec::new(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_)) | None => {
            default.iter().map(|name| (*name).to_owned()).collect()
        }
    }
}

fn removes_consumer_headers(config: &Value) -> bool {
    ["remove", "rename", "replace"].iter().any(|action| {
        let headers = config.get(action).and_then(|action| action.get("headers"));
        let named = |value: &Value| {
            let name = value.as_str().unwrap_or_default().to_ascii_lowercase();
            name.starts_with("x-consumer-") || name.starts_with("x-anonymous-consumer")
        };
        headers
            .and_then(Value::as_array)
            .is_some_and(|names| names.iter().any(named))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::authenticator::Authenticator;
    use super::{AUTH_PLUGINS, TRANSFORMERS, places_of, removes_consumer_headers};
    use crate::gateway::entities::{Plugin, Scope};
    use crate::gateway::retained;

    fn plugin(name: &str, config: Value) -> Plugin {
        Plugin {
            id: None,
            name: name.to_owned(),
            scope: Scope::default(),
            enabled: true,
            protocols: Vec::new(),
            config,
            place: String::new(),
            workspace: None,
        }
    }

    /// Every field that is read here differs from its default, so that one which is dropped shows.
    #[test]
    fn what_is_kept_of_a_configuration_is_enough() {
        let config = json!({
            "key_names": ["k"], "key_in_header": false, "key_in_query": false, "key_in_body": true,
            "header_names": ["h"], "uri_param_names": ["u"], "cookie_names": ["c"], "key_claim_name": "kid",
            "auth_header_name": "x-auth", "cookie_name": "sid", "session_cookie_name": "oidc",
            "id_token_param_name": "i", "access_token_name": "a", "secret_token_name": "s",
            "certificate_header_name": "x-cert", "anonymous": "guest", "run_on_preflight": false,
            "hide_credentials": true,
            "remove": {"headers": ["x-consumer-id"]},
        });
        for name in AUTH_PLUGINS.into_iter().chain(TRANSFORMERS) {
            let kept = retained::of(name, Some(&config));
            assert_eq!(places_of(name, &kept), places_of(name, &config), "{name}");
            let hides = |config| TRANSFORMERS.contains(&name) && removes_consumer_headers(config);
            assert_eq!(hides(&kept), hides(&config), "{name}");
            assert_eq!(
                Authenticator::of(&plugin(name, kept)),
                Authenticator::of(&plugin(name, config.clone())),
                "{name}"
            );
        }
        for name in AUTH_PLUGINS {
            let default = Authenticator::of(&plugin(name, Value::Null)).expect(name);
            let own = Authenticator::of(&plugin(name, config.clone())).expect(name);
            assert!(
                own != default && own.skips_preflight && own.anonymous.is_some(),
                "{name}"
            );
        }
    }
}
