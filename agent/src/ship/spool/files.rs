//! The spool's files: their names, and the calls that write, read and remove them.
//!
//! In: paths and bytes. Out: bytes, or a [`SpoolError`]. Everything here blocks; nothing here holds a lock.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ship::spool::age;
use crate::ship::spool::error::SpoolError;
use crate::ship::spool::format::{self, HEADER_BYTES, Header, Item, Record, SegmentReader, to_u64};
use crate::ship::spool::identity::Identity;
use crate::ship::spool::state::reading::{End, Found, Plan, PlannedSegment};

/// What is read of a file at once.
const READ_BYTES: usize = 64 << 10;

/// Names of the files of one segment, and of what is not a segment.
pub(super) const SEGMENT: &str = "seg";
pub(super) const LIST: &str = "ack";

/// The file of a segment, or its list.
pub(super) fn path(directory: &Path, identity: Identity, number: u64, kind: &str) -> PathBuf {
    directory
        .join(identity.to_string())
        .join(format!("{number:016}.{kind}"))
}

/// The number in the name of a segment's file.
pub(super) fn number_of(name: &str) -> Option<(u64, &str)> {
    let (number, kind) = name.split_once('.')?;
    let is_number = number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && [SEGMENT, LIST].contains(&kind))
        .then(|| number.parse().ok())
        .flatten()
        .map(|number| (number, kind))
}

/// A segment that is being written.
#[derive(Debug)]
pub(super) struct Growing {
    pub(super) header: Header,
    path: PathBuf,
    file: File,
    /// How long the file is, as far as what it holds counts.
    pub(super) bytes: u64,
}

impl Growing {
    /// Begins a file. Its header is written with its first batch.
    pub(super) fn create(path: PathBuf, header: Header) -> Result<Self, SpoolError> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(SpoolError::disk("make", &path))?;
        Ok(Self {
            header,
            path,
            file,
            bytes: 0,
        })
    }

    /// Adds bytes. When that fails, what was there stays, and nothing can be added any more.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        let written = self.file.write_all_at(bytes, self.bytes);
        if written.is_err() {
            // A batch in part would count as lost at the next start, when all of it was counted now.
            drop(self.file.set_len(self.bytes));
        }
        written.map_err(SpoolError::disk("write", &self.path))?;
        self.bytes = self.bytes.saturating_add(to_u64(bytes.len()));
        Ok(())
    }

    /// Whether the file is still in its directory.
    pub(super) fn is_there(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
    }

    /// An error that says that it is not.
    pub(super) fn gone(&self) -> SpoolError {
        SpoolError::disk("write", &self.path)(io::Error::from_raw_os_error(libc::ENOENT))
    }
}

/// Puts entries into a list at `offset`. Gives how long it is then.
pub(super) fn write_list(path: &Path, offset: u64, bytes: &[u8]) -> Result<u64, SpoolError> {
    let write = || {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        file.write_all_at(bytes, offset)?;
        let length = offset.saturating_add(to_u64(bytes.len()));
        file.set_len(length)?;
        Ok(length)
    };
    write().map_err(SpoolError::disk("write", path))
}

/// Removes a segment and its list. What is not there is removed.
pub(super) fn remove(directory: &Path, identity: Identity, number: u64) {
    for kind in [SEGMENT, LIST] {
        let path = path(directory, identity, number, kind);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "A file of the spool cannot be removed.");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// Brings a file's bytes to the disk; a directory's, its names.
pub(super) fn sync(path: &Path) -> Result<(), SpoolError> {
    let sync = || {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            file.sync_all()
        } else {
            file.sync_data()
        }
    };
    sync().map_err(SpoolError::disk("synchronise", path))
}

/// Says in a file whether the agent that has the spool ended by itself.
pub(super) fn write_mark(file: &mut File, text: &str) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())
}

/// Looks for what a plan is for: at most so many messages, and bytes of JSON.
pub(super) fn find(
    directory: &Path,
    plan: &Plan,
    most_messages: usize,
    most_bytes: usize,
    now: format::Written,
) -> Result<Vec<Found>, SpoolError> {
    let mut found = Vec::new();
    let (mut messages, mut bytes) = (0, 0);
    for segment in &plan.segments {
        if messages >= most_messages || bytes >= most_bytes {
            break;
        }
        let path = path(directory, plan.identity, segment.header.number, SEGMENT);
        let mut records = Vec::new();
        let mut take = |record: Record, age: Duration| {
            messages += 1;
            bytes += record.json.len();
            records.push((record, age));
            messages < most_messages && bytes < most_bytes
        };
        let end = match scan(&path, segment, plan.from, now, &mut take) {
            Ok(end) => end,
            Err(error) if is_for_good(&error) => {
                tracing::warn!(path = %path.display(), %error, "A file of the spool cannot be read.");
                End::Unreadable
            }
            Err(error) => return Err(SpoolError::disk("read", &path)(error)),
        };
        found.push(Found {
            number: segment.header.number,
            records,
            end,
        });
    }
    Ok(found)
}

/// Whether trying again would not help. (Too many open files, for one, pass.)
fn is_for_good(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::ENOENT | libc::ENOTDIR | libc::EISDIR)
    )
}

fn scan(
    path: &Path,
    segment: &PlannedSegment,
    from: u64,
    now: format::Written,
    take: &mut dyn FnMut(Record, Duration) -> bool,
) -> io::Result<End> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(segment.offset))?;
    // What is written meanwhile is left for the next time.
    let input =
        BufReader::with_capacity(READ_BYTES, file).take(segment.file_bytes.saturating_sub(segment.offset));
    let mut reader = SegmentReader::at(input, &segment.header, segment.header.seal(), segment.offset);
    while let Some(item) = reader.next()? {
        match item {
            Item::Record(record)
                if record.seq >= from
                    && !segment
                        .passed_over
                        .has(record.seq.saturating_sub(segment.header.first_seq)) =>
            {
                let age = age::age(record.written, segment.boot, now);
                if !take(record, age) {
                    return Ok(End::Full);
                }
            }
            Item::Record(_) | Item::Batch { .. } | Item::Short(_) | Item::Tail { .. } => {}
        }
    }
    Ok(End::Seen {
        file_bytes: segment.file_bytes,
    })
}

/// Where the first batch of a segment begins.
pub(super) fn first_batch() -> u64 {
    to_u64(HEADER_BYTES)
}
