//! Requests that the gateway refuses for their route's protocols, before any plugin of the route runs.

use super::{ConsumerMatch, RouteMatch, Snapshot, exchange, name, request, response, snapshot};
use crate::correlate::JoinedExchange;
use crate::gateway::entities::Entities;
use crate::gateway::fields::{Fields, Report};
use crate::gateway::forms;
use crate::gateway::router::{KongVersion, Refusal, RouterFlavor, RouterProfile};
use crate::http::exchange::{Leg, Response, Version};

const PROTOCOLS: &str = "
_format_version: '3.0'
services: [{name: s, url: 'http://h'}]
routes:
- {name: tls, service: s, paths: [/tls], protocols: [https]}
- {name: moved, service: s, paths: [/moved], protocols: [https], https_redirect_status_code: 301}
- {name: both, service: s, paths: [/both]}
- {name: grpc, service: s, paths: [/grpc], protocols: [grpc]}
- {name: secure, service: s, paths: [/secure], protocols: [grpcs]}
- {name: either, service: s, paths: [/either], protocols: [grpc, grpcs]}
consumers: [{username: alice}]
plugins: [{name: key-auth}]
";

/// How a request comes and what is seen of what becomes of it.
#[derive(Clone, Copy)]
struct Case<'a> {
    path: &'a str,
    tls: bool,
    http2: bool,
    content_type: Option<&'a str>,
    answer: Option<u16>,
    /// Whether the answer says that the gateway proxied.
    is_proxied: bool,
    /// Whether an upstream leg was seen.
    has_leg: bool,
}

const PLAIN: Case<'_> = Case {
    path: "/",
    tls: false,
    http2: false,
    content_type: None,
    answer: None,
    is_proxied: false,
    has_leg: false,
};

const GRPC: Case<'_> = Case {
    http2: true,
    content_type: Some("application/grpc"),
    ..PLAIN
};

impl Case<'_> {
    fn joined(self) -> JoinedExchange {
        let mut fields = vec![("Host", "h")];
        fields.extend(self.content_type.map(|value| ("Content-Type", value)));
        let mut own = request("GET", self.path, &fields);
        if self.http2 {
            own.version = Version::Http2;
        }
        let sent = request(
            "GET",
            self.path,
            &[("X-Consumer-Username", "alice"), ("Host", "h")],
        );
        let proxied: &[(&str, &str)] = &[("X-Kong-Upstream-Latency", "1")];
        let answer =
            |status| -> Response { response(status, if self.is_proxied { proxied } else { &[] }, "") };
        let leg = exchange(Leg::Upstream, false, Some(sent), None);
        JoinedExchange {
            client: exchange(Leg::Downstream, self.tls, Some(own), self.answer.map(answer)),
            upstream: self.has_leg.then_some(leg).into_iter().collect(),
            request_id: None,
        }
    }
}

fn check(snapshot: &Snapshot, what: &str, route: &str, case: Case<'_>, expected: Option<Refusal>) {
    let resolution = snapshot.resolve(&case.joined());
    assert_eq!(resolution.refusal, expected, "{what}");
    assert!(matches!(resolution.route, RouteMatch::Matched(_)), "{what}");
    assert_eq!(
        name(&resolution).0,
        route,
        "{what}: the route is named all the same"
    );
    if expected.is_some() {
        assert_eq!(
            resolution.consumer,
            ConsumerMatch::Nobody,
            "no plugin ran: {what}"
        );
    }
}

