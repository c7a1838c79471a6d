//! Puts the built eBPF object where the library embeds it from, and refuses one that was not made from today's sources.
//!
//! In: `ebpf/prebuilt/` and the sources of `ebpf/` and `common/`; or the object that `KONGTAP_EBPF_OBJECT` names, which
//! is taken as it is (that is how CI tests an object that it has just built from source). Out: `$OUT_DIR/kongtap.bpf.o`.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

#[path = "../xtask/src/ebpf/manifest.rs"]
mod manifest;

const OVERRIDE: &str = "KONGTAP_EBPF_OBJECT";

fn main() -> anyhow::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR")?).join("kongtap.bpf.o");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("CARGO_MANIFEST_DIR")?).join("..");
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    for package in manifest::PACKAGES {
        for part in ["src", "Cargo.toml", "Cargo.lock"] {
            let path = root.join(package).join(part);
            if path.exists() {
                println!("cargo::rerun-if-changed={}", path.display());
            }
        }
    }
    println!(
        "cargo::rerun-if-changed={}",
        root.join(manifest::PREBUILT).display()
    );
    let object = match env::var_os(OVERRIDE) {
        Some(path) => {
            println!("cargo::rerun-if-changed={}", Path::new(&path).display());
            std::fs::read(&path).with_context(|| format!("{OVERRIDE}={}", Path::new(&path).display()))?
        }
        None => prebuilt(
            &root,
            &env::var("CARGO_CFG_TARGET_ARCH").context("CARGO_CFG_TARGET_ARCH")?,
        )?,
    };
    std::fs::write(&out, object).with_context(|| out.display().to_string())
}

/// The prebuilt object for `arch`, if it was made from today's sources.
fn prebuilt(root: &Path, arch: &str) -> anyhow::Result<Vec<u8>> {
    let directory = root.join(manifest::PREBUILT);
    let path = directory.join(manifest::MANIFEST);
    let text = std::fs::read(&path).with_context(|| format!("{}: run `cargo xtask ebpf`", path.display()))?;
    let json = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    let sources = manifest::read(&json, "sources");
    let changed = manifest::differences(&sources, &manifest::source_hashes(root)?);
    if !changed.is_empty() {
        bail!(
            "the eBPF object in {} was not built from today's sources ({} changed): run `cargo xtask ebpf`",
            manifest::PREBUILT,
            changed.join(", ")
        );
    }
    let name = manifest::object_name(arch);
    let object = std::fs::read(directory.join(&name))
        .with_context(|| format!("no eBPF object for {arch}: run `cargo xtask ebpf --arch {arch}`"))?;
    if manifest::read(&json, "objects").get(&name) != Some(&manifest::sha256(&object)) {
        bail!(
            "{}/{name} is not the object that the manifest names: run `cargo xtask ebpf`",
            manifest::PREBUILT
        );
    }
    Ok(object)
}
