//! Why the probes cannot work here, each with what to do about it.

use std::io;
use std::path::PathBuf;

use aya::programs::ProgramError;

use super::btf::BtfError;
use crate::capture::sources::SocketSource;
use crate::capture::sources::libc::LibcError;

/// Lines of the verifier's log that are kept: its verdict stands in the last ones.
const VERIFIER_LOG_LINES: usize = 12;

/// Why capturing cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Not allowed to use eBPF.
    #[error("no privilege to {action}: run as root, or with CAP_BPF and CAP_PERFMON")]
    NoPrivilege {
        /// What was refused.
        action: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel has no ring buffer map.
    #[error("this kernel has no BPF ring buffer: 5.8 or newer is needed")]
    NoRingBuffer,
    /// The kernel has no tracepoint of that name.
    #[error("this kernel has no tracepoint {tracepoint}{}", since(tracepoint))]
    NoTracepoint {
        /// Its name.
        tracepoint: &'static str,
        /// The kernel's answer.
        #[source]
        source: ProgramError,
    },
    /// No system call's end can be traced.
    #[error(
        "system calls cannot be traced here, neither one by one ({single}: mount tracefs at /sys/kernel/tracing) nor all \
         together: CONFIG_FTRACE_SYSCALLS is needed"
    )]
    NoSyscallTracing {
        /// Why not one by one.
        single: String,
        /// The kernel's answer for all together.
        #[source]
        source: ProgramError,
    },
    /// The kernel has no uprobes.
    #[error("this kernel takes no uprobes: CONFIG_UPROBE_EVENTS is needed, and /sys must be visible")]
    NoUprobes(#[source] Option<io::Error>),
    /// A process's C library cannot be probed.
    #[error(transparent)]
    Libc(LibcError),
    /// None of the sources of socket bytes works here.
    #[error("no source of socket bytes works here: {reasons}")]
    NoSocketSource {
        /// Each with its reason.
        reasons: String,
    },
    /// The kernel's type information cannot be read.
    #[error("cannot read {}: the kernel must be built with CONFIG_DEBUG_INFO_BTF", path.display())]
    NoBtf {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel's type information makes no sense.
    #[error("the kernel's type information is malformed")]
    Btf(#[source] BtfError),
    /// The kernel's verifier refused a program.
    #[error("the kernel refused the program {program}: {log}")]
    Refused {
        /// Its name.
        program: &'static str,
        /// The end of the verifier's log.
        log: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The embedded object cannot be loaded.
    #[error("cannot load the eBPF object")]
    Load(#[source] aya::EbpfError),
    /// The embedded object lacks something that this build expects.
    #[error("the eBPF object has no {0}")]
    Missing(&'static str),
    /// A program could not be loaded or attached.
    #[error("cannot {action} the program {program}")]
    Program {
        /// `load` or `attach`.
        action: &'static str,
        /// Its name.
        program: &'static str,
        /// Why.
        #[source]
        source: ProgramError,
    },
    /// A map could not be used.
    #[error("cannot use the map {map}")]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        #[source]
        source: aya::maps::MapError,
    },
    /// A map could not be shared with the agent's memory.
    #[error("cannot map the table {map} into memory")]
    Shared {
        /// Its name.
        map: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The ring could not be mapped into memory.
    #[error("cannot map the ring buffer")]
    Ring(#[source] io::Error),
    /// A process id that the kernel cannot have given out.
    #[error("{0} is not a process id")]
    Pid(u32),
    /// None of a library's functions could be probed.
    #[error("no function of {} could be probed", path.display())]
    NoTlsFunction {
        /// The library.
        path: PathBuf,
        /// Why the last one could not.
        #[source]
        source: Option<ProgramError>,
    },
}

/// What to do about a tracepoint that is not there.
fn since(tracepoint: &str) -> &'static str {
    if tracepoint.starts_with("sock_") {
        ": Linux 6.3 or newer is needed, or capture.sockets = \"syscalls\" or \"uprobes\""
    } else {
        ": it must be built with tracing"
    }
}

impl CaptureError {
    /// The one failure, or all of them in one.
    pub(super) fn of_sources(mut failures: Vec<(SocketSource, Self)>) -> Self {
        match failures.pop() {
            Some((_, only)) if failures.is_empty() => only,
            last => {
                failures.extend(last);
                let reasons: Vec<String> = failures
                    .iter()
                    .map(|(source, error)| format!("{source}: {error}"))
                    .collect();
                Self::NoSocketSource {
                    reasons: reasons.join("; "),
                }
            }
        }
    }

    /// The named cause behind an object that did not load.
    pub(super) fn from_load(error: aya::EbpfError) -> Self {
        match denied(&error) {
            Some(source) => Self::NoPrivilege {
                action: "create BPF maps",
                source,
            },
            None => Self::Load(error),
        }
    }

    /// The named cause behind a program that did not load.
    pub(super) fn from_program(program: &'static str, error: ProgramError) -> Self {
        if let Some(source) = denied(&error) {
            return Self::NoPrivilege {
                action: "load BPF programs",
                source,
            };
        }
        let ProgramError::LoadError {
            io_error,
            verifier_log,
        } = error
        else {
            return Self::Program {
                action: "load",
                program,
                source: error,
            };
        };
        Self::Refused {
            program,
            log: tail(&verifier_log.to_string()),
            source: io_error,
        }
    }

    /// The named cause behind a tracepoint that could not be attached to.
    pub(super) fn from_attach(tracepoint: &'static str, error: ProgramError) -> Self {
        if let Some(source) = denied(&error) {
            return Self::NoPrivilege {
                action: "attach to tracepoints",
                source,
            };
        }
        if os_error(&error) == Some(libc::ENOENT) {
            return Self::NoTracepoint {
                tracepoint,
                source: error,
            };
        }
        Self::Program {
            action: "attach",
            program: tracepoint,
            source: error,
        }
    }
}

/// The operating system's error behind `error`, if it is one that means "not allowed".
fn denied(error: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
    // The verifier, too, answers EACCES; then there is a log, and `LoadError` does not come here with EPERM.
    let code = os_error(error)?;
    (code == libc::EPERM).then(|| io::Error::from_raw_os_error(code))
}

fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(code) = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error)
        {
            return Some(code);
        }
        next = error.source();
    }
    None
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let skip = lines.len().saturating_sub(VERIFIER_LOG_LINES);
    lines.into_iter().skip(skip).collect::<Vec<_>>().join("\n")
}
