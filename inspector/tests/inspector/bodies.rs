//! Bodies under content codings and charsets: kept as posted, and readable beside that, in the API and on a page.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::support::{Inspector, message};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A message whose response has this body, as the agent sends bytes.
fn with_body(headers: &Value, bytes: &[u8]) -> Value {
    let mut message = message("http://a.example/", 1.0, 200);
    message["response"]["headers"] = headers.clone();
    message["response"]["body"] = json!(STANDARD.encode(bytes));
    message["response"]["body_encoding"] = json!("base64");
    message
}

/// A message is read back as posted, with `expected` beside the response's body.
async fn check(inspector: &Inspector, what: &str, headers: Value, bytes: &[u8], expected: Value) {
    let posted = with_body(&headers, bytes);
    let uuid = inspector.keep_one(&posted).await;
    let read = inspector.data(&format!("/buckets/b/messages/{uuid}")).await;
    assert_eq!(read["response"]["body_decoded"], expected, "{what}");
    assert_eq!(read["response"]["body"], posted["response"]["body"], "{what}");
    assert_eq!(read["response"]["body_encoding"], "base64", "{what}");
    assert_eq!(read["request"]["body_decoded"], Value::Null, "{what}");
}

#[tokio::test]
async fn the_api_has_the_body_as_posted_and_decoded() {
    let inspector = Inspector::start().await;
    let coded = |coding: &str| json!({"content-encoding": coding});
    let text = "{\"ok\":true}";
    let whole = gzip(text.as_bytes());
    let expected = json!({"state": "whole", "codings": ["gzip"], "body": text});
    check(&inspector, "gzip", coded("gzip"), &whole, expected).await;
    let expected = json!({"state": "whole", "codings": ["gzip", "gzip"], "body": text});
    check(
        &inspector,
        "twice",
        json!({"Content-Encoding": ["gzip", "gzip"]}),
        &gzip(&whole),
        expected,
    )
    .await;
    let expected = json!({"state": "cut", "codings": ["gzip"], "body": text});
    check(
        &inspector,
        "cut",
        coded("gzip"),
        &whole[..whole.len() - 8],
        expected,
    )
    .await;
    let expected = json!({"state": "damaged", "codings": []});
    check(&inspector, "no gzip", coded("gzip"), b"\xffplain", expected).await;
    let expected = json!({"state": "unknown_coding", "codings": []});
    check(&inspector, "not known", coded("compress"), b"\x1f\x9d", expected).await;
    let expected =
        json!({"state": "whole", "codings": ["deflate"], "body": "/wA=", "body_encoding": "base64"});
    let stored = b"\x01\x02\0\xfd\xff\xff\0";
    check(&inspector, "bytes", coded("deflate"), stored, expected).await;
    let expected = json!({"state": "whole", "codings": [], "charset": "windows-1252", "body": "caf\u{e9}"});
    let headers = json!({"content-type": "text/plain; charset=latin1"});
    check(&inspector, "charset", headers, b"caf\xe9", expected).await;
    check(&inspector, "nothing to undo", json!({}), b"\xff", Value::Null).await;

    let bomb = inspector
        .keep_one(&with_body(&coded("gzip"), &gzip(&vec![b'a'; 8 << 20])))
        .await;
    let read = inspector.data(&format!("/buckets/b/messages/{bomb}")).await;
    let decoded = &read["response"]["body_decoded"];
    assert_eq!(decoded["state"], "limited");
    assert_eq!(decoded["body"].as_str().unwrap().len(), 1 << 20);

    let list = inspector.data("/buckets/b/messages").await;
    assert_eq!(list.as_array().unwrap().len(), 9);
    assert!(!list.to_string().contains("body_decoded"), "{list}");
    inspector.stop().await;
}

#[tokio::test]
async fn a_page_shows_the_body_decoded_and_as_sent() {
    let inspector = Inspector::start().await;
    let bytes = gzip(b"<b>&\xe9</b>");
    let headers = json!({"content-encoding": "gzip", "content-type": "text/html; charset=latin1"});
    let uuid = inspector.keep_one(&with_body(&headers, &bytes)).await;
    let address = format!("{}/exchanges/{uuid}", inspector.base);
    let page = inspector
        .client
        .get(address)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for expected in [
        &format!("<bdi>decoded from gzip, {} B as sent</bdi>", bytes.len()),
        "<bdi>read as windows-1252</bdi>",
        "<summary>As it was sent</summary>",
        "00000000  1f 8b 08",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    // Escaped as everything is.
    assert!(page.contains("b&#62;") && !page.contains("<b>"), "{page}");
    assert!(page.contains("&#38;\u{e9}&#60;/b&#62;"), "{page}");
    inspector.stop().await;
}
