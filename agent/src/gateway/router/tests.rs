//! A table of cases, each run by both flavours. The names follow the groups of Kong's own router specs; routes and requests are
//! written anew.

use std::sync::Arc;

use proptest::prelude::*;

use super::{ClientAddress, KongVersion, RequestFacts, Router, RouterFlavor, RouterProfile, ServerName};
use crate::gateway::declarative;
use crate::gateway::document::SourceFile;
use crate::gateway::entities::Route;
use crate::gateway::snapshot::RouteMatch;
use crate::http::headers::Headers;

fn routes(list: &str) -> Vec<Arc<Route>> {
    let text = format!("{{_format_version: '3.0', routes: [{list}]}}");
    let file = SourceFile {
        name: Arc::from("case.yml"),
        bytes: text.into_bytes(),
    };
    let entities = declarative::read(&[file]).unwrap_or_else(|mistakes| panic!("{list}\n{mistakes}"));
    entities.routes.into_iter().map(Arc::new).collect()
}

/// `GET http://host:port/path name: value; name: value`; the fields `@sni`, `@client` and `@listener` stand for what a
/// connection knows. Without `@sni` the server name of TLS is not known (`-` is none).
pub(super) fn with_facts<T>(request: &str, ask: impl FnOnce(&RequestFacts<'_>) -> T) -> T {
    let (method, rest) = request.split_once(' ').expect("a method");
    let (url, fields) = rest.split_once(' ').unwrap_or((rest, ""));
    let (scheme, rest) = url.split_once("://").expect("a scheme");
    let slash = rest.find('/').expect("a path");
    let (host, target) = rest.split_at(slash);
    let tls = scheme == "https";
    let mut headers = Headers::default();
    if !host.is_empty() {
        headers.push("Host", host.as_bytes().to_vec());
    }
    let mut known = std::collections::HashMap::new();
    for field in fields.split("; ").filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once(": ").expect("a field");
        match name.strip_prefix('@') {
            Some(name) => drop(known.insert(name, value)),
            None => headers.push(name.as_bytes().to_vec(), value.as_bytes().to_vec()),
        }
    }
    let address = |name: &str, default: &str| {
        known
            .get(name)
            .copied()
            .unwrap_or(default)
            .parse()
            .expect("an address")
    };
    ask(&RequestFacts {
        tls,
        server_name: match known.get("sni").copied() {
            Some("-") => ServerName::Absent,
            Some(name) => ServerName::Named(name.as_bytes()),
            None if tls => ServerName::Unknown,
            None => ServerName::Absent,
        },
        method: method.as_bytes(),
        target: target.as_bytes(),
        host: (!host.is_empty()).then_some(host.as_bytes()),
        headers: &headers,
        client: address("client", "192.0.2.1:50000"),
        local: address("listener", if tls { "192.0.2.9:8443" } else { "192.0.2.9:8000" }),
    })
}

fn ask(router: &Router, request: &str) -> String {
    with_facts(request, |facts| match router.route(facts) {
        RouteMatch::Matched(route) => route.name.as_deref().unwrap_or("unnamed").to_owned(),
        RouteMatch::NoRoute => "-".to_owned(),
        RouteMatch::Unknown(why) => format!("?{why:?}"),
    })
}

/// A gateway of this version and flavour that trusts no proxy.
pub(super) fn gateway(version: &str, flavor: &str) -> RouterProfile {
    RouterProfile {
        client_address: ClientAddress::Peer,
        ..RouterProfile::of(KongVersion::parse(version), Some(flavor))
    }
}

mod differential;
mod exec;
mod expressions;
mod misses;
mod recorded;
mod spec;
mod speed;
mod upstream;
mod versions;

/// What is expected of both flavours, or `traditional | traditional_compatible`.
fn check(name: &str, list: &str, request: &str, expected: &str) {
    let (traditional, compatible) = expected.split_once(" | ").unwrap_or((expected, expected));
    let flavors = [
        (RouterFlavor::Traditional, traditional),
        (RouterFlavor::TraditionalCompatible, compatible),
        (RouterFlavor::Expressions, compatible),
    ];
    for (flavor, expected) in flavors {
        // The order in which routes are written must never matter.
        let mut list = routes(list);
        for order in ["as written", "reversed"] {
            let (router, _) = Router::build(&list, &RouterProfile::from(flavor));
            assert_eq!(
                ask(&router, request),
                expected,
                "{name}, {flavor:?}, {order}: {request}"
            );
            list.reverse();
        }
    }
}

