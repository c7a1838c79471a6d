//! kongtap itself, as a running program.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::gateway::free_port;
use crate::processes::{Process, Start};
use crate::status::{Status, ready, status};

/// How long it may take to attach: its self-test and the gateway's symbols are in it.
const READY: Duration = Duration::from_secs(60);
/// How long it may take to send what is queued and end.
const STOP: Duration = Duration::from_secs(20);

/// A running `kongtap run`.
#[derive(Debug)]
pub struct Kongtap {
    process: Process,
    listen: SocketAddr,
    _directory: TempDir,
}

impl Kongtap {
    /// Starts it, with `--listen` on a free port, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready; with the end of its log.
    pub async fn start(
        program: &Path,
        arguments: Vec<String>,
        environment: Vec<(&'static str, String)>,
    ) -> anyhow::Result<Self> {
        let mut kongtap = Self::start_only(program, arguments, environment)?;
        let listen = kongtap.listen;
        kongtap
            .process
            .ready("kongtap to be ready", READY, async || ready(listen).await)
            .await?;
        Ok(kongtap)
    }

    /// Starts it and does not wait: for what happens before it is ready.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_only(
        program: &Path,
        arguments: Vec<String>,
        environment: Vec<(&'static str, String)>,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("kongtap-run.").tempdir()?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut all = vec!["run".to_owned(), "--listen".to_owned(), listen.to_string()];
        all.extend(arguments);
        // The host's own store is none of a test's.
        let store = directory.path().join("runscope.yml").display().to_string();
        // A test that wants the guard says so: where the agent is built without optimisation, loads would be too much for it.
        let mut all_environment = vec![("KONGTAP_CPU_LIMIT", "64".to_owned())];
        all_environment.extend(environment);
        all_environment.push(("KONGTAP_STORE", store));
        let process = Process::start(Start {
            name: "kongtap",
            program,
            arguments: all,
            environment: all_environment,
            log: directory.path().join("kongtap.log"),
        })?;
        Ok(Self {
            process,
            listen,
            _directory: directory,
        })
    }

    /// Where it serves `/status`.
    #[must_use]
    pub const fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// When it does not answer; with the end of its log.
    pub async fn status(&self) -> anyhow::Result<Status> {
        status(self.listen).await.with_context(|| self.process.log_tail())
    }

    /// The program.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// Ends it: it sends what it has, and says how it went.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.process.stop(STOP).await
    }
}
