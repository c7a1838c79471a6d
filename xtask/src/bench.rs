//! `cargo xtask bench capture`: what capturing costs the gateway, measured beside other ways of doing it. `cargo xtask bench
//! parse`: what an exchange costs the agent from the records on. `cargo xtask bench ship`: what a message costs it from the queue on.
//!
//! Installs what is missing, builds, and becomes the program that measures and prints: `kongtap-bench` (tests/src/bench.rs),
//! `kongtap-bench-parse` (tests/src/bench/parse.rs) or `kongtap-bench-ship` (tests/src/bench/ship.rs).

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::packages;
use crate::run::{cargo, require_machine, target_directory};
use crate::tidy::root;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What is measured.
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The capture: CPU time of the gateway's worker for an exchange, the ring's reader, other processes, completeness.
    Capture(Capture),
    /// The agent: instructions, CPU time and allocations of an exchange, from records to the finished exchange and to the message.
    Parse(Parse),
    /// The agent: CPU time and allocations of a shipped message, from the queue to the endpoint's answer.
    Ship(Ship),
}

#[derive(Debug, clap::Args)]
struct Ship {
    /// Write the figures there: an array of {name, value, unit, low, high}.
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// Measure these alone (repeatable): single, list, paced, spool, spool_list, tls, tls_list, http2, http2_list.
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// Rounds: measurements of each case [default: 7].
    #[arg(long)]
    rounds: Option<u32>,
    /// One short round, unoptimised: shows that the bench works, and measures nothing.
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, clap::Args)]
struct Parse {
    /// Write the figures there: an array of {name, value, unit, low, high}.
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// Measure these alone (repeatable): 1k, 8k, 64k, off_64k, off_5m, http2, pipelined, 10k.
    #[arg(long, value_name = "SCENARIO")]
    only: Vec<String>,
    /// Rounds: measurements of the CPU time [default: 25].
    #[arg(long)]
    rounds: Option<u32>,
    /// Once and unoptimised, without valgrind: shows that the bench works, and measures nothing.
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, clap::Args)]
struct Capture {
    /// Write the figures there: an array of {name, value, unit, low, high}.
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// Measure these alone (repeatable): plain, tls, bodies, unrelated, completeness.
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
    /// Rounds: windows of each case [default: 5].
    #[arg(long)]
    rounds: Option<u32>,
    /// Length of a window, milliseconds [default: 1500].
    #[arg(long)]
    window_ms: Option<u32>,
    /// How long completeness is measured at full speed [default: 60].
    #[arg(long)]
    seconds: Option<u32>,
    /// One short round, unoptimised: shows that the bench works, and measures nothing.
    #[arg(long)]
    quick: bool,
}

/// Runs the verb. Comes back only when something is missing.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.what {
        What::Capture(capture) => run_capture(capture),
        What::Parse(parse) => run_parse(parse),
        What::Ship(ship) => run_ship(ship),
    }
}

fn run_capture(capture: &Capture) -> anyhow::Result<()> {
    require_machine("cargo xtask bench capture")?;
    packages::require(&packages::GATEWAY, "the gateway that is measured")?;
    packages::require(&packages::LOAD, "the load")?;
    if !capture.quick
        && let Err(error) = packages::require(&packages::TRACER, "the rows for comparison")
    {
        println!("the rows for comparison will be missing: {error:#}");
    }
    let programs = build(&["-p", "kongtap", "-p", "kongtap-tests", "--bins"], capture.quick)?;
    let mut bench = Command::new(programs.join("kongtap-bench"));
    bench
        .arg("--kongtap")
        .arg(programs.join("kongtap"))
        .args(passed_on(capture));
    become_program(bench)
}

fn run_parse(parse: &Parse) -> anyhow::Result<()> {
    if !parse.quick
        && let Err(error) = packages::require(&packages::COUNTER, "counting instructions")
    {
        println!("instructions will be missing: {error:#}");
    }
    let targets = [
        "-p",
        "kongtap-tests",
        "--bin",
        "kongtap-bench-parse",
        "--example",
        "kongtap-bench-allocations",
    ];
    let programs = build(&targets, parse.quick)?;
    let mut bench = Command::new(programs.join("kongtap-bench-parse"));
    bench.args(parse_passed_on(parse));
    become_program(bench)
}

