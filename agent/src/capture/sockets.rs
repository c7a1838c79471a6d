//! The TCP sockets that a process has at this moment: what was open before the probes came, and where it listens.
//!
//! In: a pid. Out: [`ProcessSockets`]. The kernel's tables (`/proc/PID/net/tcp`, `tcp6`) are those of the process's own
//! network namespace; its descriptors say which rows are its own. Deliberately absent: UDP, unix sockets, and sockets
//! that are still connecting or already closed both ways, as no byte of theirs was missed.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::SocketAddr;

use procfs::FromReadSI as _;
use procfs::net::{TcpNetEntries, TcpState};

use super::gateways::{Pid, facts};

/// The TCP sockets of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessSockets {
    /// Connections that can still carry bytes, by descriptor.
    pub established: Vec<OpenConnection>,
    /// Where it listens, sorted, each address once.
    pub listeners: Vec<SocketAddr>,
}

/// A connection that was open when the process was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenConnection {
    /// Its descriptor.
    pub fd: i32,
    /// Inode of its socket, which names it while it lives.
    pub inode: u64,
    /// The gateway's end. An IPv4 address that an IPv6 socket wraps is unwrapped.
    pub local: SocketAddr,
    /// The other end, likewise.
    pub remote: SocketAddr,
}

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

/// The TCP sockets of a process.
///
/// Reads the whole table of its network namespace, so it is meant for attaching, not for every tick.
///
/// # Errors
/// When `/proc` does not show the process's descriptors or its network namespace's tables.
pub fn of_process(pid: Pid) -> Result<ProcessSockets, SocketsError> {
    let descriptors = descriptors(pid).map_err(|source| SocketsError::Descriptors { pid, source })?;
    let mut rows = Vec::new();
    for name in ["net/tcp", "net/tcp6"] {
        match TcpNetEntries::from_file(facts::path(pid, name), procfs::current_system_info()) {
            Ok(table) => rows.extend(table.0.into_iter().map(|row| Row {
                inode: row.inode,
                state: row.state,
                local: row.local_address,
                remote: row.remote_address,
            })),
            // A kernel without IPv6 has no tcp6.
            Err(procfs::ProcError::NotFound(_)) if name.ends_with('6') => {}
            Err(source) => return Err(SocketsError::Table { pid, source }),
        }
    }
    Ok(join(&descriptors, &rows))
}

/// What is used of a row of the kernel's table.
#[derive(Clone, Debug)]
struct Row {
    inode: u64,
    state: TcpState,
    local: SocketAddr,
    remote: SocketAddr,
}

/// Socket inodes of a process, with the descriptor that holds each.
fn descriptors(pid: Pid) -> io::Result<Vec<(i32, u64)>> {
    let mut sockets = Vec::new();
    for entry in fs::read_dir(facts::path(pid, "fd"))? {
        let entry = entry?;
        // A descriptor that was closed meanwhile is no loss.
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        let fd = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let inode = target.to_str().and_then(socket_inode);
        if let (Some(fd), Some(inode)) = (fd, inode) {
            sockets.push((fd, inode));
        }
    }
    Ok(sockets)
}

/// The inode in `socket:[123]`.
fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn join(descriptors: &[(i32, u64)], rows: &[Row]) -> ProcessSockets {
    let by_inode: HashMap<u64, i32> = descriptors.iter().map(|(fd, inode)| (*inode, *fd)).collect();
    let mut out = ProcessSockets::default();
    for row in rows {
        let Some(fd) = by_inode.get(&row.inode) else {
            continue;
        };
        match row.state {
            TcpState::Listen => out.listeners.push(canonical(row.local)),
            TcpState::Established | TcpState::CloseWait | TcpState::FinWait1 | TcpState::FinWait2 => {
                out.established.push(OpenConnection {
                    fd: *fd,
                    inode: row.inode,
                    local: canonical(row.local),
                    remote: canonical(row.remote),
                });
            }
            TcpState::SynSent
            | TcpState::SynRecv
            | TcpState::NewSynRecv
            | TcpState::TimeWait
            | TcpState::Close
            | TcpState::LastAck
            | TcpState::Closing => {}
        }
    }
    out.established.sort_by_key(|connection| connection.fd);
    out.listeners.sort_unstable();
    out.listeners.dedup();
    out
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};

    use procfs::net::TcpState;

    use super::{OpenConnection, Row, join, of_process, socket_inode};
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
    fn rows_of_other_processes_and_of_finished_connections_are_left_out() {
        let here: SocketAddr = "10.0.0.1:8000".parse().expect("address");
        let there: SocketAddr = "10.0.0.9:50000".parse().expect("address");
        let wrapped: SocketAddr = "[::ffff:10.0.0.1]:8000".parse().expect("address");
        let row = |inode, state, local| Row {
            inode,
            state,
            local,
            remote: there,
        };
        let rows = [
            row(1, TcpState::Established, wrapped),
            row(2, TcpState::Established, here),
            row(3, TcpState::Listen, here),
            row(4, TcpState::SynSent, here),
            row(5, TcpState::CloseWait, here),
            row(6, TcpState::Listen, wrapped),
            row(0, TcpState::TimeWait, here),
        ];
        let sockets = join(&[(9, 5), (7, 1), (8, 3), (10, 4), (11, 6)], &rows);
        let open = |fd, inode| OpenConnection {
            fd,
            inode,
            local: here,
            remote: there,
        };
        assert_eq!(sockets.established, [open(7, 1), open(9, 5)]);
        assert_eq!(sockets.listeners, [here]);
    }

    #[test]
    fn the_sockets_of_this_process_are_found() {
        let v4 = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = v4.local_addr().expect("address");
        let client = TcpStream::connect(address).expect("connect");
        let (served, _) = v4.accept().expect("accept");
        let sockets = of_process(Pid(std::process::id())).expect("own sockets");
        assert!(sockets.listeners.contains(&address), "{sockets:?}");
        for end in [&client, &served] {
            let local = end.local_addr().expect("local");
            let remote = end.peer_addr().expect("remote");
            let found = sockets.established.iter().find(|open| open.local == local);
            assert_eq!(found.map(|open| open.remote), Some(remote));
        }
        if let Ok(v6) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
            let again = of_process(Pid(std::process::id())).expect("own sockets");
            assert!(again.listeners.contains(&v6.local_addr().expect("address")));
        }
    }
}
