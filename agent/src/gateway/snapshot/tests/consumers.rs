//! Who a request is from when no upstream leg says so: every auth plugin, and what must stay unknown.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::{exchange, request, response, snapshot};
use crate::correlate::JoinedExchange;
use crate::gateway::router::RouterFlavor;
use crate::gateway::snapshot::{ConsumerMatch, KnownBy, Snapshot};
use crate::http::exchange::{Leg, Request};

mod keys;
mod plugins;
mod whose;

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

use self::Answer::{Absent, Hidden, NginxMade, Own, Proxied, Refusal};

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
