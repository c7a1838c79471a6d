//! Wiring: threads, channels and shutdown of a running agent, of a recording and of a replay.
//!
//! In: a checked [`Config`]. Out: a process that watches and ships until it is told to stop. The only code that knows all
//! stages. Deliberately absent: the stages themselves.

pub mod board;
mod guard;
mod intake;
pub mod live;
pub mod record;
mod reload;
pub mod replay;
pub mod runtime;
pub mod setup;
mod spool;
mod steering;
mod worker;

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::board::Board;
use self::live::Live;
use self::setup::Setup;
use self::steering::Steering;
use crate::admin::plugins::PluginApi;
use crate::admin::{self, AdminError, Interface};
use crate::capture::session::{Session, SessionError};
use crate::capture::sources::SocketSource;
use crate::cli::exit::Exit;
use crate::config::Config;
use crate::gateway::document::Mistakes;
use crate::gateway::source::{self, GatewayState, SourceError};
use crate::guard::levels::Levels;
use crate::plugin::store::Store;
use crate::ship;
use crate::ship::spool::SpoolError;
use crate::telemetry::ledger::ExchangeLedger;
use crate::telemetry::status::State;

/// Why the agent ended otherwise than asked.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configurations of the gateway or of `runscope` are wrong: every mistake, one a line.
    #[error("{0}")]
    Mistakes(Mistakes),
    /// A source of the gateway's configuration cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Capture cannot begin.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The agent's own interface cannot be served.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The spool is another agent's.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The operating system refused something basic.
    #[error("cannot {action}")]
    Os {
        /// What.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl AppError {
    /// The exit code that says so.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        use crate::capture::probes::CaptureError;
        match self {
            Self::Mistakes(_) | Self::Source(_) | Self::Spool(_) => Exit::Configuration,
            Self::Session(SessionError::Probes(CaptureError::NoPrivilege { .. })) => Exit::NoPrivilege,
            Self::Session(SessionError::Select(_) | SessionError::Probes(_)) => Exit::Unavailable,
            Self::Session(SessionError::Thread(_)) | Self::Admin(_) | Self::Os { .. } => Exit::Failed,
        }
    }
}

/// Watches and ships until SIGINT or SIGTERM.
///
/// # Errors
/// [`AppError`], when it cannot begin.
pub async fn run(config: Config) -> Result<(), AppError> {
    let setup = Setup::of(&config).await?;
    let listener = admin::bind(config.admin.listen).await?;

    let ledger = Arc::new(ExchangeLedger::default());
    let store = Store::open(config.plugins.store_path()).map_err(AppError::Mistakes)?;
    let store = Arc::new(store);
    let live = Arc::new(Live::new(
        &store.view().plugins,
        setup.plugins.clone(),
        setup::plugins::from_gateway(&config),
        setup::gateway::ports(&config),
    ));
    let history = Arc::clone(live.history());
    let gateway = Arc::new(ArcSwap::from_pointee(GatewayState::empty()));
    let (ship, shipper) = ship::new(setup::ship_limits(&config), Arc::clone(&ledger));
    let shipper = shipper.by_proxy(config.ship.proxy.clone().unwrap_or_default());

    if let Some(options) = setup::spool_options(&config) {
        spool::open(&ship, options).await?;
    }
    live.tell(ship.clone());

    let (batches, received) = intake::channel(config.limits.capture_batches, config.limits.capture_bytes);
    let session_options = setup.session.clone();
    let starting = tokio::task::spawn_blocking(move || Session::start(session_options, batches, None));
    let mut session = starting.await.map_err(|error| AppError::Os {
        action: "start the capture",
        source: io::Error::other(error),
    })??;

    let board = Arc::new(Board::new(
        Arc::clone(session.status()),
        Arc::clone(&gateway),
        Arc::clone(&history),
        Arc::clone(&ledger),
        ship.clone(),
        Arc::clone(&store),
        setup.source_name.clone(),
    ));
    let levels = Arc::new(Levels::default());
    let watching_itself = guard::Parts {
        limits: guard::limits(&config),
        levels: Arc::clone(&levels),
        ship: ship.clone(),
        captured: Arc::clone(received.held()),
        shown: Arc::clone(board.guard()),
    };
    let worker = worker::spawn(worker::Parts {
        batches: received,
        settings: setup::pipeline_settings(&config),
        history: Arc::clone(&history),
        ledger: Arc::clone(&ledger),
        ship: ship.clone(),
        stats: Arc::clone(board.pipeline_stats()),
        panics: Arc::clone(board.worker_panics()),
        levels,
        steering: session.controls().map(|controls| {
            Steering::new(
                controls,
                Arc::clone(session.status()),
                Arc::clone(session.reader()),
                config.capture.head_bytes,
                config.limits.capture_batches,
            )
        }),
    })
    .map_err(|source| AppError::Os {
        action: "start a thread",
        source,
    })?;

    // Three lives: what feeds the pipeline ends first, then delivery, then the interface that tells of both.
    let refreshing = CancellationToken::new();
    let shipping = CancellationToken::new();
    let serving = CancellationToken::new();
    let refresh = setup.source.map(|source| {
        let live = Arc::clone(&live);
        tokio::spawn(source::refresh(
            source,
            setup::gateway::pace(&config),
            setup::gateway::ports(&config),
            Arc::clone(&gateway),
            move |state| live.gateway_changed(state),
            refreshing.clone(),
        ))
    });
    let reload = tokio::spawn(reload::watch(
        config.clone(),
        Arc::clone(&store),
        Arc::clone(&live),
        refreshing.clone(),
    ));
    let delivery = tokio::spawn(shipper.run(shipping.clone()));
    let guard = tokio::spawn(guard::watch(watching_itself, serving.clone()));
    let interface = Interface {
        source: Arc::<Board>::clone(&board),
        plugins: Arc::new(PluginApi {
            store,
            gateway,
            dialect: setup::dialect(&config),
            on_change: Arc::new(move |plugins| live.store_changed(plugins)),
        }),
        access: setup::access(&config),
    };
    let interface = tokio::spawn(admin::serve(listener, interface, serving.clone()));
    board.set_state(State::Watching);
    tracing::info!(
        status = %format!("http://{}/status", config.admin.listen),
        sockets = session.status().load().sockets.map(SocketSource::label),
        "Watching."
    );

    let signal = stop_signal().await?;
    tracing::info!(signal, "Stopping.");
    board.set_state(State::Stopping);
    refreshing.cancel();
    let stopped = tokio::task::spawn_blocking(move || {
        session.stop();
        worker.join()
    })
    .await;
    if !matches!(stopped, Ok(Ok(()))) {
        tracing::error!("The worker did not end well; what it held is lost.");
    }
    shipping.cancel();
    note("delivery", delivery.await);
    if let Some(refresh) = refresh {
        note("refresh", refresh.await);
    }
    note("reload", reload.await);
    tracing::info!(ledger = ?ledger.snapshot(), "Stopped.");
    serving.cancel();
    note("interface", interface.await);
    note("guard", guard.await);
    Ok(())
}

fn note<T>(task: &'static str, ended: Result<T, tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(task, %error, "A task did not end well.");
    }
}

/// Waits for SIGINT or SIGTERM and says which it was.
///
/// # Errors
/// Signals cannot be listened for.
pub async fn stop_signal() -> Result<&'static str, AppError> {
    let listen = |kind| {
        signal(kind).map_err(|source| AppError::Os {
            action: "listen for signals",
            source,
        })
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    })
}
