//! Loads the probes, says which processes they watch, and reads what they counted.
//!
//! In: the embedded eBPF object, process ids, and where a process's OpenSSL functions are. Out: a [`Ring`] of records and
//! [`KernelCounters`]. Deliberately absent: finding processes and TLS libraries (that is discovery's part), and anything but
//! tracing programs: none of them can change or fail a call of the gateway's.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::num::NonZeroU32;

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray};
use aya::programs::uprobe::UProbeScope;
use aya::programs::{RawTracePoint, UProbe};
use aya::{Ebpf, EbpfLoader};
use kongtap_common::budget::Budget;
use kongtap_common::offsets::KernelOffsets;
use kongtap_common::{counter, target};

use super::links::{Attaching, UprobeLinks};
use super::ring::Ring;
use super::sources::{SocketSource, SourceChoice};
use super::tls::{TlsAttachment, TlsProbePlan};

pub use controls::Controls;
pub use counters::KernelCounters;
pub use error::CaptureError;
use following::Following;
use sources::SocketProbes;
use targets::TargetTable;

mod btf;
mod controls;
mod counters;
mod error;
pub mod following;
mod sources;
mod targets;

pub use btf::BtfError;

/// The object, at an alignment that the loader can parse.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kongtap.bpf.o"));

/// Where the kernel keeps its type information.
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// What becomes of sockets, whatever the source of their bytes.
const LIFECYCLE: [&str; 2] = ["inet_sock_set_state", "tcp_destroy_sock"];
pub(super) const TLS_PROGRAMS: [&str; 5] =
    ["tls_call", "tls_return", "tls_settled", "tls_set_fd", "tls_free"];

/// Which source of socket bytes, and sizes of what the kernel keeps for the probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeOptions {
    /// Where socket bytes come from.
    pub sockets: SourceChoice,
    /// Bytes of the ring between kernel and agent; rounded up to a power of two of at least a page.
    pub ring_bytes: u32,
    /// Connections watched at one time.
    pub connections: u32,
    /// How much of each message is copied at first.
    pub budget: Budget,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            sockets: SourceChoice::Auto,
            ring_bytes: 8 * 1024 * 1024,
            connections: 65_536,
            budget: Budget {
                head_bytes: 64 * 1024,
                body_bytes: 256 * 1024,
            },
        }
    }
}

/// The loaded probes. Dropping them detaches everything.
pub struct Probes {
    ebpf: Ebpf,
    targets: TargetTable,
    following: Following,
    counters: PerCpuArray<MapData, [u64; SLOTS]>,
    bindings: HashMap<MapData, [u32; 4], [u64; 4]>,
    tls_calls: HashMap<MapData, u64, [u64; 5]>,
    ring: Option<MapData>,
    sockets: SocketProbes,
    tls: BTreeMap<u32, UprobeLinks>,
    /// Libraries that are probed in every process, by device and inode.
    tls_everywhere: BTreeMap<FileId, UprobeLinks>,
}

/// A file: device and inode.
pub type FileId = (u64, u64);

const SLOTS: usize = {
    #[expect(
        clippy::as_conversions,
        reason = "a small constant; conversions are not const"
    )]
    let slots = counter::COUNT as usize;
    slots
};

