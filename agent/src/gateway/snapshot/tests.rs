//! The recorded exchanges of a real gateway, and what exchanges of its own making do to a snapshot.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use kongtap_common::record::ConnId;
use serde_json::Value;

use super::{ConsumerMatch, CredentialPlace, Resolution, RouteMatch, Snapshot, UnknownRoute};
use crate::capture::event::KernelTime;
use crate::correlate::JoinedExchange;
use crate::gateway::declarative;
use crate::gateway::document::SourceFile;
use crate::gateway::router::{RouterFlavor, RouterProfile};
use crate::http::anomaly::Anomalies;
use crate::http::exchange::{Body, ConnInfo, Exchange, HeadState, Leg, Outcome, Request, Response, Version};
use crate::http::headers::Headers;

mod apart;
mod consumers;
mod refusals;
mod secrets;
mod told;

const KONG_YML: &str = include_str!("../../../../testdata/kong-yml/lab-3.9.1/kong.yml");
const EXCHANGES: &str = include_str!("../../../../testdata/kong-yml/lab-3.9.1/exchanges.jsonl");

pub(crate) fn snapshot(text: &str, flavor: RouterFlavor) -> Snapshot {
    let file = SourceFile {
        name: Arc::from("kong.yml"),
        bytes: text.as_bytes().to_vec(),
    };
    let entities = declarative::read(&[file]).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    Snapshot::build(entities, &RouterProfile::from(flavor)).0
}

fn exchange(leg: Leg, tls: bool, request: Option<Request>, response: Option<Response>) -> Exchange {
    let port = if tls { 8443 } else { 8000 };
    Exchange {
        conn: ConnInfo {
            id: ConnId {
                tgid: 1,
                fd: 1,
                generation_ns: 1,
            },
            local: SocketAddr::from(([127, 0, 0, 1], port)),
            remote: SocketAddr::from(([127, 0, 0, 1], 50_000)),
            tls,
        },
        leg,
        request,
        response,
        outcome: Outcome::Complete,
        stream: None,
        reset: None,
        left_by: None,
        anomalies: Anomalies::NONE,
    }
}

fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> Request {
    Request {
        method: Bytes::copy_from_slice(method.as_bytes()),
        target: Bytes::copy_from_slice(target.as_bytes()),
        version: Version::Http11,
        head: HeadState::Whole,
        trailers: Headers::default(),
        headers: headers(fields),
        body: Body::default(),
        started: KernelTime(0),
        ended: KernelTime(0),
    }
}

fn response(status: u16, fields: &[(&str, &str)], body: &str) -> Response {
    Response {
        status,
        reason: Bytes::new(),
        version: Version::Http11,
        head: HeadState::Whole,
        trailers: Headers::default(),
        headers: headers(fields),
        body: Body {
            bytes: Bytes::copy_from_slice(body.as_bytes()),
            ..Body::default()
        },
        started: KernelTime(0),
        ended: KernelTime(0),
    }
}

fn headers(fields: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in fields {
        headers.push(name.as_bytes().to_vec(), value.as_bytes().to_vec());
    }
    headers
}

fn fields(value: &Value) -> Vec<(&str, &str)> {
    let items = value["headers"].as_array().expect("header fields");
    items
        .iter()
        .map(|item| {
            (
                item[0].as_str().expect("a name"),
                item[1].as_str().unwrap_or_default(),
            )
        })
        .collect()
}

fn recorded(line: &Value) -> JoinedExchange {
    let of = |value: &Value| {
        let text = |name: &str| value[name].as_str().expect("a request").to_owned();
        request(&text("method"), &text("target"), &fields(value))
    };
    let status = line["response"]["status"].as_u64().expect("a status");
    let answer = response(
        u16::try_from(status).expect("a status"),
        &fields(&line["response"]),
        line["body"].as_str().unwrap_or_default(),
    );
    let tls = line["tls"].as_bool().expect("a flag");
    let upstream = line["upstream"].as_array().expect("attempts").iter();
    JoinedExchange {
        client: exchange(Leg::Downstream, tls, Some(of(&line["request"])), Some(answer)),
        upstream: upstream
            .map(|attempt| exchange(Leg::Upstream, false, Some(of(attempt)), None))
            .collect(),
        request_id: None,
    }
}