fn run_ship(ship: &Ship) -> anyhow::Result<()> {
    let targets = [
        "-p",
        "kongtap-tests",
        "--bin",
        "kongtap-bench-ship",
        "--example",
        "kongtap-bench-ship-allocations",
    ];
    let programs = build(&targets, ship.quick)?;
    let mut bench = Command::new(programs.join("kongtap-bench-ship"));
    bench.args(ship_passed_on(ship));
    become_program(bench)
}

/// Builds, optimised unless the bench is `quick`. Gives the directory of what was built.
fn build(targets: &[&str], is_quick: bool) -> anyhow::Result<PathBuf> {
    let root = root()?;
    let mut build = Command::new(cargo());
    build.arg("build").args(targets);
    if !is_quick {
        build.arg("--release");
    }
    let built = build.current_dir(&root).status().context("start cargo")?;
    if !built.success() {
        bail!("the build failed");
    }
    let profile = if is_quick { "debug" } else { "release" };
    Ok(target_directory(&root).join(profile))
}

/// The bench takes this process's place: signals reach it, and its exit code is ours.
fn become_program(mut bench: Command) -> anyhow::Result<()> {
    Err(bench.exec()).with_context(|| format!("start {}", bench.get_program().display()))
}

fn passed_on(capture: &Capture) -> Vec<String> {
    let single = [
        ("--json", path(capture.json.as_ref())),
        ("--rounds", number(capture.rounds)),
        ("--window-ms", number(capture.window_ms)),
        ("--seconds", number(capture.seconds)),
    ];
    flags(&single, &capture.only, capture.quick)
}

fn parse_passed_on(parse: &Parse) -> Vec<String> {
    let single = [
        ("--json", path(parse.json.as_ref())),
        ("--rounds", number(parse.rounds)),
    ];
    flags(&single, &parse.only, parse.quick)
}

fn ship_passed_on(ship: &Ship) -> Vec<String> {
    let single = [
        ("--json", path(ship.json.as_ref())),
        ("--rounds", number(ship.rounds)),
    ];
    flags(&single, &ship.only, ship.quick)
}

fn number(value: Option<u32>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn path(value: Option<&PathBuf>) -> Option<String> {
    value.map(|path| path.display().to_string())
}

fn flags(single: &[(&str, Option<String>)], only: &[String], is_quick: bool) -> Vec<String> {
    let single = single
        .iter()
        .filter_map(|(name, value)| Some((*name, value.clone()?)));
    let only = only.iter().map(|row| ("--only", row.clone()));
    let mut passed: Vec<String> = single
        .chain(only)
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect();
    if is_quick {
        passed.push("--quick".to_owned());
    }
    passed
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::{Capture, Parse, Ship, parse_passed_on, passed_on, ship_passed_on};

    #[test]
    fn what_the_user_says_reaches_the_ship_bench() {
        let check = |said: &[&str]| {
            let command = Ship::augment_args(Command::new("ship").no_binary_name(true));
            let matches = command.try_get_matches_from(said).unwrap();
            assert_eq!(ship_passed_on(&Ship::from_arg_matches(&matches).unwrap()), said);
        };
        check(&[]);
        check(&["--json", "figures.json", "--rounds", "7", "--quick"]);
        check(&["--only", "single", "--only", "list"]);
    }

    #[test]
    fn what_the_user_says_reaches_the_parse_bench() {
        let check = |said: &[&str]| {
            let command = Parse::augment_args(Command::new("parse").no_binary_name(true));
            let matches = command.try_get_matches_from(said).unwrap();
            assert_eq!(parse_passed_on(&Parse::from_arg_matches(&matches).unwrap()), said);
        };
        check(&[]);
        check(&["--json", "figures.json", "--rounds", "7", "--quick"]);
        check(&["--only", "1k", "--only", "off_5m"]);
    }

    #[test]
    fn what_the_user_says_reaches_the_bench() {
        let check = |said: &[&str]| {
            let command = Capture::augment_args(Command::new("capture").no_binary_name(true));
            let matches = command.try_get_matches_from(said).unwrap();
            assert_eq!(passed_on(&Capture::from_arg_matches(&matches).unwrap()), said);
        };
        check(&[]);
        check(&["--json", "figures.json", "--quick"]);
        check(&["--rounds", "7", "--window-ms", "1000", "--seconds", "20"]);
        check(&["--only", "plain", "--only", "tls"]);
    }
}
