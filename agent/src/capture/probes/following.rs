//! Who is followed in the kernel, and what it tells of them: forks, executions, ends.
//!
//! In: process ids. Out: [`ProcessEvent`]s, for which a thread can wait. A kernel that refuses the tracepoints, or whose
//! tasks cannot be read, is said so once ([`Following::refusal`]); everything then goes on by looking at `/proc`.
//! Deliberately absent: what a process is.

use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData};
use aya::programs::RawTracePoint;
use kongtap_common::process::{ANY_GATEWAY, EXEC, EXIT, FORK, ProcessRecord};
use zerocopy::FromBytes as _;

use super::{CaptureError, program, take, typed};
use crate::capture::event::KernelTime;
use crate::capture::gateways::Pid;
use crate::capture::ring::Ring;

const TRACEPOINTS: [&str; 3] = ["sched_process_fork", "sched_process_exec", "sched_process_exit"];

/// Bytes of the ring read at a time: all of it.
const DRAIN_BYTES: usize = 64 * 1024;

/// Something became of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessEvent {
    /// When.
    pub at: KernelTime,
    /// Which process.
    pub pid: Pid,
    /// What.
    pub what: ProcessChange,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessChange {
    /// It was born to a followed process, and is watched and followed as that one's children are.
    Born {
        /// That process.
        parent: Pid,
    },
    /// It executes another program, and is no longer watched.
    Executed,
    /// It is over, and neither watched nor followed any more.
    Ended,
}

/// What ended a [`Following::wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Something was told, or the time is over.
    ByKernelOrTime,
    /// The other descriptor became readable or was closed.
    ByOther,
}

/// The kernel's part of following processes.
#[derive(Debug)]
pub struct Following {
    followed: HashMap<MapData, u32, u64>,
    ring: Ring,
    refusal: Option<CaptureError>,
}

impl Following {
    pub(super) fn new(ebpf: &mut Ebpf, refusal: Option<CaptureError>) -> Result<Self, CaptureError> {
        let Map::RingBuf(ring) = take(ebpf, "PROCESSES")? else {
            return Err(CaptureError::NoRingBuffer);
        };
        Ok(Self {
            followed: typed(ebpf, "FOLLOWED")?,
            ring: Ring::new(ring).map_err(CaptureError::Ring)?,
            refusal,
        })
    }

    /// Why the kernel does not follow processes, if it does not.
    #[must_use]
    pub const fn refusal(&self) -> Option<&CaptureError> {
        self.refusal.as_ref()
    }

    /// Children of `tgid`, and theirs, are from now on born with `bits` of [`kongtap_common::target`] and told of.
    ///
    /// # Errors
    /// [`CaptureError::Map`].
    pub fn follow(&mut self, tgid: u32, bits: u64) -> Result<(), CaptureError> {
        self.followed
            .insert(tgid, bits, 0)
            .map_err(|source| CaptureError::Map {
                map: "FOLLOWED",
                source,
            })
    }

    /// Every gateway's program that is executed is followed from its first instruction on; its children get `bits`.
    ///
    /// # Errors
    /// [`CaptureError::Map`].
    pub fn follow_new_gateways(&mut self, bits: u64) -> Result<(), CaptureError> {
        self.follow(ANY_GATEWAY, bits)
    }

    /// Children that `tgid` has from now on are none of ours.
    pub fn unfollow(&mut self, tgid: u32) {
        // It fails where the process is gone, and its entry with it.
        drop(self.followed.remove(&tgid));
    }

    /// Follows nobody any more.
    pub fn unfollow_all(&mut self) {
        for tgid in self.followed.keys().flatten().collect::<Vec<_>>() {
            self.unfollow(tgid);
        }
    }

    /// Sleeps until the kernel has something to tell, `other` becomes readable, or `longest` is over.
    #[must_use]
    pub fn wait(&self, other: BorrowedFd<'_>, longest: Duration) -> Woken {
        let poll = |fd: BorrowedFd<'_>| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut fds = [poll(self.ring.readiness()), poll(other)];
        // Rounded up: zero would not sleep at all.
        let ms = i32::try_from(longest.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        #[expect(unsafe_code, reason = "a question to the kernel")]
        // SAFETY: the array holds as many entries as are said, and its descriptors are borrowed, hence open.
        // Woken early by a signal, the caller looks around once more than needed.
        let _ready = unsafe { libc::poll(fds.as_mut_ptr(), 2, ms) };
        let [_kernel, other] = fds;
        if other.revents == 0 {
            Woken::ByKernelOrTime
        } else {
            Woken::ByOther
        }
    }

    /// What the kernel has told since the last call, oldest first.
    pub fn events(&mut self) -> Vec<ProcessEvent> {
        let mut events = Vec::new();
        self.ring
            .drain(DRAIN_BYTES, |record| events.extend(decode(record)));
        events
    }
}

fn decode(record: &[u8]) -> Option<ProcessEvent> {
    let (record, _slack) = ProcessRecord::read_from_prefix(record).ok()?;
    let what = match record.what {
        FORK => ProcessChange::Born {
            parent: Pid(record.parent),
        },
        EXEC => ProcessChange::Executed,
        EXIT => ProcessChange::Ended,
        _ => return None,
    };
    Some(ProcessEvent {
        at: KernelTime(record.at_ns),
        pid: Pid(record.tgid),
        what,
    })
}

/// Loads the programs and attaches them.
pub(super) fn attach(ebpf: &mut Ebpf) -> Result<(), CaptureError> {
    for name in TRACEPOINTS {
        let program: &mut RawTracePoint = program(ebpf, name)?;
        program
            .load()
            .map_err(|error| CaptureError::from_program(name, error))?;
    }
    // A process that is marked at birth must be seen to end, so the last one comes first.
    for name in TRACEPOINTS.iter().rev() {
        let program: &mut RawTracePoint = program(ebpf, name)?;
        program
            .attach(name)
            .map_err(|error| CaptureError::from_attach(name, error))?;
    }
    Ok(())
}
