//! The API: what is accepted, refused and listed, over real HTTP.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{BUDGET, Inspector, TOKEN, message};

#[tokio::test]
async fn every_refusal_has_its_status_and_the_error_envelope() {
    let inspector = Inspector::start().await;
    let good = message("http://a/", 1.0, 200).to_string();
    let nobody = "0192d4b0-0000-7000-8000-000000000000";
    let one = format!("/buckets/b/messages/{nobody}");
    for (method, path, token, body, status) in [
        (Method::POST, "/buckets/b/messages", None, good.as_str(), 401),
        (Method::POST, "/buckets/b/messages", Some("other"), &good, 401),
        (Method::POST, "/buckets/b/messages", Some(TOKEN), "", 400),
        (Method::POST, "/buckets/b/messages", Some(TOKEN), "{", 400),
        (Method::POST, "/buckets/b/messages", Some(TOKEN), "[]", 400),
        (Method::POST, "/buckets/b/messages", Some(TOKEN), "\"text\"", 400),
        (Method::POST, "/buckets/b%0a/messages", Some(TOKEN), &good, 404),
        (Method::POST, "/buckets/%ff/messages", Some(TOKEN), &good, 404),
        (Method::GET, "/buckets/b/messages", None, "", 401),
        (Method::GET, "/buckets/b/messages", Some("other"), "", 401),
        (Method::GET, "/buckets/b/messages?count=0", Some(TOKEN), "", 400),
        (
            Method::GET,
            "/buckets/b/messages?count=1001",
            Some(TOKEN),
            "",
            400,
        ),
        (
            Method::GET,
            "/buckets/b/messages?since=monday",
            Some(TOKEN),
            "",
            400,
        ),
        (Method::GET, &one, None, "", 401),
        (Method::GET, &one, Some(TOKEN), "", 404),
        (Method::GET, "/buckets/b/messages/7", Some(TOKEN), "", 404),
        (Method::DELETE, "/buckets/b/messages", Some(TOKEN), "", 405),
        (Method::GET, "/buckets", Some(TOKEN), "", 404),
    ] {
        let case = format!("{method} {path} {token:?} {body}");
        let mut request = inspector
            .client
            .request(method, format!("{}{path}", inspector.base));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.body(body.to_owned()).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{case}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff", "{case}");
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["meta"]["status"], "error", "{case}");
        assert_eq!(answer["error"]["status"], status, "{case}");
        assert!(
            answer["error"]["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{case}"
        );
    }
    assert_eq!(inspector.data("/buckets/b/messages").await, json!([]));
    inspector.stop().await;
}

#[tokio::test]
async fn a_bad_message_is_refused_with_the_field_that_is_wrong() {
    let inspector = Inspector::start().await;
    let bad = json!({"request": {"method": "GET", "url": "x", "headers": {"accept": ["a", {}]}}});
    let response = inspector.post("/buckets/b/messages", bad.to_string()).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["data"][0]["status"], "error");
    assert_eq!(answer["data"][0]["error"]["path"], "request.headers.accept[1]");
    assert_eq!(
        answer["error"]["message"],
        "request.headers.accept[1]: must be a string"
    );
    assert_eq!(
        answer["meta"],
        json!({"status": "error", "success_count": 0, "warning_count": 0, "error_count": 1})
    );
    inspector.stop().await;
}

