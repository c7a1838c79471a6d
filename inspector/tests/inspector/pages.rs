//! The pages: hostile content is shown escaped, under a strict Content-Security-Policy.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Inspector, message};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

async fn page(inspector: &Inspector, path: &str) -> String {
    let response = inspector
        .client
        .get(format!("{}{path}", inspector.base))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("content-type", "text/html; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(response.headers()[name], value, "{path}");
    }
    response.text().await.unwrap()
}

/// A message with `evil` wherever a sender can put text.
fn hostile(evil: &str) -> Value {
    json!({
        "unique_identifier": evil.chars().take(60).collect::<String>(),
        evil: {evil: [evil]},
        "request": {
            "method": evil, "url": evil, "headers": {evil: [evil, evil]}, "form": {evil: evil}, "body": evil,
            "timestamp": 1.0, evil: evil,
        },
        "response": {"status": 200, "reason": evil, "headers": {evil: evil, "content-encoding": evil}, "body": evil, evil: evil},
        "kong": {
            "route": {"name": evil}, "service": {"name": evil}, "consumer": {"username": evil}, "request_id": evil,
            "completeness": {evil: evil}, evil: [{evil: evil}],
        },
    })
}

#[tokio::test]
async fn hostile_content_is_only_ever_text() {
    let inspector = Inspector::start().await;
    let own_tags = [
        "script", "img", "a", "link", "iframe", "svg", "form", "base", "meta", "object",
    ];
    // What the pages hold of such tags and of addresses without any message: the measure for all others.
    let plain = inspector.keep_one(&hostile("plain")).await;
    let tags = |page: &str| own_tags.map(|tag| page.matches(&format!("<{tag}")).count());
    let measure = tags(&page(&inspector, &format!("/exchanges/{plain}")).await);
    for evil in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "'><svg/onload=alert(1)>",
        "javascript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "</pre></td></table><form action=//evil><iframe src=//evil>",
        "</title><base href=//evil>",
        "<!--",
        "{{7*7}}{% raw %}&lt;script&gt;",
        "\u{0}\u{1}\u{1b}[31m\u{7f}\u{9b}",
        "\u{202e}gpj.exe\u{2066}\u{200f}\u{feff}",
        "\r\nSet-Cookie: a=b\r\n\r\n<b>",
    ] {
        let uuid = inspector.keep_one(&hostile(evil)).await;
        let bucket = url_encoded(evil);
        let elsewhere = inspector
            .post(&format!("/buckets/{bucket}/messages"), hostile(evil).to_string())
            .await;
        let has_controls = evil.chars().any(char::is_control);
        assert_eq!(elsewhere.status() == StatusCode::OK, !has_controls, "{evil:?}");

        let exchange = page(&inspector, &format!("/exchanges/{uuid}")).await;
        assert_eq!(tags(&exchange), measure, "{evil:?}");
        let filters = format!("/?text={bucket}&bucket={bucket}&method={bucket}");
        for (path, page) in [
            ("exchange", exchange),
            ("list", page(&inspector, "/").await),
            ("filtered", page(&inspector, &filters).await),
        ] {
            for raw in [
                "<script>alert",
                "<img src=x",
                "<svg/",
                "<form",
                "<iframe",
                "<base",
                "<!--",
                "<b>",
                "onerror=alert(1)>",
            ] {
                assert!(!page.contains(raw), "{path}, {evil:?}: {raw}");
            }
            for scheme in ["javascript:", "data:", "//evil"] {
                for attribute in ["href", "src", "action"] {
                    assert!(
                        !page.contains(&format!("{attribute}=\"{scheme}")),
                        "{path}, {evil:?}"
                    );
                }
            }
            let unseen = |character: char| {
                (character.is_control() && character != '\n' && character != '\t')
                    || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200f}' | '\u{feff}')
            };
            assert_eq!(
                page.chars().find(|character| unseen(*character)),
                None,
                "{path}, {evil:?}"
            );
        }
    }
    inspector.stop().await;
}

fn url_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn huge_values_make_bounded_pages() {
    let inspector = Inspector::start().await;
    let huge = "é<".repeat(100_000);
    let uuid = inspector.keep_one(&hostile(&huge)).await;
    let many: serde_json::Map<String, Value> = (0..5_000).map(|n| (format!("h{n}"), json!("v"))).collect();
    let headers = inspector
        .keep_one(&json!({"request": {"method": "GET", "url": "x", "headers": many}, "kong": {"a": vec![1; 5_000]}}))
        .await;
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let deep = inspector
        .keep_one(&json!({"response": {"status": 200, "body": deep}}))
        .await;
    for uuid in [&uuid, &headers, &deep] {
        let page = page(&inspector, &format!("/exchanges/{uuid}")).await;
        assert!(page.len() < 4 << 20, "{}", page.len());
    }
    let list = page(&inspector, "/").await;
    assert!(list.len() < 64 << 10, "{}", list.len());
    inspector.stop().await;
}

