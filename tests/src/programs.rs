//! Where the programs under test are. They are built when a test first asks, so that no test judges a stale one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, ensure};

/// The programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// `kongtap`
    pub kongtap: PathBuf,
    /// `kongtap-inspector`
    pub inspector: PathBuf,
}

/// Builds them, in the profile that the test itself was built in, and says where they are.
///
/// # Errors
/// When they cannot be built.
pub fn programs() -> anyhow::Result<&'static Programs> {
    static BUILT: OnceLock<Result<Programs, String>> = OnceLock::new();
    BUILT
        .get_or_init(|| build().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

fn build() -> anyhow::Result<Programs> {
    // target/<profile>/deps/<this test>
    let test = std::env::current_exe().context("where is this test?")?;
    let directory = test
        .parent()
        .and_then(Path::parent)
        .context("this test is not in cargo's target directory")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args(["build", "--quiet", "--workspace", "--bins"])
        .stdin(Stdio::null());
    if directory.file_name().is_some_and(|profile| profile == "release") {
        build.arg("--release");
    }
    let built = build
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .context("start cargo")?;
    ensure!(
        built.status.success(),
        "cargo build failed:\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let program = |name| {
        let path = directory.join(name);
        ensure!(path.is_file(), "cargo build left no {}", path.display());
        Ok(path)
    };
    Ok(Programs {
        kongtap: program("kongtap")?,
        inspector: program("kongtap-inspector")?,
    })
}
