//! One auth plugin on a route, as far as it tells who a request is from.
//!
//! In: a plugin's configuration; a request and the [`Store`]. Out: a [`Finding`]. Plugins run in the order of their priorities, which
//! all versions share (reference: Kong 3.9 kong/plugins/*/handler.lua). Deliberately absent: how several of them go together (that is
//! `consumer::chain`).

use serde_json::Value;
use std::sync::Arc;

use crate::gateway::credentials::presented::{self, Presented};
use crate::gateway::credentials::store::{Owner, Store};
use crate::gateway::credentials::strings;
use crate::gateway::entities::{Consumer, CredentialKind, Plugin};
use crate::http::exchange::Request;

/// One auth plugin in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticator {
    /// The plugin's name.
    pub plugin: &'static str,
    /// Who a request without a good credential is taken for: an id or a user name. Without it, it is refused.
    pub anonymous: Option<String>,
    /// Whether OPTIONS requests pass it unseen.
    pub skips_preflight: bool,
    /// Whose credentials it takes: those of its own workspace.
    workspace: Option<Arc<str>>,
    way: Way,
}

/// How a plugin finds out.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    Key(CredentialKind, KeyPlaces),
    Basic,
    Hmac,
    Jwt(JwtPlaces),
    Token {
        header: String,
    },
    /// A cookie of the plugin's own; it refuses nobody.
    Session {
        cookie: String,
    },
    /// A directory of which the gateway makes no Consumer.
    Ldap,
    /// It cannot be said from what is seen: certificates, other servers' tokens.
    Unseen,
}

/// Where `key-auth` looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPlaces {
    pub(super) names: Vec<String>,
    pub(super) in_header: bool,
    pub(super) in_query: bool,
    pub(super) in_body: bool,
}

/// Where `jwt` looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JwtPlaces {
    pub(super) headers: Vec<String>,
    pub(super) queries: Vec<String>,
    pub(super) cookies: Vec<String>,
    pub(super) claim: String,
}

/// What one plugin makes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It was not asked: a preflight request, or somebody was authenticated before.
    NotAsked,
    /// There is no credential where it looks.
    Absent,
    /// There is one that the gateway does not know, or refuses for its form.
    Refused,
    /// This Consumer's, and whoever shows it is let in.
    Known(Arc<Consumer>),
    /// It names this Consumer; whether it proves it (a password, a signature) the gateway has verified, not kongtap.
    Claimed(Arc<Consumer>),
    /// Somebody who is no Consumer.
    NoConsumer,
    /// It cannot be said.
    Unclear,
}

/// The auth plugins, the first to run first, with their places in Kong 3.9's order.
const ORDER: [&str; 16] = [
    "session",
    "oauth2-introspection",
    "mtls-auth",
    "jwt",
    "oauth2",
    "vault-auth",
    "key-auth",
    "key-auth-enc",
    "ldap-auth",
    "ldap-auth-advanced",
    "basic-auth",
    "openid-connect",
    "saml",
    "hmac-auth",
    "jwt-signer",
    "header-cert-auth",
];

impl Authenticator {
    /// An auth plugin by its configuration; `None` for other plugins.
    #[must_use]
    pub(super) fn of(configured: &Plugin) -> Option<Self> {
        let plugin = ORDER.into_iter().find(|known| *known == configured.name)?;
        let config = &configured.config;
        let flag = |field: &str, default: bool| config.get(field).and_then(Value::as_bool).unwrap_or(default);
        let text = |field: &str| {
            config
                .get(field)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let keys = || KeyPlaces {
            names: strings(config, "key_names", &["apikey"]),
            in_header: flag("key_in_header", true),
            in_query: flag("key_in_query", true),
            in_body: flag("key_in_body", false),
        };
        let way = match plugin {
            "key-auth" => Way::Key(CredentialKind::Key, keys()),
            "key-auth-enc" => Way::Key(CredentialKind::EncryptedKey, keys()),
            "basic-auth" => Way::Basic,
            "hmac-auth" => Way::Hmac,
            "jwt" => Way::Jwt(JwtPlaces {
                headers: strings(config, "header_names", &["authorization"]),
                queries: strings(config, "uri_param_names", &["jwt"]),
                cookies: strings(config, "cookie_names", &[]),
                claim: text("key_claim_name").unwrap_or("iss").to_owned(),
            }),
            "oauth2" => Way::Token {
                header: text("auth_header_name").unwrap_or("authorization").to_owned(),
            },
            "session" => Way::Session {
                cookie: text("cookie_name").unwrap_or("session").to_owned(),
            },
            "ldap-auth" => Way::Ldap,
            _ => Way::Unseen,
        };
        Some(Self {
            plugin,
            anonymous: text("anonymous").map(str::to_owned),
            skips_preflight: !flag("run_on_preflight", true),
            workspace: configured.workspace.clone(),
            way,
        })
    }

    /// Where it stands among the others.
    #[must_use]
    pub(super) fn place(&self) -> usize {
        ORDER
            .iter()
            .position(|name| *name == self.plugin)
            .unwrap_or(ORDER.len())
    }

    /// Whether it refuses requests that show nothing good.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.anonymous.is_none() && !matches!(self.way, Way::Session { .. })
    }

    /// What it makes of a request.
    pub(in crate::gateway) fn find(&self, request: &Request, store: &Store) -> Finding {
        let (kind, presented) = match &self.way {
            Way::Key(kind, places) => (*kind, presented::key(places, request)),
            Way::Basic => (CredentialKind::Basic, presented::basic(request)),
            Way::Hmac => (CredentialKind::Hmac, presented::hmac(request)),
            Way::Jwt(places) => (CredentialKind::Jwt, presented::jwt(places, request)),
            Way::Token { header } => (CredentialKind::Token, presented::token(header, request)),
            Way::Session { cookie } => {
                let has_one = presented::has_cookie(request, cookie);
                return if has_one {
                    Finding::Unclear
                } else {
                    Finding::Absent
                };
            }
            Way::Ldap if presented::has_authorization(request) => return Finding::NoConsumer,
            Way::Ldap => return Finding::Absent,
            Way::Unseen => return Finding::Unclear,
        };
        match presented {
            Presented::Absent => Finding::Absent,
            Presented::Invalid => Finding::Refused,
            Presented::Unclear => Finding::Unclear,
            Presented::Identity(text) => match store.owner(kind, self.workspace.as_deref(), &text) {
                Owner::Stranger => Finding::Refused,
                Owner::Unread => Finding::Unclear,
                Owner::Consumer(consumer) => {
                    let consumer = Arc::clone(consumer);
                    match kind {
                        CredentialKind::Key | CredentialKind::EncryptedKey => Finding::Known(consumer),
                        // A token may have expired.
                        CredentialKind::Basic
                        | CredentialKind::Jwt
                        | CredentialKind::Hmac
                        | CredentialKind::Token => Finding::Claimed(consumer),
                    }
                }
            },
        }
    }

    /// Whether what it finds is a token's own word.
    pub(in crate::gateway) const fn reads_tokens(&self) -> bool {
        matches!(self.way, Way::Jwt(_))
    }
}
