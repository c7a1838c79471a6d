//! Proxies: forwarding ones for plain HTTP, tunnels for TLS, SOCKS for either.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hyper::Version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::endpoint::{Behaviour, Endpoint, OK};
use super::list_endpoint::{ListEndpoint, Reply};
use super::{Run, destination, dropped, fates, message, once};
use crate::plugin::Destination;
use crate::plugin::transport::{HttpVersion, ProxyChoice};
use crate::ship::probe::probe;

/// What a proxy does.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// What it is asked for.
    Serves,
    /// Only for this `Proxy-Authorization`; else 407.
    Asks(&'static str),
    /// Answers everything so.
    Answers(&'static str),
}

/// A proxy on loopback; stops when it is dropped.
#[derive(Debug)]
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, manner, Arc::clone(&seen)));
            }
        });
        Self { address, heads, task }
    }

    fn choice(&self, credentials: &str) -> ProxyChoice {
        ProxyChoice::parse(&format!("http://{credentials}{}", self.address)).unwrap()
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(mut client: TcpStream, manner: Manner, heads: Arc<Mutex<Vec<String>>>) {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        if client.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let head = text.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
    heads.lock().unwrap().push(head.clone());
    let refusal = match manner {
        Manner::Serves => None,
        Manner::Asks(credentials) => {
            let wanted = format!("proxy-authorization: {}", credentials.to_ascii_lowercase());
            let is_there = head.lines().any(|line| line == wanted);
            (!is_there).then_some("HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n")
        }
        Manner::Answers(answer) => Some(answer),
    };
    if let Some(refusal) = refusal {
        // Whether the client still listens is its business.
        drop(client.write_all(refusal.as_bytes()).await);
        drop(client.shutdown().await);
        while client.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {}
        return;
    }
    let target = head.split(' ').nth(1).unwrap();
    let is_tunnel = head.starts_with("connect ");
    let authority = target.trim_start_matches("http://").split('/').next().unwrap();
    let mut server = TcpStream::connect(authority).await.unwrap();
    if is_tunnel {
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.unwrap();
    } else {
        server.write_all(&bytes).await.unwrap();
    }
    // Either end may be gone.
    drop(copy_bidirectional(&mut client, &mut server).await);
}

async fn ship(destination: &Destination) -> (u64, Vec<(&'static str, u64)>) {
    let run = Run::start(once());
    run.offer(message(destination, 10));
    let fates = fates(&run.settle().await);
    run.stop().await;
    fates
}

/// Basic credentials of `me` and `pass word`.
const CREDENTIALS: &str = "Basic bWU6cGFzcyB3b3Jk";

#[tokio::test]
async fn plain_http_is_forwarded_and_tls_is_tunnelled() {
    let plain = Endpoint::start(OK).await;
    let tls = Endpoint::start_tls(OK).await;
    for (endpoint, line) in [
        (
            &plain,
            format!("post http://{}/buckets/b/messages http/1.1", plain.address),
        ),
        (&tls, format!("connect {} http/1.1", tls.address)),
    ] {
        for (manner, credentials) in [
            (Manner::Serves, ""),
            (Manner::Asks(CREDENTIALS), "me:pass%20word@"),
        ] {
            let proxy = Proxy::start(manner).await;
            let mut destination = destination(&endpoint.url());
            destination.tls_verify = false;
            destination.transport.proxy = Some(proxy.choice(credentials));
            assert_eq!(ship(&destination).await, (1, vec![]), "{line} {manner:?}");
            let heads = proxy.heads();
            assert_eq!(heads.len(), 1, "{heads:?}");
            assert!(heads[0].starts_with(&line), "{heads:?}");
            // A tunnel hides the token.
            assert_eq!(
                heads[0].contains("bearer token"),
                line.starts_with("post"),
                "{heads:?}"
            );
        }
    }
    for endpoint in [&plain, &tls] {
        let received = endpoint.received();
        assert_eq!(received.len(), 2);
        assert!(
            received
                .iter()
                .all(|it| it.head.contains("authorization: Bearer token"))
        );
    }
    let through_tunnel = &tls.received()[1].head;
    assert!(
        !through_tunnel.contains("proxy-authorization"),
        "{through_tunnel}"
    );
}

#[tokio::test]
async fn what_a_proxy_refuses_was_not_delivered() {
    let check = async |is_tls: bool, manner: Manner, reason: &'static str| {
        let endpoint = if is_tls {
            Endpoint::start_tls(OK).await
        } else {
            Endpoint::start(OK).await
        };
        let proxy = Proxy::start(manner).await;
        let mut destination = destination(&endpoint.url());
        destination.tls_verify = false;
        destination.transport.proxy = Some(proxy.choice("me:wrong@"));
        assert_eq!(
            ship(&destination).await,
            dropped(reason, 1),
            "{is_tls} {manner:?}"
        );
        assert_eq!(endpoint.accepted(), 0);
    };
    check(false, Manner::Asks(CREDENTIALS), "unauthorized").await;
    check(true, Manner::Asks(CREDENTIALS), "unreachable").await;
    let bad_gateway = "HTTP/1.1 502 No\r\ncontent-length: 0\r\n\r\n";
    check(false, Manner::Answers(bad_gateway), "endpoint_error").await;
    check(true, Manner::Answers(bad_gateway), "unreachable").await;
}

#[tokio::test]
async fn a_destination_s_own_proxy_comes_before_the_general_one() {
    let endpoint = Endpoint::start(OK).await;
    let refusing = Proxy::start(Manner::Answers("HTTP/1.1 502 No\r\ncontent-length: 0\r\n\r\n")).await;
    let serving = Proxy::start(Manner::Serves).await;
    let mut destination = destination(&endpoint.url());
    let check = async |destination: &Destination, status: u16| {
        let reached = probe(destination, &refusing.choice("")).await.unwrap();
        assert_eq!(reached.status, status);
    };
    check(&destination, 502).await;
    destination.transport.proxy = Some(serving.choice(""));
    check(&destination, 200).await;
    destination.transport.proxy = Some(ProxyChoice::Direct);
    check(&destination, 200).await;
    // This host is not reached by the environment's proxy, whatever that is.
    destination.transport.proxy = Some(ProxyChoice::Environment);
    check(&destination, 200).await;
    assert_eq!((refusing.heads().len(), serving.heads().len()), (1, 1));
}

#[tokio::test]
async fn http2_in_clear_text_is_spoken_to_the_proxy_itself() {
    let proxy = ListEndpoint::start_with(None, Version::HTTP_2, |_| Reply::list(200, ["success"])).await;
    let mut destination = destination("http://endpoint.invalid/buckets/b/messages");
    destination.transport.http_version = HttpVersion::Two;
    destination.transport.proxy = ProxyChoice::parse(proxy.url().trim_end_matches("/buckets/b/messages"));
    assert_eq!(ship(&destination).await, (1, vec![]));
    let got = proxy.of_each(|got| (got.head.version, got.head.uri.to_string()));
    assert_eq!(got, [(Version::HTTP_2, destination.url.to_string())]);
}

/// Serves one connection as RFC 1928 and RFC 1929 say, for `me` and `pass word`; gives what it was asked to connect to.
async fn serve_socks(listener: TcpListener, endpoint: SocketAddr) -> String {
    let (mut client, _) = listener.accept().await.unwrap();
    let mut methods = [0; 2];
    client.read_exact(&mut methods).await.unwrap();
    let mut offered = vec![0; usize::from(methods[1])];
    client.read_exact(&mut offered).await.unwrap();
    assert!(offered.contains(&2), "{offered:?}");
    client.write_all(&[5, 2]).await.unwrap();
    let mut credentials = [0; 14];
    client.read_exact(&mut credentials).await.unwrap();
    assert_eq!(&credentials, b"\x01\x02me\x09pass word");
    client.write_all(&[1, 0]).await.unwrap();
    let mut request = [0; 5];
    client.read_exact(&mut request).await.unwrap();
    assert_eq!(request[..4], [5, 1, 0, 3], "a connection to a name");
    let mut place = vec![0; usize::from(request[4]) + 2];
    client.read_exact(&mut place).await.unwrap();
    client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 1]).await.unwrap();
    let mut server = TcpStream::connect(endpoint).await.unwrap();
    // Either end may be gone.
    drop(copy_bidirectional(&mut client, &mut server).await);
    let port = place.split_off(place.len() - 2);
    let port = u16::from_be_bytes([port[0], port[1]]);
    format!("{}:{port}", String::from_utf8(place).unwrap())
}

