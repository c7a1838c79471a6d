//! The dialect of 0.13.

use serde_json::{Value, json};

use super::{Api, FULL, NOBODY, ORDERS};
use crate::admin::plugin_api::dialect::Dialect;

const ROUTE: &str = "11111111-0000-4000-8000-000000000001";
const LEGACY: &str = "11111111-0000-4000-8000-000000000002";
const ALICE: &str = "22222222-0000-4000-8000-000000000001";

fn api() -> Api {
    Api::new(Dialect::Old)
}

#[test]
fn a_new_one_is_answered_with_its_defaults() {
    let config = json!({"access_token": "[redacted]", "bucket_key": "B", "api_endpoint": "https://api.runscope.com",
                        "timeout": 10000, "keepalive": 30, "log_body": false});
    let expected = json!({"id": "00000000-0000-0000-0000-000000000001", "name": "runscope", "enabled": true,
                          "created_at": 1_526_895_422_000_u64, "service_id": ORDERS, "config": config});
    api().check("POST /services/orders/plugins", Value::from(FULL), 201, expected);
}

#[test]
fn every_documented_scope_is_taken() {
    for (line, more, fields) in [
        ("POST /plugins", "", &[][..]),
        ("POST /plugins/", "", &[]),
        (
            "POST /services/577dc09c-2ca4-5a3e-a2ec-2c7e0b0a5d3e/plugins",
            "",
            &[("service_id", ORDERS)],
        ),
        (
            "POST /routes/11111111-0000-4000-8000-000000000001/plugins",
            "",
            &[("route_id", ROUTE)],
        ),
        ("POST /apis/legacy/plugins/", "", &[("api_id", LEGACY)]),
        ("POST /consumers/alice/plugins", "", &[("consumer_id", ALICE)]),
        (
            "POST /plugins",
            "&consumer_id=22222222-0000-4000-8000-000000000001&service_id=577dc09c-2ca4-5a3e-a2ec-2c7e0b0a5d3e",
            &[("consumer_id", ALICE), ("service_id", ORDERS)],
        ),
        (
            "POST /plugins",
            "&consumer_id=22222222-0000-4000-8000-000000000001&route_id=11111111-0000-4000-8000-000000000001",
            &[("consumer_id", ALICE), ("route_id", ROUTE)],
        ),
        (
            "POST /plugins",
            "&api_id=11111111-0000-4000-8000-000000000002&consumer_id=22222222-0000-4000-8000-000000000001",
            &[("api_id", LEGACY), ("consumer_id", ALICE)],
        ),
        ("PUT /services/orders/plugins", "", &[("service_id", ORDERS)]),
        // The path's parent wins.
        (
            "POST /services/orders/plugins",
            "&service_id=577dc09c-2ca4-5a3e-a2ec-2c7e0b0a5d3f",
            &[("service_id", ORDERS)],
        ),
    ] {
        let answer = api().call(line, Value::from(format!("{FULL}{more}")));
        assert_eq!(answer.status, 201, "{line} {more}: {answer:?}");
        let body = answer.body.unwrap();
        for name in ["service_id", "route_id", "api_id", "consumer_id"] {
            let expected = fields.iter().find(|(field, _)| *field == name).map(|(_, id)| *id);
            assert_eq!(
                body.get(name).and_then(Value::as_str),
                expected,
                "{line} {more} {name}"
            );
        }
    }
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
    let without_name = json!({"config": {"access_token": "T", "bucket_key": "B"}});
    for (line, body, status, expected) in [
        (
            "POST /plugins",
            without_name,
            400,
            json!({"name": "name is required"}),
        ),
        (
            "POST /plugins",
            json!({}),
            400,
            json!({"name": "name is required"}),
        ),
        (
            "POST /plugins",
            json!({"name": "runscope"}),
            400,
            json!({"config.bucket_key": "bucket_key is required", "config.access_token": "access_token is required"}),
        ),
        (
            "POST /plugins",
            with("/config", "timeout", json!("soon")),
            400,
            json!({"config.timeout": "timeout is not a number"}),
        ),
        (
            "POST /plugins",
            with("/config", "log_body", json!("maybe")),
            400,
            json!({"config.log_body": "log_body is not a boolean"}),
        ),
        (
            "POST /plugins",
            with("/config", "api_endpoint", json!("runscope")),
            400,
            json!({"config.api_endpoint": "api_endpoint is not a url"}),
        ),
        (
            "POST /plugins",
            with("/config", "foo", json!(1)),
            400,
            json!({"config.foo": "foo is an unknown field"}),
        ),
        (
            "POST /plugins",
            with("", "foo", json!(1)),
            400,
            json!({"foo": "foo is an unknown field"}),
        ),
        (
            "POST /plugins",
            with("", "enabled", json!("often")),
            400,
            json!({"enabled": "enabled is not a boolean"}),
        ),
        (
            "POST /plugins",
            json!({"name": "key-auth"}),
            400,
            json!({"config": "plugin 'key-auth' not enabled; add it to the 'custom_plugins' configuration property"}),
        ),
        (
            "POST /plugins",
            with("", "consumer_id", json!(NOBODY)),
            404,
            json!({"consumer_id": format!("does not exist with value '{NOBODY}'")}),
        ),
        (
            "POST /plugins",
            with("", "api_id", json!(ROUTE)),
            404,
            json!({"api_id": format!("does not exist with value '{ROUTE}'")}),
        ),
        (
            "POST /plugins",
            with("", "service_id", json!(NOBODY)),
            404,
            json!({"message": "Not found"}),
        ),
        (
            "POST /plugins",
            with("", "route_id", json!(NOBODY)),
            404,
            json!({"message": "Not found"}),
        ),
        (
            "POST /services/nobody/plugins",
            full(),
            404,
            json!({"message": "Not found"}),
        ),
        // Routes had no names yet.
        (
            "POST /routes/list/plugins",
            full(),
            404,
            json!({"message": "Not found"}),
        ),
        (
            "POST /apis/list/plugins",
            full(),
            404,
            json!({"message": "Not found"}),
        ),
        (
            "POST /consumers/bob/plugins",
            full(),
            404,
            json!({"message": "Not found"}),
        ),
        (
            "DELETE /plugins",
            Value::Null,
            405,
            json!({"message": "Method not allowed"}),
        ),
        (
            "POST /plugins/enabled",
            full(),
            405,
            json!({"message": "Method not allowed"}),
        ),
        (
            "PUT /plugins/x",
            full(),
            405,
            json!({"message": "Method not allowed"}),
        ),
        (
            "OPTIONS /plugins/x",
            full(),
            405,
            json!({"message": "Method not allowed"}),
        ),
        ("GET /nothing", Value::Null, 404, json!({"message": "Not found"})),
        (
            "GET /schemas/plugins/runscope",
            Value::Null,
            404,
            json!({"message": "Not found"}),
        ),
        (
            "GET /plugins/schema/key-auth",
            Value::Null,
            404,
            json!({"message": "No plugin named 'key-auth'"}),
        ),
    ] {
        api().check(line, body, status, expected);
    }
    let body = with("", "api_id", json!(LEGACY));
    let mut body = body;
    body["route_id"] = json!(ROUTE);
    let text = "cannot configure plugin with api_id and one of route_id or service_id";
    api().check_message("POST /plugins", body, 400, text);
}

