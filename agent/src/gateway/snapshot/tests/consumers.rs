//! Who a request is from when no upstream leg says so: every auth plugin, and what must stay unknown.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::Value;

use super::{EXCHANGES, KONG_YML, exchange, name, recorded, request, response, snapshot};
use crate::correlate::JoinedExchange;
use crate::gateway::declarative;
use crate::gateway::document::SourceFile;
use crate::gateway::router::RouterFlavor;
use crate::gateway::snapshot::{ConsumerMatch, KnownBy, Snapshot};
use crate::http::exchange::{Body, HeadState, Leg, Request};

/// One service a plugin; `/open` has none.
const CONFIGURATION: &str = "
_format_version: '3.0'
services:
- {name: open, routes: [{name: open, paths: [/open]}]}
- {name: key, routes: [{name: key, paths: [/key]}], plugins: [{name: key-auth, config: {key_names: [apikey, x-key]}}]}
- {name: body, routes: [{name: body, paths: [/body]}], plugins: [{name: key-auth, config: {key_in_body: true, key_in_header: false, key_in_query: false}}]}
- {name: basic, routes: [{name: basic, paths: [/basic]}], plugins: [{name: basic-auth}]}
- {name: jwt, routes: [{name: jwt, paths: [/jwt]}], plugins: [{name: jwt, config: {cookie_names: [token], header_names: [authorization, x-jwt]}}]}
- {name: kid, routes: [{name: kid, paths: [/kid]}], plugins: [{name: jwt, config: {key_claim_name: kid}}]}
- {name: hmac, routes: [{name: hmac, paths: [/hmac]}], plugins: [{name: hmac-auth}]}
- {name: oauth2, routes: [{name: oauth2, paths: [/oauth2]}], plugins: [{name: oauth2}]}
- {name: ldap, routes: [{name: ldap, paths: [/ldap]}], plugins: [{name: ldap-auth}]}
- {name: mtls, routes: [{name: mtls, paths: [/mtls]}], plugins: [{name: mtls-auth}]}
- {name: acl, routes: [{name: acl, paths: [/acl]}], plugins: [{name: key-auth}, {name: acl}]}
- {name: anon, routes: [{name: anon, paths: [/anon]}], plugins: [{name: key-auth, config: {anonymous: guest}}]}
- {name: lost, routes: [{name: lost, paths: [/lost]}], plugins: [{name: key-auth, config: {anonymous: no-such-consumer}}]}
- {name: anon-basic, routes: [{name: anon-basic, paths: [/anon-basic]}], plugins: [{name: basic-auth, config: {anonymous: guest}}]}
- {name: and, routes: [{name: and, paths: [/and]}], plugins: [{name: key-auth}, {name: basic-auth}]}
- {name: or, routes: [{name: or, paths: [/or]}], plugins: [{name: key-auth, config: {anonymous: guest}}, {name: basic-auth, config: {anonymous: guest}}]}
- {name: session, routes: [{name: session, paths: [/session]}], plugins: [{name: session}, {name: key-auth, config: {anonymous: guest}}]}
- {name: hidden, routes: [{name: hidden, paths: [/hidden]}], plugins: [{name: key-auth}, {name: request-transformer, config: {remove: {headers: [X-Consumer-Username, X-Consumer-ID, X-Consumer-Custom-ID]}}}]}
- {name: skips, routes: [{name: skips, paths: [/skips]}], plugins: [{name: key-auth, config: {run_on_preflight: false}}]}
- {name: early, routes: [{name: early, paths: [/early]}], plugins: [{name: key-auth}, {name: pre-function}]}
- {name: unset, routes: [{name: unset, paths: [/off]}], plugins: [{name: key-auth, enabled: false}]}
consumers:
- username: alice
  keyauth_credentials: [{key: alice-key}, {key: 'a+b c'}]
  basicauth_credentials: [{username: al, password: p}]
  jwt_secrets: [{key: alice-iss}]
  hmacauth_credentials: [{username: alice-hmac, secret: s}]
  oauth2_credentials: [{name: app, client_id: alice-app, oauth2_tokens: [{access_token: nested-token}]}]
- username: bob
  basicauth_credentials: [{username: bo, password: p}]
