//! What is said of requests to the recorded gateway, word for word, and that what is said is what the pipeline does.

use std::sync::Arc;

use proptest::prelude::*;

use super::account::{self, Account, Held};
use super::ask::{Ask, AskError, Protocol, Words};
use super::{ExplainError, Explanation, Foreseen, explain};
use crate::cli::exit::Exit;
use crate::gateway::declarative;
use crate::gateway::document::SourceFile;
use crate::gateway::router::{Fit, RouterFlavor, RouterProfile};
use crate::gateway::snapshot::{ConsumerMatch, RouteMatch, Snapshot};
use crate::pipeline::Bound;
use crate::plugin::from_gateway::{self, FromGateway};
use crate::plugin::trace::Found;
use crate::plugin::{Decision, file};

const KONG_YML: &str = include_str!("../../../testdata/kong-yml/lab-3.9.1/kong.yml");
const RUNSCOPE_YML: &str = include_str!("../../../testdata/explain/runscope.yml");

fn bound(gateway: &str, plugins: &str, flavor: RouterFlavor) -> Bound {
    let source = |name: &str, text: &str| SourceFile {
        name: Arc::from(name),
        bytes: text.as_bytes().to_vec(),
    };
    let entities = declarative::read(&[source("kong.yml", gateway)]).unwrap_or_else(|it| panic!("{it}"));
    let configs = file::read(
        &[source("runscope.yml", plugins)],
        file::EnvironmentValues::default(),
    )
    .unwrap_or_else(|it| panic!("{it}"));
    let (snapshot, _) = Snapshot::build(entities, &RouterProfile::from(flavor));
    Bound {
        plugins: from_gateway::bind(configs, FromGateway::Show, &snapshot),
        snapshot: Arc::new(snapshot),
        gateway_api_ports: [].into(),
    }
}

fn recorded() -> Bound {
    bound(KONG_YML, RUNSCOPE_YML, RouterFlavor::TraditionalCompatible)
}

fn words<'a>(method: &'a str, url: &'a str, headers: &'a [String]) -> Words<'a> {
    Words {
        method,
        url,
        headers,
        ..Words::default()
    }
}

fn explained(bound: &Bound, words: Words<'_>) -> Explanation {
    explained_with(bound, Account::default(), words)
}

fn explained_with(bound: &Bound, account: Account, words: Words<'_>) -> Explanation {
    let ask = Ask::of(words).expect("a request");
    explain(bound, account, &ask).expect("an explanation")
}

/// As if the agent had an empty store and the file of the recordings.
fn account(bound: &Bound, declared: usize) -> Account {
    let held = Held {
        store: "/var/lib/kongtap/runscope.yml",
        stored: 0,
        store_note: None,
        files: &["runscope.yml".to_owned()],
        from_files: declared,
        from_environment: 0,
        from_gateway: FromGateway::Show,
    };
    Account {
        sources: account::sources(held, &bound.snapshot),
        warnings: Vec::new(),
    }
}

#[test]
fn what_is_said_of_requests_to_the_recorded_gateway() {
    let bound = recorded();
    let explained = |bound: &Bound, words: Words<'_>| explained_with(bound, account(bound, 5), words);
    let key = ["apikey: alice-key-1".to_owned()];
    let bobs = ["apikey: bob-key-1".to_owned()];
    let by_key = explained(&bound, words("GET", "http://127.0.0.1:8000/keyed/json", &key));
    let expected = include_str!("../../../testdata/explain/keyed-alice.txt");
    assert_eq!(by_key.to_string(), expected, "{by_key}");
    let expected = include_str!("../../../testdata/explain/keyed-alice.json");
    assert_eq!(by_key.to_json(), expected.trim_end(), "{}", by_key.to_json());
    for (case, words, expected) in [
        (
            "a tie of attributes",
            words("GET", "http://api.lab.test:8000/headers", &[]),
            include_str!("../../../testdata/explain/plain-host.txt"),
        ),
        (
            "nothing",
            words("GET", "/nothing-here", &[]),
            include_str!("../../../testdata/explain/no-route.txt"),
        ),
        (
            "refused",
            words("GET", "/keyed/json", &[]),
            include_str!("../../../testdata/explain/keyed-none.txt"),
        ),
        (
            "by route",
            words("GET", "/acl/x", &bobs),
            include_str!("../../../testdata/explain/acl-bob.txt"),
        ),
    ] {
        let text = explained(&bound, words).to_string();
        assert_eq!(text, expected, "{case}:\n{text}");
    }
}

