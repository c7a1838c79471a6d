//! One object for one processor.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use super::tools::{RUSTUP_VARIABLES, Tools};

/// Instruction set: with atomic fetch and 32-bit jumps. Linux has it since 5.12.
const CPU: &str = "v3";
const TARGET: &str = "bpfel-unknown-none";

/// Builds the object for `arch` and puts it at `out`.
pub(super) fn build(
    root: &Path,
    tools: &Tools,
    arch: &str,
    probe_log: bool,
    out: &Path,
) -> anyhow::Result<()> {
    // One directory for each processor: `cfg` is in the flags, so a shared one would be rebuilt each time.
    let target = root.join("ebpf/target").join(arch);
    let mut cargo = Command::new(&tools.cargo);
    for variable in RUSTUP_VARIABLES {
        cargo.env_remove(variable);
    }
    cargo
        .current_dir(root.join("ebpf"))
        .args([
            "build",
            "--release",
            "--locked",
            "-Z",
            "build-std=core",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(&target)
        .env("RUSTC", &tools.rustc)
        .env("RUSTC_BOOTSTRAP", "1") // stable compilers build `core` too when told that they are bootstrapping
        .env("CARGO_ENCODED_RUSTFLAGS", flags(root, tools, arch));
    if probe_log {
        cargo.args(["--features", "probe-log"]);
    }
    let status = cargo
        .status()
        .with_context(|| tools.cargo.display().to_string())?;
    if !status.success() {
        bail!("the eBPF object for {arch} did not build");
    }
    let built = target.join(TARGET).join("release/kongtap");
    // What is left: programs, maps, and BTF with the source lines that the verifier's log quotes.
    let status = Command::new(&tools.objcopy)
        .arg("--strip-debug")
        .arg(&built)
        .arg(out)
        .status()?;
    if !status.success() {
        bail!("{} failed on {}", tools.objcopy.display(), built.display());
    }
    Ok(())
}

/// Compiler flags, separated as cargo wants them. Paths of this machine do not get into the object.
fn flags(root: &Path, tools: &Tools, arch: &str) -> String {
    let cargo_home = std::env::var("CARGO_HOME")
        .or_else(|_unset| std::env::var("HOME").map(|home| format!("{home}/.cargo")))
        .unwrap_or_default();
    let remap = |from: &str, to: &str| format!("--remap-path-prefix={from}={to}");
    let mut flags = vec![
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        format!("-Ctarget-cpu={CPU}"),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", tools.linker.display()),
        remap(&tools.sysroot.display().to_string(), "/rust"),
        remap(&root.display().to_string(), "/kongtap"),
    ];
    // Below it each registry has a directory of its own, and in that each crate.
    let registries = std::fs::read_dir(Path::new(&cargo_home).join("registry/src"));
    flags.extend(
        registries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| remap(&entry.path().display().to_string(), "/crates")),
    );
    flags.join("\u{1f}")
}
