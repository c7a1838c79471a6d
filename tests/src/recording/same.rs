//! Messages of a running agent against those of a replay.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// Fields of a message that are of its agent's own making: when its own probes ran, and what it derives from that.
const OF_THE_AGENT: [&str; 4] = ["timestamp", "response_time", "latencies", "unique_identifier"];

/// How many differences a failure shows.
const SHOWN: usize = 10;

/// Messages by the id that the gateway gave to each exchange.
pub type ById = BTreeMap<String, Value>;

/// Whether values of the replayed messages may be masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masking {
    /// They are as they were.
    None,
    /// A masked value has the length of what it stands for.
    Allowed,
}

/// Sorts messages.
///
/// # Errors
/// When one has no id, or two have the same.
pub fn by_request_id(messages: Vec<Value>) -> anyhow::Result<ById> {
    let count = messages.len();
    let by_id = messages
        .into_iter()
        .map(|message| {
            let id = message.pointer("/kong/request_id").and_then(Value::as_str);
            Ok((id.context("a message without an id")?.to_owned(), message))
        })
        .collect::<anyhow::Result<ById>>()?;
    ensure!(by_id.len() == count, "{count} messages with {} ids", by_id.len());
    Ok(by_id)
}

/// Requires the same messages, apart from what is an agent's own.
///
/// # Errors
/// The first differences.
pub fn require_same(live: &ById, replayed: &ById, masking: Masking) -> anyhow::Result<()> {
    ensure!(
        live.keys().eq(replayed.keys()),
        "{} messages live, {} replayed",
        live.len(),
        replayed.len()
    );
    let pairs = live.values().zip(replayed.values());
    let differences: Vec<String> = pairs
        .filter_map(|(live, replayed)| difference("", live, replayed, masking).err())
        .take(SHOWN)
        .collect();
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

fn difference(path: &str, live: &Value, replayed: &Value, masking: Masking) -> Result<(), String> {
    let is_same = match (live, replayed) {
        (Value::Object(live), Value::Object(replayed)) if live.keys().eq(replayed.keys()) => {
            let mut fields = live.iter().zip(replayed.values());
            return fields
                .by_ref()
                .filter(|((name, _), _)| !OF_THE_AGENT.contains(&name.as_str()))
                .try_for_each(|((name, live), replayed)| {
                    difference(&format!("{path}/{name}"), live, replayed, masking)
                });
        }
        (Value::Array(live), Value::Array(replayed)) if live.len() == replayed.len() => {
            return live
                .iter()
                .zip(replayed)
                .try_for_each(|(live, replayed)| difference(path, live, replayed, masking));
        }
        (Value::String(live), Value::String(replayed)) if masking == Masking::Allowed => {
            let is_masked =
                |(live, replayed): (char, char)| live == replayed || matches!(replayed, 'x' | '9');
            live.len() == replayed.len() && live.chars().zip(replayed.chars()).all(is_masked)
        }
        _ => live == replayed,
    };
    if is_same {
        Ok(())
    } else {
        Err(format!("{path}: {live} live, {replayed} replayed"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Masking, by_request_id, require_same};

    #[test]
    fn what_differs_is_found_and_what_is_an_agents_own_is_not() {
        let message = |key: &str, time: u64| {
            let message = json!({"kong": {"request_id": "r", "latencies": time}, "request": {"key": key}});
            by_request_id(vec![message]).unwrap()
        };
        let live = message("secret", 1);
        let check = |key, masking| require_same(&live, &message(key, 2), masking).is_ok();
        assert!(check("secret", Masking::None));
        assert!(check("xxxxxx", Masking::Allowed));
        assert!(!check("xxxxxx", Masking::None));
        assert!(!check("xxxxx", Masking::Allowed));
        assert!(!check("secreT", Masking::Allowed));
        assert!(require_same(&live, &by_request_id(vec![]).unwrap(), Masking::None).is_err());
    }
}
