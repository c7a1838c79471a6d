//! That the indices spare work: how many of 1,000 routes a match looks at does not show here, but that it takes no longer for them
//! does, within wide bounds. Figures are in docs/compatibility.md.

use std::fmt::Write as _;

use super::{ask, gateway, routes};
use crate::gateway::router::Router;

/// 1,000 routes: 500 of hosts and prefixes, 400 of prefixes, 100 of headers and methods.
fn many() -> String {
    let mut list = String::new();
    for number in 0..1_000 {
        let fields = match number % 10 {
            0..5 => format!("hosts: [h{}.test], paths: [/s{number}]", number % 50),
            5..9 => format!("paths: [/s{number}]"),
            _ => format!("methods: [PUT], headers: {{x-v: ['{number}']}}"),
        };
        write!(list, "{{name: r{number}, {fields}}}, ").expect("memory");
    }
    list
}

#[test]
fn a_thousand_routes() {
    let list = routes(&many());
    for flavor in ["traditional", "traditional_compatible", "expressions"] {
        let (router, warnings) = Router::build(&list, &gateway("3.9.1", flavor));
        assert_eq!(warnings, [], "{flavor}");
        for (request, expected) in [
            ("GET http://h1.test/s501/x", "r501"),
            ("GET http://z.test/s508/x", "r508"),
            ("PUT http://z.test/x x-v: 999", "r999"),
            ("GET http://z.test/nothing", "-"),
        ] {
            let started = crate::clock::unix_ns();
            for _ in 0..20 {
                assert_eq!(ask(&router, request), expected, "{flavor}: {request}");
            }
            let took = crate::clock::unix_ns().saturating_sub(started) / 20;
            assert!(took < 20_000_000, "{flavor}: {request} takes {took} ns");
        }
    }
}
