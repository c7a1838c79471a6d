//! What the built eBPF objects were made from: `ebpf/prebuilt/manifest.json`. Shared by `xtask`, which writes it, and by
//! the agent's build script, which refuses an object that was not made from today's sources.
//!
//! In: the repository's root. Out: hashes. Deliberately absent: building anything.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Directory of the built objects, from the repository's root.
pub(crate) const PREBUILT: &str = "ebpf/prebuilt";
/// The manifest's name in it.
pub(crate) const MANIFEST: &str = "manifest.json";
/// Packages whose sources make the objects.
pub(crate) const PACKAGES: &[&str] = &["common", "ebpf"];

/// Paths (from the root, with `/`) to SHA-256 in hex.
pub(crate) type Hashes = BTreeMap<String, String>;

/// The object's file name for a processor.
pub(crate) fn object_name(arch: &str) -> String {
    format!("kongtap.{arch}.bpf.o")
}

/// SHA-256 of `bytes` in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Hashes of every file that goes into the objects: sources, `Cargo.toml` and `Cargo.lock` of [`PACKAGES`].
pub(crate) fn source_hashes(root: &Path) -> io::Result<Hashes> {
    let mut hashes = Hashes::new();
    let mut todo: Vec<PathBuf> = PACKAGES.iter().map(PathBuf::from).collect();
    while let Some(relative) = todo.pop() {
        for entry in std::fs::read_dir(root.join(&relative))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = relative.join(&name);
            if entry.file_type()?.is_dir() {
                if !matches!(name.as_str(), "target" | "prebuilt") {
                    todo.push(path);
                }
            } else if name.ends_with(".rs") || matches!(name.as_str(), "Cargo.toml" | "Cargo.lock") {
                let key = path.to_string_lossy().into_owned();
                hashes.insert(key, sha256(&std::fs::read(root.join(&path))?));
            }
        }
    }
    Ok(hashes)
}

/// The hashes under `key` (`sources` or `objects`) of a manifest; none if it has no such object.
pub(crate) fn read(manifest: &serde_json::Value, key: &str) -> Hashes {
    let entries = manifest.get(key).and_then(serde_json::Value::as_object);
    entries
        .into_iter()
        .flatten()
        .filter_map(|(path, hash)| Some((path.clone(), hash.as_str()?.to_owned())))
        .collect()
}

/// Files whose hashes differ between two sets, or that only one of them has.
pub(crate) fn differences(recorded: &Hashes, today: &Hashes) -> Vec<String> {
    let mut paths: Vec<String> = recorded
        .keys()
        .chain(today.keys())
        .filter(|path| recorded.get(*path) != today.get(*path))
        .cloned()
        .collect();
    paths.sort();
    paths.dedup();
    paths
}
