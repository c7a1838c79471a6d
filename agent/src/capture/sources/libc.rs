//! Which of libc's functions a process makes its socket calls by, and where probes on them go.
//!
//! In: a pid. Out: files with the points to probe. The C library is what the process itself maps under one of the usual
//! names; where it maps none, its executable, for it may be linked in. Deliberately absent: system calls that a program
//! makes by instructions of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use object::{Architecture, Object as _, ObjectSegment as _, ObjectSymbol as _, SymbolKind};

use super::CALLS;
use crate::capture::gateways::Pid;
use crate::capture::libraries::maps::{MappedFile, MapsText};
use crate::capture::libraries::{FileIdentity, open_executable, open_mapped};
use crate::capture::placement::libc::{Function, Placement, Processor, place};

/// Most bytes of a function that are looked at. glibc's are below 400.
const FUNCTION_MAX_BYTES: u64 = 4096;
/// Most files whose points are kept.
const CACHED_FILES: usize = 64;

/// One place for a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Position in the file.
    pub offset: u64,
    /// The call that is made there.
    pub number: i64,
    /// Which probe.
    pub kind: PointKind,
}

/// Which probe goes to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointKind {
    /// One behind the call.
    Behind,
    /// One at the function's entry, which is here, and one at its return.
    EntryAndReturn,
}

/// A file that a process makes its socket calls in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibcFile {
    /// As the agent can open it while the process lives.
    pub path_for_agent: PathBuf,
    /// Where its probes go.
    pub points: Vec<Point>,
}

/// Why there is nothing to probe.
#[derive(Debug, thiserror::Error)]
pub enum LibcError {
    /// The process's memory map cannot be read.
    #[error("cannot read the memory map of process {0}; it has ended, or CAP_SYS_PTRACE is missing")]
    Maps(Pid, #[source] std::io::Error),
    /// It maps no C library whose symbols are known, and its executable has none of the functions.
    #[error(
        "process {0} has no C library with symbols: capture.sockets = \"uprobes\" cannot see its socket calls"
    )]
    NoFunctions(Pid),
}

/// Where probes are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placing {
    /// Behind the calls where that can be done.
    #[default]
    BehindCalls,
    /// At entry and return always.
    EntriesAlone,
}

/// Searches processes, and remembers the files that it has read: workers share them.
#[derive(Debug, Default)]
pub struct LibcFinder {
    placing: Placing,
    cache: HashMap<FileIdentity, Vec<Point>>,
}

impl LibcFinder {
    /// A finder that places as it is told.
    #[must_use]
    pub fn new(placing: Placing) -> Self {
        Self {
            placing,
            cache: HashMap::new(),
        }
    }

    /// The files of a process that have something to probe.
    ///
    /// # Errors
    /// [`LibcError`].
    pub fn search(&mut self, pid: Pid) -> Result<Vec<LibcFile>, LibcError> {
        let text = MapsText::read(pid).map_err(|source| LibcError::Maps(pid, source))?;
        let mut found: Vec<LibcFile> = text
            .executable_files()
            .iter()
            .filter(|file| is_c_library(file))
            .filter_map(|file| self.examine(open_mapped(pid, file)?))
            .collect();
        if found.is_empty() {
            found.extend(open_executable(pid).and_then(|opened| self.examine(opened)));
        }
        if found.is_empty() {
            return Err(LibcError::NoFunctions(pid));
        }
        Ok(found)
    }

    fn examine(&mut self, opened: crate::capture::libraries::Opened) -> Option<LibcFile> {
        let points = match self.cache.get(&opened.identity) {
            Some(points) => points.clone(),
            None => {
                let points = points(&opened.read().ok()?, self.placing);
                if self.cache.len() >= CACHED_FILES {
                    self.cache.clear();
                }
                self.cache.insert(opened.identity, points.clone());
                points
            }
        };
        (!points.is_empty()).then_some(LibcFile {
            path_for_agent: opened.path,
            points,
        })
    }
}

/// glibc is `libc.so.6`, or `libc-2.31.so` with the same functions again in `libpthread` (before 2.34); musl is its own loader.
fn is_c_library(file: &MappedFile) -> bool {
    let name = file.file_name();
    ["libc.so", "libc-2.", "libpthread", "ld-musl-", "libc.musl-"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Where the probes go in a file.
#[must_use]
pub fn points(file: &[u8], placing: Placing) -> Vec<Point> {
    let Ok(parsed) = object::File::parse(file) else {
        return Vec::new();
    };
    let processor = if parsed.architecture() == Architecture::X86_64 {
        Processor::X86_64
    } else if parsed.architecture() == Architecture::Aarch64 {
        Processor::Aarch64
    } else {
        return Vec::new();
    };
    // By address, since several names may stand for one function.
    let mut functions: BTreeMap<u64, (u64, i64)> = BTreeMap::new();
    for symbol in parsed.dynamic_symbols().chain(parsed.symbols()) {
        if symbol.is_undefined() || symbol.kind() != SymbolKind::Text {
            continue;
        }
        let Ok(name) = symbol.name() else { continue };
        if let Some(call) = CALLS.iter().find(|call| call.functions.contains(&name)) {
            let size = symbol.size().min(FUNCTION_MAX_BYTES);
            functions.entry(symbol.address()).or_insert((size, call.number));
        }
    }
    let probed: BTreeSet<u64> = functions.keys().copied().collect();
    let mut points = Vec::new();
    for (address, (size, number)) in functions {
        let Some((offset, code)) = code_at(&parsed, address, size) else {
            continue;
        };
        let function = Function {
            code,
            address,
            number,
        };
        match place(processor, &function, &probed) {
            Placement::Behind(distances) if placing == Placing::BehindCalls => {
                points.extend(distances.iter().map(|distance| Point {
                    offset: offset + distance,
                    number,
                    kind: PointKind::Behind,
                }))
            }
            Placement::Behind(_) | Placement::EntryAndReturn => points.push(Point {
                offset,
                number,
                kind: PointKind::EntryAndReturn,
            }),
            Placement::Forwards => {}
        }
    }
    points
}

/// The place in the file of the code at `address`, and the code.
fn code_at<'a>(file: &object::File<'a>, address: u64, size: u64) -> Option<(u64, &'a [u8])> {
    file.segments().find_map(|segment| {
        let code = segment.data_range(address, size).ok()??;
        let offset = segment
            .file_range()
            .0
            .checked_add(address.checked_sub(segment.address())?)?;
        Some((offset, code))
    })
}

#[cfg(test)]
mod tests;
