//! Routes that are expressions, and what the expression flavours do with the others.

use super::{ask, gateway, routes};
use crate::gateway::router::{Router, RouterProfile};

fn check(name: &str, list: &str, request: &str, expected: &str) {
    check_on(&gateway("3.9.1", "expressions"), name, list, request, expected);
}

fn check_on(profile: &RouterProfile, name: &str, list: &str, request: &str, expected: &str) {
    let (router, _) = Router::build(&routes(list), profile);
    assert_eq!(ask(&router, request), expected, "{name}: {request}");
}

fn expression(text: &str) -> String {
    format!(
        "{{name: e, expression: '{text}'}}, {{name: rest, expression: 'http.path ^= \"/\"', priority: 0}}"
    )
}

#[test]
fn fields() {
    for (name, text, request, expected) in [
        (
            "an unknown field leaves it out",
            r#"http.host == "a.test" && http.nonsense == """#,
            "GET http://a.test/",
            "rest",
        ),
        (
            "host",
            r#"http.host == "a.test" && http.path ^= "/x""#,
            "GET http://a.test:81/x",
            "e",
        ),
        (
            "method",
            r#"http.method == "PUT" && http.path ^= "/x""#,
            "PUT http://a.test/x",
            "e",
        ),
        (
            "header",
            r#"http.headers.x_v == "One" && http.path ^= "/x""#,
            "GET http://a.test/x X-V: One",
            "e",
        ),
        (
            "header, case counts since 3.6",
            r#"http.headers.x_v == "one" && http.path ^= "/x""#,
            "GET http://a.test/x X-V: One",
            "rest",
        ),
        (
            "all values by default",
            r#"http.headers.x_v == "1" && http.path ^= "/x""#,
            "GET http://a.test/x X-V: 1; X-V: 2",
            "rest",
        ),
        (
            "any value",
            r#"any(http.headers.x_v) == "1" && http.path ^= "/x""#,
            "GET http://a.test/x X-V: 1; X-V: 2",
            "e",
        ),
        (
            "absent field, not equal",
            r#"http.headers.x_v != "1" && http.path ^= "/x""#,
            "GET http://a.test/x",
            "rest",
        ),
        (
            "query",
            r#"http.queries.q == "1 2" && http.path ^= "/x""#,
            "GET http://a.test/x?q=1+2",
            "e",
        ),
        (
            "query, decoded",
            r#"http.queries.q == "a/b" && http.path ^= "/x""#,
            "GET http://a.test/x?%71=a%2Fb",
            "e",
        ),
        (
            "query without a value",
            r#"http.queries.q == "" && http.path ^= "/x""#,
            "GET http://a.test/x?q",
            "e",
        ),
        (
            "query, several",
            r#"any(http.queries.q) == "2" && http.path ^= "/x""#,
            "GET http://a.test/x?q=1&q=2",
            "e",
        ),
        (
            "query, absent",
            r#"http.queries.q == "" && http.path ^= "/x""#,
            "GET http://a.test/x?p=1",
            "rest",
        ),
        (
            "single segment",
            r#"http.path.segments.0 == "x" && http.path ^= "/x""#,
            "GET http://a.test/x/y",
            "e",
        ),
        (
            "segment after the last",
            r#"http.path.segments.2 == "" && http.path ^= "/x""#,
            "GET http://a.test/x/y",
            "rest",
        ),
        (
            "segments: range",
            r#"http.path.segments.0_1 == "x/y" && http.path ^= "/x""#,
            "GET http://a.test/x/y/z",
            "e",
        ),
        (
            "segments: wrong range",
            r#"http.path.segments.1_0 == "x" && http.path ^= "/x""#,
            "GET http://a.test/x/y",
            "rest",
        ),
        (
            "segments: len",
            "http.path.segments.len == 2",
            "GET http://a.test/x/y/",
            "e",
        ),
        (
            "segments: len of /",
            "http.path.segments.len == 0",
            "GET http://a.test/",
            "e",
        ),
        (
            "segments are normalised",
            r#"http.path.segments.1 == "y" && http.path ^= "/x""#,
            "GET http://a.test/x//./%79",
            "e",
        ),
        (
            "not",
            r#"!(http.path == "/x") && http.path ^= "/x""#,
            "GET http://a.test/xy",
            "e",
        ),
        (
            "not: miss",
            r#"!(http.path == "/x") && http.path ^= "/x""#,
            "GET http://a.test/x",
            "rest",
        ),
        (
            "suffix",
            r#"http.path =^ ".gif" && http.path ^= "/x""#,
            "GET http://a.test/x.gif",
            "e",
        ),
        (
            "contains",
            r#"http.path contains "b" && http.path ^= "/""#,
            "GET http://a.test/abc",
            "e",
        ),
        (
            "regex",
            r#"http.path ~ r\#"^/\d+$"\#"#,
            "GET http://a.test/12",
            "rest",
        ),
        (
            "client address",
            r#"net.src.ip in 192.0.2.0/24 && http.path ^= "/""#,
            "GET http://a.test/",
            "e",
        ),
        (
            "other client",
            r#"net.src.ip in 192.0.2.0/24 && http.path ^= "/""#,
            "GET http://a.test/ @client: 198.51.100.1:1",
            "rest",
        ),
        (
            "client of IPv4 on a socket of IPv6",
            r#"net.src.ip == 192.0.2.7 && http.path ^= "/""#,
            "GET http://a.test/ @client: [::ffff:192.0.2.7]:1",
            "e",
        ),
        (
            "listener",
            r#"net.dst.ip == 192.0.2.9 && net.dst.port == 8000 && http.path ^= "/""#,
            "GET http://a.test/",
            "e",
        ),
        (
            "port of Host",
            r#"net.dst.port == 81 && http.path ^= "/""#,
            "GET http://a.test:81/",
            "e",
        ),
        (
            "old name of the port",
            r#"net.port == 81 && http.path ^= "/""#,
            "GET http://a.test:81/",
            "e",
        ),
        (
            "server name",
            r#"tls.sni == "a.test" && http.path ^= "/""#,
            "GET https://a.test/ @sni: a.test",
            "e",
        ),
        (
            "server name not seen",
            r#"tls.sni == "a.test" && http.path ^= "/""#,
            "GET https://a.test/",
            "?Unsupported",
        ),
        (
            "server name that decides nothing",
            r#"tls.sni == "a.test" && http.path ^= "/x""#,
            "GET https://a.test/",
            "rest",
        ),
    ] {
        // Ties have no known ids here, so the longer expression is given a priority.
        let list = expression(text).replacen("{name: e,", "{name: e, priority: 5,", 1);
        check(name, &list, request, expected);
    }
}

