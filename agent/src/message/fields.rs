//! Small pieces of the message's JSON: captured bytes as text, header objects, and numbers in the plugin's units.
//!
//! In: bytes and numbers. Out: `Serialize`, written straight into the message's text with no tree in between.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::http::headers::Headers;
use crate::message::redact::Rules;

/// The old plugin saw this many field lines of a head (lua-nginx-module, `ngx.req.get_headers`); the rest is left out.
pub(super) const MAX_HEADER_LINES: usize = 100;

/// Captured bytes as JSON text. What is not UTF-8 becomes U+FFFD.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a>(pub(super) &'a [u8]);

/// The same as [`String::from_utf8_lossy`], which looks at text byte by byte even where there is nothing to replace.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(|_not_text| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text(self.0))
    }
}

/// Milliseconds as the plugin's seconds: a number with three decimals.
#[derive(Clone, Copy, Debug)]
pub(super) struct SecondsFromMs(pub(super) u64);

impl Serialize for SecondsFromMs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(std::time::Duration::from_millis(self.0).as_secs_f64())
    }
}

/// A number as a string of digits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digits(pub(super) u64);

impl Serialize for Digits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A header object: lower-case names; the value is a string, or an array of strings when the field is repeated.
#[derive(Clone, Debug)]
pub(super) struct HeaderObject<'a> {
    lines: Vec<(Cow<'a, str>, Cow<'a, [u8]>)>,
}

impl<'a> HeaderObject<'a> {
    /// The first [`MAX_HEADER_LINES`] lines of `headers`, redacted.
    pub(super) fn of_request(headers: &'a Headers, rules: &Rules<'_>) -> Self {
        Self {
            lines: lines(headers, rules).collect(),
        }
    }

    /// The same for the fields after a response's body.
    pub(super) fn of_trailers(trailers: &'a Headers, rules: &Rules<'_>) -> Self {
        Self::of_request(trailers, rules)
    }

    /// The same for a response, where `connection` has the value given and a field named `left_out` is not sent.
    pub(super) fn of_response(
        headers: &'a Headers,
        rules: &Rules<'_>,
        connection: &'a [u8],
        left_out: Option<&str>,
    ) -> Self {
        let mut lines: Vec<_> = lines(headers, rules)
            .filter(|(name, _)| name != "connection" && left_out != Some(name.as_ref()))
            .collect();
        lines.push((Cow::Borrowed("connection"), Cow::Borrowed(connection)));
        Self { lines }
    }
}

fn lines<'a>(headers: &'a Headers, rules: &Rules<'_>) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, [u8]>)> {
    headers
        .0
        .iter()
        .filter(|header| !header.name.starts_with(b":")) // HTTP/2 pseudo fields: nginx has them in its variables only
        .take(MAX_HEADER_LINES)
        .map(|header| {
            let mut name = text(&header.name);
            if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                name.to_mut().make_ascii_lowercase();
            }
            (name, rules.hide_in_header(&header.name, &header.value))
        })
}

impl Serialize for HeaderObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (index, (name, value)) in self.lines.iter().enumerate() {
            let is_repeat = self.lines.iter().take(index).any(|(earlier, _)| earlier == name);
            if is_repeat {
                continue;
            }
            let mut repeats = self
                .lines
                .iter()
                .skip(index + 1)
                .filter(|(other, _)| other == name)
                .map(|(_, value)| Text(value))
                .peekable();
            if repeats.peek().is_none() {
                map.serialize_entry(name, &Text(value))?;
            } else {
                let values: Vec<Text<'_>> = std::iter::once(Text(value)).chain(repeats).collect();
                map.serialize_entry(name, &values)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::{HeaderObject, SecondsFromMs};
    use crate::http::headers::Headers;
    use crate::message::redact::{Redaction, Rules};

    #[test]
    fn milliseconds_become_seconds_with_three_decimals() {
        for (ms, expected) in [
            (1_526_895_422_123, "1526895422.123"),
            (1_795_341_733_560, "1795341733.56"),
            (8, "0.008"),
            (0, "0.0"),
        ] {
            assert_eq!(serde_json::to_string(&SecondsFromMs(ms)).unwrap(), expected);
        }
    }

    fn json(headers: &Headers) -> String {
        let rules = Rules::new(&Redaction::None, &[]);
        serde_json::to_string(&HeaderObject::of_request(headers, &rules)).unwrap()
    }

    #[test]
    fn names_are_lower_case_and_repeats_become_arrays() {
        let mut headers = Headers::default();
        assert_eq!(json(&headers), "{}");
        headers.push(":path", "/");
        headers.push("Accept", "text/html");
        headers.push("X-Id", &b"\xff"[..]);
        headers.push("accept", "application/json");
        assert_eq!(
            json(&headers),
            "{\"accept\":[\"text/html\",\"application/json\"],\"x-id\":\"\u{fffd}\"}"
        );
    }

    #[test]
    fn lines_after_the_hundredth_are_left_out() {
        let mut headers = Headers::default();
        for n in 0..150 {
            headers.push(format!("H{n}"), "v");
        }
        let json = json(&headers);
        assert!(json.contains("\"h99\"") && !json.contains("\"h100\""), "{json}");
    }
}
