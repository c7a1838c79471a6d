//! `kongtap-inspector`: the command line's way into the library.
//!
//! Out: exit code 0 (stopped as asked), 1 (failed while running), 2 (wrong usage), 64 (unusable configuration).
#![expect(unused_crate_dependencies, reason = "they are the library's")]

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use kongtap_inspector::cli::{Cli, Command};
use kongtap_inspector::config::Config;
use kongtap_inspector::server;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const CONFIGURATION: u8 = 64;

/// Threads for connections: the work is short and the store's is done elsewhere.
const WORKERS: usize = 2;
/// Threads for queries and large posts.
const BLOCKING_THREADS: usize = 8;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to be told to when even this cannot be written.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    let Command::Serve(serve) = cli.command;
    let config = match Config::new(serve.into()) {
        Ok(config) => config,
        Err(error) => {
            complain(&anyhow::Error::from(error));
            return ExitCode::from(CONFIGURATION);
        }
    };
    log_to_stderr();
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(FAILED)
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let server = server::Server::start(config, stop.clone()).await?;
        let mut out = std::io::stdout();
        writeln!(
            out,
            "kongtap-inspector: pages and API on http://{}/",
            server.address()
        )
        .and_then(|()| out.flush())
        .context("cannot write to standard output")?;
        let stopping = tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop.cancel();
        });
        let served = server.run().await;
        stopping.abort();
        served.context("cannot go on serving")
    })
}

fn complain(error: &anyhow::Error) {
    drop(writeln!(std::io::stderr(), "kongtap-inspector: {error:#}"));
}

fn log_to_stderr() {
    let filter =
        EnvFilter::try_from_env("KONGTAP_INSPECTOR_LOG").unwrap_or_else(|_unset| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
