//! One version of OpenSSL from its sources: libcrypto once, libssl twice.
//!
//! Only position-independent static libraries are built by OpenSSL's own makefile; the shared ones are linked from the very same
//! objects, which saves compiling everything twice. What is configured away is algorithms and tools, so that libssl, which
//! the probes are placed in, is compiled as distributions compile it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::step;

/// What else than the options decides what comes out: part of the stamp, to be changed with this file.
pub(super) const RECIPE: &str = "1: -O2, static and shared of the same objects";

/// Left out of every version: what a TLS server with an elliptic-curve certificate does without. Assembly too, since generating
/// it takes long and no probe is placed in it.
const WITHOUT: &str = "asm async aria autoload-config bf blake2 camellia cast cms des dsa dso ec2m engine gost idea md4 mdc2 \
                       ocb rc2 rc4 rmd160 scrypt seed shared siphash sm2 sm3 sm4 tests ts ui-console whirlpool";
/// Left out from a version on, which is the first to know the name.
const WITHOUT_FROM: [((u32, u32), &str); 3] = [
    ((3, 0), "cmp legacy module siv"),
    ((3, 2), "apps docs http"),
    ((3, 5), "ml-dsa slh-dsa"),
];

/// Whether jump targets are marked, by instructions at the entry of each function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    /// No marks.
    Off,
    /// `endbr64`, or `bti` on aarch64.
    On,
}

impl Protection {
    /// All compiler flags. Said in both cases, because compilers differ in what they do by default.
    const fn flags(self) -> &'static str {
        match (self, cfg!(target_arch = "aarch64")) {
            (Self::Off, false) => "-O2 -fcf-protection=none",
            (Self::On, false) => "-O2 -fcf-protection=full",
            (Self::Off, true) => "-O2 -mbranch-protection=none",
            (Self::On, true) => "-O2 -mbranch-protection=standard",
        }
    }
}

/// The first line of what the compiler says of itself.
pub(super) fn compiler() -> anyhow::Result<String> {
    let said = Command::new("cc").arg("--version").output().context("start cc")?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

/// `no-…` options for a version such as `3.5.5`.
pub(super) fn options(version: &str) -> Vec<String> {
    let mut numbers = version
        .split('.')
        .map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let later = WITHOUT_FROM.iter().filter(|(first, _)| version >= *first);
    std::iter::once(WITHOUT)
        .chain(later.map(|(_, names)| *names))
        .flat_map(str::split_whitespace)
        .map(|name| format!("no-{name}"))
        .collect()
}

/// A build under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Build<'a> {
    /// Where the sources are. Nothing is written there.
    pub(super) source: &'a Path,
    /// Where it is built.
    pub(super) work: &'a Path,
    /// Compilers at one time.
    pub(super) jobs: usize,
    /// The number in the names of the shared libraries.
    pub(super) soname: &'a str,
}

impl Build<'_> {
    /// Writes the makefile and what it generates first.
    ///
    /// # Errors
    /// When a step fails.
    pub(super) fn configure(&self, version: &str) -> anyhow::Result<()> {
        let target = format!("linux-{}", std::env::consts::ARCH);
        let mut configure = Command::new("perl");
        configure
            .arg(self.source.join("Configure"))
            .arg(target)
            .args(options(version))
            .env("CFLAGS", Protection::Off.flags());
        self.step(&mut configure)?;
        self.step(self.make().arg("build_generated"))
    }

    /// Builds libcrypto and puts it into each of `into`.
    ///
    /// # Errors
    /// When a step fails.
    pub(super) fn libcrypto(&self, into: &[&PathBuf]) -> anyhow::Result<()> {
        self.step(self.make().arg("libcrypto.a"))?;
        for directory in into {
            copy(&self.work.join("libcrypto.a"), directory)?;
            self.share("crypto", directory, &[])?;
        }
        Ok(())
    }

    /// Builds libssl and puts it into `directory`, beside libcrypto.
    ///
    /// # Errors
    /// When a step fails.
    pub(super) fn libssl(&self, protection: Protection, directory: &Path) -> anyhow::Result<()> {
        remove_libssl(self.work)?;
        self.step(
            self.make()
                .arg(format!("CFLAGS={}", protection.flags()))
                .arg("libssl.a"),
        )?;
        copy(&self.work.join("libssl.a"), directory)?;
        self.share("ssl", directory, &["-lcrypto"])
    }

    /// Links `lib<name>.so` of the static library's objects. Calls inside a library stay inside, as with OpenSSL's own linking.
    fn share(&self, name: &str, directory: &Path, needs: &[&str]) -> anyhow::Result<()> {
        let file = format!("lib{name}.so.{}", self.soname);
        let mut link = Command::new("cc");
        link.arg("-shared")
            .args(["-o", &file])
            .arg(format!("-Wl,-soname,{file}"))
            .args(["-Wl,-Bsymbolic", "-Wl,-z,defs", "-Wl,--build-id"])
            .args([
                "-Wl,--whole-archive",
                &format!("lib{name}.a"),
                "-Wl,--no-whole-archive",
            ])
            .arg("-L.")
            .args(needs)
            .args(["-pthread", "-ldl"])
            .current_dir(directory);
        step(&mut link, &self.log())?;
        symlink(&file, directory.join(format!("lib{name}.so"))).context("link a library's name")
    }

    fn make(&self) -> Command {
        let mut make = Command::new("make");
        make.arg(format!("-j{}", self.jobs));
        // An outer make's jobs are no business of this one.
        make.env_remove("MAKEFLAGS").env_remove("MFLAGS");
        make
    }

    fn step(&self, command: &mut Command) -> anyhow::Result<()> {
        step(command.current_dir(self.work), &self.log())
    }

    fn log(&self) -> PathBuf {
        self.work.join("log")
    }
}

fn copy(file: &Path, directory: &Path) -> anyhow::Result<()> {
    let Some(name) = file.file_name() else {
        bail!("{} is no file", file.display());
    };
    fs::copy(file, directory.join(name)).with_context(|| format!("copy {}", file.display()))?;
    Ok(())
}

/// Removes libssl and its objects, which may lie beside libcrypto's: make does not notice that the flags are others.
fn remove_libssl(work: &Path) -> anyhow::Result<()> {
    let of_libssl = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name == "libssl.a"
            || name.ends_with(".o") && (name.starts_with("libssl-") || path.starts_with(work.join("ssl")))
    };
    let mut directories = vec![work.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                directories.push(path);
            } else if of_libssl(&path) {
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::options;

    #[test]
    fn a_version_is_told_only_what_it_knows() {
        let check = |version: &str, name: &str, expect| {
            let option = format!("no-{name}");
            assert_eq!(options(version).contains(&option), expect, "{version} {name}");
        };
        check("1.1.1w", "des", true);
        check("1.1.1w", "legacy", false);
        check("3.0.8", "legacy", true);
        check("3.0.8", "http", false);
        check("3.4.1", "http", true);
        check("3.4.1", "ml-dsa", false);
        check("3.5.5", "ml-dsa", true);
    }
}
