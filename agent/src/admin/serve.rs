//! Connections of the agent's interface, each bounded in time and size, and all of them in number.
//!
//! In: a listener and a router. Out: answers, until cancelled. Deliberately absent: TLS (a proxy's work).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections at once; further ones wait in the kernel's queue.
pub const CONNECTIONS: usize = 64;
/// The largest head of a request, bytes.
pub const HEAD_BYTES: usize = 64 << 10;
/// The most header fields of a request.
pub const HEAD_FIELDS: usize = 100;
/// How long a head may take, idle time between requests included.
pub const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long open requests may take at the end.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// After an accept that failed (out of descriptors, say) the next one waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until cancelled; then lets open requests end.
///
/// # Errors
/// None today: a listener that fails is tried again.
pub async fn serve(listener: TcpListener, router: Router, cancel: CancellationToken) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let open = GracefulShutdown::new();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(HEAD_FIELDS)
        .max_buf_size(HEAD_BYTES);
    while let Some((stream, place)) = next(&listener, &places, &cancel).await {
        let service = TowerToHyperService::new(router.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = open.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "A connection of the interface ended early.");
            }
            drop(place);
        });
    }
    drop(listener);
    let ended = tokio::time::timeout(DRAIN_TIME, open.shutdown()).await;
    if ended.is_err() {
        tracing::debug!("Some requests to the interface were cut off.");
    }
    Ok(())
}

/// The next connection and its place; `None` when cancelled.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    cancel: &CancellationToken,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let accepted = async {
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, place)),
                Err(error) => {
                    tracing::warn!(%error, "Cannot accept a connection.");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        accepted = accepted => accepted,
        () = cancel.cancelled() => None,
    }
}

#[cfg(test)]
mod tests;
