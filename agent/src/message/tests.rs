//! The message against what the real plugin posted, and its shape where the plugin's was peculiar.

mod identifier;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use kongtap_common::record::ConnId;
use serde_json::{Value, json};

use super::{BuildInput, Message, Profile, build};
use crate::capture::event::KernelTime;
use crate::clock::WallClock;
use crate::correlate::JoinedExchange;
use crate::gateway::entities::{Consumer, Route, Scope, Service};
use crate::gateway::snapshot::{
    ConsumerMatch, CredentialPlace, KnownBy, Resolution, RouteMatch, UnknownRoute,
};
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::exchange::{
    Body, ConnInfo, Exchange, HeadState, Leg, Outcome, Peer, Request, Response, Version,
};
use crate::http::headers::Headers;
use crate::message::redact::{DECODED_BYTES, Redaction};
use crate::plugin::{Destination, PluginConfig};
use crate::telemetry::secret::Secret;

const WALL: WallClock = WallClock {
    boot_unix_ns: 1_795_341_000_000_000_000,
};

fn at_ms(unix_ms: u64) -> KernelTime {
    KernelTime(unix_ms * 1_000_000 - WALL.boot_unix_ns)
}

/// An exchange that the client leg shows: whole, plain, from 127.0.0.1:40000 to the listener 127.0.0.1:8000.
pub(crate) fn exchange(
    method: &str,
    target: &str,
    request_headers: &[(&str, &str)],
    request_body: &str,
    status: u16,
    response_headers: &[(&str, &str)],
    response_body: &str,
) -> JoinedExchange {
    JoinedExchange {
        client: Exchange {
            conn: ConnInfo {
                id: ConnId {
                    tgid: 100,
                    fd: 9,
                    generation_ns: 5,
                },
                local: SocketAddr::from(([127, 0, 0, 1], 8000)),
                remote: SocketAddr::from(([127, 0, 0, 1], 40_000)),
                tls: false,
            },
            leg: Leg::Downstream,
            request: Some(Request {
                method: Bytes::copy_from_slice(method.as_bytes()),
                target: Bytes::copy_from_slice(target.as_bytes()),
                version: Version::Http11,
                head: HeadState::Whole,
                trailers: Headers::default(),
                headers: headers(request_headers),
                body: whole(request_body.as_bytes()),
                started: at_ms(1_795_341_581_101),
                ended: at_ms(1_795_341_581_101),
            }),
            response: Some(response(status, response_headers, response_body)),
            outcome: Outcome::Complete,
            stream: None,
            reset: None,
            left_by: None,
            anomalies: Anomalies::NONE,
        },
        upstream: Vec::new(),
        request_id: None,
    }
}

fn response(status: u16, response_headers: &[(&str, &str)], body: &str) -> Response {
    Response {
        status,
        reason: Bytes::new(),
        version: Version::Http11,
        head: HeadState::Whole,
        trailers: Headers::default(),
        headers: headers(response_headers),
        body: whole(body.as_bytes()),
        started: at_ms(1_795_341_581_102),
        ended: at_ms(1_795_341_581_103),
    }
}

/// Adds an upstream attempt that was answered with `status`, or not at all.
pub(crate) fn with_upstream(mut joined: JoinedExchange, status: Option<u16>) -> JoinedExchange {
    let mut attempt = joined.client.clone();
    attempt.leg = Leg::Upstream;
    attempt.conn.remote = SocketAddr::from(([10, 0, 0, 7], 9100));
    attempt.response = status.map(|status| response(status, &[], ""));
    if status.is_none() {
        attempt.outcome = Outcome::ResponseAbsent;
    }
    joined.upstream.push(attempt);
    joined
}

fn headers(lines: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in lines {
        headers.push((*name).to_owned(), (*value).to_owned());
    }
    headers
}

pub(crate) fn whole(bytes: &[u8]) -> Body {
    let len = u64::try_from(bytes.len()).unwrap();
    Body {
        bytes: Bytes::copy_from_slice(bytes),
        total_bytes: len,
        wire_bytes: len,
        hole_bytes: 0,
        has_open_hole: false,
        first_hole_at: None,
        declared_bytes: None,
        complete: true,
    }
}

