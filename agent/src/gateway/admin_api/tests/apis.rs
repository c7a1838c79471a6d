//! The APIs of 0.13, from the gateway's answers to the message and the configuration in force.

use serde_json::{Value, json};

use super::dialects::read_document;
use crate::admin::plugin_api::dialect::Dialect;
use crate::admin::plugin_api::{Kind, World};
use crate::correlate::JoinedExchange;
use crate::explain::ask::{Ask, Words};
use crate::gateway::document::SourceFile;
use crate::gateway::entities::Reference;
use crate::gateway::snapshot::Snapshot;
use crate::message::Profile;
use crate::message::redact::Redaction;
use crate::message::tests::message_of;
use crate::plugin::file::{self, EnvironmentValues};
use crate::plugin::store::text;
use crate::plugin::stored::StoredPlugin;
use crate::plugin::{Decision, PluginSet, UnboundConfig};

const API: &str = "6378122c-a0a1-438d-a5c6-efabae9fb969";
const ROUTE: &str = "22108377-8f26-4c0e-bd9e-2962c1d6b0e6";

async fn gateway(version: &str) -> Snapshot {
    let reading = read_document(version, 1).await;
    Snapshot::build(reading.entities, &reading.profile).0
}

/// A request that the gateway passed on, as `consumer` if there is one.
fn exchange(snapshot: &Snapshot, url: &str, consumer: Option<&str>) -> JoinedExchange {
    let ask = Ask::of(Words {
        method: "GET",
        url,
        ..Words::default()
    })
    .expect("a request");
    let mut joined = ask.exchange();
    if let Some(name) = consumer {
        let consumer = snapshot.consumer(&Reference::Name(name.to_owned()));
        joined.upstream.push(ask.passed_on(consumer.expect("a consumer")));
    }
    joined
}

#[tokio::test]
async fn an_exchange_of_an_api_says_so_in_its_message() {
    for version in ["0.13.1", "0.14.1"] {
        let snapshot = gateway(version).await;
        for (url, consumer, route, service) in [
            (
                "http://legacy.test:8000/legacy/x",
                Some("alice"),
                json!({"id": API, "name": "legacy"}),
                Value::Null,
            ),
            (
                "http://legacy.test:8000/v7",
                None,
                json!({"id": API, "name": "legacy"}),
                Value::Null,
            ),
            (
                "http://api.example.test:8000/orders/7",
                None,
                json!({"id": ROUTE}),
                json!({"id": "4e13f54a-bbf1-47a8-8777-255fed7116f2", "name": "orders-service"}),
            ),
            ("http://other.test:8000/legacy", None, Value::Null, Value::Null),
        ] {
            let joined = exchange(&snapshot, url, consumer);
            let resolution = snapshot.resolve(&joined);
            let message = message_of(
                &joined,
                &resolution,
                false,
                Profile::Extended,
                &Redaction::Default,
            );
            let message: Value = serde_json::from_slice(message.json()).expect("JSON");
            let kong = &message["kong"];
            assert_eq!(
                (&kong["route"], &kong["service"]),
                (&route, &service),
                "{version} {url}"
            );
            assert_eq!(
                kong["consumer"]["username"].as_str(),
                consumer,
                "{version} {url}: {kong}"
            );
        }
    }
}

fn stored(scope: &str) -> Vec<UnboundConfig> {
    let file = source(&format!(
        "plugins: [{{name: runscope, {scope}config: {{access_token: t, bucket_key: b}}}}]"
    ));
    let stored = text::read(&file).unwrap_or_else(|mistakes| panic!("{scope}: {mistakes}"));
    stored.iter().map(StoredPlugin::unbound).collect()
}

fn of_a_file(scope: &str) -> Vec<UnboundConfig> {
    let file = source(&format!(
        "plugins: [{{name: runscope, {scope}config: {{access_token: t, bucket_key: b}}}}]"
    ));
    file::read(&[file], EnvironmentValues::default()).unwrap_or_else(|mistakes| panic!("{scope}: {mistakes}"))
}

fn source(text: &str) -> SourceFile {
    SourceFile {
        name: "f.yml".into(),
        bytes: text.as_bytes().to_vec(),
    }
}

/// The order of 0.13 where an API is concerned: API and consumer, consumer, API, global (K@0.13.1 kong/core/plugins_iterator.lua).
#[tokio::test]
async fn a_configuration_of_an_api_is_in_force_for_its_exchanges_and_by_the_order_of_0_13() {
    let snapshot = gateway("0.13.1").await;
    let scopes = [
        "api: legacy, consumer: alice, ",
        "consumer: alice, ",
        "api: legacy, ",
        "",
    ];
    for read in [stored, of_a_file] {
        for first in 0..scopes.len() {
            // The weakest is written first, so that the order of writing does not help.
            let configs: Vec<_> = scopes[first..]
                .iter()
                .rev()
                .flat_map(|scope| read(scope))
                .collect();
            let named = |index: usize| UnboundConfig {
                origin: scopes[scopes.len() - 1 - index].to_owned(),
                ..configs[index].clone()
            };
            let configs: Vec<_> = (0..configs.len()).map(named).collect();
            let set = PluginSet::bind(&configs, &snapshot);
            assert_eq!(set.inactive(), [], "{first}");
            let decide = |url: &str, consumer| {
                let resolution = snapshot.resolve(&exchange(&snapshot, url, consumer));
                match set.decide(&resolution) {
                    Decision::Use(config) => config.origin.clone(),
                    other @ (Decision::None | Decision::RouteUnknown | Decision::ConsumerUnknown) => {
                        panic!("{url}: {other:?}")
                    }
                }
            };
            let of_the_api = decide("http://legacy.test:8000/legacy", Some("alice"));
            assert_eq!(of_the_api, scopes[first]);
            let elsewhere = decide("http://other.test:8000/legacy", None);
            assert_eq!(elsewhere, "", "no route, no API: the global one");
        }
    }
    let by_id = stored(&format!("api: {API}, "));
    assert_eq!(PluginSet::bind(&by_id, &snapshot).inactive(), []);
    let both = source(
        "plugins: [{name: runscope, api_id: one, route_id: two, config: {access_token: t, bucket_key: b}}]",
    );
    let mistakes = file::read(&[both], EnvironmentValues::default()).expect_err("both");
    let expected = "f.yml: plugins[0].api: cannot stand beside a route or a service";
    assert_eq!(mistakes.to_string(), expected);
}

/// What the plugin API takes for the one and for the other.
#[tokio::test]
async fn an_api_is_no_route_and_a_route_is_no_api() {
    let snapshot = gateway("0.13.1").await;
    let world = World {
        dialect: Dialect::Old,
        snapshot: &snapshot,
        plugins: &[],
        now: 0,
        new_id: uuid::Uuid::nil(),
    };
    for (kind, text, expected) in [
        (Kind::Api, API, Some(API)),
        (Kind::Api, "legacy", Some(API)),
        (Kind::Api, ROUTE, None),
        (Kind::Route, ROUTE, Some(ROUTE)),
        (Kind::Route, API, None),
        (Kind::Service, API, None),
    ] {
        let found = world.resolve(kind, &Reference::Any(text.to_owned()));
        assert_eq!(found.expect("a gateway").as_deref(), expected, "{kind:?} {text}");
    }
}
