//! The gateway's configuration from files and directories.
//!
//! In: paths. Out: a [`Reading`], and what tells whether a file changed: names, times and sizes. A directory stands for the `.yml`,
//! `.yaml` and `.json` files in it, by name; what begins with a dot is passed over, as a mounted ConfigMap keeps its versions so.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use crate::gateway::declarative::{self, Lookup};
use crate::gateway::document::{MAX_FILE_BYTES, SourceFile};
use crate::gateway::router::RouterProfile;
use crate::gateway::source::{Fingerprint, Reading, SourceError};

/// The most files of one directory.
const MAX_FILES: usize = 10_000;
/// How the files of a directory end that are read.
const ENDINGS: [&str; 3] = ["yml", "yaml", "json"];

/// Declarative files.
#[derive(Clone, Debug)]
pub struct FileSource {
    /// Files and directories.
    pub paths: Vec<PathBuf>,
    /// The gateway's router, which no file tells.
    pub profile: RouterProfile,
    /// Where decK's placeholders find their values.
    pub lookup: Lookup,
}

impl FileSource {
    pub(super) async fn fetch(&self) -> Result<Reading, SourceError> {
        let source = self.clone();
        blocking(move || source.read()).await
    }

    pub(super) async fn signs(&self) -> Result<String, SourceError> {
        let source = self.clone();
        blocking(move || signs_of(&source.files()?)).await
    }

    fn files(&self) -> Result<Vec<PathBuf>, SourceError> {
        let mut files = Vec::new();
        for path in &self.paths {
            files.extend(expand(path).map_err(|source| SourceError::File {
                path: path.clone(),
                source,
            })?);
        }
        Ok(files)
    }

    fn read(&self) -> Result<Reading, SourceError> {
        let paths = self.files()?;
        // Taken before the contents: a change in between shows at the next look.
        let cheap = signs_of(&paths)?;
        let mut files = Vec::new();
        let mut contents = Uuid::nil();
        for path in &paths {
            let bytes = read_bounded(path)?;
            contents = Uuid::new_v5(&contents, &bytes);
            files.push(SourceFile {
                name: Arc::from(path.display().to_string()),
                bytes,
            });
        }
        let declared = declarative::read_with(&files, self.lookup).map_err(SourceError::Mistakes)?;
        Ok(Reading {
            entities: declared.entities,
            profile: self.profile,
            notes: declared.notes,
            facts: None,
            fingerprint: Fingerprint {
                cheap: Some(cheap),
                contents,
            },
        })
    }
}

/// A file, or the files of a directory.
///
/// # Errors
/// The directory cannot be read, has none, or too many.
pub fn expand(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let is_hidden = file
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        let ends_well = file
            .extension()
            .is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)));
        if !is_hidden && ends_well && file.is_file() {
            files.push(file);
        }
        if files.len() > MAX_FILES {
            return Err(io::Error::other(format!("more than {MAX_FILES} files")));
        }
    }
    if files.is_empty() {
        let what = "a directory without .yml, .yaml or .json files";
        return Err(io::Error::new(io::ErrorKind::NotFound, what));
    }
    files.sort();
    Ok(files)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, SourceError> {
    let failed = |source| SourceError::File {
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if usize::try_from(size).is_ok_and(|size| size > MAX_FILE_BYTES) {
        return Err(SourceError::TooLarge {
            url: path.display().to_string(),
            limit: MAX_FILE_BYTES,
            unit: "bytes",
        });
    }
    std::fs::read(path).map_err(failed)
}

fn signs_of(paths: &[PathBuf]) -> Result<String, SourceError> {
    let mut all = String::new();
    for path in paths {
        let metadata = std::fs::metadata(path).map_err(|source| SourceError::File {
            path: path.clone(),
            source,
        })?;
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let since = modified
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let (time, size) = (since.as_nanos(), metadata.len());
        all.push_str(&format!("{}:{time}:{size};", path.display()));
    }
    Ok(all)
}

/// Files may be on a slow share: their reading must not hold up the runtime.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let joined = tokio::task::spawn_blocking(read).await;
    joined.unwrap_or_else(|error| {
        Err(SourceError::File {
            path: PathBuf::new(),
            source: io::Error::other(error),
        })
    })
}