pub(crate) fn nowhere() -> Resolution {
    Resolution {
        route: RouteMatch::Unknown(UnknownRoute::NoConfiguration),
        service: None,
        consumer: ConsumerMatch::Unknown,
        credentials: Arc::from([]),
        refusal: None,
        outer_port: None,
    }
}

pub(crate) fn config(log_body: bool, url: &str) -> PluginConfig {
    PluginConfig {
        origin: "test".to_owned(),
        scope: Scope::default(),
        enabled: true,
        log_body,
        destination: Arc::new(Destination {
            url: url::Url::parse(url).unwrap(),
            access_token: Secret::new("token"),
            timeout_ms: 10_000,
            keepalive_ms: 30,
            tls_verify: true,
            transport: crate::plugin::transport::Transport::default(),
        }),
    }
}

/// Builds with the client's own request headers as the plugin's view.
pub(crate) fn message_of(
    joined: &JoinedExchange,
    resolution: &Resolution,
    log_body: bool,
    profile: Profile,
    redaction: &Redaction,
) -> Message {
    let request_headers = joined
        .client
        .request
        .as_ref()
        .map(|request| request.headers.clone())
        .unwrap_or_default();
    build(&BuildInput {
        joined,
        request_headers: &request_headers,
        resolution,
        config: &config(log_body, "http://127.0.0.1/buckets/b/messages"),
        profile,
        redaction,
        decoded_bytes: DECODED_BYTES,
        wall: WALL,
    })
}

fn value_of(joined: &JoinedExchange, resolution: &Resolution, log_body: bool, profile: Profile) -> Value {
    let message = message_of(joined, resolution, log_body, profile, &Redaction::Default);
    serde_json::from_slice(message.json()).unwrap()
}

/// The head's lines as httparse reads them.
fn parse_head(head: &str, is_request: bool) -> (String, String, u16, Headers) {
    let mut lines = [httparse::EMPTY_HEADER; 32];
    let (method, target, status, lines) = if is_request {
        let mut request = httparse::Request::new(&mut lines);
        assert!(request.parse(head.as_bytes()).unwrap().is_complete());
        (
            request.method.unwrap().to_owned(),
            request.path.unwrap().to_owned(),
            0,
            request.headers,
        )
    } else {
        let mut response = httparse::Response::new(&mut lines);
        assert!(response.parse(head.as_bytes()).unwrap().is_complete());
        (
            String::new(),
            String::new(),
            response.code.unwrap(),
            response.headers,
        )
    };
    let mut headers = Headers::default();
    for line in lines {
        headers.push(line.name.to_owned(), line.value.to_vec());
    }
    (method, target, status, headers)
}

#[test]
fn the_plugin_profile_is_what_the_real_plugin_posted() {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("../../../testdata/runscope/exchanges.json")).unwrap();
    assert_eq!(cases.len(), 3);
    for case in &cases {
        let text = |key: &str| case[key].as_str().unwrap();
        let (method, target, _, request_headers) = parse_head(text("request_head"), true);
        let (_, _, status, response_headers) = parse_head(text("response_head"), false);
        let mut joined = exchange(
            &method,
            &target,
            &[],
            text("request_body"),
            status,
            &[],
            text("response_body"),
        );
        let request = joined.client.request.as_mut().unwrap();
        request.headers = request_headers;
        joined.client.response.as_mut().unwrap().headers = response_headers;
        let joined = with_upstream(joined, Some(status));

        let log_body = case["log_body"].as_bool().unwrap();
        let mut ours = value_of(&joined, &nowhere(), log_body, Profile::Plugin);
        let mut theirs = case["posted"].clone();
        assert_eq!(ours["request"]["timestamp"], json!(1_795_341_581.101));
        assert_eq!(ours["response"]["timestamp"], json!(1_795_341_581.103));
        assert_eq!(ours["response"]["response_time"], json!(0.002));
        for (part, key) in [
            ("request", "timestamp"),
            ("response", "timestamp"),
            ("response", "response_time"),
        ] {
            for message in [&mut ours, &mut theirs] {
                let time = message[part].as_object_mut().unwrap().remove(key).unwrap();
                assert!(time.is_f64(), "{key} is {time}");
            }
        }
        assert_eq!(ours, theirs, "{}", text("name"));
    }
}

