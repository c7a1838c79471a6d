//! libFuzzer on one target.
//!
//! In: the committed corpus and what grew before. Out: what grew, crashes, and libFuzzer's own figures (read from its last lines).

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{Places, corpus, now};

/// Longest input, bytes.
const INPUT_BYTES: usize = 16 << 10;
/// Longest time that one input may take, seconds: what takes longer hangs.
const INPUT_SECONDS: u32 = 30;
/// Most that one allocation may ask for, MiB: what an input of a few KiB makes larger is sized by the wire.
const ALLOCATION_MIB: u32 = 64;
/// Most memory in all, MiB; the sanitizer takes most of it.
const MEMORY_MIB: u32 = 2048;

/// One target's session.
#[derive(Debug)]
pub(super) struct Session<'a> {
    target: &'a str,
    program: PathBuf,
    corpus: PathBuf,
    grown: PathBuf,
    crashes: PathBuf,
}

/// What came of fuzzing.
#[derive(Debug)]
pub(super) struct Outcome {
    figures: Figures,
    took: Duration,
    /// Coverage before.
    start: u64,
    /// Inputs in the corpus before, and those that were added to it.
    inputs: (usize, usize),
    /// Inputs that broke something.
    pub(super) crashes: Vec<PathBuf>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { runs, coverage, .. } = self.figures;
        let per_second = u128::from(runs) * 1000 / self.took.as_millis().max(1);
        let (before, new) = self.inputs;
        write!(
            f,
            "{runs} runs, {per_second}/s; {coverage} edges ({} new), {before} inputs ({new} new), {} crashes",
            coverage.saturating_sub(self.start),
            self.crashes.len()
        )
    }
}

/// libFuzzer's own figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Executions.
    runs: u64,
    /// Edges when the corpus had been read.
    start: u64,
    /// Edges at the end.
    coverage: u64,
}

impl Figures {
    /// Of lines such as `#512 INITED cov: 1234 ft: 2345 corp: 80/12Kb exec/s: 0 rss: 70Mb`.
    fn of(log: &str) -> Self {
        let mut figures = Self::default();
        for line in log.lines() {
            let Some((runs, rest)) = line
                .strip_prefix('#')
                .and_then(|line| line.split_once(['\t', ' ']))
            else {
                continue;
            };
            let coverage = rest
                .split_once("cov: ")
                .and_then(|(_, rest)| rest.split(' ').next());
            let coverage = coverage.and_then(|number| number.parse().ok());
            figures.runs = runs.parse().unwrap_or(0).max(figures.runs);
            figures.coverage = coverage.unwrap_or(0).max(figures.coverage);
            if rest.starts_with("INITED") {
                figures.start = figures.coverage;
            }
        }
        figures
    }
}

impl<'a> Session<'a> {
    pub(super) fn new(places: &Places, programs: &Path, target: &'a str) -> anyhow::Result<Self> {
        let session = Self {
            target,
            program: programs.join(target),
            corpus: places.corpus(target),
            grown: places.grown(target),
            crashes: places.crashes(target),
        };
        for directory in [&session.corpus, &session.grown, &session.crashes] {
            fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        }
        Ok(session)
    }

    /// Fuzzes until the time is over. A crash does not end it: libFuzzer is started again for what is left.
    pub(super) fn fuzz(&self, time: Duration) -> anyhow::Result<Outcome> {
        let began = now();
        let crashes_before = corpus::files(&self.crashes)?;
        let grown_before = corpus::files(&self.grown)?.len();
        let before = corpus::files(&self.corpus)?.len() + grown_before;
        let mut all = Figures::default();
        let mut first = None;
        loop {
            let left = time.saturating_sub(began.elapsed());
            if left < Duration::from_secs(1) {
                break;
            }
            let (log, is_fine) = self.libfuzzer(&[
                format!("-max_total_time={}", left.as_secs()),
                "-print_final_stats=0".to_owned(),
                self.grown.display().to_string(),
                self.corpus.display().to_string(),
            ])?;
            let figures = Figures::of(&log);
            first.get_or_insert(figures.start);
            all.runs = all.runs.saturating_add(figures.runs);
            all.coverage = all.coverage.max(figures.coverage);
            if is_fine {
                break;
            }
            // An input of the corpus that crashes ends every start at once.
            if figures.start == 0 {
                break;
            }
        }
        let crashes: BTreeSet<_> = corpus::files(&self.crashes)?
            .difference(&crashes_before)
            .cloned()
            .collect();
        Ok(Outcome {
            figures: all,
            took: began.elapsed(),
            start: first.unwrap_or(0),
            inputs: (
                before,
                corpus::files(&self.grown)?.len().saturating_sub(grown_before),
            ),
            crashes: crashes.into_iter().collect(),
        })
    }

