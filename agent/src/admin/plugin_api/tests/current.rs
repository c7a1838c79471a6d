//! The dialect of 3.x.

use serde_json::{Value, json};

use super::{Api, FULL, NOBODY, ORDERS};
use crate::admin::plugin_api::dialect::Dialect;

const ROUTE: &str = "11111111-0000-4000-8000-000000000001";
const ALICE: &str = "22222222-0000-4000-8000-000000000001";

fn api() -> Api {
    Api::new(Dialect::Current)
}

#[test]
fn a_new_one_is_answered_with_its_defaults_and_nulls() {
    let config = json!({"access_token": "[redacted]", "bucket_key": "B", "api_endpoint": "https://api.runscope.com",
                        "timeout": 10000, "keepalive": 30, "log_body": false});
    let expected = json!({"id": "00000000-0000-0000-0000-000000000001", "name": "runscope", "enabled": true,
                          "instance_name": null, "tags": null, "protocols": ["grpc", "grpcs", "http", "https"],
                          "created_at": 1_526_895_422, "updated_at": 1_526_895_422,
                          "service": {"id": ORDERS}, "route": null, "consumer": null, "config": config});
    api().check("POST /services/orders/plugins", Value::from(FULL), 201, expected);
}

#[test]
fn every_documented_scope_is_taken() {
    for (line, more, fields) in [
        ("POST /plugins", "", &[][..]),
        ("POST /plugins/", "", &[]),
        ("POST /services/orders/plugins", "", &[("service", ORDERS)]),
        ("POST /routes/list/plugins", "", &[("route", ROUTE)]),
        ("POST /consumers/alice/plugins/", "", &[("consumer", ALICE)]),
        (
            "POST /plugins",
            "&consumer.id=22222222-0000-4000-8000-000000000001&route[id]=11111111-0000-4000-8000-000000000001",
            &[("consumer", ALICE), ("route", ROUTE)],
        ),
        (
            "POST /services/orders/plugins",
            "&consumer.id=22222222-0000-4000-8000-000000000001&service.id=577dc09c-2ca4-5a3e-a2ec-2c7e0b0a5d3f",
            &[("consumer", ALICE), ("service", ORDERS)],
        ),
    ] {
        let answer = api().call(line, Value::from(format!("{FULL}{more}")));
        assert_eq!(answer.status, 201, "{line} {more}: {answer:?}");
        let body = answer.body.unwrap();
        for name in ["service", "route", "consumer"] {
            let expected = fields.iter().find(|(field, _)| *field == name);
            let expected = expected.map_or(Value::Null, |(_, id)| json!({"id": id}));
            assert_eq!(body[name], expected, "{line} {more} {name}");
        }
    }
}

/// A schema violation with these fields and this message.
fn violation(message: &str, fields: Value) -> Value {
    json!({"code": 2, "name": "schema violation", "message": message, "fields": fields})
}

#[test]
fn what_is_refused_is_refused_in_its_words() {
    let full = || json!({"name": "runscope", "config": {"access_token": "T", "bucket_key": "B"}});
    let with = |pointer: &str, key: &str, value: Value| {
        let mut body = full();
        let map = body.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        map.insert(key.to_owned(), value);
        body
    };
    for (body, message, fields) in [
        (
            json!({}),
            "schema violation (name: required field missing)",
            json!({"name": "required field missing"}),
        ),
        (
            json!({"name": "runscope"}),
            "2 schema violations (config.access_token: required field missing; config.bucket_key: required field missing)",
            json!({"config": {"access_token": "required field missing", "bucket_key": "required field missing"}}),
        ),
        (
            json!({"name": "key-auth"}),
            "schema violation (name: plugin 'key-auth' not enabled; add it to the 'plugins' configuration property)",
            json!({"name": "plugin 'key-auth' not enabled; add it to the 'plugins' configuration property"}),
        ),
        (
            with("/config", "timeout", json!("100")),
            "schema violation (config.timeout: expected a number)",
            json!({"config": {"timeout": "expected a number"}}),
        ),
        (
            with("/config", "log_body", json!("true")),
            "schema violation (config.log_body: expected a boolean)",
            json!({"config": {"log_body": "expected a boolean"}}),
        ),
        (
            with("/config", "bucket_key", json!(7)),
            "schema violation (config.bucket_key: expected a string)",
            json!({"config": {"bucket_key": "expected a string"}}),
        ),
        (
            with("/config", "api_endpoint", json!("runscope")),
            "schema violation (config.api_endpoint: missing host in url)",
            json!({"config": {"api_endpoint": "missing host in url"}}),
        ),
        (
            with("/config", "foo", json!(1)),
            "schema violation (config.foo: unknown field)",
            json!({"config": {"foo": "unknown field"}}),
        ),
        (
            with("", "consumer_id", json!(ALICE)),
            "schema violation (consumer_id: unknown field)",
            json!({"consumer_id": "unknown field"}),
        ),
        (
            with("", "service", json!({"id": "orders"})),
            "schema violation (service.id: expected a valid UUID)",
            json!({"service": {"id": "expected a valid UUID"}}),
        ),
        (
            with("", "service", json!({"name": "orders"})),
            "schema violation (service.name: unknown field)",
            json!({"service": {"name": "unknown field"}}),
        ),
        (
            with("", "enabled", json!("true")),
            "schema violation (enabled: expected a boolean)",
            json!({"enabled": "expected a boolean"}),
        ),
        (
            with("", "protocols", json!(["tcp"])),
            "schema violation (protocols: expected one of: grpc, grpcs, http, https)",
            json!({"protocols": "expected one of: grpc, grpcs, http, https"}),
        ),
        (
            with("", "id", json!("x")),
            "schema violation (id: expected a valid UUID)",
            json!({"id": "expected a valid UUID"}),
        ),
    ] {
        api().check("POST /plugins", body, 400, violation(message, fields));
    }
    for (line, status, message) in [
        ("POST /services/nobody/plugins", 404, "Not found"),
        ("POST /apis/legacy/plugins", 404, "Not found"),
        ("GET /plugins/nobody", 404, "Not found"),
        ("PATCH /plugins/nobody", 404, "Not found"),
        ("PUT /plugins", 405, "Method not allowed"),
        ("DELETE /services/orders/plugins", 405, "Method not allowed"),
        ("POST /plugins/x", 405, "Method not allowed"),
        ("GET /plugins/schema/x", 404, "No plugin named 'x'"),
        ("GET /schemas/plugins/x", 404, "No plugin named 'x'"),
    ] {
        api().check_message(line, full(), status, message);
    }
    let body = with("", "service", json!({"id": NOBODY}));
    let message =
        format!("the foreign key '{{id=\"{NOBODY}\"}}' does not reference an existing 'services' entity.");
    let expected = json!({"code": 4, "name": "foreign key violation", "message": message,
                          "fields": {"service": {"id": NOBODY}}});
    api().check("POST /plugins", body, 400, expected);
}

