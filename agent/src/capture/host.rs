//! What this host offers, as `kongtap doctor` tells it: kernel, tracepoints, ring buffer, privileges, namespaces.
//!
//! In: [`HostFacts`], which [`probe`] reads and tries out. Out: one [`Check`] a row of doctor's table, with what to do
//! where something is missing. The judgement is pure. Where the kernel can be asked by trying (a map, a program, a
//! uprobe) it is tried rather than guessed from its version: vendors backport. Deliberately absent: anything of gateways.

pub mod probe;

use probe::{Capability, HostFacts, Lockdown, Tried};

/// First kernel with the ring buffer, and with `CAP_BPF` and `CAP_PERFMON`.
const RING_BUFFER_SINCE: KernelVersion = KernelVersion(5, 8);
/// First kernel that charges maps to the memory cgroup, so that `RLIMIT_MEMLOCK` no longer counts.
const NO_MEMLOCK_SINCE: KernelVersion = KernelVersion(5, 11);
/// First kernel whose `bpf_task_pt_regs` gives a system call's arguments at its end.
const TASK_REGISTERS_SINCE: KernelVersion = KernelVersion(5, 15);
/// First kernel with the tracepoints `sock_send_length` and `sock_recv_length`.
const SOCK_TRACEPOINTS_SINCE: KernelVersion = KernelVersion(6, 3);
/// Locked memory that maps and ring need on kernels that count it.
const MEMLOCK_MIN_BYTES: u64 = 64 * 1024 * 1024;

/// One row of doctor's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it stands.
    pub state: CheckState,
    /// What was found.
    pub found: String,
    /// What to do about it; none when there is nothing to do.
    pub remedy: Option<String>,
}

/// How a check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// Something is reduced, and the rest works.
    Warning,
    /// Capture cannot work.
    Failed,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        let (state, found, remedy) = (CheckState::Ok, found.into(), None);
        Self {
            name,
            state,
            found,
            remedy,
        }
    }

    fn warning(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            state: CheckState::Warning,
            remedy: Some(remedy.into()),
            ..Self::ok(name, found)
        }
    }

    fn failed(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            state: CheckState::Failed,
            remedy: Some(remedy.into()),
            ..Self::ok(name, found)
        }
    }
}

/// A kernel's major and minor version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion(pub u32, pub u32);

impl KernelVersion {
    /// Reads `uname -r`, such as `6.1.0-32-amd64` or `5.14.0-427.el9`.
    #[must_use]
    pub fn parse(release: &str) -> Option<Self> {
        let mut parts = release.trim().split(|c: char| !c.is_ascii_digit());
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        Some(Self(major, minor))
    }
}

/// Looks at this host. Reads files of `/proc` and `/sys`, and asks the kernel for a small map and a two-instruction
/// program that is attached to nothing.
#[must_use]
pub fn look() -> Vec<Check> {
    checks(&probe::facts())
}

/// Judges a host's facts.
#[must_use]
pub fn checks(facts: &HostFacts) -> Vec<Check> {
    vec![
        kernel(facts),
        bpf(facts),
        socket_tracepoints(facts),
        uprobes(facts),
        capabilities(facts),
        lockdown(facts),
        memory_lock(facts),
        pid_namespace(facts),
        btf(facts),
        tracefs(facts),
        cpus(facts),
    ]
}

fn kernel(facts: &HostFacts) -> Check {
    const NAME: &str = "kernel";
    match KernelVersion::parse(&facts.release) {
        Some(version) if version >= RING_BUFFER_SINCE => Check::ok(NAME, &facts.release),
        Some(_) => Check::failed(
            NAME,
            &facts.release,
            "kongtap needs Linux 5.8 or newer (BPF ring buffer)",
        ),
        None => Check::warning(
            NAME,
            format!("cannot read a version from {:?}", facts.release),
            "see the checks below, which try things out",
        ),
    }
}