- username: guest
keyauth_credentials: [{key: bob-key, consumer: bob}, {key: nobodys-key, consumer: gone}]
oauth2_tokens: [{access_token: flat-token, credential: alice-app}]
";

/// How the gateway answered, without an upstream leg but for `Hidden`.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Proxied,
    Hidden,
    Own(u16),
    Refusal(u16, &'static str),
    NginxMade(u16),
    Absent,
}

use Answer::{Absent, Hidden, NginxMade, Own, Proxied, Refusal};

fn joined(request: Request, answer: Answer) -> JoinedExchange {
    let own: &[(&str, &str)] = &[("X-Kong-Response-Latency", "1")];
    let response = match answer {
        Proxied | Hidden => Some(response(200, &[("X-Kong-Upstream-Latency", "1")], "")),
        Own(status) => Some(response(status, own, "")),
        Refusal(status, text) => Some(response(status, own, text)),
        NginxMade(status) => Some(response(status, &[], "An unexpected page")),
        Absent => None,
    };
    let upstream = matches!(answer, Hidden).then(|| {
        let mut upstream = request.clone();
        upstream.headers = super::headers(&[("host", "service")]);
        exchange(Leg::Upstream, false, Some(upstream), None)
    });
    JoinedExchange {
        client: exchange(Leg::Downstream, false, Some(request), response),
        upstream: upstream.into_iter().collect(),
        request_id: None,
    }
}

fn who(snapshot: &Snapshot, joined: &JoinedExchange) -> String {
    match snapshot.resolve(joined).consumer {
        ConsumerMatch::Known(consumer, by) => {
            let by = match by {
                KnownBy::UpstreamHeaders => "headers",
                KnownBy::Credentials => "credentials",
                KnownBy::TokenUnverified => "token",
                KnownBy::Anonymous => "anonymous",
            };
            format!("{} by {by}", consumer.username.as_deref().unwrap_or("unnamed"))
        }
        ConsumerMatch::Nobody => "-".to_owned(),
        ConsumerMatch::Unknown => "?".to_owned(),
    }
}

/// A request line and header lines, separated by `|`; `{basic …}` and `{jwt …}` are encoded.
fn written(text: &str) -> Request {
    let mut lines = text.split(" | ");
    let (method, target) = lines
        .next()
        .and_then(|line| line.split_once(' '))
        .expect("a request line");
    let fields: Vec<(String, String)> = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").expect("a header line");
            (name.to_owned(), encoded(value))
        })
        .collect();
    let mut fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    fields.push(("host", "z.test"));
    let mut request = request(method, &encoded(target), &fields);
    request.body.complete = true;
    request
}

