//! Which file gives a process its TLS functions, and where they lie in it.
//!
//! In: a pid. Out: a [`TlsSearch`]: libraries with the offsets for probes, or the plain statement that there is none or
//! that its symbols are unknown, with which capture of plain traffic goes on. The file is taken from the process's own
//! maps, so a private copy under a gateway's prefix, a library that was replaced on disk, and one in another mount
//! namespace are all right. Deliberately absent: probes, and what the functions do.

pub mod maps;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::gateways::{Pid, facts};
use super::placement::{self, Placement};
use super::symbols::{self, ELF_MAX_BYTES, ElfFacts, TlsFunction};
use maps::{MappedFile, MapsText};

/// Most files of one process that are opened in the search.
const FILES_PER_PROCESS: usize = 256;
/// Most files whose facts are kept. A host has a few versions of a few libraries.
const CACHED_FILES: usize = 256;

/// A file that offers OpenSSL's functions to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsLibrary {
    /// The file as the agent can open it while the process lives: under `/proc/PID/root`, or `/proc/PID/map_files` when
    /// it is gone from disk, or `/proc/PID/exe`.
    pub path_for_agent: PathBuf,
    /// The file as the process has it, for tables and logs.
    pub path_in_process: PathBuf,
    /// Device of the file's inode, as `stat` has it.
    pub device: u64,
    /// Its inode. Device and inode name the file to the kernel's uprobes, which are shared by all that map it.
    pub inode: u64,
    /// The linker's note, in hex.
    pub build_id: Option<String>,
    /// What it says of itself, such as `OpenSSL 3.0.19 27 Jan 2026`; none when it does not.
    pub version: Option<String>,
    /// What it defines, and how to probe it. Holds at least one function that reads or writes.
    pub placements: BTreeMap<TlsFunction, Placement>,
    /// The libcrypto that the process maps, as the agent can open it. None where OpenSSL is one file, or linked in.
    pub crypto_for_agent: Option<PathBuf>,
    /// Whether it is the executable itself, which cannot be loaded as a library.
    pub is_executable: bool,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSearch {
    /// These, in the order of their addresses; nearly always one.
    Found(Vec<TlsLibrary>),
    /// It maps a file that is a TLS library by name, but the file has no known symbols (stripped, another library, or
    /// not to be read).
    NoSymbols {
        /// What was looked at, each with what was wrong.
        examined: Vec<Examined>,
    },
    /// Nothing that it maps has TLS functions by name or symbol. That is so for a gateway without TLS, and for one
    /// whose executable has OpenSSL linked in and its symbols stripped.
    NoLibrary,
}

/// A file without use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// As the process has it.
    pub path: PathBuf,
    /// Why it is of no use.
    pub problem: Problem,
}

/// Why a file is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It defines none of the functions by name.
    NoFunctions,
    /// It is no well-formed ELF file.
    Malformed,
    /// It is longer than [`ELF_MAX_BYTES`].
    TooLong,
    /// It cannot be opened: the agent needs `CAP_SYS_PTRACE`, and for a file that is gone from disk `CAP_SYS_ADMIN` or
    /// `CAP_CHECKPOINT_RESTORE`.
    Unreadable,
}

impl Problem {
    /// In words.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoFunctions => "no known symbols",
            Self::Malformed => "not a well-formed ELF file",
            Self::TooLong => "too long to examine",
            Self::Unreadable => "cannot be opened",
        }
    }
}

