//! What the gateway does with a match: the path on the upstream leg, and the requests that it refuses.

use super::{gateway, routes, with_facts};
use crate::gateway::entities::{Service, Upstream};
use crate::gateway::router::{Approach, Found, Refusal, Router, RouterProfile, refusal};

fn path_on(profile: &RouterProfile, list: &str, base: &str, request: &str) -> String {
    let (router, _) = Router::build(&routes(list), profile);
    let service = Service {
        upstream: Upstream {
            path: (!base.is_empty()).then(|| base.to_owned()),
            ..Upstream::default()
        },
        ..Service::default()
    };
    with_facts(&format!("GET http://z.test{request}"), |facts| {
        match router.find(facts) {
            Found::Route(matched) => {
                String::from_utf8(router.passed_on(&matched, Some(&service), None).path).expect("text")
            }
            other @ (Found::Nothing | Found::Unknown(_)) => panic!("{list}: {request}: {other:?}"),
        }
    })
}

/// Route path, Service path, request, then the upstream path: v0 stripped, v0 kept, v1 stripped, v1 kept.
#[test]
fn slashes() {
    for (path, base, request, expected) in [
        ("/", "/", "/", ["/", "/", "/", "/"]),
        ("/", "", "/a/b/", ["/a/b/", "/a/b/", "/a/b/", "/a/b/"]),
        ("/in", "/", "/in", ["/", "/in", "/", "/in"]),
        ("/in", "/", "/in/", ["/", "/in/", "/", "/in/"]),
        ("/in", "/", "/inner", ["/ner", "/inner", "/ner", "/inner"]),
        ("/in/", "/", "/in/ner", ["/ner", "/in/ner", "/ner", "/in/ner"]),
        ("/in", "/up", "/in", ["/up", "/up/in", "/up", "/upin"]),
        ("/in", "/up", "/in/", ["/up/", "/up/in/", "/up/", "/upin/"]),
        (
            "/in",
            "/up",
            "/inner",
            ["/up/ner", "/up/inner", "/upner", "/upinner"],
        ),
        (
            "/in/",
            "/up",
            "/in/ner",
            ["/up/ner", "/up/in/ner", "/upner", "/upin/ner"],
        ),
        ("/in/", "/up", "/in/", ["/up/", "/up/in/", "/up", "/upin/"]),
        ("/in", "/up/", "/in", ["/up", "/up/in", "/up/", "/up/in"]),
        (
            "/in",
            "/up/",
            "/in/ner",
            ["/up/ner", "/up/in/ner", "/up/ner", "/up/in/ner"],
        ),
        ("/", "/up", "/", ["/up", "/up", "/up", "/up"]),
        ("/", "/up/", "/", ["/up/", "/up/", "/up/", "/up/"]),
        ("/", "/up", "/x", ["/up/x", "/up/x", "/upx", "/upx"]),
        ("/in", "/up", "/in./x", ["/up/x", "/up/in./x", "/upx", "/upin./x"]),
        (
            "/in",
            "/up",
            "/in%2E%2e/x",
            ["/up/x", "/up/in../x", "/upx", "/upin../x"],
        ),
        (
            "~/in/[0-9]+",
            "/up",
            "/in/12/x",
            ["/up/x", "/up/in/12/x", "/up/x", "/upin/12/x"],
        ),
        (
            "~/(?<a>in|out)",
            "/up",
            "/outer",
            ["/up/er", "/up/outer", "/uper", "/upouter"],
        ),
    ] {
        let forms = [("v0", true), ("v0", false), ("v1", true), ("v1", false)];
        for ((handling, strip), expected) in forms.into_iter().zip(expected) {
            let list =
                format!("{{name: r, paths: ['{path}'], path_handling: {handling}, strip_path: {strip}}}");
            let got = path_on(&gateway("3.9.1", "traditional"), &list, base, request);
            assert_eq!(got, expected, "traditional: {list} {base} {request}");
            if handling == "v0" {
                for flavor in ["traditional_compatible", "expressions"] {
                    let got = path_on(&gateway("3.9.1", flavor), &list, base, request);
                    assert_eq!(got, expected, "{flavor}: {list} {base} {request}");
                }
            }
        }
    }
}

#[test]
fn a_route_without_paths_keeps_the_path() {
    for (handling, base, request, expected) in [
        ("v0", "/up", "/x", "/up/x"),
        ("v1", "/up", "/x", "/upx"),
        ("v0", "/up/", "/x/", "/up/x/"),
        ("v0", "/up", "/", "/up"),
    ] {
        for flavor in ["traditional", "traditional_compatible"] {
            // Only `traditional` knows v1.
            let expected = if flavor == "traditional" {
                expected
            } else {
                "/up/x"
            };
            if flavor != "traditional" && handling == "v0" && request != "/x" {
                continue;
            }
            let list = format!("{{name: r, hosts: [z.test], path_handling: {handling}}}");
            assert_eq!(
                path_on(&gateway("3.9.1", flavor), &list, base, request),
                expected,
                "{flavor} {handling} {base}"
            );
        }
    }
}

