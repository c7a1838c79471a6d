//! Where a process listens.
//!
//! In: a pid. Out: TCP addresses. The kernel's tables (`/proc/PID/net/tcp`, `tcp6`) are those of the process's own network
//! namespace; its descriptors say which rows are its own. Deliberately absent: connections, which the probes see by
//! themselves, also those that were open before; UDP and unix sockets.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::SocketAddr;

use procfs::FromReadSI as _;
use procfs::net::{TcpNetEntries, TcpState};

use super::gateways::{Pid, facts};

/// Why a process's sockets cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    /// Its descriptors may not be listed.
    #[error("cannot list the descriptors of process {pid}; it needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")]
    Descriptors {
        /// The process.
        pid: Pid,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel's table cannot be read.
    #[error("cannot read the TCP sockets of process {pid}'s network namespace")]
    Table {
        /// The process.
        pid: Pid,
        /// Why.
        #[source]
        source: procfs::ProcError,
    },
}

/// The addresses that a process listens on, sorted, each once. An IPv4 address that an IPv6 socket wraps is unwrapped.
///
/// Reads the whole table of its network namespace, so it is meant for attaching, not for every tick.
///
/// # Errors
/// When `/proc` does not show the process's descriptors or its network namespace's tables.
pub fn listeners(pid: Pid) -> Result<Vec<SocketAddr>, SocketsError> {
    let inodes = inodes(pid).map_err(|source| SocketsError::Descriptors { pid, source })?;
    let mut listeners = Vec::new();
    for name in ["net/tcp", "net/tcp6"] {
        match TcpNetEntries::from_file(facts::path(pid, name), procfs::current_system_info()) {
            Ok(table) => listeners.extend(
                table
                    .0
                    .into_iter()
                    .filter(|row| row.state == TcpState::Listen && inodes.contains(&row.inode))
                    .map(|row| canonical(row.local_address)),
            ),
            // A kernel without IPv6 has no tcp6.
            Err(procfs::ProcError::NotFound(_)) if name.ends_with('6') => {}
            Err(source) => return Err(SocketsError::Table { pid, source }),
        }
    }
    listeners.sort_unstable();
    listeners.dedup();
    Ok(listeners)
}

/// Socket inodes of a process.
fn inodes(pid: Pid) -> io::Result<HashSet<u64>> {
    let mut inodes = HashSet::new();
    for entry in fs::read_dir(facts::path(pid, "fd"))? {
        // A descriptor that was closed meanwhile is no loss.
        let target = fs::read_link(entry?.path()).ok();
        inodes.extend(
            target
                .as_deref()
                .and_then(|target| socket_inode(target.to_str()?)),
        );
    }
    Ok(inodes)
}

/// The inode in `socket:[123]`.
fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpListener, TcpStream};

    use super::{listeners, socket_inode};
    use crate::capture::gateways::Pid;

    #[test]
    fn only_a_sockets_link_has_an_inode() {
        for (target, expected) in [
            ("socket:[4026]", Some(4026)),
            ("socket:[]", None),
            ("socket:[12", None),
            ("pipe:[12]", None),
            ("/socket:[12]", None),
        ] {
            assert_eq!(socket_inode(target), expected, "{target}");
        }
    }

    #[test]
    fn this_process_listens_where_it_listens_and_nowhere_else() {
        let here = Pid(std::process::id());
        let v4 = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = v4.local_addr().expect("address");
        let client = TcpStream::connect(address).expect("connect");
        let found = listeners(here).expect("own sockets");
        assert!(found.contains(&address), "{found:?}");
        assert!(
            !found.contains(&client.local_addr().expect("address")),
            "{found:?}"
        );
        if let Ok(v6) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
            let found = listeners(here).expect("own sockets");
            assert!(found.contains(&v6.local_addr().expect("address")), "{found:?}");
        }
        drop(v4);
        assert!(!listeners(here).expect("own sockets").contains(&address));
    }
}
