//! What is kept of a plugin's `config`: what kongtap itself looks at, and no secret.
//!
//! In: a plugin's name and its configuration as the gateway has it. Out: the fields that say where credentials stand and what is
//! done to headers, and all of `runscope`'s, which is kongtap's own. Everything else is dropped when it is read: client secrets,
//! passwords of Redis and LDAP, provision keys, keys of sessions, headers that carry tokens to a log server.

use serde_json::{Map, Value};

/// Fields of auth, access and transformer plugins that are names, places and switches.
const FIELDS: &[&str] = &[
    // Where credentials stand.
    "access_token_name",
    "auth_header_name",
    "certificate_header_name",
    "cookie_name",
    "cookie_names",
    "header_names",
    "header_type",
    "id_token_param_name",
    "id_token_param_type",
    "key_claim_name",
    "key_in_body",
    "key_in_header",
    "key_in_query",
    "key_names",
    "secret_is_base64",
    "secret_token_name",
    "session_cookie_name",
    "uri_param_names",
    // Who is let through, and as whom.
    "accept_http_if_already_terminated",
    "algorithms",
    "allow",
    "always_use_authenticated_groups",
    "anonymous",
    "blacklist",
    "claims_to_verify",
    "clock_skew",
    "consumer_by",
    "consumer_claim",
    "consumer_optional",
    "deny",
    "enable_authorization_code",
    "enable_client_credentials",
    "enable_implicit_grant",
    "enable_password_grant",
    "enforce_headers",
    "global_credentials",
    "hide_credentials",
    "hide_groups_header",
    "include_consumer_groups",
    "mandatory_scope",
    "maximum_expiration",
    "mode",
    "realm",
    "run_on_preflight",
    "scopes",
    "skip_consumer_lookup",
    "status_code",
    "token_expiration",
    "validate_request_body",
    "whitelist",
];

/// What a transformer takes away or renames. (What it adds may be a secret.)
const ACTIONS: [&str; 3] = ["remove", "rename", "replace"];

/// The part of a plugin's configuration that is kept.
#[must_use]
pub fn of(plugin: &str, config: Option<&Value>) -> Value {
    let Some(Value::Object(config)) = config else {
        return Value::Null;
    };
    if plugin == "runscope" {
        return Value::Object(config.clone());
    }
    let mut kept: Map<_, _> = FIELDS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), config.get(*name)?.clone())))
        .collect();
    if plugin.starts_with("request-transformer") {
        for action in ACTIONS {
            if let Some(Value::Object(parts)) = config.get(action) {
                let named = parts.iter().map(|(part, list)| (part.clone(), names(list)));
                kept.insert(action.to_owned(), Value::Object(named.collect()));
            }
        }
    }
    Value::Object(kept)
}

/// The names in a list of `name` or `name:value`.
fn names(list: &Value) -> Value {
    let Value::Array(items) = list else {
        return Value::Null;
    };
    let name = |item: &Value| {
        let text = item.as_str()?;
        let name = text.split_once(':').map_or(text, |(name, _)| name);
        Some(Value::String(name.to_owned()))
    };
    Value::Array(items.iter().filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::of;

    #[test]
    fn names_and_switches_are_kept_and_secrets_are_not() {
        for (plugin, config, kept) in [
            (
                "key-auth",
                json!({"key_names": ["k"], "anonymous": "a", "identity_realms": [{"secret": "S"}]}),
                json!({"key_names": ["k"], "anonymous": "a"}),
            ),
            (
                "oauth2",
                json!({"provision_key": "S", "scopes": ["email"], "auth_header_name": "authorization"}),
                json!({"auth_header_name": "authorization", "scopes": ["email"]}),
            ),
            (
                "openid-connect",
                json!({"client_secret": ["S"], "session_secret": "S", "session_cookie_name": "s"}),
                json!({"session_cookie_name": "s"}),
            ),
            (
                "request-transformer",
                json!({
                    "add": {"headers": ["authorization:S"]},
                    "replace": {"headers": ["x-consumer-id:S"], "uri": "/S"},
                    "remove": {"headers": ["x-a"]},
                }),
                json!({"replace": {"headers": ["x-consumer-id"], "uri": null}, "remove": {"headers": ["x-a"]}}),
            ),
            ("rate-limiting", json!({"redis": {"password": "S"}}), json!({})),
            ("http-log", json!({"headers": {"authorization": "S"}}), json!({})),
            (
                "runscope",
                json!({"access_token": "T", "bucket_key": "b"}),
                json!({"access_token": "T", "bucket_key": "b"}),
            ),
        ] {
            assert_eq!(of(plugin, Some(&config)), kept, "{plugin}");
        }
        assert_eq!(of("cors", None), json!(null));
    }
}
