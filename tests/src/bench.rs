//! `kongtap-bench`: what capturing costs the gateway, for `cargo xtask bench capture`. docs/benchmarks.md has the method.
//!
//! In: [`Options`]. Out: a table, and with `--json` a file. It judges nothing: whether a figure is good says its reader.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use tokio::time::Instant;

use crate::kernel::{Turn, require_kernel};
use crate::tls;

pub mod beside;
pub mod cpu;
pub mod figures;
pub mod load;
pub mod parse;
pub mod report;
pub mod rows;
pub mod series;
pub mod ship;
pub mod spin;
pub mod stage;

use beside::Companions;
use cpu::Cpus;
use report::Report;
use series::Pace;
use stage::Stage;

/// What the bench is asked to do.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "kongtap-bench",
    version,
    about = "Measures what capturing costs: started by `cargo xtask bench capture`"
)]
pub struct Options {
    /// The kongtap program.
    #[arg(long)]
    pub kongtap: PathBuf,
    /// Write the figures there: an array of {name, value, unit, low, high}.
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
    /// Measure these alone (repeatable).
    #[arg(long, value_enum, value_name = "ROW")]
    pub only: Vec<Row>,
    /// Rounds: windows of each case.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Length of a window, milliseconds.
    #[arg(long, default_value_t = 1500)]
    pub window_ms: u64,
    /// How long completeness is measured at full speed.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// One short round of kongtap's own rows: shows that the bench works, and measures nothing.
    #[arg(long)]
    pub quick: bool,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Row {
    /// Plain HTTP: each socket source, and the comparisons; the ring's reader.
    Plain,
    /// TLS to the client.
    Tls,
    /// A large response against a small one, with bodies off.
    Bodies,
    /// A process that is not watched.
    Unrelated,
    /// Exchanges seen of exchanges made, at full speed.
    Completeness,
}

impl Row {
    const ALL: [Self; 5] = [
        Self::Plain,
        Self::Tls,
        Self::Bodies,
        Self::Unrelated,
        Self::Completeness,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "TLS",
            Self::Bodies => "bodies off",
            Self::Unrelated => "unrelated process",
            Self::Completeness => "completeness",
        }
    }
}

/// What every row needs.
#[derive(Debug)]
pub struct Bench {
    /// The gateway.
    pub stage: Stage,
    /// What may be beside it.
    pub companions: Companions,
    /// Where what runs.
    pub cpus: Cpus,
    /// Windows.
    pub pace: Pace,
    /// Rounds.
    pub rounds: usize,
    /// Seconds at full speed.
    pub seconds: u64,
    /// Whether only kongtap's own cases are run, each once.
    pub is_quick: bool,
}

/// Runs the bench. The calling thread is pinned already ([`Cpus`]), so that everything that it starts is.
///
/// # Errors
/// When the gateway cannot be measured, or nothing was.
#[expect(clippy::print_stdout, reason = "a command-line tool")]
pub async fn run(options: &Options, cpus: Cpus) -> anyhow::Result<()> {
    let bench = set(options, cpus).await?;
    println!(
        "gateway's worker on CPU {}, everything else on CPU {}; {} rounds of windows of {} ms",
        cpus.gateway,
        cpus.others,
        bench.rounds,
        bench.pace.window.as_millis()
    );
    let mut report = Report::default();
    if !cpus.are_apart() {
        report.note(
            "one CPU only: the gateway shares it with the load, which makes every figure worse".to_owned(),
        );
    }
    for row in Row::ALL {
        if !options.only.is_empty() && !options.only.contains(&row) {
            continue;
        }
        let _turn = turn()?;
        println!("measuring: {}", row.title());
        let began = Instant::now();
        let measured = match row {
            Row::Plain => rows::plain::measure(&bench, &mut report).await,
            Row::Tls => rows::tls::measure(&bench, &mut report).await,
            Row::Bodies => rows::bodies::measure(&bench, &mut report).await,
            Row::Unrelated => rows::unrelated::measure(&bench, &mut report).await,
            Row::Completeness => rows::completeness::measure(&bench, &mut report).await,
        };
        measured.with_context(|| format!("row {}", row.title()))?;
        println!("           it took {} s", began.elapsed().as_secs());
    }
    println!("\n{}", report.table());
    anyhow::ensure!(!report.is_empty(), "nothing was measured");
    if let Some(path) = &options.json {
        report.write_json(path)?;
    }
    Ok(())
}

async fn set(options: &Options, cpus: Cpus) -> anyhow::Result<Bench> {
    let (rounds, window, lead_in, seconds) = if options.quick {
        (1, Duration::from_millis(200), Duration::from_millis(100), 1)
    } else {
        let window = Duration::from_millis(options.window_ms);
        (
            options.rounds,
            window,
            Duration::from_millis(300),
            options.seconds,
        )
    };
    Ok(Bench {
        stage: Stage::set(cpus, &tls::self_signed()?).await?,
        companions: Companions::new(&options.kongtap)?,
        cpus,
        pace: Pace { lead_in, window },
        rounds,
        seconds,
        is_quick: options.quick,
    })
}

/// No test that loads probes runs beside a row: their programs would run in this gateway's calls too.
fn turn() -> anyhow::Result<Turn> {
    require_kernel("the bench")?.context("probes cannot be loaded here")
}
