//! What the API says of the plugin itself: that it is there, and its fields.
//!
//! Sources: Kong 0.13.1 kong/plugins/runscope/schema.lua and kong/api/routes/plugins.lua; Kong 3.9 kong/api/routes/plugins.lua for
//! the form of today.

use serde_json::{Value, json};

use super::dialect::{Dialect, Refusal};
use super::path::SchemaForm;
use crate::plugin::file::NAME;
use crate::plugin::schema::{DEFAULT_API_ENDPOINT, DEFAULT_KEEPALIVE_MS, DEFAULT_TIMEOUT_MS};
use crate::plugin::stored::PROTOCOLS;

/// What `http_version` may be.
const VERSIONS: [&str; 3] = ["auto", "1.1", "2"];

/// `GET /plugins/enabled`
pub(super) fn enabled() -> Value {
    json!({"enabled_plugins": [NAME]})
}

/// `GET /plugins/schema/{name}` and `GET /schemas/plugins/{name}`
pub(super) fn of(form: SchemaForm, name: &str, dialect: Dialect) -> Result<Value, Refusal> {
    if name != NAME {
        return Err(Refusal::NoPlugin(name.to_owned()));
    }
    Ok(match (dialect, form) {
        (Dialect::Old, _) => json!({"fields": {
            "access_token": {"type": "string", "required": true, "default": ""},
            "api_endpoint": {"type": "url", "required": true, "default": DEFAULT_API_ENDPOINT},
            "bucket_key": {"type": "string", "required": true},
            "http_version": {"type": "string", "default": "auto", "enum": VERSIONS},
            "keepalive": {"type": "number", "default": DEFAULT_KEEPALIVE_MS},
            "log_body": {"type": "boolean", "default": false},
            "proxy": {"type": "string"},
            "timeout": {"type": "number", "default": DEFAULT_TIMEOUT_MS},
            "tls_ca": {"type": "string"},
            "tls_verify": {"type": "boolean", "default": true},
        }}),
        (Dialect::Current, SchemaForm::Config) => json!({"fields": config()}),
        (Dialect::Current, SchemaForm::Entity) => {
            let foreign = |reference: &str| json!({"type": "foreign", "reference": reference, "eq": null});
            json!({"fields": [
                {"name": {"type": "string", "required": true, "eq": NAME}},
                {"instance_name": {"type": "string", "unique": true}},
                {"consumer": foreign("consumers")},
                {"route": foreign("routes")},
                {"service": foreign("services")},
                {"enabled": {"type": "boolean", "required": true, "default": true}},
                {"protocols": {
                    "type": "set", "required": true, "default": PROTOCOLS,
                    "elements": {"type": "string", "one_of": PROTOCOLS},
                }},
                {"tags": {"type": "set", "elements": {"type": "string", "required": true}}},
                {"config": {"type": "record", "required": true, "fields": config()}},
            ]})
        }
    })
}

fn config() -> Value {
    json!([
        {"access_token": {"type": "string", "required": true, "encrypted": true}},
        {"bucket_key": {"type": "string", "required": true}},
        {"api_endpoint": {"type": "string", "required": true, "default": DEFAULT_API_ENDPOINT}},
        {"timeout": {"type": "number", "default": DEFAULT_TIMEOUT_MS}},
        {"keepalive": {"type": "number", "default": DEFAULT_KEEPALIVE_MS}},
        {"log_body": {"type": "boolean", "default": false}},
        {"tls_verify": {"type": "boolean", "default": true}},
        {"tls_ca": {"type": "string"}},
        {"http_version": {"type": "string", "default": "auto", "one_of": VERSIONS}},
        {"proxy": {"type": "string", "encrypted": true}},
    ])
}
