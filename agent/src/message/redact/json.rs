//! Hides top-level fields of a JSON body in place: everything else keeps its bytes.
//!
//! In: a JSON text. Out: the text with [`MARK`] in place of the values of hidden fields, or `None` when it is not JSON.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::message::redact::MARK;

/// `text` with the values of the top-level fields that `is_hidden` names hidden; repeated fields are each hidden.
pub(super) fn hide_fields(text: &[u8], is_hidden: impl Fn(&[u8]) -> bool) -> Option<Cow<'_, [u8]>> {
    let text = str::from_utf8(text).ok()?;
    let mut hidden: Vec<Range<usize>> = Vec::new();
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_any(TopLevel {
        text,
        is_hidden,
        hidden: &mut hidden,
    })
    .ok()?;
    json.end().ok()?;
    if hidden.is_empty() {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for range in hidden {
        out.push_str(text.get(copied..range.start)?);
        out.push('"');
        out.push_str(MARK);
        out.push('"');
        copied = range.end;
    }
    out.push_str(text.get(copied..)?);
    Some(Cow::Owned(out.into_bytes()))
}

/// Notes where in `text` the values of hidden fields stand.
struct TopLevel<'t, 'h, F> {
    text: &'t str,
    is_hidden: F,
    hidden: &'h mut Vec<Range<usize>>,
}

impl<'t, F: Fn(&[u8]) -> bool> Visitor<'t> for TopLevel<'t, '_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            let value: &'t RawValue = map.next_value()?;
            if (self.is_hidden)(name.as_bytes()) {
                // The raw value borrows from `text`, so the distance of their addresses is its position.
                let start = value
                    .get()
                    .as_ptr()
                    .addr()
                    .wrapping_sub(self.text.as_ptr().addr());
                self.hidden.push(start..start.saturating_add(value.get().len()));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A field name with its escapes undone, borrowed where it has none.
struct Name;

impl<'t> DeserializeSeed<'t> for Name {
    type Value = Cow<'t, str>;

    fn deserialize<D: serde::Deserializer<'t>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl<'t> Visitor<'t> for Name {
    type Value = Cow<'t, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_borrowed_str<E>(self, name: &'t str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}
