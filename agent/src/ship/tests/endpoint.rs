//! Endpoints on loopback that behave, each in its own way.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What an endpoint does with a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Behaviour {
    /// Answers with these bytes and keeps the connection.
    Answers(&'static str),
    /// Answers with these bytes and closes the connection.
    AnswersAndCloses(&'static str),
    /// Answers with these bytes and resets the connection.
    AnswersAndResets(&'static str),
    /// Never answers.
    Silent,
    /// Begins an answer and adds a byte now and then, without end.
    Trickles,
    /// Closes the connection before it reads anything.
    HangsUp,
    /// Does one of these for each request, whichever connection it comes on, and the last one for all that follow. In here
    /// `HangsUp` reads the request first, and nothing resets.
    Script(&'static [Self]),
}

impl Behaviour {
    /// What it does with the request of this number.
    fn at(self, request: usize) -> Self {
        match self {
            Self::Script(script) => script[request.min(script.len() - 1)],
            Self::Answers(_)
            | Self::AnswersAndCloses(_)
            | Self::AnswersAndResets(_)
            | Self::Silent
            | Self::Trickles
            | Self::HangsUp => self,
        }
    }
}

pub(super) const OK: Behaviour = Behaviour::Answers("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");

/// A request as the endpoint received it.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

/// A listening endpoint; stops when it is dropped.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    scheme: &'static str,
    received: Arc<Mutex<Vec<Received>>>,
    accepted: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Endpoint {
    pub(super) async fn start(behaviour: Behaviour) -> Self {
        Self::start_with("127.0.0.1:0", behaviour, None).await
    }

    /// Listens where another one did.
    pub(super) async fn start_at(address: SocketAddr, behaviour: Behaviour) -> Self {
        Self::start_with(&address.to_string(), behaviour, None).await
    }

    /// Speaks TLS with a certificate for `127.0.0.1` that nobody signed.
    pub(super) async fn start_tls(behaviour: Behaviour) -> Self {
        let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::start_with("127.0.0.1:0", behaviour, Some(acceptor)).await
    }

    async fn start_with(listen: &str, behaviour: Behaviour, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let received = Arc::new(Mutex::new(Vec::new()));
        let accepted = Arc::new(AtomicUsize::new(0));
        let open = Arc::new(AtomicUsize::new(0));
        let seen = (Arc::clone(&received), Arc::clone(&accepted), Arc::clone(&open));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (received, accepted, open) = seen.clone();
                accepted.fetch_add(1, Ordering::SeqCst);
                open.fetch_add(1, Ordering::SeqCst);
                let tls = tls.clone();
                connections.spawn(async move {
                    match tls {
                        None => serve_plain(stream, behaviour, &received).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, behaviour, &received).await;
                            }
                        }
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            scheme,
            received,
            accepted,
            open,
            task,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("{}://{}/buckets/b/messages", self.scheme, self.address)
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Connections accepted so far.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

async fn serve_plain(stream: TcpStream, behaviour: Behaviour, received: &Mutex<Vec<Received>>) {
    if matches!(behaviour, Behaviour::AnswersAndResets(_)) {
        // Closing with a linger time of zero sends a reset.
        #[expect(
            deprecated,
            reason = "zero never blocks, which is what the deprecation is about"
        )]
        stream.set_linger(Some(Duration::ZERO)).unwrap();
    }
    serve(stream, behaviour, received).await;
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    behaviour: Behaviour,
    received: &Mutex<Vec<Received>>,
) {
    if matches!(behaviour, Behaviour::HangsUp) {
        return;
    }
    while let Some(request) = read_request(&mut stream).await {
        let number = {
            let mut received = received.lock().unwrap();
            received.push(request);
            received.len() - 1
        };
        match behaviour.at(number) {
            Behaviour::Answers(answer) => {
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            Behaviour::AnswersAndCloses(answer) => {
                if stream.write_all(answer.as_bytes()).await.is_ok() && stream.shutdown().await.is_ok() {
                    // Until the client has seen the end, so that this is not a reset.
                    while stream.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {}
                }
                return;
            }
            Behaviour::AnswersAndResets(answer) => {
                if stream.write_all(answer.as_bytes()).await.is_ok() {
                    // Let the answer's beginning arrive before the reset overtakes it.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                return;
            }
            Behaviour::Silent => std::future::pending().await,
            Behaviour::HangsUp | Behaviour::Script(_) => return,
            Behaviour::Trickles => {
                let head = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";
                if stream.write_all(head.as_bytes()).await.is_err() {
                    return;
                }
                let mut ticks = tokio::time::interval(Duration::from_millis(5));
                loop {
                    ticks.tick().await;
                    if stream.write_all(b" ").await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Received> {
    let mut bytes = Vec::new();
    let head_bytes = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_bytes].to_vec()).unwrap();
    let body_bytes: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head_bytes + body_bytes {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some(Received {
        head,
        body: bytes[head_bytes..].to_vec(),
    })
}
