//! The rules by which a process is told to be a gateway's master, worker or neither.
//!
//! In: facts of one process, as `/proc` has them. Out: its [`Role`], its [`GatewayKind`], what its command line says.
//! Pure. Sources: nginx `src/os/unix/ngx_process_cycle.c` (titles) and `src/core/nginx.c` (`ngx_get_options`); Kong
//! `kong/cmd/utils/nginx_signals.lua` (it runs `nginx -p PREFIX -c nginx.conf`).

use std::path::{Path, PathBuf};

use super::facts::{ProcessFacts, Title};
use super::{GatewayKind, WorkerState};

/// Names before the colon of a title: nginx, and the forks that kept its processes. Not a pattern, because
/// `php-fpm: master process` is somebody else.
const FAMILIES: [&str; 4] = ["nginx", "openresty", "angie", "tengine"];

/// Executables that may run as a single process, without a title of their own.
const EXECUTABLES: [&str; 5] = kongtap_common::process::PROGRAMS;

/// Files of a prefix that only Kong writes (`kong prepare`).
pub const KONG_PREFIX_FILES: [&str; 2] = [".kong_env", "nginx-kong.conf"];

/// What one process is, judged by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Titled as a master. Also a worker in its first moments, until it has set a title of its own.
    Master,
    /// Titled as a worker.
    Worker(WorkerState),
    /// A child of the master that carries no client traffic: cache manager and loader, privileged agent.
    Helper,
    /// An nginx executable without a title: `master_process off`, or just started, or `nginx -t`.
    Candidate,
    /// No nginx.
    Foreign,
}

/// The role of a process.
#[must_use]
pub fn role(process: &ProcessFacts) -> Role {
    match family_and_rest(&process.title) {
        Some(rest) if rest.starts_with("master process") => Role::Master,
        Some(rest) if rest.starts_with("worker process is shutting down") => {
            Role::Worker(WorkerState::ShuttingDown)
        }
        Some(rest) if rest.starts_with("worker process") => Role::Worker(WorkerState::Serving),
        Some(_) => Role::Helper,
        None if is_gateway_executable(process) => Role::Candidate,
        None => Role::Foreign,
    }
}

/// What follows `nginx: `, when the title starts so.
fn family_and_rest(title: &Title) -> Option<&str> {
    let (family, rest) = title.0.split_once(": ")?;
    FAMILIES.contains(&family).then_some(rest)
}

fn is_gateway_executable(process: &ProcessFacts) -> bool {
    let name = match &process.executable {
        // A replaced executable reads "/usr/sbin/nginx (deleted)".
        Some(path) => path.file_name().and_then(|name| name.to_str()).unwrap_or(""),
        None => process.comm.as_str(),
    };
    let name = name.strip_suffix(" (deleted)").unwrap_or(name);
    EXECUTABLES.contains(&name)
}

/// What a command line says of where a gateway keeps its things.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The program.
    pub program: Option<PathBuf>,
    /// `-p`.
    pub prefix: Option<PathBuf>,
    /// `-c`, as given.
    pub config: Option<PathBuf>,
    /// `-e`, as given.
    pub error_log: Option<PathBuf>,
}

/// Reads the command line that a master's title repeats, or that a single process still has.
///
/// A title joins the arguments with spaces, so a path that holds one is cut at it.
#[must_use]
pub fn command_line(title: &Title) -> CommandLine {
    let line = family_and_rest(title)
        .and_then(|rest| rest.strip_prefix("master process"))
        .unwrap_or(&title.0);
    let mut words = line.split_ascii_whitespace();
    let mut out = CommandLine {
        program: words.next().map(PathBuf::from),
        ..CommandLine::default()
    };
    while let Some(word) = words.next() {
        let mut flag = word.chars();
        if flag.next() != Some('-') {
            continue;
        }
        let slot = match flag.next() {
            Some('p') => &mut out.prefix,
            Some('c') => &mut out.config,
            Some('e') => &mut out.error_log,
            _ => continue,
        };
        let attached = flag.as_str();
        let value = if attached.is_empty() {
            words.next()
        } else {
            Some(attached)
        };
        // nginx lets the last one win.
        if let Some(value) = value {
            *slot = Some(PathBuf::from(value));
        }
    }
    out
}

/// What only a look at the file system and the environment can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KongMarks {
    /// The prefix holds one of [`KONG_PREFIX_FILES`].
    pub prefix_files: bool,
    /// The environment has a variable that starts with `KONG_`. nginx overwrites its environment with its title, so
    /// this is seen in single processes only.
    pub environment: bool,
}

/// The kind of a process whose role is not [`Role::Foreign`].
#[must_use]
pub fn kind(process: &ProcessFacts, command: &CommandLine, marks: KongMarks) -> GatewayKind {
    if role(process) == Role::Foreign {
        return GatewayKind::Other;
    }
    let kong_config = command.config.as_deref().is_some_and(is_kong_config);
    let kong_prefix = command
        .prefix
        .as_deref()
        .is_some_and(|prefix| has_component(prefix, "kong"));
    let kong_program = process
        .executable
        .as_deref()
        .is_some_and(|path| has_component(path, "kong"));
    if marks.prefix_files || marks.environment || kong_config || kong_prefix || kong_program {
        return GatewayKind::Kong;
    }
    let mut programs = process.executable.iter().chain(&command.program);
    if programs.any(|path| has_component(path, "openresty")) || process.title.0.starts_with("openresty: ") {
        return GatewayKind::OpenResty;
    }
    GatewayKind::Nginx
}

fn is_kong_config(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "nginx-kong.conf") || has_component(path, "kong")
}

fn has_component(path: &Path, wanted: &str) -> bool {
    path.components()
        .any(|part| part.as_os_str().to_str().is_some_and(|part| part == wanted))
}

#[cfg(test)]
mod tests;
