//! Every map, with what bounds it. User space may replace the ring's and the tables' sizes at load.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use kongtap_common::budget::{Budget, SkipKey};
use kongtap_common::{counter, process};

use crate::conn::Conn;
use crate::libc::{Frame, OpenCall};
use crate::tls::binding::{Binding, SslKey};
use crate::tls::call::TlsCall;

/// Bytes of the ring unless user space chooses.
const RING_BYTES: u32 = 32 * 1024 * 1024;
/// Connections watched at one time.
const CONNECTIONS: u32 = 65_536;
/// TLS objects known at one time.
const TLS_OBJECTS: u32 = 65_536;
/// Skips remembered at one time; the least recently used one gives way, which costs a record a call and nothing else.
const SKIPS: u32 = 8_192;
/// Threads inside an OpenSSL call at one time.
const TLS_CALLS: u32 = 16_384;
/// Threads inside a function of libc's at one time, where it is probed at entry and return.
const LIBC_CALLS: u32 = 16_384;

/// Records on their way to the agent.
#[map]
pub static RING: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// Which processes are watched: see [`kongtap_common::target`]. User space has it in its memory.
#[map]
pub static TARGETS: Array<u64> = Array::with_max_entries(kongtap_common::target::WORDS, BPF_F_MMAPABLE);

/// Processes that are followed, with the bits of [`kongtap_common::target`] that their children are born with.
#[map]
pub static FOLLOWED: HashMap<u32, u64> = HashMap::with_max_entries(process::FOLLOWED, 0);

/// What becomes of them, on its way to the agent.
#[map]
pub static PROCESSES: RingBuf = RingBuf::with_byte_size(process::RING_BYTES, 0);

/// One slot per counter; see [`kongtap_common::counter`].
#[map]
pub static COUNTERS: PerCpuArray<[u64; counter::COUNT as usize]> = PerCpuArray::with_max_entries(1, 0);

/// Connections by `struct sock *`.
#[map]
pub static CONNS: HashMap<u64, Conn> = HashMap::with_max_entries(CONNECTIONS, 0);

/// How many bytes of a message are copied; one entry.
#[map]
pub static BUDGET: Array<Budget> = Array::with_max_entries(1, 0);

/// Where user space wants nothing more, see [`SkipKey`].
#[map]
pub static SKIPS_ASKED: LruHashMap<SkipKey, u64> = LruHashMap::with_max_entries(SKIPS, 0);

/// Which connection a TLS object reads from and writes to.
#[map]
pub static BINDINGS: HashMap<SslKey, Binding> = HashMap::with_max_entries(TLS_OBJECTS, 0);

/// The OpenSSL call that a thread is in, by `bpf_get_current_pid_tgid`.
#[map]
pub static TLS_CALLS_OPEN: HashMap<u64, TlsCall> = HashMap::with_max_entries(TLS_CALLS, 0);

/// The functions of libc's that threads are in.
#[map]
pub static LIBC_CALLS_OPEN: HashMap<Frame, OpenCall> = HashMap::with_max_entries(LIBC_CALLS, 0);