#[tokio::test]
async fn a_list_is_answered_item_by_item_in_order() {
    let inspector = Inspector::start().await;
    let identified = |identifier: &str| {
        let mut message = message("http://a/", 1.0, 200);
        message["unique_identifier"] = json!(identifier);
        message
    };
    let list = json!([
        identified("one"),
        {"response": {}},
        identified("one"),
        {"response": {"status": 204, "body": "%", "body_encoding": "base64"}},
        {"request": {"method": "GET", "url": "x"}},
    ]);
    let response = inspector.post("/buckets/b/messages", list.to_string()).await;
    assert_eq!(response.status(), StatusCode::OK);
    let answer: Value = response.json().await.unwrap();
    let items = answer["data"].as_array().unwrap();
    let statuses: Vec<&str> = items
        .iter()
        .map(|item| item["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["success", "error", "success", "warning", "success"]);
    assert_eq!(items[0]["unique_identifier"], "one");
    assert_eq!(
        items[0]["uuid"], items[2]["uuid"],
        "a repeat is the message that is kept"
    );
    assert_eq!(items[1]["error"]["path"], "response.status");
    assert_eq!(items[3]["warning"]["code"], "body_not_base64");
    assert_eq!(
        answer["meta"],
        json!({"status": "success", "success_count": 3, "warning_count": 1, "error_count": 1})
    );
    assert_eq!(
        inspector
            .data("/buckets/b/messages")
            .await
            .as_array()
            .unwrap()
            .len(),
        3
    );
    // Later and in another post, still once; in another bucket, anew.
    assert_eq!(inspector.keep_one(&identified("one")).await, items[0]["uuid"]);
    let other = inspector
        .post("/buckets/other/messages", identified("one").to_string())
        .await;
    let other: Value = other.json().await.unwrap();
    assert_ne!(other["data"][0]["uuid"], items[0]["uuid"]);
    inspector.stop().await;
}

#[tokio::test]
async fn a_message_is_read_back_whole() {
    let inspector = Inspector::start().await;
    let mut sent = message(
        "http://a.example:8000/orders?x=1&x=2&y=%20z",
        1_526_895_422.123,
        201,
    );
    sent["request"]["form"] = json!({"a": ["1", "2"], "b": true});
    sent["kong"] = json!({"route": {"name": "r"}, "new": {"deep": [1]}});
    sent["unknown"] = json!("kept");
    sent["unique_identifier"] = json!("u-1");
    let uuid = inspector.keep_one(&sent).await;
    let read = inspector.data(&format!("/buckets/b/messages/{uuid}")).await;
    assert_eq!(read["uuid"], json!(uuid));
    assert_eq!(read["unique_identifier"], "u-1");
    assert_eq!(read["kong"], sent["kong"]);
    assert_eq!(read["unknown"], "kept");
    assert_eq!(
        read["request"]["headers"],
        json!({"host": ["a.example"], "accept": ["text/html", "*/*"]})
    );
    assert_eq!(read["request"]["form"], sent["request"]["form"]);
    assert_eq!(read["request"]["body"], "question");
    assert_eq!(read["request"]["timestamp"], 1_526_895_422.123);
    assert_eq!(read["request"]["scheme"], "http");
    assert_eq!(read["request"]["host"], "a.example");
    assert_eq!(read["request"]["path"], "/orders");
    assert_eq!(read["request"]["params"], json!({"x": ["1", "2"], "y": [" z"]}));
    assert_eq!(read["response"]["body"], "answer");
    assert_eq!(read["response"]["size_bytes"], "6");
    // Only in its own bucket.
    let elsewhere = inspector.get(&format!("/buckets/other/messages/{uuid}")).await;
    assert_eq!(elsewhere.status(), StatusCode::NOT_FOUND);
    inspector.stop().await;
}

#[tokio::test]
async fn lists_are_newest_first_without_bodies_and_page_exactly() {
    let inspector = Inspector::start().await;
    let times = [5.0, 1.0, 3.0, 3.0, 4.0, 2.0];
    let batch: Vec<Value> = times
        .iter()
        .enumerate()
        .map(|(index, at)| message(&format!("http://a/{index}"), *at, 200))
        .collect();
    inspector.keep(&Value::Array(batch)).await;
    let urls = |list: &Value| -> Vec<String> {
        let items = list.as_array().unwrap().iter();
        items
            .map(|item| item["request"]["url"].as_str().unwrap().replace("http://a/", ""))
            .collect()
    };
    let all = inspector.data("/buckets/b/messages").await;
    assert_eq!(urls(&all), ["0", "4", "3", "2", "5", "1"]);
    assert!(all[0]["request"].get("body").is_none() && all[0]["response"].get("body").is_none());
    assert_eq!(
        all[0]["response"]["headers"],
        json!({"content-type": ["text/plain"]})
    );
    for (query, expected) in [
        ("count=2", &["0", "4"][..]),
        ("since=4", &["0", "4"]),
        ("before=2", &["1"]),
        ("since=2&before=4", &["3", "2", "5"]),
        ("status=5xx", &[]),
    ] {
        let list = inspector.data(&format!("/buckets/b/messages?{query}")).await;
        assert_eq!(urls(&list), expected, "{query}");
    }
    let (mut paged, mut before) = (Vec::new(), String::new());
    loop {
        let page = inspector
            .data(&format!("/buckets/b/messages?count=1{before}"))
            .await;
        let Some(last) = page.as_array().unwrap().last() else {
            break;
        };
        before = format!("&before={}", last["uuid"].as_str().unwrap());
        paged.extend(urls(&page));
    }
    assert_eq!(paged, ["0", "4", "3", "2", "5", "1"]);
    inspector.stop().await;
}

#[tokio::test]
async fn a_post_that_is_too_large_is_refused_however_it_is_sent() {
    let inspector = Inspector::start_with(|config| config.limits.post_bytes = 4_096).await;
    let large = |length: usize| {
        let mut message = message("http://a/", 1.0, 200);
        message["request"]["body"] = json!("x".repeat(length));
        message.to_string()
    };
    inspector
        .keep(&serde_json::from_str(&large(2_000)).unwrap())
        .await;
    for length in [5_000, 20 << 20] {
        let response = inspector.post("/buckets/b/messages", large(length)).await;
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE, "{length}");
        let answer: Value = response.json().await.unwrap();
        assert!(answer["error"]["message"].as_str().unwrap().contains("4096"));
    }
    // Without a length announced, so that only counting can find out.
    let mut stream = TcpStream::connect(inspector.base.trim_start_matches("http://"))
        .await
        .unwrap();
    let head = format!(
        "POST /buckets/b/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; 0x2000]).await.unwrap();
    stream.write_all(b"\r\n0\r\n\r\n").await.unwrap();
    assert!(first_line(&mut stream).await.contains("413"));
    inspector.stop().await;
}

#[tokio::test]
async fn without_room_clients_are_told_to_come_again() {
    let inspector = Inspector::start_with(|config| config.limits.receiving_bytes = 8 * 1024).await;
    inspector.keep(&message("http://a/", 1.0, 200)).await;
    let mut large = message("http://a/", 1.0, 200);
    large["request"]["body"] = json!("x".repeat(16 * 1024));
    let response = inspector.post("/buckets/b/messages", large.to_string()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    let status: Value = inspector.get("/status").await.json().await.unwrap();
    assert_eq!(status["refused_posts"]["overloaded"], 1);
    assert_eq!(status["messages"]["kept"], 1);
    // The room of what was kept is free again.
    for _ in 0..20 {
        inspector.keep(&message("http://a/", 1.0, 200)).await;
    }
    inspector.stop().await;
}

/// Byte for byte what Kong's plugin wrote to its socket: no User-Agent, a CRLF too many, a body that is not UTF-8.
#[tokio::test]
async fn the_old_plugins_posts_are_accepted_as_they_were() {
    let inspector = Inspector::start().await;
    let mut body = br#"{"request":{"method":"POST","body":"caf\u00e9 "#.to_vec();
    body.extend(b"\xe9\x1f\x8b".map(|byte| if byte == 0x1f { b'?' } else { byte }));
    body.extend(
        br#"","url":"http:\/\/127.0.0.1:8000\/rs","form":{"a":["1","2"],"b":true},"timestamp":1795341581.101,"headers":{"host":"127.0.0.1:8000"}},"response":{"size_bytes":"14","headers":{},"response_time":0.002,"status":200,"timestamp":1795341581.103}}"#,
    );
    let mut post = format!(
        "POST /buckets/lab/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Keep-Alive\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    post.extend(&body);
    post.extend(b"\r\n");
    let mut stream = TcpStream::connect(inspector.base.trim_start_matches("http://"))
        .await
        .unwrap();
    for _ in 0..2 {
        stream.write_all(&post).await.unwrap();
        assert!(first_line(&mut stream).await.starts_with("HTTP/1.1 200"));
    }
    let list = inspector.data("/buckets/lab/messages").await;
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(list[0]["warnings"], json!(["invalid_utf8"]));
    let uuid = list[0]["uuid"].as_str().unwrap();
    let read = inspector.data(&format!("/buckets/lab/messages/{uuid}")).await;
    assert_eq!(read["request"]["body"], "café \u{fffd}?\u{fffd}");
    inspector.stop().await;
}

#[tokio::test]
async fn halves_posted_apart_are_both_kept() {
    let inspector = Inspector::start().await;
    let request = json!({"unique_identifier": "u", "request": {"method": "GET", "url": "http://a/"}});
    let response = json!({"unique_identifier": "u", "response": {"status": 200}});
    let first = inspector.keep_one(&request).await;
    let second = inspector.keep_one(&response).await;
    assert_ne!(first, second);
    assert_eq!(inspector.keep_one(&response).await, second);
    inspector.stop().await;
}

#[tokio::test]
async fn the_oldest_are_pruned_while_receiving() {
    let inspector = Inspector::start_with(|config| config.retention.messages = 50).await;
    for batch in 0..10 {
        let messages: Vec<Value> = (0..20)
            .map(|index| {
                message(
                    &format!("http://a/{}", batch * 20 + index),
                    f64::from(batch * 20 + index),
                    200,
                )
            })
            .collect();
        inspector.keep(&Value::Array(messages)).await;
    }
    let kept = timeout(BUDGET, async {
        loop {
            let list = inspector.data("/buckets/b/messages?count=1000").await;
            let list = list.as_array().unwrap().clone();
            if list.len() == 50 {
                return list;
            }
            assert!(list.len() > 50, "pruned too much: {}", list.len());
        }
    })
    .await
    .expect("not pruned in time");
    assert_eq!(kept[0]["request"]["url"], "http://a/199");
    assert_eq!(kept[49]["request"]["url"], "http://a/150");
    let status: Value = inspector.get("/status").await.json().await.unwrap();
    assert_eq!(status["messages"]["pruned"], 150);
    inspector.stop().await;
}

#[tokio::test]
async fn health_needs_no_token() {
    let inspector = Inspector::start().await;
    let response = inspector
        .client
        .get(format!("{}/healthz", inspector.base))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (response.status(), response.text().await.unwrap().as_str()),
        (StatusCode::OK, "ok\n")
    );
    inspector.stop().await;
}

/// The first line of an answer whose rest is read away.
async fn first_line(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    timeout(BUDGET, async {
        loop {
            let mut buffer = [0; 4_096];
            let read = stream.read(&mut buffer).await.unwrap();
            answer.extend(&buffer[..read]);
            let text = String::from_utf8_lossy(&answer);
            let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                length.is_some_and(|length| body.len() >= length.parse().unwrap())
            });
            if whole || read == 0 {
                return;
            }
        }
    })
    .await
    .expect("no answer in time");
    String::from_utf8_lossy(&answer)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}
