//! What the router needs of entities, in the forms that Kong's documents have.

use serde_json::{Value, json};

use super::{RegexMark, api, plugin, route, service};
use crate::gateway::entities::{Api, Endpoint, PathHandling, Reference, Route, Upstream};
use crate::gateway::fields::{Fields, Report};

fn read<T>(value: &Value, take: impl FnOnce(&Fields<'_>, &mut Report) -> T) -> T {
    let mut report = Report::new("case");
    let fields = Fields::of(value, String::new(), &mut report).expect("a map");
    let entity = take(&fields, &mut report);
    report
        .finish(entity)
        .unwrap_or_else(|mistakes| panic!("{value}\n{mistakes}"))
}

fn route_of(value: &Value) -> Route {
    read(value, |fields, report| {
        route(fields, "", RegexMark::Tilde, report).route
    })
}

#[test]
fn a_route_has_everything_that_the_router_asks() {
    let read = route_of(&json!({
        "id": "5B4B5A8A-0000-4000-8000-000000000001", "name": "r", "protocols": ["http", "https"],
        "hosts": ["a.test"], "paths": ["~/u/\\d+"], "methods": ["GET"], "headers": {"X-V": ["1"]}, "snis": ["a.test"],
        "sources": [{"ip": "10.0.0.0/8", "port": 1234}, {"ip": "10.1.1.1"}], "destinations": [{"port": 8000}],
        "path_handling": "v1", "preserve_host": true, "strip_path": false, "https_redirect_status_code": 301,
        "request_buffering": false, "response_buffering": false, "regex_priority": 7, "created_at": 1_422_386_534,
        "tags": null, "service": null
    }));
    let end = |ip: Option<&str>, port| Endpoint {
        ip: ip.map(str::to_owned),
        port,
    };
    assert_eq!(
        read.sources,
        [end(Some("10.0.0.0/8"), Some(1234)), end(Some("10.1.1.1"), None)]
    );
    assert_eq!(read.destinations, [end(None, Some(8000))]);
    assert_eq!(read.path_handling, Some(PathHandling::V1));
    assert!(read.preserve_host && !read.strip_path && !read.request_buffering && !read.response_buffering);
    assert_eq!((read.https_redirect_status_code, read.regex_priority), (301, 7));
    assert_eq!(read.headers.keys().collect::<Vec<_>>(), ["x-v"]);
}

#[test]
fn defaults_are_kongs() {
    let read = route_of(
        &json!({"name": "r", "expression": "http.path == \"/\"", "priority": 70_368_744_177_663_u64}),
    );
    assert_eq!(read.priority, (1 << 46) - 1);
    assert_eq!(read.expression.as_deref(), Some("http.path == \"/\""));
    let default = Route {
        id: std::sync::Arc::clone(&read.id),
        name: read.name.clone(),
        expression: read.expression.clone(),
        priority: read.priority,
        ..Route::default()
    };
    assert_eq!(read, default);
    assert!(route_of(&json!({"hosts": []})).has_empty_hosts);
    assert!(!route_of(&json!({"hosts": null})).has_empty_hosts);
    assert!(
        !route_of(&json!({"protocols": ["grpc"]})).strip_path,
        "gRPC methods keep their path"
    );
}

#[test]
fn services_say_where_they_are() {
    let upstream = |protocol: &str, host: &str, port, path: Option<&str>| Upstream {
        protocol: Some(protocol.to_owned()),
        host: Some(host.to_owned()),
        port,
        path: path.map(str::to_owned),
    };
    for (value, expected) in [
        (
            json!({"name": "s", "url": "https://a.test:8443/base/"}),
            upstream("https", "a.test", Some(8443), Some("/base/")),
        ),
        (
            json!({"name": "s", "url": "http://a.test"}),
            upstream("http", "a.test", None, None),
        ),
        (
            json!({"name": "s", "protocol": "http", "host": "a.test", "port": 80, "path": null}),
            upstream("http", "a.test", Some(80), None),
        ),
    ] {
        assert_eq!(read(&value, service).upstream, expected, "{value}");
    }
}

#[test]
fn apis_of_0_13() {
    let value = json!({
        "created_at": 1_488_830_759_000_i64, "hosts": ["a.test"], "http_if_terminated": false, "https_only": true,
        "id": "6378122c-a0a1-438d-a5c6-efabae9fb969", "name": "example-api", "preserve_host": true, "retries": 5,
        "strip_uri": false, "upstream_connect_timeout": 60000, "upstream_url": "http://b.test/base", "methods": {},
        "uris": ["/plain", "/users/\\d+"]
    });
    let read_api = read(&value, api);
    assert_eq!(read_api.paths, ["/plain", "~/users/\\d+"]);
    assert_eq!(read_api.hosts, ["a.test"]);
    assert!(read_api.methods.is_empty() && read_api.preserve_host && !read_api.strip_path);
    assert_eq!(
        read_api.api,
        Some(Api {
            upstream: Upstream {
                protocol: Some("http".to_owned()),
                host: Some("b.test".to_owned()),
                port: None,
                path: Some("/base".to_owned()),
            },
            https_only: true,
            http_if_terminated: false,
        })
    );
    let bound = json!({"name": "runscope", "api_id": "6378122c-a0a1-438d-a5c6-efabae9fb969", "config": {}});
    let bound = read(&bound, plugin);
    assert_eq!(bound.route, Some(Reference::Id(read_api.id.to_string())));
}

#[test]
fn mistakes_say_what_is_wanted() {
    for (value, expected) in [
        (
            json!({"priority": -1}),
            "priority: must be from 0 to 70368744177663 (2^46 - 1)",
        ),
        (
            json!({"priority": 70_368_744_177_664_u64}),
            "priority: must be from 0",
        ),
        (
            json!({"path_handling": "v2"}),
            "path_handling: must be \"v0\" or \"v1\", not `v2`",
        ),
        (json!({"sources": ["10.0.0.1"]}), "sources[0]: must be a map"),
    ] {
        let mut report = Report::new("case");
        let fields = Fields::of(&value, String::new(), &mut report).expect("a map");
        drop(route(&fields, "", RegexMark::Tilde, &mut report));
        let mistakes = report.finish(()).expect_err("a mistake").to_string();
        assert!(mistakes.contains(expected), "{value}: {mistakes}");
    }
}
