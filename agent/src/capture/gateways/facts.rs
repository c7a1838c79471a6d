//! What `/proc` says of one process, as far as gateways are concerned.
//!
//! In: a pid. Out: [`ProcessFacts`], or none when the process is gone (a zombie is). Titles are bounded and may be any
//! bytes; nothing here trusts them. Deliberately absent: judgement, which is `classify`'s.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use procfs::FromRead as _;
use procfs::process::Stat;

use super::classify::{KONG_PREFIX_FILES, KongMarks};
use super::{Pid, ProcessId, StartTime};

/// Most bytes of a command line that are read: `PATH_MAX` thrice over (`-p`, `-c`, `-e`).
const TITLE_MAX_BYTES: u64 = 12 * 1024;
/// Most bytes of an environment that are searched for `KONG_`.
const ENVIRONMENT_MAX_BYTES: u64 = 256 * 1024;

/// A process's command line as one text: arguments joined by a space, trailing blanks gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Title(pub String);

/// Facts of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Which process.
    pub id: ProcessId,
    /// Its parent.
    pub parent: Pid,
    /// The kernel's short name for it.
    pub comm: String,
    /// Its command line.
    pub title: Title,
    /// Its executable in its own mount namespace; none when that may not be read.
    pub executable: Option<PathBuf>,
}

impl ProcessFacts {
    /// The facts of a living process.
    #[must_use]
    pub fn read(pid: Pid) -> Option<Self> {
        let stat = StatFacts::read(pid)?;
        Some(Self {
            id: stat.id,
            parent: stat.parent,
            comm: stat.comm,
            title: title(pid)?,
            executable: fs::read_link(path(pid, "exe")).ok(),
        })
    }
}

/// The cheap part: what one read of `/proc/PID/stat` gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatFacts {
    /// Which process.
    pub id: ProcessId,
    /// Its parent.
    pub parent: Pid,
    /// The kernel's short name for it.
    pub comm: String,
}

impl StatFacts {
    /// Reads them; none for a process that is gone or waits to be reaped.
    #[must_use]
    pub fn read(pid: Pid) -> Option<Self> {
        let stat = Stat::from_file(path(pid, "stat")).ok()?;
        if matches!(stat.state, 'Z' | 'X' | 'x') {
            return None;
        }
        Some(Self {
            id: ProcessId {
                pid,
                start_time: StartTime(stat.starttime),
            },
            parent: Pid(u32::try_from(stat.ppid).ok()?),
            comm: stat.comm,
        })
    }
}

/// `/proc/PID/NAME`.
#[must_use]
pub fn path(pid: Pid, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

/// The title of a process.
#[must_use]
pub fn title(pid: Pid) -> Option<Title> {
    let bytes = read_bounded(&path(pid, "cmdline"), TITLE_MAX_BYTES).ok()?;
    Some(title_of(&bytes))
}

fn title_of(cmdline: &[u8]) -> Title {
    let text = String::from_utf8_lossy(cmdline).replace('\0', " ");
    Title(text.trim_end().to_owned())
}

/// Every pid that `/proc` lists.
///
/// # Errors
/// When `/proc` cannot be listed.
pub fn all_pids() -> io::Result<Vec<Pid>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            pids.push(Pid(pid));
        }
    }
    pids.sort_unstable();
    Ok(pids)
}

/// The facts of every living process.
///
/// # Errors
/// When `/proc` cannot be listed. A process that ends meanwhile is left out.
pub fn all_processes() -> io::Result<Vec<ProcessFacts>> {
    Ok(all_pids()?.into_iter().filter_map(ProcessFacts::read).collect())
}

/// Pids of the living children of a process, or none when the kernel does not list them (`CONFIG_PROC_CHILDREN`).
///
/// The kernel may leave one out while others end (proc(5)), so absence from this list is no proof of death.
#[must_use]
pub fn child_pids(pid: Pid) -> Option<Vec<Pid>> {
    let mut pids = Vec::new();
    let mut listed = false;
    for task in fs::read_dir(path(pid, "task")).ok()? {
        let Ok(task) = task else { continue };
        if let Ok(text) = fs::read_to_string(task.path().join("children")) {
            listed = true;
            pids.extend(
                text.split_ascii_whitespace()
                    .filter_map(|word| word.parse().ok())
                    .map(Pid),
            );
        }
    }
    pids.sort_unstable();
    listed.then_some(pids)
}