#[test]
fn protocols() {
    let list = "{name: tls, protocols: [https], expression: 'http.path ^= \"/s\"'}, \
                {name: plain, protocols: [http], expression: 'http.path ^= \"/p\"'}, \
                {name: grpc, protocols: [grpc], expression: 'http.path ^= \"/g\"'}, \
                {name: both, protocols: [grpc, grpcs], expression: 'http.path ^= \"/b\"'}";
    for (name, request, expected) in [
        (
            "https alone is found by plain requests, to redirect them",
            "GET http://a.test/s",
            "tls",
        ),
        ("http alone", "GET http://a.test/p", "plain"),
        ("http alone, by TLS", "GET https://a.test/p @sni: -", "-"),
        ("grpc is http", "POST http://a.test/g", "grpc"),
        ("grpc is not https", "POST https://a.test/g @sni: -", "-"),
        ("grpcs is https", "POST https://a.test/b @sni: -", "both"),
    ] {
        check(name, list, request, expected);
    }
    check(
        "traditional_compatible does not ask for protocols",
        "{name: plain, protocols: [http], paths: [/p]}",
        "GET http://a.test/p",
        "plain",
    );
    let compatible = gateway("3.9.1", "traditional_compatible");
    let list = "{name: plain, protocols: [http], paths: [/p]}";
    check_on(
        &compatible,
        "of one scheme",
        list,
        "GET https://a.test/p",
        "plain",
    );
    check("of one scheme", list, "GET https://a.test/p", "-");
}

