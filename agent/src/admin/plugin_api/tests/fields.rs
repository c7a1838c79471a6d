//! The plugin's own fields, by form and by JSON.

use serde_json::{Value, json};

use super::{Api, FULL};
use crate::admin::plugin_api::dialect::Dialect;

/// Requires a field's value after a form was posted, in both dialects.
fn check(form: &str, field: &str, old: Value, current: Value) {
    for (dialect, expected) in [(Dialect::Old, old), (Dialect::Current, current)] {
        let answer = Api::new(dialect).call("POST /plugins", Value::from(format!("{FULL}&{form}")));
        let found = match answer.status {
            201 => answer.body.unwrap()["config"][field].clone(),
            status => json!(status),
        };
        assert_eq!(found, expected, "{dialect:?} {form}");
    }
}

#[test]
fn forms_have_types_by_field() {
    for (form, field, old, current) in [
        ("config.timeout=250", "timeout", json!(250), json!(250)),
        ("config[timeout]=250", "timeout", json!(250), json!(250)),
        ("config.timeout=+250", "timeout", json!(250), json!(250)),
        ("config.timeout=soon", "timeout", json!(400), json!(400)),
        ("config.timeout=0", "timeout", json!(400), json!(400)),
        ("config.timeout=-1", "timeout", json!(400), json!(400)),
        // Empty is null in 0.13, and no number since.
        ("config.timeout=", "timeout", json!(10000), json!(400)),
        ("config.log_body=true", "log_body", json!(true), json!(true)),
        ("config.log_body=TRUE", "log_body", json!(true), json!(400)),
        ("config.log_body=yes", "log_body", json!(400), json!(400)),
        ("config.keepalive=60000", "keepalive", json!(60000), json!(60000)),
        (
            "config.api_endpoint=http://127.0.0.1:8012/base",
            "api_endpoint",
            json!("http://127.0.0.1:8012/base"),
            json!("http://127.0.0.1:8012/base"),
        ),
        (
            "config.tls_verify=false",
            "tls_verify",
            json!(false),
            json!(false),
        ),
        ("config.tls_verify=true", "tls_verify", Value::Null, Value::Null),
        (
            "config.tls_ca=/ca.pem",
            "tls_ca",
            json!("/ca.pem"),
            json!("/ca.pem"),
        ),
        ("config.tls_ca=ca.pem", "tls_ca", json!(400), json!(400)),
        (
            "config.tls_ca=/ca.pem&config.tls_verify=false",
            "tls_ca",
            json!(400),
            json!(400),
        ),
        (
            "config.http_version=1.1",
            "http_version",
            json!("1.1"),
            json!("1.1"),
        ),
        ("config.http_version=2", "http_version", json!("2"), json!("2")),
        (
            "config.http_version=auto",
            "http_version",
            Value::Null,
            Value::Null,
        ),
        ("config.http_version=3", "http_version", json!(400), json!(400)),
        ("config.proxy=none", "proxy", json!("none"), json!("none")),
        ("config.proxy=https://p", "proxy", json!(400), json!(400)),
        (
            "config.proxy=http://me:secret@p:3128",
            "proxy",
            json!("http://me:[redacted]@p:3128"),
            json!("http://me:[redacted]@p:3128"),
        ),
        ("config.bucket_key=", "bucket_key", json!(400), json!(400)),
    ] {
        check(form, field, old, current);
    }
}

#[test]
fn a_configuration_is_what_the_plugin_would_have_done() {
    let mut api = Api::new(Dialect::Old);
    api.make(
        "POST /plugins",
        "name=runscope&config.access_token=T&config.bucket_key=K&config.api_endpoint=http://h/base/&config.timeout=99",
    );
    let destination = &api.plugins[0].settings.destination;
    assert_eq!(destination.url.as_str(), "http://h/base/buckets/K/messages");
    assert_eq!((destination.timeout_ms, destination.keepalive_ms), (99, 30));
    let unbound = api.plugins[0].unbound();
    assert!(unbound.enabled && !unbound.log_body && unbound.service.is_none());
}
