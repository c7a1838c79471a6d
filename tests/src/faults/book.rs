//! What an endpoint took, and every attempt to give it something.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::time::Instant;

use crate::client::ID_FIELD;

/// No trial lasts longer than this.
const OLDEST: Duration = Duration::from_mins(10);
/// Two clocks of one machine may differ by this much.
const AHEAD: Duration = Duration::from_secs(1);

/// The messages of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parcel {
    /// Of each, what tells it from others: the lab's id of its exchange, and the message's `unique_identifier`.
    pub messages: Vec<Named>,
}

/// How one message is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// The id that the lab's client gave to the exchange.
    pub id: String,
    /// `unique_identifier`.
    pub identifier: Option<String>,
    /// `request.timestamp`, since the beginning of Unix time.
    pub sent: Duration,
}

/// One attempt, from the moment when its request had come whole.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When.
    pub at: Instant,
    /// The lab's ids of its messages.
    pub ids: Vec<String>,
}

/// The endpoint's book.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// What was taken, by the lab's id: how often.
    pub taken: BTreeMap<String, usize>,
    /// Every attempt whose request came whole.
    pub attempts: Vec<Attempt>,
    /// Connections that were accepted.
    pub connections: usize,
    /// Requests that were no posts of messages: each in words.
    pub strange: Vec<String>,
    identifiers: BTreeMap<String, String>,
}

impl Parcel {
    /// Reads the body of a post: one message, or a list of them.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(body).map_err(|error| format!("no JSON: {error}"))?;
        let messages = if let Value::Array(messages) = &value {
            messages.iter().map(named).collect::<Result<_, _>>()?
        } else {
            vec![named(&value)?]
        };
        Ok(Self { messages })
    }
}

fn named(message: &Value) -> Result<Named, String> {
    let pointer = format!("/request/headers/{}", ID_FIELD.to_ascii_lowercase());
    let id = message.pointer(&pointer).and_then(Value::as_str);
    let sent = message.pointer("/request/timestamp").and_then(Value::as_f64);
    Ok(Named {
        sent: sent
            .and_then(|sent| Duration::try_from_secs_f64(sent).ok())
            .ok_or_else(|| format!("a message without a time: {message}"))?,
        id: id
            .ok_or_else(|| format!("a message without an id of the lab's: {message}"))?
            .to_owned(),
        identifier: message
            .get("unique_identifier")
            .and_then(Value::as_str)
            .map(str::to_owned),
    })
}

impl Book {
    /// Writes down an attempt.
    pub(super) fn attempt(&mut self, parcel: &Parcel) {
        let ids = parcel.messages.iter().map(|message| message.id.clone()).collect();
        self.attempts.push(Attempt {
            at: Instant::now(),
            ids,
        });
    }

    /// Whether a message was sent when its exchange was made: some time ago, and not to come.
    fn judge_time(&mut self, message: &Named) {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let is_old = now.saturating_sub(message.sent) > OLDEST;
        if is_old || message.sent > now.saturating_add(AHEAD) {
            let (id, sent) = (&message.id, message.sent);
            self.strange
                .push(format!("{id} is said to be of {sent:?}, and now is {now:?}"));
        }
    }

    /// Takes a message. A repeat has the identifier of the first time, and no two messages share one; else it is strange.
    pub(super) fn take(&mut self, message: &Named) {
        self.judge_time(message);
        let times = self.taken.entry(message.id.clone()).or_default();
        *times = times.saturating_add(1);
        let Some(identifier) = &message.identifier else {
            return;
        };
        let known = self
            .identifiers
            .entry(identifier.clone())
            .or_insert_with(|| message.id.clone());
        if *known != message.id {
            self.strange.push(format!(
                "{} and {known} have the same identifier {identifier}",
                message.id
            ));
        }
    }

    /// The ids of what was taken: what an endpoint that drops repeats by identifier has.
    #[must_use]
    pub fn kept(&self) -> BTreeSet<String> {
        self.taken.keys().cloned().collect()
    }

    /// How many messages came again after they had been taken, and had no identifier by which that could be known.
    #[must_use]
    pub fn repeats(&self) -> usize {
        self.taken.values().map(|times| times.saturating_sub(1)).sum()
    }

    /// The identifiers of what was taken.
    #[must_use]
    pub fn identifiers(&self) -> usize {
        self.identifiers.len()
    }

    /// The moments of the attempts with this message.
    #[must_use]
    pub fn attempts_with(&self, id: &str) -> Vec<Instant> {
        let with = self
            .attempts
            .iter()
            .filter(|attempt| attempt.ids.iter().any(|other| other == id));
        with.map(|attempt| attempt.at).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{Book, Parcel};

    fn message(id: &str, identifier: &str) -> String {
        message_of(id, identifier, now())
    }

    fn message_of(id: &str, identifier: &str, at: Duration) -> String {
        let at = at.as_secs_f64();
        format!(
            r#"{{"request":{{"timestamp":{at},"headers":{{"x-lab-id":"{id}"}}}},"unique_identifier":"{identifier}"}}"#
        )
    }

    fn now() -> Duration {
        SystemTime::UNIX_EPOCH.elapsed().unwrap()
    }

    #[test]
    fn messages_of_another_time_are_strange() {
        let hour = Duration::from_hours(1);
        for (at, strange) in [(now(), 0), (now() - hour, 1), (now() + hour, 1)] {
            let mut book = Book::default();
            let parcel = Parcel::read(message_of("1", "a", at).as_bytes()).unwrap();
            book.take(&parcel.messages[0]);
            assert_eq!(book.strange.len(), strange, "{at:?}");
        }
    }

    #[test]
    fn posts_are_one_message_or_a_list() {
        let one = Parcel::read(message("1", "a").as_bytes()).unwrap();
        assert_eq!(one.messages[0].id, "1");
        assert_eq!(one.messages[0].identifier.as_deref(), Some("a"));
        let list = format!("[{},{}]", message("1", "a"), message("2", "b"));
        assert_eq!(Parcel::read(list.as_bytes()).unwrap().messages.len(), 2);
        for wrong in ["", "{", "{}", "[{}]"] {
            Parcel::read(wrong.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn repeats_are_known_and_shared_identifiers_are_strange() {
        let mut book = Book::default();
        for (id, identifier) in [("1", "a"), ("2", "b"), ("1", "a")] {
            let parcel = Parcel::read(message(id, identifier).as_bytes()).unwrap();
            book.attempt(&parcel);
            book.take(&parcel.messages[0]);
        }
        assert_eq!((book.kept().len(), book.repeats(), book.identifiers()), (2, 1, 2));
        assert_eq!(book.attempts_with("1").len(), 2);
        assert!(book.strange.is_empty());
        book.take(&Parcel::read(message("3", "a").as_bytes()).unwrap().messages[0]);
        assert_eq!(book.strange.len(), 1);
    }
}
