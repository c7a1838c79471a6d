//! Loads one socket source's programs and attaches them: to the kernel's tracepoints once, or to libc in each process.
//!
//! In: the loaded object, a [`SocketSource`], process ids. Out: attached programs, or what this host lacks for that source.
//! The programs of the other sources are never given to the kernel.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope};
use aya::programs::{ProgramError, TracePoint, UProbe};

use super::{CaptureError, program, raw_tracepoint, raw_tracepoint_at, typed};
use crate::capture::gateways::Pid;
use crate::capture::host::probe::{Tried, try_uprobe};
use crate::capture::links::{Attaching, UprobeLinks};
use crate::capture::sources::libc::{LibcFile, LibcFinder, PointKind};
use crate::capture::sources::{CALLS, SocketSource, way_of};

/// Key and value of `LIBC_CALLS_OPEN`, in words: process and thread; the call.
type OpenCalls = HashMap<MapData, [u64; 2], [u64; 6]>;

const OPEN_CALLS: &str = "LIBC_CALLS_OPEN";
const EXIT: [&str; 2] = ["sys_exit_receive", "sys_exit_send"];
const ANY_EXIT: [&str; 2] = ["any_exit_receive", "any_exit_send"];
const BEHIND: [&str; 2] = ["libc_behind_receive", "libc_behind_send"];
const ENTRY: &str = "libc_call";
const RETURN: [&str; 2] = ["libc_return_receive", "libc_return_send"];

/// The source in force, and what it has put on processes.
pub(super) struct SocketProbes {
    source: SocketSource,
    pub(super) libc: LibcFinder,
    links: BTreeMap<u32, UprobeLinks>,
    open_calls: OpenCalls,
}

impl SocketProbes {
    /// Loads and attaches `source`.
    pub(super) fn load(ebpf: &mut Ebpf, source: SocketSource) -> Result<Self, CaptureError> {
        match source {
            SocketSource::Sock => {
                for name in ["sock_send_length", "sock_recv_length"] {
                    raw_tracepoint(ebpf, name)?;
                }
            }
            SocketSource::Syscalls => attach_syscalls(ebpf)?,
            SocketSource::Uprobes => load_uprobes(ebpf)?,
        }
        Ok(Self {
            source,
            libc: LibcFinder::default(),
            links: BTreeMap::new(),
            open_calls: typed(ebpf, OPEN_CALLS)?,
        })
    }

    /// The source in force.
    pub(super) const fn source(&self) -> SocketSource {
        self.source
    }

    /// Puts on `tgid` what the source needs there. The process must not be watched yet: what a half-probed process does
    /// would be seen in part.
    pub(super) fn attach(&mut self, ebpf: &mut Ebpf, tgid: u32) -> Result<(), CaptureError> {
        match self.source {
            SocketSource::Sock | SocketSource::Syscalls => return Ok(()),
            SocketSource::Uprobes => {}
        }
        if self.links.contains_key(&tgid) {
            return Ok(());
        }
        let pid = NonZeroU32::new(tgid).ok_or(CaptureError::Pid(tgid))?;
        let files = self.libc.search(Pid(tgid)).map_err(CaptureError::Libc)?;
        let _first = Attaching::begin();
        let mut links = UprobeLinks::default();
        for file in &files {
            attach_file(ebpf, pid, file, &mut links)?;
        }
        self.links.insert(tgid, links);
        Ok(())
    }

    /// Takes it off again. The process is no longer watched.
    pub(super) fn detach(&mut self, tgid: u32) {
        if let Some(links) = self.links.remove(&tgid) {
            drop(links);
            self.forget_calls(tgid);
        }
    }

    /// The same for a process that is gone, in the background.
    pub(super) fn forget(&mut self, tgid: u32) {
        if let Some(links) = self.links.remove(&tgid) {
            links.detach_later();
            self.forget_calls(tgid);
        }
    }

