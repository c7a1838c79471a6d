//! Consumer groups, where the gateway has such.

use serde_json::{Value, json};

use super::{Api, FULL, GATEWAY, NOBODY};
use crate::admin::plugin_api::dialect::Dialect;
use crate::gateway::declarative;
use crate::gateway::document::SourceFile;
use crate::gateway::router::RouterProfile;
use crate::gateway::snapshot::Snapshot;

const GOLD: &str = "33333333-0000-4000-8000-000000000001";
const ALICE: &str = "22222222-0000-4000-8000-000000000001";

fn with_groups(dialect: Dialect) -> Api {
    let text = format!("{GATEWAY}\nconsumer_groups: [{{name: gold, id: {GOLD}}}]");
    let file = SourceFile {
        name: "kong.yml".into(),
        bytes: text.into_bytes(),
    };
    let entities = declarative::read(&[file]).expect("it reads");
    Api {
        snapshot: Snapshot::build(entities, &RouterProfile::default()).0,
        ..Api::new(dialect)
    }
}

fn bound(fields: Value) -> Value {
    let mut body = json!({"name": "runscope", "config": {"access_token": "T", "bucket_key": "B"}});
    let (Value::Object(body_fields), Value::Object(fields)) = (&mut body, fields) else {
        panic!("maps")
    };
    body_fields.extend(fields);
    body
}

#[track_caller]
fn refused(api: &mut Api, line: &str, body: Value, status: u16, message: &str) {
    let answer = api.call(line, body);
    let body = answer.body.unwrap_or_default();
    assert_eq!(
        (answer.status, body["message"].as_str()),
        (status, Some(message)),
        "{line}"
    );
}

#[test]
fn a_configuration_is_bound_to_a_group_by_its_path_or_its_body() {
    let mut api = with_groups(Dialect::Current);
    let by_name = api.call("POST /consumer_groups/gold/plugins", json!(FULL));
    assert_eq!(by_name.status, 201);
    let body = by_name.body.expect("a body");
    assert_eq!(body["consumer_group"], json!({"id": GOLD}));
    assert_eq!((&body["consumer"], &body["route"]), (&Value::Null, &Value::Null));
    let id = body["id"].as_str().expect("an id").to_owned();
    let list = api.call(&format!("GET /consumer_groups/{GOLD}/plugins"), Value::Null);
    assert_eq!(list.body.expect("a page")["data"], json!([body]));
    let item = format!("/consumer_groups/gold/plugins/{id}");
    assert_eq!(api.call(&format!("GET {item}"), Value::Null).status, 200);
    let moved = api.call(&format!("PATCH /plugins/{id}"), json!({"consumer_group": null}));
    assert_eq!(moved.body.expect("a body")["consumer_group"], Value::Null);
    assert_eq!(api.call(&format!("GET {item}"), Value::Null).status, 404);
    let by_body = api.call(
        "POST /routes/list/plugins",
        bound(json!({"consumer_group": {"id": GOLD}})),
    );
    let body = by_body.body.expect("a body");
    assert_eq!(
        (by_body.status, &body["consumer_group"]["id"]),
        (201, &json!(GOLD))
    );
    assert!(body["route"]["id"].is_string());
    let schema = api.call("GET /schemas/plugins/runscope", Value::Null);
    assert!(
        schema
            .body
            .expect("a schema")
            .to_string()
            .contains("consumer_group")
    );
}

#[test]
fn references_and_scopes_are_checked() {
    let mut api = with_groups(Dialect::Current);
    let to = |id: &str| bound(json!({"consumer_group": {"id": id}}));
    assert_eq!(api.call("POST /plugins", to(GOLD)).status, 201);
    refused(
        &mut api,
        "POST /plugins",
        to(NOBODY),
        400,
        &format!(
            "the foreign key '{{id=\"{NOBODY}\"}}' does not reference an existing 'consumer_groups' entity."
        ),
    );
    refused(
        &mut api,
        "POST /plugins",
        to(GOLD),
        409,
        &format!(
            "UNIQUE violation detected on '{{consumer=null,consumer_group={{id=\"{GOLD}\"}},name=\"runscope\",route=null,service=null}}'"
        ),
    );
    let both = bound(json!({"consumer_group": {"id": GOLD}, "consumer": {"id": ALICE}}));
    refused(
        &mut api,
        "POST /plugins",
        both,
        400,
        "schema violation (only one or none of these fields must be set: 'consumer', 'consumer_group')",
    );
    assert_eq!(
        api.call("POST /consumer_groups/none/plugins", json!(FULL)).status,
        404
    );
    let hers = api.call("POST /consumers/alice/plugins", json!(FULL));
    let id = hers.body.expect("a body")["id"].clone();
    let id = id.as_str().expect("an id");
    let patch = json!({"consumer_group": {"id": GOLD}});
    assert_eq!(api.call(&format!("PATCH /plugins/{id}"), patch).status, 400);
}

#[test]
fn whoever_has_no_groups_knows_no_such_field() {
    let mut api = Api::new(Dialect::Current);
    let to_gold = bound(json!({"consumer_group": {"id": GOLD}}));
    refused(
        &mut api,
        "POST /plugins",
        to_gold,
        400,
        "schema violation (consumer_group: unknown field)",
    );
    assert_eq!(
        api.call("GET /consumer_groups/gold/plugins", Value::Null).status,
        404
    );
    let made = api.call("POST /plugins", json!(FULL));
    assert_eq!(made.body.expect("a body").get("consumer_group"), None);
    let schema = api.call("GET /schemas/plugins/runscope", Value::Null);
    assert!(
        !schema
            .body
            .expect("a schema")
            .to_string()
            .contains("consumer_group")
    );
    // 0.13 knew none, whatever the gateway has.
    let mut api = with_groups(Dialect::Old);
    let form = format!("{FULL}&consumer_group_id={GOLD}");
    let refused = api.call("POST /plugins", json!(form));
    assert_eq!(
        (refused.status, refused.body.expect("a body")),
        (
            400,
            json!({"consumer_group_id": "consumer_group_id is an unknown field"})
        )
    );
    assert_eq!(
        api.call("POST /consumer_groups/gold/plugins", json!(FULL)).status,
        404
    );
}

#[test]
fn a_group_that_is_gone_stays_visible() {
    let mut api = with_groups(Dialect::Current);
    let made = api.call("POST /consumer_groups/gold/plugins", json!(FULL));
    let id = made.body.expect("a body")["id"].clone();
    let line = format!("GET /plugins/{}", id.as_str().expect("an id"));
    api.snapshot = Api::new(Dialect::Current).snapshot;
    for dialect in [Dialect::Current, Dialect::Old] {
        api.dialect = dialect;
        let shown = api.call(&line, Value::Null).body.expect("a body");
        let shown = match dialect {
            Dialect::Current => &shown["consumer_group"]["id"],
            Dialect::Old => &shown["consumer_group_id"],
        };
        assert_eq!(*shown, json!(GOLD), "{dialect:?}");
    }
}
