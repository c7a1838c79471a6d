//! Reads a process's memory map for the files that it runs code from.
//!
//! In: `/proc/PID/maps`. Out: [`MappedFile`]s, each file once. The paths in it are chosen by whoever made the files, so
//! nothing is assumed of them. Written here because the field rules are few and a path must not be able to stop us.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::capture::gateways::{Pid, facts};

/// Most bytes of a map that are read: about 80,000 mappings, more than the kernel's default limit of 65,530.
const MAPS_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// A file with executable mappings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFile {
    /// Its path in the process's mount namespace, without the kernel's mark for deleted files.
    pub path: PathBuf,
    /// Its inode.
    pub inode: u64,
    /// Whether it is gone from disk under that path.
    pub is_deleted: bool,
    /// Its first executable mapping, as `/proc/PID/map_files` names it.
    pub range: String,
    /// Where in the file that mapping begins: the file is longer than this.
    pub offset: u64,
}

impl MappedFile {
    /// The last part of the path; empty if it is not Unicode.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.path.file_name().and_then(OsStr::to_str).unwrap_or("")
    }
}

/// The text of a memory map.
#[derive(Clone, Debug)]
pub struct MapsText(pub Vec<u8>);

impl MapsText {
    /// A process's map.
    ///
    /// # Errors
    /// When it may not be read or the process is gone.
    pub fn read(pid: Pid) -> io::Result<Self> {
        let mut bytes = Vec::new();
        File::open(facts::path(pid, "maps"))?
            .take(MAPS_MAX_BYTES)
            .read_to_end(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The files that it runs code from, by address, each once.
    #[must_use]
    pub fn executable_files(&self) -> Vec<MappedFile> {
        let mut files: Vec<MappedFile> = Vec::new();
        for file in self.0.split(|byte| *byte == b'\n').filter_map(executable_file) {
            if !files
                .iter()
                .any(|known| known.inode == file.inode && known.path == file.path)
            {
                files.push(file);
            }
        }
        files
    }
}

/// `7f00-7f10 r-xp 00001000 fd:01 1234      /usr/lib/libssl.so.3 (deleted)`.
fn executable_file(line: &[u8]) -> Option<MappedFile> {
    const DELETED: &[u8] = b" (deleted)";
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut text = || fields.next().and_then(|field| std::str::from_utf8(field).ok());
    let range = text()?.to_owned();
    if text()?.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let offset = u64::from_str_radix(text()?, 16).ok()?;
    let _device = text()?;
    let inode: u64 = text()?.parse().ok()?;
    let path = fields.next()?.trim_ascii_start();
    if !path.starts_with(b"/") || inode == 0 {
        return None;
    }
    let (path, is_deleted) = match path.strip_suffix(DELETED) {
        Some(path) => (path, true),
        None => (path, false),
    };
    Some(MappedFile {
        path: PathBuf::from(OsStr::from_bytes(path)),
        inode,
        is_deleted,
        range,
        offset,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::MapsText;

    fn check(maps: &str, expected: &[(&str, u64, bool, &str)]) {
        let files = MapsText(maps.as_bytes().to_vec()).executable_files();
        let found: Vec<_> = files
            .iter()
            .map(|file| {
                (
                    file.path.to_str().expect("text"),
                    file.inode,
                    file.is_deleted,
                    file.range.as_str(),
                )
            })
            .collect();
        assert_eq!(found, expected, "{maps}");
    }

    #[test]
    fn files_with_code_are_listed_once() {
        check(
            "55d0-55d1 r--p 00000000 fe:00 7 /usr/sbin/nginx\n\
             55d1-55d8 r-xp 00001000 fe:00 7 /usr/sbin/nginx\n\
             7f00-7f08 r-xp 0001c000 fe:00 9   /usr/local/kong/lib/libssl.so.3\n\
             7f10-7f18 r-xp 0002c000 fe:00 9   /usr/local/kong/lib/libssl.so.3\n",
            &[
                ("/usr/sbin/nginx", 7, false, "55d1-55d8"),
                ("/usr/local/kong/lib/libssl.so.3", 9, false, "7f00-7f08"),
            ],
        );
    }

    #[test]
    fn what_is_no_file_is_left_out() {
        check(
            "7ffd-7ffe r-xp 00000000 00:00 0 [vdso]\n7f00-7f01 rwxp 00000000 00:00 0 \n7f02-7f03 r-xp 0 00:01 5 anon_inode:[x]\n",
            &[],
        );
    }

    #[test]
    fn paths_are_taken_as_they_are() {
        check(
            "7f00-7f01 r-xp 00000000 fe:00 3 /srv/with space/libssl.so.3 (deleted)\n7f02-7f03 r-xp 00000000 fe:00 4 /SYSVx\n",
            &[
                ("/srv/with space/libssl.so.3", 3, true, "7f00-7f01"),
                ("/SYSVx", 4, false, "7f02-7f03"),
            ],
        );
    }

    #[test]
    fn broken_lines_are_left_out() {
        for line in [
            "",
            "x",
            "a b",
            "1-2 r-xp zz fe:00 3 /x",
            "1-2 r-xp 0 fe:00 x /x",
            "1-2 r 0 fe:00 3 /x",
            "1-2 r-xp 0 fe:00 3",
        ] {
            check(line, &[]);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_a_path_too() {
        let files = MapsText(b"1-2 r-xp 0 fe:00 3 /\xff".to_vec()).executable_files();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].file_name(), "");
        assert_ne!(files[0].path, Path::new("/"));
    }
}
