//! A captured body as it was before it was coded: base64, content codings and charset undone.
//!
//! In: a half of a message. Out: [`Content`], bytes and what was done to get them. Every step is capped. The message itself stays
//! as it was posted. Deliberately absent: how a page or an answer of the API says it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use encoding_rs::{Encoding, ISO_2022_JP, UTF_8, UTF_16BE, UTF_16LE};
use kongtap_content::{Coding, Limits, Verdict, decode};
use serde_json::{Map, Value};

/// The most that is made of a body that is under a content coding, and the most that is read by a charset, bytes.
pub(crate) const DECODED_BYTES: usize = 1 << 20;

/// The longest `content-type` that is looked at.
const CONTENT_TYPE_BYTES: usize = 1_024;

/// A body, undone as far as it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// The bytes as they were sent, as far as the message has them.
    pub(crate) sent: Vec<u8>,
    /// What is left with codings undone, if any was.
    decoded: Option<Vec<u8>>,
    /// Which were, the one applied last first.
    pub(crate) undone: Vec<Coding>,
    /// How undoing them ended.
    pub(crate) verdict: Verdict,
    /// Bytes behind the end of the coded data.
    pub(crate) trailing_bytes: usize,
    /// The message says base64, and it is not.
    pub(crate) is_not_base64: bool,
    /// What the content type says of the bytes, where it applies.
    charset: Option<&'static Encoding>,
}

/// Bytes read as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) text: String,
    /// The charset that it was read by, if that is not UTF-8.
    pub(crate) charset: Option<&'static str>,
    /// Some bytes mean nothing in that charset. U+FFFD stands for them.
    pub(crate) has_errors: bool,
    /// It goes on.
    pub(crate) is_cut: bool,
}

impl Content {
    /// The body of a request or a response, if the message has one.
    pub(crate) fn of(half: &Map<String, Value>) -> Option<Self> {
        let body = half.get("body")?.as_str()?;
        let says_base64 = half.get("body_encoding").and_then(Value::as_str) == Some("base64");
        let from_base64 = says_base64.then(|| BASE64.decode(body));
        let is_not_base64 = matches!(from_base64, Some(Err(_)));
        let (sent, is_exact) = match from_base64 {
            Some(Ok(bytes)) => (bytes, true),
            Some(Err(_)) | None => (body.as_bytes().to_vec(), false),
        };
        let limits = Limits::of_output(DECODED_BYTES);
        let decoded = decode(header_values(half, "content-encoding"), &sent, &limits);
        let (verdict, trailing_bytes, mut undone) = (decoded.verdict, decoded.trailing_bytes, decoded.undone);
        let mut decoded = match decoded.bytes {
            Cow::Owned(bytes) => Some(bytes),
            Cow::Borrowed(_) => None,
        };
        // Nothing came out of it: what was sent says more. It may not be coded at all, whatever its headers say.
        if verdict != Verdict::Whole && decoded.as_ref().is_some_and(Vec::is_empty) {
            decoded = None;
            undone.clear();
        }
        let charset = header_values(half, "content-type").next().and_then(charset);
        // A text in a message is mostly one already, whatever its bytes were. These were not, or it would not look so.
        let looks_encoded = |encoding: &Encoding| {
            [UTF_16LE, UTF_16BE, ISO_2022_JP].contains(&encoding) && body.contains(['\0', '\x1b'])
        };
        let charset = charset.filter(|encoding| is_exact || decoded.is_some() || looks_encoded(encoding));
        Some(Self {
            sent,
            decoded,
            undone,
            verdict,
            trailing_bytes,
            is_not_base64,
            charset,
        })
    }

