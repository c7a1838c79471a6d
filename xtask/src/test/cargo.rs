//! cargo, as the steps of `cargo xtask test` run it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// What test programs counted, by the lines that cargo test prints for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Counts {
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed.saturating_add(other.passed),
            failed: self.failed.saturating_add(other.failed),
        }
    }

    /// Of `test result: ok. 3 passed; 0 failed; …`; `None` of any other line.
    fn of_line(line: &str) -> Option<Self> {
        let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
        let count = |word: &str| {
            counts
                .split("; ")
                .find_map(|part| part.strip_suffix(word))
                .and_then(|number| number.trim().parse().ok())
        };
        Some(Self {
            passed: count(" passed")?,
            failed: count(" failed")?,
        })
    }
}

/// Runs cargo.
///
/// # Errors
/// When it fails.
pub(super) fn run(root: &Path, arguments: &[&str], environment: &[(&str, String)]) -> anyhow::Result<()> {
    let status = command(root, arguments, environment)
        .status()
        .context("start cargo")?;
    if !status.success() {
        bail!("cargo {}: {status}", arguments.join(" "));
    }
    Ok(())
}

/// Runs `cargo test`, passes on what it says, and adds up its counts.
///
/// # Errors
/// When a test fails, or none ran.
pub(super) fn test(
    root: &Path,
    arguments: &[&str],
    environment: &[(&str, String)],
) -> anyhow::Result<Counts> {
    let arguments: Vec<_> = ["test"].iter().chain(arguments).copied().collect();
    let mut cargo = command(root, &arguments, environment)
        .stdout(Stdio::piped())
        .spawn()
        .context("start cargo")?;
    let mut counts = Counts::default();
    let said = cargo.stdout.take().context("what cargo says")?;
    for line in BufReader::new(said).split(b'\n') {
        let line = line.context("what cargo says")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        counts = counts.plus(Counts::of_line(&line).unwrap_or_default());
    }
    let status = cargo.wait().context("wait for cargo")?;
    if !status.success() {
        bail!("cargo {}: {status}", arguments.join(" "));
    }
    if counts.passed == 0 {
        bail!("cargo {} ran no test", arguments.join(" "));
    }
    Ok(counts)
}

fn command(root: &Path, arguments: &[&str], environment: &[(&str, String)]) -> Command {
    let mut command = Command::new(crate::run::cargo());
    command.args(arguments).current_dir(root).stdin(Stdio::null());
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn only_result_lines_count() {
        let counts = |passed, failed| Some(Counts { passed, failed });
        let line =
            "test result: ok. 14 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.24s";
        assert_eq!(Counts::of_line(line), counts(14, 0));
        let line = "test result: FAILED. 5 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.72s";
        assert_eq!(Counts::of_line(line), counts(5, 1));
        assert_eq!(Counts::of_line("test tidy::tests::x ... ok"), None);
        assert_eq!(Counts::of_line("test result: "), None);
        assert_eq!(
            Counts { passed: 1, failed: 2 }.plus(Counts { passed: 3, failed: 4 }),
            Counts { passed: 4, failed: 6 }
        );
    }
}
