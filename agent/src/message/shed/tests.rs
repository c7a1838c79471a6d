//! Messages without their bodies: the same JSON but for what is named.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::WORTH_BYTES;
use crate::correlate::JoinedExchange;
use crate::gateway::snapshot::{CredentialPlace, Resolution};
use crate::message::redact::Redaction;
use crate::message::tests::{exchange, message_of, nowhere, whole};
use crate::message::{Message, Profile};

fn value(message: &Message) -> Value {
    serde_json::from_slice(message.json()).unwrap()
}

fn side<'v>(message: &'v mut Value, name: &str) -> Option<&'v mut Map<String, Value>> {
    message.get_mut(name).and_then(Value::as_object_mut)
}

/// What `built` is to look like without its bodies, done to the parsed message.
fn expected(built: &Message, profile: Profile) -> Value {
    let mut message = value(built);
    for name in ["request", "response"] {
        let Some(half) = side(&mut message, name) else {
            continue;
        };
        half.remove("body_encoding");
        if half.contains_key("form") {
            half.insert("form".to_owned(), json!({}));
        }
        let had_body = half
            .get_mut("body")
            .is_some_and(|body| std::mem::replace(body, json!("")) != json!(""));
        if had_body && profile == Profile::Extended {
            message["kong"]["completeness"][name]["shed_in_queue"] = json!(true);
        }
    }
    message
}

/// The message without its bodies, which is what it should be; `None` if they stay.
fn check(built: &Message, profile: Profile) -> Option<Value> {
    let text = str::from_utf8(built.json()).unwrap();
    let Some(shed) = built.without_bodies() else {
        assert_eq!(built.shed_bytes(), 0, "{text}");
        return None;
    };
    assert_eq!(value(&shed), expected(built, profile), "{text}");
    assert!(shed.json().len() < built.json().len(), "{text}");
    assert!(
        built.json().len() - shed.json().len() + 60 > built.shed_bytes(),
        "{text}"
    );
    assert_eq!(shed.shed_bytes(), 0);
    assert_eq!(shed.without_bodies(), None);
    assert_eq!(
        (shed.outcome(), shed.destination(), shed.is_recognisable()),
        (built.outcome(), built.destination(), built.is_recognisable())
    );
    Some(value(&shed))
}

fn built(joined: &JoinedExchange, log_body: bool, profile: Profile) -> Message {
    message_of(joined, &nowhere(), log_body, profile, &Redaction::Default)
}

#[test]
fn bodies_and_form_go_and_the_rest_stays() {
    let form = "a=1&b=two&c=".to_owned() + &"x".repeat(100);
    let mut joined = exchange(
        "POST",
        "/a?body=\"body\":",
        &[
            ("content-type", "application/x-www-form-urlencoded"),
            ("body", "\",\"body\":\""),
        ],
        &form,
        201,
        &[("x-form", "{}")],
        "",
    );
    joined.client.response.as_mut().unwrap().body = whole(&[0xff; 300]);
    let plugin = check(&built(&joined, true, Profile::Plugin), Profile::Plugin).unwrap();
    assert!(plugin.get("kong").is_none());
    let extended = check(&built(&joined, true, Profile::Extended), Profile::Extended).unwrap();
    assert_eq!(extended["request"]["body"], "");
    assert_eq!(extended["request"]["form"], json!({}));
    assert_eq!(extended["request"]["headers"]["body"], "\",\"body\":\"");
    assert_eq!(extended["response"]["body"], "");
    assert_eq!(extended["response"].get("body_encoding"), None);
    assert_eq!(extended["response"]["size_bytes"], "300");
    assert_eq!(
        extended["kong"]["completeness"]["response"],
        json!({"state": "whole", "captured_bytes": 300, "total_bytes": 300, "shed_in_queue": true})
    );
    assert_eq!(extended["kong"]["completeness"]["request"]["shed_in_queue"], true);
}

#[test]
fn a_side_without_a_body_is_not_marked() {
    let joined = exchange("GET", "/", &[], "", 200, &[], &"x".repeat(100));
    let shed = check(&built(&joined, true, Profile::Extended), Profile::Extended).unwrap();
    assert_eq!(shed["request"].get("body"), None);
    assert_eq!(shed["kong"]["completeness"]["request"].get("shed_in_queue"), None);
    assert_eq!(shed["kong"]["completeness"]["response"]["shed_in_queue"], true);
}

#[test]
fn what_is_not_worth_it_stays() {
    for (bytes, log_body, goes) in [
        (0, true, false),
        (WORTH_BYTES - 1, true, false),
        (WORTH_BYTES, true, true),
        (10_000, false, false),
    ] {
        let joined = exchange("GET", "/", &[], "", 200, &[], &"x".repeat(bytes));
        for profile in [Profile::Plugin, Profile::Extended] {
            let message = built(&joined, log_body, profile);
            assert_eq!(check(&message, profile).is_some(), goes, "{bytes}");
        }
    }
}

#[test]
fn a_withheld_body_stays_withheld() {
    let mut resolution: Resolution = nowhere();
    resolution.credentials = vec![CredentialPlace::BodyField("apikey".to_owned())].into();
    let body = r#"{"apikey":"Zaphod"}"#;
    let joined = exchange(
        "POST",
        "/",
        &[("content-type", "application/json")],
        body,
        200,
        &[],
        &"x".repeat(100),
    );
    let hidden = message_of(&joined, &resolution, true, Profile::Extended, &Redaction::Default);
    let shed = check(&hidden, Profile::Extended).unwrap();
    assert!(!shed.to_string().contains("Zaphod"));
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[ -~]{0,200}",
        "(\"|\\\\|\\{|\\}|,\"body\":|,\"form\":|,\"body_encoding\":\"base64\"|\n|é){0,40}",
        "([a-z]{1,3}=[a-z%+]{0,30}&){0,20}",
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => text().prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..300),
    ]
}

proptest! {
    #[test]
    fn whatever_the_exchange_only_its_bodies_go(
        (request_body, response_body) in (bytes(), bytes()),
        header in text(),
        is_form in any::<bool>(),
        (has_request, has_response, is_cut) in (any::<bool>(), any::<bool>(), any::<bool>()),
        (log_body, is_plugin) in (any::<bool>(), any::<bool>()),
        status in prop_oneof![Just(200_u16), Just(401), Just(503)],
    ) {
        let kind = if is_form { "application/x-www-form-urlencoded" } else { "text/plain" };
        let headers = [("content-type", kind), ("x-body", header.as_str())];
        let mut joined = exchange("POST", "/a", &headers, "", status, &headers, "");
        if let Some(request) = &mut joined.client.request {
            request.body = whole(&request_body);
        }
        if let Some(response) = &mut joined.client.response {
            response.body = whole(&response_body);
            response.body.complete = !is_cut;
        }
        if !has_request && has_response {
            joined.client.request = None;
        }
        if !has_response {
            joined.client.response = None;
        }
        let profile = if is_plugin { Profile::Plugin } else { Profile::Extended };
        check(&built(&joined, log_body, profile), profile);
    }
}
