//! JSON, laid out to be read, token for token as it was written.
//!
//! In: any text. Out: the same tokens with line breaks and indentation, or nothing when it is not JSON. Numbers, escapes,
//! order and repeated keys stay as they are, which parsing and printing again would not give. Deliberately absent: colours.

use serde::de::IgnoredAny;

/// Indentation of one level.
const INDENT: &str = "  ";

/// `text` laid out, at most about `most` bytes of it; `None` when it is not JSON (or is a bare scalar).
pub(crate) fn pretty(text: &str, most: usize) -> Option<Laid> {
    let text = text.trim();
    if !text.starts_with(['{', '[']) {
        return None;
    }
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    Some(lay_out(text, most))
}

/// JSON laid out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Laid {
    pub(crate) text: String,
    /// Whether it ends before the JSON does.
    pub(crate) cut: bool,
}

/// Expects well-formed JSON; anything else comes out in some layout, never an error.
fn lay_out(json: &str, most: usize) -> Laid {
    let mut out = String::with_capacity(json.len().min(most) + 256);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut characters = json.chars().peekable();
    while let Some(character) = characters.next() {
        if out.len() >= most {
            return Laid { text: out, cut: true };
        }
        if in_string {
            out.push(character);
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        match character {
            ' ' | '\t' | '\n' | '\r' => {}
            '{' | '[' => {
                out.push(character);
                while characters.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(closing) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(closing);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(character);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                in_string = character == '"';
                out.push(character);
            }
        }
    }
    Laid {
        text: out,
        cut: false,
    }
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    for _ in 0..depth {
        out.push_str(INDENT);
    }
}

#[cfg(test)]
mod tests {
    use super::pretty;

    #[test]
    fn tokens_stay_as_they_were_written() {
        for (text, expected) in [
            ("{}", Some("{}")),
            (" [ ] ", Some("[]")),
            (
                r#"{"b":1.0,"a":[1e400,{}],"a":"\u0041\"},{"}"#,
                Some(
                    "{\n  \"b\": 1.0,\n  \"a\": [\n    1e400,\n    {}\n  ],\n  \"a\": \"\\u0041\\\"},{\"\n}",
                ),
            ),
            (r#"["\\",1]"#, Some("[\n  \"\\\\\",\n  1\n]")),
            ("{", None),
            ("{'a':1}", None),
            ("17", None),
            ("", None),
        ] {
            assert_eq!(
                pretty(text, 10_000).map(|laid| laid.text).as_deref(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn deep_and_long_json_is_bounded() {
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        let laid = pretty(&deep, 1_000).unwrap();
        assert!(laid.cut && laid.text.len() < 1_300);
        let long = format!("[{}0]", "0,".repeat(100_000));
        assert!(pretty(&long, 1_000).unwrap().text.len() < 1_100);
        assert!(!pretty("[1]", 1_000).unwrap().cut);
    }
}