#[test]
fn one_attribute_or_several() {
    let all = "{name: h, hosts: [a.test]}, {name: p, paths: [/p]}, {name: m, methods: [PATCH]}, \
               {name: hp, hosts: [b.test], paths: [/p]}, {name: hm, hosts: [b.test], methods: [PUT]}, \
               {name: pm, paths: [/p], methods: [PUT]}, {name: hpm, hosts: [c.test], paths: [/p], methods: [PUT]}";
    for (name, request, expected) in [
        ("[host]", "GET http://a.test/x", "h"),
        ("[host] with any port", "GET http://a.test:1234/x", "h"),
        ("[uri]", "GET http://z.test/p", "p"),
        ("[uri + empty host]", "GET http:///p", "p"),
        ("[uri] is a prefix, not a segment", "GET http://z.test/pxy", "p"),
        ("[method]", "PATCH http://z.test/x", "m"),
        ("[host + uri]", "GET http://b.test/p", "hp"),
        ("[host + method]", "PUT http://b.test/x", "hm"),
        ("[uri + method]", "PUT http://z.test/p", "pm"),
        ("[host + uri + method]", "PUT http://c.test/p", "hpm"),
        ("host and uri over uri and method", "PUT http://b.test/p", "hp"),
        ("half a match does not supersede", "GET http://c.test/p", "p"),
        ("host over uri", "GET http://a.test/p", "h"),
        ("host over method", "PATCH http://a.test/x", "h"),
        ("uri over method", "PATCH http://z.test/p", "p"),
        ("miss: host", "GET http://d.test/x", "-"),
        ("miss: method in lower case", "patch http://d.test/x", "-"),
        ("miss: uri not at the beginning", "GET http://z.test/x/p", "-"),
        ("miss: uri in another case", "GET http://z.test/P", "-"),
        ("miss: host of host + uri", "GET http://c.test/q", "-"),
    ] {
        check(name, all, request, expected);
    }
}

#[test]
fn prefixes() {
    let list = "{name: root, paths: [/]}, {name: short, paths: [/a]}, {name: long, paths: [/a/b]}, \
                {name: hosted, hosts: [x.test], paths: [/a]}, {name: two, paths: [/one, /other/deeper]}, \
                {name: put, methods: [PUT], paths: [/a]}, {name: deep, methods: [PUT], paths: [/a/b/c]}";
    for (name, request, expected) in [
        ("root catches all", "GET http://z.test/zzz", "root"),
        ("root", "GET http://z.test/", "root"),
        ("longer wins", "GET http://z.test/a/b/c", "long"),
        ("longer wins with methods", "PUT http://z.test/a/b/c", "deep"),
        ("more attributes over longer", "GET http://x.test/a/b", "hosted"),
        ("first of several paths", "GET http://z.test/one/x", "two"),
        ("second of several paths", "GET http://z.test/other/deeper", "two"),
        ("query is no path", "GET http://z.test/?/a/b", "root"),
        ("query after path", "GET http://z.test/a?x=/a/b", "short"),
    ] {
        check(name, list, request, expected);
    }
    check(
        "no slash at the end of a prefix",
        "{name: r, paths: [/a/]}",
        "GET http://z.test/a",
        "-",
    );
}

