//! `cargo xtask tidy`: what the compiler and clippy do not check. File sizes, file headers, the invariants of the design that
//! show in the source text, and leftovers.
//!
//! In: the repository's files. Out: one line for each finding, `path:line: what is wrong and what to do`. Also a test, so that
//! `cargo test` finds the same.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

mod rules;
mod source;

use source::Source;

/// Directories that hold no sources of ours.
const SKIPPED: [&str; 3] = ["target", ".git", "node_modules"];
/// Kinds of files that are looked at, by the end of their name.
const KINDS: [&str; 10] = [
    ".rs", ".toml", ".md", ".yml", ".yaml", ".sh", ".lua", ".html", ".css", ".js",
];
/// Files without such an end.
const NAMED: [&str; 2] = ["run", "Containerfile"];
/// Files larger than this are data, bytes.
const SOURCE_BYTES: u64 = 512 * 1024;

/// Arguments.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Arguments {
    /// Another checkout than this one.
    #[arg(long, value_name = "DIRECTORY")]
    root: Option<PathBuf>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Worth a look.
    Warning,
    /// To be mended.
    Error,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) weight: Weight,
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let sources = match &arguments.root {
        Some(root) => read(root)?,
        None => read(&root()?)?,
    };
    let findings = rules::check(&sources);
    let mut errors = 0_usize;
    for finding in &findings {
        let Finding {
            weight,
            path,
            line,
            what,
        } = finding;
        match weight {
            Weight::Warning => println!("warning: {path}:{line}: {what}"),
            Weight::Error => {
                errors = errors.saturating_add(1);
                println!("error: {path}:{line}: {what}");
            }
        }
    }
    if errors > 0 {
        bail!("{errors} places are not tidy");
    }
    println!("{} files are tidy", sources.len());
    Ok(())
}

/// The repository.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("xtask lies in the repository")?;
    Ok(root.to_owned())
}

/// Every file of a known kind, in order of its path.
fn read(root: &Path) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))?;
        for entry in entries {
            let entry = entry?;
            let (name, kind) = (entry.file_name(), entry.file_type()?);
            let name = name.to_string_lossy();
            if kind.is_dir() && !SKIPPED.contains(&name.as_ref()) {
                directories.push(entry.path());
            } else if kind.is_file() && is_source(&name) && entry.metadata()?.len() <= SOURCE_BYTES {
                let path = entry.path();
                let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
                let path = path
                    .strip_prefix(root)
                    .unwrap_or(&path)
                    .to_string_lossy()
                    .into_owned();
                sources.push(Source::new(path, text));
            }
        }
    }
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(sources)
}

fn is_source(name: &str) -> bool {
    NAMED.contains(&name) || KINDS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::{Weight, read, root, rules};

    #[test]
    fn the_repository_is_tidy() {
        let sources = read(&root().unwrap()).unwrap();
        assert!(sources.iter().any(|source| source.path == "xtask/src/tidy.rs"));
        let errors: Vec<_> = rules::check(&sources)
            .into_iter()
            .filter(|finding| finding.weight == Weight::Error)
            .map(|finding| format!("{}:{}: {}", finding.path, finding.line, finding.what))
            .collect();
        assert!(errors.is_empty(), "\n{}", errors.join("\n"));
    }
}