fn encoded(value: &str) -> String {
    let Some((before, rest)) = value.split_once('{') else {
        return value.to_owned();
    };
    let (inner, after) = rest.split_once('}').expect("a closing brace");
    let (kind, text) = inner.split_once(' ').expect("a kind");
    let coded = match kind {
        "basic" => STANDARD.encode(text),
        _ => {
            let (name, value) = text.split_once('=').expect("a claim");
            let part = |json: String| URL_SAFE_NO_PAD.encode(json);
            let claims = part(format!(r#"{{"{name}":"{value}"}}"#));
            format!("{}.{claims}.c2ln", part(r#"{"alg":"HS256"}"#.to_owned()))
        }
    };
    format!("{before}{coded}{after}")
}

fn check(cases: &[(&str, &str, Answer, &str)]) {
    let snapshot = snapshot(CONFIGURATION, RouterFlavor::TraditionalCompatible);
    for (case, text, answer, expected) in cases {
        let found = who(&snapshot, &joined(written(text), *answer));
        assert_eq!(found, *expected, "{case}: {text} {answer:?}");
    }
}

#[test]
fn keys() {
    check(&[
        (
            "header",
            "GET /key | apikey: alice-key",
            Proxied,
            "alice by credentials",
        ),
        (
            "second name, any case",
            "GET /key | X-KEY: bob-key",
            Proxied,
            "bob by credentials",
        ),
        (
            "query",
            "GET /key?a=1&apikey=alice-key",
            Proxied,
            "alice by credentials",
        ),
        (
            "query, escaped",
            "GET /key?apikey=a%2bb+c",
            Proxied,
            "alice by credentials",
        ),
        (
            "header before query",
            "GET /key?apikey=bob-key | apikey: alice-key",
            Proxied,
            "alice by credentials",
        ),
        (
            "the first name first",
            "GET /key?apikey=bob-key | x-key: alice-key",
            Proxied,
            "bob by credentials",
        ),
        (
            "rate limited",
            "GET /key | apikey: alice-key",
            Own(429),
            "alice by credentials",
        ),
        (
            "service does not answer",
            "GET /key | apikey: alice-key",
            Own(502),
            "alice by credentials",
        ),
        ("refused", "GET /key | apikey: alice-key", Own(401), "-"),
        (
            "refused by an old gateway",
            "GET /key | apikey: wrong",
            Own(403),
            "-",
        ),
        ("nothing, and yet let in", "GET /key", Proxied, "?"),
        (
            "a key that is not listed, let in",
            "GET /key | apikey: new-key",
            Proxied,
            "?",
        ),
        (
            "a key of a consumer that is not there",
            "GET /key | apikey: nobodys-key",
            Proxied,
            "?",
        ),
        ("an empty key", "GET /key?apikey=", Proxied, "?"),
        (
            "two keys of two consumers in one place",
            "GET /key?apikey=alice-key&apikey=bob-key",
            Proxied,
            "?",
        ),
        (
            "two header lines",
            "GET /key | apikey: alice-key | apikey: alice-key",
            Proxied,
            "?",
        ),
        ("no answer", "GET /key | apikey: alice-key", Absent, "?"),
        (
            "an answer of which it is not known whose",
            "GET /key | apikey: alice-key",
            NginxMade(401),
            "?",
        ),
        (
            "a page of before the plugins",
            "GET /key | apikey: alice-key",
            Own(413),
            "?",
        ),
        ("sent to TLS", "GET /key | apikey: alice-key", Own(426), "-"),
        (
            "a plugin that answers first",
            "GET /early | apikey: alice-key",
            Own(429),
            "?",
        ),
        (
            "the same, proxied",
            "GET /early | apikey: alice-key",
            Proxied,
            "alice by credentials",
        ),
    ]);
}

#[test]
fn what_a_client_says_of_itself_is_nothing() {
    check(&[
        (
            "no plugin",
            "GET /open | X-Consumer-Username: alice",
            Proxied,
            "-",
        ),
        (
            "a key where nobody asks",
            "GET /open | apikey: alice-key",
            Proxied,
            "-",
        ),
        (
            "a plugin of another service",
            "GET /open | apikey: bob-key",
            Own(429),
            "-",
        ),
        (
            "a plugin that is off",
            "GET /off | apikey: alice-key",
            Proxied,
            "-",
        ),
        ("refused", "GET /key | X-Consumer-Username: alice", Own(401), "-"),
        (
            "against the key",
            "GET /key | X-Consumer-Username: alice | apikey: bob-key",
            Proxied,
            "bob by credentials",
        ),
        (
            "without a key",
            "GET /key | X-Consumer-Username: alice",
            Proxied,
            "?",
        ),
        ("no route", "GET /nothing | apikey: alice-key", Own(404), "-"),
    ]);
}

#[test]
fn every_other_plugin() {
    check(&[
        (
            "basic",
            "GET /basic | Authorization: Basic {basic al:any:thing}",
            Proxied,
            "alice by credentials",
        ),
        (
            "the proxy's header first",
            "GET /basic | Proxy-Authorization: basic {basic bo:p} | Authorization: Basic {basic al:p}",
            Proxied,
            "bob by credentials",
        ),
        (
            "a wrong password",
            "GET /basic | Authorization: Basic {basic al:p}",
            Own(401),
            "-",
        ),
        (
            "no colon",
            "GET /basic | Authorization: Basic {basic alp}",
            Proxied,
            "?",
        ),
        (
            "another scheme",
            "GET /basic | Authorization: Bearer al",
            Proxied,
            "?",
        ),
        (
            "jwt",
            "GET /jwt | Authorization: Bearer {jwt iss=alice-iss}",
            Proxied,
            "alice by token",
        ),
        (
            "in a header of its own",
            "GET /jwt | X-Jwt: bearer {jwt iss=alice-iss}",
            Proxied,
            "alice by token",
        ),
        (
            "in the query",
            "GET /jwt?jwt={jwt iss=alice-iss}",
            Proxied,
            "alice by token",
        ),
        (
            "in a cookie",
            "GET /jwt | Cookie: a=b; token={jwt iss=alice-iss}",
            Proxied,
            "alice by token",
        ),
        (
            "the same token twice",
            "GET /jwt?jwt={jwt iss=alice-iss} | Authorization: Bearer {jwt iss=alice-iss}",
            Proxied,
            "alice by token",
        ),
        (
            "two tokens",
            "GET /jwt?jwt={jwt iss=alice-iss} | Authorization: Bearer {jwt iss=x}",
            Proxied,
            "?",
        ),
        (
            "a token of nobody",
            "GET /jwt | Authorization: Bearer {jwt iss=x}",
            Proxied,
            "?",
        ),
        ("no token", "GET /jwt | Authorization: Bearer a.b.c", Proxied, "?"),
        (
            "a signature refused",
            "GET /jwt | Authorization: Bearer {jwt iss=alice-iss}",
            Own(401),
            "-",
        ),
        (
            "another claim",
            "GET /kid | Authorization: Bearer {jwt kid=alice-iss}",
            Proxied,
            "alice by token",
        ),
        (
            "not that claim",
            "GET /kid | Authorization: Bearer {jwt iss=alice-iss}",
            Proxied,
            "?",
        ),
        (
            "hmac",
            r#"GET /hmac | Authorization: hmac username="alice-hmac", algorithm="hmac-sha256", headers="date", signature="x""#,
            Proxied,
            "alice by credentials",
        ),
        (
            "half of it",
            r#"GET /hmac | Authorization: hmac username="alice-hmac""#,
            Proxied,
            "?",
        ),
        (
            "oauth2",
            "GET /oauth2 | Authorization: Bearer flat-token",
            Proxied,
            "alice by credentials",
        ),
        (
            "in the query",
            "GET /oauth2?access_token=nested-token",
            Proxied,
            "alice by credentials",
        ),
        (
            "a token of nobody",
            "GET /oauth2 | Authorization: Bearer x",
            Proxied,
            "?",
        ),
        (
            "a directory's people are no consumers",
            "GET /ldap | Authorization: ldap {basic al:p}",
            Proxied,
            "-",
        ),
        ("a certificate", "GET /mtls", Proxied, "?"),
        (
            "let in by the key, not by the list",
            "GET /acl | apikey: bob-key",
            Refusal(403, "You cannot consume this service"),
            "bob by credentials",
        ),
        (
            "it may have been either",
            "GET /acl | apikey: bob-key",
            Own(403),
            "?",
        ),
    ]);
}

#[test]
fn several_plugins_and_nobody_in_particular() {
    check(&[
        ("nothing", "GET /anon", Proxied, "guest by anonymous"),
        (
            "a bad key",
            "GET /anon | apikey: wrong",
            Proxied,
            "guest by anonymous",
        ),
        (
            "a good one",
            "GET /anon | apikey: alice-key",
            Proxied,
            "alice by credentials",
        ),
        (
            "an anonymous consumer that is not there",
            "GET /lost",
            Proxied,
            "?",
        ),
        ("no user", "GET /anon-basic", Proxied, "guest by anonymous"),
        (
            "a user, whose password nobody saw",
            "GET /anon-basic | Authorization: Basic {basic al:p}",
            Proxied,
            "?",
        ),
        (
            "both: the last one names",
            "GET /and | apikey: alice-key | Authorization: Basic {basic bo:p}",
            Proxied,
            "bob by credentials",
        ),
        (
            "one missing, and yet let in",
            "GET /and | apikey: alice-key",
            Proxied,
            "?",
        ),
        (
            "one missing: the first has found somebody",
            "GET /and | apikey: alice-key",
            Own(401),
            "?",
        ),
        ("both missing", "GET /and", Own(401), "-"),
        (
            "either: the first",
            "GET /or | apikey: alice-key | Authorization: Basic {basic bo:p}",
            Proxied,
            "alice by credentials",
        ),
        (
            "either: the second, perhaps",
            "GET /or | Authorization: Basic {basic bo:p}",
            Proxied,
            "?",
        ),
        ("neither", "GET /or", Proxied, "guest by anonymous"),
        ("a session", "GET /session | Cookie: session=x", Proxied, "?"),
        (
            "none",
            "GET /session | apikey: alice-key",
            Proxied,
            "alice by credentials",
        ),
        (
            "hidden from the service",
            "GET /hidden | apikey: alice-key",
            Hidden,
            "alice by credentials",
        ),
        (
            "not hidden, so nobody",
            "GET /anon | apikey: alice-key",
            Hidden,
            "-",
        ),
        (
            "preflight requests are asked",
            "OPTIONS /key | apikey: alice-key",
            Proxied,
            "alice by credentials",
        ),
        ("or not", "OPTIONS /skips | apikey: alice-key", Proxied, "-"),
        (
            "others are",
            "GET /skips | apikey: alice-key",
            Proxied,
            "alice by credentials",
        ),
    ]);
}

#[test]
fn keys_in_bodies() {
    let snapshot = snapshot(CONFIGURATION, RouterFlavor::TraditionalCompatible);
    let form = "application/x-www-form-urlencoded";
    let long = format!("apikey=alice-key&x={}", "x".repeat(9_000));
    for (case, content_type, text, is_whole, expected) in [
        (
            "a form",
            form,
            "a=1&apikey=alice-key",
            true,
            "alice by credentials",
        ),
        (
            "JSON",
            "application/json; charset=utf-8",
            r#"{"apikey": "bob-key"}"#,
            true,
            "bob by credentials",
        ),
        (
            "a number is no key",
            "application/json",
            r#"{"apikey": 1}"#,
            true,
            "?",
        ),
        ("no JSON", "application/json", "apikey=alice-key", true, "?"),
        ("a body that was cut", form, "apikey=alice-key", false, "?"),
        ("one that nginx puts on disk", form, &*long, true, "?"),
        (
            "parts",
            "multipart/form-data; boundary=b",
            "apikey=alice-key",
            true,
            "?",
        ),
        ("another type", "text/plain", "apikey=alice-key", true, "?"),
    ] {
        let mut request = written(&format!("POST /body | Content-Type: {content_type}"));
        request.body = Body {
            bytes: Bytes::copy_from_slice(text.as_bytes()),
            total_bytes: u64::try_from(text.len()).expect("a length"),
            complete: is_whole,
            ..Body::default()
        };
        assert_eq!(who(&snapshot, &joined(request, Proxied)), expected, "{case}");
    }
}

/// A header that was not seen may be a credential: neither `anonymous` nor the query decides then.
#[test]
fn a_head_that_is_not_known_whole_proves_no_absence() {
    let snapshot = snapshot(CONFIGURATION, RouterFlavor::TraditionalCompatible);
    let mut request = written("GET /anon");
    request.head = HeadState::Partial;
    assert_eq!(who(&snapshot, &joined(request, Proxied)), "?");
}

#[test]
fn a_global_plugin_asks_everywhere_and_one_of_a_service_comes_first() {
    let text = "
_format_version: '3.0'
plugins: [{name: key-auth, config: {key_names: [g]}}]
services:
- {name: a, routes: [{name: a, paths: [/a]}]}
- {name: b, routes: [{name: b, paths: [/b]}], plugins: [{name: key-auth, config: {key_names: [own]}}]}
consumers: [{username: alice, keyauth_credentials: [{key: k}]}]
";
    let snapshot = snapshot(text, RouterFlavor::TraditionalCompatible);
    for (request, expected) in [
        ("GET /a | g: k", "alice by credentials"),
        ("GET /b | own: k", "alice by credentials"),
        ("GET /b | g: k", "?"),
    ] {
        assert_eq!(
            who(&snapshot, &joined(written(request), Proxied)),
            expected,
            "{request}"
        );
    }
    assert_eq!(
        who(&snapshot, &joined(written("GET /none | g: k"), Own(404))),
        "-"
    );
}

/// The recordings again, without what the upstream leg says: credentials alone give the consumer that it proves.
#[test]
fn credentials_alone_give_every_recorded_exchange_the_same_consumer() {
    let snapshot = snapshot(KONG_YML, RouterFlavor::TraditionalCompatible);
    let mut by_credentials = 0;
    for line in EXCHANGES.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let case = line["name"].as_str().expect("a name");
        let mut joined = recorded(&line);
        let with = name(&snapshot.resolve(&joined));
        joined.upstream.clear();
        joined.client.request.as_mut().expect("a request").body.complete = true;
        let resolution = snapshot.resolve(&joined);
        assert_eq!(name(&resolution), with, "{case}");
        assert_ne!(resolution.consumer, ConsumerMatch::Unknown, "{case}");
        by_credentials += usize::from(matches!(resolution.consumer, ConsumerMatch::Known(..)));
    }
    assert_eq!(by_credentials, 10);
}

/// What is kept of credentials cannot be printed, and not be found in what is.
#[test]
fn credentials_do_not_print() {
    let snapshot = snapshot(CONFIGURATION, RouterFlavor::TraditionalCompatible);
    let printed = format!("{snapshot:?}");
    for secret in ["alice-key", "flat-token", "nested-token", "alice-iss"] {
        assert!(!printed.contains(secret), "{secret}");
    }
    assert_eq!(snapshot.credentials(), 9);
}

/// That a look-up does not go through the consumers, within wide bounds. Figures are in docs/compatibility.md.
#[test]
fn fifty_thousand_consumers_cost_what_fifty_do() {
    let took = |consumers: usize| {
        let one = |number: usize| {
            format!(
                "{{\"username\": \"c{number}\", \"keyauth_credentials\": [{{\"key\": \"key-{number}\"}}]}}"
            )
        };
        let list: Vec<_> = (0..consumers).map(one).collect();
        let text = format!(
            "{{\"_format_version\": \"3.0\", \"services\": [{{\"name\": \"s\", \"routes\": [{{\"name\": \"r\", \"paths\": [\"/r\"]}}], \
             \"plugins\": [{{\"name\": \"key-auth\"}}]}}], \"consumers\": [{}]}}",
            list.join(",")
        );
        let snapshot = snapshot(&text, RouterFlavor::TraditionalCompatible);
        assert_eq!(snapshot.credentials(), consumers);
        let last = consumers - 1;
        let joined = joined(written(&format!("GET /r | apikey: key-{last}")), Proxied);
        let started = crate::clock::unix_ns();
        for _ in 0..200 {
            assert_eq!(who(&snapshot, &joined), format!("c{last} by credentials"));
        }
        crate::clock::unix_ns().saturating_sub(started) / 200
    };
    let (few, many) = (took(50), took(50_000));
    assert!(
        many < few * 50,
        "{many} ns with 50,000 consumers, {few} ns with 50"
    );
}

/// The same credential may be given to somebody in each workspace.
#[test]
fn a_credential_counts_in_its_own_workspace_only() {
    let file = |workspace: &str, consumer: &str, keys: &str| {
        SourceFile {
        name: Arc::from(workspace),
        bytes: format!(
            "{{_format_version: '3.0', _workspace: {workspace}, services: [{{name: s, routes: [{{name: r, paths: [/{workspace}]}}]}}], plugins: [{{name: key-auth}}], consumers: [{{username: {consumer}, keyauth_credentials: [{keys}]}}]}}"
        )
        .into_bytes(),
    }
    };
    let files = [
        file("a", "ann", "{key: both}, {key: hers}"),
        file("b", "bea", "{key: both}"),
        file("default", "dee", "{key: both}"),
    ];
    let entities = declarative::read(&files).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let (snapshot, _) = Snapshot::build(entities, &RouterFlavor::TraditionalCompatible.into());
    for (case, expected) in [
        ("GET /a | apikey: both", "ann by credentials"),
        ("GET /a | apikey: hers", "ann by credentials"),
        ("GET /b | apikey: both", "bea by credentials"),
        ("GET /b | apikey: hers", "?"),
        ("GET /default | apikey: both", "dee by credentials"),
    ] {
        assert_eq!(
            who(&snapshot, &joined(written(case), Proxied)),
            expected,
            "{case}"
        );
    }
}
