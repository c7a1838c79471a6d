//! A configuration file's text as a tree, and the mistakes found in one.
//!
//! In: the bytes of a YAML or JSON file. Out: a [`serde_json::Value`], or a [`Mistake`] with line and column. Deliberately
//! absent: what the tree means.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use serde_saphyr::options::AliasLimits;

/// The largest configuration file that is read, bytes.
pub const MAX_FILE_BYTES: usize = 64 << 20;
/// The most YAML nodes in one file, aliases expanded.
const MAX_NODES: usize = 4_000_000;
/// The most YAML events that aliases may replay in one file.
const MAX_REPLAYED_EVENTS: usize = 250_000;
/// The deepest nesting of a YAML file.
const MAX_DEPTH: usize = 64;

/// A configuration file as it was read.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// What messages call it.
    pub name: Arc<str>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A user's mistake in a configuration: what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file, page or variable.
    pub origin: Arc<str>,
    /// Where in it.
    pub place: Place,
    /// What is wrong and what to write instead.
    pub text: String,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    Whole,
    /// Line and column, from 1.
    Position(u64, u64),
    /// A key path such as `services[2].routes[0].paths`.
    Path(String),
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Whole => write!(f, "{}: {}", self.origin, self.text),
            Place::Position(line, column) => write!(f, "{}:{line}:{column}: {}", self.origin, self.text),
            Place::Path(path) => write!(f, "{}: {path}: {}", self.origin, self.text),
        }
    }
}

/// All mistakes of a configuration, in the order in which they stand there. Prints one a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

/// Parses a file as JSON when its name ends so or it begins with `{`, otherwise as YAML. An empty file is `null`.
///
/// # Errors
/// Not UTF-8, too large, or not well formed: with the place.
pub fn parse(file: &SourceFile) -> Result<Value, Mistake> {
    let wrong = |place, text| Mistake {
        origin: Arc::clone(&file.name),
        place,
        text,
    };
    if file.bytes.len() > MAX_FILE_BYTES {
        let text = format!("is larger than {MAX_FILE_BYTES} bytes");
        return Err(wrong(Place::Whole, text));
    }
    let text = match str::from_utf8(&file.bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let text = format!("is not UTF-8 from byte {}", error.valid_up_to());
            return Err(wrong(Place::Whole, text));
        }
    };
    let is_json = file.name.ends_with(".json") || text.trim_start().starts_with('{');
    if is_json && let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    if file.name.ends_with(".json") {
        return json(text).map_err(|(place, text)| wrong(place, text));
    }
    // What begins with `{` and is no JSON may still be YAML in flow style.
    yaml(text).map_err(|(place, text)| wrong(place, text))
}

fn json(text: &str) -> Result<Value, (Place, String)> {
    serde_json::from_str(text).map_err(|error| {
        let line = u64::try_from(error.line()).unwrap_or(u64::MAX);
        let column = u64::try_from(error.column()).unwrap_or(u64::MAX);
        (
            Place::Position(line, column),
            format!("is not valid JSON: {error}"),
        )
    })
}

fn yaml(text: &str) -> Result<Value, (Place, String)> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    let mut limits = AliasLimits::default();
    limits.max_total_replayed_events = MAX_REPLAYED_EVENTS;
    let options = serde_saphyr::options! {
        with_snippet: false,
        alias_limits: limits,
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_events: MAX_NODES.saturating_mul(2),
            max_depth: MAX_DEPTH,
            max_recorded_anchor_events: MAX_REPLAYED_EVENTS,
            flow_nesting_limit: MAX_DEPTH,
            max_total_scalar_bytes: MAX_FILE_BYTES,
        },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error
            .location()
            .map_or(Place::Whole, |at| Place::Position(at.line(), at.column()));
        // The location is in front already; the first line says what is wrong.
        let said = error.without_snippet().to_string();
        let said = said.lines().next().unwrap_or("unreadable");
        (place, format!("is not valid YAML: {said}"))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::{Place, SourceFile, parse};

    fn file(name: &str, text: impl Into<Vec<u8>>) -> SourceFile {
        SourceFile {
            name: Arc::from(name),
            bytes: text.into(),
        }
    }

    #[test]
    fn malformed_files_are_refused_with_line_and_column() {
        for (name, text, line) in [
            ("a.yml", "services:\n- name: a\n  routes: [\n", 3),
            ("a.yml", "services:\n- name: a\n name: b\n", 3),
            ("a.json", "{\n\"services\": [}\n", 2),
            ("a.yml", "a: 1\na: 2\n", 2),
        ] {
            let mistake = parse(&file(name, text)).expect_err(text);
            assert!(
                matches!(mistake.place, Place::Position(at, _) if at == line),
                "{text:?}: {mistake}"
            );
            assert!(
                mistake.to_string().starts_with(&format!("{name}:{line}:")),
                "{mistake}"
            );
        }
        assert_eq!(
            parse(&file("a.yml", [0xff])).map_err(|m| m.place),
            Err(Place::Whole)
        );
    }

    #[test]
    fn an_alias_bomb_is_refused_and_not_expanded() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..30 {
            let previous = level - 1;
            let aliases = vec![format!("*a{previous}"); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert!(parse(&file("bomb.yml", text)).is_err());
    }

    #[test]
    fn depth_is_bounded() {
        for (name, text) in [
            ("flow.yml", "[".repeat(100_000)),
            ("a.json", "[".repeat(100_000)),
            ("b.yml", "- ".repeat(5_000)),
        ] {
            assert!(parse(&file(name, text)).is_err(), "{name}");
        }
    }

    #[test]
    fn yaml_aliases_and_merge_keys_work() {
        let text = "base: &base {enabled: true}\nservices: [{<<: *base, name: a}]\n";
        let value = parse(&file("a.yml", text)).expect("it parses");
        assert_eq!(value["services"][0]["enabled"], true);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), json in any::<bool>()) {
            drop(parse(&file(if json { "a.json" } else { "a.yml" }, bytes)));
        }
    }
}