#[test]
fn a_form_post_has_the_types_of_the_reference() {
    let mut joined = exchange(
        "POST",
        "/orders?x=1&x=2",
        &[
            ("Host", "API.example.com:8000"),
            ("Content-Type", "Application/X-WWW-Form-Urlencoded; charset=utf-8"),
            ("Accept", "text/html"),
            ("accept", "application/json"),
            ("X-Consumer-Username", "alice"),
        ],
        "a=1&a=2&b",
        201,
        &[("Transfer-Encoding", "chunked"), ("Connection", "keep-alive")],
        "{\"ok\":true}",
    );
    joined.client.response.as_mut().unwrap().body.wire_bytes = 22;
    let message = value_of(&joined, &nowhere(), true, Profile::Plugin);
    assert_eq!(
        message,
        json!({
            "request": {
                "url": "http://api.example.com:8000/orders?x=1&x=2",
                "method": "POST",
                "headers": {
                    "host": "API.example.com:8000",
                    "content-type": "Application/X-WWW-Form-Urlencoded; charset=utf-8",
                    "accept": ["text/html", "application/json"],
                    "x-consumer-username": "alice"
                },
                "body": "a=1&a=2&b",
                "form": { "a": ["1", "2"], "b": true },
                "timestamp": 1_795_341_581.101
            },
            "response": {
                "status": 201,
                "headers": { "transfer-encoding": "chunked", "connection": "close" },
                "body": "{\"ok\":true}",
                "size_bytes": "22",
                "timestamp": 1_795_341_581.103,
                "response_time": 0.002
            }
        })
    );
}

/// Which of the body keys are there: `request.body`, `request.form`, `response.body`.
fn check_shape(
    joined: &JoinedExchange,
    resolution: &Resolution,
    log_body: bool,
    profile: Profile,
    expected: [Option<&str>; 3],
) {
    let message = value_of(joined, resolution, log_body, profile);
    let shape = [
        &message["request"]["body"],
        &message["request"]["form"],
        &message["response"]["body"],
    ]
    .map(|value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(value.to_string()),
    });
    assert_eq!(
        shape.each_ref().map(Option::as_deref),
        expected,
        "log_body {log_body} {profile:?}"
    );
}

#[test]
fn where_access_did_not_run_the_plugin_had_no_bodies() {
    use Profile::{Extended, Plugin};
    let own: &[(&str, &str)] = &[
        ("Date", "now"),
        ("X-Kong-Response-Latency", "1"),
        ("Server", "kong/3.9.1"),
    ];
    let form = &[("content-type", "application/x-www-form-urlencoded")];
    let unauthorized = exchange("POST", "/a", form, "a=1", 401, own, "no");
    check_shape(&unauthorized, &nowhere(), false, Plugin, [None, None, None]);
    check_shape(&unauthorized, &nowhere(), true, Plugin, [None, None, Some("no")]);
    check_shape(
        &unauthorized,
        &nowhere(),
        false,
        Extended,
        [Some(""), Some("{}"), Some("")],
    );
    check_shape(
        &unauthorized,
        &nowhere(),
        true,
        Extended,
        [Some("a=1"), Some("{\"a\":\"1\"}"), Some("no")],
    );
    // nginx wrote the Date of that answer after the plugins' view of it.
    let message = value_of(&unauthorized, &nowhere(), true, Plugin);
    assert_eq!(message["response"]["headers"].get("date"), None);
    let message = value_of(&unauthorized, &nowhere(), true, Extended);
    assert_eq!(message["response"]["headers"]["date"], "now");

    let mut no_route = nowhere();
    no_route.route = RouteMatch::NoRoute;
    let unrouted = exchange("POST", "/a", form, "a=1", 404, &[], "no Route");
    check_shape(&unrouted, &no_route, true, Plugin, [None, None, Some("no Route")]);

    // The service's own 401 is an answer like any other.
    let served = with_upstream(exchange("POST", "/a", form, "a=1", 401, &[], "no"), Some(401));
    check_shape(
        &served,
        &nowhere(),
        true,
        Plugin,
        [Some("a=1"), Some("{\"a\":\"1\"}"), Some("no")],
    );
}

