//! What an endpoint says of the messages that it was posted.
//!
//! In: the text of an answer, hostile. Out: what it says of each message, or of all. Runscope's forms
//! (<https://www.runscope.com/docs/api/messages> and its OpenAPI description): a list `data` with an entry for each message, and
//! the envelope of errors. Texts are never kept: an endpoint may quote what it was sent. Of an error there is its code at most, and
//! only if it looks like one and does not stand in the messages themselves.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

/// Longest code that is shown, bytes.
const CODE_BYTES: usize = 40;
/// Largest number that is taken for a code.
const LARGEST_CODE: u64 = 65_535;

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Something of each message.
    Each(Vec<Entry>),
    /// That all were refused.
    Refused(Refusal),
    /// Nothing that is understood: the status counts.
    Nothing,
}

/// What it says of one message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It was taken.
    Taken,
    /// It was taken, with a warning.
    Warned,
    /// It was not.
    Refused(Option<Code>),
}

/// An error for all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The status that the envelope gives it.
    pub(super) status: Option<u16>,
    pub(super) code: Option<Code>,
}

/// The code of an error: a small number, or words joined by underscores or hyphens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Code(String);

impl Code {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => {
                let number = number.as_u64().filter(|number| *number <= LARGEST_CODE)?;
                Some(Self(number.to_string()))
            }
            Value::String(text) => {
                let is_word = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-');
                let is_code = (1..=CODE_BYTES).contains(&text.len()) && text.bytes().all(is_word);
                is_code.then(|| Self(text.clone()))
            }
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The code, unless it stands in what was posted.
    pub(super) fn unless_quoted_from(&self, message: &[u8]) -> Option<&str> {
        memchr::memmem::find(message, self.0.as_bytes())
            .is_none()
            .then_some(self.0.as_str())
    }
}

#[derive(Deserialize)]
struct PostedList<'a> {
    #[serde(borrow)]
    data: Vec<PostedMessage<'a>>,
}

#[derive(Deserialize)]
struct PostedMessage<'a> {
    #[serde(borrow, default)]
    status: Cow<'a, str>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    meta: Value,
    #[serde(default)]
    error: Value,
}

/// Understands an answer.
pub(super) fn understand(answer: &[u8]) -> Said {
    if let Ok(list) = serde_json::from_slice::<PostedList<'_>>(answer)
        && !list.data.is_empty()
    {
        return Said::Each(list.data.into_iter().map(entry).collect());
    }
    let Ok(Envelope { meta, error }) = serde_json::from_slice(answer) else {
        return Said::Nothing;
    };
    if meta.get("status").and_then(Value::as_str) != Some("error") && !error.is_object() {
        return Said::Nothing;
    }
    let status = error.get("status").and_then(Value::as_u64);
    Said::Refused(Refusal {
        status: status.and_then(|status| u16::try_from(status).ok()),
        code: error.get("code").and_then(Code::of),
    })
}

fn entry(message: PostedMessage<'_>) -> Entry {
    match &*message.status {
        "error" => Entry::Refused(
            message
                .error
                .as_ref()
                .and_then(|error| Code::of(error.get("code")?)),
        ),
        "warning" => Entry::Warned,
        _ => Entry::Taken,
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, Entry, Refusal, Said, understand};

    fn code(text: &str) -> Option<Code> {
        Some(Code(text.to_owned()))
    }

    #[test]
    fn an_answer_says_what_became_of_each_message_or_of_all() {
        let check =
            |answer: &str, expected: Said| assert_eq!(understand(answer.as_bytes()), expected, "{answer}");
        let refused = |status, code| Said::Refused(Refusal { status, code });
        check(
            r#"{"data":[{"status":"success","uuid":"u","error":null}],"meta":{"success_count":1}}"#,
            Said::Each(vec![Entry::Taken]),
        );
        check(
            r#"{"meta":{},"data":[{"status":"warning","warning":{"code":1}},{"status":"success"}]}"#,
            Said::Each(vec![Entry::Warned, Entry::Taken]),
        );
        check(
            r#"{"data":[{"status":"err\u006fr","error":{"code":"invalid_message","message":"hunter2"}}]}"#,
            Said::Each(vec![Entry::Refused(code("invalid_message"))]),
        );
        check(
            r#"{"data":[{"status":"error","error":"hunter2"},{"status":"error"}]}"#,
            Said::Each(vec![Entry::Refused(None), Entry::Refused(None)]),
        );
        check(r#"{"data":[{}]}"#, Said::Each(vec![Entry::Taken]));
        check(
            r#"{"meta":{"status":"error"},"error":{"status":401,"message":"hunter2","code":17}}"#,
            refused(Some(401), code("17")),
        );
        check(r#"{"meta":{"status":"error"},"data":null}"#, refused(None, None));
        check(r#"{"error":{"status":"x"}}"#, refused(None, None));
        check(
            r#"{"meta":{"status":"success"},"data":{},"error":null}"#,
            Said::Nothing,
        );
        for nothing in [
            r#"{"data":[]}"#,
            r#"{"data":{"status":"error"}}"#,
            r#"{"data":[{"status":7}]}"#,
            r#"{"error":"text"}"#,
            "[]",
            "OK",
            "",
            "\u{feff}{}",
            &"[".repeat(10_000),
        ] {
            check(nothing, Said::Nothing);
        }
    }

    #[test]
    fn a_code_is_a_small_number_or_words_and_nothing_that_was_posted() {
        let check = |value: serde_json::Value, message: &str, shown: Option<&str>| {
            let code = Code::of(&value);
            let seen = code
                .as_ref()
                .and_then(|code| code.unless_quoted_from(message.as_bytes()));
            assert_eq!(seen, shown, "{value} in {message}");
        };
        check(422.into(), "{}", Some("422"));
        check("invalid_message".into(), "{}", Some("invalid_message"));
        check("BAD-TOKEN".into(), "{}", Some("BAD-TOKEN"));
        check("swordfish".into(), r#"{"password":"swordfish"}"#, None);
        check(4711.into(), r#"{"pin":4711}"#, None);
        check(1_000_000.into(), "{}", None);
        check((-1).into(), "{}", None);
        check("hunter2".into(), "{}", None);
        check("two words".into(), "{}", None);
        check("line\nbreak".into(), "{}", None);
        check("".into(), "{}", None);
        check("a".repeat(41).into(), "{}", None);
    }
}
