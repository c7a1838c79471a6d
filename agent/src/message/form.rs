//! `request.form`: the fields of a form body, as `ngx.req.get_post_args` gave them to the old plugin.
//!
//! In: an `application/x-www-form-urlencoded` text. Out: a JSON object. A repeated field becomes an array, a field
//! without `=` becomes `true`, `+` and percent escapes are decoded on both sides (lua-nginx-module, `ngx.req.get_post_args`).

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::http::headers::Headers;
use crate::message::fields::Text;

/// lua-nginx-module reads this many arguments unless told otherwise, and the plugin did not.
const MAX_FIELDS: usize = 100;

pub(super) const CONTENT_TYPE: &str = "application/x-www-form-urlencoded";

/// The fields of a form, in order of their first appearance when serialised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form(Vec<(Vec<u8>, FormValue)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum FormValue {
    Text(Vec<u8>),
    /// A name without `=`.
    True,
}

impl Form {
    /// Whether the plugin would have read a body with these headers as a form: it looked for the type anywhere in the
    /// header, in any case.
    pub(super) fn is_claimed(headers: &Headers) -> bool {
        headers
            .first("content-type")
            .is_some_and(|value| contains_ignoring_case(value, CONTENT_TYPE.as_bytes()))
    }

    /// Reads `text`. Of a text that is not `whole` the last pair is left out: its end is not known.
    pub(super) fn parse(text: &[u8], whole: bool) -> Self {
        let text = if whole {
            text
        } else {
            let last = text.iter().rposition(|byte| *byte == b'&').unwrap_or(0);
            text.get(..last).unwrap_or_default()
        };
        let fields = text
            .split(|byte| *byte == b'&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| match split_pair(pair) {
                Some((name, value)) => (
                    decode(name).into_owned(),
                    FormValue::Text(decode(value).into_owned()),
                ),
                None => (decode(pair).into_owned(), FormValue::True),
            })
            .filter(|(name, _)| !name.is_empty())
            .take(MAX_FIELDS)
            .collect();
        Self(fields)
    }
}

impl Serialize for Form {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (index, (name, value)) in self.0.iter().enumerate() {
            let is_repeat = self.0.iter().take(index).any(|(earlier, _)| earlier == name);
            if is_repeat {
                continue;
            }
            let values: Vec<&FormValue> = self
                .0
                .iter()
                .skip(index)
                .filter(|(other, _)| other == name)
                .map(|(_, value)| value)
                .collect();
            if values.len() > 1 {
                map.serialize_entry(&Text(name), &values)?;
            } else {
                map.serialize_entry(&Text(name), value)?;
            }
        }
        map.end()
    }
}

impl Serialize for FormValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => Text(text).serialize(serializer),
            Self::True => serializer.serialize_bool(true),
        }
    }
}

/// Name and value of `name=value`; `None` without a `=`.
pub(super) fn split_pair(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let mark = pair.iter().position(|byte| *byte == b'=')?;
    Some((pair.get(..mark)?, pair.get(mark + 1..)?))
}

/// Undoes `+` and `%XX`; an escape that is not one stays as it is.
pub(super) fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, escaped(after)) {
            (b'%', Some((byte, after))) => {
                out.push(byte);
                rest = after;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
    }
    Cow::Owned(out)
}

/// The byte that two hexadecimal digits stand for, and what follows them.
fn escaped(digits: &[u8]) -> Option<(u8, &[u8])> {
    let (pair, rest) = digits.split_first_chunk::<2>()?;
    if !pair.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    Some((byte, rest))
}

pub(super) fn contains_ignoring_case(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len().max(1))
        .any(|window| window.eq_ignore_ascii_case(needle))
}

#[cfg(test)]
mod tests {
    use super::Form;

    fn check(text: &str, whole: bool, expected: &str) {
        let json = serde_json::to_string(&Form::parse(text.as_bytes(), whole)).unwrap();
        assert_eq!(json, expected, "{text:?}");
    }

    #[test]
    fn a_form_reads_as_the_plugin_read_it() {
        check("", true, "{}");
        check("a=1&a=2&b", true, r#"{"a":["1","2"],"b":true}"#);
        check("a=1&b=two", true, r#"{"a":"1","b":"two"}"#);
        check("b&b=2&c=", true, r#"{"b":[true,"2"],"c":""}"#);
        check("na+me=a%20b+c", true, r#"{"na me":"a b c"}"#);
        check("a=%zz&b=%4&c=100%", true, r#"{"a":"%zz","b":"%4","c":"100%"}"#);
        check("a=x=y", true, r#"{"a":"x=y"}"#);
        check("&&=lost&a=1&", true, r#"{"a":"1"}"#);
        check("a=%C3%A9&b=%FF", true, "{\"a\":\"\u{e9}\",\"b\":\"\u{fffd}\"}");
        check("a=1&b=tw", false, r#"{"a":"1"}"#);
        check("a=1", false, "{}");
    }

    #[test]
    fn at_most_a_hundred_fields_are_read() {
        let text: Vec<String> = (0..150).map(|n| format!("f{n}={n}")).collect();
        let json = serde_json::to_string(&Form::parse(text.join("&").as_bytes(), true)).unwrap();
        assert!(json.contains("\"f99\"") && !json.contains("\"f100\""), "{json}");
    }
}