#[test]
fn an_empty_body_is_an_absent_key_on_the_request_and_an_empty_text_on_the_response() {
    let joined = exchange("GET", "/a", &[], "", 204, &[], "");
    for profile in [Profile::Plugin, Profile::Extended] {
        check_shape(&joined, &nowhere(), true, profile, [None, Some("{}"), Some("")]);
        check_shape(
            &joined,
            &nowhere(),
            false,
            profile,
            [Some(""), Some("{}"), Some("")],
        );
    }
}

#[test]
fn connection_is_what_the_plugin_saw_or_what_the_client_read() {
    let check = |version: Version, status: u16, wire: Option<&str>, plugin: &str, extended: &str| {
        let wire: Vec<(&str, &str)> = wire.into_iter().map(|value| ("Connection", value)).collect();
        let mut joined = exchange("GET", "/a", &[], "", status, &wire, "");
        joined.client.response.as_mut().unwrap().version = version;
        for (profile, expected) in [(Profile::Plugin, plugin), (Profile::Extended, extended)] {
            let message = value_of(&joined, &nowhere(), true, profile);
            assert_eq!(
                message["response"]["headers"]["connection"], expected,
                "{version:?} {status} {profile:?}"
            );
        }
    };
    check(Version::Http11, 200, Some("keep-alive"), "close", "keep-alive");
    check(Version::Http11, 200, Some("close"), "close", "close");
    check(Version::Http11, 101, Some("upgrade"), "upgrade", "upgrade");
    check(Version::Http10, 200, None, "close", "close");
    check(Version::Http2, 200, None, "keep-alive", "keep-alive");
}

#[test]
fn a_method_that_a_plugin_changed_is_the_upstreams() {
    let mut joined = with_upstream(exchange("POST", "/a", &[], "", 200, &[], ""), Some(200));
    joined.upstream[0].request.as_mut().unwrap().method = Bytes::from_static(b"PUT");
    let message = value_of(&joined, &nowhere(), true, Profile::Plugin);
    assert_eq!(message["request"]["method"], "PUT");
}

#[test]
fn what_was_not_seen_is_not_in_the_message() {
    let mut joined = exchange("GET", "/a", &[], "", 200, &[], "");
    joined.client.response = None;
    joined.client.outcome = Outcome::ResponseAbsent;
    let message = value_of(&joined, &nowhere(), true, Profile::Extended);
    assert_eq!(message.get("response"), None);
    assert_eq!(message["kong"]["completeness"]["response"]["state"], "absent");
    assert_eq!(message["kong"].get("answered_by"), None);

    let mut joined = exchange("GET", "/a", &[], "", 200, &[], "ok");
    joined.client.request = None;
    let message = value_of(&joined, &nowhere(), true, Profile::Plugin);
    assert_eq!(message.get("request"), None);
    assert_eq!(message["response"]["response_time"], json!(0.0));
}