#[test]
fn versions_have_other_defaults() {
    let list = "{name: r, paths: [/in]}";
    for (version, base, request, expected) in [
        ("0.13.1", "/up", "/inner", "/up/ner"),
        ("0.13.1", "/up/", "/in", "/up"),
        ("0.13.1", "/up/", "/in/", "/up/"),
        ("0.13.1", "/up", "/in/", "/up/"),
        ("0.13.1", "/", "/in/x", "/x"),
        ("1.2.0", "/up", "/inner", "/upner"),
        ("1.5.1", "/up", "/inner", "/upner"),
        ("2.0.0", "/up", "/inner", "/up/ner"),
        ("3.9.1", "/up", "/inner", "/up/ner"),
    ] {
        let got = path_on(&gateway(version, "traditional"), list, base, request);
        assert_eq!(got, expected, "{version} {base} {request}");
    }
}

#[test]
fn the_prefix_is_what_the_header_says() {
    for (list, request, expected) in [
        ("{name: r, paths: [/in]}", "/in/x", Some("/in")),
        ("{name: r, paths: [/in], strip_path: false}", "/in/x", None),
        ("{name: r, paths: [/]}", "/in/x", None),
        ("{name: r, hosts: [z.test]}", "/in/x", None),
        ("{name: r, paths: ['~/i[a-z]']}", "/in/x", Some("/in")),
    ] {
        for flavor in ["traditional", "traditional_compatible", "expressions"] {
            let (router, _) = Router::build(&routes(list), &gateway("3.9.1", flavor));
            let got = with_facts(&format!("GET http://z.test{request}"), |facts| {
                match router.find(facts) {
                    Found::Route(matched) => matched
                        .stripped()
                        .map(|prefix| String::from_utf8_lossy(prefix).into_owned()),
                    other @ (Found::Nothing | Found::Unknown(_)) => panic!("{other:?}"),
                }
            });
            assert_eq!(got.as_deref(), expected, "{flavor} {list}");
        }
    }
}

#[test]
fn refusals() {
    let (plain, tls) = (false, true);
    let grpc = Some("application/grpc+proto");
    let needs_tls = |status| Some(Refusal::NeedsTls { status });
    for (list, tls, http2, content_type, expected) in [
        ("protocols: [http]", plain, false, None, None),
        ("protocols: [https]", plain, false, None, needs_tls(426)),
        (
            "protocols: [https], https_redirect_status_code: 301",
            plain,
            false,
            None,
            needs_tls(301),
        ),
        (
            "protocols: [https], https_redirect_status_code: 308",
            tls,
            false,
            None,
            None,
        ),
        ("protocols: [http, https]", plain, false, None, None),
        ("protocols: [grpc]", plain, true, grpc, None),
        ("protocols: [grpc]", plain, false, grpc, Some(Refusal::NeedsHttp2)),
        (
            "protocols: [grpc, grpcs]",
            tls,
            true,
            Some("text/plain"),
            Some(Refusal::NotGrpc),
        ),
        (
            "protocols: [grpcs]",
            plain,
            true,
            grpc,
            Some(Refusal::GrpcNeedsTls),
        ),
        ("protocols: [grpcs]", tls, true, grpc, None),
        ("protocols: [grpcs]", tls, false, grpc, Some(Refusal::NeedsHttp2)),
        ("protocols: [grpc]", plain, true, None, Some(Refusal::NotGrpc)),
        (
            "protocols: [grpc]",
            plain,
            true,
            Some("application/json"),
            Some(Refusal::NotGrpc),
        ),
        (
            "protocols: [grpc]",
            plain,
            true,
            Some("application/grpc-web"),
            None,
        ),
        (
            "protocols: [http, grpc]",
            plain,
            false,
            None,
            Some(Refusal::NotGrpc),
        ),
        (
            "protocols: [https], https_redirect_status_code: 302",
            plain,
            true,
            None,
            needs_tls(302),
        ),
        (
            "protocols: [https], https_redirect_status_code: 307",
            plain,
            false,
            None,
            needs_tls(307),
        ),
        (
            "protocols: [https], https_redirect_status_code: 308",
            plain,
            false,
            None,
            needs_tls(308),
        ),
    ] {
        let route = &routes(&format!("{{name: r, paths: [/], {list}}}"))[0];
        let approach = Approach {
            tls,
            http2,
            content_type: content_type.map(str::as_bytes),
        };
        assert_eq!(
            refusal(route, approach),
            expected,
            "{list} {tls} {http2} {content_type:?}"
        );
    }
}
