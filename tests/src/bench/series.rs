//! A series: under one load, windows with nobody beside the gateway and windows of each case in turn.
//!
//! In: a load and cases. Out: for each case its differences from the base around it. A case that cannot be had here is left
//! out from then on, and says why.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::beside::{Beside, Companions, Running};
use super::cpu;
use super::figures::{Taken, above_base, number};
use super::load::Load;
use super::stage::Stage;
use crate::wait::eventually;

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name among the figures.
    pub name: &'static str,
    /// For the reader of the table.
    pub title: &'static str,
    /// What it is.
    pub beside: Beside,
}

/// How windows are taken.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the load's start to the window: handshakes and first sights are over then.
    pub lead_in: Duration,
    /// The window.
    pub window: Duration,
}

/// One window.
#[derive(Clone, Debug)]
pub struct Window {
    /// CPU time of the gateway's worker for an exchange, µs.
    pub cost_us: f64,
    /// Exchanges a second.
    pub rate: f64,
    /// Share of its CPU that the worker used.
    pub busy: f64,
    /// kongtap's part.
    pub kongtap: Option<Watched>,
    /// What a tracer counted for an exchange of the window and its lead-in.
    pub hits: Option<u64>,
    /// Exchanges.
    pub exchanges: u64,
}

/// What kongtap did in a window.
#[derive(Clone, Debug)]
pub struct Watched {
    /// CPU time of the thread that reads the ring for an exchange, µs.
    pub reader_us: f64,
    /// Bytes lost.
    pub lost_bytes: u64,
}

/// The windows taken so far.
#[derive(Debug)]
pub struct Series {
    load: Load,
    cases: Vec<Case>,
    missing: Vec<Option<String>>,
    windows: Vec<(Option<usize>, Window)>,
}

impl Series {
    /// An empty one.
    #[must_use]
    pub fn new(load: Load, cases: Vec<Case>) -> Self {
        Self {
            load,
            missing: vec![None; cases.len()],
            cases,
            windows: Vec::new(),
        }
    }

    /// One window of each case, each after one of the base.
    ///
    /// # Errors
    /// When the base cannot be measured.
    pub async fn round(&mut self, stage: &Stage, companions: &Companions, pace: Pace) -> anyhow::Result<()> {
        for index in 0..self.cases.len() {
            let (Some(case), Some(None)) = (self.cases.get(index), self.missing.get(index)) else {
                continue;
            };
            let beside = case.beside.clone();
            self.base(stage, companions, pace).await?;
            match window(stage, companions, &beside, self.load, pace).await {
                Ok(window) => self.windows.push((Some(index), window)),
                Err(error) => {
                    if let Some(missing) = self.missing.get_mut(index) {
                        *missing = Some(format!("{error:#}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// The base once more: every series ends with it.
    ///
    /// # Errors
    /// When it cannot be measured.
    pub async fn base(&mut self, stage: &Stage, companions: &Companions, pace: Pace) -> anyhow::Result<()> {
        let window = window(stage, companions, &Beside::Nobody, self.load, pace)
            .await
            .context("the gateway alone")?;
        self.windows.push((None, window));
        Ok(())
    }

    /// The cases.
    #[must_use]
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// Why a case is missing, if it is.
    #[must_use]
    pub fn missing(&self, case: usize) -> Option<&str> {
        self.missing.get(case)?.as_deref()
    }

    /// The case of this name, unless it is missing.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        let index = self.cases.iter().position(|case| case.name == name)?;
        (self.missing(index).is_none()).then_some(index)
    }

    /// The windows of a case, or of the base.
    pub fn windows(&self, case: Option<usize>) -> impl Iterator<Item = &Window> {
        self.windows
            .iter()
            .filter(move |(of, _)| *of == case)
            .map(|(_, window)| window)
    }

    /// By how much each window of a case costs more than the base around it, µs an exchange.
    #[must_use]
    pub fn above_base(&self, case: usize) -> Vec<f64> {
        let taken: Vec<_> = self
            .windows
            .iter()
            .map(|(case, window)| Taken {
                case: *case,
                value: window.cost_us,
            })
            .collect();
        above_base(&taken, case)
    }
}

/// Takes one window.
async fn window(
    stage: &Stage,
    companions: &Companions,
    beside: &Beside,
    load: Load,
    pace: Pace,
) -> anyhow::Result<Window> {
    let mut running = companions.start(stage, beside).await?;
    let taken = under_load(stage, &mut running, load, pace).await;
    // Whatever came of it, nothing is left beside the gateway.
    let hits = running.end().await;
    let mut window = taken?;
    window.hits = hits?;
    Ok(window)
}

async fn under_load(stage: &Stage, running: &mut Running, load: Load, pace: Pace) -> anyhow::Result<Window> {
    let mut counter = stage.counter().await?;
    let mut wrk = load.start(stage)?;
    sleep(pace.lead_in).await;
    let status = running.status().await?;
    // The questions are outside of the time that is measured, on both ends.
    let requests = counter.requests().await?;
    let (began, cpu, reader) = (
        Instant::now(),
        cpu::of_process(stage.worker())?,
        running.reader()?,
    );
    sleep(pace.window).await;
    let cpu = cpu::of_process(stage.worker())?.saturating_sub(cpu);
    let reader_after = running.reader()?;
    let lasted = began.elapsed().as_secs_f64();
    let exchanges = counter.requests().await?.saturating_sub(requests);
    wrk.require_running()?;
    ensure!(exchanges > 1, "no exchange came through");
    let (cpu, count) = (cpu.as_secs_f64(), number(exchanges));
    let kongtap = match (status, reader, reader_after) {
        (Some(before), Some(reader), Some(after)) => Some(Watched {
            reader_us: after.saturating_sub(reader).as_secs_f64() / count * 1e6,
            lost_bytes: lost(running, &before).await?,
        }),
        _ => None,
    };
    drop(wrk);
    Ok(Window {
        cost_us: cpu / count * 1e6,
        rate: count / lasted,
        busy: cpu / lasted,
        kongtap,
        hits: None,
        exchanges,
    })
}

/// Bytes lost since `before`. kongtap looks at the kernel's counters a few times a second: that it sees the gateway at all is
/// waited for, since a figure would otherwise be one of nothing.
async fn lost(running: &Running, before: &Value) -> anyhow::Result<u64> {
    eventually("kongtap to see the gateway", SEES, async || {
        let after = running.status().await.map_err(|error| format!("{error:#}"))?;
        let after = after.unwrap_or_default();
        let grown = |pointer| sum(&after, pointer).saturating_sub(sum(before, pointer));
        match grown("/bytes/seen") {
            0 => Err("no byte was seen in the window".to_owned()),
            _ => Ok(grown("/bytes/lost")),
        }
    })
    .await
}

/// How long kongtap may take to show that it sees a gateway under load.
const SEES: Duration = Duration::from_secs(5);

/// A number of the document, or the sum of an object's numbers; nothing there is 0.
#[must_use]
pub fn sum(document: &Value, pointer: &str) -> u64 {
    match document.pointer(pointer) {
        Some(Value::Object(counts)) => counts.values().filter_map(Value::as_u64).sum(),
        Some(value) => value.as_u64().unwrap_or(0),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::sum;

    #[test]
    fn counts_by_reason_are_added_up() {
        let document = json!({"bytes": {"seen": 7, "lost": {"fault": 1, "ring_full": 2}}});
        assert_eq!(sum(&document, "/bytes/seen"), 7);
        assert_eq!(sum(&document, "/bytes/lost"), 3);
        assert_eq!(sum(&document, "/bytes/none"), 0);
    }
}