#[test]
fn one_scope_has_one_configuration() {
    let mut api = api();
    let id = api.make(
        "POST /services/orders/plugins",
        &format!("{FULL}&instance_name=one"),
    );
    let message = format!(
        "UNIQUE violation detected on '{{consumer=null,name=\"runscope\",route=null,service={{id=\"{ORDERS}\"}}}}'"
    );
    let expected = json!({"code": 5, "name": "unique constraint violation", "message": message,
        "fields": {"consumer": null, "name": "runscope", "route": null, "service": {"id": ORDERS}}});
    api.check("POST /services/orders/plugins", Value::from(FULL), 409, expected);
    let named = format!("{FULL}&instance_name=one");
    let expected = json!({"code": 5, "name": "unique constraint violation",
        "message": "UNIQUE violation detected on '{instance_name=\"one\"}'", "fields": {"instance_name": "one"}});
    api.check("POST /plugins", Value::from(named), 409, expected);
    let same_id = format!("{FULL}&id={id}");
    let expected = json!({"code": 3, "name": "primary key violation",
        "message": format!("primary key violation on key '{{id=\"{id}\"}}'"), "fields": {"id": id}});
    api.check("POST /plugins", Value::from(same_id), 400, expected);
}

#[test]
fn a_put_makes_or_replaces_by_id_or_name() {
    let mut api = api();
    let id = "33333333-0000-4000-8000-000000000001";
    let made = api.call(
        &format!("PUT /plugins/{id}"),
        Value::from(format!("{FULL}&config.timeout=7")),
    );
    assert_eq!((made.status, super::text(&made, "/id").as_str()), (200, id));
    let replaced = api.call(&format!("PUT /services/orders/plugins/{id}"), Value::from(FULL));
    let body = replaced.body.unwrap();
    assert_eq!(replaced.status, 200);
    assert_eq!(
        body["config"]["timeout"],
        json!(10000),
        "defaults are applied again"
    );
    assert_eq!(
        body["service"],
        json!({"id": ORDERS}),
        "it stands below its new parent"
    );
    let named = api.call("PUT /plugins/mine", Value::from(FULL));
    assert_eq!(
        (named.status, super::text(&named, "/instance_name").as_str()),
        (200, "mine")
    );
    let again = api.call(
        "PUT /plugins/mine",
        Value::from(format!("{FULL}&instance_name=mine")),
    );
    assert_eq!(super::text(&again, "/id"), super::text(&named, "/id"));
    assert_eq!(api.plugins.len(), 2);
}

#[test]
fn a_patch_merges_and_null_clears() {
    let mut api = api();
    let id = api.make(
        "POST /services/orders/plugins",
        &format!("{FULL}&config.timeout=500&tags=a"),
    );
    let patch = json!({"service": null, "config": {"log_body": true, "timeout": null}, "enabled": false});
    let answer = api.call(&format!("PATCH /plugins/{id}"), patch);
    let body = answer.body.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(
        (&body["service"], &body["enabled"]),
        (&Value::Null, &json!(false))
    );
    assert_eq!(body["config"]["log_body"], json!(true));
    assert_eq!(body["config"]["timeout"], json!(10000));
    assert_eq!(
        (&body["config"]["bucket_key"], &body["tags"]),
        (&json!("B"), &json!(["a"]))
    );
    // Nothing to change is fine since 1.0.
    assert_eq!(api.call(&format!("PATCH /plugins/{id}"), json!({})).status, 200);
}

#[test]
fn deleting_what_is_not_there_is_done_already_but_not_below_a_parent() {
    let mut api = api();
    let id = api.make("POST /services/orders/plugins", FULL);
    for (line, status) in [
        (format!("DELETE /services/users/plugins/{id}"), 404),
        (format!("DELETE /services/nobody/plugins/{id}"), 404),
        (format!("GET /services/orders/plugins/{id}"), 200),
        (format!("DELETE /services/orders/plugins/{id}"), 204),
        (format!("DELETE /services/orders/plugins/{id}"), 404),
        (format!("DELETE /plugins/{id}"), 204),
    ] {
        assert_eq!(api.call(&line, Value::Null).status, status, "{line}");
    }
    assert!(api.plugins.is_empty());
}
