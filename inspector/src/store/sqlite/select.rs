//! Queries as SQL. Values are always bound, never spliced.

use rusqlite::types::Value;

use super::row::COLUMNS;
use crate::store::filter::Order;
use crate::store::{Bound, Query};

/// The text of a message, by arrival.
pub(super) const CONTENT: &str = "SELECT json FROM content WHERE id = ?1";

/// One message with its text, by id.
pub(super) fn one() -> String {
    format!("SELECT {COLUMNS}, json FROM message JOIN content ON content.id = message.id WHERE uuid = ?1")
}

/// The other messages of an exchange.
pub(super) fn same_exchange() -> String {
    format!(
        "SELECT {COLUMNS} FROM message \
         WHERE bucket = ?1 AND unique_identifier = ?2 AND id <> ?3 ORDER BY id LIMIT 8"
    )
}

/// Every bucket name, each found by one seek in the index instead of a scan of it.
pub(super) const BUCKETS: &str = "WITH RECURSIVE name(bucket) AS (\
       SELECT min(bucket) FROM message \
       UNION ALL \
       SELECT (SELECT min(bucket) FROM message WHERE bucket > name.bucket) FROM name WHERE name.bucket IS NOT NULL\
     ) SELECT bucket FROM name WHERE bucket IS NOT NULL LIMIT ?1";

/// The SQL of a query, and what to bind.
pub(super) fn entries(query: &Query) -> (String, Vec<Value>) {
    let mut select = Select::default();
    let filter = &query.filter;
    if let Some(bucket) = &filter.bucket {
        select.require("bucket = ?", [Value::Text(bucket.clone())]);
    }
    if let Some(method) = &filter.method {
        select.require("method = ? COLLATE NOCASE", [Value::Text(method.clone())]);
    }
    if let Some(status) = filter.status {
        select.require(
            "status BETWEEN ? AND ?",
            [
                Value::Integer(status.from.into()),
                Value::Integer(status.to.into()),
            ],
        );
    }
    if let Some(text) = &filter.text {
        let pattern = pattern(text);
        select.require(
            "(url LIKE ? ESCAPE '\\' OR route LIKE ? ESCAPE '\\' OR service LIKE ? ESCAPE '\\' \
              OR consumer LIKE ? ESCAPE '\\' OR unique_identifier LIKE ? ESCAPE '\\')",
            std::iter::repeat_n(Value::Text(pattern), 5),
        );
    }
    select.bound(query.since, ">=", ">");
    select.bound(query.before, "<", "<");
    let order = match query.order {
        Order::Time => "at_us DESC, message.id DESC",
        Order::ArrivedAfter(after) => {
            select.require("message.id > ?", [Value::Integer(after.0)]);
            "message.id DESC"
        }
    };
    let conditions = if select.conditions.is_empty() {
        String::new()
    } else {
        format!("WHERE {} ", select.conditions.join(" AND "))
    };
    select.values.push(Value::Integer(query.most.into()));
    (
        format!("SELECT {COLUMNS} FROM message {conditions}ORDER BY {order} LIMIT ?"),
        select.values,
    )
}

#[derive(Default)]
struct Select {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Select {
    fn require(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.conditions.push(condition.to_owned());
        self.values.extend(values);
    }

    /// A message that is gone gives NULL, and no row: what was older than it is gone too.
    fn bound(&mut self, bound: Option<Bound>, at_time: &str, at_message: &str) {
        match bound {
            None => {}
            Some(Bound::Time(time)) => {
                self.require(&format!("at_us {at_time} ?"), [Value::Integer(time.0)]);
            }
            Some(Bound::Message(uuid)) => self.require(
                &format!("(at_us, message.id) {at_message} (SELECT at_us, id FROM message WHERE uuid = ?)"),
                [Value::Blob(uuid.as_bytes().to_vec())],
            ),
        }
    }
}

/// `LIKE`'s pattern for "contains": case is ignored for ASCII only, which is LIKE's rule.
fn pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}
