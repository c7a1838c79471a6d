//! What `kong.completeness` says is missing, as lines to read.
//!
//! In: a message's `kong` object, of whatever shape. Out: one line for each statement that something is not whole.
//! Deliberately absent: a fixed schema. The agent may say more next year, and an old inspector must still show it.

use serde_json::Value;

/// Deeper members are not looked at.
const DEPTH: usize = 6;
/// More lines than this are not made.
const LINES: usize = 32;

/// Strings that say that nothing is missing.
const WHOLE: &[&str] = &["", "complete", "full", "none", "ok", "whole"];
/// In a member's name: `false` is the bad news, whereas elsewhere `true` is.
const GOOD_NAMES: &[&str] = &["complete", "full", "whole"];
/// Members that say something in one word, and what that means.
const PLAIN_WORDS: &[(&str, &str)] = &[("shed_in_queue", "body left out under pressure")];
/// In a member's name: any number but zero is bad news.
const LOSS_NAMES: &[&str] = &[
    "cut",
    "drop",
    "gap",
    "hole",
    "lost",
    "missing",
    "omitted",
    "truncated",
    "unseen",
];

/// One line for each thing that `kong.completeness` says is missing; none when all is there or nothing is said.
#[must_use]
pub fn completeness_marks(kong: &Value) -> Vec<String> {
    let mut marks = Vec::new();
    if let Some(completeness) = kong.get("completeness") {
        collect(completeness, "", "", DEPTH, &mut marks);
    }
    marks
}

/// `key` is the member's own name, `path` all the names down to it, to be read.
fn collect(value: &Value, key: &str, path: &str, depth: usize, marks: &mut Vec<String>) {
    if marks.len() >= LINES {
        return;
    }
    match value {
        Value::Null => {}
        Value::Bool(said) => {
            if *said != (path.is_empty() || names(key, GOOD_NAMES)) {
                marks.push(match (path.is_empty(), *said) {
                    (true, _) => "not complete".to_owned(),
                    (false, true) => path.to_owned(),
                    (false, false) => format!("{path}: no"),
                });
            }
        }
        Value::Number(count) => {
            if names(key, LOSS_NAMES) && count.as_f64() != Some(0.0) {
                marks.push(format!("{path}: {count}"));
            }
        }
        Value::String(said) => {
            if !WHOLE.contains(&said.as_str()) {
                marks.push(labelled(path, said));
            }
        }
        Value::Array(items) => {
            for item in items.iter().filter(|_| depth > 0) {
                collect(item, key, path, depth - 1, marks);
            }
        }
        Value::Object(members) => {
            for (key, member) in members.iter().filter(|_| depth > 0) {
                let plain = PLAIN_WORDS.iter().find(|(name, _)| name == key);
                let words = plain.map_or_else(|| key.replace('_', " "), |(_, words)| (*words).to_owned());
                let path = if path.is_empty() {
                    words
                } else {
                    format!("{path} {words}")
                };
                collect(member, key, &path, depth - 1, marks);
            }
        }
    }
}

fn labelled(path: &str, said: &str) -> String {
    if path.is_empty() {
        said.to_owned()
    } else {
        format!("{path}: {said}")
    }
}

fn names(name: &str, known: &[&str]) -> bool {
    known.iter().any(|known| name.contains(known))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::completeness_marks;

    fn check(completeness: &Value, expected: &[&str]) {
        let kong = json!({ "completeness": completeness });
        assert_eq!(completeness_marks(&kong), expected, "{completeness}");
    }

    #[test]
    fn only_what_says_that_something_is_missing_is_marked() {
        check(&json!("complete"), &[]);
        check(&json!(true), &[]);
        check(&json!(false), &["not complete"]);
        check(&json!(null), &[]);
        check(&json!("response_cut"), &["response_cut"]);
        check(
            &json!({"request": "whole", "response": "cut"}),
            &["response: cut"],
        );
        check(&json!({"truncated": true}), &["truncated"]);
        check(&json!({"truncated": false, "complete": true}), &[]);
        check(
            &json!({"request_body": {"complete": false}}),
            &["request body complete: no"],
        );
        check(
            &json!({"response_body": {"truncated_bytes": 12, "total_bytes": 99}}),
            &["response body truncated bytes: 12"],
        );
        check(&json!({"response_body": {"missing_bytes": 0}}), &[]);
        check(
            &json!({"response": {"state": "whole", "captured_bytes": 9, "shed_in_queue": true}}),
            &["response body left out under pressure"],
        );
        check(&json!(["gap"]), &["gap"]);
        assert!(completeness_marks(&json!({})).is_empty());
        assert!(completeness_marks(&json!("text")).is_empty());
    }
}
