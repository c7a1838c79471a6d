//! OpenSSL's sources, out of the crate `openssl-src`.
//!
//! Its versions for OpenSSL 3 are compatible by name, so one dependency graph cannot hold two of them: each gets a package of its
//! own, which is never compiled, and cargo says where it has put the crate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// The crate.
const CRATE: &str = "openssl-src";

/// The directory of the sources of the crate's `version`, by way of a package in `package`.
///
/// # Errors
/// When cargo cannot get the crate.
pub(super) fn fetch(package: &Path, version: &str) -> anyhow::Result<PathBuf> {
    let manifest = format!(
        "[package]\nname = \"openssl-of-the-matrix\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\n{CRATE} = \"={version}\"\n\n[workspace]\n"
    );
    fs::create_dir_all(package.join("src")).with_context(|| format!("create {}", package.display()))?;
    fs::write(package.join("Cargo.toml"), manifest).context("write a manifest")?;
    fs::write(package.join("src/lib.rs"), "").context("write a library")?;
    let asked = Command::new(crate::run::cargo())
        .args(["metadata", "--format-version", "1"])
        .current_dir(package)
        .stdin(Stdio::null())
        .output()
        .context("start cargo")?;
    if !asked.status.success() {
        bail!(
            "cargo cannot get {CRATE} {version}:\n{}",
            String::from_utf8_lossy(&asked.stderr).trim()
        );
    }
    let metadata = serde_json::from_slice(&asked.stdout).context("what cargo says")?;
    let directory = directory_of(&metadata).context("cargo names no directory")?;
    let source = directory.join("openssl");
    if !source.join("Configure").is_file() {
        bail!("{} is not OpenSSL", source.display());
    }
    Ok(source)
}

/// The directory of the crate in what `cargo metadata` says.
fn directory_of(metadata: &serde_json::Value) -> Option<PathBuf> {
    let packages = metadata.get("packages")?.as_array()?;
    let package = packages
        .iter()
        .find(|package| package.get("name").is_some_and(|name| name == CRATE))?;
    let manifest = Path::new(package.get("manifest_path")?.as_str()?);
    manifest.parent().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::directory_of;

    #[test]
    fn the_crate_is_found_among_its_dependencies() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "cc", "manifest_path": "/r/cc-1/Cargo.toml" },
            { "name": "openssl-src", "manifest_path": "/r/openssl-src-3/Cargo.toml" },
        ] });
        assert_eq!(
            directory_of(&metadata).as_deref(),
            Some(Path::new("/r/openssl-src-3"))
        );
        assert_eq!(directory_of(&serde_json::json!({})), None);
    }
}