#[test]
fn one_scope_has_one_configuration() {
    let mut api = api();
    let id = api.make("POST /services/orders/plugins", FULL);
    let taken = json!({"name": "already exists with value 'runscope'"});
    api.check(
        "POST /services/orders/plugins",
        Value::from(FULL),
        409,
        taken.clone(),
    );
    let other = format!("{FULL}&service_id={ORDERS}");
    api.check("POST /plugins", Value::from(other), 409, taken.clone());
    let both = api.make(
        "POST /services/orders/plugins",
        &format!("{FULL}&consumer_id={ALICE}"),
    );
    let patch = json!({"consumer_id": null});
    api.check(&format!("PATCH /plugins/{both}"), patch, 409, taken);
    let same_id = format!("{FULL}&id={id}");
    let taken = json!({"id": format!("already exists with value '{id}'")});
    api.check("POST /plugins", Value::from(same_id), 409, taken);
}

#[test]
fn a_patch_merges_and_null_clears() {
    let mut api = api();
    let id = api.make(
        "POST /plugins",
        &format!("{FULL}&config.timeout=500&config.log_body=true"),
    );
    let line = format!("PATCH /plugins/{id}");
    api.check_message(&line, json!({}), 400, "empty body");
    let answer = api.call(
        &line,
        Value::from("config.keepalive=60000&config.timeout=&enabled=false"),
    );
    let body = answer.body.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(body["enabled"], json!(false));
    assert_eq!(body["config"]["keepalive"], json!(60000));
    assert_eq!(body["config"]["timeout"], json!(10000), "the default again");
    assert_eq!(body["config"]["log_body"], json!(true), "kept");
    api.check(
        &line,
        json!({"name": "key-auth"}),
        400,
        json!({"name": "name cannot be updated"}),
    );
    api.check(
        &line,
        json!({"config": {"bucket_key": null}}),
        400,
        json!({"config.bucket_key": "bucket_key is required"}),
    );
    api.check_message(
        &format!("PATCH /plugins/{NOBODY}"),
        json!({"enabled": true}),
        404,
        "Not found",
    );
}

#[test]
fn a_put_with_an_id_replaces_and_without_one_makes() {
    let mut api = api();
    let answer = api.call("PUT /plugins", Value::from(format!("{FULL}&config.timeout=500")));
    assert_eq!(answer.status, 201);
    let id = super::text(&answer, "/id");
    let answer = api.call(
        "PUT /plugins",
        Value::from(format!("{FULL}&id={id}&config.keepalive=7")),
    );
    assert_eq!(answer.status, 200);
    let config = &answer.body.unwrap()["config"];
    assert_eq!(config["timeout"], json!(10000), "defaults are applied again");
    assert_eq!(config["keepalive"], json!(7));
    api.check_message(
        "PUT /plugins",
        Value::from(format!("{FULL}&id={NOBODY}")),
        404,
        "Not found",
    );
    assert_eq!(api.plugins.len(), 1);
}

#[test]
fn items_stand_below_apis_and_consumers() {
    let mut api = api();
    let id = api.make("POST /consumers/alice/plugins", FULL);
    let elsewhere = api.make("POST /apis/legacy/plugins", FULL);
    for (line, status) in [
        (format!("GET /consumers/alice/plugins/{id}"), 200),
        (format!("GET /consumers/{ALICE}/plugins/{id}"), 200),
        (format!("GET /apis/legacy/plugins/{elsewhere}"), 200),
        (format!("GET /consumers/alice/plugins/{elsewhere}"), 404),
        (format!("GET /services/orders/plugins/{id}"), 404),
        (format!("DELETE /apis/legacy/plugins/{id}"), 404),
        (format!("DELETE /consumers/alice/plugins/{id}"), 204),
        (format!("DELETE /consumers/alice/plugins/{id}"), 404),
        (format!("DELETE /plugins/{elsewhere}"), 204),
        (format!("DELETE /plugins/{elsewhere}"), 404),
    ] {
        let answer = api.call(&line, Value::Null);
        assert_eq!(answer.status, status, "{line} {answer:?}");
        assert_eq!(answer.body.is_none(), status == 204, "{line}");
    }
}
