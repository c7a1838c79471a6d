//! An endpoint on loopback that speaks HTTP/1.1 or HTTP/2, in clear text or over TLS, and answers as a function says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A request as it came.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) head: Parts,
    pub(super) body: Value,
}

impl Got {
    /// How many messages it had.
    pub(super) fn messages(&self) -> usize {
        self.body.as_array().map_or(1, Vec::len)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) text: String,
}

impl Reply {
    pub(super) fn new(status: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            text: text.into(),
        }
    }

    /// The documented list, each entry with its status.
    pub(super) fn list<'s, E: IntoIterator<Item = &'s str>>(status: u16, entries: E) -> Self {
        let entry = |status: &str| match status {
            "error" => json!({"status": status, "error": {"code": "bad_message", "message": "no"}}),
            _ => json!({"status": status, "uuid": "u", "error": null}),
        };
        let data: Vec<Value> = entries.into_iter().map(entry).collect();
        Self::new(
            status,
            json!({"data": data, "meta": {"success_count": 1}}).to_string(),
        )
    }
}

type Answer = Arc<dyn Fn(&Got) -> Reply + Send + Sync>;

/// A listening endpoint; stops when it is dropped.
#[derive(Debug)]
pub(super) struct ListEndpoint {
    pub(super) address: SocketAddr,
    scheme: &'static str,
    got: Arc<Mutex<Vec<Got>>>,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for ListEndpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ListEndpoint {
    pub(super) async fn start(answer: impl Fn(&Got) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, Version::HTTP_11, answer).await
    }

    /// `version` is what it speaks where TLS does not say otherwise.
    pub(super) async fn start_with(
        tls: Option<ServerConfig>,
        version: Version,
        answer: impl Fn(&Got) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let tls = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
        let got = Arc::new(Mutex::new(Vec::new()));
        let accepted = Arc::new(AtomicUsize::new(0));
        let (seen, count) = (Arc::clone(&got), Arc::clone(&accepted));
        let answer: Answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let (tls, seen, answer) = (tls.clone(), Arc::clone(&seen), Arc::clone(&answer));
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, version, seen, answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                                let version = if is_http2 { Version::HTTP_2 } else { version };
                                serve(stream, version, seen, answer).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            scheme,
            got,
            accepted,
            task,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("{}://{}/buckets/b/messages", self.scheme, self.address)
    }

    /// Connections so far.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Of each request that came.
    pub(super) fn of_each<T>(&self, what: impl Fn(&Got) -> T) -> Vec<T> {
        self.got.lock().unwrap().iter().map(what).collect()
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    version: Version,
    seen: Arc<Mutex<Vec<Got>>>,
    answer: Answer,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
        async move {
            let (head, body) = request.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&bytes).unwrap_or_default();
            let got = Got { head, body };
            let reply = answer(&got);
            seen.lock().unwrap().push(got);
            let mut response = Response::new(Full::new(Bytes::from(reply.text)));
            *response.status_mut() = StatusCode::from_u16(reply.status).unwrap();
            for (name, value) in reply.headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            Ok::<_, Infallible>(response)
        }
    });
    let stream = TokioIo::new(stream);
    // However a connection ends is the client's business.
    if version == Version::HTTP_2 {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        drop(builder.serve_connection(stream, service).await);
    } else {
        let mut builder = hyper::server::conn::http1::Builder::new();
        drop(
            builder
                .timer(TokioTimer::new())
                .serve_connection(stream, service)
                .await,
        );
    }
}
