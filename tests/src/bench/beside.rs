//! What runs beside the gateway while it is measured: nobody, kongtap in one of its settings, or a tracer for comparison.
//!
//! In: which. Out: something that runs, has proved that it sees the gateway, and is wholly gone when it is ended.
//!
//! Comparisons are bpftrace one-liners: what the usual tools do, not a straw man of our own.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::cpu;
use super::stage::Stage;
use crate::client::get_json;
use crate::kongtap::Kongtap;
use crate::lab::global_configuration;
use crate::processes::{Process, Start, run_to_end};

/// How long a tracer may take to attach, and to end.
const TRACER_BUDGET: Duration = Duration::from_secs(30);
/// How long `kongtap check-config` may take.
const CHECK_BUDGET: Duration = Duration::from_secs(20);
/// The thread that reads the ring.
const READER: &str = "kongtap-ring";
/// A tracer's word that all its probes are on. It is printed when events are first looked for, which is after attaching.
const ATTACHED: &str = "all probes are on";
/// Delivery that costs nothing: one post at a time, to an endpoint that never answers. Every other message is dropped and counted.
const NO_DELIVERY: &str = "[ship]\nqueue_messages = 1\nin_flight = 1\ndrain_timeout_ms = 1\n";

/// Whether messages carry bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bodies {
    /// `log_body: true`
    On,
    /// `log_body: false`
    Off,
}

/// Which of kongtap's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Lines of `[capture]`.
    pub capture: Vec<&'static str>,
    /// Bodies.
    pub bodies: Bodies,
}

/// A tracer's program; `WORKER` in it becomes the worker's pid. It counts what it sees as `@hits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracer {
    /// bpftrace's language.
    pub program: &'static str,
}

/// What is beside the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Nobody: the base.
    Nobody,
    /// kongtap.
    Kongtap(Setting),
    /// A comparison.
    Tracer(Tracer),
}

/// Where the programs are.
#[derive(Debug)]
pub struct Companions {
    kongtap: PathBuf,
    /// Takes posts into its backlog and never answers.
    _endpoint: TcpListener,
    endpoint: SocketAddr,
}

/// One of them, running.
#[derive(Debug)]
pub enum Running {
    /// Nobody.
    Nobody,
    /// kongtap.
    Kongtap(Kongtap),
    /// A comparison.
    Tracer(Process),
}

impl Companions {
    /// With this kongtap.
    ///
    /// # Errors
    /// When no port is free.
    pub fn new(kongtap: &Path) -> anyhow::Result<Self> {
        let endpoint = TcpListener::bind("127.0.0.1:0").context("an endpoint")?;
        Ok(Self {
            kongtap: kongtap.to_owned(),
            endpoint: endpoint.local_addr()?,
            _endpoint: endpoint,
        })
    }

    /// Whether this build of kongtap knows a line of `[capture]`.
    ///
    /// # Errors
    /// When kongtap cannot be started.
    pub async fn knows(&self, stage: &Stage, line: &'static str) -> anyhow::Result<bool> {
        let config = config(stage, &[line])?;
        let arguments = ["check-config", "--config"].map(str::to_owned);
        let arguments = arguments.into_iter().chain([config.display().to_string()]);
        let checked = run_to_end(&self.kongtap, arguments, &[], CHECK_BUDGET).await?;
        Ok(checked.code == Some(0))
    }

    /// Starts one and waits until its probes are on.
    ///
    /// # Errors
    /// When it cannot do it here.
    pub async fn start(&self, stage: &Stage, beside: &Beside) -> anyhow::Result<Running> {
        match beside {
            Beside::Nobody => Ok(Running::Nobody),
            Beside::Kongtap(setting) => Ok(Running::Kongtap(self.start_kongtap(stage, setting).await?)),
            Beside::Tracer(tracer) => Ok(Running::Tracer(start_tracer(stage, *tracer).await?)),
        }
    }