#[tokio::test]
async fn a_socks_proxy_is_asked_for_the_endpoint_by_name() {
    let plain = Endpoint::start(OK).await;
    let tls = Endpoint::start_tls(OK).await;
    for (endpoint, url, asked) in [
        (
            &plain,
            "http://endpoint.invalid/buckets/b/messages",
            "endpoint.invalid:80",
        ),
        (
            &tls,
            "https://endpoint.invalid/buckets/b/messages",
            "endpoint.invalid:443",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("socks5h://me:pass%20word@{}", listener.local_addr().unwrap());
        let place = tokio::spawn(serve_socks(listener, endpoint.address));
        let mut destination = destination(url);
        destination.tls_verify = false;
        destination.transport.proxy = ProxyChoice::parse(&proxy);
        assert_eq!(ship(&destination).await, (1, vec![]), "{url}");
        assert_eq!(place.await.unwrap(), asked);
        assert_eq!(endpoint.received().len(), 1, "{url}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_unreachable() {
    let endpoint = Endpoint::start(Behaviour::Silent).await;
    let proxy = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let mut destination = destination(&endpoint.url());
    destination.transport.proxy = ProxyChoice::parse(&format!("http://{proxy}"));
    assert_eq!(ship(&destination).await, dropped("unreachable", 1));
    assert_eq!(endpoint.accepted(), 0);
}
