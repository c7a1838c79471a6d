//! `kongtap-bench-parse`: what an exchange costs the agent, for `cargo xtask bench parse`. docs/benchmarks.md has the method.
//!
//! In: [`Options`]. Out: a table, and with `--json` a file. No gateway, no kernel and no root: the records are made here. It judges
//! nothing; what must not become worse is asserted by `tests/tests/parse.rs`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};

pub mod allocations;
pub mod heads;
pub mod http2;
pub mod instructions;
pub mod path;
pub mod scenario;
pub mod tape;

use super::figures::{Spread, number, spread};
use super::report::Report;
use allocations::Table;
use instructions::Child;
use path::{Path, Stage};
use scenario::Scenario;

/// The program that counts allocations, from the directory of the one that asks it.
const ALLOCATIONS_PROGRAM: &str = "examples/kongtap-bench-allocations";

/// What an exchange of 1 KiB may cost, records to finished exchange.
const TARGET: &str = "12 at most";

/// What the bench is asked to do.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "kongtap-bench-parse",
    version,
    about = "Measures what an exchange costs the agent: started by `cargo xtask bench parse`"
)]
pub struct Options {
    /// Write the figures there: an array of {name, value, unit, low, high}.
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
    /// Measure these alone (repeatable).
    #[arg(long, value_enum, value_name = "SCENARIO")]
    pub only: Vec<Scenario>,
    /// Rounds: measurements of the CPU time.
    #[arg(long, default_value_t = 25)]
    pub rounds: usize,
    /// One round, and nothing counted by valgrind: shows that the bench works, and measures nothing.
    #[arg(long)]
    pub quick: bool,
    /// What callgrind counts.
    #[command(flatten)]
    pub child: Child,
}

/// Runs the bench, or what the bench started this program for.
///
/// # Errors
/// When nothing can be measured, or fewer exchanges come out than go in.
#[expect(clippy::print_stdout, reason = "a command-line tool")]
pub fn run(options: &Options) -> anyhow::Result<()> {
    if options.child.run()? {
        return Ok(());
    }
    let program = std::env::current_exe().context("which program is this?")?;
    let allocations = allocations::counted_by(&program.with_file_name(ALLOCATIONS_PROGRAM))?;
    let counts_instructions = !options.quick && instructions::can_be_counted();
    let mut report = Report::default();
    if !counts_instructions {
        report.missing(
            "instructions",
            "valgrind counts them, and is not there or not asked",
        );
    }
    for scenario in Scenario::ALL {
        if !options.only.is_empty() && !options.only.contains(&scenario) {
            continue;
        }
        println!("measuring: {}", scenario.title());
        if counts_instructions {
            for stage in Stage::ALL {
                let exchanges = scenario.tape()?.exchanges;
                let count = instructions::of(&program, scenario, stage, exchanges)?;
                figure(&mut report, scenario, stage, Kind::Instructions, exactly(count));
            }
        }
        for stage in [Stage::Exchange, Stage::Message] {
            let rounds = if options.quick { 1 } else { options.rounds };
            let spread = cpu_time(scenario, stage, rounds)?;
            figure(&mut report, scenario, stage, Kind::Cpu, spread);
            of_allocations(&mut report, &allocations, scenario, stage);
        }
    }
    println!("\n{}", report.table());
    if let Some(path) = &options.json {
        report.write_json(path)?;
    }
    Ok(())
}

/// What is told of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Instructions,
    Cpu,
    Bytes,
    Allocations,
    Peak,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Cpu => "cpu",
            Self::Bytes => "allocated_bytes",
            Self::Allocations => "allocations",
            Self::Peak => "peak_bytes",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Cpu => "µs",
            Self::Bytes => "bytes",
            Self::Allocations => "allocations",
            Self::Peak => "bytes in all",
        }
    }
}

fn figure(report: &mut Report, scenario: Scenario, stage: Stage, kind: Kind, spread: Option<Spread>) {
    let target = match (scenario, stage, kind) {
        (Scenario::Small, Stage::Exchange, Kind::Cpu) => TARGET,
        _ => "",
    };
    report.figure(
        &format!("{}.{}.{}", scenario.name(), stage.name(), kind.name()),
        &format!("{}: records to {}", scenario.title(), stage.name()),
        spread,
        kind.unit(),
        target,
    );
}

fn of_allocations(report: &mut Report, table: &Table, scenario: Scenario, stage: Stage) {
    let found = table
        .get(scenario.name())
        .and_then(|stages| stages.get(stage.name()));
    for (kind, value) in [
        (Kind::Bytes, found.map(|found| found.bytes)),
        (Kind::Allocations, found.map(|found| found.times)),
        (Kind::Peak, found.map(|found| found.peak_bytes)),
    ] {
        figure(report, scenario, stage, kind, value.and_then(exactly));
    }
}

/// What has one value, whatever else the machine does.
const fn exactly(value: f64) -> Option<Spread> {
    Some(Spread {
        median: value,
        low: value,
        high: value,
    })
}

/// µs of this thread's CPU time for each exchange: one value a round, and a pass before the first that counts for none.
fn cpu_time(scenario: Scenario, stage: Stage, rounds: usize) -> anyhow::Result<Option<Spread>> {
    let mut path = Path::new(scenario, stage)?;
    path.pass()?;
    let mut values = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let began = thread_time()?;
        path.pass()?;
        let took = thread_time()?.saturating_sub(began);
        values.push(took.as_secs_f64() * 1e6 / number(path.exchanges()));
    }
    Ok(spread(&values))
}

fn thread_time() -> anyhow::Result<Duration> {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Ok(Duration::new(
        u64::try_from(now.tv_sec)?,
        u32::try_from(now.tv_nsec)?,
    ))
}
