//! What an endpoint says of the messages that it was posted.
//!
//! In: the text of an answer, hostile. Out: what became of each message.

use serde::Deserialize;

/// Runscope's answer to posted messages: `data` has an entry for each, with a status of its own.
#[derive(Debug, Deserialize)]
struct PostedList {
    data: Vec<PostedMessage>,
}

#[derive(Debug, Deserialize)]
struct PostedMessage {
    #[serde(default)]
    status: String,
}

/// An answer that is not Runscope's list says nothing; then the status code counts.
pub(super) fn says_error(answer: &[u8]) -> bool {
    serde_json::from_slice(answer)
        .is_ok_and(|posted: PostedList| posted.data.iter().any(|message| message.status == "error"))
}

#[cfg(test)]
mod tests {
    use super::says_error;

    #[test]
    fn an_entry_with_status_error_is_a_rejection() {
        let check =
            |answer: &str, expected: bool| assert_eq!(says_error(answer.as_bytes()), expected, "{answer}");
        check(r#"{"data":[{"status":"success","uuid":"u"}],"meta":{}}"#, false);
        check(r#"{"data":[{"status":"warning"}]}"#, false);
        check(r#"{"data":[{"status":"error","error":{"code":1}}]}"#, true);
        check(r#"{"data":[{"status":"success"},{"status":"err\u006fr"}]}"#, true);
        check(r#"{"data":[{}]}"#, false);
        check(r#"{"data":{"status":"error"}}"#, false);
        check("OK", false);
        check("", false);
    }
}