#[test]
fn regular_expressions() {
    let list = r#"{name: users, paths: ['~/users/\d+/profile'], regex_priority: 1},
                  {name: first, paths: ['~/users/(?<id>\d+)'], regex_priority: 5},
                  {name: prefix, paths: [/users/12]}, {name: hosted, hosts: [x.test], paths: ['~/users/\d+$']},
                  {name: alternatives, paths: ['~/(one|two)/x']}"#;
    for (name, request, expected) in [
        (
            "regex_priority decides",
            "GET http://z.test/users/12/profile",
            "first",
        ),
        (
            "regex beats a longer prefix",
            "GET http://z.test/users/12",
            "first",
        ),
        ("regex + host beats regex", "GET http://x.test/users/12", "hosted"),
        ("anchored at the beginning", "GET http://z.test/x/users/12", "-"),
        (
            "not anchored at the end",
            "GET http://z.test/users/12abc",
            "first",
        ),
        ("group of alternatives", "GET http://z.test/two/x", "alternatives"),
    ] {
        check(name, list, request, expected);
    }
    let bare = "{name: r, paths: ['~/a|/b']}";
    check(
        "the anchor is before the first alternative only",
        bare,
        "GET http://z.test/x/b",
        "- | r",
    );
    let tie = "{name: a, paths: ['~/x/[a-z]+']}, {name: b, paths: ['~/x/[a-c]+']}";
    check(
        "equal regexes cannot be told apart",
        tie,
        "GET http://z.test/x/abc",
        "?Ambiguous",
    );
    check("unless only one matches", tie, "GET http://z.test/x/zzz", "a");
    let low = "{name: prefix, paths: [/x], regex_priority: 100}, {name: regex, paths: ['~/x$']}";
    check(
        "a prefix has no regex_priority",
        low,
        "GET http://z.test/x",
        "regex",
    );
    let mixed = "{name: mixed, paths: [/mix, '~/re/\\d+']}, {name: longer, paths: [/mix/er]}";
    check("regex of a mixed route", mixed, "GET http://z.test/re/1", "mixed");
    check(
        "prefix of a mixed route",
        mixed,
        "GET http://z.test/mix/er",
        "longer",
    );
}

#[test]
fn what_ties_in_traditional_is_older_first_and_in_compatible_higher_id() {
    let list = "{name: older, id: 10000000-0000-4000-8000-000000000000, paths: [/t], created_at: 1}, \
                {name: newer, id: f0000000-0000-4000-8000-000000000000, paths: [/t], created_at: 2}";
    check("tie", list, "GET http://z.test/t", "older | newer");
    let unknown = "{name: older, paths: [/t], created_at: 1}, {name: newer, paths: [/t], created_at: 1}";
    check("tie without ids", unknown, "GET http://z.test/t", "?Ambiguous");
}

#[test]
fn hosts() {
    let plain = "{name: any, hosts: [a.test]}, {name: eighty, hosts: ['p.test:80']}, {name: other, hosts: ['p.test:8080']}";
    for (name, request, expected) in [
        ("matches any port", "GET http://a.test:9999/", "any"),
        ("matches its port", "GET http://p.test:8080/", "other"),
        ("fails just because of the port", "GET http://p.test:8081/", "-"),
        ("no port in the request", "GET http://p.test/", "-"),
        ("names are compared as written", "GET http://A.test/", "-"),
        (
            "a number too large for a port",
            "GET http://a.test:99999999999999999999999/",
            "any",
        ),
    ] {
        check(name, plain, request, expected);
    }
    let wild = "{name: left, hosts: ['*.a.test']}, {name: right, hosts: ['api.*']}, {name: plain, hosts: [api.a.test]}, \
                {name: path, hosts: ['*.a.test'], paths: [/p]}, {name: method, hosts: ['*.b.test'], methods: [PUT]}, \
                {name: regex, hosts: ['*.b.test'], paths: ['~/r/\\d+']}";
    for (name, request, expected) in [
        ("left wildcard", "GET http://x.a.test/", "left"),
        (
            "left wildcard takes more labels",
            "GET http://x.y.a.test/",
            "left",
        ),
        ("left wildcard needs a label", "GET http://.a.test/", "- | left"),
        ("right wildcard", "GET http://api.example/", "right"),
        ("any port", "GET http://x.a.test:8080/", "left"),
        ("not over a plain host", "GET http://api.a.test/", "plain"),
        (
            "wildcard and path over plain host",
            "GET http://api.a.test/p",
            "path",
        ),
        ("wildcard and path", "GET http://x.a.test/p", "path"),
        ("wildcard and method", "PUT http://x.b.test/", "method"),
        ("wildcard and method: miss", "GET http://x.b.test/", "-"),
        ("wildcard and regex", "GET http://x.b.test/r/1", "regex"),
        ("the whole name", "GET http://a.test/", "-"),
    ] {
        check(name, wild, request, expected);
    }
    let ports = "{name: any, hosts: ['*.a.test']}, {name: tls, hosts: ['*.a.test:443']}, {name: special, hosts: ['*.a.test:81']}";
    check(
        "wildcard with port",
        ports,
        "GET http://x.a.test:81/",
        "special | ?Ambiguous",
    );
    check(
        "default port of https",
        ports,
        "GET https://x.a.test/",
        "tls | any",
    );
    check("another port", ports, "GET http://x.a.test:82/", "any");
    let ipv6 = "{name: six, hosts: ['::1']}, {name: brackets, hosts: ['[::1]:8000']}";
    check("IPv6 in brackets", ipv6, "GET http://[::1]/", "six | -");
    check("IPv6 with its port", ipv6, "GET http://[::1]:8000/", "brackets");
    let ported = "{name: any, hosts: [a.test]}, {name: ported, hosts: ['a.test:8080']}, {name: other, hosts: ['b.test:8080']}";
    check(
        "prefers its port",
        ported,
        "GET http://a.test:8080/",
        "ported | ?Ambiguous",
    );
    check("falls back to any port", ported, "GET http://a.test:8081/", "any");
    check(
        "listener's port",
        "{name: r, hosts: ['a.test:8000']}",
        "GET http://a.test/",
        "- | r",
    );
}

