use super::probe::{Capabilities, Capability, HostFacts, Lockdown, Tried, facts, memlock_bytes};
use super::{CheckState, KernelVersion, checks};

/// Bits of all capabilities that matter.
const ALL: Capabilities = Capabilities(1 << 2 | 1 << 19 | 1 << 21 | 1 << 24 | 1 << 38 | 1 << 39 | 1 << 40);

fn good() -> HostFacts {
    HostFacts {
        release: "6.12.9-amd64".to_owned(),
        btf_has_sock_events: Some(true),
        tracefs_has_sock_events: None,
        ring_buffer: Tried::Works,
        program: Tried::Works,
        uprobe: Some(Tried::Works),
        capabilities: ALL,
        unprivileged_bpf_disabled: Some(2),
        perf_event_paranoid: Some(2),
        lockdown: Lockdown::Unknown,
        memlock_bytes: Some(8 << 20),
        in_initial_pid_namespace: Some(true),
        cpus: 2,
    }
}

/// The one row by name: its state, and a text that `found` or `remedy` must hold.
fn check(change: impl FnOnce(&mut HostFacts), name: &str, state: CheckState, says: &str) {
    let mut facts = good();
    change(&mut facts);
    let rows = checks(&facts);
    let row = rows.iter().find(|row| row.name == name).expect(name);
    assert_eq!(row.state, state, "{row:?}");
    let text = format!("{} | {}", row.found, row.remedy.as_deref().unwrap_or(""));
    assert!(text.contains(says), "{says:?} in {text:?}");
    assert_eq!(row.remedy.is_none(), state == CheckState::Ok, "{row:?}");
}

#[test]
fn a_good_host_has_nothing_to_do() {
    for row in checks(&good()) {
        assert_eq!((row.state, row.remedy.clone()), (CheckState::Ok, None), "{row:?}");
    }
}

#[test]
fn each_lack_is_told_with_its_remedy() {
    use CheckState::{Failed, Ok, Warning};
    let release = |text: &'static str| move |facts: &mut HostFacts| facts.release = text.to_owned();
    check(release("5.4.0-200-generic"), "kernel", Failed, "5.8");
    check(release("odd"), "kernel", Warning, "odd");
    check(
        |facts| facts.ring_buffer = Tried::Refused(libc::ENOSYS),
        "bpf system call",
        Failed,
        "CONFIG_BPF_SYSCALL",
    );
    check(
        |facts| facts.ring_buffer = Tried::Refused(libc::EINVAL),
        "bpf system call",
        Failed,
        "ring buffer",
    );
    check(
        |facts| facts.ring_buffer = Tried::Refused(libc::EPERM),
        "bpf system call",
        Failed,
        "CAP_BPF",
    );
    check(
        |facts| facts.program = Tried::Refused(libc::EPERM),
        "bpf system call",
        Failed,
        "CAP_PERFMON",
    );
    check(
        |facts| facts.program = Tried::Refused(libc::E2BIG),
        "bpf system call",
        Failed,
        "error 7",
    );
    check(
        |facts| facts.uprobe = Some(Tried::Refused(libc::EACCES)),
        "uprobes (TLS)",
        Warning,
        "CAP_SYS_ADMIN",
    );
    check(
        |facts| facts.uprobe = None,
        "uprobes (TLS)",
        Warning,
        "CONFIG_UPROBE_EVENTS",
    );
    check(
        |facts| facts.lockdown = Lockdown::Confidentiality,
        "lockdown",
        Failed,
        "lockdown=integrity",
    );
    check(
        |facts| facts.lockdown = Lockdown::Integrity,
        "lockdown",
        Ok,
        "integrity",
    );
    check(
        |facts| facts.in_initial_pid_namespace = Some(false),
        "PID namespace",
        Failed,
        "hostPID: true",
    );
    check(
        |facts| facts.in_initial_pid_namespace = None,
        "PID namespace",
        Warning,
        "/proc",
    );
    check(
        |facts| facts.btf_has_sock_events = None,
        "BTF",
        Failed,
        "CONFIG_DEBUG_INFO_BTF",
    );
    check(
        |facts| facts.tracefs_has_sock_events = Some(true),
        "tracefs",
        Ok,
        "mounted",
    );
}

#[test]
fn socket_tracepoints_are_found_by_the_best_witness() {
    use CheckState::{Failed, Ok, Warning};
    let name = "socket tracepoints";
    let host = |release: &'static str, tracefs, btf| {
        move |facts: &mut HostFacts| {
            facts.release = release.to_owned();
            facts.tracefs_has_sock_events = tracefs;
            facts.btf_has_sock_events = btf;
        }
    };
    check(host("6.1.0", Some(true), Some(false)), name, Ok, "by tracefs");
    // A vendor's backport.
    check(host("5.14.0-503.el9", None, Some(true)), name, Ok, "by BTF");
    check(host("6.3.0", None, None), name, Ok, "by kernel version");
    check(host("6.1.0-32-amd64", None, Some(false)), name, Warning, "50 ns");
    check(host("6.2.0", None, None), name, Warning, "system call");
    check(host("5.10.0", None, Some(false)), name, Failed, "6.3");
}