#[test]
fn a_refusal_is_said_with_its_route_and_what_is_passed_on_where_there_is_none() {
    let text = "
_format_version: '3.0'
services:
- name: s
  url: http://up.test:81/base
  routes:
  - {name: tls, paths: [/tls], protocols: [https]}
  - {name: moved, paths: [/moved], protocols: [https], https_redirect_status_code: 308}
  - {name: grpc, paths: [/grpc], protocols: [grpc]}
  - {name: grpcs, paths: [/gs], protocols: [grpcs]}
  - {name: users, paths: ['~/users/(?<id>[0-9]+)'], preserve_host: true}
";
    let alone = "plugins: [{name: runscope, service: s, config: {access_token: t, bucket_key: b}}]";
    let bound = bound(text, alone, RouterFlavor::TraditionalCompatible);
    let grpc = ["Content-Type: application/grpc".to_owned()];
    for (case, words, route, expected) in [
        (
            "https only",
            words("GET", "/tls", &[]),
            "tls",
            Err("426: the route serves https only"),
        ),
        (
            "a redirect",
            words("GET", "/moved", &[]),
            "moved",
            Err("308: the route serves https only"),
        ),
        (
            "by TLS",
            words("GET", "https://h/tls", &[]),
            "tls",
            Ok("/base, Host: up.test:81, X-Forwarded-Prefix: /tls"),
        ),
        (
            "no gRPC",
            words("GET", "/grpc", &[]),
            "grpc",
            Err("415: the route serves gRPC, and this is not (Content-Type)"),
        ),
        (
            "by HTTP/1.1",
            words("POST", "/grpc", &grpc),
            "grpc",
            Err("426: gRPC needs HTTP/2"),
        ),
        (
            "plain gRPC",
            words("POST", "grpc://h/gs", &[]),
            "grpcs",
            Err("200 with grpc-status 1: the route serves grpcs only"),
        ),
        (
            "groups, a query, the client's own host",
            words("GET", "http://h:8000/users/7/x?a=%20", &[]),
            "users",
            Ok("/base/x?a=%20, Host: h:8000, X-Forwarded-Prefix: /users/7 (captures 1=7, id=7)"),
        ),
    ] {
        let explanation = explained(&bound, words);
        let named = explanation
            .route
            .route
            .as_ref()
            .and_then(|route| route.name.as_deref());
        assert_eq!(named, Some(route), "{case}");
        let text = explanation.to_string();
        let (line, answer) = match expected {
            Ok(passed) => (format!("\n  passed on as   {passed}\n"), "applies"),
            // No plugin of the route runs.
            Err(why) => (format!("\n  the gateway answers by itself: {why}\n"), "none"),
        };
        assert!(text.contains(&line), "{case}: {line:?} in\n{text}");
        assert_eq!(explanation.configuration.answer, answer, "{case}");
        assert_eq!(explanation.upstream.is_some(), expected.is_ok(), "{case}");
    }
}

#[test]
fn what_is_not_evaluated_and_a_store_that_is_not_for_us_are_said() {
    let text = "{_format_version: '3.0', services: [{name: s, routes: [{name: r, paths: [/r]}, {name: tls, snis: [a.test]}]}]}";
    let entities = declarative::read(&[SourceFile {
        name: Arc::from("kong.yml"),
        bytes: text.as_bytes().to_vec(),
    }])
    .expect("a configuration");
    let (snapshot, warnings) = Snapshot::build(entities, &RouterProfile::default());
    let held = Held {
        store: "/s.yml",
        stored: 0,
        store_note: Some("cannot be read (permission denied)"),
        files: &[],
        from_files: 0,
        from_environment: 1,
        from_gateway: FromGateway::Use,
    };
    let account = Account {
        sources: account::sources(held, &snapshot),
        warnings: warnings.iter().map(ToString::to_string).collect(),
    };
    let bound = Bound {
        snapshot: Arc::new(snapshot),
        ..Bound::unread(&[])
    };
    let explanation = explained_with(&bound, account, words("GET", "/r", &[]));
    let text = explanation.to_string();
    for line in [
        "  store        none in /s.yml (cannot be read (permission denied))\n",
        "  files        none\n",
        "  environment  1\n",
        "  gateway      none\n",
        "\nOf the gateway's configuration is not evaluated:\n  route tls asks for the server name of the TLS handshake, which is not seen",
    ] {
        assert!(text.contains(line), "{line:?} in\n{text}");
    }
    assert!(
        explanation
            .to_json()
            .contains("\"warnings\": [\n    \"route tls asks")
    );
}

