//! The lab itself, without kongtap: the stand-in gateway behaves on the wire as the Kong in the fixtures does, and the client,
//! the upstream and the receiver record what went by. What kongtap's tests conclude stands on this.

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use kongtap_tests::client::{Answer, Connection, Content, Request, Scheme, once};
use kongtap_tests::gateway::Listeners;
use kongtap_tests::gateway::stand_in::StandIn;
use kongtap_tests::lab::kong_yml;
use kongtap_tests::payload::{Kind, bytes};
use kongtap_tests::receiver::Receiver;
use kongtap_tests::upstream::{Seen, Upstream};
use kongtap_tests::{samples, tls};

struct Bench {
    upstream: Upstream,
    gateway: StandIn,
}

impl Bench {
    async fn start() -> Self {
        let identity = tls::self_signed().unwrap();
        let upstream = Upstream::start(&identity).await.unwrap();
        let gateway = StandIn::start(&kong_yml(&upstream).unwrap(), &identity)
            .await
            .unwrap();
        Self { upstream, gateway }
    }

    fn listeners(&self) -> Listeners {
        self.gateway.listeners()
    }

    async fn send(&self, scheme: Scheme, request: &Request) -> Answer {
        let address = self.listeners().of(scheme).unwrap();
        once(address, scheme, request)
            .await
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.gateway.log()))
    }

    /// The one request that the upstream saw for this one.
    fn seen(&self, request: &Request) -> Seen {
        let seen = self.upstream.seen(&request.id);
        assert_eq!(seen.len(), 1, "{request:?}: {seen:?}");
        seen[0].clone()
    }
}

fn names(fields: &[(String, String)]) -> Vec<&str> {
    fields.iter().map(|(name, _)| name.as_str()).collect()
}

