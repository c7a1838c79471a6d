//! The eBPF object built from source, and the kernel tests on it: the shipped object is what its sources say, and whoever
//! builds it gets one that works.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::{Done, cargo};
use crate::packages;

/// The linker, where it is not there yet.
const LINKER: [&str; 7] = [
    "install",
    "bpf-linker",
    "--version",
    "0.13.0",
    "--no-default-features",
    "--features",
    "llvm-22",
];
/// Debian's own compiler, whose LLVM the linker must share.
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
/// Where llvm-22-dev puts LLVM, by the names under which the linker's build asks for it.
const LLVM: [(&str, &str); 2] = [
    ("LLVM_PREFIX", "/usr/lib/llvm-22"),
    ("LLVM_SYS_221_PREFIX", "/usr/lib/llvm-22"),
];
/// What the cargo that started us says to its children, and another cargo must not hear.
const FOREIGN: [&str; 5] = [
    "RUSTUP_TOOLCHAIN",
    "CARGO",
    "RUSTC",
    "RUSTFLAGS",
    "LD_LIBRARY_PATH",
];
/// Told to the agent's build script.
const OBJECT: &str = "KONGTAP_EBPF_OBJECT";
/// Tests that load every program and see it work; the whole suite has run on the prebuilt object, which has the same sources.
const KERNEL_TESTS: [&[&str]; 2] = [
    &["-p", "kongtap", "--lib", "capture::"],
    &["-p", "kongtap-tests", "--test", "gateway", "every_exchange"],
];

pub(super) fn test(root: &Path) -> anyhow::Result<Done> {
    if let Err(error) = packages::require(&packages::EBPF, "building the eBPF object from source") {
        if packages::is_root() {
            return Err(error);
        }
        return Ok(Done::Skipped(format!("{error:#}")));
    }
    if !is_on_path("bpf-linker") {
        install_linker(root)?;
    }
    // By its inode: the tests before may have had cargo put another file in its place.
    let built = Command::new("/proc/self/exe")
        .args(["ebpf", "--check"])
        .current_dir(root)
        .env("PATH", path_with_cargo_bin()?)
        .status()
        .context("start cargo xtask ebpf")?;
    if !built.success() {
        bail!("cargo xtask ebpf --check: {built}");
    }
    let object = root.join(format!("target/ebpf/kongtap.{}.bpf.o", std::env::consts::ARCH));
    if !object.is_file() {
        bail!("cargo xtask ebpf --check left no {}", object.display());
    }
    println!("kernel tests on {}", object.display());
    let environment = [(OBJECT, object.display().to_string())];
    let mut passed = cargo::Counts::default();
    for tests in KERNEL_TESTS {
        passed = passed.plus(cargo::test(root, tests, &environment)?);
    }
    Ok(Done::Passed(passed))
}

fn install_linker(root: &Path) -> anyhow::Result<()> {
    println!("installing bpf-linker");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usr_first = std::iter::once(PathBuf::from("/usr/bin")).chain(std::env::split_paths(&path));
    let mut install = Command::new(DEBIAN_CARGO);
    install
        .args(LINKER)
        .current_dir(root)
        .env("PATH", std::env::join_paths(usr_first).context("PATH")?)
        .envs(LLVM);
    for name in FOREIGN {
        install.env_remove(name);
    }
    let installed = install
        .status()
        .with_context(|| format!("start {DEBIAN_CARGO}"))?;
    if !installed.success() {
        bail!("cargo install bpf-linker: {installed}");
    }
    Ok(())
}

fn is_on_path(program: &str) -> bool {
    path_with_cargo_bin()
        .is_ok_and(|path| std::env::split_paths(&path).any(|directory| directory.join(program).is_file()))
}

/// The search path, and the directory that `cargo install` puts programs in, which may not be on it.
fn path_with_cargo_bin() -> anyhow::Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let bin = home.map(|home| home.join("bin"));
    std::env::join_paths(std::env::split_paths(&path).chain(bin)).context("PATH")
}
