//! "exec" of Kong's own router tests: what is passed on of a match; each case for every flavour.

use super::{gateway, routes, with_facts};
use crate::gateway::entities::{Service, Upstream};
use crate::gateway::router::{Criterion, Found, PassedOn, Router, RouterProfile};

/// What the gateway would send on of `request` (a method and a URL, `Host` within it) by the routes of `list`.
fn passed_on(profile: &RouterProfile, list: &str, upstream: &Upstream, request: &str) -> PassedOn {
    let (router, _) = Router::build(&routes(list), profile);
    let service = Service {
        upstream: upstream.clone(),
        ..Service::default()
    };
    with_facts(request, |facts| match router.find(facts) {
        Found::Route(matched) => router.passed_on(&matched, Some(&service), facts.host),
        other @ (Found::Nothing | Found::Unknown(_)) => panic!("{list}: {request}: {other:?}"),
    })
}

const FLAVORS: [&str; 3] = ["traditional", "traditional_compatible", "expressions"];

/// "exec: uri_captures" of Kong's own router tests, in every flavour.
#[test]
fn groups_of_a_regular_expression() {
    const PROFILE: &str = r"~/users/(?<user_id>[0-9]+)/profile/?(?<scope>[a-z]*)";
    for (case, path, request, expected) in [
        (
            "by number and by name",
            PROFILE,
            "/users/1984/profile/email",
            &[
                ("1", "1984"),
                ("user_id", "1984"),
                ("2", "email"),
                ("scope", "email"),
            ][..],
        ),
        (
            "one that took nothing",
            PROFILE,
            "/users/1984/profile",
            &[("1", "1984"), ("user_id", "1984"), ("2", ""), ("scope", "")],
        ),
        (
            "an optional group that took part",
            "~/(users/)?1984/(?<subpath>profile)$",
            "/users/1984/profile",
            &[("1", "users/"), ("2", "profile"), ("subpath", "profile")],
        ),
        (
            "an optional group that took no part",
            "~/(users/)?1984/(?<subpath>profile)$",
            "/1984/profile",
            &[("2", "profile"), ("subpath", "profile")],
        ),
        (
            "of the normalised path",
            "~/users/(?<id>[a-z]+)/x",
            "/a/../users//%61bc/x",
            &[("1", "abc"), ("id", "abc")],
        ),
        ("none of a prefix", "/users", "/users/1984", &[]),
        ("none without groups", "~/users/[0-9]+", "/users/1984", &[]),
        (
            "of the second path",
            "~/nobody/(.+)', '~/users/([0-9]+)$",
            "/users/1984",
            &[("1", "1984")],
        ),
    ] {
        for flavor in FLAVORS {
            let list = format!("{{name: r, paths: ['{path}']}}");
            let request = format!("GET http://z.test{request}");
            let got = passed_on(&gateway("3.9.1", flavor), &list, &Upstream::default(), &request);
            let got: Vec<_> = got
                .captures
                .iter()
                .map(|(name, text)| (&**name, &**text))
                .collect();
            assert_eq!(got, expected, "{flavor}: {case}");
        }
    }
    let old = passed_on(
        &gateway("2.8.1", "traditional"),
        "{name: r, paths: ['~/users/(?<id>[0-9]+)']}",
        &Upstream::default(),
        "GET http://z.test/users/7/x",
    );
    assert_eq!(old.captures[1], ("id".to_owned(), "7".to_owned()));
    assert_eq!(old.prefix.as_deref(), Some(&b"/users/7"[..]));
}

/// "exec: preserve_host" of Kong's own router tests, in every flavour.
#[test]
fn the_host_towards_the_service() {
    let upstream = |protocol: &str, port| Upstream {
        protocol: Some(protocol.to_owned()),
        host: Some("s.test".to_owned()),
        port,
        path: None,
    };
    let (plain, tls) = (upstream("http", Some(8080)), upstream("https", Some(443)));
    for (case, list, upstream, request, expected) in [
        (
            "on",
            "preserve_host: true",
            &plain,
            "GET http://z.test/x",
            Some("z.test"),
        ),
        (
            "on, with the client's port",
            "preserve_host: true",
            &plain,
            "GET http://z.test:123/x",
            Some("z.test:123"),
        ),
        (
            "on, for gRPC",
            "preserve_host: true, protocols: [grpc]",
            &plain,
            "GET http://z.test:123/x",
            Some("z.test:123"),
        ),
        (
            "off",
            "preserve_host: false",
            &plain,
            "GET http://z.test:123/x",
            Some("s.test:8080"),
        ),
        (
            "off by default",
            "regex_priority: 0",
            &plain,
            "GET http://z.test/x",
            Some("s.test:8080"),
        ),
        (
            "off, the scheme's own port",
            "preserve_host: false",
            &tls,
            "GET http://z.test/x",
            Some("s.test"),
        ),
        (
            "off, for gRPC",
            "protocols: [grpc]",
            &upstream("grpc", Some(9000)),
            "GET http://z.test/x",
            Some("s.test:9000"),
        ),
        (
            "off, another scheme's port",
            "preserve_host: false",
            &upstream("http", Some(443)),
            "GET http://z.test/x",
            Some("s.test:443"),
        ),
        (
            "off, no Service",
            "preserve_host: false",
            &Upstream::default(),
            "GET http://z.test/x",
            None,
        ),
    ] {
        for flavor in FLAVORS {
            let profile = gateway("3.9.1", flavor);
            let list = format!("{{name: r, paths: [/], {list}}}");
            // Twice, since what Kong answers from its cache is the same.
            for _ in 0..2 {
                let got = passed_on(&profile, &list, upstream, request).host;
                let got = got.as_deref().map(String::from_utf8_lossy);
                assert_eq!(got.as_deref(), expected, "{flavor}: {case}");
            }
        }
    }
}

