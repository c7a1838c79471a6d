//! The two engines against each other: routes that both can express, requests that they must decide alike.
//!
//! Kong's own flavours differ in what [`differences`] shows, and there the generator stays away: all routes of a case take
//! their kinds of attributes from one chain, and hosts are either plain or one wildcard. `proptest` prints the seed of a failure.

use proptest::prelude::*;

use super::{ask, check, gateway, routes};
use crate::gateway::router::Router;

const PATHS: [&str; 6] = ["/", "/p", "/p/q", "/p/q/r", "/x", "~/p/[a-z]$"];
const METHODS: [&str; 2] = ["GET", "PUT"];

/// One value for each kind of attribute, and how many kinds are used.
type Shape = (usize, usize, usize, u8, usize);

/// A route that uses the first `depth` kinds of `order`.
fn written(number: usize, shape: &Shape, order: &[usize], has_wildcard: bool) -> String {
    let (host, path, method, header, depth) = *shape;
    let mut fields = format!("name: r{number}, created_at: {number}");
    for kind in order.iter().take(depth) {
        fields.push_str(&match kind {
            0 if has_wildcard => ", hosts: ['*.test']".to_owned(),
            0 => format!(", hosts: [{}.test]", ["a", "b"][host]),
            1 => format!(", paths: ['{}']", PATHS[path]),
            2 => format!(", methods: [{}]", METHODS[method]),
            _ => format!(", headers: {{x-v: ['{header}']}}"),
        });
    }
    format!("{{{fields}}}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn both_engines_find_the_same_route(
        order in Just(vec![0usize, 1, 2, 3]).prop_shuffle(),
        has_wildcard in any::<bool>(),
        shapes in proptest::collection::vec((0usize..2, 0usize..6, 0usize..2, 0u8..2, 1usize..5), 1..20),
        requests in proptest::collection::vec((0usize..3, 0usize..5, 0usize..3, proptest::option::of(0u8..3)), 1..12),
    ) {
        let written = |(number, shape)| written(number, shape, &order, has_wildcard);
        let mut list: Vec<String> = shapes.iter().enumerate().map(written).collect();
        // The same attributes twice would be a tie, which age decides in one engine and the id in the other.
        let attributes = |route: &String| route.split_once("created_at").map(|(_, rest)| rest.split_once(',').map(|it| it.1.to_owned()));
        let mut seen = std::collections::HashSet::new();
        list.retain(|route| seen.insert(attributes(route)));
        let list = routes(&list.join(", "));
        let routers = ["traditional", "traditional_compatible", "expressions"]
            .map(|flavor| Router::build(&list, &gateway("3.9.1", flavor)).0);
        for (host, path, method, header) in requests {
            let host = ["a.test", "b.test", "c.test"][host];
            let path = ["/", "/p/q", "/p/q/r/s", "/x/y", "/p"][path];
            let method = ["GET", "PUT", "POST"][method];
            let header = header.map_or_else(String::new, |value| format!(" X-V: {value}"));
            let request = format!("{method} http://{host}{path}{header}");
            let [traditional, compatible, expressions] = routers.each_ref().map(|router| ask(router, &request));
            prop_assert_eq!(&traditional, &compatible, "{} of {:?}", &request, &list);
            prop_assert_eq!(&compatible, &expressions, "{}", &request);
            prop_assert!(!traditional.starts_with('?'), "{} is {}", &request, traditional);
        }
    }
}

/// Every way in which Kong's flavours decide differently what both can express: traditional, then the expression flavours.
#[test]
fn differences() {
    let ids = "id: 10000000-0000-4000-8000-000000000000, created_at: 1";
    let later = "id: f0000000-0000-4000-8000-000000000000, created_at: 2";
    for (name, list, request, expected) in [
        (
            "ties: the older, the higher id",
            format!("{{name: old, {ids}, paths: [/t]}}, {{name: high, {later}, paths: [/t]}}"),
            "GET http://z.test/t",
            "old | high",
        ),
        (
            "as many kinds: hosts, headers, paths, methods in this order; plain hosts, headers, regex, length, and no more",
            format!("{{name: wild, {ids}, hosts: ['*.test']}}, {{name: path, {later}, paths: [/]}}"),
            "GET http://z.test/",
            "wild | path",
        ),
        (
            "a request is reduced to the entries of its longest prefix; priorities alone",
            "{name: plain, hosts: [a.test], paths: [/p]}, {name: noise, hosts: [a.test], paths: [/x]}, \
             {name: wild, hosts: ['*.test'], paths: [/p/q]}"
                .to_owned(),
            "GET http://a.test/p/q",
            "wild | plain",
        ),
        (
            "wildcard hosts with a port go first; a port ranks nothing",
            format!("{{name: port, {ids}, hosts: ['*.test:81']}}, {{name: any, {later}, hosts: ['*.test']}}"),
            "GET http://z.test:81/",
            "port | any",
        ),
        (
            "no port in Host: the scheme's default, the listener's",
            "{name: eighty, hosts: ['*.test:80']}, {name: listener, hosts: ['*.test:8000']}".to_owned(),
            "GET http://z.test/",
            "eighty | listener",
        ),
        (
            "a wildcard stands for something; perhaps for nothing",
            "{name: r, hosts: ['*.test']}".to_owned(),
            "GET http://.test/",
            "- | r",
        ),
        (
            "all alternatives of a path are anchored; the first",
            "{name: r, paths: ['~/a|/b']}".to_owned(),
            "GET http://z.test/x/b",
            "- | r",
        ),
        (
            "server names in plain http: passed over where something else is hit; a kind like any other",
            "{name: path, paths: [/p]}, {name: sni, paths: [/p], snis: [a.test]}".to_owned(),
            "GET http://z.test/p",
            "path | sni",
        ),
        (
            "a regular expression for a header is taken as written; in lower case",
            "{name: r, headers: {x-v: ['~*^A']}}".to_owned(),
            "GET http://z.test/ x-v: abc",
            "- | r",
        ),
        (
            "brackets of IPv6 are taken off; they stay",
            "{name: r, hosts: ['::1']}".to_owned(),
            "GET http://[::1]/",
            "r | -",
        ),
    ] {
        check(name, &list, request, expected);
    }
}