    /// What there is to show.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.decoded.as_deref().unwrap_or(&self.sent)
    }

    /// The bytes as text, if they are any: by the charset of the content type, else as UTF-8.
    pub(crate) fn text(&self) -> Option<Text> {
        let bytes = self.bytes();
        match self.charset {
            Some(encoding) if encoding != UTF_8 => {
                let first = bytes.get(..DECODED_BYTES).unwrap_or(bytes);
                let (text, encoding, has_errors) = encoding.decode(first);
                Some(Text {
                    text: text.into_owned(),
                    charset: (encoding != UTF_8).then(|| encoding.name()),
                    has_errors,
                    is_cut: first.len() < bytes.len(),
                })
            }
            Some(_) | None => {
                let text = match str::from_utf8(bytes) {
                    Ok(text) => text,
                    // Decoding stopped within a character.
                    Err(error) if self.verdict != Verdict::Whole && error.error_len().is_none() => {
                        str::from_utf8(bytes.get(..error.valid_up_to())?).ok()?
                    }
                    Err(_) => return None,
                };
                Some(Text {
                    text: text.to_owned(),
                    charset: None,
                    has_errors: false,
                    is_cut: false,
                })
            }
        }
    }
}

/// The values of a field, line after line.
fn header_values<'a>(half: &'a Map<String, Value>, field: &'a str) -> impl Iterator<Item = &'a str> {
    let headers = half.get("headers").and_then(Value::as_object);
    headers
        .into_iter()
        .flatten()
        .filter(move |(name, _)| name.eq_ignore_ascii_case(field))
        .flat_map(|(_, value)| match value {
            Value::Array(values) => values.as_slice(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                std::slice::from_ref(value)
            }
        })
        .filter_map(Value::as_str)
}