/// "exec: strip" and "url path": routes, request, then the path that the service gets and what was taken off.
#[test]
fn strip() {
    let escaped = "~/(?:users|%7Eme)/[a-z]+";
    for (case, list, base, request, expected) in [
        ("matched prefix", "paths: [/in]", "", "/in/x", ("/x", Some("/in"))),
        ("the whole path", "paths: [/in]", "", "/in", ("/", Some("/in"))),
        (
            "disabled",
            "paths: [/in], strip_path: false",
            "",
            "/in/x",
            ("/in/x", None),
        ),
        (
            "plain: no path to match",
            "methods: [GET]",
            "",
            "/in/x",
            ("/in/x", None),
        ),
        ("root", "paths: [/]", "", "/in/x", ("/in/x", None)),
        (
            "once of a repeated prefix",
            "paths: [/in]",
            "",
            "/in/in/x",
            ("/in/x", Some("/in")),
        ),
        (
            "not in the middle",
            "paths: [/in]",
            "",
            "/in/x/in",
            ("/x/in", Some("/in")),
        ),
        (
            "one of different paths",
            "paths: [/in, /out]",
            "",
            "/out/x",
            ("/x", Some("/out")),
        ),
        (
            "another of different paths",
            "paths: [/in, /out]",
            "",
            "/in/x",
            ("/x", Some("/in")),
        ),
        (
            "normalised",
            "paths: [/in]",
            "",
            "/a/..//in/./x",
            ("/x", Some("/in")),
        ),
        (
            "encoded, decoded",
            "paths: [/in]",
            "",
            "/%69n/%78",
            ("/x", Some("/in")),
        ),
        (
            "encoded, reserved",
            "paths: ['/in%2Fx']",
            "",
            "/in%2fx/y",
            ("/y", Some("/in%2Fx")),
        ),
        (
            "regular expression",
            "paths: ['~/in/[0-9]+']",
            "",
            "/in/12/x",
            ("/x", Some("/in/12")),
        ),
        (
            "with a group",
            "paths: ['~/in/(?<n>[0-9]+)']",
            "",
            "/in/12/x",
            ("/x", Some("/in/12")),
        ),
        (
            "with a group that is optional",
            "paths: ['~/in(/[0-9]+)?']",
            "",
            "/in/x",
            ("/x", Some("/in")),
        ),
        (
            "alternatives",
            &format!("paths: ['{escaped}']"),
            "",
            "/users/ab/x",
            ("/x", Some("/users/ab")),
        ),
        (
            "behind the path of the Service",
            "paths: [/in]",
            "/base",
            "/in/x",
            ("/base/x", Some("/in")),
        ),
        (
            "the path of the Service alone",
            "paths: [/in]",
            "/base",
            "/in",
            ("/base", Some("/in")),
        ),
        (
            "a query is no path",
            "paths: [/in]",
            "/base",
            "/in?x=/in",
            ("/base", Some("/in")),
        ),
    ] {
        for flavor in FLAVORS {
            let upstream = Upstream {
                path: (!base.is_empty()).then(|| base.to_owned()),
                ..Upstream::default()
            };
            let list = format!("{{name: r, {list}}}");
            let request = format!("GET http://z.test{request}");
            let got = passed_on(&gateway("3.9.1", flavor), &list, &upstream, &request);
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let got = (text(&got.path), got.prefix.as_deref().map(text));
            assert_eq!((&*got.0, got.1.as_deref()), expected, "{flavor}: {case}");
        }
    }
}

/// "exec: matched attributes": which of a route's conditions a request meets, for `explain`.
#[test]
fn matched_attributes() {
    let list = "{name: r, hosts: [a.test], methods: [GET], paths: [/p], headers: {x-v: ['1']}}";
    use Criterion::{Headers, Hosts, Methods, Paths};
    for (request, missed) in [
        ("GET http://a.test/p x-v: 1", &[][..]),
        ("PUT http://a.test/p x-v: 1", &[Methods]),
        ("GET http://b.test/p x-v: 1", &[Hosts]),
        ("GET http://a.test/q x-v: 1", &[Paths]),
        ("GET http://a.test/p x-v: 2", &[Headers]),
        ("PUT http://b.test/q x-v: 2", &[Hosts, Methods, Paths, Headers]),
    ] {
        for flavor in FLAVORS {
            let (router, _) = Router::build(&routes(list), &gateway("3.9.1", flavor));
            let mut found: Vec<Criterion> = with_facts(request, |facts| {
                let entries = router.explain(facts);
                entries
                    .iter()
                    .flat_map(|entry| entry.failing().collect::<Vec<_>>())
                    .collect()
            });
            found.sort_by_key(|criterion| format!("{criterion:?}"));
            let mut expected = missed.to_vec();
            expected.sort_by_key(|criterion| format!("{criterion:?}"));
            assert_eq!(found, expected, "{flavor}: {request}");
        }
    }
}
