//! The listening socket, its connections, and the orderly end.
//!
//! In: a [`Config`]. Out: a running inspector. Every connection has a bounded head, a time for it, and a place among a
//! bounded number; what happens inside a request is `api`'s and `pages`'. Deliberately absent: TLS (a proxy's work).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::app::App;
use crate::config::Config;
use crate::pages::guard::Hosts;
use crate::store::sqlite::SqliteStore;
use crate::store::{Store, StoreError};
use crate::writer::{StartError, Writer};
use crate::{api, pages};

/// How long a client may take to send a request's head, idle time between requests included.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// The largest request head.
const HEAD_BYTES: usize = 64 * 1024;
/// How long open requests may take once the inspector is to stop.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// After an accept that failed (out of descriptors, say) the next attempt waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An inspector that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
}

/// Why the inspector did not start, or stopped.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The writer did not start.
    #[error(transparent)]
    Writer(#[from] StartError),
    /// A part of the inspector panicked.
    #[error("the inspector did not end in order")]
    Panicked,
}

impl Server {
    /// Opens the store, starts the writer and listens. Ends when `stop` is cancelled.
    ///
    /// # Errors
    /// When one of the three cannot be done.
    pub async fn start(config: Config, stop: CancellationToken) -> Result<Self, ServerError> {
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| ServerError::Listen {
                address: config.listen,
                source,
            })?;
        let address = listener.local_addr().map_err(|source| ServerError::Listen {
            address: config.listen,
            source,
        })?;
        let path = config.store.clone();
        let opened = tokio::task::spawn_blocking(move || match path {
            Some(path) => SqliteStore::open(&path),
            None => SqliteStore::in_memory(),
        });
        let store: Arc<dyn Store> = Arc::new(opened.await.map_err(|_panicked| ServerError::Panicked)??);
        let writer = Writer::start(Arc::clone(&store), config.retention)?;
        let hosts = Hosts::new(config.hosts.clone(), address.ip());
        let app = Arc::new(App::new(&config, hosts, store, writer, stop));
        Ok(Self {
            listener,
            address,
            app,
        })
    }

    /// Where it listens: the port is known even when 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until told to stop; then lets open requests end, and commits what was received.
    ///
    /// # Errors
    /// When the writer could not be waited for.
    pub async fn run(self) -> Result<(), ServerError> {
        let app = self.app;
        let router = router(&app);
        let places = Arc::new(Semaphore::new(app.limits.connections));
        let graceful = GracefulShutdown::new();
        let totals = app.store.totals();
        info!(address = %self.address, kept = totals.messages, durable = app.durable, "serving");
        loop {
            // A place first: when all are taken, further connections wait in the kernel's queue.
            let place = tokio::select! {
                place = Arc::clone(&places).acquire_owned() => place,
                () = app.stop.cancelled() => break,
            };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = app.stop.cancelled() => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Answers are small and awaited: do not hold them back for more.
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "cannot set TCP_NODELAY");
            }
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .max_buf_size(HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    debug!(%error, "a connection ended early");
                }
                drop(place);
            });
        }
        info!("stopping");
        drop(self.listener);
        if tokio::time::timeout(DRAIN_TIME, graceful.shutdown())
            .await
            .is_err()
        {
            warn!("some requests did not end in time and were cut off");
        }
        tokio::task::spawn_blocking(move || app.writer.stop())
            .await
            .map_err(|_panicked| ServerError::Panicked)
    }
}

fn router(app: &Arc<App>) -> Router {
    Router::new()
        .merge(api::routes())
        .merge(pages::routes(app))
        .fallback(api::not_found)
        .method_not_allowed_fallback(api::method_not_allowed)
        .layer(axum::middleware::map_response(pages::guard::secure))
        .with_state(Arc::clone(app))
}
