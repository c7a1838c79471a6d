//! What the clients of the matrix do: everything that makes it hard to tell which bytes moved on which connection.
//!
//! In: a server's address and a TLS version. Out: for each connection what its client sent and received, which is what a
//! capture must show. Each function checks by the server's own counts that what it is for has really happened.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use rustls::ProtocolVersion;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::payload::{self, Kind};
use crate::tls;
use crate::wait::eventually;
use crate::wire::{Framing, Wire};

/// Connections one after the other: each way of tying an object to its descriptor, of ending a connection and of giving the
/// object back, in every combination.
const IN_TURN: usize = 24;
/// Body of the request that is read in small pieces, bytes: with its head no more than one record.
const PACED_BYTES: usize = 15_000;
/// Reads that the server makes of it at the least, between which others are served.
const PACED_READS: u64 = 25;
/// Exchanges on other connections meanwhile; each lets the server read once more.
const MEANWHILE: usize = 40;
/// Body that fills the sockets between server and a client that does not read, bytes.
const LARGE_BYTES: usize = 768 * 1024;
/// Body that fits into the server's socket buffer but not into the client's, bytes.
const LINGERING_BYTES: usize = 12_000;
/// The client's socket buffer then, bytes.
const SMALL_BUFFER_BYTES: u32 = 4096;
/// How long the server may take until it feels that nobody reads.
const FELT: Duration = Duration::from_secs(20);

/// What a client did on one connection.
#[derive(Clone, Debug)]
pub struct Said {
    /// What it was for.
    pub what: String,
    /// The client's address.
    pub client: SocketAddr,
    /// Plaintext that it sent.
    pub sent: Vec<u8>,
    /// Plaintext that it received.
    pub received: Vec<u8>,
}

/// Everything, with one TLS version.
///
/// # Errors
/// When the server does not answer, or did not go through what it was to.
pub async fn all(server: SocketAddr, version: tls::Version) -> anyhow::Result<Vec<Said>> {
    let clients = Clients::new(server, version)?;
    let mut said = in_turn(&clients).await.context("connections in turn")?;
    said.extend(
        one_drained_while_others_are_served(&clients)
            .await
            .context("a drained record")?,
    );
    said.extend(
        nobody_reads(&clients)
            .await
            .context("a client that does not read")?,
    );
    said.extend(
        reused_while_its_socket_lingers(&clients)
            .await
            .context("a socket that lingers")?,
    );
    Ok(said)
}

/// One connection after the other, so that objects, their addresses and descriptors are used again.
async fn in_turn(clients: &Clients) -> anyhow::Result<Vec<Said>> {
    let mut said = Vec::new();
    let mut before = None;
    for number in 0..IN_TURN {
        let mut client = clients.open("in turn").await?;
        if before.is_none() {
            before = Some(client.statistics().await?);
        }
        let sent = body(number, 100 + number * 700)?;
        let echoed = client.exchange("POST", "/echo", &sent).await?;
        ensure!(echoed == sent, "an echo that is none");
        client
            .exchange("GET", &format!("/parts/{}/{number}", number * 999), &[])
            .await?;
        // Not in step with what the server does in turn by 2 and 3.
        said.push(match number / 6 % 3 {
            0 => client.close().await?,
            1 => client.closed_by_server().await?,
            _ => client.drop_it(),
        });
    }
    let before = before.context("no connection")?;
    let mut last = clients.open("counts").await?;
    let after = last.statistics().await?;
    said.push(last.close().await?);
    for (names, least) in [
        (&["cleared", "not_cleared"][..], 8),
        (&["same_address"], 4),
        (&["same_fd"], 20),
    ] {
        let mut count = 0;
        for name in names {
            count += counted(&after, name)?.saturating_sub(counted(&before, name)?);
        }
        ensure!(count >= least, "only {count} times {names:?}: {after:?}");
    }
    Ok(said)
}