#[test]
fn priorities() {
    let list = "{name: low, expression: 'http.path ^= \"/p/longer\"', priority: 70368744177662}, \
                {name: high, expression: 'http.path ^= \"/p\"', priority: 70368744177663}, \
                {name: classic, hosts: [a.test], paths: [/p/longer], methods: [GET], headers: {x-v: ['1']}}";
    check("priority near 2^46", list, "GET http://a.test/p/longer", "high");
    check(
        "expression over traditional",
        list,
        "GET http://a.test/p/longer x-v: 1",
        "high",
    );
    let ids = "{name: one, id: 10000000-0000-4000-8000-000000000000, paths: [/a, /bb]}, \
               {name: two, id: 20000000-0000-4000-8000-000000000000, paths: [/a]}";
    // Its groups have ids of their own, which are derived.
    let (router, _) = Router::build(&routes(ids), &gateway("3.9.1", "traditional_compatible"));
    let derived = |index: u32| {
        let namespace = uuid::Uuid::parse_str("7f145bf9-0dce-4f91-98eb-debbce4b9f6b").expect("an id");
        let name = format!("10000000-0000-4000-8000-000000000000#{index}");
        uuid::Uuid::new_v5(&namespace, name.as_bytes()).to_string()
    };
    let expected = if *derived(1) > *"20000000-0000-4000-8000-000000000000" {
        "one"
    } else {
        "two"
    };
    assert_eq!(
        ask(&router, "GET http://z.test/a"),
        expected,
        "ties of groups: {}",
        derived(1)
    );
    // 3.2 did not split, so the route's own id and longest prefix count.
    let (router, _) = Router::build(&routes(ids), &gateway("3.2.2", "traditional_compatible"));
    assert_eq!(
        ask(&router, "GET http://z.test/a"),
        "one",
        "3.2: by the longest prefix of all"
    );
}

#[test]
fn what_kong_leaves_out_is_left_out_and_named() {
    for (name, list, expected) in [
        (
            "unknown field",
            "{name: e, expression: 'http.nonsense == \"a\"'}",
            "route e cannot be an expression, and the gateway leaves it out too: Unknown LHS field",
        ),
        (
            "nothing to match on",
            "{name: e}",
            "route e has nothing to match on; the gateway leaves it out too",
        ),
    ] {
        let (router, warnings) = Router::build(&routes(list), &gateway("3.9.1", "expressions"));
        let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, [expected], "{name}");
        assert_eq!(ask(&router, "GET http://a.test/"), "-", "{name}");
    }
    let newer = gateway("3.12.0", "expressions");
    let list = "{name: e, expression: 'http.new.field == \"a\"'}, {name: p, paths: [/]}";
    check_on(
        &newer,
        "a newer gateway may understand it",
        list,
        "GET http://a.test/",
        "?Unsupported",
    );
}

#[test]
fn older_gateways() {
    let header = r#"{name: e, expression: 'http.headers.x_v == "one"'}"#;
    check_on(
        &gateway("3.5.0", "expressions"),
        "lower-cased before 3.6",
        header,
        "GET http://a.test/ x-v: ONE",
        "e",
    );
    check_on(
        &gateway("3.6.0", "expressions"),
        "as sent from 3.6",
        header,
        "GET http://a.test/ x-v: ONE",
        "-",
    );
    let sni = "{name: r, snis: ['*.a.test'], paths: [/]}";
    let request = "GET https://a.test/ @sni: x.a.test";
    check_on(
        &gateway("3.6.0", "traditional_compatible"),
        "wildcards before 3.7",
        sni,
        request,
        "-",
    );
    check_on(
        &gateway("3.7.0", "traditional_compatible"),
        "wildcards from 3.7",
        sni,
        request,
        "r",
    );
}

#[test]
fn addresses_are_not_known_where_a_proxy_may_be_trusted() {
    let list = "{name: r, paths: [/], sources: [{ip: 192.0.2.1}, {ip: 10.1.2.3/8, port: 5}]}, {name: rest, paths: [/]}";
    let trusting = RouterProfile::of(None, Some("traditional_compatible"));
    check_on(
        &trusting,
        "trusted_ips",
        list,
        "GET http://a.test/",
        "?Unsupported",
    );
    let strict = gateway("3.9.1", "traditional_compatible");
    check_on(&strict, "nobody trusted", list, "GET http://a.test/", "r");
    check_on(
        &strict,
        "network and port",
        list,
        "GET http://a.test/ @client: 10.9.9.9:5",
        "r",
    );
    check_on(
        &strict,
        "another port",
        list,
        "GET http://a.test/ @client: 10.9.9.9:6",
        "rest",
    );
}