    async fn start_kongtap(&self, stage: &Stage, setting: &Setting) -> anyhow::Result<Kongtap> {
        let arguments = [
            ("--config", config(stage, &setting.capture)?.display().to_string()),
            ("--pid", stage.master().to_string()),
            (
                "--gateway-config",
                stage.configuration_file().display().to_string(),
            ),
        ];
        let arguments = arguments
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect();
        let mut environment = global_configuration(&format!("http://{}", self.endpoint), "bench");
        let log_body = match setting.bodies {
            Bodies::On => "true",
            Bodies::Off => "false",
        };
        environment.retain(|(name, _)| *name != "KONGTAP_LOG_BODY");
        environment.push(("KONGTAP_LOG_BODY", log_body.to_owned()));
        Kongtap::start(&self.kongtap, arguments, environment).await
    }
}

impl Running {
    /// What kongtap says of itself now; `None` of the others.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self) -> anyhow::Result<Option<Value>> {
        match self {
            Self::Kongtap(kongtap) => {
                let (code, status) = get_json(kongtap.listen(), "/status", None).await?;
                ensure!(code == 200, "/status answered {code}");
                Ok(Some(status))
            }
            Self::Nobody | Self::Tracer(_) => Ok(None),
        }
    }

    /// CPU time of kongtap's thread that reads the ring.
    ///
    /// # Errors
    /// When it is gone.
    pub fn reader(&mut self) -> anyhow::Result<Option<Duration>> {
        match self {
            Self::Kongtap(kongtap) => cpu::of_thread(kongtap.process().pid(), READER).map(Some),
            Self::Nobody | Self::Tracer(_) => Ok(None),
        }
    }

    /// Ends it, and waits until its probes are off. Says what a tracer counted.
    ///
    /// # Errors
    /// When it does not end, or a tracer saw nothing.
    pub async fn end(self) -> anyhow::Result<Option<u64>> {
        match self {
            Self::Nobody => Ok(None),
            Self::Kongtap(mut kongtap) => {
                let status = kongtap.stop().await?;
                ensure!(status.success(), "kongtap: {status}\n{}", kongtap.log_tail());
                Ok(None)
            }
            Self::Tracer(mut tracer) => {
                tracer.stop(TRACER_BUDGET).await?;
                let hits = hits(&tracer.log_text());
                ensure!(hits > 0, "the comparison saw nothing\n{}", tracer.log_tail());
                Ok(Some(hits))
            }
        }
    }
}

/// Writes kongtap's configuration.
fn config(stage: &Stage, capture: &[&str]) -> anyhow::Result<PathBuf> {
    let path = stage.directory().join("kongtap.toml");
    let text = format!("[capture]\n{}\n\n{NO_DELIVERY}", capture.join("\n"));
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

async fn start_tracer(stage: &Stage, tracer: Tracer) -> anyhow::Result<Process> {
    let program = tracer.program.replace("WORKER", &stage.worker().to_string());
    let log = stage.directory().join("bpftrace.log");
    let arguments = [
        "-B",
        "line",
        "-e",
        &format!("BEGIN {{ printf(\"{ATTACHED}\\n\"); }} {program}"),
    ];
    let mut process = Process::start(Start {
        name: "bpftrace",
        program: Path::new("bpftrace"),
        arguments: arguments.map(str::to_owned).to_vec(),
        environment: vec![],
        log: log.clone(),
    })
    .context("comparisons are made with bpftrace: install the package bpftrace")?;
    process
        .ready("bpftrace to attach", TRACER_BUDGET, async || {
            let text = fs::read_to_string(&log).map_err(|error| error.to_string())?;
            if text.lines().any(|line| line == ATTACHED) {
                Ok(())
            } else {
                Err(text)
            }
        })
        .await?;
    Ok(process)
}

/// Of the maps that bpftrace prints when it ends: `@hits: 12`.
fn hits(log: &str) -> u64 {
    log.lines()
        .find_map(|line| line.strip_prefix("@hits: ")?.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::hits;

    #[test]
    fn hits_are_found_among_other_lines() {
        assert_eq!(hits("Attaching 3 probes...\n\n@hits: 1200\n@x: 2\n"), 1200);
        assert_eq!(hits("Attaching 3 probes...\n@hits2: 4\n"), 0);
    }
}
