//! gRPC through an nginx: HTTP/2 without TLS on both legs, the service and the gateway included.
//!
//! Out: a gateway's address and pid. The service answers each call with the call's own message, and tells how it went in
//! trailers, as gRPC does. Absent: protocol buffers; messages are bytes.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::gateway::{children, free_port};
use crate::processes::{Process, Start};

/// How long nginx may take to start.
const BUDGET: Duration = Duration::from_secs(10);

/// A running service and the gateway in front of it. Both end when it is dropped.
#[derive(Debug)]
pub struct Grpc {
    gateway: Process,
    listener: SocketAddr,
    _service: JoinSet<()>,
    _directory: TempDir,
}

impl Grpc {
    /// Starts both and waits until the gateway takes connections.
    ///
    /// # Errors
    /// When nginx does not start.
    pub async fn start() -> anyhow::Result<Self> {
        let service = TcpListener::bind("127.0.0.1:0").await.context("a gRPC service")?;
        let upstream = service.local_addr()?;
        let listener = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let directory = tempfile::Builder::new().prefix("kongtap-grpc.").tempdir()?;
        fs::write(
            directory.path().join("nginx.conf"),
            nginx_conf(listener, upstream),
        )?;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(service));
        let mut gateway = Process::start(Start {
            name: "gRPC gateway",
            program: Path::new("/usr/sbin/nginx"),
            arguments: vec![
                "-p".to_owned(),
                directory.path().display().to_string(),
                "-c".to_owned(),
                "nginx.conf".to_owned(),
            ],
            environment: vec![],
            log: directory.path().join("nginx.log"),
        })?;
        let master = gateway.pid();
        gateway
            .ready("the gRPC gateway", BUDGET, async || {
                let workers = children(master).map_err(|error| error.to_string())?;
                if workers.is_empty() {
                    return Err("no worker".to_owned());
                }
                let connected = TcpStream::connect(listener).await;
                connected.map(drop).map_err(|error| error.to_string())
            })
            .await?;
        Ok(Self {
            gateway,
            listener,
            _service: tasks,
            _directory: directory,
        })
    }

    /// Where the gateway takes calls.
    #[must_use]
    pub const fn listener(&self) -> SocketAddr {
        self.listener
    }

    /// The gateway's master.
    #[must_use]
    pub fn master(&self) -> u32 {
        self.gateway.pid()
    }
}

/// What Kong does with gRPC, by the same nginx module: the request id goes both ways.
fn nginx_conf(listener: SocketAddr, upstream: SocketAddr) -> String {
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    format!(
        "daemon off; {user}
worker_processes 1;
pid nginx.pid;
error_log stderr notice;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream service {{ server {upstream}; keepalive 8; }}
  server {{
    listen {listener} http2;
    location / {{
      grpc_set_header X-Kong-Request-Id $request_id;
      add_header X-Kong-Request-Id $request_id always;
      add_header X-Kong-Upstream-Latency 1 always;
      grpc_pass grpc://service;
    }}
  }}
}}
"
    )
}

async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve_connection(stream));
    }
}

async fn serve_connection(stream: TcpStream) -> anyhow::Result<()> {
    let mut connection = h2::server::handshake(stream).await?;
    let mut calls = JoinSet::new();
    while let Some(call) = connection.accept().await {
        let (request, responder) = call?;
        calls.spawn(answer(request, responder));
    }
    Ok(())
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut responder: h2::server::SendResponse<Bytes>,
) -> anyhow::Result<()> {
    let is_refused = request.uri().path().ends_with("/Refused");
    let mut body = request.into_body();
    let mut message = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        message.extend_from_slice(&piece);
    }
    let head = http::Response::builder().header("content-type", "application/grpc");
    if is_refused {
        // An answer of trailers only.
        let head = head.header("grpc-status", "7").header("grpc-message", "refused");
        responder.send_response(head.body(())?, true)?;
        return Ok(());
    }
    let mut stream = responder.send_response(head.body(())?, false)?;
    stream.send_data(message.freeze(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse()?);
    trailers.insert("grpc-message", "fine".parse()?);
    stream.send_trailers(trailers)?;
    Ok(())
}
