//! Pages, filters, and what the API says of the plugin.

use serde_json::{Value, json};

use super::{Api, FULL, ORDERS};
use crate::admin::plugin_api::dialect::Dialect;

const ALICE: &str = "22222222-0000-4000-8000-000000000001";

/// Four configurations: everywhere, on the service, on the consumer, on both.
fn api(dialect: Dialect) -> Api {
    let mut api = Api::new(dialect);
    let (service, consumer) = match dialect {
        Dialect::Old => ("service_id", "consumer_id"),
        Dialect::Current => ("service.id", "consumer.id"),
    };
    for more in [
        String::new(),
        format!("&{service}={ORDERS}"),
        format!("&{consumer}={ALICE}"),
        format!("&{service}={ORDERS}&{consumer}={ALICE}"),
    ] {
        api.make("POST /plugins", &format!("{FULL}{more}"));
    }
    api
}

/// Follows `next` from a first target, and gives the ids of each page.
fn pages(api: &mut Api, first: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut target = Some(first.to_owned());
    while let Some(at) = target {
        let answer = api.call(&format!("GET {at}"), Value::Null);
        assert_eq!(answer.status, 200, "{at} {answer:?}");
        let body = answer.body.unwrap();
        let data = body["data"].as_array().unwrap();
        pages.push(
            data.iter()
                .map(|it| it["id"].as_str().unwrap().to_owned())
                .collect(),
        );
        let next = body.get("next").and_then(Value::as_str);
        assert_eq!(next.is_some(), body.get("offset").is_some(), "{body}");
        target = next.map(|next| next.trim_start_matches("http://127.0.0.1:8011").to_owned());
        assert!(pages.len() < 10, "round in a circle");
    }
    pages
}

#[test]
fn pages_follow_each_other_and_hold_everything_once() {
    for dialect in [Dialect::Old, Dialect::Current] {
        let mut api = api(dialect);
        let sizes = |pages: &[Vec<String>]| pages.iter().map(Vec::len).collect::<Vec<_>>();
        for (first, expected) in [
            ("/plugins", &[4][..]),
            ("/plugins?size=4", &[4]),
            ("/plugins?size=3", &[3, 1]),
            ("/plugins?size=1", &[1, 1, 1, 1]),
            ("/services/orders/plugins", &[2]),
            ("/consumers/alice/plugins", &[2]),
            ("/services/orders/plugins?size=2", &[2]),
        ] {
            let found = pages(&mut api, first);
            assert_eq!(sizes(&found), expected, "{dialect:?} {first}");
            let mut ids: Vec<_> = found.into_iter().flatten().collect();
            let count = ids.len();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), count, "{first}");
        }
    }
}

#[test]
fn a_list_that_changes_between_two_pages_neither_repeats_nor_skips_what_stays() {
    let mut api = api(Dialect::Current);
    let first = api.call("GET /plugins?size=2", Value::Null).body.unwrap();
    let last = first["data"][1]["id"].as_str().unwrap().to_owned();
    api.call(&format!("DELETE /plugins/{last}"), Value::Null);
    let rest = pages(&mut api, first["next"].as_str().unwrap());
    assert_eq!(rest.concat().len(), 2);
    assert!(!rest.concat().contains(&last));
}

#[test]
fn each_dialect_has_its_form_of_a_page() {
    let mut old = api(Dialect::Old);
    let body = old.call("GET /plugins/?size=1", Value::Null).body.unwrap();
    assert_eq!(body["total"], json!(4));
    let next = body["next"].as_str().unwrap();
    assert!(
        next.starts_with("http://127.0.0.1:8011/plugins/?size=1&offset="),
        "{next}"
    );
    let body = old.call("GET /plugins", Value::Null).body.unwrap();
    assert_eq!((body.get("next"), body.get("offset")), (None, None));

    let mut current = api(Dialect::Current);
    let body = current.call("GET /plugins?size=1", Value::Null).body.unwrap();
    assert!(body.get("total").is_none());
    let next = body["next"].as_str().unwrap();
    assert!(
        next.starts_with("/plugins?offset=") && next.ends_with("&size=1"),
        "{next}"
    );
    let body = current
        .call("GET /services/orders/plugins?size=1", Value::Null)
        .body
        .unwrap();
    let next = body["next"].as_str().unwrap();
    let path = format!("/services/{ORDERS}/plugins?offset=");
    assert!(next.starts_with(&path) && !next.contains("size"), "{next}");
    let body = current.call("GET /plugins", Value::Null).body.unwrap();
    assert_eq!((body.get("next"), body.get("offset")), (Some(&Value::Null), None));
}