#[test]
fn headers() {
    let list = "{name: one, headers: {x-v: ['1', Two]}}, {name: both, headers: {X-V: ['1'], x-w: [z]}}, \
                {name: path, headers: {x-v: ['1']}, paths: [/p]}, {name: longer, paths: [/p/longer]}, \
                {name: regex, headers: {x-agent: ['~*^Mozilla/\\\\d']}}, \
                {name: host, hosts: [a.test], headers: {x-v: ['1']}, paths: [/p], methods: [PUT]}";
    for (name, request, expected) in [
        ("single value", "GET http://z.test/ X-V: 1", "one"),
        (
            "one of several values, any case",
            "GET http://z.test/ x-v: TWO",
            "one",
        ),
        ("names in any case", "GET http://z.test/ x-V: 1", "one"),
        (
            "repeated header: any of them",
            "GET http://z.test/ x-v: 9; x-v: two",
            "one",
        ),
        ("more headers first", "GET http://z.test/ x-v: 1; x-w: z", "both"),
        (
            "headers + uri over longer uri",
            "GET http://z.test/p/longer x-v: 1",
            "path",
        ),
        ("uri alone", "GET http://z.test/p/longer x-v: 9", "longer"),
        (
            "host + headers + uri + method",
            "PUT http://a.test/p x-v: 1",
            "host",
        ),
        ("miss: value", "GET http://z.test/ x-v: 3", "-"),
        ("miss: part of a value", "GET http://z.test/ x-v: 11", "-"),
        ("miss: absent", "GET http://z.test/", "-"),
        ("miss: one of two", "GET http://z.test/ x-w: z", "-"),
    ] {
        check(name, list, request, expected);
    }
    let list = "{name: agent, headers: {x-agent: ['~*^mozilla/[0-9]']}}";
    check(
        "regex, value lower-cased",
        list,
        "GET http://z.test/ X-Agent: Mozilla/5.0",
        "agent",
    );
    check("regex: miss", list, "GET http://z.test/ X-Agent: curl", "-");
    let list = "{name: agent, headers: {x-agent: ['~*^Moz']}}";
    check(
        "regex in capitals",
        list,
        "GET http://z.test/ X-Agent: Mozilla",
        "- | agent",
    );
}

#[test]
fn paths_are_normalised() {
    let list = "{name: plain, paths: [/plain/a b]}, {name: regex, paths: ['~/re/a b']}, {name: slash, paths: [/a%2Fb]}";
    for (name, request, expected) in [
        ("decoded", "GET http://z.test/plain/a%20b", "plain"),
        ("dots", "GET http://z.test/x/../plain/./a%20b/c", "plain"),
        ("slashes", "GET http://z.test//plain//a%20b", "plain"),
        ("regex", "GET http://z.test/re/%61%20b", "regex"),
        ("reserved bytes stay", "GET http://z.test/a%2fb", "slash"),
        ("reserved bytes are not decoded", "GET http://z.test/a/b", "-"),
    ] {
        check(name, list, request, expected);
    }
    let old = RouterProfile::of(KongVersion::parse("2.3.1"), None);
    let (router, _) = Router::build(&routes("{name: r, paths: [/a]}"), &old);
    assert_eq!(
        ask(&router, "GET http://z.test//a"),
        "-",
        "2.3.1 did not normalise"
    );
    assert_eq!(ask(&router, "GET http://z.test/a/../b"), "r");
}