fn name(resolution: &Resolution) -> (String, String, String) {
    let route = match &resolution.route {
        RouteMatch::Matched(route) => route.name.as_deref().unwrap_or("unnamed").to_owned(),
        RouteMatch::NoRoute => "-".to_owned(),
        RouteMatch::Unknown(why) => format!("?{why:?}"),
    };
    let service = resolution
        .service
        .as_ref()
        .and_then(|service| service.name.as_deref())
        .unwrap_or("-");
    let consumer = match &resolution.consumer {
        ConsumerMatch::Known(it, _) => it
            .username
            .as_deref()
            .or(it.custom_id.as_deref())
            .unwrap_or("unnamed"),
        ConsumerMatch::Nobody => "-",
        ConsumerMatch::Unknown => "?",
    };
    (route, service.to_owned(), consumer.to_owned())
}

/// What the upstream's own view of a recorded request proves: the service by stripped prefix and port, the consumer by header.
#[test]
fn every_recorded_exchange_gets_the_route_and_consumer_that_the_upstream_leg_proves() {
    for flavor in [
        RouterFlavor::TraditionalCompatible,
        RouterFlavor::Traditional,
        RouterFlavor::Expressions,
    ] {
        let snapshot = snapshot(KONG_YML, flavor);
        let mut proven = 0;
        for line in EXCHANGES.lines() {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            let case = line["name"].as_str().expect("a name").to_owned();
            let joined = recorded(&line);
            let (route, service, consumer) = name(&snapshot.resolve(&joined));
            let upstream = joined.upstream.last().and_then(|leg| leg.request.as_ref());
            // Routes, services and prefixes of this configuration bear one name, but for three.
            let prefix = upstream.and_then(|request| request.headers.text("x-forwarded-prefix"));
            let expected_route = match (prefix, case.as_str()) {
                (Some("/rs"), _) => "runscope",
                (Some("/rsn"), _) => "runscope-nobody",
                (Some(prefix), _) => prefix.trim_start_matches('/'),
                (None, "plain-host" | "plain-nostrip" | "terminated" | "dead") => case.as_str(),
                (None, "no-route") => "-",
                (None, refused) => refused.split('-').next().expect("a name"),
            };
            assert_eq!(route, expected_route, "{case} {flavor:?}");
            let expected_service = match expected_route {
                "-" => "-".to_owned(),
                "tlsup" => "tls-upstream-svc".to_owned(),
                plain if plain.starts_with("plain") => "plain-svc".to_owned(),
                other => format!("{other}-svc"),
            };
            assert_eq!(service, expected_service, "{case} {flavor:?}");
            let said = |name: &str| upstream.and_then(|request| request.headers.text(name));
            let claim = said("x-consumer-username").or_else(|| said("x-consumer-custom-id"));
            let expected_consumer = match (claim, case.as_str()) {
                (_, "spoof-noauth") => "-",
                (Some(claim), _) => claim,
                // Refused by the list, which comes after the key.
                (None, "acl-bob") => "bob",
                (None, _) => "-",
            };
            assert_eq!(consumer, expected_consumer, "{case} {flavor:?}");
            proven += 1;
        }
        assert_eq!(proven, 52);
    }
}

#[test]
fn an_empty_snapshot_knows_nothing_and_hides_what_any_plugin_reads() {
    let line: Value = serde_json::from_str(EXCHANGES.lines().next().expect("a line")).expect("JSON");
    let resolution = Snapshot::empty().resolve(&recorded(&line));
    assert_eq!(
        resolution.route,
        RouteMatch::Unknown(UnknownRoute::NoConfiguration)
    );
    assert_eq!(resolution.consumer, ConsumerMatch::Unknown);
    assert!(
        resolution
            .credentials
            .contains(&CredentialPlace::Header("apikey".to_owned()))
    );
}

/// A configuration in which `/a` needs a key, `/t` hides the consumer, and `/o` is open.
const SMALL: &str = "
_format_version: '3.0'
services:
- name: s
  routes:
  - {name: a, paths: [/a]}
  - {name: t, paths: [/t], plugins: [{name: request-transformer, config: {remove: {headers: [X-Consumer-Username]}}}]}
  - {name: unset, paths: [/unset], plugins: [{name: key-auth, enabled: false}]}
  plugins: [{name: key-auth, config: {key_names: [Key, k], key_in_body: true, key_in_header: true, key_in_query: false}}]
- name: open
  routes: [{name: o, paths: [/o]}, {name: keep, paths: [/keep], strip_path: false}]
