//! Every other auth plugin, several at once, and which one is in force.

use super::Answer::{Hidden, Own, Proxied, Refusal};
use super::{check, joined, snapshot, who, written};
use crate::gateway::router::RouterFlavor;

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
