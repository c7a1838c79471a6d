//! Reads and tries out what the checks of `host` judge.
//!
//! In: `/proc`, `/sys`, and three system calls that leave nothing behind. Out: [`HostFacts`]. Parsing is pure and takes
//! the files' texts. A file that cannot be read is a fact too.

use std::fs;
use std::io::Read as _;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::LazyLock;

use regex::bytes::Regex;

/// Inode of the initial PID namespace (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// Most bytes of BTF that are searched; a distribution's vmlinux has 5 to 10 MiB.
const BTF_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Where tracefs may be mounted.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// What is known of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// `uname -r`.
    pub release: String,
    /// Whether BTF has the type of the `sock_send_length` tracepoint; none without BTF.
    pub btf_has_sock_events: Option<bool>,
    /// Whether tracefs lists the event; none when tracefs is not mounted or not readable.
    pub tracefs_has_sock_events: Option<bool>,
    /// Creating a ring buffer.
    pub ring_buffer: Tried,
    /// Loading a raw tracepoint program.
    pub program: Tried,
    /// Asking for a uprobe; none when the kernel has no such event source.
    pub uprobe: Option<Tried>,
    /// The agent's effective capabilities.
    pub capabilities: Capabilities,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<i32>,
    /// `kernel.perf_event_paranoid`.
    pub perf_event_paranoid: Option<i32>,
    /// The kernel's lockdown mode.
    pub lockdown: Lockdown,
    /// `RLIMIT_MEMLOCK`; none for unlimited.
    pub memlock_bytes: Option<u64>,
    /// Whether the agent's pids are those that programs see; none when that cannot be told.
    pub in_initial_pid_namespace: Option<bool>,
    /// Processors that the agent may use.
    pub cpus: usize,
}

/// What came of trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The kernel did it.
    Works,
    /// The kernel refused, with this error number.
    Refused(i32),
}

/// The kernel's lockdown mode (kernel_lockdown(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    /// `/sys/kernel/security/lockdown` is not there.
    Unknown,
    /// `none`.
    Off,
    /// `integrity`.
    Integrity,
    /// `confidentiality`.
    Confidentiality,
}

macro_rules! capabilities {
    ($($(#[$doc:meta])* $variant:ident = $bit:literal, $name:literal;)*) => {
        /// A capability that matters here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Capability { $($(#[$doc])* $variant,)* }

        impl Capability {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its bit (`include/uapi/linux/capability.h`).
            const fn bit(self) -> u32 {
                match self { $(Self::$variant => $bit,)* }
            }

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

capabilities! {
    /// Reads and lists past file permissions.
    DacReadSearch = 2, "CAP_DAC_READ_SEARCH";
    /// Reads other processes' `/proc`.
    SysPtrace = 19, "CAP_SYS_PTRACE";
    /// Uprobes, where the kernel wants it for them.
    SysAdmin = 21, "CAP_SYS_ADMIN";
    /// Raises limits.
    SysResource = 24, "CAP_SYS_RESOURCE";
    /// Tracing programs.
    Perfmon = 38, "CAP_PERFMON";
    /// Maps and programs.
    Bpf = 39, "CAP_BPF";
    /// Opens `/proc/PID/map_files`.
    CheckpointRestore = 40, "CAP_CHECKPOINT_RESTORE";
}

/// A set of capabilities, as `/proc/self/status` prints it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// Whether a capability is in the set.
    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & (1 << capability.bit()) != 0
    }

    /// The `CapEff` line of `/proc/PID/status`. An unreadable one is the empty set.
    #[must_use]
    pub fn effective(status: &str) -> Self {
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        Self(
            line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
                .unwrap_or(0),
        )
    }
}

impl Lockdown {
    /// `none [integrity] confidentiality`: the mode in brackets is in force.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mode = text
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'))
            .map(|(mode, _)| mode);
        match mode {
            Some("none") => Self::Off,
            Some("integrity") => Self::Integrity,
            Some("confidentiality") => Self::Confidentiality,
            Some(_) | None => Self::Unknown,
        }
    }
}

/// The soft limit in the `Max locked memory` row of `/proc/PID/limits`; none for unlimited or when it cannot be read.
#[must_use]
pub fn memlock_bytes(limits: &str) -> Option<u64> {
    let row = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))?;
    row.split_ascii_whitespace().next()?.parse().ok()
}

