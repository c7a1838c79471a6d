//! What a route's protocols, mapped ports and workspaces do to an exchange.

use super::{ConsumerMatch, RouteMatch, Snapshot, exchange, name, request, response, snapshot};
use crate::correlate::JoinedExchange;
use crate::gateway::ports::PortMap;
use crate::gateway::router::{Refusal, RouterFlavor};
use crate::http::exchange::{Leg, Response};

const PROTOCOLS: &str = "
_format_version: '3.0'
services: [{name: s, url: 'http://h'}]
routes:
- {name: tls, service: s, paths: [/tls], protocols: [https]}
- {name: moved, service: s, paths: [/moved], protocols: [https], https_redirect_status_code: 301}
- {name: both, service: s, paths: [/both]}
- {name: grpc, service: s, paths: [/grpc], protocols: [grpc]}
consumers: [{username: alice}]
plugins: [{name: key-auth}]
";

fn joined(path: &str, tls: bool, answer: Option<Response>, with_leg: bool) -> JoinedExchange {
    let own = request("GET", path, &[("Host", "h")]);
    let sent = request("GET", path, &[("X-Consumer-Username", "alice"), ("Host", "h")]);
    JoinedExchange {
        client: exchange(Leg::Downstream, tls, Some(own), answer),
        upstream: with_leg
            .then(|| exchange(Leg::Upstream, false, Some(sent), None))
            .into_iter()
            .collect(),
        request_id: None,
    }
}

#[test]
fn a_request_that_its_routes_protocols_forbid_is_refused_unless_the_answer_shows_otherwise() {
    let needs_tls = |status| Some(Refusal::NeedsTls { status });
    let answered = |status| Some(response(status, &[], ""));
    let proxied = |status| Some(response(status, &[("X-Kong-Upstream-Latency", "1")], ""));
    for flavor in [
        RouterFlavor::Traditional,
        RouterFlavor::TraditionalCompatible,
        RouterFlavor::Expressions,
    ] {
        let snapshot = snapshot(PROTOCOLS, flavor);
        for (path, tls, answer, with_leg, refusal) in [
            ("/tls", false, answered(426), false, needs_tls(426)),
            ("/tls", false, None, false, needs_tls(426)),
            ("/tls", true, answered(426), false, None),
            ("/tls", false, answered(401), false, None),
            ("/tls", false, proxied(426), false, None),
            ("/tls", false, answered(426), true, None),
            ("/moved", false, answered(301), false, needs_tls(301)),
            ("/moved", false, answered(426), false, None),
            ("/both", false, answered(426), false, None),
            ("/grpc", false, answered(415), false, Some(Refusal::NotGrpc)),
        ] {
            let what = format!("{flavor:?} {path} tls {tls} {answer:?} leg {with_leg}");
            let resolution = snapshot.resolve(&joined(path, tls, answer, with_leg));
            assert_eq!(resolution.refusal, refusal, "{what}");
            assert!(matches!(resolution.route, RouteMatch::Matched(_)), "{what}");
            if refusal.is_some() {
                assert_eq!(
                    resolution.consumer,
                    ConsumerMatch::Nobody,
                    "no plugin ran: {what}"
                );
            }
        }
    }
}

#[test]
fn a_mapped_port_is_the_one_that_expressions_compare() {
    let text = "
_format_version: '3.0'
routes:
- {name: inner, expression: 'net.dst.port == 8000'}
- {name: outer, expression: 'net.dst.port == 80'}
";
    let check = |snapshot: &Snapshot, route: &str, port: Option<u16>| {
        let resolution = snapshot.resolve(&joined("/", false, None, false));
        assert_eq!(
            (name(&resolution).0.as_str(), resolution.outer_port),
            (route, port)
        );
    };
    let direct = snapshot(text, RouterFlavor::Expressions);
    check(&direct, "inner", None);
    let ports = PortMap::parse(["443:8443", "80:8000"]).expect("ports");
    check(&direct.with_ports(ports), "outer", Some(80));
}

#[test]
fn a_plugin_works_in_its_own_workspace_only() {
    let file = |name: &str, text: &str| crate::gateway::document::SourceFile {
        name: std::sync::Arc::from(name),
        bytes: text.as_bytes().to_vec(),
    };
    let files = [
        file(
            "a.yml",
            "{_format_version: '3.0', _workspace: a, services: [{name: s, routes: [{name: r, hosts: [a.test]}]}], plugins: [{name: key-auth}]}",
        ),
        file(
            "b.yml",
            "{_format_version: '3.0', _workspace: b, services: [{name: s, routes: [{name: r, hosts: [b.test]}]}]}",
        ),
        file(
            "c.yml",
            "{_format_version: '3.0', _workspace: default, routes: [{name: r, hosts: [c.test]}], plugins: [{name: basic-auth, route: r}]}",
        ),
    ];
    let entities = crate::gateway::declarative::read(&files).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(entities.routes.len(), 3);
    let (snapshot, _) = Snapshot::build(entities, &RouterFlavor::TraditionalCompatible.into());
    for (host, workspace, credentials) in [
        ("a.test", Some("a"), 2),
        ("b.test", Some("b"), 0),
        ("c.test", None, 2),
        ("d.test", None, 0),
    ] {
        let own = request("GET", "/", &[("Host", host)]);
        let joined = JoinedExchange {
            client: exchange(Leg::Downstream, false, Some(own), None),
            upstream: Vec::new(),
            request_id: None,
        };
        let resolution = snapshot.resolve(&joined);
        if let RouteMatch::Matched(route) = &resolution.route {
            assert_eq!(route.workspace.as_deref(), workspace, "{host}");
        }
        assert_eq!(
            resolution.credentials.len(),
            credentials,
            "{host}: {:?}",
            resolution.credentials
        );
    }
}
