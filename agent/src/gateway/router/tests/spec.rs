//! The cases of Kong's router spec that `tests.rs` has not, under their names there; each for every flavour.

use super::{RouterFlavor, check, gateway, routes};
use crate::gateway::router::tests::ask;
use crate::gateway::router::{Router, RouterProfile};

/// Name, routes, request, expected.
type Case = (&'static str, &'static str, &'static str, &'static str);

fn check_each(cases: &[Case]) {
    for (name, list, request, expected) in cases {
        check(name, list, request, expected);
    }
}

#[test]
fn hosts_and_ports() {
    let six = "{name: plain, hosts: ['::1']}, {name: other, hosts: ['[::2]:81']}, {name: any, hosts: ['::2']}, \
               {name: alone, hosts: ['[::3]:81']}";
    check_each(&[
        (
            "split_port: splits port number",
            "{name: r, hosts: ['a.test:81']}",
            "GET http://a.test:81/",
            "r",
        ),
        (
            "[host] ignores default port",
            "{name: r, hosts: [a.test]}",
            "GET http://a.test:80/",
            "r",
        ),
        (
            "[host] matches specific port",
            "{name: r, hosts: ['a.test:81']}",
            "GET http://a.test:81/",
            "r",
        ),
        (
            "[host] on port-only route",
            "{name: r, hosts: ['a.test:81']}",
            "GET http://a.test:82/",
            "-",
        ),
        ("IPv6 literal, brackets", six, "GET http://[::1]/", "plain | -"),
        (
            "IPv6 literal, explicit port",
            six,
            "GET http://[::1]:8000/",
            "plain | -",
        ),
        (
            "IPv6 literal, port-specific",
            six,
            "GET http://[::2]:81/",
            "other",
        ),
        (
            "IPv6 literal, any-port fallback",
            six,
            "GET http://[::2]:82/",
            "any | -",
        ),
        ("IPv6 literal, no any-port", six, "GET http://[::3]:82/", "-"),
    ]);
    let wild = "{name: any, hosts: ['*.a.test']}, {name: eighty, hosts: ['*.a.test:80']}, {name: tls, hosts: ['*.a.test:443']}";
    check_each(&[
        ("wildcard: any port", wild, "GET http://x.a.test:9999/", "any"),
        // The expression flavours compare with the listener's port and rank ports not at all.
        (
            "wildcard: prefers port-specific for http default port",
            wild,
            "GET http://x.a.test/",
            "eighty | any",
        ),
        (
            "wildcard: prefers port-specific for https default port",
            wild,
            "GET https://x.a.test/",
            "tls | any",
        ),
    ]);
    let weights = "{name: both, hosts: ['*.a.test', b.test], paths: [/p]}, {name: plain, hosts: [x.a.test], paths: [/p]}, \
                   {name: regex, hosts: ['*.a.test'], paths: ['~/p']}, {name: path, paths: [/p/longer]}";
    check_each(&[
        (
            "wildcard: submatch weight, plain hosts only",
            weights,
            "GET http://x.a.test/p",
            "plain",
        ),
        (
            "wildcard + regex over wildcard + prefix",
            weights,
            "GET http://y.a.test/p",
            "regex",
        ),
        (
            "wildcard: the plain host of a mixed route",
            weights,
            "GET http://b.test/p",
            "both",
        ),
        (
            "wildcard: half a match",
            weights,
            "GET http://z.test/p/longer",
            "path",
        ),
    ]);
}

