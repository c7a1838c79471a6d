//! What a path takes from the allocator, for each exchange.
//!
//! In: a way to count, which is the program's that has a counting allocator (`kongtap-bench-allocations`, and a test). Out:
//! [`Allocations`]. They are counted in a program of their own, so that counting costs no other figure anything.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::path::{Path, Stage};
use super::scenario::Scenario;
use crate::bench::figures::number;

/// What was taken while something ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How often.
    pub times: u64,
    /// How many bytes in all; what grows in place counts again with its new size.
    pub bytes: u64,
    /// The most bytes that were held at a time, beyond what was held before.
    pub peak_bytes: u64,
}

/// Runs something, and counts.
pub type Count = fn(&mut dyn FnMut()) -> Counted;

/// What a path takes, once it has what it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Allocations {
    /// Times an exchange.
    pub times: f64,
    /// Bytes an exchange.
    pub bytes: f64,
    /// The most bytes that all exchanges and connections together held at a time.
    pub peak_bytes: f64,
}

/// By scenario and stage.
pub type Table = BTreeMap<String, BTreeMap<String, Allocations>>;

/// Counts one path: its second pass, when every table has its size.
///
/// # Errors
/// When a pass fails.
pub fn of(scenario: Scenario, stage: Stage, count: Count) -> anyhow::Result<Allocations> {
    let mut path = Path::new(scenario, stage)?;
    path.pass()?;
    let mut passed = Ok(());
    let counted = count(&mut || passed = path.pass());
    passed?;
    let exchanges = number(path.exchanges());
    Ok(Allocations {
        times: number(counted.times) / exchanges,
        bytes: number(counted.bytes) / exchanges,
        peak_bytes: number(counted.peak_bytes),
    })
}

/// Counts every path.
///
/// # Errors
/// When a pass fails.
pub fn table(count: Count) -> anyhow::Result<Table> {
    let mut table = Table::new();
    for scenario in Scenario::ALL {
        let stages = table.entry(scenario.name().to_owned()).or_default();
        for stage in Stage::ALL {
            stages.insert(stage.name().to_owned(), of(scenario, stage, count)?);
        }
    }
    Ok(table)
}

/// Has them counted by `program`, which prints them.
///
/// # Errors
/// When it cannot be started, fails, or prints something else.
pub fn counted_by(program: &FilePath) -> anyhow::Result<Table> {
    let output = Command::new(program)
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} failed: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("its answer")
}
