//! Directories of inputs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Most files of a committed corpus. The replay (`fuzz/targets/tests/replay.rs`) holds us to it.
const MOST_FILES: usize = 200;
/// Most bytes of a committed corpus.
const MOST_BYTES: u64 = 300 * 1024;
/// Lines of a log that are shown when something fails.
const LOG_LINES: usize = 20;

/// Its files.
pub(super) fn files(directory: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    entries
        .map(|entry| {
            Ok(entry
                .with_context(|| format!("read {}", directory.display()))?
                .path())
        })
        .collect()
}

/// Makes it an empty directory.
pub(super) fn clear(directory: &Path) -> anyhow::Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))
}

/// Puts the files of `merged` in place of those of `corpus`, the shortest first and no more than may be committed.
pub(super) fn replace(corpus: &Path, merged: &Path) -> anyhow::Result<String> {
    let mut sized = Vec::new();
    for path in files(merged)? {
        let bytes = path
            .metadata()
            .with_context(|| format!("read {}", path.display()))?
            .len();
        sized.push((bytes, path));
    }
    sized.sort();
    let all = sized.len();
    let mut total = 0u64;
    sized.truncate(MOST_FILES);
    sized.retain(|(bytes, _)| {
        total = total.saturating_add(*bytes);
        total <= MOST_BYTES
    });
    clear(corpus)?;
    for (_, path) in &sized {
        let name = path.file_name().context("a file has a name")?;
        fs::copy(path, corpus.join(name)).with_context(|| format!("copy {}", path.display()))?;
    }
    let bytes: u64 = sized.iter().map(|(bytes, _)| bytes).sum();
    Ok(format!(
        "{} files of {bytes} bytes, of {all} that reach something of their own",
        sized.len()
    ))
}

/// The last lines of a log.
pub(super) fn end_of(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    let end = lines.get(lines.len().saturating_sub(LOG_LINES)..);
    end.unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{MOST_FILES, clear, files, replace};

    #[test]
    fn a_corpus_is_replaced_by_the_shortest_inputs() {
        let place = std::env::temp_dir().join(format!("kongtap-corpus-{}", std::process::id()));
        let (corpus, merged) = (place.join("corpus"), place.join("merged"));
        clear(&corpus).unwrap();
        clear(&merged).unwrap();
        fs::write(corpus.join("old"), "old").unwrap();
        for number in 0..=MOST_FILES {
            fs::write(merged.join(number.to_string()), "x".repeat(number)).unwrap();
        }
        replace(&corpus, &merged).unwrap();
        let kept = files(&corpus).unwrap();
        assert_eq!(kept.len(), MOST_FILES);
        assert!(!kept.contains(&corpus.join("old")) && !kept.contains(&corpus.join(MOST_FILES.to_string())));
        fs::remove_dir_all(&place).unwrap();
    }
}