#[test]
fn server_names() {
    // `snis` with a wildcard are of the expression flavours; the traditional one takes them literally.
    let list = "{name: left, snis: ['*.a.test'], paths: [/]}, {name: right, snis: ['b.*'], paths: [/]}, \
                {name: plain, snis: [c.test.], paths: [/]}, {name: none, paths: [/]}";
    check_each(&[
        (
            "wildcard SNI: left",
            list,
            "GET https://h.test/ @sni: x.a.test",
            "none | left",
        ),
        (
            "wildcard SNI: right",
            list,
            "GET https://h.test/ @sni: b.example",
            "none | right",
        ),
        (
            "wildcard SNI: none",
            list,
            "GET https://h.test/ @sni: z.test",
            "none",
        ),
        (
            "SNI: last dot of a full name",
            list,
            "GET https://h.test/ @sni: c.test",
            "plain",
        ),
        ("SNI: not sent", list, "GET https://h.test/ @sni: -", "none"),
        ("SNI: not seen", list, "GET https://h.test/", "?Unsupported"),
    ]);
    let one = "{name: sni, snis: [a.test], paths: [/p]}, {name: path, paths: [/p]}";
    check_each(&[
        ("SNI + uri", one, "GET https://h.test/p @sni: a.test", "sni"),
        (
            "SNI + uri: other name",
            one,
            "GET https://h.test/p @sni: b.test",
            "path",
        ),
        // The traditional search begins at the category of what the request hits: below server names.
        (
            "SNI is not considered in plain http",
            one,
            "GET http://h.test/p",
            "path | sni",
        ),
    ]);
}

#[test]
fn headers_and_fields() {
    let more = "{name: two, headers: {x-a: ['1'], x-b: ['2']}, paths: [/p]}, {name: one, headers: {x-a: ['1']}, paths: [/p/longer]}";
    check_each(&[
        (
            "serviceless",
            "{name: r, paths: [/p]}",
            "GET http://z.test/p",
            "r",
        ),
        (
            "more headers over longer paths",
            more,
            "GET http://z.test/p/longer x-a: 1; x-b: 2",
            "two",
        ),
        (
            "[headers + uri + method]: miss",
            more,
            "GET http://z.test/p x-a: 9; x-b: 2",
            "-",
        ),
        (
            "empty fields",
            "{name: r, methods: [], headers: {}, snis: [], hosts: [], paths: [/p]}",
            "GET http://z.test/p",
            "r",
        ),
        (
            "an empty list of hosts ranks as plain hosts",
            "{name: list, hosts: [], paths: [/p], methods: [GET]}, {name: none, paths: [/p], methods: [GET]}",
            "GET http://z.test/p",
            "list",
        ),
        (
            "conflicting values: each alternative with all of the rest",
            "{name: r, hosts: [a.test, b.test], paths: [/a, /b], methods: [GET, PUT]}",
            "PUT http://b.test/a",
            "r",
        ),
        (
            "names with underscores",
            "{name: r, headers: {x_v: ['1']}}",
            "GET http://z.test/ X-V: 1",
            "r",
        ),
        (
            "raw strings: quotes",
            r##"{name: r, paths: ['/a"#b']}"##,
            r##"GET http://z.test/a%22%23b"##,
            "-",
        ),
        (
            "raw strings: backslashes",
            r"{name: r, paths: ['~/a\.b\\c']}",
            r"GET http://z.test/a.b\c",
            "r",
        ),
        (
            "raw strings: backslashes, miss",
            r"{name: r, paths: ['~/a\.b']}",
            "GET http://z.test/axb",
            "-",
        ),
        (
            "half-matches do not supersede",
            "{name: m, methods: [PUT], paths: [/p]}, {name: h, hosts: [a.test]}",
            "GET http://a.test/p",
            "h",
        ),
        (
            "method does not supersede prefix",
            "{name: m, methods: [GET]}, {name: p, paths: [/p]}",
            "GET http://a.test/p",
            "p",
        ),
        (
            "method does not supersede wildcard",
            "{name: m, methods: [GET]}, {name: w, hosts: ['*.test']}",
            "GET http://a.test/",
            "w | ?Ambiguous",
        ),
        (
            "root `/` does not supersede",
            "{name: root, paths: [/]}, {name: p, paths: [/p]}",
            "GET http://a.test/p",
            "p",
        ),
        (
            "regex beats exact",
            "{name: exact, paths: [/p/1]}, {name: regex, paths: ['~/p/[0-9]']}",
            "GET http://a.test/p/1",
            "regex",
        ),
        (
            "prefix ignores regex_priority",
            "{name: a, paths: [/p], regex_priority: 9}, {name: b, paths: [/p/1]}",
            "GET http://a.test/p/1",
            "b",
        ),
        (
            "overlapping prefixes of one route",
            "{name: r, paths: [/p, /p/1]}",
            "GET http://a.test/p/1",
            "r",
        ),
        (
            "multiple paths, no service",
            "{name: r, paths: [/a, /b, '~/c']}",
            "GET http://a.test/c",
            "r",
        ),
        (
            "case-sensitive paths",
            "{name: r, paths: [/aBc]}",
            "GET http://a.test/abc",
            "-",
        ),
    ]);
}

