//! The plugin API's configurations on disk: one file, readable and editable by hand.
//!
//! In: changes by the API, and edits by hand. Out: the configurations in force, and the file, which at any moment holds the
//! old or the new state: it is written beside, synchronised, renamed over, and the directory synchronised. A broken edit keeps
//! the last state, says where the mistake is, and keeps the API from writing over it. Deliberately absent: what a call means
//! (`admin::plugin_api`), and two agents on one file: the second one's edits are taken as made by hand.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::gateway::document::{Mistake, Mistakes, Place, SourceFile};
use crate::plugin::stored::StoredPlugin;

pub mod text;

#[cfg(test)]
mod tests;

/// The largest store that is read, bytes: some ten thousand configurations.
pub const MAX_STORE_BYTES: u64 = 8 << 20;

/// The configurations in force, and what is wrong with the file.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// As last read or written.
    pub plugins: Arc<[StoredPlugin]>,
    /// Why the file, as it is now, is not in force.
    pub mistakes: Option<Mistakes>,
}

/// Why a change was not kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file was edited and cannot be understood; writing would lose the edit.
    #[error("the store was edited and is not in force; mend it first:\n{0}")]
    Broken(Mistakes),
    /// The disk refuses.
    #[error("{}: cannot be written (plugins.store)", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why it cannot be said what a store holds.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// Its text is wrong: every mistake.
    #[error("{0}")]
    Wrong(Mistakes),
    /// It cannot be read.
    #[error("cannot be read")]
    Unreadable(#[source] io::Error),
}

/// The store.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// The state of the file as it was last looked at. Whoever reads or writes the file holds it.
    seen: Mutex<Option<Stamp>>,
    view: ArcSwap<View>,
}

