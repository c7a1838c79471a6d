//! Connections: TCP, by a proxy where one is to be used, and TLS on top.
//!
//! In: a [`Dialer`], made once for each pool. Out: [`Wire`]s for the HTTP client. A wire that is used again looks first
//! whether the endpoint has closed it meanwhile: if so nothing is written, and [`Gone`] says that a message was surely not
//! taken. (The client sees a close too, but only when its runtime has come to look.)

use std::error::Error;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustix::net::{RecvFlags, recv};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use crate::plugin::transport::HttpVersion;

/// What a connection to one endpoint is made with.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) tcp: HttpConnector,
    pub(super) way: Way,
    pub(super) tls: Option<Tls>,
    pub(super) version: HttpVersion,
    /// The endpoint, with its port.
    pub(super) target: Uri,
}

/// How the endpoint is reached.
#[derive(Clone, Debug)]
pub(super) enum Way {
    Direct,
    /// The proxy is sent the requests themselves.
    Forward(Uri),
    /// The proxy is asked for a connection to the endpoint.
    Tunnel {
        proxy: Uri,
        credentials: Option<HeaderValue>,
    },
}

#[derive(Clone)]
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    pub(super) name: ServerName<'static>,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer")
            .field("target", &self.target)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

type AnyError = Box<dyn Error + Send + Sync>;

/// Why there is no connection. The source says more.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("no connection")]
    Tcp(#[source] AnyError),
    #[error("the proxy made no connection")]
    Proxy(#[source] AnyError),
    #[error("no TLS")]
    Tls(#[source] io::Error),
    #[error("the endpoint does not speak HTTP/2")]
    NotHttp2,
}

/// The endpoint had closed the connection before anything of the message was written.
#[derive(Debug, thiserror::Error)]
#[error("the connection was closed before it could be used again")]
pub(super) struct Gone;

impl Service<Uri> for Dialer {
    type Response = Wire;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, DialError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        self.tcp
            .poll_ready(context)
            .map_err(|error| DialError::Tcp(error.into()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        Box::pin(dial(self.clone()))
    }
}

async fn dial(mut dialer: Dialer) -> Result<Wire, DialError> {
    let target = dialer.target;
    let stream = match dialer.way.clone() {
        Way::Direct => dialer
            .tcp
            .call(target)
            .await
            .map_err(|error| DialError::Tcp(error.into()))?,
        Way::Forward(proxy) => dialer
            .tcp
            .call(proxy)
            .await
            .map_err(|error| DialError::Proxy(error.into()))?,
        Way::Tunnel { proxy, credentials } => {
            let mut tunnel = Tunnel::new(proxy, dialer.tcp);
            if let Some(credentials) = credentials {
                tunnel = tunnel.with_auth(credentials);
            }
            tunnel
                .call(target)
                .await
                .map_err(|error| DialError::Proxy(error.into()))?
        }
    };
    let (stream, is_http2) = match dialer.tls {
        None => (Stream::Plain(stream), dialer.version == HttpVersion::Two),
        Some(Tls { connector, name }) => {
            let stream = connector
                .connect(name, stream.into_inner())
                .await
                .map_err(DialError::Tls)?;
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            if dialer.version == HttpVersion::Two && !is_http2 {
                return Err(DialError::NotHttp2);
            }
            (Stream::Tls(Box::new(TokioIo::new(stream))), is_http2)
        }
    };
    Ok(Wire {
        stream,
        is_forwarded: matches!(dialer.way, Way::Forward(_)),
        state: if is_http2 { State::Shared } else { State::Writing },
    })
}

#[derive(Debug)]
enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

/// What moved last on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A request, which was taken by the kernel as far as it was given.
    Writing,
    /// A request, and the kernel took only a part of what it was given.
    Blocked,
    /// An answer: what is written next is another request.
    Read,
    /// HTTP/2: requests and answers overlap.
    Shared,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    is_forwarded: bool,
    state: State,
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(self.is_forwarded);
        if self.state == State::Shared {
            connected.negotiated_h2()
        } else {
            connected
        }
    }
}

impl Wire {
    /// Fails when a request is to be written on a connection that has been closed, or on which the endpoint has said
    /// something unasked: its farewell.
    fn look(&self) -> io::Result<()> {
        if self.state != State::Read {
            return Ok(());
        }
        let tcp = match &self.stream {
            Stream::Plain(stream) => stream.inner(),
            Stream::Tls(stream) => stream.inner().get_ref().0,
        };
        match recv(tcp, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(()),
            Ok(_) | Err(_) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, Gone)),
        }
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>, wanted: usize) -> Poll<io::Result<usize>> {
        if self.state != State::Shared {
            self.state = match &written {
                Poll::Ready(Ok(bytes)) if *bytes == wanted => State::Writing,
                Poll::Ready(_) | Poll::Pending => State::Blocked,
            };
        }
        written
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        };
        ready!(read)?;
        if self.state == State::Writing {
            self.state = State::Read;
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.look()?;
        let written = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        };
        self.wrote(written, bytes.len())
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.look()?;
        let written = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(context, parts),
        };
        self.wrote(written, parts.iter().map(|part| part.len()).sum())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}

/// Whether `error` comes from a [`Gone`].
pub(super) fn is_gone(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<Gone>()) {
            return true;
        }
        cause = error.source();
    }
    false
}
