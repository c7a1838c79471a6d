//! HTTP/2 through a running gateway: a client's streams over TLS, a connection that was open before kongtap came, gRPC on both
//! legs; and the clients that people use: h2load and curl.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kongtap_tests::client::{Content, Request, Scheme};
use kongtap_tests::compare::Expected;
use kongtap_tests::grpc::Grpc;
use kongtap_tests::http2::Http2;
use kongtap_tests::kernel::require_kernel;
use kongtap_tests::kongtap::Kongtap;
use kongtap_tests::lab::global_configuration;
use kongtap_tests::load::plan;
use kongtap_tests::payload::Numbers;
use kongtap_tests::programs::programs;
use kongtap_tests::receiver::Receiver;
use kongtap_tests::scene::{Scene, TOKEN};
use kongtap_tests::tools::{run, run_to_any_end};
use kongtap_tests::wait::eventually;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Connections of the main test.
const CONNECTIONS: u64 = 8;
/// Streams under way at once on each.
const STREAMS: u64 = 16;
/// Exchanges one after the other in the place of each: 8 × 16 × 8 = 1,024.
const EXCHANGES: usize = 8;

/// `exchanges` one after the other, beside others on the same connection.
async fn some(gateway: SocketAddr, connection: Arc<Http2>, seed: u64, exchanges: usize) -> Vec<Expected> {
    let mut numbers = Numbers::new(seed);
    let mut expected = Vec::new();
    for _ in 0..exchanges {
        let planned = plan(&mut numbers);
        let answer = connection.exchange(&planned.request).await.unwrap();
        expected.push(planned.expected((Scheme::Https, gateway), &answer).unwrap());
    }
    expected
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stream_arrives_once_and_as_it_was() {
    let Some(turn) = require_kernel("HTTP/2").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let mut kongtap = scene.attach().await.unwrap();
    let gateway = scene.listeners().tls.unwrap();
    let mut streams = JoinSet::new();
    for number in 0..CONNECTIONS {
        let connection = Arc::new(Http2::open(gateway, Scheme::Https).await.unwrap());
        for stream in 0..STREAMS {
            let seed = number * STREAMS + stream;
            streams.spawn(some(gateway, Arc::clone(&connection), seed, EXCHANGES));
        }
    }
    let mut expected = Vec::new();
    while let Some(done) = streams.join_next().await {
        expected.extend(done.unwrap_or_else(|error| panic!("{error}\n{}", scene.gateway.log())));
    }
    let shipped = scene.require_all(&kongtap, &expected).await.unwrap();
    assert_eq!(shipped.len(), 1_024);
    assert!(kongtap.stop().await.unwrap().success(), "{}", kongtap.log_tail());
}

#[tokio::test]
async fn what_a_connection_said_before_is_found_on_the_upstream_leg() {
    let Some(turn) = require_kernel("HTTP/2, joined late").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let gateway = scene.listeners().tls.unwrap();
    let connection = Arc::new(Http2::open(gateway, Scheme::Https).await.unwrap());
    // The client's table fills, with keys and names that it will only refer to afterwards.
    let _before = some(gateway, Arc::clone(&connection), 1, 24).await;
    let kongtap = scene.attach().await.unwrap();
    let expected = some(gateway, Arc::clone(&connection), 1, 24).await;
    scene.require_all(&kongtap, &expected).await.unwrap();
    let sources: Vec<String> = messages(&scene.receiver)
        .iter()
        .map(|message| message["kong"]["completeness"]["request"]["head"].to_string())
        .collect();
    assert!(
        sources.iter().any(|source| source == "\"from_upstream\""),
        "nothing had to be found: {sources:?}"
    );
}

#[tokio::test]
async fn grpc_is_joined_over_both_legs_and_keeps_its_trailers() {
    let Some(_turn) = require_kernel("gRPC").unwrap() else {
        return;
    };
    let grpc = Grpc::start().await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let arguments = vec!["--pid".to_owned(), grpc.master().to_string()];
    let environment = global_configuration(&receiver.endpoint(), TOKEN);
    let kongtap = Kongtap::start(&programs().unwrap().kongtap, arguments, environment)
        .await
        .unwrap();
    let connection = Http2::open(grpc.listener(), Scheme::Http).await.unwrap();
    let large = vec![b'g'; 100_000];
    let calls = [
        ("/orders.Orders/Get", &b"\0\0\0\0\x03abc"[..], "0", "fine"),
        ("/orders.Orders/Put", &large, "0", "fine"),
        ("/orders.Orders/Refused", b"\0\0\0\0\0", "7", "refused"),
    ];
    for (target, message, status, _) in calls {
        let call = Request::new("POST", target).field("te", "trailers").content(
            "application/grpc",
            Content::Chunked(Bytes::copy_from_slice(message), 9_000),
        );
        let (answer, trailers) = connection.exchange_with_trailers(&call, None).await.unwrap();
        let said = trailers
            .iter()
            .chain(&answer.fields)
            .find(|(name, _)| name == "grpc-status");
        assert_eq!(said.map(|(_, value)| value.as_str()), Some(status));
    }
    eventually("the calls to arrive", Duration::from_secs(30), async || {
        let count = receiver.count();
        if count >= calls.len() {
            Ok(())
        } else {
            Err(format!("{count} came"))
        }
    })
    .await
    .unwrap();
    let messages = messages(&receiver);
    assert_eq!(messages.len(), calls.len());
    for (target, message, status, word) in calls {
        let url = format!("http://127.0.0.1:{}{target}", grpc.listener().port());
        let shipped = messages
            .iter()
            .find(|shipped| shipped["request"]["url"] == url)
            .unwrap_or_else(|| panic!("no {url} in {messages:?}"));
        let kong = &shipped["kong"];
        assert_eq!(kong["client"]["http_version"], "2");
        assert_eq!(kong["upstream"]["status"], 200, "{shipped}");
        assert_eq!(kong["completeness"]["request"]["state"], "whole");
        assert_eq!(kong["completeness"]["request"]["total_bytes"], message.len());
        assert_eq!(shipped["request"]["headers"]["content-type"], "application/grpc");
        let said = if status == "0" {
            assert_eq!(kong["completeness"]["response"]["captured_bytes"], message.len());
            &kong["trailers"]
        } else {
            &shipped["response"]["headers"]
        };
        assert_eq!(
            (&said["grpc-status"], &said["grpc-message"]),
            (&json!(status), &json!(word))
        );
    }
    // A post may be counted a moment after it came.
    let status = eventually("the sums to hold", Duration::from_secs(10), async || {
        let status = kongtap.status().await.map_err(|error| format!("{error:#}"))?;
        status.require_balance().map_err(|error| format!("{error:#}"))?;
        Ok(status)
    })
    .await
    .unwrap();
    assert_eq!((status.lost_bytes(), status.dropped()), (0, 0));
}

/// Requests of h2load's, over 6 connections of 20 streams at once.
const H2LOAD_REQUESTS: usize = 1_200;

#[tokio::test]
async fn h2load_arrives_to_the_last_request() {
    let Some(turn) = require_kernel("HTTP/2 by h2load").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let kongtap = scene.attach().await.unwrap();
    let gateway = scene.listeners().tls.unwrap();
    let target = "/plain/bytes?size=900&seed=7&kind=text&framing=length";
    let url = format!("https://{gateway}{target}");
    let requests = H2LOAD_REQUESTS.to_string();
    let told = run(
        "h2load",
        &["-n", &requests, "-c", "6", "-m", "20", "-H", "cookie: a=1", &url],
    )
    .await
    .unwrap();
    assert!(
        told.contains(&format!("{requests} succeeded, 0 failed")),
        "{told}"
    );
    scene.settle(&kongtap, H2LOAD_REQUESTS).await.unwrap();
    let shipped = scene.shipped().unwrap();
    assert_eq!(shipped.len(), H2LOAD_REQUESTS);
    let body = kongtap_tests::payload::bytes(kongtap_tests::payload::Kind::Text, 7, 900);
    for message in &shipped {
        assert_eq!((message.status, message.size_bytes), (Some(200), Some(900)));
        assert_eq!(message.response_body.as_deref(), Some(&body[..]));
        assert_eq!(message.url, url);
        assert_eq!(message.request_fields["cookie"], ["a=1"]);
    }
    let ids: Vec<_> = shipped
        .iter()
        .map(|message| message.request_id.as_deref())
        .collect();
    assert!(are_told_apart(&ids), "a request id came twice");
    let status = kongtap.status().await.unwrap();
    assert_eq!((status.lost_bytes(), status.dropped()), (0, 0));
}

fn are_told_apart(ids: &[Option<&str>]) -> bool {
    let different: std::collections::HashSet<_> = ids.iter().flatten().collect();
    different.len() == ids.len()
}

#[tokio::test]
async fn curl_is_seen_as_it_speaks() {
    let Some(turn) = require_kernel("HTTP/2 by curl").unwrap() else {
        return;
    };
    let scene = Scene::set(turn).await.unwrap();
    let kongtap = scene.attach().await.unwrap();
    let listeners = scene.listeners();
    let (tls, plain) = (listeners.tls.unwrap(), listeners.plain.unwrap());
    let quiet = [
        "--silent",
        "--insecure",
        "--fail",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_version}",
    ];
    let curl = async |arguments: &[&str]| run("curl", &[&quiet, arguments].concat()).await.unwrap();
    let large = "x".repeat(60_000);
    let echo = format!("https://{tls}/plain/echo");
    assert_eq!(
        curl(&[
            "--http2",
            "--cookie",
            "a=1; b=2",
            &format!("https://{tls}/plain/json?q=1")
        ])
        .await,
        "2"
    );
    assert_eq!(
        curl(&[
            "--http2",
            "--data",
            &large,
            "--header",
            "content-type: text/plain",
            &echo
        ])
        .await,
        "2"
    );
    assert_eq!(
        curl(&["--http2", "--head", &format!("https://{tls}/plain/json")]).await,
        "2"
    );
    // It asks for an upgrade to HTTP/2, which nginx passes over.
    assert_eq!(
        curl(&["--http2", &format!("http://{plain}/plain/json?q=2")]).await,
        "1.1"
    );
    // It gives up before the answer: 28 is curl's word for that.
    let (_, code) = run_to_any_end(
        "curl",
        &[
            "--silent",
            "--insecure",
            "--http2",
            "--max-time",
            "0.3",
            &format!("https://{tls}/plain/slow?ms=2000"),
        ],
    )
    .await
    .unwrap();
    assert_eq!(code, Some(28));
    scene.settle(&kongtap, 5).await.unwrap();
    let messages = messages(&scene.receiver);
    let of = |method: &str, target: &str| {
        let found = messages.iter().find(|message| {
            let url = message["request"]["url"].as_str().unwrap();
            message["request"]["method"] == method && url.ends_with(target)
        });
        found.unwrap_or_else(|| panic!("no {method} {target} in {messages:?}"))
    };
    let got = of("GET", "/plain/json?q=1");
    assert_eq!(got["request"]["headers"]["cookie"], "a=1; b=2");
    assert_eq!(
        (&got["kong"]["client"]["http_version"], &got["response"]["status"]),
        (&json!("2"), &json!(200))
    );
    let posted = of("POST", "/plain/echo");
    assert_eq!(
        (&posted["request"]["body"], &posted["response"]["body"]),
        (&json!(large), &json!(large))
    );
    assert_eq!(
        of("HEAD", "/plain/json")["kong"]["completeness"]["verdict"],
        "whole"
    );
    assert_eq!(
        of("GET", "/plain/json?q=2")["kong"]["client"]["http_version"],
        "1.1"
    );
    assert_eq!(
        of("GET", "/plain/slow?ms=2000")["kong"]["completeness"]["verdict"],
        "client_gone"
    );
    assert_eq!(messages.len(), 5);
}

fn messages(receiver: &Receiver) -> Vec<Value> {
    let posts = receiver.posts();
    posts
        .iter()
        .map(|post| serde_json::from_slice(&post.body).unwrap())
        .collect()
}
