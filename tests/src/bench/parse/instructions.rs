//! Instructions of a path, counted by valgrind's callgrind.
//!
//! In: a scenario and a stage. Out: instructions for each exchange. A child makes one pass in one run and three in another; what it costs to
//! start and to make the tape is in both, so their difference is two passes and nothing else.

use std::fs;
use std::path::Path as FilePath;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use super::path::{Path, Stage};
use super::scenario::Scenario;
use crate::bench::figures::number;

/// Passes of the two runs.
const PASSES: [u32; 2] = [1, 3];

/// What the child is asked to do.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(id = "child", multiple = true)]
pub struct Child {
    /// Make so many passes and nothing else: what callgrind counts.
    #[arg(long, hide = true, requires = "scenario", requires = "stage")]
    passes: Option<u32>,
    #[arg(long, hide = true, value_enum)]
    scenario: Option<Scenario>,
    #[arg(long, hide = true, value_enum)]
    stage: Option<Stage>,
}

impl Child {
    /// Does what the child is there for. `false`: this is no child.
    ///
    /// # Errors
    /// When a pass fails.
    pub fn run(&self) -> anyhow::Result<bool> {
        let (Some(passes), Some(scenario), Some(stage)) = (self.passes, self.scenario, self.stage) else {
            return Ok(false);
        };
        let mut path = Path::new(scenario, stage)?;
        for _ in 0..passes {
            path.pass()?;
        }
        Ok(true)
    }
}

/// Whether valgrind is there.
#[must_use]
pub fn can_be_counted() -> bool {
    Command::new("valgrind")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Instructions for each exchange. `program` is the one that has [`Child`] among its options; `exchanges` are those of a pass.
///
/// # Errors
/// When valgrind cannot be started or fails.
pub fn of(program: &FilePath, scenario: Scenario, stage: Stage, exchanges: usize) -> anyhow::Result<f64> {
    let [few, many] = PASSES;
    let difference = count(program, scenario, stage, many)?
        .checked_sub(count(program, scenario, stage, few)?)
        .context("more passes took fewer instructions")?;
    let passed = number(many - few) * number(exchanges);
    // Counts of a pass are more than 32 bits hold; what is lost of them here is far below one instruction an exchange.
    let (thousands, rest) = (difference / 1000, difference % 1000);
    Ok((number(thousands) * 1000.0 + number(rest)) / passed)
}

fn count(program: &FilePath, scenario: Scenario, stage: Stage, passes: u32) -> anyhow::Result<u64> {
    let file = tempfile::NamedTempFile::new()?;
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", file.path().display()))
        .arg(program)
        .args(["--passes", &passes.to_string()])
        .args(["--scenario", scenario.name(), "--stage", stage.name()])
        .output()
        .context("start valgrind")?;
    ensure!(
        output.status.success(),
        "valgrind failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    total(&fs::read_to_string(file.path()).context("what callgrind wrote")?)
}

/// The count in what callgrind writes: a line `totals: N`.
fn total(text: &str) -> anyhow::Result<u64> {
    let Some(total) = text.lines().find_map(|line| line.strip_prefix("totals: ")) else {
        bail!("callgrind wrote no total");
    };
    total.trim().parse().with_context(|| format!("total {total:?}"))
}

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn the_total_is_found() {
        assert_eq!(
            total("version: 1\nevents: Ir\n0 5\n\ntotals: 12345678901\n").unwrap(),
            12_345_678_901
        );
        for text in ["", "summary: 1\n", "totals: many\n"] {
            assert!(total(text).is_err(), "{text}");
        }
    }
}