#[test]
fn capabilities_that_lack_are_named_with_their_purpose() {
    use CheckState::{Failed, Ok, Warning};
    let name = "capabilities";
    let bits = |list: &'static [Capability]| {
        move |facts: &mut HostFacts| {
            let bit = |one: &Capability| {
                (0..64)
                    .map(|bit| 1_u64 << bit)
                    .find(|bit| Capabilities(*bit).has(*one))
            };
            facts.capabilities = Capabilities(list.iter().filter_map(bit).sum());
        }
    };
    use Capability::{Bpf, DacReadSearch, Perfmon, SysAdmin, SysPtrace};
    check(bits(&[]), name, Failed, "CAP_BPF to load");
    check(
        bits(&[Bpf, SysPtrace, DacReadSearch]),
        name,
        Failed,
        "missing CAP_PERFMON",
    );
    check(
        bits(&[Bpf, Perfmon]),
        name,
        Warning,
        "missing CAP_SYS_PTRACE CAP_DAC_READ_SEARCH",
    );
    check(
        bits(&[Bpf, Perfmon, SysPtrace, DacReadSearch]),
        name,
        Ok,
        "CAP_PERFMON CAP_BPF",
    );
    check(
        bits(&[SysAdmin, SysPtrace, DacReadSearch]),
        name,
        Ok,
        "CAP_SYS_ADMIN",
    );
    check(bits(&[SysAdmin]), name, Warning, "missing CAP_SYS_PTRACE");
}

#[test]
fn locked_memory_counts_on_old_kernels_only() {
    use CheckState::{Ok, Warning};
    let name = "locked memory";
    let host = |release: &'static str, memlock, capabilities| {
        move |facts: &mut HostFacts| {
            facts.release = release.to_owned();
            facts.memlock_bytes = memlock;
            facts.capabilities = capabilities;
        }
    };
    let none = Capabilities::default();
    check(host("5.11.0", Some(65536), none), name, Ok, "5.11");
    check(host("5.10.0", None, none), name, Ok, "unlimited");
    check(host("5.10.0", Some(1 << 30), none), name, Ok, "bytes");
    check(host("5.10.0", Some(65536), ALL), name, Ok, "CAP_SYS_RESOURCE");
    check(host("5.10.0", Some(65536), none), name, Warning, "LimitMEMLOCK");
}

#[test]
fn files_of_the_kernel_are_read() {
    for (release, expected) in [
        ("6.18.44-fc-v657", Some(KernelVersion(6, 18))),
        ("5.14.0-427.13.1.el9_4.x86_64\n", Some(KernelVersion(5, 14))),
        ("6.8", Some(KernelVersion(6, 8))),
        ("6", None),
        ("", None),
        ("x.y", None),
    ] {
        assert_eq!(KernelVersion::parse(release), expected, "{release}");
    }
    for (text, expected) in [
        ("[none] integrity confidentiality\n", Lockdown::Off),
        ("none [integrity] confidentiality\n", Lockdown::Integrity),
        ("none integrity [confidentiality]\n", Lockdown::Confidentiality),
        ("", Lockdown::Unknown),
        ("[else]", Lockdown::Unknown),
    ] {
        assert_eq!(Lockdown::parse(text), expected, "{text}");
    }
    let status = "Name:\tkongtap\nCapInh:\t0000000000000000\nCapEff:\t000000c000080004\n";
    let held = Capabilities::effective(status);
    assert!(held.has(Capability::Bpf) && held.has(Capability::Perfmon) && held.has(Capability::SysPtrace));
    assert!(!held.has(Capability::SysAdmin));
    assert_eq!(Capabilities::effective("CapEff:\tzz"), Capabilities(0));
    let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                  Max locked memory         8388608              8388608              bytes\n";
    assert_eq!(memlock_bytes(limits), Some(8_388_608));
    assert_eq!(
        memlock_bytes("Max locked memory         unlimited            unlimited            bytes"),
        None
    );
}

#[test]
fn this_host_can_be_looked_at() {
    let facts = facts();
    assert!(KernelVersion::parse(&facts.release).is_some(), "{facts:?}");
    assert!(facts.cpus > 0);
    // Whatever is refused is refused for a reason that the table knows.
    for tried in [facts.ring_buffer, facts.program] {
        assert!(
            matches!(
                tried,
                Tried::Works | Tried::Refused(libc::EPERM | libc::ENOSYS | libc::EINVAL)
            ),
            "{facts:?}"
        );
    }
    let admin = facts.capabilities.has(Capability::SysAdmin);
    assert!(
        !admin || facts.uprobe.is_none_or(|uprobe| uprobe == Tried::Works),
        "{facts:?}"
    );
}
