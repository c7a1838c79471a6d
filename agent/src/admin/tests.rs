use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::{Router, http};

use super::access::Access;
use super::plugin_api::dialect::Dialect;
use super::plugins::PluginApi;
use super::{Interface, StatusSource, is_ready};
use crate::gateway::source::GatewayState;
use crate::plugin::store::Store;
use crate::telemetry::secret::Secret;
use crate::telemetry::status::{GatewayStatus, State, Status, WorkerStatus};

#[test]
fn ready_means_attached_and_configured() {
    let mut status = Status {
        state: State::Watching,
        ..Status::default()
    };
    assert!(!is_ready(&status), "no workers yet");
    status.gateways.push(GatewayStatus {
        kind: "nginx",
        master: Some(1),
        workers: vec![WorkerStatus {
            pid: 2,
            tls: "calls".into(),
            watched_since_unix_ms: 0,
            found: "running",
        }],
        listeners: Vec::new(),
        error_log: None,
    });
    assert!(is_ready(&status), "no source of configuration is asked for");
    status.configuration.source = "kong.yml".into();
    assert!(!is_ready(&status), "asked for, and not read yet");
    status.configuration.age_seconds = Some(0);
    assert!(is_ready(&status));
    status.state = State::Stopping;
    assert!(!is_ready(&status));
}

/// A router over an empty store, for requests without a network.
fn interface(access: Access, dialect: Option<Dialect>) -> (tempfile::TempDir, Router) {
    struct Nothing;
    impl StatusSource for Nothing {
        fn status(&self) -> Status {
            Status {
                problems: vec!["a secret reason".to_owned()],
                ..Status::default()
            }
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("runscope.yml")).unwrap();
    let plugins = PluginApi {
        store: Arc::new(store),
        gateway: Arc::new(ArcSwap::from_pointee(GatewayState::empty())),
        dialect,
        on_change: Arc::new(|_| {}),
    };
    let interface = Interface {
        source: Arc::new(Nothing),
        plugins: Arc::new(plugins),
        access,
    };
    (directory, super::router(interface))
}

/// Sends a request given as `METHOD /target`, header fields and a body.
async fn send(router: &Router, line: &str, fields: &[(&str, &str)], body: &str) -> (u16, String) {
    let (method, target) = line.split_once(' ').unwrap();
    let mut request = http::Request::builder().method(method).uri(target);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let service = hyper_util::service::TowerToHyperService::new(router.clone());
    let response = hyper::service::Service::call(&service, request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const FULL: &str = "name=runscope&config.access_token=hunter2&config.bucket_key=B";

#[tokio::test]
async fn requests_are_bounded_and_judged_before_they_are_read() {
    let (_directory, router) = interface(Access::ThisHost, None);
    let here = ("host", "127.0.0.1:8011");
    let large = "x".repeat((1 << 20) + 1);
    for (line, fields, body, status, part) in [
        ("POST /plugins", &[here, FORM][..], FULL, 201, "[redacted]"),
        ("GET /plugins", &[here], "", 200, "\"data\":[{"),
        ("HEAD /plugins", &[here], "", 200, ""),
        ("GET /plugins?reveal", &[here], "", 403, "admin.token"),
        (
            "POST /plugins",
            &[("host", "evil.example"), FORM],
            FULL,
            421,
            "localhost only",
        ),
        (
            "POST /plugins",
            &[here, FORM, ("origin", "http://evil.example")],
            FULL,
            403,
            "another site",
        ),
        (
            "POST /plugins",
            &[here, FORM],
            &large,
            413,
            "at most 1048576 bytes",
        ),
        (
            "POST /plugins",
            &[here, ("content-type", "text/plain")],
            FULL,
            415,
            "Unsupported",
        ),
        (
            "POST /plugins",
            &[here, ("content-type", "application/json")],
            "{",
            400,
            "{\"message\":\"Cannot parse JSON body\"}",
        ),
        ("POST /healthz", &[here], "", 405, ""),
        ("GET /nowhere", &[here], "", 404, "{\"message\":\"Not found\"}"),
        (
            "POST /services/s/plugins",
            &[here, FORM],
            FULL,
            503,
            "has not been read",
        ),
    ] {
        let (found, text) = send(&router, line, fields, body).await;
        assert_eq!(found, status, "{line} {fields:?} {text}");
        assert!(text.contains(part), "{line} {fields:?} {text}");
        assert!(!text.contains("hunter2"), "{line} {text}");
    }
}

#[tokio::test]
async fn who_presents_the_token_may_see_tokens() {
    let (_directory, router) = interface(Access::Token(Secret::new("t0ken")), Some(Dialect::Old));
    let token = ("kong-admin-token", "t0ken");
    let (status, _) = send(&router, "POST /plugins", &[FORM], FULL).await;
    assert_eq!(status, 401);
    let (status, text) = send(&router, "POST /plugins", &[token, FORM], FULL).await;
    assert!(status == 201 && !text.contains("hunter2"), "{status} {text}");
    let (status, text) = send(&router, "GET /plugins?reveal=true", &[token], "").await;
    assert!(status == 200 && text.contains("hunter2"), "{status} {text}");
    let (status, text) = send(&router, "GET /plugins?reveal=false", &[token], "").await;
    assert!(status == 200 && !text.contains("hunter2"), "{status} {text}");
    // The probes say yes or no to everybody, and why only to those who may know.
    assert_eq!(
        send(&router, "GET /readyz", &[], "").await,
        (503, "not ready\n".to_owned())
    );
    let (_, text) = send(&router, "GET /readyz", &[token], "").await;
    assert_eq!(text, "not ready: a secret reason\n");
}

#[tokio::test]
async fn an_edit_that_is_broken_is_not_written_over() {
    let (directory, router) = interface(Access::ThisHost, None);
    let path = directory.path().join("runscope.yml");
    std::fs::write(&path, "plugins: [{name: runscope\n").unwrap();
    let (status, text) = send(&router, "POST /plugins", &[FORM], FULL).await;
    assert!(status == 503 && text.contains("runscope.yml:"), "{status} {text}");
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "plugins: [{name: runscope\n"
    );
}

#[test]
fn the_gateways_version_decides_on_the_dialect() {
    for (version, expected) in [
        (Some("0.13.1"), Dialect::Old),
        (Some("0.14.0"), Dialect::Old),
        (Some("1.0.0"), Dialect::Current),
        (Some("3.9.1"), Dialect::Current),
        (Some("?"), Dialect::Current),
        (None, Dialect::Current),
    ] {
        assert_eq!(super::plugins::dialect_of(version), expected, "{version:?}");
    }
}
