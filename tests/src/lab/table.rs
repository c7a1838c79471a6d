//! The lab's tables. What a message says is somebody's input: control characters do not reach the terminal.

#![expect(clippy::print_stdout, reason = "the lab talks to the person who started it")]

use crate::compare::{Report, Row, Verdict};
use crate::shipped::Shipped;

/// Longest path shown, characters.
const PATH: usize = 44;
/// Longest scope shown, characters.
const SCOPE: usize = 34;

pub(super) fn print_head() {
    println!(
        "{:12}  {:6}  {:PATH$}  {:>6}  {:SCOPE$}  {:>8}  {:>7}",
        "TIME (UTC)", "METHOD", "PATH", "STATUS", "SERVICE/ROUTE/CONSUMER", "BYTES", "MS"
    );
}

pub(super) fn print_message(message: &Shipped) {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    println!(
        "{:12}  {:6}  {:PATH$}  {:>6}  {:SCOPE$}  {:>8}  {:>7}",
        time_of_day(message.request_timestamp),
        cut(&message.method, 6),
        cut(path(&message.url), PATH),
        or_dash(message.status.map(|status| status.to_string())),
        cut(&message.scope.to_string(), SCOPE),
        or_dash(message.size_bytes.map(|bytes| bytes.to_string())),
        or_dash(
            message
                .response_time
                .map(|seconds| format!("{:.1}", seconds * 1000.0))
        ),
    );
}

/// Sent against received, a line for each sample.
pub(super) fn print_report(report: &Report) {
    println!(
        "{:24}  {:8}  {:>6}  {:8}  {:8}  {:12}  VERDICT",
        "SENT", "ID", "STATUS", "ARRIVED", "BODIES", "SCOPE"
    );
    for row in &report.rows {
        let columns = columns(row);
        println!(
            "{:24}  {:8}  {:>6}  {:8}  {:8}  {:12}  {}",
            cut(&row.expected.name, 24),
            row.expected.id.get(..8).unwrap_or(&row.expected.id),
            row.expected.status,
            columns.arrived,
            columns.bodies,
            columns.scope,
            cut(&row.verdict.to_string(), 200),
        );
    }
    for stranger in &report.strangers {
        println!("nobody sent: {}", cut(stranger, 200));
    }
    let same = report
        .rows
        .iter()
        .filter(|row| row.verdict == Verdict::Same)
        .count();
    println!("\n{same} of {} arrived once, as they were", report.rows.len());
}

struct Columns {
    arrived: String,
    bodies: &'static str,
    scope: &'static str,
}

fn columns(row: &Row) -> Columns {
    let (arrived, bodies, scope) = match &row.verdict {
        Verdict::Missing => ("no".to_owned(), "-", "-"),
        Verdict::Doubled(times) => (format!("{times} times"), "-", "-"),
        Verdict::Same => ("once".to_owned(), "equal", "as expected"),
        Verdict::HalfSeen => ("once".to_owned(), "equal", "no consumer"),
        Verdict::Different(differences) => {
            let differs = |what| differences.iter().any(|difference| difference.contains(what));
            (
                "once".to_owned(),
                if differs(" body ") { "differ" } else { "equal" },
                if differs("scope ") {
                    "another"
                } else {
                    "as expected"
                },
            )
        }
    };
    let scope = if row.expected.scope.is_none() {
        "not compared"
    } else {
        scope
    };
    Columns {
        arrived,
        bodies,
        scope,
    }
}

fn path(url: &str) -> &str {
    url.split_once("://")
        .and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..)))
        .unwrap_or(url)
}

/// At most `limit` characters, none of which moves the cursor.
fn cut(text: &str, limit: usize) -> String {
    let mut shown: String = text
        .chars()
        .take(limit)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    if text.chars().count() > limit && shown.pop().is_some() {
        shown.push('…');
    }
    shown
}

/// `13:05:07.123` of Unix seconds.
fn time_of_day(unix_s: f64) -> String {
    let text = format!("{unix_s:.3}");
    let (seconds, milliseconds) = text.split_once('.').unwrap_or((&text, "000"));
    let seconds: u64 = seconds.parse().unwrap_or(0);
    format!(
        "{:02}:{:02}:{:02}.{milliseconds}",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::{cut, path, time_of_day};

    #[test]
    fn cells_are_short_and_harmless() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("a\x1b[2Jb", 9), "a?[2Jb");
        assert_eq!(path("http://127.0.0.1:8000/x?y=1"), "/x?y=1");
        assert_eq!(path("no url"), "no url");
        assert_eq!(time_of_day(1_526_895_422.123), "09:37:02.123");
    }
}