- {name: gone, enabled: false, routes: [{name: g, paths: [/o/gone]}]}
consumers: [{username: alice, custom_id: c1}, {username: bob, id: 11111111-1111-4111-8111-111111111111}]
";

/// Status, header fields, body.
type Answer<'a> = (u16, &'a [(&'a str, &'a str)], &'a str);

struct Case<'a> {
    target: &'a str,
    client: &'a [(&'a str, &'a str)],
    upstream: Option<&'a [(&'a str, &'a str)]>,
    answer: Option<Answer<'a>>,
}

impl Case<'_> {
    fn resolve(&self, method: &str) -> (String, String, String) {
        let upstream = self
            .upstream
            .map(|fields| exchange(Leg::Upstream, false, Some(request(method, "/", fields)), None));
        let answer = self
            .answer
            .map(|(status, fields, body)| response(status, fields, body));
        let joined = JoinedExchange {
            client: exchange(
                Leg::Downstream,
                false,
                Some(request(method, self.target, self.client)),
                answer,
            ),
            upstream: upstream.into_iter().collect(),
            request_id: None,
        };
        name(&snapshot(SMALL, RouterFlavor::TraditionalCompatible).resolve(&joined))
    }
}

#[test]
fn consumers_are_trusted_where_the_client_cannot_have_named_them() {
    let bob = "11111111-1111-4111-8111-111111111111";
    let alice: &[(&str, &str)] = &[("X-Consumer-Username", "alice")];
    let both: &[(&str, &str)] = &[("X-Consumer-ID", bob), ("X-Consumer-Username", "alice")];
    let foreign: &[(&str, &str)] = &[
        ("X-Consumer-ID", "22222222-2222-4222-8222-222222222222"),
        ("X-Consumer-Username", "alice"),
    ];
    let other: &[(&str, &str)] = &[
        ("X-Consumer-ID", "22222222-2222-4222-8222-222222222222"),
        ("X-Consumer-Username", "bob"),
    ];
    let nobody: &[(&str, &str)] = &[];
    for (case, target, client, upstream, expected) in [
        ("set by the plugin", "/a", nobody, alice, "alice"),
        (
            "by custom id alone",
            "/a",
            nobody,
            &[("x-consumer-custom-id", "c1")],
            "alice",
        ),
        (
            "by id in any case",
            "/a",
            nobody,
            &[("x-consumer-id", bob)],
            "bob",
        ),
        (
            "overwritten by the plugin",
            "/a",
            &[("x-consumer-username", "bob")],
            alice,
            "alice",
        ),
        (
            "the same as the client's, with a plugin",
            "/a",
            alice,
            alice,
            "alice",
        ),
        ("id and name disagree", "/a", nobody, both, "?"),
        (
            "a derived id is not the gateway's",
            "/a",
            nobody,
            foreign,
            "alice",
        ),
        ("a known id is", "/a", nobody, other, "?"),
        (
            "not in the configuration",
            "/a",
            nobody,
            &[("x-consumer-username", "zoe")],
            "?",
        ),
        ("nobody", "/a", nobody, nobody, "-"),
        ("hidden by a transformer", "/t", nobody, nobody, "?"),
        ("forged on an open route", "/o", alice, alice, "-"),
        (
            "set on an open route, by a plugin that is not known",
            "/o",
            nobody,
            alice,
            "alice",
        ),
        (
            "a disabled plugin falls through to the service's",
            "/unset",
            alice,
            alice,
            "alice",
        ),
    ] {
        let case_of = Case {
            target,
            client,
            upstream: Some(upstream),
            answer: None,
        };
        assert_eq!(case_of.resolve("GET").2, expected, "{case}");
    }
    let preflight = Case {
        target: "/a",
        client: alice,
        upstream: Some(alice),
        answer: None,
    };
    assert_eq!(
        preflight.resolve("OPTIONS").2,
        "alice",
        "preflight requests are asked like others, unless the plugin says otherwise"
    );
}