/// The charset that a content type names, quoted or not (RFC 9110 section 8.3.2), by the labels that browsers know.
fn charset(content_type: &str) -> Option<&'static Encoding> {
    let content_type = content_type.get(..CONTENT_TYPE_BYTES).unwrap_or(content_type);
    content_type
        .split(';')
        .skip(1)
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .and_then(|(_, value)| Encoding::for_label(value.trim().trim_matches('"').as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use base64::Engine as _;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use kongtap_content::{Coding, Limit, Verdict};
    use serde_json::{Value, json};

    use super::{BASE64, Content, DECODED_BYTES, charset};

    pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn content(half: &Value) -> Content {
        Content::of(half.as_object().unwrap()).unwrap()
    }

    /// A body as the agent sends it, with these headers.
    fn sent(headers: Value, bytes: &[u8]) -> Content {
        content(&json!({"headers": headers, "body": BASE64.encode(bytes), "body_encoding": "base64"}))
    }

    #[test]
    fn codings_are_undone_by_the_headers() {
        let coded = gzip(b"hello");
        for headers in [
            json!({"content-encoding": "gzip"}),
            json!({"Content-Encoding": ["identity", "x-gzip"]}),
            json!({"a": 1, "content-encoding": [1, "gzip"]}),
        ] {
            let content = sent(headers, &coded);
            assert_eq!(content.bytes(), b"hello");
            assert_eq!((&content.sent, &content.verdict), (&coded, &Verdict::Whole));
            assert_eq!(content.undone, [Coding::Gzip]);
        }
        for headers in [json!({}), json!(null), json!({"content-encoding": 7})] {
            assert_eq!(sent(headers, &coded).bytes(), coded);
        }
    }

    #[test]
    fn what_does_not_decode_is_as_it_was_sent() {
        let headers = json!({"content-encoding": "gzip"});
        let plain = content(&json!({"headers": headers, "body": "decoded by the sender"}));
        assert_eq!(plain.bytes(), b"decoded by the sender");
        assert_eq!(plain.undone, []);
        let damaged = Verdict::Damaged {
            coding: Coding::Gzip,
            at: 0,
        };
        assert_eq!(plain.verdict, damaged);
        let broken = content(&json!({"headers": {}, "body": "%%%", "body_encoding": "base64"}));
        assert_eq!((broken.bytes(), broken.is_not_base64), (&b"%%%"[..], true));
    }

    #[test]
    fn output_is_capped_and_a_character_may_be_cut() {
        let long = gzip("aé".repeat(DECODED_BYTES).as_bytes());
        let content = sent(json!({"content-encoding": "gzip"}), &long);
        assert_eq!(content.bytes().len(), DECODED_BYTES);
        assert_eq!(content.verdict, Verdict::Limited(Limit::Output));
        assert!(content.text().unwrap().text.len() > DECODED_BYTES - 4);
    }

    /// `bytes` under this content type read so; `None`: they are no text.
    fn check(content_type: &str, bytes: &[u8], expected: Option<(&str, Option<&str>)>) {
        for coded in [false, true] {
            let coding = if coded { "gzip" } else { "identity" };
            let body = if coded { gzip(bytes) } else { bytes.to_vec() };
            let headers = json!({"content-type": content_type, "content-encoding": coding});
            let text = sent(headers, &body).text();
            let found = text.as_ref().map(|text| (text.text.as_str(), text.charset));
            assert_eq!(found, expected, "{content_type} {coding}");
        }
    }

    #[test]
    fn text_is_read_by_its_charset() {
        check("text/plain", "é".as_bytes(), Some(("é", None)));
        check("text/plain; charset=utf-8", "é".as_bytes(), Some(("é", None)));
        check("text/plain", b"caf\xe9", None);
        check("text/plain; charset=utf-8", b"caf\xe9", None);
        check(
            "text/plain;charset=ISO-8859-1",
            b"caf\xe9",
            Some(("café", Some("windows-1252"))),
        );
        check(
            "text/html; x=y; Charset=\"latin1\"",
            b"caf\xe9",
            Some(("café", Some("windows-1252"))),
        );
        check(
            "text/plain; charset=utf-16le",
            b"h\0\xe9\0",
            Some(("hé", Some("UTF-16LE"))),
        );
        check(
            "text/plain; charset=utf-16",
            b"\xfe\xff\0h",
            Some(("h", Some("UTF-16BE"))),
        );
        check(
            "text/plain; charset=shift_jis",
            b"\x93\xfa",
            Some(("日", Some("Shift_JIS"))),
        );
        check(
            "text/plain; charset=gb18030",
            b"\xc8\xd5",
            Some(("日", Some("gb18030"))),
        );
        check(
            "text/plain; charset=latin1",
            "\u{feff}é".as_bytes(),
            Some(("é", None)),
        );
        check("text/plain; charset=none-such", b"caf\xe9", None);
        check("text/plain; charset=x; charset=latin1", b"caf\xe9", None);
    }

    #[test]
    fn bytes_outside_the_charset_are_told() {
        let headers = json!({"content-type": "text/plain; charset=shift_jis"});
        let text = sent(headers.clone(), b"a\xff").text().unwrap();
        assert_eq!((text.text.as_str(), text.has_errors), ("a\u{fffd}", true));
        let long = sent(headers, &vec![b'a'; DECODED_BYTES + 1]).text().unwrap();
        assert_eq!((long.text.len(), long.is_cut), (DECODED_BYTES, true));
    }

    /// The agent sends as text whatever is UTF-8, and other clients send text that they decoded themselves.
    #[test]
    fn posted_text_is_text_already() {
        for (charset, body, expected) in [
            ("latin1", "café", "café"),
            ("utf-16le", "h\0i\0", "hi"),
            ("utf-16le", "hi", "hi"),
            ("iso-2022-jp", "\x1b$BF|\x1b(B", "日"),
        ] {
            let headers = json!({"content-type": format!("text/plain; charset={charset}")});
            let text = content(&json!({"headers": headers, "body": body}))
                .text()
                .unwrap();
            assert_eq!(text.text, expected, "{charset}");
        }
    }

    #[test]
    fn a_long_content_type_is_not_read_on() {
        assert_eq!(
            charset(&format!("a/b; x={}; charset=latin1", "x".repeat(2_000))),
            None
        );
    }
}
