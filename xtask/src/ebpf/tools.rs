//! Which compiler and linker are there, and what to install when one is missing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use clap::ValueEnum;

/// Variables by which rustup tells its tools which toolchain they are; they must not reach another one.
pub(super) const RUSTUP_VARIABLES: [&str; 6] = [
    "RUSTC",
    "RUSTDOC",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "CARGO",
];

/// A choice of compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Toolchain {
    /// Debian's where it is complete, else rustup's nightly.
    Auto,
    /// Debian's: packages `rustc-web`, `cargo-web` and `rust-web-src`.
    Debian,
    /// `rustup toolchain install nightly --component rust-src`.
    Nightly,
}

/// What the objects are built with.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) cargo: PathBuf,
    pub(super) rustc: PathBuf,
    pub(super) sysroot: PathBuf,
    pub(super) rustc_version: String,
    pub(super) linker: PathBuf,
    pub(super) linker_version: String,
    pub(super) objcopy: PathBuf,
}

impl Tools {
    pub(super) fn find(choice: Toolchain) -> anyhow::Result<Self> {
        let (cargo, rustc, sysroot) = match choice {
            Toolchain::Auto => match debian() {
                Ok(found) => found,
                Err(missing) => nightly().with_context(|| format!("{missing:#}\nor"))?,
            },
            Toolchain::Debian => debian()?,
            Toolchain::Nightly => nightly()?,
        };
        let about = output(Command::new(&rustc).arg("-vV"))?;
        let field = |name: &str| {
            about
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let rustc_version = about.lines().next().unwrap_or_default().to_owned();
        let llvm = field("LLVM version:").context("the compiler does not name its LLVM")?;
        let major = llvm.split('.').next().unwrap_or(llvm);
        let linker = on_path("bpf-linker").with_context(|| linker_hint(major))?;
        let linker_version = output(Command::new(&linker).arg("--version"))
            .with_context(|| linker_hint(major))?
            .trim()
            .to_owned();
        let objcopy = on_path(&format!("llvm-objcopy-{major}"))
            .or_else(|| on_path("llvm-objcopy"))
            .with_context(|| {
                format!("no llvm-objcopy. On Debian, as root:\n    apt-get install llvm-{major}")
            })?;
        let rustc_version = format!("{rustc_version}, LLVM {llvm}");
        Ok(Self {
            cargo,
            rustc,
            sysroot,
            rustc_version,
            linker,
            linker_version,
            objcopy,
        })
    }
}

fn linker_hint(llvm: &str) -> String {
    format!(
        "no bpf-linker for LLVM {llvm}. Its libraries on Debian, as root, and then the linker:\n    \
         apt-get install llvm-{llvm}-dev libzstd-dev zlib1g-dev\n    \
         LLVM_SYS_{llvm}1_PREFIX=/usr/lib/llvm-{llvm} cargo install bpf-linker --no-default-features --features llvm-{llvm}"
    )
}

type Compiler = (PathBuf, PathBuf, PathBuf);

/// The system's compiler with its sources.
fn debian() -> anyhow::Result<Compiler> {
    let (cargo, rustc) = (PathBuf::from("/usr/bin/cargo"), PathBuf::from("/usr/bin/rustc"));
    let sysroot = rustc
        .exists()
        .then(|| sysroot(Command::new(&rustc)))
        .transpose()?;
    match sysroot {
        Some(sysroot) if cargo.exists() && has_core(&sysroot) => Ok((cargo, rustc, sysroot)),
        _ => bail!(
            "no compiler of Debian's that can build `core`. As root:\n    \
             apt-get install rustc-web cargo-web rust-web-src llvm-22-dev"
        ),
    }
}

/// rustup's nightly with its sources.
fn nightly() -> anyhow::Result<Compiler> {
    const HINT: &str =
        "no nightly with its sources:\n    rustup toolchain install nightly --component rust-src";
    let rustup = on_path("rustup").context(HINT)?;
    let mut command = Command::new(rustup);
    command.args(["run", "nightly", "rustc"]);
    let sysroot = sysroot(command).context(HINT)?;
    if !has_core(&sysroot) {
        bail!(HINT);
    }
    Ok((sysroot.join("bin/cargo"), sysroot.join("bin/rustc"), sysroot))
}

fn sysroot(mut rustc: Command) -> anyhow::Result<PathBuf> {
    Ok(PathBuf::from(output(rustc.args(["--print", "sysroot"]))?.trim()))
}

fn has_core(sysroot: &Path) -> bool {
    sysroot
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .exists()
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin"));
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    for variable in RUSTUP_VARIABLES {
        command.env_remove(variable);
    }
    let output = command
        .output()
        .with_context(|| format!("{:?}", command.get_program()))?;
    if !output.status.success() {
        bail!(
            "{:?} failed: {}",
            command.get_program(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).context("its output is not text")
}