    /// Puts the smallest part of what there is that reaches as much into the corpus, as far as it is not too large to be committed.
    pub(super) fn minimise(&self) -> anyhow::Result<String> {
        let merged = self.grown.with_extension("merged");
        corpus::clear(&merged)?;
        let (log, is_fine) = self.libfuzzer(&[
            "-set_cover_merge=1".to_owned(),
            // By edges alone: how often each is passed would make it several times as large.
            "-use_counters=0".to_owned(),
            merged.display().to_string(),
            self.corpus.display().to_string(),
            self.grown.display().to_string(),
        ])?;
        if !is_fine {
            bail!(
                "{}: the corpora cannot be merged:\n{}",
                self.target,
                corpus::end_of(&log)
            );
        }
        let kept = corpus::replace(&self.corpus, &merged)?;
        Ok(format!("corpus: {kept}"))
    }

    /// The command that runs an input again.
    pub(super) fn again(&self, input: &Path) -> String {
        format!("{} {}", self.program.display(), input.display())
    }

    /// Runs libFuzzer: what it said, and whether it found nothing wrong.
    fn libfuzzer(&self, arguments: &[String]) -> anyhow::Result<(String, bool)> {
        let log = self.crashes.with_extension("log");
        let file = fs::File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let status = Command::new(&self.program)
            .args(arguments)
            .arg(format!("-artifact_prefix={}/", self.crashes.display()))
            .arg(format!("-max_len={INPUT_BYTES}"))
            .arg(format!("-timeout={INPUT_SECONDS}"))
            .arg(format!("-malloc_limit_mb={ALLOCATION_MIB}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
            .args(self.dictionary().map(|path| format!("-dict={}", path.display())))
            // Leaks are looked for at the end only: looking after every input costs more than it finds.
            .arg("-detect_leaks=0")
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .status()
            .with_context(|| format!("start {}", self.program.display()))?;
        let said = fs::read(&log).with_context(|| format!("read {}", log.display()))?;
        Ok((String::from_utf8_lossy(&said).into_owned(), status.success()))
    }

    /// Words of the target's language, if there is a list of them.
    fn dictionary(&self) -> Option<PathBuf> {
        let name = format!("{}.dict", self.target);
        let fuzz = self.corpus.parent()?.parent()?;
        Some(fuzz.join("dictionaries").join(name)).filter(|path| path.exists())
    }
}

#[cfg(test)]
mod tests {
    use super::Figures;

    #[test]
    fn figures_are_read_from_what_libfuzzer_says() {
        let log = "INFO: seed corpus: files: 85\n\
                   #86\tINITED cov: 1500 ft: 4000 corp: 80/30Kb exec/s: 0 rss: 70Mb\n\
                   #90\tNEW    cov: 1501 ft: 4001 corp: 81/30Kb lim: 4096 exec/s: 0 rss: 70Mb\n\
                   #4096\tpulse  cov: 1501 ft: 4001 corp: 81/30Kb lim: 4096 exec/s: 2048 rss: 71Mb\n";
        let expected = Figures {
            runs: 4096,
            start: 1500,
            coverage: 1501,
        };
        assert_eq!(Figures::of(log), expected);
        assert_eq!(Figures::of("nothing of the kind"), Figures::default());
    }
}