/// Why a process cannot be searched at all.
#[derive(Debug, thiserror::Error)]
pub enum LibrariesError {
    /// Its maps cannot be read.
    #[error("cannot read the memory map of process {pid}; it has ended, or CAP_SYS_PTRACE is missing")]
    Maps {
        /// The process.
        pid: Pid,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Searches processes, and remembers the files that it has read: workers share them.
#[derive(Debug, Default)]
pub struct LibraryFinder {
    cache: HashMap<FileIdentity, FileFacts>,
}

/// One content of one file: `ctime` moves with every change, so that a library overwritten in place is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
    size_bytes: u64,
    changed_s: i64,
    changed_ns: i64,
}

#[derive(Clone, Debug)]
enum FileFacts {
    Elf {
        facts: ElfFacts,
        placements: BTreeMap<TlsFunction, Placement>,
        version: Option<String>,
    },
    Unusable(Problem),
}

impl LibraryFinder {
    /// The TLS libraries of a process.
    ///
    /// Files called `libssl…` are looked at first, then the executable, then whatever else is mapped to run.
    ///
    /// # Errors
    /// When the process's memory map cannot be read.
    pub fn search(&mut self, pid: Pid) -> Result<TlsSearch, LibrariesError> {
        let text = MapsText::read(pid).map_err(|source| LibrariesError::Maps { pid, source })?;
        let executable = fs::read_link(facts::path(pid, "exe")).ok();
        let mut files = text.executable_files();
        files.truncate(FILES_PER_PROCESS);
        let stage = |file: &MappedFile| match file.file_name() {
            name if name.starts_with("libssl") => Stage::Named,
            _ if Some(&file.path) == executable.as_ref() => Stage::Executable,
            _ => Stage::Rest,
        };
        let libcrypto = files
            .iter()
            .find(|file| file.file_name().starts_with("libcrypto"))
            .and_then(|file| open(pid, file, Stage::Named));
        let crypto = libcrypto.map(|opened| Crypto {
            version: self.version_of(&opened),
            path: opened.path,
        });
        let mut examined = Vec::new();
        for wanted in [Stage::Named, Stage::Executable, Stage::Rest] {
            let mut found = Vec::new();
            for file in files.iter().filter(|file| stage(file) == wanted) {
                match self.examine(pid, file, wanted, crypto.as_ref()) {
                    Ok(library) => found.push(library),
                    Err(problem) if wanted == Stage::Named => examined.push(Examined {
                        path: file.path.clone(),
                        problem,
                    }),
                    Err(_) => {}
                }
            }
            if !found.is_empty() {
                return Ok(TlsSearch::Found(found));
            }
        }
        Ok(if examined.is_empty() {
            TlsSearch::NoLibrary
        } else {
            TlsSearch::NoSymbols { examined }
        })
    }

    fn examine(
        &mut self,
        pid: Pid,
        file: &MappedFile,
        stage: Stage,
        crypto: Option<&Crypto>,
    ) -> Result<TlsLibrary, Problem> {
        let opened = open(pid, file, stage).ok_or(Problem::Unreadable)?;
        match self.facts_of(&opened) {
            FileFacts::Elf {
                facts,
                placements,
                version,
            } if facts.carries_data() => Ok(TlsLibrary {
                path_for_agent: opened.path,
                path_in_process: file.path.clone(),
                device: opened.identity.device,
                inode: opened.identity.inode,
                build_id: facts.build_id,
                // The version text stands in libcrypto, beside the libssl that has the functions.
                version: version.or_else(|| crypto.and_then(|crypto| crypto.version.clone())),
                placements,
                crypto_for_agent: crypto.map(|crypto| crypto.path.clone()),
                is_executable: stage == Stage::Executable,
            }),
            FileFacts::Elf { .. } => Err(Problem::NoFunctions),
            FileFacts::Unusable(problem) => Err(problem),
        }
    }

    fn version_of(&mut self, opened: &Opened) -> Option<String> {
        match self.facts_of(opened) {
            FileFacts::Elf { version, .. } => version,
            FileFacts::Unusable(_) => None,
        }
    }

    fn facts_of(&mut self, opened: &Opened) -> FileFacts {
        if let Some(known) = self.cache.get(&opened.identity) {
            return known.clone();
        }
        let facts = read_file(opened);
        if self.cache.len() >= CACHED_FILES {
            self.cache.clear();
        }
        self.cache.insert(opened.identity, facts.clone());
        facts
    }
}

/// What is known of a process's libcrypto.
#[derive(Debug)]
struct Crypto {
    path: PathBuf,
    version: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Named,
    Executable,
    Rest,
}

/// A mapped file that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) path: PathBuf,
    file: File,
    pub(super) identity: FileIdentity,
}