#[test]
fn sizes_and_offsets_that_are_none() {
    for (query, message, code, name) in [
        (
            "size=0",
            "size must be an integer between 1 and 1000",
            9,
            "invalid size",
        ),
        (
            "size=1001",
            "size must be an integer between 1 and 1000",
            9,
            "invalid size",
        ),
        (
            "size=1.5",
            "size must be an integer between 1 and 1000",
            9,
            "invalid size",
        ),
        ("size=x", "size must be a number", 9, "invalid size"),
        (
            "offset=x",
            "'x' is not a valid offset: bad base64 encoding",
            7,
            "invalid offset",
        ),
    ] {
        let expected = json!({"code": code, "name": name, "message": message});
        api(Dialect::Current).check(&format!("GET /plugins?{query}"), Value::Null, 400, expected);
    }
    for (query, status) in [("size=x", 200), ("size=5000", 200), ("offset=x", 400)] {
        let answer = api(Dialect::Old).call(&format!("GET /plugins?{query}"), Value::Null);
        assert_eq!(answer.status, status, "{query}");
    }
}

#[test]
fn lists_are_filtered_by_every_field_in_0_13_and_by_tags_today() {
    for (query, expected) in [
        ("name=runscope", 4),
        ("name=key-auth", 0),
        ("service_id=577dc09c-2ca4-5a3e-a2ec-2c7e0b0a5d3e", 2),
        (
            "service_id=577dc09c-2ca4-5a3e-a2ec-2c7e0b0a5d3e&consumer_id=22222222-0000-4000-8000-000000000001",
            1,
        ),
        ("enabled=false", 0),
        ("route_id=x", 0),
    ] {
        let body = api(Dialect::Old)
            .call(&format!("GET /plugins?{query}"), Value::Null)
            .body
            .unwrap();
        assert_eq!(body["total"], json!(expected), "{query}");
    }
    api(Dialect::Old).check(
        "GET /plugins?foo=1",
        Value::Null,
        400,
        json!({"foo": "unknown field"}),
    );

    let mut api = Api::new(Dialect::Current);
    api.make("POST /plugins", &format!("{FULL}&tags=a&tags=b"));
    api.make("POST /services/orders/plugins", &format!("{FULL}&tags=b"));
    for (tags, expected) in [("a", 1), ("b", 2), ("a,b", 1), ("a/b", 2), ("c", 0), ("a,c", 0)] {
        let line = format!("GET /plugins?tags={tags}");
        let body = api.call(&line, Value::Null).body.unwrap();
        assert_eq!(body["data"].as_array().unwrap().len(), expected, "{tags}");
    }
}

#[test]
fn the_plugin_is_enabled_and_has_its_fields() {
    for dialect in [Dialect::Old, Dialect::Current] {
        Api::new(dialect).check(
            "GET /plugins/enabled",
            Value::Null,
            200,
            json!({"enabled_plugins": ["runscope"]}),
        );
    }
    let body = Api::new(Dialect::Old)
        .call("GET /plugins/schema/runscope", Value::Null)
        .body
        .unwrap();
    assert_eq!(
        body["fields"]["timeout"],
        json!({"type": "number", "default": 10000})
    );
    assert_eq!(
        body["fields"]["bucket_key"],
        json!({"type": "string", "required": true})
    );
    let mut api = Api::new(Dialect::Current);
    let body = api
        .call("GET /plugins/schema/runscope", Value::Null)
        .body
        .unwrap();
    assert!(
        body["fields"]
            .as_array()
            .unwrap()
            .contains(&json!({"keepalive": {"type": "number", "default": 30}}))
    );
    let body = api
        .call("GET /schemas/plugins/runscope", Value::Null)
        .body
        .unwrap();
    let config = body["fields"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|field| field.get("config"));
    assert_eq!(config.unwrap()["type"], json!("record"));
}
