//! `cargo xtask bench capture`: what capturing costs the gateway, measured beside other ways of doing it.
//!
//! Installs what is missing, builds, and becomes `kongtap-bench` (tests/src/bench.rs), which measures and prints.

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
    let What::Capture(capture) = &arguments.what;
    require_machine("cargo xtask bench capture")?;
    packages::require(&packages::GATEWAY, "the gateway that is measured")?;
    packages::require(&packages::LOAD, "the load")?;
    if !capture.quick
        && let Err(error) = packages::require(&packages::TRACER, "the rows for comparison")
    {
        println!("the rows for comparison will be missing: {error:#}");
    }
    let root = root()?;
    let profile = if capture.quick { "debug" } else { "release" };
    let mut build = Command::new(cargo());
    build.args(["build", "-p", "kongtap", "-p", "kongtap-tests", "--bins"]);
    if !capture.quick {
        build.arg("--release");
    }
    let built = build.current_dir(&root).status().context("start cargo")?;
    if !built.success() {
        bail!("the build failed");
    }
    let programs = target_directory(&root).join(profile);
    let mut bench = Command::new(programs.join("kongtap-bench"));
    bench
        .arg("--kongtap")
        .arg(programs.join("kongtap"))
        .args(passed_on(capture));
    // The bench takes this process's place: signals reach it, and its exit code is ours.
    Err(bench.exec()).context("start kongtap-bench")
}

fn passed_on(capture: &Capture) -> Vec<String> {
    let number = |value: Option<u32>| value.map(|value| value.to_string());
    let single = [
        (
            "--json",
            capture.json.as_ref().map(|path| path.display().to_string()),
        ),
        ("--rounds", number(capture.rounds)),
        ("--window-ms", number(capture.window_ms)),
        ("--seconds", number(capture.seconds)),
    ];
    let single = single
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    let only = capture.only.iter().map(|row| ("--only", row.clone()));
    let mut passed: Vec<String> = single
        .chain(only)
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect();
    if capture.quick {
        passed.push("--quick".to_owned());
    }
    passed
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::{Capture, passed_on};

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
