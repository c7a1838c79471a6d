//! `cargo xtask fuzz`: libFuzzer on every target of `fuzz/`, for so many minutes in all.
//!
//! In: the corpora of `fuzz/corpus/`. Out: for each target how fast it went and what it newly reached, and for each crash the command
//! that runs its input again; what was found stays in `target/fuzz/`. With `--minimise` the smallest part of it that reaches as much takes
//! the corpus's place. It needs a C++ compiler, which builds libFuzzer, and no nightly: see [`build`]. `cargo fuzz run TARGET` works on
//! the same targets for who has it. Deliberately absent: replaying the corpora, which `cargo test` does without any of this.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::packages;
use crate::tidy::root;

mod build;
mod corpus;
mod session;

use session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long to fuzz, over all targets.
    #[arg(long, value_name = "N", default_value_t = 5)]
    minutes: u64,
    /// Fuzz this target alone (repeatable).
    #[arg(long = "target", value_name = "TARGET")]
    targets: Vec<String>,
    /// Afterwards (or with `--minutes 0` at once), put the smallest part of what was found that reaches as much into the committed corpus.
    #[arg(long)]
    minimise: bool,
    /// Without AddressSanitizer: about twice as fast, and blind to what only `unsafe` code could do.
    #[arg(long)]
    no_sanitizer: bool,
}

/// Where everything is.
#[derive(Clone, Debug)]
struct Places {
    /// `fuzz/`
    fuzz: PathBuf,
    /// What fuzzing found and is not committed.
    found: PathBuf,
}

impl Places {
    fn new(root: &Path) -> Self {
        Self {
            fuzz: root.join("fuzz"),
            found: crate::run::target_directory(root).join("fuzz"),
        }
    }

    /// The committed corpus.
    fn corpus(&self, target: &str) -> PathBuf {
        self.fuzz.join("corpus").join(target)
    }

    /// What grew here.
    fn grown(&self, target: &str) -> PathBuf {
        self.found.join("corpus").join(target)
    }

    /// Inputs that broke something.
    fn crashes(&self, target: &str) -> PathBuf {
        self.found.join("crashes").join(target)
    }
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let root = root()?;
    let places = Places::new(&root);
    let targets = chosen(&targets(&places.fuzz)?, &arguments.targets)?;
    if !build::has_compiler() {
        packages::require(&packages::FUZZ, "building libFuzzer")?;
    }
    let programs = build::build(&places, &targets, !arguments.no_sanitizer)?;
    let share = Duration::from_secs(arguments.minutes.saturating_mul(60)) / u32::try_from(targets.len())?;
    let mut crashes = Vec::new();
    if !share.is_zero() {
        println!("{} targets, {:.0} s each", targets.len(), share.as_secs_f64());
        for target in &targets {
            let session = Session::new(&places, &programs, target)?;
            let outcome = session.fuzz(share)?;
            println!("{target:14} {outcome}");
            for crash in &outcome.crashes {
                println!("{target:14} CRASH: {}", session.again(crash));
            }
            crashes.extend(outcome.crashes);
        }
    }
    if arguments.minimise {
        for target in &targets {
            let session = Session::new(&places, &programs, target)?;
            println!("{target:14} {}", session.minimise()?);
        }
    }
    if crashes.is_empty() {
        return Ok(());
    }
    bail!(
        "{} inputs break something; keep each as fuzz/regressions/TARGET/WHAT-IT-IS, which `cargo test` replays",
        crashes.len()
    )
}

/// The targets, by their programs.
fn targets(fuzz: &Path) -> anyhow::Result<Vec<String>> {
    let directory = fuzz.join("fuzz_targets");
    let entries = fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))?;
    let mut targets = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        targets.extend(name.to_string_lossy().strip_suffix(".rs").map(str::to_owned));
    }
    targets.sort();
    Ok(targets)
}

fn chosen(known: &[String], asked: &[String]) -> anyhow::Result<Vec<String>> {
    if let Some(unknown) = asked.iter().find(|asked| !known.contains(asked)) {
        bail!("no target {unknown}; there are {}", known.join(", "));
    }
    let is_asked = |target: &&String| asked.is_empty() || asked.contains(target);
    Ok(known.iter().filter(is_asked).cloned().collect())
}

#[expect(clippy::disallowed_methods, reason = "a chore's stopwatch")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::{chosen, targets};
    use crate::tidy::root;

    #[test]
    fn every_target_has_a_program_and_can_be_chosen() {
        let known = targets(&root().unwrap().join("fuzz")).unwrap();
        assert!(known.iter().any(|target| target == "h1"), "{known:?}");
        assert_eq!(chosen(&known, &[]).unwrap(), known);
        assert_eq!(chosen(&known, &["h1".to_owned()]).unwrap(), ["h1"]);
        assert!(chosen(&known, &["h9".to_owned()]).is_err());
    }
}