#[test]
fn what_is_not_evaluated_is_never_guessed() {
    let sni = "{name: sni, paths: [/p], snis: [a.test]}, {name: path, paths: [/p]}, {name: more, paths: [/p], methods: [PUT], hosts: [h.test]}";
    for (name, request, expected) in [
        (
            "a server name could outrank",
            "GET https://z.test/p",
            "?Unsupported",
        ),
        ("plain requests have none", "GET http://z.test/p", "sni"),
        ("it cannot outrank what has more", "PUT https://h.test/p", "more"),
        (
            "nor what it does not match otherwise",
            "GET https://z.test/q",
            "-",
        ),
    ] {
        let expected = if name == "plain requests have none" {
            "path | sni"
        } else {
            expected
        };
        check(name, sni, request, expected);
    }
    let look = "{name: look, paths: ['~/a(?!b)']}, {name: prefix, paths: [/a]}, {name: host, hosts: [h.test], paths: [/a]}";
    // The expression flavours leave the route out, as their engine has no look-around in Kong either.
    check(
        "look-around could match",
        look,
        "GET http://z.test/ac",
        "?Unsupported | prefix",
    );
    check(
        "look-around could be anything's",
        look,
        "GET http://z.test/zzz",
        "?Unsupported | -",
    );
    check("but not outrank", look, "GET http://h.test/ac", "host");
    let sources =
        "{name: s, paths: [/a], sources: [{ip: 127.0.0.1}]}, {name: a, paths: [/a]}, {name: b, paths: [/b]}";
    // In HTTP the traditional router is given no addresses, so such a route never matches.
    check("addresses", sources, "GET http://z.test/a", "a | ?Unsupported");
    check("addresses elsewhere", sources, "GET http://z.test/b", "b");
    let expression = "{name: e, expression: 'http.path == \"/e\"'}, {name: a, paths: [/a]}";
    check(
        "traditional cannot be built with an expression alone",
        expression,
        "GET http://z.test/a",
        "?Unsupported | a",
    );
    for (flavor, expected) in [
        (
            RouterFlavor::Traditional,
            "route look has a regular expression in `paths` that is not evaluated (look-around, including look-ahead and \
             look-behind, is not supported): requests that it may take have no known route",
        ),
        (
            RouterFlavor::TraditionalCompatible,
            "route look cannot be an expression, and the gateway leaves it out too: look-around, including look-ahead and \
             look-behind, is not supported",
        ),
    ] {
        let (_, warnings) = Router::build(&routes(look), &RouterProfile::from(flavor));
        let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, [expected], "{flavor:?}");
    }
}

#[test]
fn left_out_as_the_gateway_does() {
    let stream = "{name: tcp, protocols: [tcp], snis: [a.test]}, {name: p, paths: [/]}";
    check("stream routes", stream, "GET https://a.test/", "p");
    check(
        "https only, asked in plain",
        "{name: s, protocols: [https], paths: [/s]}",
        "GET http://z.test/s",
        "s",
    );
    check(
        "routes without anything to match",
        "{name: none}, {name: p, paths: [/p]}",
        "GET http://z.test/",
        "-",
    );
    check("no routes at all", "", "GET http://z.test/", "-");
    check(
        "absolute form",
        "{name: p, paths: [/p]}",
        "GET http://z.test/p",
        "p",
    );
}

#[test]
fn absolute_form_targets_have_their_path_taken() {
    let (router, _) = Router::build(&routes("{name: p, paths: [/p]}"), &RouterProfile::default());
    for (target, expected) in [
        ("http://z.test/p?x=/", true),
        ("http://z.test", false),
        ("/x?http://z/p", false),
        ("*", false),
    ] {
        let matches = with_facts("GET http://z.test/", |facts| {
            let facts = RequestFacts {
                target: target.as_bytes(),
                ..*facts
            };
            matches!(router.route(&facts), RouteMatch::Matched(_))
        });
        assert_eq!(matches, expected, "{target}");
    }
}

#[test]
fn traditional_reduces_to_the_entries_of_the_best_hit() {
    // Both match in one category; the header first in the order of all routes picks the entries that are looked at first.
    let list = "{name: top, headers: {x-b: ['2'], x-c: ['3']}, paths: [/top]}, {name: a, headers: {x-a: ['1']}, paths: [/p/long]}, \
                {name: b, headers: {x-b: ['2']}, paths: [/p]}";
    check(
        "reduced",
        list,
        "GET http://z.test/p/long x-a: 1; x-b: 2",
        "b | a",
    );
}

