use std::sync::Arc;

use proptest::prelude::*;

use super::{check, read};
use crate::gateway::document::SourceFile;
use crate::gateway::entities::{Entities, Scope};
use crate::gateway::router::RouterProfile;

mod deck;
mod groups;

fn file(name: &str, text: &str) -> SourceFile {
    SourceFile {
        name: Arc::from(name),
        bytes: text.as_bytes().to_vec(),
    }
}

fn one(text: &str) -> Entities {
    read(&[file("kong.yml", text)]).unwrap_or_else(|mistakes| panic!("{text}\n{mistakes}"))
}

#[test]
fn flat_and_nested_give_the_same_entities() {
    let nested = "
_format_version: '3.0'
services:
- name: orders
  url: http://127.0.0.1:1/base
  routes:
  - {name: list, paths: [/orders], plugins: [{name: cors}]}
  plugins: [{name: key-auth, config: {key_names: [k]}}]
consumers:
- username: alice
  plugins: [{name: acl}]
  keyauth_credentials: [{key: secret}]
plugins: [{name: jwt, enabled: false}]
upstreams: [{name: u}]
";
    let by_name = "
_format_version: '3.0'
services: [{name: orders, url: 'http://127.0.0.1:1/base'}]
routes: [{name: list, paths: [/orders], service: orders}]
consumers: [{username: alice}]
keyauth_credentials: [{key: secret, consumer: alice}]
plugins:
- {name: key-auth, service: orders, config: {key_names: [k]}}
- {name: cors, route: {name: list}}
- {name: acl, consumer: alice}
- {name: jwt, enabled: false, service: null}
";
    let by_id = by_name
        .replace(
            "service: orders",
            "service: {id: 12a8d2d0-0f18-5f7b-8d5e-000000000001}",
        )
        .replace(
            "{name: orders,",
            "{name: orders, id: 12A8D2D0-0f18-5f7b-8d5e-000000000001,",
        );
    let json = r#"{"_format_version": "3.0", "services": [{"name": "orders", "routes": [{"name": "list", "paths": ["/orders"],
        "plugins": [{"name": "cors"}]}], "plugins": [{"name": "key-auth", "config": {"key_names": ["k"]}}]}],
        "consumers": [{"username": "alice", "plugins": [{"name": "acl"}]}], "plugins": [{"name": "jwt", "enabled": false}]}"#;
    for (form, text) in [
        ("nested", nested),
        ("by name", by_name),
        ("by id", &by_id),
        ("json", json),
    ] {
        let entities = one(text);
        let service = &entities.services[0];
        let route = &entities.routes[0];
        let consumer = &entities.consumers[0];
        assert_eq!(route.service_id.as_ref(), Some(&service.id), "{form}");
        assert_eq!(route.protocols, ["http", "https"], "{form}");
        let scope = |name: &str| {
            let plugin = entities.plugins.iter().find(|plugin| plugin.name == name);
            plugin
                .unwrap_or_else(|| panic!("{form}: no {name}"))
                .scope
                .clone()
        };
        let none = Scope::default();
        assert_eq!(
            scope("key-auth"),
            Scope {
                service_id: Some(Arc::clone(&service.id)),
                ..none.clone()
            },
            "{form}"
        );
        assert_eq!(
            scope("cors"),
            Scope {
                route_id: Some(Arc::clone(&route.id)),
                ..none.clone()
            },
            "{form}"
        );
        assert_eq!(
            scope("acl"),
            Scope {
                consumer_id: Some(Arc::clone(&consumer.id)),
                ..none.clone()
            },
            "{form}"
        );
        assert_eq!(scope("jwt"), none, "{form}");
    }
}

#[test]
fn formats_mark_regular_expressions_differently() {
    let body = "routes: [{name: r, paths: [/a/b-c_d.e~f%20, '/a/\\d+', '/x$']}]";
    for (version, expected) in [
        ("1.1", ["/a/b-c_d.e~f%20", "~/a/\\d+", "~/x$"]),
        ("2.1", ["/a/b-c_d.e~f%20", "~/a/\\d+", "~/x$"]),
        ("3.0", ["/a/b-c_d.e~f%20", "/a/\\d+", "/x$"]),
    ] {
        for quoted in [format!("'{version}'"), version.to_owned()] {
            let entities = one(&format!("_format_version: {quoted}\n{body}"));
            assert_eq!(entities.routes[0].paths, expected, "{quoted}");
        }
    }
}