fn bpf(facts: &HostFacts) -> Check {
    const NAME: &str = "bpf system call";
    match (facts.ring_buffer, facts.program) {
        (Tried::Works, Tried::Works) => Check::ok(NAME, "a ring buffer and a raw tracepoint program load"),
        (Tried::Refused(libc::ENOSYS), _) => Check::failed(
            NAME,
            "not in this kernel",
            "use a kernel with CONFIG_BPF_SYSCALL=y, or a runtime that passes it (not gVisor)",
        ),
        (Tried::Refused(libc::EINVAL), _) => Check::failed(
            NAME,
            "no ring buffer",
            "kongtap needs Linux 5.8 or newer (BPF ring buffer)",
        ),
        (Tried::Refused(libc::EPERM), _) => Check::failed(
            NAME,
            format!("a map is refused{}", unprivileged_note(facts)),
            "give the agent CAP_BPF (docs/privileges.md); in a container also check that seccomp lets bpf(2) pass",
        ),
        (Tried::Works, Tried::Refused(libc::EPERM)) => Check::failed(
            NAME,
            "a map loads, a tracing program is refused",
            "give the agent CAP_PERFMON beside CAP_BPF (docs/privileges.md)",
        ),
        (Tried::Refused(errno), _) | (Tried::Works, Tried::Refused(errno)) => Check::failed(
            NAME,
            format!("refused with error {errno}"),
            "see bpf(2) for what this error means",
        ),
    }
}

fn unprivileged_note(facts: &HostFacts) -> String {
    match facts.unprivileged_bpf_disabled {
        Some(value) => {
            format!(" (kernel.unprivileged_bpf_disabled = {value}; kongtap needs privilege whatever it is)")
        }
        None => String::new(),
    }
}

fn socket_tracepoints(facts: &HostFacts) -> Check {
    const NAME: &str = "socket tracepoints";
    let version = KernelVersion::parse(&facts.release);
    let (present, how) = match (facts.tracefs_has_sock_events, facts.btf_has_sock_events) {
        (Some(present), _) => (present, "by tracefs"),
        (None, Some(present)) => (present, "by BTF"),
        (None, None) => (version >= Some(SOCK_TRACEPOINTS_SINCE), "by kernel version"),
    };
    if present {
        return Check::ok(NAME, format!("sock_send_length, sock_recv_length ({how})"));
    }
    if version >= Some(TASK_REGISTERS_SINCE) {
        Check::warning(
            NAME,
            format!("none ({how}); capture.sockets = \"sock\" cannot work here"),
            "system call tracepoints are the other source, at about 50 ns a call for every process; or use Linux 6.3 or newer",
        )
    } else {
        Check::failed(
            NAME,
            format!("none ({how}), and no task registers"),
            "use Linux 6.3 or newer, or 5.15 or newer with capture.sockets = \"syscalls\"",
        )
    }
}

fn uprobes(facts: &HostFacts) -> Check {
    const NAME: &str = "uprobes (TLS)";
    const PLAIN_GOES_ON: &str = "plain traffic is captured without; for TLS";
    match facts.uprobe {
        None => Check::warning(
            NAME,
            "not in this kernel",
            format!("{PLAIN_GOES_ON} use a kernel with CONFIG_UPROBE_EVENTS=y, and let /sys be seen"),
        ),
        Some(Tried::Works) => Check::ok(NAME, "may be placed"),
        Some(Tried::Refused(libc::EACCES | libc::EPERM)) => Check::warning(
            NAME,
            format!("refused{}", paranoid_note(facts)),
            format!(
                "{PLAIN_GOES_ON} add CAP_SYS_ADMIN: kernels of 2025 and later take uprobes from no lesser one (docs/privileges.md)"
            ),
        ),
        Some(Tried::Refused(errno)) => Check::warning(
            NAME,
            format!("refused with error {errno}"),
            format!("{PLAIN_GOES_ON} see perf_event_open(2) for what this error means"),
        ),
    }
}

fn paranoid_note(facts: &HostFacts) -> String {
    match facts.perf_event_paranoid {
        Some(value) => format!(" (kernel.perf_event_paranoid = {value})"),
        None => String::new(),
    }
}

