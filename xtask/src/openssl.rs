//! `cargo xtask openssl`: the OpenSSL builds that the TLS probes are tested on.
//!
//! In: the versions of `tests/openssl/versions`, whose sources the crate `openssl-src` carries. Out, in
//! `target/openssl-matrix/VERSION` and `VERSION-cet` (with `-fcf-protection`, or what aarch64 has for it): `libssl` and
//! `libcrypto`, both static and shared, of the same objects. A stamp says what each was built by, so what is there already
//! takes no time. Deliberately absent: the servers that use them, which the tests compile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};

use crate::packages;
use crate::tidy::root;

mod build;
mod source;

/// The versions, one a line: OpenSSL's, and that of the crate which carries its sources. The tests read it too.
const VERSIONS: &str = include_str!("../../tests/openssl/versions");
/// Where everything is, from the repository's root.
const MATRIX: &str = "target/openssl-matrix";

/// Arguments.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Arguments {
    /// Build this version alone (repeatable), such as 3.5.5.
    #[arg(long = "version", value_name = "VERSION")]
    versions: Vec<String>,
    /// Build again what is there.
    #[arg(long)]
    force: bool,
}

/// One version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    /// OpenSSL's own, such as `3.5.5`.
    openssl: &'static str,
    /// The crate's, such as `300.5.5+3.5.5`.
    source: &'static str,
}

impl Version {
    fn all() -> anyhow::Result<Vec<Self>> {
        let parsed = VERSIONS.lines().map(|line| {
            let (openssl, source) = line.split_once(' ')?;
            Some(Self { openssl, source })
        });
        parsed
            .collect::<Option<_>>()
            .context("tests/openssl/versions: a line is `VERSION CRATE-VERSION`")
    }

    /// The number in the names of its shared libraries.
    fn soname(self) -> &'static str {
        if self.openssl.starts_with("1.1.") {
            "1.1"
        } else {
            "3"
        }
    }
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    packages::require(&packages::OPENSSL, "building OpenSSL")?;
    let known = Version::all()?;
    for asked in &arguments.versions {
        if !known.iter().any(|version| version.openssl == asked) {
            let names: Vec<_> = known.iter().map(|version| version.openssl).collect();
            bail!("no version {asked}; there are {}", names.join(", "));
        }
    }
    let asked = |version: &Version| {
        arguments.versions.is_empty() || arguments.versions.iter().any(|asked| asked == version.openssl)
    };
    let matrix = root()?.join(MATRIX);
    let compiler = build::compiler()?;
    let missing: Vec<Version> = known
        .into_iter()
        .filter(asked)
        .filter(|version| arguments.force || !is_built(&matrix, *version, &compiler))
        .collect();
    if missing.is_empty() {
        println!("the OpenSSL matrix is there: {}", matrix.display());
        return Ok(());
    }
    build_all(&matrix, missing, &compiler)
}

/// One version for each processor at a time: configuring and archiving keep no more than one busy.
fn build_all(matrix: &Path, mut versions: Vec<Version>, compiler: &str) -> anyhow::Result<()> {
    let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let builders = processors.min(versions.len());
    let jobs = processors.div_ceil(builders);
    // The newest takes longest, and is begun first.
    versions.sort_by_key(|version| version.openssl);
    let queue = Mutex::new(versions);
    let next = || queue.lock().ok().and_then(|mut queue| queue.pop());
    let work = || {
        let mut failures = Vec::new();
        while let Some(version) = next() {
            let began = now();
            match build_version(matrix, version, compiler, jobs) {
                Ok(()) => println!(
                    "built OpenSSL {} in {:.0} s",
                    version.openssl,
                    began.elapsed().as_secs_f64()
                ),
                Err(error) => failures.push(error.context(format!("OpenSSL {}", version.openssl))),
            }
        }
        failures
    };
    let failures: Vec<anyhow::Error> = thread::scope(|scope| {
        let builders: Vec<_> = (0..builders).map(|_| scope.spawn(work)).collect();
        let failures = builders.into_iter().map(|builder| {
            builder
                .join()
                .unwrap_or_else(|_panic| vec![anyhow!("a builder panicked")])
        });
        failures.flatten().collect()
    });
    if failures.is_empty() {
        return Ok(());
    }
    let texts: Vec<_> = failures.iter().map(|error| format!("{error:#}")).collect();
    bail!("{}", texts.join("\n"))
}

