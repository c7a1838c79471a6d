//! What all handlers share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use thiserror::Error;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::{Config, Limits};
use crate::pages::guard::Hosts;
use crate::store::{Retention, Store, StoreError};
use crate::token::Tokens;
use crate::writer::Writer;

/// The running inspector, as its handlers see it.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) tokens: Tokens,
    pub(crate) hosts: Hosts,
    pub(crate) limits: Limits,
    pub(crate) retention: Retention,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) writer: Writer,
    /// Whether messages outlive the process.
    pub(crate) durable: bool,
    /// Room for posts in memory, in KiB.
    pub(crate) room: Arc<Semaphore>,
    /// Large posts are checked one at a time: parsed JSON is a multiple of its text.
    pub(crate) large_posts: Semaphore,
    pub(crate) followers: Arc<Semaphore>,
    pub(crate) refused: RefusedPosts,
    /// Cancelled when the inspector is to stop.
    pub(crate) stop: CancellationToken,
    queries: Semaphore,
}

/// Posts that were not accepted, by reason.
#[derive(Debug, Default)]
pub(crate) struct RefusedPosts {
    pub(crate) unauthorized: AtomicU64,
    pub(crate) invalid: AtomicU64,
    pub(crate) too_large: AtomicU64,
    pub(crate) overloaded: AtomicU64,
}

/// Why a query has no answer.
#[derive(Debug, Error)]
pub(crate) enum QueryError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The inspector is stopping, or the query panicked.
    #[error("the query was given up")]
    GivenUp,
}

impl App {
    pub(crate) fn new(
        config: &Config,
        hosts: Hosts,
        store: Arc<dyn Store>,
        writer: Writer,
        stop: CancellationToken,
    ) -> Self {
        let limits = config.limits;
        Self {
            tokens: config.tokens.clone(),
            hosts,
            limits,
            retention: config.retention,
            store,
            writer,
            durable: config.store.is_some(),
            room: Arc::new(Semaphore::new(limits.receiving_bytes / 1024)),
            large_posts: Semaphore::new(1),
            followers: Arc::new(Semaphore::new(limits.followers)),
            refused: RefusedPosts::default(),
            stop,
            queries: Semaphore::new(limits.queries),
        }
    }

    /// Asks the store on a thread that may block; only so many queries run at once.
    pub(crate) async fn query<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let Ok(_turn) = self.queries.acquire().await else {
            return Err(QueryError::GivenUp);
        };
        let store = Arc::clone(&self.store);
        let answer = tokio::task::spawn_blocking(move || ask(store.as_ref())).await;
        let answer = answer.map_or(Err(QueryError::GivenUp), |answer| {
            answer.map_err(QueryError::from)
        });
        if let Err(error) = &answer {
            let source = std::error::Error::source(error)
                .map(ToString::to_string)
                .unwrap_or_default();
            warn!(%source, "a query failed: {error}");
        }
        answer
    }
}
