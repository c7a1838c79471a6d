//! Why the disk does not take or give what the spool wants.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another agent has it.
    #[error("{}: another kongtap uses this spool; give each one its own (ship.spool.path)", path.display())]
    InUse {
        /// Its directory.
        path: PathBuf,
    },
    /// The disk refuses.
    #[error("{}: cannot {action} (ship.spool.path): {}", path.display(), kind.text())]
    Disk {
        /// What was to be done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What it comes down to.
        kind: DiskFault,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What an error of the disk comes down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskFault {
    /// No room, or none within the quota.
    Full,
    /// Mounted read-only.
    ReadOnly,
    /// Not allowed.
    Denied,
    /// The file or its directory is not there any more.
    Gone,
    /// The device fails.
    Broken,
    /// Something else.
    Other,
}

impl DiskFault {
    /// The label in `/status`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Denied => "denied",
            Self::Gone => "gone",
            Self::Broken => "broken",
            Self::Other => "other",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Full => "the disk is full",
            Self::ReadOnly => "it is mounted read-only",
            Self::Denied => "it is not allowed",
            Self::Gone => "it is not there",
            Self::Broken => "the device fails",
            Self::Other => "the system refuses",
        }
    }

    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => Self::Full,
            Some(libc::EROFS) => Self::ReadOnly,
            Some(libc::EACCES | libc::EPERM) => Self::Denied,
            Some(libc::ENOENT | libc::ENOTDIR | libc::ESTALE) => Self::Gone,
            Some(libc::EIO) => Self::Broken,
            Some(_) | None => Self::Other,
        }
    }
}

impl SpoolError {
    /// An error of the disk, for `map_err`.
    pub(super) fn disk(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Disk {
            action,
            path: path.to_owned(),
            kind: DiskFault::of(&source),
            source,
        }
    }

    /// What it comes down to; `None` for a spool that another agent has.
    #[must_use]
    pub const fn fault(&self) -> Option<DiskFault> {
        match self {
            Self::InUse { .. } => None,
            Self::Disk { kind, .. } => Some(*kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::{DiskFault, SpoolError};

    #[test]
    fn an_error_says_what_to_look_for() {
        let check = |code: i32, expected: DiskFault, text: &str| {
            let error = SpoolError::disk("write", Path::new("/s"))(io::Error::from_raw_os_error(code));
            assert_eq!(error.fault(), Some(expected), "{code}");
            assert_eq!(
                error.to_string(),
                format!("/s: cannot write (ship.spool.path): {text}")
            );
        };
        check(libc::ENOSPC, DiskFault::Full, "the disk is full");
        check(libc::EDQUOT, DiskFault::Full, "the disk is full");
        check(libc::EROFS, DiskFault::ReadOnly, "it is mounted read-only");
        check(libc::EACCES, DiskFault::Denied, "it is not allowed");
        check(libc::EPERM, DiskFault::Denied, "it is not allowed");
        check(libc::ENOENT, DiskFault::Gone, "it is not there");
        check(libc::ENOTDIR, DiskFault::Gone, "it is not there");
        check(libc::EIO, DiskFault::Broken, "the device fails");
        check(libc::EMFILE, DiskFault::Other, "the system refuses");
    }
}