/// A record that takes dozens of reads, on a worker that serves others between any two of them.
async fn one_drained_while_others_are_served(clients: &Clients) -> anyhow::Result<Vec<Said>> {
    let mut drained = clients.open("drained").await?;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(clients.open("meanwhile").await?);
    }
    let before = drained.statistics().await?;
    let sent = body(77, PACED_BYTES)?;
    drained.send("POST", "/paced", &sent).await?;
    for turn in 0..MEANWHILE {
        let other = turn % others.len();
        let other = others.get_mut(other).context("an index")?;
        let small = body(turn, 50 + turn * 13)?;
        ensure!(
            other.exchange("POST", "/echo", &small).await? == small,
            "an echo that is none"
        );
    }
    ensure!(drained.answer().await? == sent, "an echo that is none");
    let after = drained.statistics().await?;
    for name in ["drains", "drains_after_others"] {
        let count = counted(&after, name)?.saturating_sub(counted(&before, name)?);
        ensure!(count >= PACED_READS, "only {count} {name}: {after:?}");
    }
    let mut said = vec![drained.close().await?];
    for other in others {
        said.push(other.close().await?);
    }
    Ok(said)
}

/// A client that does not read until the server's write call has had to be repeated, for each way of repeating it.
async fn nobody_reads(clients: &Clients) -> anyhow::Result<Vec<Said>> {
    let mut said = Vec::new();
    let mut other = clients.open("watches").await?;
    for (seed, kind) in ["whole", "parts", "moving"].into_iter().enumerate() {
        let before = counted(&other.statistics().await?, "want_write")?;
        let mut slow = clients.open(&format!("slow, {kind}")).await?;
        slow.send("GET", &format!("/{kind}/{LARGE_BYTES}/{seed}"), &[])
            .await?;
        eventually("a write to be repeated", FELT, async || {
            let statistics = other.statistics().await.map_err(|error| format!("{error:#}"))?;
            let count = counted(&statistics, "want_write").map_err(|error| error.to_string())?;
            if count > before {
                Ok(())
            } else {
                Err(format!("{statistics:?}"))
            }
        })
        .await?;
        ensure!(
            slow.answer().await?.len() == LARGE_BYTES,
            "a body of another size"
        );
        said.push(slow.close().await?);
    }
    said.push(other.close().await?);
    Ok(said)
}

/// A request's body.
fn body(seed: usize, length: usize) -> anyhow::Result<Bytes> {
    Ok(payload::bytes(Kind::Binary, u64::try_from(seed)?, length))
}

/// An object that is used again while the kernel still holds the last connection's socket, whose client has not read all. The server
/// takes the object without a word on the new descriptor (`SSL_set_bio`): that is what it does with every sixth connection.
async fn reused_while_its_socket_lingers(clients: &Clients) -> anyhow::Result<Vec<Said>> {
    let mut said = Vec::new();
    let mut watch = clients.open("watches").await?;
    while counted(&watch.statistics().await?, "accepted")? % 6 != 4 {
        said.push(clients.open("in between").await?.close().await?);
    }
    let ended = counted(&watch.statistics().await?, "ended")?;
    let mut lingers = clients.open_small("lingers").await?;
    lingers
        .send_with(
            "GET",
            &format!("/whole/{LINGERING_BYTES}/5"),
            "Connection: close\r\n",
            &[],
        )
        .await?;
    eventually("the server to close", FELT, async || {
        let statistics = watch.statistics().await.map_err(|error| format!("{error:#}"))?;
        match counted(&statistics, "ended") {
            Ok(count) if count > ended => Ok(()),
            _ => Err(format!("{statistics:?}")),
        }
    })
    .await?;
    let mut next = clients.open("after one that lingers").await?;
    let sent = body(6, 1234)?;
    ensure!(
        next.exchange("POST", "/echo", &sent).await? == sent,
        "an echo that is none"
    );
    said.push(next.close().await?);
    ensure!(
        lingers.answer().await?.len() == LINGERING_BYTES,
        "a body of another size"
    );
    said.push(lingers.until_end().await?);
    said.push(watch.close().await?);
    Ok(said)
}

type Statistics = HashMap<String, u64>;

fn counted(statistics: &Statistics, name: &str) -> anyhow::Result<u64> {
    statistics
        .get(name)
        .copied()
        .with_context(|| format!("the server does not count {name}"))
}

/// Opens connections. They share what a client may: sessions are resumed.
struct Clients {
    server: SocketAddr,
    version: tls::Version,
    connector: TlsConnector,
}

impl Clients {
    fn new(server: SocketAddr, version: tls::Version) -> anyhow::Result<Self> {
        let connector = TlsConnector::from(tls::client_of(version)?);
        Ok(Self {
            server,
            version,
            connector,
        })
    }

