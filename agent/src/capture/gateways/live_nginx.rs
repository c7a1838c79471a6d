//! A real nginx for tests: started on a loopback port of its own, ended with its whole family when dropped.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::facts::{self, ProcessFacts, StatFacts};
use super::{Pid, classify};
use crate::capture::event::KernelTime;
use crate::clock;

/// How long a test polls for what must come about.
const BUDGET_NS: u64 = 20_000_000_000;
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(5);

/// Polls until `is_reached`, or fails the test.
///
/// # Panics
/// When the budget is spent.
pub fn until(what: &str, mut is_reached: impl FnMut() -> bool) {
    let deadline: KernelTime = clock::kernel_now().plus_ns(BUDGET_NS);
    while !is_reached() {
        assert!(clock::kernel_now() < deadline, "waited in vain for: {what}");
        std::thread::park_timeout(POLL);
    }
}

/// How an nginx divides its work.
#[derive(Clone, Copy, Debug)]
pub enum Processes {
    /// A master and so many workers.
    MasterAndWorkers(u8),
    /// `master_process off`.
    Single,
    /// A master and so many workers in a PID and mount namespace of their own, as in a container. Needs root.
    Contained(u8),
}

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    launcher: Option<Child>,
    master: Pid,
    processes: Processes,
    directory: tempfile::TempDir,
    address: SocketAddr,
}

impl Nginx {
    /// Starts one and waits until it answers. None, with the reason printed, where nginx is not installed; that fails
    /// the test when `REQUIRE_KERNEL` is set.
    ///
    /// # Panics
    /// When nginx is installed and does not start.
    #[must_use]
    pub fn start(processes: Processes) -> Option<Self> {
        if executable().is_none() {
            let required = std::env::var_os("REQUIRE_KERNEL").is_some();
            assert!(!required, "nginx is not installed, and REQUIRE_KERNEL is set");
            let skipped = std::io::stderr().write_all(b"skipped: nginx is not installed\n");
            assert!(skipped.is_ok());
            return None;
        }
        let directory = tempfile::tempdir().expect("temporary directory");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|free| free.local_addr())
            .expect("free port");
        Some(Self::start_in(directory, processes, port))
    }

    fn start_in(directory: tempfile::TempDir, processes: Processes, address: SocketAddr) -> Self {
        let path = directory.path().display();
        let division = match processes {
            Processes::MasterAndWorkers(workers) => format!("worker_processes {workers};"),
            // The first process of a PID namespace may not leave.
            Processes::Contained(workers) => format!("worker_processes {workers}; daemon off;"),
            Processes::Single => "master_process off;".to_owned(),
        };
        // A daemon, as only one that has left its parent obeys USR2.
        let configuration = format!(
            "{division} pid {path}/pid; error_log {path}/error.log;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {path}/a; proxy_temp_path {path}/b; fastcgi_temp_path {path}/c;\n\
             uwsgi_temp_path {path}/d; scgi_temp_path {path}/e;\n\
             server {{ listen {address}; return 200 ok; }} }}\n"
        );
        std::fs::write(directory.path().join("nginx.conf"), configuration).expect("configuration");
        // By its full path, as an upgrade runs it again without a search.
        let executable = executable().expect("checked before");
        let mut launcher = match processes {
            Processes::Contained(_) => {
                let mut unshare = Command::new("unshare");
                unshare
                    .args(["--pid", "--mount", "--fork", "--mount-proc"])
                    .arg(executable);
                unshare
            }
            Processes::MasterAndWorkers(_) | Processes::Single => Command::new(executable),
        };
        let mut launcher = launcher
            .arg("-p")
            .arg(directory.path())
            .args(["-c", "nginx.conf"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx runs");
        until("nginx to listen", || TcpStream::connect(address).is_ok());
        let contained = matches!(processes, Processes::Contained(_));
        if !contained {
            let left = launcher.wait().expect("nginx becomes a daemon");
            assert!(left.success(), "nginx starts: {left}");
        }
        let mut master = None;
        until("nginx's pid", || {
            let text = std::fs::read_to_string(directory.path().join("pid")).unwrap_or_default();
            master = if contained {
                facts::children_of(Pid(launcher.id()))
                    .first()
                    .map(|child| child.id.pid)
            } else {
                text.trim_end().parse().ok().map(Pid)
            };
            master.is_some()
        });
        Self {
            launcher: contained.then_some(launcher),
            master: master.expect("just read"),
            processes,
            directory,
            address,
        }
    }

    /// Its master, or only process.
    #[must_use]
    pub const fn pid(&self) -> Pid {
        self.master
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its prefix.
    #[must_use]
    pub fn prefix(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Polls until so many workers serve.
    pub fn wait_for_workers(&self, count: usize) -> Vec<Pid> {
        let mut serving = Vec::new();
        until("workers", || {
            serving = facts::children_of(self.pid())
                .iter()
                .filter(|child| serves(child))
                .map(|child| child.id.pid)
                .collect();
            serving.len() == count
        });
        serving.sort_unstable();
        serving
    }

    /// Sends its master a signal.
    pub fn signal(&self, name: &str) {
        kill(name, self.pid());
    }

    /// Opens a connection and sends half a request, which keeps a worker from ending.
    ///
    /// # Panics
    /// When nginx does not accept.
    #[must_use]
    pub fn begin_request(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("connect");
        // One whole exchange first, so that the worker surely has the connection; then the half.
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .expect("send");
        let mut answer = [0; 64];
        stream.read_exact(&mut answer).expect("answer");
        stream.write_all(b"GET / HTTP/1.1\r\nHost:").expect("send");
        stream
    }

    /// Ends it and starts it again with the same command line.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn restart(mut self) -> Self {
        self.end();
        let fresh = tempfile::tempdir().expect("temporary directory");
        let directory = std::mem::replace(&mut self.directory, fresh);
        Self::start_in(directory, self.processes, self.address)
    }

    fn end(&mut self) {
        // Whatever keeps its log open is its own, also workers that a killed master left. A master opens the log as its
        // standard error only after it has written its pid, so it is known by that as well.
        let log = self.directory.path().join("error.log");
        let mut family = facts::all_processes().unwrap_or_default();
        family.retain(|process| {
            let is_nginx = classify::role(process) != classify::Role::Foreign;
            let is_masters = process.id.pid == self.master || process.parent == self.master;
            facts::standard_error(process.id.pid).as_ref() == Some(&log) || is_nginx && is_masters
        });
        for process in &family {
            kill("TERM", process.id.pid);
        }
        if let Some(mut launcher) = self.launcher.take() {
            let ended = launcher.wait();
            assert!(ended.is_ok(), "unshare was waited for");
        }
        until("nginx to end", || {
            family
                .iter()
                .all(|process| StatFacts::read(process.id.pid).is_none_or(|now| now.id != process.id))
        });
    }
}

fn executable() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    directories.find_map(|directory| Some(directory.join("nginx")).filter(|file| file.is_file()))
}

fn serves(process: &ProcessFacts) -> bool {
    matches!(
        classify::role(process),
        classify::Role::Worker(super::WorkerState::Serving)
    )
}

fn kill(signal: &str, pid: Pid) {
    let sent = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .stderr(Stdio::null())
        .status();
    assert!(sent.is_ok(), "kill runs");
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.end();
    }
}
