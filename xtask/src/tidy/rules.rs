//! The rules. Each looks at one file's text and says where it is broken. The invariants of the design are in [`invariants`].

use std::collections::BTreeSet;

use super::source::{Source, is_word};
use super::{Finding, Weight};

mod invariants;

use invariants::{core, kernel_door, message, probes, unsafe_code, unused_exceptions};

/// A file should be shorter than this, lines.
const SOFT_LINES: usize = 400;
/// A file must be shorter than this, lines.
const HARD_LINES: usize = 700;

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
