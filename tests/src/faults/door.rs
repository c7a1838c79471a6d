//! How connections come about: let in, refused, or met by silence.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::faults::Manner;
use crate::faults::authority::{Authority, Shown};
use crate::faults::serve::{Desk, serve};

/// Connections that may wait to be accepted by an open door.
const BACKLOG: u32 = 1024;
/// The shortest backlog there is; the kernel lets one connection more in than it says.
const NO_BACKLOG: u32 = 0;
/// More connections than that backlog holds.
const FILLERS: usize = 8;
/// A connection over loopback that has not come about after this will not.
const REFUSED: Duration = Duration::from_millis(150);

/// The kind of door that a manner asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Closed,
    Full,
    Plain,
    Tls(Option<Shown>),
}

/// A door.
#[derive(Debug)]
pub(super) struct Door {
    kind: Kind,
    is_tls: bool,
    /// Accepts and serves; with it go its connections.
    server: JoinSet<()>,
    /// What keeps a backlog full.
    full: Option<(TcpListener, Vec<TcpStream>)>,
}

fn kind(manner: Manner, is_tls: bool) -> Kind {
    match manner {
        Manner::Refuse | Manner::NoName | Manner::SilentNames => Kind::Closed,
        Manner::BlackHole => Kind::Full,
        Manner::Certificate(shown) => Kind::Tls(Some(shown)),
        Manner::NoTls | Manner::NoHandshake => Kind::Plain,
        Manner::Well
        | Manner::Deaf
        | Manner::Mute
        | Manner::Drip(_)
        | Manner::Reset(_)
        | Manner::Status(..)
        | Manner::SomeErrors(_)
        | Manner::Slow(_)
        | Manner::Noise => {
            if is_tls {
                Kind::Tls(None)
            } else {
                Kind::Plain
            }
        }
    }
}

impl Door {
    /// Makes the door that `manner` asks for.
    pub(super) async fn open(
        address: SocketAddr,
        authority: Option<&Arc<Authority>>,
        manner: Manner,
        desk: &Arc<Desk>,
    ) -> anyhow::Result<Self> {
        let kind = kind(manner, authority.is_some());
        let mut door = Self {
            kind,
            is_tls: authority.is_some(),
            server: JoinSet::new(),
            full: None,
        };
        let tls = match (kind, authority) {
            (Kind::Closed, _) => return Ok(door),
            (Kind::Full, _) => {
                door.full = Some(fill(address).await?);
                return Ok(door);
            }
            (Kind::Plain, _) | (Kind::Tls(_), None) => None,
            (Kind::Tls(shown), Some(authority)) => Some(authority.server(shown)),
        };
        let listener = listen(address, BACKLOG)?;
        door.server.spawn(accept(listener, tls, Arc::clone(desk)));
        Ok(door)
    }

    /// Whether this is the door for `manner`.
    pub(super) fn suits(&self, manner: Manner) -> bool {
        self.kind == kind(manner, self.is_tls)
    }

    /// Closes it, and every connection that came through it.
    pub(super) async fn close(&mut self) {
        self.full = None;
        self.server.shutdown().await;
    }
}

fn listen(address: SocketAddr, backlog: u32) -> anyhow::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket
        .bind(address)
        .with_context(|| format!("the endpoint's address {address}"))?;
    Ok(socket.listen(backlog)?)
}

/// A listener that has as many connections as it takes, so that the next SYN is dropped.
async fn fill(address: SocketAddr) -> anyhow::Result<(TcpListener, Vec<TcpStream>)> {
    let listener = listen(address, NO_BACKLOG)?;
    let mut fillers = Vec::new();
    while let Ok(connected) = tokio::time::timeout(REFUSED, TcpStream::connect(address)).await {
        fillers.push(connected.context("fill the endpoint's backlog")?);
        ensure!(fillers.len() <= FILLERS, "the backlog does not fill up");
    }
    Ok((listener, fillers))
}

async fn accept(listener: TcpListener, tls: Option<Arc<ServerConfig>>, desk: Arc<Desk>) {
    let acceptor = tls.map(TlsAcceptor::from);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        desk.connected();
        let _delayed = stream.set_nodelay(true);
        let (acceptor, desk) = (acceptor.clone(), Arc::clone(&desk));
        connections.spawn(async move {
            // A sender that gives up is what faults look like from here.
            let _gave_up = serve(stream, acceptor, &desk).await;
        });
    }
}
