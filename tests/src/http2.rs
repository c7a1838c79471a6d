//! The client's other protocol: the same requests over HTTP/2, many at once on one connection.
//!
//! In: [`Request`]s and a gateway's address. Out: [`Answer`]s. HTTP/2 is the `h2` crate's, so what kongtap reads is what clients
//! really send: indexed fields, Huffman codes, flow control.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::client::{Answer, Content, Request, Scheme};
use crate::tls;
use crate::wire::{Body, Fields};

/// A connection to a gateway.
#[derive(Debug)]
pub struct Http2 {
    sender: SendRequest<Bytes>,
    gateway: SocketAddr,
    scheme: Scheme,
    driver: JoinHandle<()>,
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Http2 {
    /// Connects: over TLS by ALPN, plain by prior knowledge.
    ///
    /// # Errors
    /// When nobody answers, a handshake fails or the other end does not want HTTP/2.
    pub async fn open(gateway: SocketAddr, scheme: Scheme) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(gateway)
            .await
            .with_context(|| format!("connect to {gateway}"))?;
        stream.set_nodelay(true)?;
        let (sender, driver) = match scheme {
            Scheme::Http => handshake(stream).await?,
            Scheme::Https => {
                let mut configuration = (*tls::client()?).clone();
                configuration.alpn_protocols = vec![b"h2".to_vec()];
                let name = ServerName::try_from("localhost").context("server name")?;
                let stream = TlsConnector::from(Arc::new(configuration))
                    .connect(name, stream)
                    .await
                    .with_context(|| format!("TLS with {gateway}"))?;
                handshake(stream).await?
            }
        };
        Ok(Self {
            sender,
            gateway,
            scheme,
            driver,
        })
    }

    /// Sends a request on a stream of its own and receives its answer. Any number may be under way.
    ///
    /// # Errors
    /// When the stream or the connection breaks off.
    pub async fn exchange(&self, request: &Request) -> anyhow::Result<Answer> {
        let (answer, _) = self.exchange_with_trailers(request, None).await?;
        Ok(answer)
    }

    /// The same with trailers after the request's body, and those of the answer.
    ///
    /// # Errors
    /// As [`Http2::exchange`].
    pub async fn exchange_with_trailers(
        &self,
        request: &Request,
        trailers: Option<HeaderMap>,
    ) -> anyhow::Result<(Answer, Fields)> {
        let head = self.head(request)?;
        let ends = matches!(request.content, Content::Absent) && trailers.is_none();
        let mut sender = self.sender.clone().ready().await.context("HTTP/2 connection")?;
        let (answer, mut stream) = sender.send_request(head, ends).context("send a head")?;
        if !ends {
            let pieces = match &request.content {
                Content::Absent => vec![],
                Content::Sized(body) => vec![body.clone()],
                Content::Chunked(body, bytes) => body
                    .chunks((*bytes).max(1))
                    .map(|piece| body.slice_ref(piece))
                    .collect(),
            };
            for piece in pieces {
                stream.send_data(piece, false).context("send a body")?;
            }
            match trailers {
                Some(trailers) => stream.send_trailers(trailers).context("send trailers")?,
                None => stream.send_data(Bytes::new(), true).context("end a body")?,
            }
        }
        let (head, mut body) = answer.await.context("receive a head")?.into_parts();
        let mut bytes = BytesMut::new();
        while let Some(piece) = body.data().await {
            let piece = piece.context("receive a body")?;
            body.flow_control().release_capacity(piece.len())?;
            bytes.extend_from_slice(&piece);
        }
        let trailers = body.trailers().await.context("receive trailers")?;
        let answer = Answer {
            status: head.status.as_u16(),
            reason: String::new(),
            fields: fields(&head.headers),
            body: Body {
                wire_bytes: bytes.len(),
                bytes: bytes.freeze(),
            },
        };
        Ok((answer, trailers.as_ref().map(fields).unwrap_or_default()))
    }

    fn head(&self, request: &Request) -> anyhow::Result<http::Request<()>> {
        let host = request.host.clone().unwrap_or_else(|| self.gateway.to_string());
        let mut head = http::Request::builder()
            .method(request.method.as_str())
            .uri(format!("{}://{host}{}", self.scheme.name(), request.target));
        for (name, value) in &request.fields {
            head = head.header(
                HeaderName::from_bytes(name.as_bytes())?,
                HeaderValue::from_bytes(value.as_bytes())?,
            );
        }
        if let Content::Sized(body) = &request.content {
            head = head.header("content-length", body.len());
        }
        head.body(()).context("a request's head")
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> anyhow::Result<(SendRequest<Bytes>, JoinHandle<()>)> {
    let (sender, connection) = h2::client::handshake(stream).await.context("HTTP/2 handshake")?;
    let driver = tokio::spawn(async move {
        // Whoever waits for a stream hears of the error there.
        connection.await.unwrap_or_default();
    });
    Ok((sender, driver))
}

fn fields(headers: &HeaderMap) -> Fields {
    headers
        .iter()
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect()
}
