//! The rules. Each looks at one file's text and says where it is broken; what may break a rule is listed here, with why.

use std::collections::BTreeSet;

use super::source::{Source, is_word};
use super::{Finding, Weight};

/// A file should be shorter than this, lines.
const SOFT_LINES: usize = 400;
/// A file must be shorter than this, lines.
const HARD_LINES: usize = 700;

/// What may break a rule: the file, the word, and why.
#[derive(Clone, Copy, Debug)]
struct Exception {
    path: &'static str,
    word: &'static str,
    #[expect(dead_code, reason = "read by whoever reads the list")]
    why: &'static str,
}

/// Exceptions from "one door to the kernel" and "unsafe only there".
const EXCEPTIONS: [Exception; 1] = [Exception {
    path: "agent/src/clock.rs",
    word: "unsafe",
    why: "CLOCK_MONOTONIC as the probes read it is to be had from libc alone",
}];

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

/// Marks of unfinished work: with an issue number, or not at all.
const MARKS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
/// Paths of somebody's machine.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
];
/// Where every metric is described.
const METRICS_DOC: &str = "docs/metrics.md";

/// Applies every rule to every file.
pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = sources
        .iter()
        .flat_map(|source| {
            let rules = [
                length,
                header,
                kernel_door,
                core,
                message,
                probes,
                unsafe_code,
                leftovers,
                machine_paths,
            ];
            rules.into_iter().flat_map(move |rule| rule(source))
        })
        .collect();
    findings.extend(metrics(sources));
    findings.extend(unused_exceptions(sources));
    findings
}

fn error(source: &Source, line: usize, what: impl Into<String>) -> Finding {
    Finding {
        weight: Weight::Error,
        path: source.path.clone(),
        line,
        what: what.into(),
    }
}

/// Tables and tests may be long.
fn length(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    let name = source.path.rsplit('/').next().unwrap_or_default();
    let is_table = matches!(name, "table.rs" | "tables.rs") || source.path.contains("/tables/");
    if !source.is_rust()
        || is_table
        || name == "tests.rs"
        || source.path.contains("/tests/")
        || lines <= SOFT_LINES
    {
        return vec![];
    }
    if lines <= HARD_LINES {
        let mut finding = error(
            source,
            lines,
            format!("{lines} lines: consider splitting it (soft limit {SOFT_LINES})"),
        );
        finding.weight = Weight::Warning;
        return vec![finding];
    }
    vec![error(
        source,
        lines,
        format!("{lines} lines: split it (hard limit {HARD_LINES})"),
    )]
}

/// A file says what it is for. A `tests.rs` is for the file beside it.
fn header(source: &Source) -> Vec<Finding> {
    let first = source
        .text
        .lines()
        .find(|line| !line.trim().is_empty() && !line.starts_with("#!/"))
        .unwrap_or_default();
    let mark = match source.path.rsplit('.').next() {
        _ if source.path.ends_with("/tests.rs") => return vec![],
        Some("rs") => "//! ",
        Some("lua") => "-- ",
        Some("sh") => "# ",
        _ => return vec![],
    };
    if first.starts_with(mark) {
        return vec![];
    }
    vec![error(
        source,
        1,
        format!("begin with `{mark}…`: what it is for, what comes in, what goes out"),
    )]
}

/// I1.
fn kernel_door(source: &Source) -> Vec<Finding> {
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

/// I2.
fn core(source: &Source) -> Vec<Finding> {
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

/// I7.
fn message(source: &Source) -> Vec<Finding> {
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

/// I8.
fn probes(source: &Source) -> Vec<Finding> {
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
fn unsafe_code(source: &Source) -> Vec<Finding> {
    if starts_with_any(&source.path, &UNSAFE) || is_excepted(&source.path, "unsafe") {
        return vec![];
    }
    (1_usize..)
        .zip(source.code.lines())
        .filter(|(_, text)| has_word(text, "unsafe"))
        .map(|(line, _)| error(source, line, "unsafe: only in ebpf, common and agent/src/capture"))
        .collect()
}

/// Unfinished work has an issue, and no code that gives up.
fn leftovers(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, text) in (1_usize..).zip(source.text.lines()) {
        for mark in MARKS {
            if words(text, mark).any(|(_, after)| !has_issue(after)) {
                findings.push(error(source, line, format!("{mark} needs an issue: {mark}(#12)")));
            }
        }
    }
    for (line, text) in (1_usize..).zip(source.code.lines()) {
        for name in ["todo", "unimplemented"] {
            if words(text, name).any(|(_, after)| after.starts_with('!')) {
                findings.push(error(
                    source,
                    line,
                    format!("{name}!: finish it, or leave it out and open an issue"),
                ));
            }
        }
        if text
            .trim_start()
            .strip_prefix("#[")
            .is_some_and(|tail| words(tail, "ignore").next().is_some())
        {
            findings.push(error(
                source,
                line,
                "an ignored test: mend it, or skip with a printed reason",
            ));
        }
    }
    findings
}

fn has_issue(after: &str) -> bool {
    after
        .strip_prefix("(#")
        .and_then(|tail| tail.split_once(')'))
        .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Nobody's machine is named.
fn machine_paths(source: &Source) -> Vec<Finding> {
    (1_usize..)
        .zip(source.text.lines())
        .flat_map(|(line, text)| {
            MACHINE_PATHS
                .iter()
                .filter(move |path| begins_a_path(text, path))
                .map(move |path| error(source, line, format!("{path}… is a path of one machine")))
        })
        .collect()
}

/// Whether `path` stands in `text` as the beginning of an absolute path, not inside another one or a URL.
fn begins_a_path(text: &str, path: &str) -> bool {
    text.match_indices(path).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        before.is_none_or(|c| !is_word(c) && !matches!(c, '.' | '/' | '-' | '~' | '}'))
    })
}

/// Every metric that the code names is described.
fn metrics(sources: &[Source]) -> Vec<Finding> {
    let Some(described) = sources.iter().find(|source| source.path == METRICS_DOC) else {
        return vec![];
    };
    let telemetry = sources
        .iter()
        .filter(|source| source.path.starts_with("agent/src/"));
    let mut findings = Vec::new();
    let mut said = BTreeSet::new();
    for source in telemetry {
        for (line, text) in source.shipped_uncommented() {
            let quoted = text.split('"').skip(1).step_by(2);
            for name in quoted.filter(|name| is_metric(name)) {
                if !described.text.contains(name) && said.insert(name.to_owned()) {
                    findings.push(error(
                        source,
                        line,
                        format!("metric {name} is not in {METRICS_DOC}"),
                    ));
                }
            }
        }
    }
    findings
}

fn is_metric(name: &str) -> bool {
    name.strip_prefix("kongtap_").is_some_and(|rest| {
        !rest.is_empty()
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    })
}

/// An exception that nothing needs any more goes.
fn unused_exceptions(sources: &[Source]) -> Vec<Finding> {
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

fn starts_with_any(path: &str, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| path.starts_with(beginning))
}

fn has_word(text: &str, word: &str) -> bool {
    words(text, word).next().is_some()
}

/// What stands before and after each `word` that is no part of a longer name.
fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    text.match_indices(word).filter_map(move |(at, _)| {
        let (before, rest) = text.split_at_checked(at)?;
        let after = rest.strip_prefix(word)?;
        let starts = !word.starts_with(is_word) || !before.ends_with(is_word);
        let ends = !word.ends_with(is_word) || !after.starts_with(is_word);
        (starts && ends).then_some((before, after))
    })
}

#[cfg(test)]
mod tests;