fn build_version(matrix: &Path, version: Version, compiler: &str, jobs: usize) -> anyhow::Result<()> {
    let source = source::fetch(&matrix.join("source").join(version.openssl), version.source)?;
    let work = matrix.join("build").join(version.openssl);
    let [plain, cet] = directories(matrix, version);
    for directory in [&work, &plain, &cet] {
        if directory.exists() {
            fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
        }
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    let build = build::Build {
        source: &source,
        work: &work,
        jobs,
        soname: version.soname(),
    };
    build.configure(version.openssl)?;
    build.libcrypto(&[&plain, &cet])?;
    build.libssl(build::Protection::Off, &plain)?;
    build.libssl(build::Protection::On, &cet)?;
    for directory in [&plain, &cet] {
        fs::write(directory.join(STAMP), stamp(version, compiler)).context("write a stamp")?;
    }
    fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))
}

/// Says what a directory was built by. Written last.
const STAMP: &str = "stamp";

fn directories(matrix: &Path, version: Version) -> [PathBuf; 2] {
    [
        matrix.join(version.openssl),
        matrix.join(format!("{}-cet", version.openssl)),
    ]
}

fn is_built(matrix: &Path, version: Version, compiler: &str) -> bool {
    let expected = stamp(version, compiler);
    directories(matrix, version)
        .iter()
        .all(|directory| fs::read_to_string(directory.join(STAMP)).is_ok_and(|stamp| stamp == expected))
}

fn stamp(version: Version, compiler: &str) -> String {
    let options = build::options(version.openssl).join(" ");
    format!("{}\n{compiler}\n{options}\n{}\n", version.source, build::RECIPE)
}

/// Runs a step; what it says goes to `log`, whose end is shown when it fails.
fn step(command: &mut Command, log: &Path) -> anyhow::Result<()> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("open {}", log.display()))?;
    let status = command
        .stdin(std::process::Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("start {shown}"))?;
    if status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    let lines: Vec<_> = text.lines().collect();
    let tail = lines
        .get(lines.len().saturating_sub(LOG_LINES)..)
        .unwrap_or_default();
    bail!(
        "{shown}: {status}; the end of {}:\n{}",
        log.display(),
        tail.join("\n")
    )
}

/// Lines of a log that are shown when a step fails.
const LOG_LINES: usize = 30;

#[expect(clippy::disallowed_methods, reason = "a chore's stopwatch")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::{Version, directories, is_built, stamp};

    #[test]
    fn every_version_names_its_source() {
        let versions = Version::all().unwrap();
        assert!(versions.len() >= 5);
        for version in versions {
            let carried = version.source.split_once('+').unwrap().1;
            assert_eq!(carried, version.openssl, "{version:?}");
        }
    }

    #[test]
    fn only_a_whole_and_equal_build_counts() {
        let matrix = std::env::temp_dir().join(format!("kongtap-openssl-{}", std::process::id()));
        let version = Version {
            openssl: "3.5.5",
            source: "300.5.5+3.5.5",
        };
        let [plain, cet] = directories(&matrix, version);
        for directory in [&plain, &cet] {
            assert!(!is_built(&matrix, version, "cc 1"));
            std::fs::create_dir_all(directory).unwrap();
            std::fs::write(directory.join(super::STAMP), stamp(version, "cc 1")).unwrap();
        }
        assert!(is_built(&matrix, version, "cc 1"));
        assert!(!is_built(&matrix, version, "cc 2"), "another compiler");
        std::fs::remove_dir_all(&matrix).unwrap();
    }
}
