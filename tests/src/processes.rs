//! The programs that the lab starts: each with a log of its own, stopped by pid, and not left behind when the lab ends in
//! whatever way.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::eventually;

/// How much of a log is shown when its program fails, bytes.
const LOG_TAIL_BYTES: usize = 8 * 1024;
/// How long a program may take to end when it is dropped.
const DROP_POLLS: u32 = 200;
const DROP_POLL: Duration = Duration::from_millis(10);

/// A running program. Dropped, it is asked to end, and then made to.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

/// What to start.
#[derive(Debug)]
pub struct Start<'a> {
    /// What messages call it.
    pub name: &'static str,
    /// The program.
    pub program: &'a Path,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, added to the lab's.
    pub environment: Vec<(&'static str, String)>,
    /// Where its output goes.
    pub log: PathBuf,
}

impl Process {
    /// Starts a program in a process group of its own, so that Ctrl-C reaches the lab alone, which then ends its programs in
    /// the right order. Should the lab be killed, the kernel ends them (`setpriv --pdeathsig`).
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(start: Start<'_>) -> anyhow::Result<Self> {
        let log = File::create(&start.log).with_context(|| format!("create {}", start.log.display()))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--"])
            .arg(start.program)
            .args(&start.arguments)
            .envs(start.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {} ({})", start.name, start.program.display()))?;
        Ok(Self {
            name: start.name,
            child,
            log: start.log,
        })
    }

    /// Its pid: setpriv became the program.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("ask for {}", self.name))
    }

    /// Fails when it has ended: with how, and what it said last.
    ///
    /// # Errors
    /// When it has ended.
    pub fn require_running(&mut self) -> anyhow::Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself: {status}\n{}", self.name, self.log_tail()),
        }
    }

    /// Polls `probe` while the program runs.
    ///
    /// # Errors
    /// When the budget is over or the program ends; with the end of its log.
    pub async fn ready<T>(
        &mut self,
        what: &str,
        budget: Duration,
        mut probe: impl AsyncFnMut() -> Result<T, String>,
    ) -> anyhow::Result<T> {
        let outcome = eventually(what, budget, async || match self.child.try_wait() {
            Ok(None) => probe().await.map(Ok),
            Ok(Some(status)) => Ok(Err(format!("{} ended by itself: {status}", self.name))),
            Err(error) => Ok(Err(format!("{}: {error}", self.name))),
        })
        .await;
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(why)) => bail!("{why}\n{}", self.log_tail()),
            Err(error) => Err(error.context(format!("{}\n{}", self.name, self.log_tail()))),
        }
    }

    /// The end of what it wrote.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = self.log_text();
        let mut start = text.len().saturating_sub(LOG_TAIL_BYTES);
        while !text.is_char_boundary(start) {
            start = start.saturating_add(1);
        }
        format!(
            "--- {} of {} ---\n{}",
            self.log.display(),
            self.name,
            text.get(start..).unwrap_or_default()
        )
    }

    /// All that it wrote.
    #[must_use]
    pub fn log_text(&self) -> String {
        std::fs::read(&self.log).map_or_else(
            |error| error.to_string(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(pid(self.pid())?, signal).with_context(|| format!("signal {}", self.name))
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// When it has not within the budget.
    pub async fn stop(&mut self, budget: Duration) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.signal(Signal::TERM)?;
        self.wait(budget).await
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When it has not within the budget; with the end of its log.
    pub async fn wait(&mut self, budget: Duration) -> anyhow::Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        let child = &mut self.child;
        let ended = eventually(&what, budget, async || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it runs".to_owned()),
            Err(error) => Err(error.to_string()),
        })
        .await;
        ended.with_context(|| self.log_tail())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        if self.signal(Signal::TERM).is_ok() {
            for _ in 0..DROP_POLLS {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(DROP_POLL);
            }
        }
        // It had its chance. What is left of its children has lost its parent and is told so by the kernel.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A pid as the kernel takes it.
///
/// # Errors
/// When it is none.
pub fn pid(number: u32) -> anyhow::Result<Pid> {
    i32::try_from(number)
        .ok()
        .and_then(Pid::from_raw)
        .with_context(|| format!("{number} is no pid"))
}

/// What a program that ran to its end had to say.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a program to its end.
///
/// # Errors
/// When it cannot be started, or has not ended within the budget (it is ended then).
pub async fn run_to_end(
    program: &Path,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    environment: &[(&str, &str)],
    budget: Duration,
) -> anyhow::Result<Finished> {
    let output = tokio::process::Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(budget, output)
        .await
        .with_context(|| format!("{} did not end within {} s", program.display(), budget.as_secs()))?
        .with_context(|| format!("start {}", program.display()))?;
    Ok(Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