#[tokio::test]
async fn an_exchange_is_shown_whole() {
    let inspector = Inspector::start().await;
    let mut sent = message("http://a.example:8000/orders?page=2", 1_795_341_581.101, 201);
    sent["response"]["body"] = json!("eyJvayI6dHJ1ZX0=");
    sent["response"]["body_encoding"] = json!("base64");
    sent["request"]["form"] = json!({"field": ["1", true]});
    sent["kong"] = json!({
        "route": {"id": "r-1", "name": "orders-route"}, "service": {"name": "orders"}, "consumer": {"username": "alice"},
        "request_id": "abc123", "latencies": {"upstream_ms": 7}, "completeness": {"response_body_truncated": true},
    });
    sent["vendor"] = json!({"note": "kept"});
    let uuid = inspector.keep_one(&sent).await;
    let page = page(&inspector, &format!("/exchanges/{uuid}")).await;
    for expected in [
        "http://a.example:8000/orders?page=2",
        "2026-11-22 09:59:41.101 UTC",
        "orders-route",
        "alice",
        "abc123",
        "latencies.upstream_ms",
        "Not whole: <bdi>response body truncated</bdi>",
        "vendor.note",
        "&#34;ok&#34;: true",
        "true (no value)",
        ">question</pre>",
        "201",
    ] {
        assert!(page.contains(expected), "{expected}\n{page}");
    }
    inspector.stop().await;
}

#[tokio::test]
async fn halves_of_an_exchange_link_to_each_other() {
    let inspector = Inspector::start().await;
    let request = json!({"unique_identifier": "u", "request": {"method": "GET", "url": "http://a/"}});
    let response = json!({"unique_identifier": "u", "response": {"status": 200}});
    let (request, response) = (
        inspector.keep_one(&request).await,
        inspector.keep_one(&response).await,
    );
    let shown = page(&inspector, &format!("/exchanges/{request}")).await;
    assert!(shown.contains("holds no response"));
    assert!(shown.contains(&format!("/exchanges/{response}\">response only")));
    inspector.stop().await;
}

#[tokio::test]
async fn the_list_filters_and_pages_without_a_script() {
    let inspector = Inspector::start().await;
    assert!(page(&inspector, "/").await.contains("Nothing received yet"));
    let batch: Vec<Value> = (0..150)
        .map(|n| {
            message(
                &format!("http://a/item-{n}-"),
                f64::from(n),
                if n % 2 == 0 { 200 } else { 503 },
            )
        })
        .collect();
    inspector.keep(&Value::Array(batch)).await;
    let first = page(&inspector, "/?status=5xx").await;
    assert_eq!(first.matches("<tr data-uuid").count(), 75);
    assert!(first.contains("item-149-") && !first.contains("item-148-"));
    let first = page(&inspector, "/").await;
    assert_eq!(first.matches("<tr data-uuid").count(), 100);
    let (_, older) = first
        .split_once("rel=\"next\" href=\"")
        .expect("a link to older ones");
    let (older, _) = older.split_once('"').unwrap();
    let second = page(&inspector, &older.replace("&#38;", "&")).await;
    assert_eq!(second.matches("<tr data-uuid").count(), 50);
    assert!(second.contains("item-0-") && !second.contains("item-50-"));
    assert!(!second.contains("/live?"), "an older page does not move");
    assert_eq!(
        page(&inspector, "/?text=ITEM-77-")
            .await
            .matches("<tr data-uuid")
            .count(),
        1
    );
    inspector.stop().await;
}

#[tokio::test]
async fn pages_are_served_under_known_names_only() {
    let inspector = Inspector::start().await;
    let uuid = inspector.keep_one(&message("http://a/", 1.0, 200)).await;
    let exchange = format!("/exchanges/{uuid}");
    for path in ["/", &exchange, "/live", "/static/live.js"] {
        for (host, expected) in [
            ("evil.example", StatusCode::MISDIRECTED_REQUEST),
            ("127.0.0.1.evil.example:80", StatusCode::MISDIRECTED_REQUEST),
            ("localhost:1", StatusCode::OK),
            ("[::1]", StatusCode::OK),
        ] {
            let request = inspector
                .client
                .get(format!("{}{path}", inspector.base))
                .header("host", host);
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), expected, "{path} {host}");
            assert_eq!(response.headers()["content-security-policy"], POLICY);
        }
    }
    inspector.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_said_on_a_page() {
    let inspector = Inspector::start().await;
    for (path, status) in [
        ("/exchanges/0192d4b0-0000-7000-8000-000000000000", 404),
        ("/exchanges/<script>", 404),
        ("/exchanges/%ff", 404),
        ("/?status=teapot", 400),
        ("/?before=x", 400),
        ("/live?after=x", 400),
    ] {
        let response = inspector
            .client
            .get(format!("{}{path}", inspector.base))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(response.headers()["content-security-policy"], POLICY);
        assert!(response.text().await.unwrap().contains("<h1>"), "{path}");
    }
    inspector.stop().await;
}

/// The policy allows no inline script, style or handler, so a page that has one is broken.
#[tokio::test]
async fn pages_keep_to_their_own_policy() {
    let inspector = Inspector::start().await;
    let uuid = inspector.keep_one(&message("http://a/", 1.0, 200)).await;
    for path in ["/", &format!("/exchanges/{uuid}")] {
        let page = page(&inspector, path).await;
        for banned in [
            " style=",
            "<style",
            " onclick=",
            " onload=",
            "<script>",
            "<form",
            "<base",
        ] {
            assert!(!page.contains(banned), "{path}: {banned}");
        }
    }
    for (path, media_type) in [
        ("/static/live.js", "text/javascript; charset=utf-8"),
        ("/static/style.css", "text/css; charset=utf-8"),
        ("/static/icon.svg", "image/svg+xml"),
    ] {
        let response = inspector
            .client
            .get(format!("{}{path}", inspector.base))
            .send()
            .await
            .unwrap();
        assert_eq!(response.headers()["content-type"], media_type);
        let text = response.text().await.unwrap();
        for banned in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!text.contains(banned), "{path}: {banned}");
        }
    }
    inspector.stop().await;
}
