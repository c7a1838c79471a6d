//! What becomes of followed processes: the table that says who is followed, and the records of the ring of their own that
//! tells user space. That ring wakes its reader; no traffic goes through it, and recordings do not hold it.

/// A followed process has a child now, which is followed too. [`ProcessRecord::tgid`] is the child.
pub const FORK: u32 = 1;
/// A followed process, or a gateway's program, executes another program from now on.
pub const EXEC: u32 = 2;
/// A watched or followed process is over.
pub const EXIT: u32 = 3;

/// Something became of a process.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::KnownLayout,
        zerocopy::Immutable
    )
)]
pub struct ProcessRecord {
    /// `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// [`FORK`], [`EXEC`] or [`EXIT`].
    pub what: u32,
    /// The process, in the initial PID namespace.
    pub tgid: u32,
    /// On a fork: whose child it is. Otherwise the process itself.
    pub parent: u32,
    /// Zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<ProcessRecord>() == 24);

/// Key in the table of followed processes that stands for every gateway's program which is executed: with it, that process
/// is followed from its first instruction on. No process has this id.
pub const ANY_GATEWAY: u32 = 0;

/// Most processes followed at one time.
pub const FOLLOWED: u32 = 4096;

/// Bytes of the ring that tells of processes: some 2000 records.
pub const RING_BYTES: u32 = 64 * 1024;

/// Names of gateways' programs, which are those of nginx and its forks; Kong's is nginx.
pub const PROGRAMS: [&str; 5] = ["nginx", "nginx-debug", "openresty", "angie", "tengine"];

/// A program's name as the kernel keeps it: 16 bytes, zeros at the end, in two words.
#[must_use]
#[expect(
    clippy::indexing_slicing,
    reason = "the bound stands above it, and slices have no const access"
)]
pub const fn comm(name: &str) -> [u64; 2] {
    let mut bytes = [[0; 8]; 2];
    let mut rest = name.as_bytes();
    let mut at = 0;
    while let [byte, tail @ ..] = rest {
        if at >= 15 {
            break;
        }
        bytes[at / 8][at % 8] = *byte;
        rest = tail;
        at += 1;
    }
    [u64::from_ne_bytes(bytes[0]), u64::from_ne_bytes(bytes[1])]
}
