//! `docs/limits.md` is the code's list of limits: each has a row, each row a limit, a default, a counter and a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the bounds of the core are.
const CORE: [&str; 6] = ["conn", "http", "correlate", "pipeline", "message", "ship"];

/// Parts of the names of constants that are bounds.
const MARKS: [&str; 7] = ["LIMIT", "MOST", "MAX", "LONGEST", "OWED", "CANDIDATE", "KEPT"];

/// Constants that are named like bounds and bound nothing that is held.
const NOT_LIMITS: [&str; 1] = ["MAX_CUT_CHARACTER_BYTES"]; // bytes of a character of UTF-8

fn sources(under: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(under).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// All sources of the agent, by their path under `src`.
fn agent() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// The fields of all `…Limits`, and the constants that are named like bounds.
fn limits_in_code(agent: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut limits = BTreeSet::new();
    let is_core = |name: &str| {
        CORE.iter().any(|module| {
            name.strip_prefix(module)
                .is_some_and(|rest| rest.starts_with(['.', '/']))
        }) && !name.ends_with("tests.rs")
            && !name.contains("/tests/")
    };
    for text in agent
        .iter()
        .filter(|(name, _)| is_core(name))
        .map(|(_, text)| text)
    {
        let mut of = None;
        for line in text.lines().take_while(|line| !line.starts_with("mod tests {")) {
            if let Some(name) = line
                .strip_prefix("pub struct ")
                .and_then(|rest| rest.strip_suffix(" {"))
            {
                of = name.ends_with("Limits").then_some(name);
            } else if line == "}" {
                of = None;
            } else if let (Some(of), Some(field)) = (of, line.strip_prefix("    pub "))
                && !field.ends_with("Limits,")
            {
                limits.insert(format!("{of}.{}", field.split(':').next().unwrap()));
            }
            if let Some((_, constant)) = line.split_once("const ")
                && let Some((name, kind)) = constant.split_once(": ")
                && ["usize", "u64", "u32", "NonZeroUsize"]
                    .iter()
                    .any(|integer| kind.starts_with(integer))
                && MARKS.iter().any(|mark| name.contains(mark))
                && !NOT_LIMITS.contains(&name)
            {
                limits.insert(name.to_owned());
            }
        }
    }
    limits
}

struct Row {
    limit: String,
    default: String,
    configured: String,
    counters: Vec<String>,
    tests: Vec<String>,
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)).unwrap()
}

fn rows() -> Vec<Row> {
    let cell = |cells: &[&str], at: usize| cells[at].trim().to_owned();
    page("limits.md")
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').collect();
            assert_eq!(cells.len(), 9, "{line}");
            Row {
                limit: quoted(cells[1]).remove(0),
                default: cell(&cells, 2),
                configured: cell(&cells, 4),
                counters: if cells[6].trim().starts_with("none") {
                    Vec::new()
                } else {
                    quoted(cells[6])
                },
                tests: quoted(cells[7]),
            }
        })
        .collect()
}

#[test]
fn every_limit_has_a_row_and_every_row_a_limit() {
    let mut written = BTreeSet::new();
    for row in rows() {
        assert!(written.insert(row.limit.clone()), "{} has two rows", row.limit);
    }
    assert_eq!(
        written,
        limits_in_code(&agent()),
        "docs/limits.md (left) and the code differ"
    );
}

#[test]
fn every_limit_has_a_test_that_reaches_it_and_a_counter_that_there_is() {
    let agent = agent();
    let has = |text: &str| agent.values().any(|source| source.contains(text));
    for row in rows() {
        assert!(!row.tests.is_empty(), "{} has no test", row.limit);
        for test in &row.tests {
            assert!(
                has(&format!("fn {test}()")),
                "{}: there is no test {test}",
                row.limit
            );
        }
        for counter in &row.counters {
            assert!(
                has(&format!("\"{counter}\"")),
                "{}: there is no counter {counter}",
                row.limit
            );
        }
    }
}

#[test]
fn defaults_are_those_of_the_configuration() {
    let configuration = page("configuration.md");
    let mut section = "";
    let mut defaults = BTreeMap::new();
    for line in configuration.lines() {
        if let Some((name, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            section = name;
        } else if let Some((key, value)) = line.split_once(" = ") {
            let value = value.split('#').next().unwrap().trim();
            defaults.insert(format!("{section}.{key}"), value.to_owned());
        }
    }
    for row in rows().iter().filter(|row| row.configured.starts_with('`')) {
        let key = quoted(&row.configured).remove(0);
        assert_eq!(defaults.get(&key), Some(&row.default), "{}: {key}", row.limit);
    }
}
