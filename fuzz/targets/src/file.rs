//! Configuration files out of bytes.

use kongtap::gateway::document::{self, SourceFile};
use serde_json::Value;

/// A file that holds `bytes`.
pub(crate) fn source(bytes: &[u8]) -> SourceFile {
    SourceFile {
        name: "fuzz.yml".into(),
        bytes: bytes.to_vec(),
    }
}

/// The same content as JSON, if it has one. A tree that aliases made is as large as its bound lets it be, and not looked at again.
pub(crate) fn as_json(file: &SourceFile) -> Option<SourceFile> {
    let value = document::parse(file).ok()?;
    if nodes(&value) > 10_000 {
        return None;
    }
    serde_json::to_vec(&value).ok().map(|bytes| source(&bytes))
}

fn nodes(value: &Value) -> usize {
    let within = match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(fields) => fields.values().map(nodes).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0usize,
    };
    within.saturating_add(1)
}