#[test]
fn the_exit_code_says_whether_a_configuration_applies() {
    let alone = "plugins: [{name: runscope, consumer: alice, config: {access_token: t, bucket_key: b}}]";
    let bound = bound(KONG_YML, alone, RouterFlavor::TraditionalCompatible);
    let token = ["Cookie: session=x".to_owned()];
    for (case, request, exit) in [
        (
            "applies",
            Words {
                consumer: Some("alice"),
                ..words("GET", "/plain/x", &[])
            },
            Exit::Ok,
        ),
        ("none", words("GET", "/plain/x", &token), Exit::NothingApplies),
        ("no route", words("GET", "/x", &[]), Exit::NothingApplies),
    ] {
        assert_eq!(explained(&bound, request).exit(), exit, "{case}");
    }
    let unread = Bound::unread(&[]);
    let nowhere = explained(&unread, words("GET", "/x", &[]));
    assert_eq!(nowhere.route.answer, "unknown");
    assert_eq!(nowhere.exit(), Exit::NothingApplies);
    let depends = "{_format_version: '3.0', services: [{name: s, routes: [{name: r, paths: [/r]}], plugins: [{name: mtls-auth}]}], consumers: [{username: alice}]}";
    let bound = self::bound(depends, alone, RouterFlavor::TraditionalCompatible);
    assert_eq!(explained(&bound, words("GET", "/r", &[])).exit(), Exit::NotKnown);
}

#[test]
fn words_that_are_wrong_are_said_to_be() {
    let headers = ["no colon".to_owned()];
    for (words, expected) in [
        (words("GE T", "/", &[]), AskError::Method("GE T".to_owned())),
        (words("GET", "orders", &[]), AskError::Url("orders".to_owned())),
        (
            words("GET", "ftp://h/", &[]),
            AskError::Url("ftp://h/".to_owned()),
        ),
        (
            words("GET", "http://h:x/", &[]),
            AskError::Url("http://h:x/".to_owned()),
        ),
        (
            words("GET", "/", &headers),
            AskError::Header("no colon".to_owned()),
        ),
    ] {
        assert_eq!(Ask::of(words), Err(expected));
    }
    let nobody = Words {
        consumer: Some("zoe"),
        ..words("GET", "/", &[])
    };
    let ask = Ask::of(nobody).expect("a request");
    assert_eq!(
        explain(&recorded(), Account::default(), &ask),
        Err(ExplainError::NoConsumer("zoe".to_owned()))
    );
}

#[test]
fn an_address_is_taken_apart_as_it_is_written() {
    for (url, protocol, expected) in [
        ("/a/../b?x=%20", None, ("localhost", "/a/../b?x=%20", 8000, false)),
        ("http://h", None, ("h", "/", 8000, false)),
        ("https://h/p#f", None, ("h", "/p", 8443, true)),
        ("https://u:p@h:9443?q", None, ("h:9443", "?q", 9443, true)),
        ("http://[::1]/p", None, ("[::1]", "/p", 8000, false)),
        (
            "http://[::1]:80/p",
            Some(Protocol::Grpcs),
            ("[::1]:80", "/p", 80, true),
        ),
    ] {
        let ask = Ask::of(Words {
            protocol,
            ..words("GET", url, &[])
        })
        .expect(url);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let host = text(ask.request.headers.first("host").expect("a host"));
        let found = (host.as_str(), &*text(&ask.request.target), ask.port, ask.tls);
        assert_eq!(found, expected, "{url}");
    }
}

/// Scopes of every kind, a disabled one, several auth plugins.
const GATEWAY: &str = "
_format_version: '3.0'
services:
- name: a
  routes:
  - {name: a1, paths: [/a, /a/b/c], methods: [GET, OPTIONS]}
  - {name: a2, paths: ['~/a/[0-9]+$'], regex_priority: 3}
  - {name: a3, hosts: ['*.test'], paths: [/a]}
  plugins: [{name: key-auth}]
- name: b
  routes: [{name: b1, paths: [/b]}, {name: b2, headers: {x-v: ['1']}}, {name: tls, paths: [/tls], protocols: [https]}]
  plugins: [{name: key-auth, config: {anonymous: guest}}, {name: basic-auth, config: {anonymous: guest}}]
- {name: open, routes: [{name: o, paths: [/o]}]}
consumers:
- {username: alice, keyauth_credentials: [{key: ka}], basicauth_credentials: [{username: ua, password: p}]}
- {username: bob, keyauth_credentials: [{key: kb}]}
- {username: guest}
";

/// Scopes by name: service, route, consumer.
const SCOPES: [[&str; 3]; 10] = [
    ["", "", ""],
    ["a", "", ""],
    ["b", "", ""],
    ["", "a1", ""],
    ["", "o", ""],
    ["", "", "alice"],
    ["", "", "guest"],
    ["a", "a1", "bob"],
    ["b", "", "alice"],
    ["", "a2", "bob"],
];