    async fn open(&self, what: &str) -> anyhow::Result<Client> {
        let stream = TcpStream::connect(self.server).await.context("connect")?;
        self.over(stream, what).await
    }

    /// A connection whose client takes little before it reads.
    async fn open_small(&self, what: &str) -> anyhow::Result<Client> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(SMALL_BUFFER_BYTES)?;
        self.over(socket.connect(self.server).await.context("connect")?, what)
            .await
    }

    async fn over(&self, stream: TcpStream, what: &str) -> anyhow::Result<Client> {
        stream.set_nodelay(true)?;
        let client = stream.local_addr()?;
        let name = ServerName::try_from("localhost").context("server name")?;
        let stream = self.connector.connect(name, stream).await.context("TLS")?;
        let negotiated = stream.get_ref().1.protocol_version();
        let asked = match self.version {
            tls::Version::V12 => ProtocolVersion::TLSv1_2,
            tls::Version::V13 => ProtocolVersion::TLSv1_3,
        };
        ensure!(negotiated == Some(asked), "{negotiated:?} instead of {asked:?}");
        let record = Arc::new(Mutex::new(Said {
            what: what.to_owned(),
            client,
            sent: Vec::new(),
            received: Vec::new(),
        }));
        Ok(Client {
            wire: Wire::new(Recorded {
                stream,
                record: Arc::clone(&record),
            }),
            record,
        })
    }
}

/// A connection whose bytes are kept.
struct Client {
    wire: Wire,
    record: Arc<Mutex<Said>>,
}

impl Client {
    async fn exchange(&mut self, method: &str, target: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.send(method, target, body).await?;
        self.answer().await
    }

    /// A head and a body in one write, so in one record where they fit.
    async fn send(&mut self, method: &str, target: &str, body: &[u8]) -> anyhow::Result<()> {
        self.send_with(method, target, "", body).await
    }

    async fn send_with(
        &mut self,
        method: &str,
        target: &str,
        fields: &str,
        body: &[u8],
    ) -> anyhow::Result<()> {
        let mut request = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.wire.send(&request).await
    }

    async fn answer(&mut self) -> anyhow::Result<Vec<u8>> {
        let head = self.wire.head().await?.context("no answer")?;
        ensure!(head.first_line == "HTTP/1.1 200 OK", "{}", head.first_line);
        let framing = Framing::of_response("GET", 200, &head.fields)?;
        Ok(self.wire.body(framing).await?.bytes.to_vec())
    }

    async fn statistics(&mut self) -> anyhow::Result<Statistics> {
        let text = String::from_utf8(self.exchange("GET", "/statistics", &[]).await?)?;
        text.lines()
            .map(|line| {
                let (name, count) = line.split_once(' ').with_context(|| format!("{line:?}"))?;
                Ok((name.to_owned(), count.parse()?))
            })
            .collect()
    }

    /// Ends it from this side; when this comes back the server has ended it too.
    async fn close(mut self) -> anyhow::Result<Said> {
        self.wire.finish().await?;
        self.until_end().await
    }

    /// Has the server end it.
    async fn closed_by_server(mut self) -> anyhow::Result<Said> {
        self.send_with("GET", "/parts/10/10", "Connection: close\r\n", &[])
            .await?;
        self.answer().await?;
        self.until_end().await
    }

    /// Goes away without a word of TLS.
    fn drop_it(self) -> Said {
        self.said()
    }

    async fn until_end(mut self) -> anyhow::Result<Said> {
        if let Some(more) = self.wire.head().await? {
            bail!("{} after the end", more.first_line);
        }
        Ok(self.said())
    }

    fn said(&self) -> Said {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A stream that remembers what went through it.
struct Recorded<S> {
    stream: S,
    record: Arc<Mutex<Said>>,
}

impl<S> Recorded<S> {
    fn keep(&self, keep: impl FnOnce(&mut Said)) {
        keep(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Recorded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let new = buffer.filled().get(before..).unwrap_or_default();
        self.keep(|said| said.received.extend_from_slice(new));
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recorded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = &wrote {
            let new = bytes.get(..*count).unwrap_or_default();
            self.keep(|said| said.sent.extend_from_slice(new));
        }
        wrote
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