fn capabilities(facts: &HostFacts) -> Check {
    const NAME: &str = "capabilities";
    let held = facts.capabilities;
    // CAP_SYS_ADMIN stands in for the three that were split off from it.
    let admin = held.has(Capability::SysAdmin);
    let required = [
        (Capability::Bpf, admin, "load programs and maps"),
        (
            Capability::Perfmon,
            admin,
            "attach to tracepoints and read memory in programs",
        ),
        (
            Capability::SysPtrace,
            false,
            "read the gateway's maps, executable and mount namespace in /proc",
        ),
        (
            Capability::DacReadSearch,
            false,
            "list the descriptors of workers that run as another user",
        ),
    ];
    let missing: Vec<_> = required
        .iter()
        .filter(|(capability, covered, _)| !covered && !held.has(*capability))
        .collect();
    let names = |list: &[Capability]| {
        let names: Vec<&str> = list.iter().map(|capability| capability.name()).collect();
        names.join(" ")
    };
    if missing.is_empty() {
        let all: Vec<Capability> = Capability::ALL
            .iter()
            .copied()
            .filter(|one| held.has(*one))
            .collect();
        return Check::ok(NAME, names(&all));
    }
    let remedy: Vec<String> = missing
        .iter()
        .map(|(capability, _, purpose)| format!("{} to {purpose}", capability.name()))
        .collect();
    let remedy = format!("run as root, or add {} (docs/privileges.md)", remedy.join("; "));
    let missing_names: Vec<Capability> = missing.iter().map(|(capability, ..)| *capability).collect();
    let found = format!("missing {}", names(&missing_names));
    let fatal = [Capability::Bpf, Capability::Perfmon];
    if missing_names.iter().any(|capability| fatal.contains(capability)) {
        Check::failed(NAME, found, remedy)
    } else {
        Check::warning(NAME, found, remedy)
    }
}

fn lockdown(facts: &HostFacts) -> Check {
    const NAME: &str = "lockdown";
    match facts.lockdown {
        Lockdown::Unknown => Check::ok(NAME, "not in this kernel, or securityfs is not mounted"),
        Lockdown::Off => Check::ok(NAME, "none"),
        Lockdown::Integrity => Check::ok(NAME, "integrity (does not concern kongtap)"),
        Lockdown::Confidentiality => Check::failed(
            NAME,
            "confidentiality: programs may not read kernel memory",
            "boot with lockdown=integrity; kongtap only reads, and that is what this mode forbids",
        ),
    }
}

fn memory_lock(facts: &HostFacts) -> Check {
    const NAME: &str = "locked memory";
    if KernelVersion::parse(&facts.release) >= Some(NO_MEMLOCK_SINCE) {
        return Check::ok(NAME, "not limited by RLIMIT_MEMLOCK since Linux 5.11");
    }
    match facts.memlock_bytes {
        None => Check::ok(NAME, "unlimited"),
        Some(bytes) if bytes >= MEMLOCK_MIN_BYTES => Check::ok(NAME, format!("{bytes} bytes")),
        Some(_) if facts.capabilities.has(Capability::SysResource) => {
            Check::ok(NAME, "limited, and CAP_SYS_RESOURCE may raise it")
        }
        Some(bytes) => Check::warning(
            NAME,
            format!("{bytes} bytes"),
            "set LimitMEMLOCK=infinity (systemd) or ulimit -l unlimited; kernels before 5.11 count maps against it",
        ),
    }
}

fn pid_namespace(facts: &HostFacts) -> Check {
    const NAME: &str = "PID namespace";
    match facts.in_initial_pid_namespace {
        Some(true) => Check::ok(NAME, "the host's"),
        Some(false) => Check::failed(
            NAME,
            "one of the agent's own: programs see the host's pids, so no gateway would ever match",
            "set hostPID: true in the pod, or docker run --pid=host",
        ),
        None => Check::warning(
            NAME,
            "cannot be told: /proc/self/ns/pid is not readable",
            "mount /proc; in a pod set hostPID: true",
        ),
    }
}

fn btf(facts: &HostFacts) -> Check {
    const NAME: &str = "BTF";
    match facts.btf_has_sock_events {
        Some(_) => Check::ok(NAME, "/sys/kernel/btf/vmlinux"),
        None => Check::failed(
            NAME,
            "/sys/kernel/btf/vmlinux is not readable",
            "use a kernel with CONFIG_DEBUG_INFO_BTF=y and let /sys be seen: programs find kernel fields by it",
        ),
    }
}

fn tracefs(facts: &HostFacts) -> Check {
    const NAME: &str = "tracefs";
    match facts.tracefs_has_sock_events {
        Some(_) => Check::ok(NAME, "mounted (kongtap does not need it)"),
        None => Check::ok(NAME, "not mounted (kongtap does not need it)"),
    }
}

fn cpus(facts: &HostFacts) -> Check {
    Check::ok("CPUs", facts.cpus.to_string())
}

#[cfg(test)]
mod tests;