#[test]
fn the_extended_profile_names_everything() {
    let mut joined = exchange(
        "GET",
        "/a",
        &[("Host", "h")],
        "",
        200,
        &[("X-Kong-Upstream-Latency", "70"), ("X-Kong-Proxy-Latency", "80")],
        "\u{1f}",
    );
    joined.client.response.as_mut().unwrap().body.bytes = Bytes::from_static(b"\x1f\x8b");
    joined.client.response.as_mut().unwrap().body.total_bytes = 2;
    joined.request_id = Some(Bytes::from_static(b"0123456789abcdef0123456789abcdef"));
    let id = |text: &str| Arc::<str>::from(text);
    let resolution = Resolution {
        route: RouteMatch::Matched(Arc::new(Route {
            id: id("r-id"),
            id_is_known: true,
            name: Some(id("r")),
            service_id: Some(id("s-id")),
            ..Route::default()
        })),
        service: Some(Arc::new(Service {
            id: id("s-id"),
            enabled: true,
            ..Service::default()
        })),
        consumer: ConsumerMatch::Known(
            Arc::new(Consumer {
                id: id("c-id"),
                id_is_known: true,
                username: Some(id("alice")),
                custom_id: None,
            }),
            KnownBy::Credentials,
        ),
        credentials: Arc::from([CredentialPlace::Header("apikey".to_owned())]),
        refusal: None,
        outer_port: None,
    };
    let alone = value_of(&joined, &resolution, true, Profile::Extended);
    assert_eq!(
        alone["kong"]["latencies"],
        json!({"request": 2.0, "kong": 80.0, "upstream": 70.0, "request_receive": 0.0, "response_send": 1.0})
    );
    assert_eq!(alone["kong"].get("upstream"), None);
    assert_eq!(alone["kong"].get("joined_by"), None);
    assert_eq!(alone["kong"]["completeness"]["upstream"], "not_seen");
    assert_eq!(alone["kong"].get("consumer_unknown"), None);

    let mut joined = with_upstream(joined, Some(200));
    joined.upstream[0].request.as_mut().unwrap().started = at_ms(1_795_341_581_101).plus_ns(250_000);
    let message = value_of(&joined, &resolution, true, Profile::Extended);
    assert_eq!(message["response"]["body"], "H4s=");
    assert_eq!(message["response"]["body_encoding"], "base64");
    assert_eq!(message["unique_identifier"], "0123456789abcdef0123456789abcdef");
    assert_eq!(
        message["kong"],
        json!({
            "route": {"id": "r-id", "name": "r"},
            "service": {"id": "s-id"},
            "consumer": {"id": "c-id", "username": "alice", "by": "credentials"},
            "request_id": "0123456789abcdef0123456789abcdef",
            "answered_by": "upstream",
            "joined_by": "order",
            "client": {"address": "127.0.0.1:40000", "tls": false, "http_version": "1.1"},
            "upstream": {"address": "10.0.0.7:9100", "tls": false, "status": 200, "attempts": 1},
            "latencies": {
                "request": 2.0, "kong": 0.25, "upstream": 0.75, "request_receive": 0.0,
                "upstream_receive": 1.0, "response_send": 1.0, "gateway": 0.25
            },
            "completeness": {
                "verdict": "whole",
                "request": {"state": "whole", "captured_bytes": 0, "total_bytes": 0},
                "response": {"state": "whole", "captured_bytes": 2, "total_bytes": 2}
            }
        })
    );
}

