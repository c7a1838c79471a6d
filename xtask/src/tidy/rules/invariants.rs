//! The design's invariants, as far as the source text shows them: one door to the kernel (I1), the sans-IO core (I2), messages
//! made in one place (I7), probes that only look (I8), and where `unsafe` may stand. What may break one is listed here, with
//! why.

use super::{error, has_word, starts_with_any, words};
use crate::tidy::Finding;
use crate::tidy::source::{Source, is_word};

/// What may break a rule: the file, the word, and why.
#[derive(Clone, Copy, Debug)]
struct Exception {
    path: &'static str,
    word: &'static str,
    #[expect(dead_code, reason = "read by whoever reads the list")]
    why: &'static str,
}

/// Exceptions from "one door to the kernel" and "unsafe only there".
const EXCEPTIONS: [Exception; 2] = [
    Exception {
        path: "agent/src/clock.rs",
        word: "unsafe",
        why: "CLOCK_MONOTONIC as the probes read it is to be had from libc alone",
    },
    Exception {
        path: "tests/openssl/server.rs",
        word: "unsafe",
        why: "calls OpenSSL's C interface, which is what it is for",
    },
];

/// I1: who knows the kernel.
const CAPTURE: [&str; 2] = ["agent/src/capture.rs", "agent/src/capture/"];
/// Words of the kernel's.
const KERNEL_WORDS: [&str; 3] = ["aya", "procfs", "aya_obj"];
/// The directory that only capture reads.
const PROC: &str = "\"/proc";

/// I2: the core, and what in it is no part of the core.
const CORE: [&str; 6] = ["conn", "http", "correlate", "gateway", "plugin", "message"];
const NOT_CORE: [&str; 3] = [
    "agent/src/gateway/source",
    "agent/src/plugin/store",
    "agent/src/plugin/watch",
];
/// What the core does not do: IO, clocks, threads, locks.
const CORE_WORDS: [(&str, &str); 16] = [
    ("std::fs", "read files in a source"),
    ("fs::", "read files in a source"),
    ("std::env", "read the environment in config"),
    ("std::process", "start programs elsewhere"),
    ("std::thread", "spawn in app"),
    ("thread::spawn", "spawn in app"),
    ("tokio", "wait elsewhere"),
    ("reqwest", "connect elsewhere"),
    ("Mutex", "have one owner instead"),
    ("RwLock", "have one owner instead"),
    ("Instant", "take `now` as a parameter"),
    ("SystemTime", "take `now` as a parameter"),
    ("TcpListener", "listen in admin"),
    ("TcpStream", "connect elsewhere"),
    ("UdpSocket", "connect elsewhere"),
    ("UnixStream", "connect elsewhere"),
];

/// I8: helpers of the kernel's that change what they watch.
const WRITING_HELPERS: [&str; 6] = [
    "bpf_probe_write_user",
    "bpf_override_return",
    "bpf_send_signal",
    "bpf_send_signal_thread",
    "bpf_sys_bpf",
    "bpf_sys_close",
];
/// I8: program types that only look.
const LOOKING_PROGRAMS: [&str; 6] = [
    "uprobe",
    "uretprobe",
    "raw_tracepoint",
    "tracepoint",
    "btf_tracepoint",
    "perf_event",
];
/// I8: the other program types of aya-ebpf's.
const OTHER_PROGRAMS: [&str; 26] = [
    "cgroup_device",
    "cgroup_skb",
    "cgroup_sock",
    "cgroup_sock_addr",
    "cgroup_sockopt",
    "cgroup_sysctl",
    "classifier",
    "fentry",
    "fexit",
    "flow_dissector",
    "kprobe",
    "kretprobe",
    "lsm",
    "lsm_cgroup",
    "sk_lookup",
    "sk_msg",
    "sk_reuseport",
    "sk_skb",
    "sock_ops",
    "socket_filter",
    "stream_parser",
    "stream_verdict",
    "xdp",
    "struct_ops",
    "iter",
    "freplace",
];

/// Where `unsafe` may stand.
const UNSAFE: [&str; 4] = [
    "ebpf/",
    "common/src/",
    "agent/src/capture.rs",
    "agent/src/capture/",
];