#[test]
fn profiles_follow_version_and_flavor() {
    for (version, flavor, expected) in [
        (
            Some("3.9.1"),
            Some("traditional_compatible"),
            RouterFlavor::TraditionalCompatible,
        ),
        (Some("3.9.1"), Some("expressions"), RouterFlavor::Expressions),
        (
            Some("3.4.0.0-enterprise-edition"),
            None,
            RouterFlavor::TraditionalCompatible,
        ),
        (Some("2.8.1"), None, RouterFlavor::Traditional),
        (Some("0.13.1rc1"), None, RouterFlavor::Traditional),
        (Some("junk"), None, RouterFlavor::TraditionalCompatible),
        (None, None, RouterFlavor::TraditionalCompatible),
    ] {
        let profile = RouterProfile::of(version.and_then(KongVersion::parse), flavor);
        assert_eq!(profile.flavor, expected, "{version:?} {flavor:?}");
    }
}

/// `/`, `/a`, `/ab`, …
fn prefix(depth: usize) -> &'static str {
    "/abcdef".get(..=depth).expect("short enough")
}

/// The index and the categories against looking at every entry: a plain list of prefixes with hosts and methods.
fn obvious(
    routes: &[(usize, usize, usize)],
    host: usize,
    path: &str,
    method: usize,
) -> Option<(usize, usize)> {
    let matching = routes.iter().filter(|(h, p, m)| {
        (*h == 0 || *h == host) && path.starts_with(prefix(*p)) && (*m == 0 || *m == method)
    });
    let rank = |(h, p, m): &(usize, usize, usize)| {
        let kinds = 1 + usize::from(*h > 0) + usize::from(*m > 0);
        (kinds, usize::from(*h > 0), *p)
    };
    matching
        .map(|route| (rank(route), route))
        .max()
        .map(|(_, route)| (route.0, route.1))
}

proptest! {
    #[test]
    fn indices_find_what_a_plain_search_finds(
        list in proptest::collection::btree_set((0usize..4, 0usize..6, 0usize..3), 0..20),
        host in 1usize..5, depth in 0usize..7, method in 1usize..4,
    ) {
        let list: Vec<_> = list.into_iter().collect();
        let text = list.iter().map(|(h, p, m)| {
            let hosts = if *h > 0 { format!("hosts: [h{h}.test], ") } else { String::new() };
            let methods = if *m > 0 { format!("methods: [M{m}], ") } else { String::new() };
            format!("{{name: r{h}{p}, id: id-{h}{p}{m}, {hosts}{methods}paths: ['{}']}}", prefix(*p))
        });
        // Names repeat on purpose (methods do not show in them), so they are made unique here.
        let text: Vec<_> = text.enumerate().map(|(n, r)| r.replacen("name: r", &format!("name: n{n}r"), 1)).collect();
        let routes = routes(&text.join(", "));
        let path = prefix(depth);
        let expected = obvious(&list, host, path, method).map_or_else(|| "-".to_owned(), |(h, p)| format!("r{h}{p}"));
        for flavor in [RouterFlavor::Traditional, RouterFlavor::TraditionalCompatible] {
            let (router, _) = Router::build(&routes, &RouterProfile::from(flavor));
            let got = ask(&router, &format!("M{method} http://h{host}.test{path}"));
            let got = got.split_once('r').map_or_else(|| got.clone(), |(_, rest)| format!("r{rest}"));
            prop_assert_eq!(&got, &expected, "{:?} {:?}", flavor, text);
        }
    }

    #[test]
    fn random_routes_and_requests_never_panic(
        paths in proptest::collection::vec("[~/a-z.*+()?\\\\|%0-9:]{0,12}", 0..4),
        hosts in proptest::collection::vec("[a-z.*:\\[\\]0-9]{0,10}", 0..4),
        target in proptest::collection::vec(any::<u8>(), 0..40),
        host in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
        priority in any::<i64>(), tls in any::<bool>(),
    ) {
        let mut route = (*routes("{name: r, paths: [/]}")[0]).clone();
        route.paths = paths;
        route.hosts = hosts;
        route.regex_priority = priority;
        for flavor in [RouterFlavor::Traditional, RouterFlavor::Expressions] {
            let (router, _) = Router::build(&[Arc::new(route.clone())], &RouterProfile::from(flavor));
            with_facts("GET http://z.test/", |facts| {
                drop(router.route(&RequestFacts { tls, target: &target, host: host.as_deref(), ..*facts }));
            });
        }
    }
}
