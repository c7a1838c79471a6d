//! The instrumented build of `fuzz/`.
//!
//! What libFuzzer needs is a pass of LLVM's that every rustc has, and AddressSanitizer, which stable rustc brings for some hosts behind an
//! unstable switch. `RUSTC_BOOTSTRAP=1` opens both, so the pinned stable toolchain does and no nightly is needed. The flags are those that
//! libFuzzer documents (<https://llvm.org/docs/LibFuzzer.html>, <https://clang.llvm.org/docs/SanitizerCoverage.html>), as cargo-fuzz passes them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};

use super::Places;
use crate::run::cargo;

/// Counters at every edge, and the operands of comparisons, from which libFuzzer learns what a program looks for.
const COVERAGE: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

const SANITIZER: &str = "-Zsanitizer=address";

/// Builds `targets`; the directory of their programs.
///
/// # Errors
/// When the build fails.
pub(super) fn build(places: &Places, targets: &[String], sanitizer: bool) -> anyhow::Result<PathBuf> {
    let host = host()?;
    let sanitizer = sanitizer && has_sanitizer(&host)?;
    let mut flags = COVERAGE.to_vec();
    flags.extend(["--cfg", "fuzzing"]);
    if sanitizer {
        flags.push(SANITIZER);
    }
    // With a `--target` the flags are the programs' alone, and not those of what the build itself runs.
    let status = Command::new(cargo())
        .args(["build", "--release", "--quiet", "--target", &host])
        .args(targets.iter().flat_map(|target| ["--bin", target]))
        .arg("--manifest-path")
        .arg(places.fuzz.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&places.found)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", flags.join(" "))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .context("start cargo")?;
    if !status.success() {
        bail!("the instrumented build failed");
    }
    Ok(places.found.join(host).join("release"))
}

/// Whether there is a C++ compiler, as the build of libFuzzer looks for one.
pub(super) fn has_compiler() -> bool {
    let compiler = std::env::var("CXX").unwrap_or_else(|_unset| "c++".to_owned());
    Command::new(compiler)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// The toolchain's own target triple.
fn host() -> anyhow::Result<String> {
    let said = rustc(&["--version", "--verbose"])?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}

/// Whether the toolchain brings AddressSanitizer's runtime; says so if not.
fn has_sanitizer(host: &str) -> anyhow::Result<bool> {
    let libraries = PathBuf::from(rustc(&["--print", "target-libdir", "--target", host])?.trim());
    let entries = std::fs::read_dir(&libraries).with_context(|| format!("read {}", libraries.display()))?;
    let is_runtime = |name: &str| name.starts_with("librustc") && name.ends_with("_rt.asan.a");
    let has = entries
        .filter_map(Result::ok)
        .any(|entry| entry.file_name().to_str().is_some_and(is_runtime));
    if !has {
        println!("this toolchain has no AddressSanitizer: without it");
    }
    Ok(has)
}

fn rustc(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(arguments)
        .output()
        .context("start rustc")?;
    if !output.status.success() {
        bail!("rustc {}: {}", arguments.join(" "), output.status);
    }
    String::from_utf8(output.stdout).context("what rustc says")
}