#[test]
fn what_is_not_known_of_the_upstream_is_said() {
    let shown = |joined: &JoinedExchange, resolution: &Resolution| {
        let message = value_of(joined, resolution, false, Profile::Extended);
        let kong = &message["kong"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        (
            text(&kong["completeness"]["upstream"]),
            text(&kong["joined_by"]),
            kong["consumer_unknown"].as_bool(),
        )
    };
    let known = |consumer| Resolution {
        consumer,
        ..nowhere()
    };
    let via = exchange("GET", "/a", &[], "", 200, &[("Via", "1.1 kong/3.9.1")], "");
    let not_seen = Some("not_seen".to_owned());
    assert_eq!(shown(&via, &nowhere()), (not_seen.clone(), None, Some(true)));
    assert_eq!(shown(&via, &known(ConsumerMatch::Nobody)), (not_seen, None, None));
    let own = exchange("GET", "/a", &[], "", 401, &[("X-Kong-Response-Latency", "1")], "");
    assert_eq!(shown(&own, &known(ConsumerMatch::Nobody)), (None, None, None));
    // Both legs name the same request id, or they do not.
    let by = |text: &str| Some(text.to_owned());
    let mut joined = with_upstream(via, Some(200));
    assert_eq!(shown(&joined, &nowhere()).1, by("order"));
    let id = ("X-Kong-Request-Id", "1");
    joined.client.response.as_mut().unwrap().headers.push(id.0, id.1);
    assert_eq!(shown(&joined, &nowhere()).1, by("order"));
    joined.upstream[0]
        .request
        .as_mut()
        .unwrap()
        .headers
        .push(id.0, id.1);
    assert_eq!(shown(&joined, &nowhere()), (None, by("request_id"), Some(true)));
}

#[test]
fn completeness_says_what_is_missing() {
    let check = |total_bytes: u64, hole_bytes: u64, complete: bool, expected: &str| {
        let mut joined = exchange("GET", "/a", &[], "", 200, &[], "abc");
        let body = &mut joined.client.response.as_mut().unwrap().body;
        (body.total_bytes, body.hole_bytes, body.complete) = (total_bytes, hole_bytes, complete);
        let message = value_of(&joined, &nowhere(), true, Profile::Extended);
        let captured = &message["kong"]["completeness"]["response"];
        assert_eq!(captured["state"], expected);
        assert_eq!(captured["captured_bytes"], 3);
        assert_eq!(captured["total_bytes"], total_bytes);
    };
    check(3, 0, true, "whole");
    check(9, 0, true, "truncated");
    check(9, 6, true, "holes");
    check(9, 6, false, "holes");
    check(3, 0, false, "cut");
}

#[test]
fn the_verdict_stands_beside_its_particulars() {
    #[track_caller]
    fn check(change: impl FnOnce(&mut JoinedExchange), expected: &Value) {
        let mut joined = exchange("GET", "/a", &[], "", 200, &[], "abc");
        change(&mut joined);
        let mut message = value_of(&joined, &nowhere(), true, Profile::Extended);
        let completeness = message["kong"]["completeness"].as_object_mut().unwrap();
        completeness.retain(|key, _| key != "request" && key != "response");
        assert_eq!(message["kong"]["completeness"], *expected);
    }
    fn response(joined: &mut JoinedExchange) -> &mut Body {
        joined.client.outcome = Outcome::ResponseCut;
        let body = &mut joined.client.response.as_mut().unwrap().body;
        body.complete = false;
        body
    }
    check(|_| {}, &json!({"verdict": "whole"}));
    check(
        |joined| response(joined).declared_bytes = Some(10),
        &json!({"verdict": "body_cut", "side": "response", "at": 3, "of": 10}),
    );
    check(
        |joined| {
            response(joined);
        },
        &json!({"verdict": "body_cut", "side": "response", "at": 3}),
    );
    check(
        |joined| joined.client.request.as_mut().unwrap().body.first_hole_at = Some(7),
        &json!({"verdict": "hole", "side": "request", "at": 7}),
    );
    check(
        |joined| joined.client.outcome = Outcome::HeadLost,
        &json!({"verdict": "head_lost"}),
    );
    let absent = |joined: &mut JoinedExchange| {
        joined.client.response = None;
        joined.client.outcome = Outcome::ResponseAbsent;
    };
    check(absent, &json!({"verdict": "response_absent"}));
    check(
        |joined| {
            absent(joined);
            joined.client.left_by = Some(Peer::Client);
        },
        &json!({"verdict": "client_gone"}),
    );
    // The gateway left the upstream without having answered its client.
    check(
        |joined| {
            absent(joined);
            *joined = with_upstream(joined.clone(), None);
            joined.upstream[0].left_by = Some(Peer::Client);
        },
        &json!({"verdict": "client_gone"}),
    );
}

#[test]
fn anomalies_are_named_where_there_are_any() {
    let mut joined = exchange("GET", "/a", &[], "", 200, &[], "");
    let message = value_of(&joined, &nowhere(), true, Profile::Extended);
    assert_eq!(message["kong"].get("anomalies"), None);
    joined.client.anomalies.insert(Anomaly::ObsFold);
    let message = value_of(&joined, &nowhere(), true, Profile::Extended);
    assert_eq!(message["kong"]["anomalies"], json!(["obs_fold"]));
}

#[test]
fn an_identifier_without_a_request_id_is_stable_and_tells_exchanges_apart() {
    let id = |joined: &JoinedExchange| {
        value_of(joined, &nowhere(), true, Profile::Extended)["unique_identifier"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = exchange("GET", "/a?apikey=s3cret", &[], "", 200, &[], "");
    assert_eq!(id(&first), id(&first.clone()));
    assert_eq!(id(&first).len(), 32);
    // Pipelined: read at once, answered one after the other.
    let mut second = first.clone();
    second.client.response.as_mut().unwrap().ended = at_ms(1_795_341_581_104);
    assert_ne!(id(&first), id(&second));
    // A request id that is not one is not used.
    let mut odd = first.clone();
    odd.request_id = Some(Bytes::from_static(b"a b\n"));
    assert_eq!(id(&odd), id(&first));
}

#[test]
fn a_request_id_that_is_too_long_is_none() {
    for (bytes, is_taken) in [(128, true), (129, false)] {
        let mut joined = exchange("GET", "/a", &[], "", 200, &[], "");
        let id = "f".repeat(bytes);
        joined.request_id = Some(Bytes::from(id.clone()));
        let value = value_of(&joined, &nowhere(), true, Profile::Extended);
        assert_eq!(value["unique_identifier"] == id, is_taken, "{bytes} bytes");
    }
}