impl std::fmt::Debug for Probes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probes")
            .field("sockets", &self.sockets.source())
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl Probes {
    /// Loads the embedded object and attaches to the kernel's tracepoints. Nothing is watched yet.
    ///
    /// # Errors
    /// [`CaptureError`] names what this kernel or this process's privileges lack.
    pub fn load(options: &ProbeOptions) -> Result<Self, CaptureError> {
        let offsets = {
            let path = KERNEL_BTF;
            let bytes = std::fs::read(path).map_err(|source| CaptureError::NoBtf {
                path: path.into(),
                source,
            })?;
            btf::kernel_offsets(&bytes).map_err(CaptureError::Btf)?
        };
        options
            .sockets
            .first_that_works(
                |source| Self::load_source(options, &offsets, source),
                |error| {
                    matches!(
                        error,
                        CaptureError::NoPrivilege { .. } | CaptureError::NoRingBuffer
                    )
                },
            )
            .map_err(CaptureError::of_sources)
    }

    fn load_source(
        options: &ProbeOptions,
        offsets: &KernelOffsets,
        source: SocketSource,
    ) -> Result<Self, CaptureError> {
        let mut ebpf = EbpfLoader::new()
            .btf(None) // no relocations: the offsets above are all that the probes need
            .override_global("OFFSETS", offsets, true)
            .map_max_entries("RING", options.ring_bytes)
            .map_max_entries("CONNS", options.connections)
            .load(OBJECT)
            .map_err(CaptureError::from_load)?;
        let sockets = SocketProbes::load(&mut ebpf, source)?;
        for name in TLS_PROGRAMS {
            program::<UProbe>(&mut ebpf, name)?
                .load()
                .map_err(|error| CaptureError::from_program(name, error))?;
        }
        for name in LIFECYCLE {
            raw_tracepoint(&mut ebpf, name)?;
        }
        // While the maps are still there: a program that is loaded refers to them by their descriptors.
        let refusal = following::attach(&mut ebpf).err();
        let Map::RingBuf(ring) = take(&mut ebpf, "RING")? else {
            return Err(CaptureError::NoRingBuffer);
        };
        set_budget(&mut ebpf, options.budget)?;
        Ok(Self {
            targets: TargetTable::new(&mut ebpf)?,
            following: Following::new(&mut ebpf, refusal)?,
            counters: typed(&mut ebpf, "COUNTERS")?,
            bindings: typed(&mut ebpf, "BINDINGS")?,
            tls_calls: typed(&mut ebpf, "TLS_CALLS_OPEN")?,
            ring: Some(ring),
            sockets,
            tls: BTreeMap::new(),
            tls_everywhere: BTreeMap::new(),
            ebpf,
        })
    }

    /// The ring that the records arrive in; it has one reader.
    ///
    /// # Errors
    /// [`CaptureError::Missing`] when it was taken before, [`CaptureError::Ring`] when it cannot be mapped.
    pub fn ring(&mut self) -> Result<Ring, CaptureError> {
        let ring = self
            .ring
            .take()
            .ok_or(CaptureError::Missing("ring left: it was taken before"))?;
        Ring::new(ring).map_err(CaptureError::Ring)
    }

    /// Hands the probes' debug lines that wait to the `log` facade whenever it is called.
    ///
    /// # Errors
    /// [`CaptureError::Missing`] when the object was built without `--probe-log`.
    #[cfg(feature = "probe-log")]
    pub fn log_lines(&mut self) -> Result<impl FnMut() + Send + use<>, CaptureError> {
        let mut logger = aya_log::EbpfLogger::init(&mut self.ebpf)
            .map_err(|_no_map| CaptureError::Missing("debug lines: build it with --probe-log"))?;
        Ok(move || logger.flush())
    }

    /// The source of socket bytes that is in force.
    #[must_use]
    pub const fn sockets(&self) -> SocketSource {
        self.sockets.source()
    }

    /// Who is followed in the kernel.
    pub const fn following(&mut self) -> &mut Following {
        &mut self.following
    }

    /// Watches the sockets of a process from now on.
    ///
    /// # Errors
    /// [`CaptureError::Pid`] or [`CaptureError::Map`]; where libc's functions are the source, also why they cannot be probed.
    pub fn watch(&mut self, tgid: u32) -> Result<(), CaptureError> {
        self.sockets.attach(&mut self.ebpf, tgid)?;
        self.set_target(tgid, target::WATCHED, 0)
    }

    /// Stops watching a process: its sockets and its OpenSSL calls.
    ///
    /// # Errors
    /// [`CaptureError::Pid`] or [`CaptureError::Map`].
    pub fn unwatch(&mut self, tgid: u32) -> Result<(), CaptureError> {
        self.set_target(tgid, 0, target::WATCHED)?;
        self.sockets.detach(tgid);
        self.detach_tls(tgid)
    }

    /// Probes the OpenSSL functions of a watched process, in that process alone. Functions that are missing or refused
    /// are reported, not fatal, as long as one that reads or writes is left.
    ///
    /// # Errors
    /// [`CaptureError::NoTlsFunction`] when no such function could be probed, [`CaptureError::Pid`], [`CaptureError::Map`].
    pub fn attach_tls(&mut self, tgid: u32, plan: &TlsProbePlan) -> Result<TlsAttachment, CaptureError> {
        // Socket calls inside the first probed OpenSSL call must already be known as such.
        self.set_target(tgid, target::TLS, 0)?;
        let _first = Attaching::begin();
        let scope = UProbeScope::OneProcess(NonZeroU32::new(tgid).ok_or(CaptureError::Pid(tgid))?);
        match super::tls::attach(&mut self.ebpf, scope, plan) {
            Ok((links, attachment)) => {
                self.tls.entry(tgid).or_default().append(links);
                Ok(attachment)
            }
            Err(error) => {
                self.set_target(tgid, 0, target::TLS)?;
                Err(error)
            }
        }
    }

    /// Probes the OpenSSL functions of a file in every process that maps it, now or later: a process that is watched from
    /// birth has its TLS captured from birth. Others pay for a probe that finds at once that they are not watched.
    ///
    /// # Errors
    /// [`CaptureError::NoTlsFunction`] when no function that reads or writes could be probed.
    pub fn attach_tls_everywhere(
        &mut self,
        file: FileId,
        plan: &TlsProbePlan,
    ) -> Result<TlsAttachment, CaptureError> {
        let _first = Attaching::begin();
        let (links, attachment) = super::tls::attach(&mut self.ebpf, UProbeScope::AllProcesses, plan)?;
        self.tls_everywhere.entry(file).or_default().append(links);
        Ok(attachment)
    }

    /// Takes the probes off a file that is probed everywhere, in the background.
    pub fn detach_tls_everywhere(&mut self, file: FileId) {
        if let Some(links) = self.tls_everywhere.remove(&file) {
            links.detach_later();
        }
    }

    /// Marks a process whose library is probed everywhere.
    ///
    /// # Errors
    /// [`CaptureError::Pid`].
    pub fn mark_tls(&self, tgid: u32) -> Result<(), CaptureError> {
        self.set_target(tgid, target::TLS, 0)
    }

    /// Probes the OpenSSL functions of a process in other places. Its TLS objects stay known, and no call is counted twice.
    ///
    /// # Errors
    /// As [`Self::attach_tls`]; the old probes then stay.
    pub fn replace_tls(&mut self, tgid: u32, plan: &TlsProbePlan) -> Result<TlsAttachment, CaptureError> {
        let scope = UProbeScope::OneProcess(NonZeroU32::new(tgid).ok_or(CaptureError::Pid(tgid))?);
        let (links, attachment) = super::tls::attach(&mut self.ebpf, scope, plan)?;
        if let Some(old) = self.tls.insert(tgid, links) {
            old.detach_soon();
        }
        Ok(attachment)
    }

    /// The same for a file that is probed everywhere.
    ///
    /// # Errors
    /// As [`Self::attach_tls_everywhere`]; the old probes then stay.
    pub fn replace_tls_everywhere(
        &mut self,
        file: FileId,
        plan: &TlsProbePlan,
    ) -> Result<TlsAttachment, CaptureError> {
        let _first = Attaching::begin();
        let (links, attachment) = super::tls::attach(&mut self.ebpf, UProbeScope::AllProcesses, plan)?;
        if let Some(old) = self.tls_everywhere.insert(file, links) {
            old.detach_soon();
        }
        Ok(attachment)
    }

    /// Takes the OpenSSL probes off a process and forgets its TLS objects. Nothing happens if there are none.
    ///
    /// # Errors
    /// [`CaptureError::Pid`] or [`CaptureError::Map`].
    pub fn detach_tls(&mut self, tgid: u32) -> Result<(), CaptureError> {
        let Some(links) = self.tls.remove(&tgid) else {
            return Ok(());
        };
        self.set_target(tgid, 0, target::TLS)?;
        drop(links);
        self.forget_tls(tgid);
        Ok(())
    }

    /// Whether a process is watched, by our word or by its birth.
    #[must_use]
    pub fn is_watched(&self, tgid: u32) -> bool {
        self.targets.bits(tgid) & target::WATCHED != 0
    }

    /// Nothing that a process does is recorded any more. Its probes stay.
    ///
    /// # Errors
    /// [`CaptureError::Pid`].
    pub fn ignore(&self, tgid: u32) -> Result<(), CaptureError> {
        self.set_target(tgid, 0, target::MASK)
    }

    /// Leaves everything as it is to the end of this process, at which the kernel takes it off.
    pub fn leave(self) {
        // Not dropped, on purpose.
        let _left = ManuallyDrop::new(self);
    }

    /// Stops watching a process that is gone. Its probes are taken off in the background.
    ///
    /// # Errors
    /// [`CaptureError::Pid`] or [`CaptureError::Map`].
    pub fn forget(&mut self, tgid: u32) -> Result<(), CaptureError> {
        self.set_target(tgid, 0, target::MASK)?;
        self.sockets.forget(tgid);
        let links = self.tls.remove(&tgid);
        if links.is_some() || !self.tls_everywhere.is_empty() {
            self.forget_tls(tgid);
        }
        if let Some(links) = links {
            links.detach_later();
        }
        Ok(())
    }

    fn forget_tls(&mut self, tgid: u32) {
        // A call that was under way will not be seen to return, and objects will not be seen to go.
        for key in self
            .bindings
            .keys()
            .flatten()
            .filter(|[owner, ..]| *owner == tgid)
            .collect::<Vec<_>>()
        {
            drop(self.bindings.remove(&key));
        }
        for key in self
            .tls_calls
            .keys()
            .flatten()
            .filter(|key| key >> 32 == u64::from(tgid))
            .collect::<Vec<_>>()
        {
            drop(self.tls_calls.remove(&key));
        }
    }

    /// What the probes counted since they were loaded.
    ///
    /// # Errors
    /// [`CaptureError::Map`].
    pub fn counters(&self) -> Result<KernelCounters, CaptureError> {
        let values = self.counters.get(&0, 0).map_err(|source| CaptureError::Map {
            map: "COUNTERS",
            source,
        })?;
        let mut sums = vec![0; SLOTS];
        for cpu in values.iter() {
            for (sum, count) in sums.iter_mut().zip(cpu) {
                *sum += count;
            }
        }
        Ok(KernelCounters(sums))
    }

    fn set_target(&self, tgid: u32, set: u64, clear: u64) -> Result<(), CaptureError> {
        self.targets.change(tgid, set, clear)
    }
}