    /// Calls that were under way will not be seen to return.
    fn forget_calls(&mut self, tgid: u32) {
        let keys: Vec<_> = self.open_calls.keys().flatten().collect();
        for key in keys {
            let [pid_tgid, _stack_pointer] = key;
            if pid_tgid >> 32 == u64::from(tgid) {
                drop(self.open_calls.remove(&key));
            }
        }
    }
}

/// The exits of the calls that move bytes; where one of them cannot be had, the exit of every call.
fn attach_syscalls(ebpf: &mut Ebpf) -> Result<(), CaptureError> {
    for name in EXIT {
        program::<TracePoint>(ebpf, name)?
            .load()
            .map_err(|error| CaptureError::from_program(name, error))?;
    }
    let Err(error) = attach_single(ebpf)? else {
        return Ok(());
    };
    // Those that are attached already would report their calls a second time.
    for name in EXIT {
        program::<TracePoint>(ebpf, name)?
            .unload()
            .map_err(|error| CaptureError::from_program(name, error))?;
    }
    tracing::info!(%error, "No tracepoints of single system calls; taking that of all of them.");
    for name in ANY_EXIT {
        raw_tracepoint_at(ebpf, name, "sys_exit").map_err(|all| {
            if let CaptureError::NoTracepoint { source, .. } = all {
                CaptureError::NoSyscallTracing {
                    single: error.to_string(),
                    source,
                }
            } else {
                all
            }
        })?;
    }
    Ok(())
}

fn attach_single(ebpf: &mut Ebpf) -> Result<Result<(), ProgramError>, CaptureError> {
    let [receive, send] = EXIT;
    for call in CALLS {
        for name in call.way.of(receive, send) {
            let program: &mut TracePoint = program(ebpf, name)?;
            if let Err(error) = program.attach("syscalls", call.tracepoint) {
                return Ok(Err(error));
            }
        }
    }
    Ok(Ok(()))
}

fn load_uprobes(ebpf: &mut Ebpf) -> Result<(), CaptureError> {
    match try_uprobe() {
        Some(Tried::Works) => {}
        Some(Tried::Refused(errno)) if matches!(errno, libc::EPERM | libc::EACCES) => {
            return Err(CaptureError::NoPrivilege {
                action: "place uprobes (CAP_SYS_ADMIN, on kernels of 2025 and later)",
                source: std::io::Error::from_raw_os_error(errno),
            });
        }
        Some(Tried::Refused(errno)) => {
            return Err(CaptureError::NoUprobes(Some(std::io::Error::from_raw_os_error(
                errno,
            ))));
        }
        None => return Err(CaptureError::NoUprobes(None)),
    }
    for name in BEHIND.into_iter().chain(RETURN).chain([ENTRY]) {
        program::<UProbe>(ebpf, name)?
            .load()
            .map_err(|error| CaptureError::from_program(name, error))?;
    }
    Ok(())
}

fn attach_file(
    ebpf: &mut Ebpf,
    pid: NonZeroU32,
    file: &LibcFile,
    links: &mut UprobeLinks,
) -> Result<(), CaptureError> {
    for point in &file.points {
        // The return probe first, so that every call which is seen to begin is seen to end.
        let way = way_of(point.number);
        let programs: Vec<&'static str> = match point.kind {
            PointKind::Behind => {
                let [receive, send] = BEHIND;
                way.of(receive, send)
            }
            PointKind::EntryAndReturn => {
                let [receive, send] = RETURN;
                way.of(receive, send).into_iter().chain([ENTRY]).collect()
            }
        };
        for name in programs {
            let failed = |source: ProgramError| CaptureError::Program {
                action: "attach",
                program: name,
                source,
            };
            let program: &mut UProbe = program(ebpf, name)?;
            let at = UProbeAttachPoint {
                location: UProbeAttachLocation::AbsoluteOffset(point.offset),
                cookie: Some(point.number.cast_unsigned()),
            };
            let link = program
                .attach(at, &file.path_for_agent, UProbeScope::OneProcess(pid))
                .map_err(failed)?;
            links.0.push(program.take_link(link).map_err(failed)?);
        }
    }
    Ok(())
}