#[test]
fn without_an_upstream_leg_the_status_says_who_was_let_through() {
    let own: &[(&str, &str)] = &[("X-Kong-Response-Latency", "1")];
    let proxied: &[(&str, &str)] = &[("X-Kong-Upstream-Latency", "1")];
    for (target, answer, expected) in [
        ("/a", Some((401, own, "")), "-"),
        ("/a", Some((403, own, "")), "-"),
        ("/a", Some((401, proxied, "")), "?"),
        ("/a", Some((200, proxied, "")), "?"),
        ("/a", Some((429, own, "")), "?"),
        ("/a", None, "?"),
        ("/o", Some((200, proxied, "")), "-"),
        ("/nothing", Some((404, own, "")), "-"),
    ] {
        let case = Case {
            target,
            client: &[],
            upstream: None,
            answer,
        };
        assert_eq!(case.resolve("GET").2, expected, "{target} {answer:?}");
    }
}

#[test]
fn what_the_answer_contradicts_is_not_claimed() {
    let own: &[(&str, &str)] = &[("X-Kong-Response-Latency", "1")];
    let proxied: &[(&str, &str)] = &[("X-Kong-Upstream-Latency", "1"), ("Via", "kong/2.8.1")];
    let no_route = r#"{"message":"no Route matched with those values"}"#;
    let prefix = |value: &'static str| vec![("X-Forwarded-Prefix", value)];
    let (right, wrong) = (prefix("/o"), prefix("/other"));
    for (case, target, upstream, answer, expected) in [
        (
            "no route, although one matches",
            "/o",
            None,
            Some((404, own, no_route)),
            "?Contradicted",
        ),
        (
            "the upstream's own 404 of that kind",
            "/o",
            None,
            Some((404, proxied, no_route)),
            "o",
        ),
        ("a 404 with another body", "/o", None, Some((404, own, "")), "o"),
        (
            "no route, and none matches",
            "/x",
            None,
            Some((404, own, no_route)),
            "-",
        ),
        (
            "proxied, although none matches",
            "/x",
            None,
            Some((200, proxied, "")),
            "?Contradicted",
        ),
        (
            "an upstream leg, although none matches",
            "/x",
            Some(&right[..0]),
            None,
            "?Contradicted",
        ),
        (
            "refused by a plugin, although none matches",
            "/x",
            None,
            Some((401, own, "")),
            "?Contradicted",
        ),
        ("bad request", "/x", None, Some((400, own, "")), "-"),
        ("the prefix of the route", "/o/1", Some(&right[..]), None, "o"),
        ("another prefix", "/o/1", Some(&wrong[..]), None, "?Contradicted"),
        (
            "a prefix where none is stripped",
            "/keep",
            Some(&right[..]),
            None,
            "?Contradicted",
        ),
        (
            "the route of a disabled service is not there",
            "/o/gone",
            Some(&right[..]),
            None,
            "o",
        ),
    ] {
        let case_of = Case {
            target,
            client: &[],
            upstream,
            answer,
        };
        assert_eq!(case_of.resolve("GET").0, expected, "{case}");
    }
    let trusted = Case {
        target: "/o",
        client: &wrong,
        upstream: Some(&wrong),
        answer: None,
    };
    assert_eq!(
        trusted.resolve("GET").0,
        "o",
        "a trusted client's own prefix is passed on"
    );
}

#[test]
fn credentials_are_those_of_the_plugins_in_force() {
    let places = |text: &str, target: &str| {
        let joined = JoinedExchange {
            client: exchange(Leg::Downstream, false, Some(request("GET", target, &[])), None),
            upstream: Vec::new(),
            request_id: None,
        };
        let resolution = snapshot(text, RouterFlavor::TraditionalCompatible).resolve(&joined);
        resolution
            .credentials
            .iter()
            .map(|place| format!("{place:?}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        places(SMALL, "/a"),
        r#"Header("k") Header("key") BodyField("Key") BodyField("k")"#
    );
    assert_eq!(places(SMALL, "/o"), "");
    let jwt = "{_format_version: '3.0', routes: [{name: r, paths: [/r], plugins: [{name: jwt, config: {cookie_names: [c]}}]}, \
               {name: l, paths: [/r], sources: [{ip: 127.0.0.1}]}], plugins: [{name: basic-auth}, {name: jwt, config: {header_names: [X-J]}}]}";
    let look = "{_format_version: '3.0', plugins: [{name: basic-auth}]}";
    assert_eq!(
        places(look, "/x"),
        r#"Header("authorization") Header("proxy-authorization")"#,
        "no route: the global ones"
    );
    let everywhere = places(jwt, "/r");
    assert_eq!(
        everywhere,
        r#"Header("authorization") Header("proxy-authorization") Header("x-j") Query("jwt") Cookie("c")"#,
        "unknown route: every place"
    );
}
