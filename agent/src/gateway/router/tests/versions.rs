//! What older gateways decide differently.

use std::sync::Arc;

use super::{ask, gateway, routes};
use crate::gateway::entities::{Api, Route};
use crate::gateway::router::Router;

/// Version and what it answers, for each change.
fn check(name: &str, list: &str, request: &str, expected: &[(&str, &str)]) {
    for (version, expected) in expected {
        let mut list = routes(list);
        for order in ["as written", "reversed"] {
            let (router, _) = Router::build(&list, &gateway(version, "traditional"));
            assert_eq!(ask(&router, request), *expected, "{name}, {version}, {order}");
            list.reverse();
        }
    }
}

#[test]
fn each_change_shows() {
    check(
        "ports are ignored before 2.0",
        "{name: r, hosts: [a.test]}, {name: w, hosts: ['*.b.test']}",
        "GET http://x.b.test:81/",
        &[("0.13.1", "w"), ("1.5.1", "w"), ("2.0.0", "w")],
    );
    check(
        "a host with a port is nobody's before 2.0",
        "{name: r, hosts: ['a.test:81']}",
        "GET http://a.test:81/",
        &[("0.13.1", "-"), ("1.5.1", "-"), ("2.0.0", "r")],
    );
    check(
        "methods in any case in 0.13",
        "{name: r, methods: [PUT]}",
        "put http://a.test/",
        &[("0.13.1", "r"), ("1.0.0", "-"), ("3.9.1", "-")],
    );
    check(
        "an equal prefix before a regular expression",
        "{name: exact, paths: [/p/1], created_at: 1}, {name: regex, paths: ['~/p/[0-9]'], created_at: 2}",
        "GET http://a.test/p/1",
        &[
            ("0.13.1", "exact"),
            ("1.2.0", "exact"),
            ("1.5.0", "regex"),
            ("3.9.1", "regex"),
        ],
    );
    check(
        "server names in plain http",
        "{name: r, snis: [a.test], paths: [/p]}, {name: other, paths: [/q], snis: [b.test], methods: [GET]}, {name: m, methods: [GET]}",
        "GET http://a.test/p",
        &[("2.2.0", "m"), ("2.2.1", "r")],
    );
    check(
        "regex_priority of prefixes before 2.6",
        "{name: high, paths: [/p], regex_priority: 9}, {name: long, paths: [/p/long], hosts: [b.test], regex_priority: 0}, \
         {name: low, paths: [/p], regex_priority: 1}",
        "GET http://a.test/p",
        &[("2.5.2", "high"), ("2.6.0", "?Ambiguous")],
    );
    check(
        "regular expressions in headers from 2.8",
        "{name: r, headers: {x-v: ['~*^a']}}",
        "GET http://a.test/ x-v: abc",
        &[("2.7.2", "-"), ("2.8.0", "r")],
    );
    check(
        "requests are normalised from 2.3.2",
        "{name: r, paths: [/a]}",
        "GET http://a.test//a",
        &[("2.3.1", "-"), ("2.3.2", "r")],
    );
    check(
        "the header that reduces first, from 2.4",
        "{name: a, headers: {x-a: ['1']}, paths: [/p], created_at: 1}, {name: b, headers: {x-a: ['1']}, paths: [/p/long], created_at: 2}",
        "GET http://a.test/p/long x-a: 1",
        &[("2.3.3", "b"), ("2.4.0", "b"), ("3.9.1", "b")],
    );
    check(
        "age alone before 1.3, where nothing reduces",
        "{name: old, hosts: [a.test], methods: [GET, PUT], created_at: 1, regex_priority: 0}, \
         {name: new, hosts: [a.test], methods: [GET], created_at: 2, regex_priority: 5}",
        "GET http://a.test/",
        &[
            ("0.13.1", "new"),
            ("1.2.0", "new"),
            ("2.5.0", "new"),
            ("2.6.0", "old"),
        ],
    );
}

#[test]
fn where_a_lua_table_decides_the_route_is_not_known() {
    // Before 1.3 the smallest list reduces, and which of two equally small ones is up to the order of a table.
    let list = "{name: short, paths: [/p], methods: [GET], created_at: 1}, {name: long, paths: [/p/long], methods: [PUT, GET], created_at: 2}, \
                {name: noise, paths: [/p/long], methods: [PUT], created_at: 3}";
    check(
        "table order",
        list,
        "GET http://a.test/p/long",
        &[("0.13.1", "?Ambiguous"), ("1.3.0", "long")],
    );
}

/// The attributes of an API.
fn api(name: &str, hosts: &[&str], uris: &[&str], created_at: i64) -> Arc<Route> {
    Arc::new(Route {
        id: Arc::from(name),
        name: Some(Arc::from(name)),
        hosts: hosts.iter().map(ToString::to_string).collect(),
        paths: uris.iter().map(ToString::to_string).collect(),
        created_at: Some(created_at),
        api: Some(Api::default()),
        ..Route::default()
    })
}

#[test]
fn apis_are_asked_when_no_route_matches() {
    let mut list = routes("{name: route, paths: [/a]}");
    list.push(api("more", &["a.test"], &["/a"], 1));
    list.push(api("deep", &[], &["/b/deep"], 2));
    list.push(api("wide", &[], &["/b"], 3));
    list.push(api("regex", &[], &["~/u/\\d+"], 4));
    let (router, warnings) = Router::build(&list, &gateway("0.13.1", "traditional"));
    assert_eq!(warnings, []);
    for (request, expected) in [
        ("GET http://a.test/a", "route"),
        ("GET http://a.test:8000/b", "wide"),
        ("GET http://z.test/b/deep/er", "deep"),
        ("GET http://z.test/u/12", "regex"),
        ("GET http://z.test/nothing", "-"),
    ] {
        assert_eq!(ask(&router, request), expected, "{request}");
    }
}