/// What tells a state of the file from another one without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Store {
    /// Opens a store; a file that is not there is an empty one.
    ///
    /// # Errors
    /// Every mistake in the file, or that it cannot be read.
    pub fn open(path: PathBuf) -> Result<Self, Mistakes> {
        let store = Self {
            path,
            seen: Mutex::new(None),
            view: ArcSwap::from_pointee(View::default()),
        };
        store.look(&|_| {});
        match &store.view.load().mistakes {
            Some(mistakes) => Err(mistakes.clone()),
            None => Ok(store),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in force.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Takes an edit by hand, if there was one. `on_change` is told of other configurations before anybody else can change them
    /// again. Blocks on the disk.
    pub fn look(&self, on_change: &dyn Fn(&[StoredPlugin])) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.look_locked(&mut seen, on_change);
    }

    fn look_locked(&self, seen: &mut Option<Stamp>, on_change: &dyn Fn(&[StoredPlugin])) {
        let outcome = match self.read(seen) {
            Ok(None) => return,
            // Editors empty a file before they fill it; that is no wish to have nothing.
            Ok(Some(file)) if file.bytes.is_empty() && *seen != Some(Stamp::ABSENT) && self.has_any() => {
                Err(self.mistake("is empty; write `plugins: []` for none".to_owned()))
            }
            Ok(Some(file)) => text::read(&file),
            Err(error) => Err(self.mistake(format!("cannot be read: {error}"))),
        };
        let old = self.view.load_full();
        match outcome {
            Ok(plugins) => {
                if *plugins != *old.plugins {
                    on_change(&plugins);
                }
                self.view.store(Arc::new(View {
                    plugins: plugins.into(),
                    mistakes: None,
                }));
            }
            Err(mistakes) => {
                if old.mistakes.as_ref() != Some(&mistakes) {
                    tracing::error!(%mistakes, "The plugin store cannot be used as it is; its last state stays in force.");
                }
                self.view.store(Arc::new(View {
                    plugins: Arc::clone(&old.plugins),
                    mistakes: Some(mistakes),
                }));
            }
        }
    }

    /// The file, when it is not the one that was seen.
    fn read(&self, seen: &mut Option<Stamp>) -> io::Result<Option<SourceFile>> {
        let mut bytes = Vec::new();
        let stamp = match File::open(&self.path) {
            Ok(file) => {
                // Taken from what is open and before its contents: a change in between shows at the next look.
                let stamp = Stamp::of(&file.metadata()?);
                if *seen == Some(stamp) {
                    return Ok(None);
                }
                if stamp.size > MAX_STORE_BYTES {
                    *seen = Some(stamp);
                    let text = format!("larger than {MAX_STORE_BYTES} bytes");
                    return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
                }
                file.take(MAX_STORE_BYTES).read_to_end(&mut bytes)?;
                stamp
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Stamp::ABSENT,
            Err(error) => return Err(error),
        };
        if seen.replace(stamp) == Some(stamp) {
            return Ok(None);
        }
        Ok(Some(SourceFile {
            name: self.name(),
            bytes,
        }))
    }

    /// Decides on a change with everybody else kept out, writes it, and only then puts it in force. `decide` gives its answer
    /// and, when something is to change, the new configurations. Blocks on the disk.
    ///
    /// # Errors
    /// The file was edited and is broken, or cannot be written; nothing has changed then.
    pub fn change<T>(
        &self,
        decide: impl FnOnce(&[StoredPlugin]) -> (T, Option<Vec<StoredPlugin>>),
        on_change: &dyn Fn(&[StoredPlugin]),
    ) -> Result<T, StoreError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // An edit by hand that nobody looked at yet must not be written over.
        self.look_locked(&mut seen, on_change);
        let view = self.view.load_full();
        if let Some(mistakes) = &view.mistakes {
            return Err(StoreError::Broken(mistakes.clone()));
        }
        let (answer, change) = decide(&view.plugins);
        let Some(plugins) = change else {
            return Ok(answer);
        };
        let written = replace(&self.path, text::write(&plugins).as_bytes());
        *seen = Some(written.map_err(|source| StoreError::Write {
            path: self.path.clone(),
            source,
        })?);
        on_change(&plugins);
        self.view.store(Arc::new(View {
            plugins: plugins.into(),
            mistakes: None,
        }));
        Ok(answer)
    }

    fn has_any(&self) -> bool {
        !self.view.load().plugins.is_empty()
    }

    fn mistake(&self, text: String) -> Mistakes {
        Mistakes(vec![Mistake {
            origin: self.name(),
            place: Place::Whole,
            text,
        }])
    }

    fn name(&self) -> Arc<str> {
        Arc::from(self.path.display().to_string())
    }
}

impl Stamp {
    const ABSENT: Self = Self {
        inode: 0,
        size: 0,
        changed: (0, 0),
    };

    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            // The time of change, which unlike that of modification nobody can set back.
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What the store holds at this moment, for whoever does not keep it open; a file that is not there is an empty one.
///
/// # Errors
/// [`ContentsError`].
pub fn contents(path: &Path) -> Result<Vec<StoredPlugin>, ContentsError> {
    let store = Store {
        path: path.to_owned(),
        seen: Mutex::new(None),
        view: ArcSwap::from_pointee(View::default()),
    };
    match store.read(&mut None) {
        Ok(Some(file)) => text::read(&file).map_err(ContentsError::Wrong),
        Ok(None) => Ok(Vec::new()),
        Err(error) => Err(ContentsError::Unreadable(error)),
    }
}

/// Puts `bytes` in the place of a file in one step: a crash at any point leaves the old file or the new one, and what was
/// answered for is on the disk.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<Stamp> {
    // Through a symbolic link, so that the link stays.
    let path = &fs::canonicalize(path).unwrap_or_else(|_absent| path.to_owned());
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    // What a crash left behind.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(directory)?.sync_all()?;
    // The rename is a change of the file too, so its state is taken now.
    Ok(Stamp::of(&file.metadata()?))
}
