//! What the bench says: a table for people, and an array of `{name, value, unit, low, high}` for programs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::figures::Spread;

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// A name that stays: `plain.sock`.
    pub name: String,
    /// The median.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// Lower quartile.
    pub low: f64,
    /// Upper quartile.
    pub high: f64,
    /// For the reader of the table.
    #[serde(skip)]
    pub title: String,
    /// What it should be, in words; empty where there is nothing to say.
    #[serde(skip)]
    pub target: &'static str,
}

/// All that was found out.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
    missing: Vec<(String, String)>,
    notes: Vec<String>,
}

impl Report {
    /// Adds a figure.
    pub fn figure(
        &mut self,
        name: &str,
        title: &str,
        spread: Option<Spread>,
        unit: &'static str,
        target: &'static str,
    ) {
        match spread {
            Some(Spread { median, low, high }) => self.figures.push(Figure {
                name: name.to_owned(),
                value: median,
                unit,
                low,
                high,
                title: title.to_owned(),
                target,
            }),
            None => self.missing(title, "nothing was measured"),
        }
    }

    /// Says that a figure is missing, and why.
    pub fn missing(&mut self, title: &str, why: &str) {
        self.missing.push((title.to_owned(), why.to_owned()));
    }

    /// Something that whoever reads the figures should know.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Whether nothing at all was measured.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.figures.is_empty()
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:52} {:>10}  {:>21}  {:14} {}\n",
            "", "median", "quartiles", "unit", "target"
        );
        for figure in &self.figures {
            let quartiles = format!("{} to {}", short(figure.low), short(figure.high));
            let line = format!(
                "{:52} {:>10}  {quartiles:>21}  {:14} {}",
                figure.title,
                short(figure.value),
                figure.unit,
                figure.target
            );
            // Writing to a String cannot fail.
            let _written = writeln!(text, "{}", line.trim_end());
        }
        for (title, why) in &self.missing {
            let _written = writeln!(text, "{title:52} not measured: {}", ends(why));
        }
        for note in &self.notes {
            let _written = writeln!(text, "note: {note}");
        }
        text
    }

    /// Writes the figures as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(&self.figures)?;
        text.push('\n');
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }
}

/// A figure with the digits that mean something.
fn short(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 1000.0 {
        format!("{value:.0}")
    } else if magnitude >= 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// An error may hold the end of a program's log: what went wrong is said first, and why last.
fn ends(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    match lines.next_back() {
        Some(last) => format!("{first}: {last}"),
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Report;
    use crate::bench::figures::Spread;

    #[test]
    fn figures_are_in_both_and_what_is_missing_is_said() {
        let mut report = Report::default();
        let spread = Spread {
            median: 2.5,
            low: 2.0,
            high: 1234.4,
        };
        report.figure("plain.sock", "kongtap, sock", Some(spread), "µs", "3.5 at most");
        report.figure("plain.none", "nothing", None, "µs", "");
        report.missing("bpftrace", "it ended\n--- log ---\nno such option\n\n");
        report.note("bytes were lost".to_owned());
        let table = report.table();
        let has = |line: &str| assert!(table.lines().any(|had| had == line), "{table}");
        assert!(
            table.contains("2.50") && table.contains("2.00 to 1234") && table.contains("3.5 at most"),
            "{table}"
        );
        has(&format!("{:52} not measured: nothing was measured", "nothing"));
        has(&format!(
            "{:52} not measured: it ended: no such option",
            "bpftrace"
        ));
        has("note: bytes were lost");

        let file = tempfile::NamedTempFile::new().unwrap();
        report.write_json(file.path()).unwrap();
        let read: Value = serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
        let expect = json!([{"name": "plain.sock", "value": 2.5, "unit": "µs", "low": 2.0, "high": 1234.4}]);
        assert_eq!(read, expect);
    }
}