impl Opened {
    /// Its bytes, unless there are more than [`ELF_MAX_BYTES`].
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        if self.identity.size_bytes > ELF_MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::new();
        (&self.file).take(ELF_MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Opens the very file that a process maps.
pub(super) fn open_mapped(pid: Pid, file: &MappedFile) -> Option<Opened> {
    open(pid, file, Stage::Rest)
}

/// Opens the file that a process runs.
pub(super) fn open_executable(pid: Pid) -> Option<Opened> {
    open_path(facts::path(pid, "exe"))
}

/// Opens the very file that is mapped, by the first path that leads to it.
fn open(pid: Pid, file: &MappedFile, stage: Stage) -> Option<Opened> {
    if stage == Stage::Executable {
        // Leads to the running file even after it was replaced on disk.
        return open_path(facts::path(pid, "exe"));
    }
    let in_root = file.path.strip_prefix("/").ok().filter(|_| !file.is_deleted);
    let by_root = in_root.and_then(|inside| open_path(facts::path(pid, "root").join(inside)));
    // The path may lead to a newer file. Device numbers are not compared: on overlayfs the map shows those of the
    // layer beneath.
    by_root
        .filter(|opened| opened.identity.inode == file.inode && opened.identity.size_bytes > file.offset)
        .or_else(|| open_path(facts::path(pid, "map_files").join(&file.range)))
}

fn open_path(path: PathBuf) -> Option<Opened> {
    // Not a device or a pipe, which a name in a hostile mount namespace may lead to: opening one can block.
    if !fs::metadata(&path).ok()?.is_file() {
        return None;
    }
    let file = File::open(&path).ok()?;
    let metadata = file.metadata().ok()?;
    let identity = FileIdentity {
        device: metadata.dev(),
        inode: metadata.ino(),
        size_bytes: metadata.len(),
        changed_s: metadata.ctime(),
        changed_ns: metadata.ctime_nsec(),
    };
    Some(Opened { path, file, identity })
}

fn read_file(opened: &Opened) -> FileFacts {
    if opened.identity.size_bytes > ELF_MAX_BYTES {
        return FileFacts::Unusable(Problem::TooLong);
    }
    let mut bytes = Vec::new();
    if (&opened.file)
        .take(ELF_MAX_BYTES)
        .read_to_end(&mut bytes)
        .is_err()
    {
        return FileFacts::Unusable(Problem::Unreadable);
    }
    match symbols::read(&bytes) {
        Ok(facts) => FileFacts::Elf {
            placements: placements_of(&bytes, &facts),
            facts,
            version: symbols::openssl_version(&bytes),
        },
        Err(_) => FileFacts::Unusable(Problem::Malformed),
    }
}

/// How to probe each function that the file defines. Code for a processor that is not known is probed where it begins.
fn placements_of(file: &[u8], facts: &ElfFacts) -> BTreeMap<TlsFunction, Placement> {
    let mut placements = symbols::code(file)
        .map(|code| placement::place(&code, &facts.functions))
        .unwrap_or_default();
    for (function, offset) in &facts.functions {
        placements.entry(*function).or_insert_with(|| {
            Placement::stepped(
                *function,
                offset.0,
                "unknown".to_owned(),
                "its code cannot be read",
            )
        });
    }
    placements
}

/// The placements in a file by path, for tests on a library that no process has mapped.
#[must_use]
pub fn placements_in(path: &std::path::Path) -> Option<BTreeMap<TlsFunction, Placement>> {
    match read_file(&open_path(path.to_owned())?) {
        FileFacts::Elf { placements, .. } => Some(placements),
        FileFacts::Unusable(_) => None,
    }
}

#[cfg(test)]
mod tests;
