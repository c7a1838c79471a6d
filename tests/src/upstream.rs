//! The upstream: a small HTTP/1.1 service behind the gateway. It answers in every way that a gateway has to handle, and
//! records what it received.
//!
//! In: requests of the gateway, plain and TLS. Out: answers ([`answers`] has the list) and [`Seen`] records.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::client::{ID_FIELD, Scheme};
use crate::tls::Identity;
use crate::wire::{Fields, Framing, Socket, Wire, field};

pub mod answers;

/// One request as it came from the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// The gateway's end of the connection.
    pub peer: SocketAddr,
    /// Method.
    pub method: String,
    /// Request target.
    pub target: String,
    /// Fields in the order in which they came.
    pub fields: Fields,
    /// Body, without chunk framing.
    pub body: Bytes,
}

impl Seen {
    /// The first value of the field `name`, in any case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }
}

/// The running service. It ends when it is dropped.
#[derive(Debug)]
pub struct Upstream {
    /// Where it listens for plain connections.
    pub plain: SocketAddr,
    /// Where it listens for TLS.
    pub tls: SocketAddr,
    seen: Record,
    _tasks: JoinSet<()>,
}

type Record = Arc<Mutex<Vec<Seen>>>;

impl Upstream {
    /// Listens on free loopback ports.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(identity: &Identity) -> anyhow::Result<Self> {
        let acceptor = TlsAcceptor::from(crate::tls::server(identity)?);
        let plain = TcpListener::bind("127.0.0.1:0")
            .await
            .context("the upstream's plain listener")?;
        let tls = TcpListener::bind("127.0.0.1:0")
            .await
            .context("the upstream's TLS listener")?;
        let (plain_address, tls_address) = (plain.local_addr()?, tls.local_addr()?);
        let seen = Record::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(plain, None, Arc::clone(&seen)));
        tasks.spawn(accept(tls, Some(acceptor), Arc::clone(&seen)));
        Ok(Self {
            plain: plain_address,
            tls: tls_address,
            seen,
            _tasks: tasks,
        })
    }

    /// Every request with this id, in order of arrival: more than one when the gateway tried again.
    #[must_use]
    pub fn seen(&self, id: &str) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter()
            .filter(|seen| seen.field(ID_FIELD) == Some(id))
            .cloned()
            .collect()
    }

    /// How many requests are recorded.
    #[must_use]
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes every record away: whoever runs for long calls this, so that they do not pile up.
    #[must_use]
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, seen: Record) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, peer)) = listener.accept().await else {
            continue;
        };
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        connections.spawn(async move {
            // What a broken connection has to say, the gateway's own answer says too.
            let _delayed = stream.set_nodelay(true);
            let _broken = match acceptor {
                None => serve(stream, Scheme::Http, peer, &seen).await,
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => serve(stream, Scheme::Https, peer, &seen).await,
                    Err(error) => Err(error.into()),
                },
            };
        });
    }
}

async fn serve(
    stream: impl Socket + 'static,
    scheme: Scheme,
    peer: SocketAddr,
    seen: &Record,
) -> anyhow::Result<()> {
    let mut wire = Wire::new(stream);
    while let Some(head) = wire.head().await? {
        let body = wire.body(Framing::of_request(&head.fields)?).await?;
        let mut words = head.first_line.split(' ');
        let request = Seen {
            scheme,
            peer,
            method: words.next().unwrap_or_default().to_owned(),
            target: words.next().unwrap_or_default().to_owned(),
            fields: head.fields,
            body: body.bytes,
        };
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request.clone());
        if answers::answer(&mut wire, &request).await? == answers::After::Close {
            let _gone = wire.finish().await;
            break;
        }
    }
    Ok(())
}
