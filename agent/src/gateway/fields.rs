//! Typed access to the fields of an entity in Kong's JSON form, with every mistake noted and none fatal.
//!
//! In: a [`serde_json::Value`] and the path to it. Out: values of the wanted type; what is wrong goes to a [`Report`].
//! Deliberately absent: which fields there are.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::gateway::document::{Mistake, Mistakes, Place};
use crate::gateway::entities::Reference;

/// Collects the mistakes of one file.
#[derive(Debug)]
pub struct Report {
    origin: Arc<str>,
    mistakes: Vec<Mistake>,
}

impl Report {
    /// An empty report on `origin`.
    #[must_use]
    pub fn new(origin: &str) -> Self {
        Self {
            origin: Arc::from(origin),
            mistakes: Vec::new(),
        }
    }

    /// What is reported on.
    #[must_use]
    pub fn origin(&self) -> &Arc<str> {
        &self.origin
    }

    /// Notes a mistake at a key path (empty for the whole).
    pub fn wrong(&mut self, path: &str, text: impl Into<String>) {
        let place = match path {
            "" => Place::Whole,
            path => Place::Path(path.to_owned()),
        };
        self.mistakes.push(Mistake {
            origin: Arc::clone(&self.origin),
            place,
            text: text.into(),
        });
    }

    /// The mistakes so far.
    #[must_use]
    pub fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes
    }

    /// `value`, if nothing was wrong.
    ///
    /// # Errors
    /// Everything that was wrong.
    pub fn finish<T>(self, value: T) -> Result<T, Mistakes> {
        if self.mistakes.is_empty() {
            Ok(value)
        } else {
            Err(Mistakes(self.mistakes))
        }
    }
}

/// An object's fields and where it stands. `null` counts as absent everywhere, as it does for Kong.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    /// The fields.
    pub map: &'a Map<String, Value>,
    /// The key path to the object; empty for the whole file.
    pub path: String,
}

impl<'a> Fields<'a> {
    /// `value` as an object.
    pub fn of(value: &'a Value, path: String, report: &mut Report) -> Option<Self> {
        if let Value::Object(map) = value {
            Some(Self { map, path })
        } else {
            report.wrong(&path, format!("must be a map, not {}", kind(value)));
            None
        }
    }

    /// The key path of a field.
    #[must_use]
    pub fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// A field that is there and not null.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// A string.
    pub fn string(&self, name: &str, report: &mut Report) -> Option<&'a str> {
        let value = self.get(name)?;
        if let Value::String(text) = value {
            return Some(text);
        }
        let text = format!("must be a string, not {} (put it in quotes)", kind(value));
        report.wrong(&self.path_of(name), text);
        None
    }

    /// A boolean.
    pub fn boolean(&self, name: &str, report: &mut Report) -> Option<bool> {
        let value = self.get(name)?;
        if let Value::Bool(flag) = value {
            return Some(*flag);
        }
        let text = format!("must be true or false, not {}", kind(value));
        report.wrong(&self.path_of(name), text);
        None
    }

    /// An integer. `1.0` is one too, as Lua has it.
    pub fn integer(&self, name: &str, report: &mut Report) -> Option<i64> {
        let value = self.get(name)?;
        let whole = value.as_i64().or_else(|| {
            let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
            format!("{number:.0}").parse().ok()
        });
        if whole.is_none() {
            let text = format!("must be an integer, not {}", kind(value));
            report.wrong(&self.path_of(name), text);
        }
        whole
    }

    /// A list of strings; empty when absent. Lua's JSON has `{}` for an empty list.
    pub fn strings(&self, name: &str, report: &mut Report) -> Vec<String> {
        let Some(value) = self.get(name) else {
            return Vec::new();
        };
        let strings = match value {
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>(),
            Value::Object(map) if map.is_empty() => Some(Vec::new()),
            Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        };
        strings.unwrap_or_else(|| {
            report.wrong(&self.path_of(name), "must be a list of strings");
            Vec::new()
        })
    }

    /// The objects of a list, each with its own path; none when absent.
    pub fn objects(&self, name: &str, report: &mut Report) -> Vec<Self> {
        let path = self.path_of(name);
        match self.get(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => items
                .iter()
                .enumerate()
                .filter_map(|(index, item)| Fields::of(item, format!("{path}[{index}]"), report))
                .collect(),
            Some(Value::Object(map)) if map.is_empty() => Vec::new(),
            Some(value) => {
                report.wrong(&path, format!("must be a list, not {}", kind(value)));
                Vec::new()
            }
        }
    }

    /// A reference to another entity: a string, or `{id: …}` or `{name: …}` (`{username: …}`).
    pub fn reference(&self, name: &str, report: &mut Report) -> Option<Reference> {
        reference(self.get(name)?, &self.path_of(name), report)
    }

    /// The references of a list, each with its own path; none when absent.
    pub fn references(&self, name: &str, report: &mut Report) -> Vec<(Reference, String)> {
        let path = self.path_of(name);
        let items = match self.get(name) {
            Some(Value::Array(items)) => items.as_slice(),
            None => &[],
            Some(Value::Object(map)) if map.is_empty() => &[],
            Some(value) => {
                report.wrong(&path, format!("must be a list, not {}", kind(value)));
                &[]
            }
        };
        let of = |(index, item): (usize, &Value)| {
            let path = format!("{path}[{index}]");
            reference(item, &path, report).map(|found| (found, path))
        };
        items.iter().enumerate().filter_map(of).collect()
    }
}

fn reference(value: &Value, path: &str, report: &mut Report) -> Option<Reference> {
    let text = |map: &Map<String, Value>, key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
    let found = match value {
        Value::String(text) => Some(Reference::Any(text.clone())),
        Value::Object(map) => text(map, "id").map(Reference::Id).or_else(|| {
            let named = text(map, "name").or_else(|| text(map, "username"));
            named.map(Reference::Name)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    };
    if found.is_none() {
        report.wrong(path, "must be an id or a name, or a map with `id` or `name`");
    }
    found
}

/// What a value is, for messages.
#[must_use]
pub const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
