//! The load: wrk, by default at a pace that leaves both CPUs time to spare.
//!
//! In: where to, how many connections, how long they pause. Out: a running wrk, or what one that ran to its end says.
//!
//! Why a pace: on two CPUs wrk, the upstream and kongtap share one. At full speed kongtap's own work would take time from the
//! load, and a gateway that gets fewer requests at once spends more on each (it wakes up for fewer of them): several µs, as much
//! as what is measured. With a pace, windows with and without kongtap have the same rate. Completeness is measured at full speed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::stage::{Body, Stage};
use crate::client::Scheme;
use crate::processes::{Process, Start, run_to_end};

/// Beyond a run's own time, until wrk has to have ended.
const GRACE: Duration = Duration::from_secs(30);
/// The longest that a paced wrk runs: it is ended before.
const PACED_SECONDS: u64 = 600;

/// A load of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// How the gateway is reached.
    pub scheme: Scheme,
    /// What is asked for.
    pub body: Body,
    /// Connections that are kept.
    pub connections: u16,
    /// How long a connection pauses after an answer: between so many milliseconds, by chance. `None`: not at all.
    pub pause_ms: Option<(u16, u16)>,
}

/// What wrk counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Exchanges whose answer came whole.
    pub completed: u64,
}

impl Load {
    /// Starts it; it ends when it is dropped.
    ///
    /// # Errors
    /// When wrk is missing.
    pub fn start(&self, stage: &Stage) -> anyhow::Result<Process> {
        Process::start(Start {
            name: "wrk",
            program: Path::new("wrk"),
            arguments: self.arguments(stage, PACED_SECONDS)?,
            environment: vec![],
            log: stage.directory().join("wrk.log"),
        })
        .context("wrk makes the load: install the package wrk")
    }

    /// Runs it for so many seconds.
    ///
    /// # Errors
    /// When wrk is missing, or an exchange failed.
    pub async fn run(&self, stage: &Stage, seconds: u64) -> anyhow::Result<Counted> {
        let budget = Duration::from_secs(seconds).saturating_add(GRACE);
        let finished = run_to_end(Path::new("wrk"), self.arguments(stage, seconds)?, &[], budget)
            .await
            .context("wrk makes the load: install the package wrk")?;
        ensure!(finished.code == Some(0), "wrk: {}", finished.stderr);
        counted(&finished.stdout)
    }

    fn arguments(&self, stage: &Stage, seconds: u64) -> anyhow::Result<Vec<String>> {
        let mut arguments = vec![
            "--threads=1".to_owned(),
            format!("--connections={}", self.connections),
            format!("--duration={seconds}s"),
        ];
        if let Some((least, most)) = self.pause_ms {
            let script = stage.directory().join("pause.lua");
            let text = format!("function delay() return math.random({least}, {most}) end\n");
            fs::write(&script, text).with_context(|| format!("write {}", script.display()))?;
            arguments.push(format!("--script={}", script.display()));
        }
        arguments.push(stage.url(self.scheme, self.body));
        Ok(arguments)
    }
}

/// Of wrk's report: `  1234 requests in 1.00s, …`; failures have lines of their own.
fn counted(report: &str) -> anyhow::Result<Counted> {
    let mut lines = report.lines().map(str::trim);
    if let Some(failed) = lines
        .clone()
        .find(|line| line.starts_with("Socket errors") || line.starts_with("Non-2xx"))
    {
        anyhow::bail!("the load did not go well: {failed}");
    }
    let completed = lines
        .find_map(|line| line.split_once(" requests in ")?.0.parse().ok())
        .with_context(|| format!("wrk said:\n{report}"))?;
    Ok(Counted { completed })
}

#[cfg(test)]
mod tests {
    use super::{Counted, counted};

    #[test]
    fn the_report_is_read_and_failures_are_not_passed_over() {
        let report = "Running 1s test @ http://127.0.0.1:1/small\n  1 threads and 8 connections\n  \
                      14251 requests in 1.00s, 18.21MB read\nRequests/sec:  14187.12\n";
        assert_eq!(counted(report).unwrap(), Counted { completed: 14_251 });
        let failing = |line: &str| counted(&format!("{report}  {line}\n")).unwrap_err().to_string();
        assert!(failing("Socket errors: connect 0, read 3, write 0, timeout 0").contains("read 3"));
        assert!(failing("Non-2xx or 3xx responses: 7").contains("responses: 7"));
        assert!(counted("").is_err());
    }
}
