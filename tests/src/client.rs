//! The client: sends exactly what a test says, and records exactly what came back.
//!
//! In: [`Request`]s and a gateway's address. Out: [`Answer`]s. Absent: redirects, retries, pools; a connection is the test's.

use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use uuid::Uuid;

use crate::tls;
use crate::wire::{Body, Fields, Framing, Wire, chunked, field};

/// The field that carries a request's own id through the gateway.
pub const ID_FIELD: &str = "X-Lab-Id";

/// How a connection to the gateway is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// As URLs write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What is sent. It carries an id of its own in [`ID_FIELD`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its id.
    pub id: String,
    /// Method.
    pub method: String,
    /// Request target.
    pub target: String,
    /// Fields in the order in which they are sent; without Host, which comes first, and framing, which comes last.
    pub fields: Fields,
    /// Host field; the gateway's address when absent.
    pub host: Option<String>,
    /// Body.
    pub content: Content,
}

/// A request's body, and how it is framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// None, and no length either.
    Absent,
    /// With Content-Length.
    Sized(Bytes),
    /// In chunks of at most so many bytes.
    Chunked(Bytes, usize),
}

impl Request {
    /// A request without a body, with a new id.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        let id = Uuid::new_v4().simple().to_string();
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            fields: vec![
                ("User-Agent".to_owned(), "kongtap-lab".to_owned()),
                ("Accept".to_owned(), "*/*".to_owned()),
                (ID_FIELD.to_owned(), id.clone()),
            ],
            id,
            host: None,
            content: Content::Absent,
        }
    }

    /// The same with one more field.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same for another host.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn content(mut self, media_type: &str, content: Content) -> Self {
        self.content = content;
        self.field("Content-Type", media_type)
    }

    /// The body's bytes.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        match &self.content {
            Content::Absent => &[],
            Content::Sized(bytes) | Content::Chunked(bytes, _) => bytes,
        }
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self, gateway: SocketAddr) -> Bytes {
        let host = self.host.clone().unwrap_or_else(|| gateway.to_string());
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.target);
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut encoded = BytesMut::new();
        match &self.content {
            Content::Absent => encoded.extend_from_slice(format!("{head}\r\n").as_bytes()),
            Content::Sized(body) => {
                encoded.extend_from_slice(format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                encoded.extend_from_slice(body);
            }
            Content::Chunked(body, chunk_bytes) => {
                encoded.extend_from_slice(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes());
                encoded.extend_from_slice(&chunked(body, *chunk_bytes));
            }
        }
        encoded.freeze()
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Reason phrase.
    pub reason: String,
    /// Fields in the order in which they came.
    pub fields: Fields,
    /// Body.
    pub body: Body,
}

impl Answer {
    /// The first value of the field `name`, in any case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body.bytes).with_context(|| {
            format!(
                "status {}: {:?}",
                self.status,
                String::from_utf8_lossy(&self.body.bytes)
            )
        })
    }
}

/// A connection to a gateway, kept alive.
#[derive(Debug)]
pub struct Connection {
    wire: Wire,
    gateway: SocketAddr,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody answers, or the handshake fails.
    pub async fn open(gateway: SocketAddr, scheme: Scheme) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(gateway)
            .await
            .with_context(|| format!("connect to {gateway}"))?;
        stream.set_nodelay(true)?;
        let wire = match scheme {
            Scheme::Http => Wire::new(stream),
            Scheme::Https => {
                let name = ServerName::try_from("localhost").context("server name")?;
                let connector = TlsConnector::from(tls::client()?);
                Wire::new(
                    connector
                        .connect(name, stream)
                        .await
                        .with_context(|| format!("TLS with {gateway}"))?,
                )
            }
        };
        Ok(Self { wire, gateway })
    }

    /// Sends a request and receives its answer.
    ///
    /// # Errors
    /// When the connection breaks off.
    pub async fn exchange(&mut self, request: &Request) -> anyhow::Result<Answer> {
        self.send(request).await?;
        self.answer(&request.method).await
    }

    /// Sends without waiting: what pipelining is made of.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, request: &Request) -> anyhow::Result<()> {
        self.wire.send(&request.encode(self.gateway)).await
    }

    /// The next answer, to a request with this method. Interim answers (1xx) are passed over.
    ///
    /// # Errors
    /// When the connection breaks off, or what comes is no answer.
    pub async fn answer(&mut self, method: &str) -> anyhow::Result<Answer> {
        loop {
            let head = self.wire.head().await?.context(NO_ANSWER)?;
            let mut words = head.first_line.splitn(3, ' ').skip(1);
            let status: u16 = words
                .next()
                .and_then(|word| word.parse().ok())
                .with_context(|| format!("status line {:?}", head.first_line))?;
            if (100..200).contains(&status) {
                continue;
            }
            let framing = Framing::of_response(method, status, &head.fields)?;
            return Ok(Answer {
                status,
                reason: words.next().unwrap_or_default().to_owned(),
                fields: head.fields,
                body: self.wire.body(framing).await?,
            });
        }
    }
}

/// The gateway closed a connection that was kept alive.
const NO_ANSWER: &str = "the connection ended before an answer";

/// One exchange on a connection of its own.
///
/// # Errors
/// As [`Connection::open`] and [`Connection::exchange`].
pub async fn once(gateway: SocketAddr, scheme: Scheme, request: &Request) -> anyhow::Result<Answer> {
    Connection::open(gateway, scheme).await?.exchange(request).await
}

/// `GET` of a JSON document, for the lab's own questions to programs that it started.
///
/// # Errors
/// When there is no answer, or it is no JSON.
pub async fn get_json(
    server: SocketAddr,
    target: &str,
    token: Option<&str>,
) -> anyhow::Result<(u16, serde_json::Value)> {
    let mut request = Request::new("GET", target).field("Connection", "close");
    if let Some(token) = token {
        request = request.field("Authorization", &format!("Bearer {token}"));
    }
    let answer = once(server, Scheme::Http, &request).await?;
    let json = if answer.body.bytes.is_empty() {
        serde_json::Value::Null
    } else {
        answer.json()?
    };
    Ok((answer.status, json))
}