/// I1: the kernel is known in one place.
pub(super) fn kernel_door(source: &Source) -> Vec<Finding> {
    let is_watched = source.path.starts_with("agent/src/") || source.path.starts_with("inspector/src/");
    if !is_watched || starts_with_any(&source.path, &CAPTURE) {
        return vec![];
    }
    let words = source.shipped_code().flat_map(|(line, text)| {
        KERNEL_WORDS
            .iter()
            .filter(move |word| has_word(text, word))
            .map(move |word| (line, *word))
    });
    let paths = source
        .shipped_uncommented()
        .filter(|(_, text)| text.contains(PROC))
        .map(|(line, _)| (line, PROC));
    words
        .chain(paths)
        .filter(|(_, word)| !is_excepted(&source.path, word))
        .map(|(line, word)| {
            error(
                source,
                line,
                format!("{word}: only agent/src/capture knows the kernel (I1)"),
            )
        })
        .collect()
}

/// I2: the core does no IO.
pub(super) fn core(source: &Source) -> Vec<Finding> {
    if !is_core(&source.path) {
        return vec![];
    }
    source
        .shipped_code()
        .flat_map(|(line, text)| {
            CORE_WORDS
                .iter()
                .filter(move |(word, _)| has_word(text, word))
                .map(move |(word, instead)| {
                    error(
                        source,
                        line,
                        format!("{word} in the sans-IO core: {instead} (I2)"),
                    )
                })
        })
        .collect()
}

fn is_core(path: &str) -> bool {
    let Some(inside) = path.strip_prefix("agent/src/") else {
        return false;
    };
    let module = inside.split(['/', '.']).next().unwrap_or_default();
    CORE.contains(&module) && !starts_with_any(path, &NOT_CORE)
}

/// I7: messages are made in one place.
pub(super) fn message(source: &Source) -> Vec<Finding> {
    let is_home = starts_with_any(&source.path, &["agent/src/message.rs", "agent/src/message/"]);
    if !source.path.starts_with("agent/src/") || is_home {
        return vec![];
    }
    source
        .shipped_code()
        .filter(|(_, text)| constructs_message(text))
        .map(|(line, _)| error(source, line, "a Message is made by message::build alone (I7)"))
        .collect()
}

/// Whether the line holds `Message {` where a value is made: not after a keyword or an arrow.
fn constructs_message(text: &str) -> bool {
    words(text, "Message").any(|(before, after)| {
        let before = before.trim_end();
        let keyword = before.rsplit(|c: char| !is_word(c)).next().unwrap_or_default();
        let is_type = matches!(
            keyword,
            "struct" | "enum" | "impl" | "for" | "trait" | "mod" | "union"
        ) || before.ends_with("->")
            || before.ends_with('&')
            || before.ends_with('<');
        after.trim_start().starts_with('{') && !is_type
    })
}

/// I8: probes only look.
pub(super) fn probes(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with("ebpf/") || !source.is_rust() {
        return vec![];
    }
    let mut findings = Vec::new();
    for (line, text) in (1_usize..).zip(source.code.lines()) {
        for helper in WRITING_HELPERS.iter().filter(|helper| has_word(text, helper)) {
            findings.push(error(
                source,
                line,
                format!("{helper}: observing does not change the observed (I8)"),
            ));
        }
        let attribute = text
            .trim_start()
            .strip_prefix("#[")
            .map(|tail| tail.split(|c| !is_word(c)).next().unwrap_or_default());
        if let Some(program) = attribute.filter(|name| OTHER_PROGRAMS.contains(name)) {
            let allowed = LOOKING_PROGRAMS.join(", ");
            findings.push(error(
                source,
                line,
                format!("{program}: only program types that look: {allowed} (I8)"),
            ));
        }
    }
    findings
}

/// Unsafe code has its places.
pub(super) fn unsafe_code(source: &Source) -> Vec<Finding> {
    if starts_with_any(&source.path, &UNSAFE) || is_excepted(&source.path, "unsafe") {
        return vec![];
    }
    (1_usize..)
        .zip(source.code.lines())
        .filter(|(_, text)| has_word(text, "unsafe"))
        .map(|(line, _)| error(source, line, "unsafe: only in ebpf, common and agent/src/capture"))
        .collect()
}

/// An exception that nothing needs any more goes.
pub(super) fn unused_exceptions(sources: &[Source]) -> Vec<Finding> {
    EXCEPTIONS
        .iter()
        .filter_map(|exception| {
            let source = sources.iter().find(|source| source.path == exception.path)?;
            let is_used = source
                .uncommented
                .lines()
                .any(|text| has_word(text, exception.word));
            (!is_used).then(|| {
                error(
                    source,
                    1,
                    format!("needs no exception for {} any more", exception.word),
                )
            })
        })
        .collect()
}

fn is_excepted(path: &str, word: &str) -> bool {
    EXCEPTIONS
        .iter()
        .any(|exception| exception.path == path && exception.word == word)
}