#[test]
fn normalisation() {
    check_each(&[
        (
            "plain paths",
            "{name: r, paths: [/plain/a.b%25c]}",
            "GET http://a.test/plain/./a.b%25c",
            "r",
        ),
        (
            "regex paths",
            "{name: r, paths: ['~/reg%65x']}",
            "GET http://a.test/regex",
            "-",
        ),
        (
            "reserved characters alone",
            "{name: r, paths: [/reserved%2Fcharacters]}",
            "GET http://a.test/reserved%2fcharacters",
            "r",
        ),
        (
            "reserved characters are not decoded",
            "{name: r, paths: [/a/b]}",
            "GET http://a.test/a%2Fb",
            "-",
        ),
        (
            "special characters",
            "{name: r, paths: [/a.b+c]}",
            "GET http://a.test/a.b+c/d",
            "r",
        ),
    ]);
    let old = gateway("2.8.1", "");
    for (name, list, request, expected) in [
        (
            "plain paths of 2.8",
            "{name: r, paths: [/pl%61in]}",
            "GET http://a.test/plain",
            "r",
        ),
        (
            "regex paths of 2.8",
            "{name: r, paths: ['~/reg%65x/\\d']}",
            "GET http://a.test/regex/1",
            "r",
        ),
        (
            "escapes meta characters",
            "{name: r, paths: ['~/a%2eb$']}",
            "GET http://a.test/axb",
            "-",
        ),
    ] {
        let (router, _) = Router::build(&routes(list), &old);
        assert_eq!(ask(&router, request), expected, "{name}");
    }
}

#[test]
fn what_is_not_utf_8_is_a_404_of_the_expression_flavours() {
    for (flavor, expected) in [
        (RouterFlavor::Traditional, "r"),
        (RouterFlavor::TraditionalCompatible, "-"),
        (RouterFlavor::Expressions, "-"),
    ] {
        let (router, _) = Router::build(&routes("{name: r, paths: [/]}"), &RouterProfile::from(flavor));
        assert_eq!(ask(&router, "GET http://a.test/%ff%fe"), expected, "{flavor:?}");
    }
    // Where nobody asks for the path it does no harm.
    let (router, _) = Router::build(&routes("{name: r, hosts: [a.test]}"), &RouterProfile::default());
    assert_eq!(ask(&router, "GET http://a.test/%ff%fe"), "r");
}

#[test]
fn a_rebuilt_router_knows_only_the_new_routes() {
    for flavor in [RouterFlavor::Traditional, RouterFlavor::TraditionalCompatible] {
        let ask_of = |list: &str| {
            let (router, _) = Router::build(&routes(list), &RouterProfile::from(flavor));
            ["/a", "/b"].map(|path| ask(&router, &format!("GET http://z.test{path}")))
        };
        assert_eq!(ask_of("{name: a, paths: [/a]}"), ["a", "-"]);
        assert_eq!(
            ask_of("{name: a, paths: [/a]}, {name: b, paths: [/b]}"),
            ["a", "b"]
        );
        assert_eq!(ask_of("{name: a, paths: [/b]}"), ["-", "a"]);
    }
}