#[test]
fn ids_are_known_only_when_written() {
    let entities = one("_format_version: '3.0'
services: [{name: s}]
routes: [{paths: [/a]}, {paths: [/b]}, {name: named}, {id: ABC}]");
    let known: Vec<_> = entities.routes.iter().map(|route| route.id_is_known).collect();
    assert_eq!(known, [false, false, false, true]);
    assert_eq!(&*entities.routes[3].id, "abc");
    assert_ne!(
        entities.routes[0].id, entities.routes[1].id,
        "what differs gets different ids"
    );
    assert_eq!(
        entities,
        one("_format_version: '3.0'
services: [{name: s}]
routes: [{paths: [/a]}, {paths: [/b]}, {name: named}, {id: ABC}]")
    );
}

#[test]
fn files_are_merged_and_refer_to_each_other() {
    let first = file("a.yml", "{_format_version: '3.0', services: [{name: s}]}");
    let second = file(
        "b.json",
        r#"{"_format_version": "3.0", "routes": [{"name": "r", "paths": ["/"], "service": "s"}]}"#,
    );
    let entities = read(&[first, second]).expect("they fit");
    assert_eq!(
        entities.routes[0].service_id.as_ref(),
        Some(&entities.services[0].id)
    );
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_places() {
    let text = "
_format_version: '9.9'
services:
- name: s
  enabled: 'yes'
  routes:
  - {name: r, paths: /a, methods: [1], headers: [x], regex_priority: high}
  - {name: p, paths: [a, /b]}
- 7
- {name: s}
consumers: [{tags: [x]}]
plugins: [{config: {}}]
";
    let mistakes = read(&[file("kong.yml", text)])
        .expect_err("it is full of mistakes")
        .to_string();
    for expected in [
        "kong.yml: _format_version: `9.9` is not known here; \"1.1\", \"2.1\" and \"3.0\" are",
        "kong.yml: services[0].enabled: must be true or false, not a string",
        "kong.yml: services[0].routes[0].paths: must be a list of strings",
        "kong.yml: services[0].routes[0].methods: must be a list of strings",
        "kong.yml: services[0].routes[0].headers: must be a map, not a list",
        "kong.yml: services[0].routes[0].regex_priority: must be an integer, not a string",
        "kong.yml: services[0].routes[1].paths[0]: `a` must begin with `/`, or with `~/` for a regular expression",
        "kong.yml: services[1]: must be a map, not a number",
        "kong.yml: services[2]: `s` is defined twice",
        "kong.yml: consumers[0]: needs a `username`, a `custom_id` or an `id`",
        "kong.yml: plugins[0].name: is required",
    ] {
        assert!(
            mistakes.lines().any(|line| line == expected),
            "no {expected:?} in\n{mistakes}"
        );
    }
    assert_eq!(mistakes.lines().count(), 11, "{mistakes}");
}

#[test]
fn references_to_nothing_are_mistakes() {
    let text = "{_format_version: '3.0', routes: [{name: r, paths: [/], service: x}], plugins: [{name: p, consumer: {id: zoe}}]}";
    let mistakes = read(&[file("kong.yml", text)])
        .expect_err("they are not there")
        .to_string();
    assert_eq!(
        mistakes,
        "kong.yml: routes[0].service: there is no service `x`\nkong.yml: plugins[0].consumer: there is no consumer `zoe`"
    );
    let nothing = [
        ("", "is empty; it needs at least `_format_version: \"3.0\"`"),
        ("[]", "must be a map, not a list"),
    ];
    for (text, expected) in nothing {
        let mistakes = read(&[file("kong.yml", text)])
            .expect_err("nothing there")
            .to_string();
        assert_eq!(mistakes, format!("kong.yml: {expected}"));
    }
}

#[test]
fn check_names_what_is_not_evaluated() {
    let text = "{_format_version: '3.0', routes: [{name: r, paths: ['~/a(?=b)']}]}";
    let (_, warnings) =
        check(&[file("kong.yml", text)], &RouterProfile::default(), |_| None).expect("it reads");
    assert_eq!(warnings.len(), 1);
}

proptest! {
    #[test]
    fn random_yaml_never_panics(
        words in proptest::collection::vec(prop_oneof![
            Just("services"), Just("routes"), Just("plugins"), Just("consumers"), Just("name"), Just("id"), Just("paths"),
            Just(": "), Just("- "), Just("\n"), Just("\n  "), Just("["), Just("]"), Just("{"), Just("}"), Just(", "), Just("a"),
            Just("_format_version: '3.0'\n"), Just("&x "), Just("*x"), Just("<<"), Just("~"), Just("1e999"), Just("service"),
        ], 0..60)
    ) {
        drop(read(&[file("kong.yml", &words.concat())]));
    }
}