fn plugins(chosen: &[(usize, bool)]) -> String {
    let mut text = String::from("plugins:\n");
    for (number, enabled) in chosen {
        let mut scope = String::new();
        for (kind, name) in ["service", "route", "consumer"].iter().zip(SCOPES[*number]) {
            if !name.is_empty() {
                scope.push_str(&format!(", {kind}: {name}"));
            }
        }
        let config = format!("config: {{access_token: t, bucket_key: b{number}}}");
        text.push_str(&format!(
            "- {{name: runscope, enabled: {enabled}{scope}, {config}}}\n"
        ));
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// The answer is the pipeline's, and the three traces, each made by its own, come to the same.
    #[test]
    fn what_is_said_is_what_the_pipeline_does(
        mut chosen in proptest::collection::vec((0usize..10, any::<bool>()), 1..8),
        flavor in 0usize..3,
        requests in proptest::collection::vec((0usize..3, 0usize..9, 0usize..6, 0usize..4), 1..20),
    ) {
        chosen.sort_unstable();
        chosen.dedup_by_key(|(number, _)| *number);
        let flavor = [RouterFlavor::Traditional, RouterFlavor::TraditionalCompatible, RouterFlavor::Expressions][flavor];
        let bound = bound(GATEWAY, &plugins(&chosen), flavor);
        for (method, url, header, consumer) in requests {
            let headers = [
                "X-V: 1", "apikey: ka", "apikey: kb", "apikey: wrong", "Authorization: Basic dWE6cA==", "X-Consumer-Username: bob",
            ];
            let headers = [headers[header].to_owned()];
            let urls = [
                "/a", "/a/12", "/a/b/c/d", "http://h.test/a", "/b/x", "/tls", "https://h/tls", "/o", "/none",
            ];
            let words = Words {
                consumer: [None, None, Some("alice"), Some("bob")][consumer],
                ..words(["GET", "POST", "OPTIONS"][method], urls[url], &headers)
            };
            let ask = Ask::of(words).expect("a request");
            let explanation = explain(&bound, Account::default(), &ask).expect("an explanation");
            let given = ask.consumer.as_ref().and_then(|reference| bound.snapshot.consumer(reference));
            let joined = Foreseen::of(&bound, &ask, given.map(|it| &**it)).joined;
            let resolution = bound.snapshot.resolve(&joined);

            let taken: Vec<_> = explanation.route.considered.iter().filter(|it| it.verdict == "taken").collect();
            let facts = bound.snapshot.facts(&joined.client).expect("facts");
            let all = bound.snapshot.router().explain(&facts);
            match &resolution.route {
                RouteMatch::Matched(route) => {
                    prop_assert_eq!(taken.len(), 1);
                    prop_assert_eq!(Some(&*taken[0].route), route.name.as_deref());
                    prop_assert!(taken[0].fails.is_empty());
                    if flavor != RouterFlavor::Traditional {
                        let first = all.iter().find(|it| it.fit() == Fit::Holds).expect("one that holds");
                        prop_assert!(Arc::ptr_eq(first.route, route));
                    }
                }
                RouteMatch::NoRoute => {
                    prop_assert!(taken.is_empty());
                    prop_assert!(all.iter().all(|it| it.fit() == Fit::Fails));
                }
                RouteMatch::Unknown(_) => {
                    prop_assert!(taken.is_empty());
                    prop_assert!(all.iter().any(|it| it.fit() != Fit::Fails));
                }
            }

            let answer = match &resolution.consumer {
                ConsumerMatch::Known(..) => "known",
                ConsumerMatch::Nobody => "nobody",
                ConsumerMatch::Unknown => "unknown",
            };
            prop_assert_eq!(explanation.consumer.answer, answer);

            let in_force: Vec<_> = explanation.configuration.scopes.iter().filter_map(|trace| match &trace.found {
                Found::InForce { origin } => Some(origin.clone()),
                Found::Nothing | Found::Disabled { .. } | Found::Weaker { .. } | Found::NotApplicable | Found::Unknown => None,
            }).collect();
            let has_unknown = explanation.configuration.scopes.iter().any(|trace| trace.found == Found::Unknown);
            match bound.plugins.decide(&resolution) {
                Decision::Use(config) => {
                    prop_assert_eq!(&in_force, &vec![config.origin.clone()]);
                    prop_assert_eq!(explanation.exit(), Exit::Ok);
                }
                Decision::None => {
                    prop_assert!(in_force.is_empty());
                    prop_assert_eq!(explanation.exit(), Exit::NothingApplies);
                }
                Decision::RouteUnknown | Decision::ConsumerUnknown => {
                    prop_assert!(has_unknown);
                    prop_assert_eq!(explanation.exit(), Exit::NotKnown);
                }
            }
        }
    }
}