/// Facts of the living children of a process, by whichever way the kernel offers.
#[must_use]
pub fn children_of(pid: Pid) -> Vec<ProcessFacts> {
    match child_pids(pid) {
        Some(pids) => pids.into_iter().filter_map(ProcessFacts::read).collect(),
        None => all_processes()
            .unwrap_or_default()
            .into_iter()
            .filter(|process| process.parent == pid)
            .collect(),
    }
}

/// The process that a pid or thread id belongs to.
#[must_use]
pub fn thread_group(pid: Pid) -> Option<Pid> {
    status_pids(pid, "Tgid:")?.first().copied()
}

/// What a process calls itself in its own PID namespace (`NStgid`, last column).
#[must_use]
pub fn innermost_pid(pid: Pid) -> Option<Pid> {
    status_pids(pid, "NStgid:")?.last().copied()
}

fn status_pids(pid: Pid, key: &str) -> Option<Vec<Pid>> {
    let status = fs::read_to_string(path(pid, "status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(
        line.split_ascii_whitespace()
            .filter_map(|word| word.parse().ok())
            .map(Pid)
            .collect(),
    )
}

/// Signs of Kong beyond the command line. `prefix` is a path of the process's own mount namespace.
#[must_use]
pub fn kong_marks(pid: Pid, prefix: Option<&Path>) -> KongMarks {
    let prefix_files = prefix.is_some_and(|prefix| {
        let root = path(pid, "root");
        let inside = prefix.strip_prefix("/").unwrap_or(prefix);
        KONG_PREFIX_FILES
            .iter()
            .any(|name| root.join(inside).join(name).exists())
    });
    let environment = read_bounded(&path(pid, "environ"), ENVIRONMENT_MAX_BYTES).is_ok_and(|bytes| {
        bytes
            .split(|byte| *byte == 0)
            .any(|entry| entry.starts_with(b"KONG_"))
    });
    KongMarks {
        prefix_files,
        environment,
    }
}

/// The file behind a process's standard error, if it is one.
#[must_use]
pub fn standard_error(pid: Pid) -> Option<PathBuf> {
    let target = fs::read_link(path(pid, "fd/2")).ok()?;
    (target.is_absolute() && !target.starts_with("/dev")).then_some(target)
}

/// Whether a process waits in epoll: a worker or a single process does, a master sleeps in `sigsuspend`.
#[must_use]
pub fn has_event_loop(pid: Pid) -> bool {
    let Ok(fds) = fs::read_dir(path(pid, "fd")) else {
        return false;
    };
    fds.filter_map(Result::ok)
        .filter_map(|fd| fs::read_link(fd.path()).ok())
        .any(|target| target.as_os_str() == "anon_inode:[eventpoll]")
}

fn read_bounded(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Pid, StatFacts, Title, child_pids, innermost_pid, thread_group, title_of};

    #[test]
    fn a_title_is_one_line_whatever_pads_it() {
        let cases: [(&[u8], &str); 4] = [
            (b"nginx: worker process\0\0\0\0", "nginx: worker process"),
            (b"nginx\0-p\0/srv\0", "nginx -p /srv"),
            (b"", ""),
            (b"nginx\0\xff", "nginx \u{fffd}"),
        ];
        for (cmdline, expected) in cases {
            assert_eq!(title_of(cmdline), Title(expected.to_owned()), "{cmdline:?}");
        }
    }

    #[test]
    fn this_process_is_alive_and_known_by_its_pid() {
        let own = Pid(std::process::id());
        let stat = StatFacts::read(own).expect("own stat");
        assert_eq!(stat.id.pid, own);
        assert_eq!(thread_group(own), Some(own));
        assert!(innermost_pid(own).is_some());
        assert!(child_pids(own).is_none_or(|children| !children.contains(&own)));
    }

    #[test]
    fn a_pid_beyond_the_kernels_limit_is_nobody() {
        // 2^22 is the largest pid_max (proc(5)).
        assert_eq!(StatFacts::read(Pid(1 << 23)), None);
        assert_eq!(thread_group(Pid(1 << 23)), None);
    }
}
