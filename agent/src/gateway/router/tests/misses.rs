//! The misses of Kong's own router tests, and its cases of prefixes and wildcards with other attributes; each for every flavour.

use super::check;

#[test]
fn misses() {
    for (name, list, request) in [
        ("host", "{name: r, hosts: [a.test]}", "GET http://b.test/"),
        (
            "host in [host + uri]",
            "{name: r, hosts: [a.test], paths: [/p]}",
            "GET http://b.test/p",
        ),
        (
            "host in [host + method]",
            "{name: r, hosts: [a.test], methods: [GET]}",
            "GET http://b.test/",
        ),
        ("method", "{name: r, methods: [PUT]}", "GET http://a.test/"),
        (
            "method in [host + uri + method]",
            "{name: r, hosts: [a.test], methods: [PUT], paths: [/p]}",
            "GET http://a.test/p",
        ),
        ("uri", "{name: r, paths: [/p]}", "GET http://a.test/q"),
        (
            "uri not at the beginning",
            "{name: r, paths: [/p]}",
            "GET http://a.test/x/p",
        ),
        (
            "uri in [host + uri]",
            "{name: r, hosts: [a.test], paths: [/p]}",
            "GET http://a.test/q",
        ),
        (
            "headers: none",
            "{name: r, headers: {x-v: ['1']}}",
            "GET http://a.test/",
        ),
        (
            "headers: another value",
            "{name: r, headers: {x-v: ['1']}}",
            "GET http://a.test/ x-v: 2",
        ),
        (
            "headers: another name",
            "{name: r, headers: {x-v: ['1']}}",
            "GET http://a.test/ x-w: 1",
        ),
        (
            "headers in [headers + uri]",
            "{name: r, headers: {x-v: ['1']}, paths: [/p]}",
            "GET http://a.test/p x-v: 2",
        ),
        (
            "uri in [headers + uri]",
            "{name: r, headers: {x-v: ['1']}, paths: [/p]}",
            "GET http://a.test/q x-v: 1",
        ),
        (
            "headers in [headers + uri + method]",
            "{name: r, headers: {x-v: ['1']}, paths: [/p], methods: [GET]}",
            "GET http://a.test/p",
        ),
        (
            "headers in all",
            "{name: r, headers: {x-v: ['1']}, paths: [/p], methods: [GET], hosts: [a.test]}",
            "GET http://a.test/p x-v: 2",
        ),
    ] {
        check(name, list, request, "-");
    }
}

#[test]
fn prefixes_and_wildcards_with_the_rest() {
    let hosts = "{name: short, hosts: [a.test], paths: [/p]}, {name: long, hosts: [a.test], paths: [/p/q]}, \
                 {name: other, hosts: [b.test], paths: [/p/q/r]}";
    let methods = "{name: short, methods: [GET], paths: [/p]}, {name: long, methods: [GET], paths: [/p/q]}";
    let wild = "{name: all, hosts: ['*.a.test'], paths: [/p], methods: [GET]}, \
                {name: left, hosts: ['*.a.test'], paths: [/p]}, {name: right, hosts: ['b.*'], paths: [/p]}, \
                {name: regex, hosts: ['*.a.test'], paths: ['~/r/[0-9]+']}";
    let regex =
        "{name: regex, paths: ['~/p/[0-9]+']}, {name: prefix, paths: [/p]}, {name: longer, paths: [/p/12/x]}";
    for (name, list, request, expected) in [
        (
            "longer uri wins, with hosts",
            hosts,
            "GET http://a.test/p/q",
            "long",
        ),
        (
            "the shorter one where it does not match",
            hosts,
            "GET http://a.test/p/x",
            "short",
        ),
        (
            "a better match is another host's",
            hosts,
            "GET http://a.test/p/q/r",
            "long",
        ),
        ("and that host's own", hosts, "GET http://b.test/p/q/r", "other"),
        (
            "longer uri wins, with methods",
            methods,
            "GET http://a.test/p/q",
            "long",
        ),
        ("a prefix is anchored", methods, "GET http://a.test/x/p", "-"),
        ("wildcard + uri + method", wild, "GET http://x.a.test/p", "all"),
        ("wildcard + uri", wild, "PUT http://x.a.test/p", "left"),
        ("right wildcard + uri", wild, "PUT http://b.test/p", "right"),
        ("wildcard + uri: miss", wild, "PUT http://x.a.test/q", "-"),
        ("wildcard + regex", wild, "PUT http://x.a.test/r/1", "regex"),
        ("wildcard + regex: miss", wild, "PUT http://x.a.test/r/x", "-"),
        ("a regex matches", regex, "GET http://a.test/p/12", "regex"),
        (
            "a regex beats a prefix",
            regex,
            "GET http://a.test/p/12/x",
            "regex",
        ),
        (
            "where it does not match the prefix is left",
            regex,
            "GET http://a.test/p/x",
            "prefix",
        ),
    ] {
        check(name, list, request, expected);
    }
}
