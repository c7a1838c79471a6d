//! `cargo xtask test`: every check and test, cheapest first, each announced with what it took.
//!
//! It installs what the tests need when it is root. Where something cannot be run on this machine it is skipped with a printed
//! reason; with `REQUIRE_KERNEL=1` (CI) such a skip is a failure.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use crate::packages;
use crate::tidy::root;

mod cargo;
mod rebuilt;

use cargo::Counts;

/// Set to 1 where nothing may be skipped.
const REQUIRE: &str = "REQUIRE_KERNEL";

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run this step alone (repeatable).
    #[arg(long, value_enum)]
    only: Vec<Step>,
    /// Leave out building the eBPF object from source, and the tests on it.
    #[arg(long, conflicts_with = "only")]
    fast: bool,
}

/// A step, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// The Debian packages that the tests need.
    Packages,
    /// `cargo fmt --all --check`
    Format,
    /// `cargo xtask tidy`
    Tidy,
    /// `cargo clippy` with warnings denied.
    Clippy,
    /// The OpenSSL builds that the TLS probes are tested on.
    Openssl,
    /// `cargo test --workspace`: unit, property, pipeline, command-line and end-to-end tests.
    Test,
    /// `cargo doc` with warnings denied.
    Doc,
    /// The eBPF object from source, and the kernel tests on what was built.
    Ebpf,
}

impl Step {
    const ALL: [Self; 8] = [
        Self::Packages,
        Self::Format,
        Self::Tidy,
        Self::Clippy,
        Self::Openssl,
        Self::Test,
        Self::Doc,
        Self::Ebpf,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Packages => "packages",
            Self::Format => "format",
            Self::Tidy => "tidy",
            Self::Clippy => "clippy",
            Self::Openssl => "OpenSSL matrix",
            Self::Test => "tests",
            Self::Doc => "documentation",
            Self::Ebpf => "eBPF object from source, kernel tests on it",
        }
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// It passed; what its tests counted.
    Passed(Counts),
    /// It cannot be run here: why.
    Skipped(String),
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let root = root()?;
    let required = std::env::var(REQUIRE).is_ok_and(|value| value == "1");
    let began = now();
    let (mut lines, mut total) = (Vec::new(), Counts::default());
    for step in chosen(arguments) {
        println!("\n=== {} ===", step.title());
        let step_began = now();
        let done =
            run_step(step, &root).with_context(|| format!("{} failed; {}", step.title(), again(step)))?;
        let took = seconds(step_began.elapsed());
        let outcome = match done {
            Done::Passed(counts) => {
                total = total.plus(counts);
                "passed".to_owned()
            }
            Done::Skipped(reason) if required => {
                bail!("{} may not be skipped ({REQUIRE}=1): {reason}", step.title())
            }
            Done::Skipped(reason) => format!("skipped: {reason}"),
        };
        println!("=== {}: {outcome}, {took} ===", step.title());
        lines.push(format!("{:44}  {took:>8}  {outcome}", step.title()));
    }
    println!(
        "\n{}\n{:44}  {:>8}",
        lines.join("\n"),
        "all",
        seconds(began.elapsed())
    );
    if total == Counts::default() {
        return Ok(());
    }
    // cargo test's own lines stand above, one for each of its programs; this adds them up.
    println!("total: {} passed, {} failed", total.passed, total.failed);
    Ok(())
}

fn chosen(arguments: &Arguments) -> Vec<Step> {
    Step::ALL
        .into_iter()
        .filter(|step| arguments.only.is_empty() || arguments.only.contains(step))
        .filter(|step| !(arguments.fast && *step == Step::Ebpf))
        .collect()
}

fn run_step(step: Step, root: &Path) -> anyhow::Result<Done> {
    let passed = |()| Done::Passed(Counts::default());
    match step {
        Step::Packages => install(&[
            (&packages::GATEWAY, "the stand-in gateway of the end-to-end tests"),
            (&packages::LOAD, "the bench's load"),
            (&packages::HTTP2, "the clients of the HTTP/2 tests"),
        ]),
        Step::Format => cargo::run(root, &["fmt", "--all", "--check"], &[]).map(passed),
        Step::Tidy => crate::tidy::run(&crate::tidy::Arguments::default()).map(passed),
        Step::Clippy => cargo::run(
            root,
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ],
            &[],
        )
        .map(passed),
        Step::Openssl => match install(&[(&packages::OPENSSL, "building OpenSSL")])? {
            Done::Passed(_) => crate::openssl::run(&crate::openssl::Arguments::default()).map(passed),
            skipped @ Done::Skipped(_) => Ok(skipped),
        },
        Step::Test => cargo::test(root, &["--workspace"], &[]).map(Done::Passed),
        Step::Doc => {
            let deny = [("RUSTDOCFLAGS", "-D warnings".to_owned())];
            cargo::run(root, &["doc", "--workspace", "--no-deps", "--quiet"], &deny).map(passed)
        }
        Step::Ebpf => rebuilt::test(root),
    }
}

/// Installs groups of packages, each with what it is for.
fn install(needed: &[(&[&str], &str)]) -> anyhow::Result<Done> {
    let installed = needed
        .iter()
        .try_for_each(|(names, purpose)| packages::require(names, purpose));
    match installed {
        Ok(()) => Ok(Done::Passed(Counts::default())),
        Err(error) if !packages::is_root() => Ok(Done::Skipped(format!("{error:#}"))),
        Err(error) => Err(error),
    }
}

fn again(step: Step) -> String {
    let name = step
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default();
    format!("run it alone with `cargo xtask test --only {name}`")
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[expect(clippy::disallowed_methods, reason = "a chore's stopwatch")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::{Arguments, Step, chosen};

    #[test]
    fn steps_are_chosen_and_stay_in_order() {
        let check =
            |only: Vec<Step>, fast, expect: &[Step]| assert_eq!(chosen(&Arguments { only, fast }), expect);
        check(vec![], false, &Step::ALL);
        check(vec![], true, &Step::ALL[..7]);
        check(vec![Step::Doc, Step::Format], false, &[Step::Format, Step::Doc]);
    }
}