#[test]
fn what_a_routes_protocols_forbid_is_refused_unless_the_answer_shows_otherwise() {
    let of = |path, answer| Case {
        path,
        answer,
        ..PLAIN
    };
    let grpc = |path, answer| Case { path, answer, ..GRPC };
    let needs_tls = |status| Some(Refusal::NeedsTls { status });
    let not_grpc = Some(Refusal::NotGrpc);
    for flavor in [
        RouterFlavor::Traditional,
        RouterFlavor::TraditionalCompatible,
        RouterFlavor::Expressions,
    ] {
        let snapshot = snapshot(PROTOCOLS, flavor);
        for (what, case, refusal) in [
            ("https only", of("/tls", Some(426)), needs_tls(426)),
            ("not answered yet", of("/tls", None), needs_tls(426)),
            ("a redirect", of("/moved", Some(301)), needs_tls(301)),
            (
                "by TLS",
                Case {
                    tls: true,
                    ..of("/tls", Some(426))
                },
                None,
            ),
            ("another answer: its proxy spoke TLS", of("/tls", Some(401)), None),
            ("not the route's redirect", of("/moved", Some(426)), None),
            (
                "the service's own 426",
                Case {
                    is_proxied: true,
                    ..of("/tls", Some(426))
                },
                None,
            ),
            (
                "passed on",
                Case {
                    has_leg: true,
                    ..of("/tls", Some(426))
                },
                None,
            ),
            ("nothing forbids it", of("/both", Some(426)), None),
            ("no gRPC", of("/grpc", Some(415)), not_grpc),
            (
                "no gRPC by HTTP/2",
                Case {
                    content_type: Some("text/plain"),
                    ..grpc("/grpc", Some(415))
                },
                not_grpc,
            ),
            (
                "gRPC by HTTP/1.1",
                Case {
                    http2: false,
                    ..grpc("/grpc", Some(426))
                },
                Some(Refusal::NeedsHttp2),
            ),
            (
                "plain gRPC on grpcs",
                grpc("/secure", Some(200)),
                Some(Refusal::GrpcNeedsTls),
            ),
            (
                "plain gRPC on grpcs, and yet proxied",
                Case {
                    is_proxied: true,
                    ..grpc("/secure", Some(200))
                },
                None,
            ),
            (
                "plain gRPC where both are served",
                grpc("/either", Some(200)),
                None,
            ),
            ("gRPC", grpc("/grpc", Some(200)), None),
            (
                "gRPC by TLS",
                Case {
                    tls: true,
                    ..grpc("/secure", Some(200))
                },
                None,
            ),
            (
                "an answer of another kind",
                Case {
                    http2: false,
                    ..grpc("/grpc", Some(415))
                },
                None,
            ),
        ] {
            let route = case.path.trim_start_matches('/');
            let what = format!("{flavor:?}: {what}");
            if flavor == RouterFlavor::Expressions && route == "secure" && !case.tls {
                // There the scheme is part of the expression, but for routes of `https` alone.
                let resolution = snapshot.resolve(&case.joined());
                let expected = if case.is_proxied { "?Contradicted" } else { "-" };
                assert_eq!(
                    (&*name(&resolution).0, resolution.refusal),
                    (expected, None),
                    "{what}"
                );
                continue;
            }
            check(&snapshot, &what, route, case, refusal);
        }
    }
}

#[test]
fn an_api_of_0_13_that_wants_tls_refuses_what_comes_in_plain() {
    let api = |name: &str, rest: serde_json::Value| {
        let mut value = serde_json::json!({
            "name": name, "uris": [format!("/{name}")], "upstream_url": "http://u"
        });
        for (key, field) in rest.as_object().expect("fields") {
            value[key] = field.clone();
        }
        let mut report = Report::new("apis");
        let fields = Fields::of(&value, String::new(), &mut report).expect("a map");
        let api = forms::api(&fields, &mut report);
        report.finish(api).expect("an API")
    };
    let entities = Entities {
        routes: vec![
            api("open", serde_json::json!({})),
            api("tls", serde_json::json!({"https_only": true})),
            api(
                "behind",
                serde_json::json!({"https_only": true, "http_if_terminated": true}),
            ),
        ],
        ..Entities::default()
    };
    let profile = RouterProfile::of(KongVersion::parse("0.13.1"), None);
    let (snapshot, warnings) = Snapshot::build(entities, &profile);
    assert_eq!(warnings, []);
    let of = |path, answer| Case {
        path,
        answer,
        ..PLAIN
    };
    let refused = Some(Refusal::NeedsTls { status: 426 });
    for (what, case, refusal) in [
        ("open", of("/open", Some(426)), None),
        ("https_only", of("/tls", Some(426)), refused),
        (
            "https_only, by TLS",
            Case {
                tls: true,
                ..of("/tls", Some(426))
            },
            None,
        ),
        (
            "http_if_terminated, by nobody it trusts",
            of("/behind", Some(426)),
            refused,
        ),
        (
            "http_if_terminated, behind a proxy",
            of("/behind", Some(200)),
            None,
        ),
    ] {
        check(&snapshot, what, case.path.trim_start_matches('/'), case, refusal);
    }
}
