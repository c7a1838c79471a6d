//! What mapped ports and workspaces do to an exchange.

use super::{RouteMatch, Snapshot, exchange, name, request, snapshot};
use crate::correlate::JoinedExchange;
use crate::gateway::ports::PortMap;
use crate::gateway::router::RouterFlavor;
use crate::http::exchange::Leg;

fn joined(path: &str) -> JoinedExchange {
    let own = request("GET", path, &[("Host", "h")]);
    JoinedExchange {
        client: exchange(Leg::Downstream, false, Some(own), None),
        upstream: Vec::new(),
        request_id: None,
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
        let resolution = snapshot.resolve(&joined("/"));
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