/// Looks at this host.
#[must_use]
pub fn facts() -> HostFacts {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    HostFacts {
        release: text("/proc/sys/kernel/osrelease").trim().to_owned(),
        btf_has_sock_events: btf_has_sock_events(Path::new("/sys/kernel/btf/vmlinux")),
        tracefs_has_sock_events: TRACEFS
            .iter()
            .map(|mount| Path::new(mount).join("events"))
            .find(|events| events.is_dir())
            .map(|events| events.join("sock/sock_send_length").is_dir()),
        ring_buffer: try_ring_buffer(),
        program: try_program(),
        uprobe: try_uprobe(),
        capabilities: Capabilities::effective(&text("/proc/self/status")),
        unprivileged_bpf_disabled: text("/proc/sys/kernel/unprivileged_bpf_disabled")
            .trim()
            .parse()
            .ok(),
        perf_event_paranoid: text("/proc/sys/kernel/perf_event_paranoid").trim().parse().ok(),
        lockdown: Lockdown::parse(&text("/sys/kernel/security/lockdown")),
        memlock_bytes: memlock_bytes(&text("/proc/self/limits")),
        in_initial_pid_namespace: fs::metadata("/proc/self/ns/pid")
            .ok()
            .map(|ns| ns.ino() == INITIAL_PID_NAMESPACE),
        cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    }
}

/// The name under which BTF has the tracepoint's arguments.
static SOCK_EVENT_TYPE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new("btf_trace_sock_send_length\0").ok());

fn btf_has_sock_events(path: &Path) -> Option<bool> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .ok()?
        .take(BTF_MAX_BYTES)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(SOCK_EVENT_TYPE.as_ref()?.is_match(&bytes))
}

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_PROG_LOAD: libc::c_long = 5;

/// The leading fields of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
struct MapAttributes {
    map_type: u32,
    key_bytes: u32,
    value_bytes: u32,
    max_entries: u32,
    flags: u32,
}

/// The leading fields of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct ProgramAttributes {
    program_type: u32,
    instructions: u32,
    code: u64,
    license: u64,
}

/// The leading fields of `struct perf_event_attr` (`PERF_ATTR_SIZE_VER1`).
#[repr(C)]
#[derive(Default)]
struct PerfAttributes {
    event_type: u32,
    size_bytes: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint: u32,
    path: u64,
    offset: u64,
}

fn try_ring_buffer() -> Tried {
    const MAP_TYPE_RINGBUF: u32 = 27;
    let attributes = MapAttributes {
        map_type: MAP_TYPE_RINGBUF,
        key_bytes: 0,
        value_bytes: 0,
        // A multiple of the largest page that Linux has on the supported machines.
        max_entries: 64 * 1024,
        flags: 0,
    };
    bpf(BPF_MAP_CREATE, &attributes)
}

fn try_program() -> Tried {
    const RAW_TRACEPOINT: u32 = 17;
    // r0 = 0; exit
    const CODE: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let attributes = ProgramAttributes {
        program_type: RAW_TRACEPOINT,
        instructions: 2,
        code: address(CODE.as_ptr()),
        license: address(c"Dual MIT/GPL".as_ptr()),
    };
    bpf(BPF_PROG_LOAD, &attributes)
}

/// Asks for a uprobe on a file that does not exist: the kernel judges privilege first, and nothing can be placed.
pub(in crate::capture) fn try_uprobe() -> Option<Tried> {
    let event_type = fs::read_to_string("/sys/bus/event_source/devices/uprobe/type").ok()?;
    let attributes = PerfAttributes {
        event_type: event_type.trim().parse().ok()?,
        size_bytes: u32::try_from(size_of::<PerfAttributes>()).ok()?,
        path: address(c"/proc/self/no-such-file".as_ptr()),
        ..PerfAttributes::default()
    };
    let (own_process, any_cpu, no_group, no_flags) = (0, -1, -1, 0_u64);
    #[expect(unsafe_code, reason = "perf_event_open(2) has no wrapper in libc")]
    // SAFETY: `attributes` and the path it points to live through the call, and `size_bytes` is its size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            own_process,
            any_cpu,
            no_group,
            no_flags,
        )
    };
    let tried = outcome(result);
    Some(if tried == Tried::Refused(libc::ENOENT) {
        Tried::Works
    } else {
        tried
    })
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> Tried {
    #[expect(unsafe_code, reason = "bpf(2) has no wrapper in libc")]
    // SAFETY: the kernel reads `size_of::<T>()` bytes, which `attributes` has, and what it points to lives as long.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    outcome(result)
}

/// Closes what the kernel gave, if it gave something.
fn outcome(result: libc::c_long) -> Tried {
    match i32::try_from(result) {
        Ok(fd) if fd >= 0 => {
            #[expect(
                unsafe_code,
                reason = "takes over a descriptor that a raw system call returned"
            )]
            // SAFETY: the kernel has just made `fd` for us, and nothing else knows it.
            let owned = unsafe { OwnedFd::from_raw_fd(fd) };
            drop(owned);
            Tried::Works
        }
        Ok(_) | Err(_) => Tried::Refused(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}

fn address<T>(pointer: *const T) -> u64 {
    u64::try_from(pointer.expose_provenance()).unwrap_or(0)
}