pub(super) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, CaptureError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program>,
{
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(CaptureError::Missing(name))
}

fn set_budget(ebpf: &mut Ebpf, budget: Budget) -> Result<(), CaptureError> {
    let map = ebpf.map_mut("BUDGET").ok_or(CaptureError::Missing("BUDGET"))?;
    let failed = |source| CaptureError::Map {
        map: "BUDGET",
        source,
    };
    let mut entries: Array<_, Budget> = Array::try_from(map).map_err(failed)?;
    entries.set(0, budget, 0).map_err(failed)
}

/// Loads the program that has the name of its tracepoint, and attaches it there.
fn raw_tracepoint(ebpf: &mut Ebpf, name: &'static str) -> Result<(), CaptureError> {
    raw_tracepoint_at(ebpf, name, name)
}

/// Loads the program `name` and attaches it to `tracepoint`.
fn raw_tracepoint_at(
    ebpf: &mut Ebpf,
    name: &'static str,
    tracepoint: &'static str,
) -> Result<(), CaptureError> {
    let program: &mut RawTracePoint = program(ebpf, name)?;
    program
        .load()
        .map_err(|error| CaptureError::from_program(name, error))?;
    program
        .attach(tracepoint)
        .map_err(|error| CaptureError::from_attach(tracepoint, error))?;
    Ok(())
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, CaptureError> {
    ebpf.take_map(name).ok_or(CaptureError::Missing(name))
}

fn typed<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, CaptureError>
where
    M: TryFrom<Map, Error = aya::maps::MapError>,
{
    M::try_from(take(ebpf, name)?).map_err(|source| CaptureError::Map { map: name, source })
}

#[cfg(test)]
mod tests;
