//! Over a real connection: heads are bounded in bytes and fields.

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{HEAD_BYTES, HEAD_FIELDS, serve};

/// The status of the answer to a head; `None` where the connection ends without one.
async fn status(address: std::net::SocketAddr, head: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    // What is refused may be refused before all of it is sent.
    drop(stream.write_all(head.as_bytes()).await);
    let mut answer = [0; 64];
    let read = stream.read(&mut answer).await.unwrap_or(0);
    let text = String::from_utf8_lossy(&answer[..read]).into_owned();
    text.split(' ').nth(1)?.parse().ok()
}

#[tokio::test]
async fn heads_are_bounded_in_bytes_and_fields() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let cancel = CancellationToken::new();
    let router = Router::new().route("/", get(|| async { "here" }));
    let serving = tokio::spawn(serve(listener, router, cancel.clone()));
    let fields = |count: usize| "X-A: b\r\n".repeat(count);
    // `Host` is one of them.
    for (case, line, rest, expected) in [
        ("small", "/".to_owned(), String::new(), Some(200)),
        (
            "as many fields as may be",
            "/".to_owned(),
            fields(HEAD_FIELDS - 1),
            Some(200),
        ),
        ("one field more", "/".to_owned(), fields(HEAD_FIELDS), Some(431)),
        (
            "a long field",
            "/".to_owned(),
            format!("X-A: {}\r\n", "b".repeat(HEAD_BYTES / 2)),
            Some(200),
        ),
        (
            "a field that is too long",
            "/".to_owned(),
            format!("X-A: {}\r\n", "b".repeat(2 * HEAD_BYTES)),
            Some(431),
        ),
        (
            "a target that is too long",
            format!("/{}", "b".repeat(2 * HEAD_BYTES)),
            String::new(),
            Some(431),
        ),
    ] {
        let head = format!("GET {line} HTTP/1.1\r\nHost: localhost\r\n{rest}\r\n");
        let found = status(address, &head).await;
        match expected {
            Some(200) => assert_eq!(found, Some(200), "{case}"),
            // What comes back is 414, 431, or a reset where more was on its way; never the page.
            _ => assert!(matches!(found, None | Some(414 | 431)), "{case}: {found:?}"),
        }
    }
    cancel.cancel();
    serving.await.expect("it ends").expect("well");
}