/// Values that differ from run to run, replaced by their form.
fn formed(answer: &Answer) -> Vec<String> {
    let digits = |value: &str| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let hex = |value: &str| {
        value.len() == 32
            && value
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let form = |(name, value): &(String, String)| match name.as_str() {
        "Date" => "Date".to_owned(),
        _ if name.ends_with("-Latency") && digits(value) => format!("{name}: ms"),
        "X-Kong-Request-Id" if hex(value) => format!("{name}: id"),
        _ => format!("{name}: {value}"),
    };
    std::iter::once(format!("{} {}", answer.status, answer.reason))
        .chain(answer.fields.iter().map(form))
        .collect()
}

#[tokio::test]
async fn answers_are_those_of_the_recorded_kong() {
    let bench = Bench::start().await;
    let check = async |what: &str, scheme, request: Request, expect: &[&str], message: Option<&str>| {
        let answer = bench.send(scheme, &request).await;
        assert_eq!(formed(&answer), expect, "{what}");
        if let Some(message) = message {
            let id = answer.field("X-Kong-Request-Id").unwrap();
            let body = format!("{{\n  \"message\":\"{message}\",\n  \"request_id\":\"{id}\"\n}}");
            assert_eq!(answer.body.bytes, body.as_bytes(), "{what}");
        }
    };
    let proxied = [
        "Date",
        "Server: kong/3.9.1",
        "X-Kong-Upstream-Latency: ms",
        "X-Kong-Proxy-Latency: ms",
        "Via: 1.1 kong/3.9.1",
        "X-Kong-Request-Id: id",
    ];
    let own = [
        "X-Kong-Response-Latency: ms",
        "Server: kong/3.9.1",
        "X-Kong-Request-Id: id",
    ];
    let json = "Content-Type: application/json; charset=utf-8";
    let alive = "Connection: keep-alive";
    for scheme in [Scheme::Http, Scheme::Https] {
        let get = |target| Request::new("GET", target);
        // As in the transcript, but for the upstream's own fields.
        let mut expect = vec![
            "200 OK",
            "Content-Type: application/json",
            "Content-Length: 37",
            alive,
        ];
        expect.extend(proxied);
        check("plain-json", scheme, get("/plain/json"), &expect, None).await;
        check("head", scheme, Request::new("HEAD", "/plain/json"), &expect, None).await;

        let mut expect = vec!["204 No Content", alive];
        expect.extend(proxied);
        check("status204", scheme, get("/plain/status/204"), &expect, None).await;

        let mut expect = vec![
            "200 OK",
            "Content-Type: text/plain; charset=UTF-8",
            "Transfer-Encoding: chunked",
            alive,
        ];
        expect.extend(proxied);
        check(
            "chunked",
            scheme,
            get("/plain/bytes?size=9000&framing=chunked"),
            &expect,
            None,
        )
        .await;
        check(
            "up-close",
            scheme,
            get("/plain/bytes?size=4&framing=close"),
            &expect,
            None,
        )
        .await;

        let mut expect = vec!["404 Not Found", "Date", json, alive, "Content-Length: 103"];
        expect.extend(own);
        check(
            "no-route",
            scheme,
            get("/nothing-here"),
            &expect,
            Some("no Route matched with those values"),
        )
        .await;

        let mut expect = vec![
            "401 Unauthorized",
            "Date",
            json,
            alive,
            "WWW-Authenticate: Key",
            "Content-Length: 96",
        ];
        expect.extend(own);
        check(
            "keyed-none",
            scheme,
            get("/keyed/json"),
            &expect,
            Some("No API key found in request"),
        )
        .await;
        expect[5] = "Content-Length: 81";
        check(
            "keyed-bad",
            scheme,
            get("/keyed/json").field("apikey", "wrong"),
            &expect,
            Some("Unauthorized"),
        )
        .await;

        let bad = "An invalid response was received from the upstream server";
        let mut expect = vec!["502 Bad Gateway", "Date", json, alive, "Content-Length: 126"];
        expect.extend([
            "X-Kong-Upstream-Latency: ms",
            "X-Kong-Proxy-Latency: ms",
            "Via: 1.1 kong/3.9.1",
        ]);
        expect.extend(["Server: kong/3.9.1", "X-Kong-Request-Id: id"]);
        check("dead", scheme, get("/dead/json"), &expect, Some(bad)).await;
        check("up-reset", scheme, get("/plain/reset"), &expect, Some(bad)).await;
    }
}

#[tokio::test]
async fn the_upstream_sees_kongs_fields_in_kongs_order() {
    let bench = Bench::start().await;
    let forwarded = [
        "Via",
        "Host",
        "Connection",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Path",
    ];
    let check = async |what: &str, scheme, request: Request, expect: &[&str]| {
        let answer = bench.send(scheme, &request).await;
        let seen = bench.seen(&request);
        let expect: Vec<_> = forwarded.iter().chain(expect).copied().collect();
        assert_eq!(names(&seen.fields), expect, "{what}");
        assert_eq!(
            seen.field("X-Kong-Request-Id"),
            answer.field("X-Kong-Request-Id"),
            "{what}: one id on both legs"
        );
        seen
    };
    let sent = ["User-Agent", "Accept", "X-Lab-Id"];

    let mut expect = vec!["X-Forwarded-Prefix", "X-Real-IP", "X-Kong-Request-Id"];
    expect.extend(sent);
    let seen = check(
        "plain",
        Scheme::Http,
        Request::new("GET", "/plain/json?x=1"),
        &expect,
    )
    .await;
    let port = bench.listeners().plain.unwrap().port().to_string();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/json?x=1"));
    assert_eq!(seen.field("Via"), Some("1.1 kong/3.9.1"));
    assert_eq!(
        seen.field("Host"),
        Some(bench.upstream.plain.to_string().as_str())
    );
    assert_eq!(seen.field("X-Forwarded-Port"), Some(port.as_str()));
    assert_eq!(seen.field("X-Forwarded-Path"), Some("/plain/json"));
    assert_eq!(seen.field("X-Forwarded-Prefix"), Some("/plain"));

    let mut expect = vec!["X-Real-IP", "X-Kong-Request-Id"];
    expect.extend(sent);
    let host = Request::new("GET", "/json").host("API.lab.test:8000");
    let seen = check("by host, host kept", Scheme::Http, host, &expect).await;
    assert_eq!(seen.field("Host"), Some("API.lab.test:8000"));
    assert_eq!(seen.field("X-Forwarded-Host"), Some("api.lab.test"));

    // A chunked request reaches the upstream with its length, before the client's own fields.
    let mut expect = vec![
        "X-Forwarded-Prefix",
        "X-Real-IP",
        "X-Kong-Request-Id",
        "Content-Length",
    ];
    expect.extend(sent);
    expect.push("Content-Type");
    let body = bytes(Kind::Binary, 1, 30_000);
    let chunked =
        Request::new("POST", "/plain/echo").content("text/plain", Content::Chunked(body.clone(), 999));
    let seen = check("chunked", Scheme::Https, chunked, &expect).await;
    assert_eq!(seen.body, body);
    assert_eq!(seen.field("X-Forwarded-Proto"), Some("https"));

    let mut expect = vec!["X-Forwarded-Prefix", "X-Real-IP", "X-Kong-Request-Id"];
    expect.extend(sent);
    expect.extend([
        "apikey",
        "X-Consumer-ID",
        "X-Consumer-Custom-ID",
        "X-Consumer-Username",
        "X-Credential-Identifier",
    ]);
    let alice = Request::new("GET", "/keyed/headers").field("apikey", "alice-key-1");
    let seen = check("key-auth", Scheme::Http, alice, &expect).await;
    assert_eq!(
        seen.field("X-Consumer-ID"),
        Some("b32379d9-3d28-5683-a79c-72139be6e34f")
    );

    // What the client forged is overwritten where it stands; what the consumer lacks is taken out.
    let mut expect = vec!["X-Forwarded-Prefix", "X-Real-IP", "X-Kong-Request-Id"];
    expect.extend(sent);
    expect.extend([
        "apikey",
        "X-Consumer-Username",
        "X-Consumer-ID",
        "X-Credential-Identifier",
    ]);
    let forged = Request::new("GET", "/keyed/headers")
        .field("apikey", "bob-key-1")
        .field("X-Consumer-Username", "alice")
        .field("X-Consumer-Custom-ID", "cust-0001")
        .field("X-Kong-Request-Id", "forged")
        .field("X-Forwarded-For", "203.0.113.9");
    let seen = check("forged", Scheme::Http, forged, &expect).await;
    assert_eq!(seen.field("X-Consumer-Username"), Some("bob"));
    assert_eq!(seen.field("X-Forwarded-For"), Some("203.0.113.9, 127.0.0.1"));

    // hide_credentials takes the key out, from the query too.
    let hidden = Request::new("GET", "/hidden/json?apikey=five-key-1&x=1");
    let answer = bench.send(Scheme::Http, &hidden).await;
    assert_eq!(answer.status, 200);
    assert_eq!(bench.seen(&hidden).target, "/json?x=1");
    assert_eq!(
        bench.seen(&hidden).field("X-Consumer-Custom-ID"),
        Some("only-custom-id-5")
    );
    assert_eq!(bench.seen(&hidden).field("X-Consumer-Username"), None);
}

#[tokio::test]
async fn every_sample_is_answered_as_foreseen() {
    let bench = Bench::start().await;
    for sample in samples::all() {
        let expected = samples::send(&sample, bench.listeners()).await.unwrap();
        let seen = bench.upstream.seen(&sample.request.id);
        match expected.status {
            401 | 404 | 502 if seen.is_empty() => {}
            _ => {
                assert_eq!(seen.len(), 1, "{}", sample.name);
                assert_eq!(seen[0].body, expected.request_body, "{}", sample.name);
            }
        }
        assert!(expected.request_id.is_some(), "{}", sample.name);
    }
}

#[tokio::test]
async fn connections_are_kept_pipelined_and_pooled() {
    let bench = Bench::start().await;
    let mut connection = Connection::open(bench.listeners().tls.unwrap(), Scheme::Https)
        .await
        .unwrap();
    let requests: Vec<_> = (0..6)
        .map(|seed| {
            let body = bytes(Kind::Binary, seed, 2000);
            Request::new("POST", "/plain/echo").content("application/octet-stream", Content::Sized(body))
        })
        .collect();
    for request in &requests {
        connection.send(request).await.unwrap();
    }
    for request in &requests {
        let answer = connection.answer("POST").await.unwrap();
        assert_eq!(
            answer.body.bytes,
            request.body(),
            "answers come in the order of the requests"
        );
    }
    let peers: Vec<_> = requests.iter().map(|request| bench.seen(request).peer).collect();
    assert!(
        peers.windows(2).all(|pair| pair[0] == pair[1]),
        "one pooled connection upstream: {peers:?}"
    );

    // A failed GET is sent again by the pool's rules, and each attempt is an exchange upstream.
    let reset = Request::new("GET", "/plain/reset");
    assert_eq!(bench.send(Scheme::Http, &reset).await.status, 502);
    assert_eq!(bench.upstream.seen(&reset.id).len(), 6);
}

#[tokio::test]
async fn a_reload_replaces_the_workers_and_nothing_is_left_at_the_end() {
    let mut bench = Bench::start().await;
    let before = bench.gateway.workers().unwrap();
    assert_eq!(before.len(), 2);
    bench.gateway.reload().await.unwrap();
    let after = bench.gateway.workers().unwrap();
    assert!(
        after.iter().filter(|worker| !before.contains(worker)).count() == 2,
        "{before:?} {after:?}"
    );
    assert_eq!(
        bench
            .send(Scheme::Http, &Request::new("GET", "/plain/json"))
            .await
            .status,
        200
    );

    let directory = bench.gateway.configuration_file().parent().unwrap().to_owned();
    assert!(directory.exists());
    let master = bench.gateway.master();
    drop(bench);
    assert!(!directory.exists());
    for pid in after.into_iter().chain([master]) {
        let what = format!("process {pid} to be gone");
        kongtap_tests::wait::eventually(&what, std::time::Duration::from_secs(5), async || {
            if std::path::Path::new(&format!("/proc/{pid}")).exists() {
                Err("it is there".to_owned())
            } else {
                Ok(())
            }
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn the_receiver_keeps_posts_and_answers_as_runscope_does() {
    let receiver = Receiver::start().await.unwrap();
    let address = receiver.endpoint().trim_start_matches("http://").parse().unwrap();
    let post = Request::new("POST", "/buckets/b/messages")
        .field("Authorization", "Bearer t")
        .content("application/json", Content::Sized(b"{}".as_slice().into()));
    let answer = once(address, Scheme::Http, &post).await.unwrap();
    assert_eq!(
        (answer.status, &answer.json().unwrap()["meta"]["success_count"]),
        (200, &1.into())
    );
    let posts = receiver.posts();
    assert_eq!(posts.len(), 1);
    assert_eq!(
        (posts[0].line.as_str(), &posts[0].body[..]),
        ("POST /buckets/b/messages", &b"{}"[..])
    );
}
