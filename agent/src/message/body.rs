//! How a captured body stands in the message: as text, as base64, or not at all.
//!
//! In: a body and the profile. Out: [`BodyField`], which writes `body` and, where it applies, `body_encoding`.

use std::borrow::Cow;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, Serializer};

use crate::message::Profile;

/// The value of `body`.
#[derive(Clone, Debug)]
pub(super) enum BodyField<'a> {
    /// A JSON string of these bytes, which are UTF-8 or are made so.
    Text(Cow<'a, str>),
    /// Base64, and `body_encoding` says so.
    Base64(Cow<'a, [u8]>),
}

impl<'a> BodyField<'a> {
    /// `bytes` are the first ones of a body, or all of them if it is `whole`. Bytes that are not UTF-8 become base64 in
    /// the extended profile. The plugin's has no way to say so: there they become U+FFFD, because the old plugin's raw
    /// bytes made the whole message invalid JSON.
    pub(super) fn new(bytes: Cow<'a, [u8]>, whole: bool, profile: Profile) -> Self {
        match (bytes, profile) {
            (Cow::Borrowed(bytes), Profile::Plugin) => Self::Text(String::from_utf8_lossy(bytes)),
            (Cow::Owned(bytes), Profile::Plugin) => {
                Self::Text(String::from_utf8_lossy(&bytes).into_owned().into())
            }
            (Cow::Borrowed(bytes), Profile::Extended) => match utf8(bytes, whole) {
                Some(text) => Self::Text(Cow::Borrowed(text)),
                None => Self::Base64(Cow::Borrowed(bytes)),
            },
            (Cow::Owned(bytes), Profile::Extended) => match utf8(&bytes, whole).map(str::to_owned) {
                Some(text) => Self::Text(Cow::Owned(text)),
                None => Self::Base64(Cow::Owned(bytes)),
            },
        }
    }

    /// `body_encoding`, when it has to be said.
    pub(super) const fn encoding(&self) -> Option<&'static str> {
        match self {
            Self::Text(_) => None,
            Self::Base64(_) => Some("base64"),
        }
    }
}

/// The longest a UTF-8 character gets, less one: what a cut can leave of one.
const MAX_CUT_CHARACTER_BYTES: usize = 3;

/// The bytes as text. A character that was cut in two at the end of a body that goes on is left out.
fn utf8(bytes: &[u8], whole: bool) -> Option<&str> {
    match str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if !whole && error.error_len().is_none() => {
            let (text, cut) = bytes.split_at_checked(error.valid_up_to())?;
            (cut.len() <= MAX_CUT_CHARACTER_BYTES)
                .then(|| str::from_utf8(text).ok())
                .flatten()
        }
        Err(_) => None,
    }
}

impl Serialize for BodyField<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Base64(bytes) => serializer.collect_str(&Base64Display::new(bytes, &STANDARD)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use base64::Engine as _;

    use super::{BodyField, STANDARD};
    use crate::message::Profile;

    fn check(bytes: &[u8], whole: bool, profile: Profile, expected: &str, encoding: Option<&str>) {
        for bytes in [Cow::Borrowed(bytes), Cow::Owned(bytes.to_vec())] {
            let field = BodyField::new(bytes, whole, profile);
            assert_eq!(serde_json::to_string(&field).unwrap(), expected);
            assert_eq!(field.encoding(), encoding);
        }
    }

    #[test]
    fn bytes_become_text_or_base64() {
        use Profile::{Extended, Plugin};
        check(b"{\"a\":1}", true, Extended, r#""{\"a\":1}""#, None);
        check(b"\x1f\x8b\x08", true, Extended, "\"H4sI\"", Some("base64"));
        check(b"\x1f\x8b\x08", true, Plugin, "\"\\u001f\u{fffd}\\b\"", None);
        check(b"caf\xc3", false, Extended, "\"caf\"", None);
        check(b"caf\xc3", true, Extended, "\"Y2Fmww==\"", Some("base64"));
        check(b"", true, Extended, "\"\"", None);
    }

    /// Unicode 16, table 3-7.
    #[test]
    fn only_well_formed_utf8_is_text() {
        for (what, bytes, text) in [
            ("NUL", &b"a\0b"[..], Some(r#""a\u0000b""#)),
            ("controls, DEL", b"\x01\x1f\x7f", Some("\"\\u0001\\u001f\x7f\"")),
            ("the last character", b"\xf4\x8f\xbf\xbf", Some("\"\u{10ffff}\"")),
            ("a non-character", b"\xef\xbf\xbf", Some("\"\u{ffff}\"")),
            ("a byte order mark", b"\xef\xbb\xbf{}", Some("\"\u{feff}{}\"")),
            ("beyond the last character", b"\xf4\x90\x80\x80", None),
            ("overlong, two bytes", b"\xc0\xaf", None),
            ("overlong, three bytes", b"\xe0\x80\xaf", None),
            ("overlong, four bytes", b"\xf0\x80\x80\xaf", None),
            ("an overlong NUL", b"a\xc0\x80b", None),
            ("a high surrogate", b"\xed\xa0\x80", None),
            ("a pair of surrogates", b"\xed\xa0\xbd\xed\xb8\x80", None),
            ("five bytes", b"\xf8\x88\x80\x80\x80", None),
            ("no character begins so", b"\x80", None),
            ("Latin-1", b"caf\xe9 noir", None),
            ("UTF-16", b"\xff\xfe{\0}\0", None),
            ("invalid at the very end", b"text\xff", None),
        ] {
            // What is wrong whatever follows is so in a body that was cut, too.
            for whole in [true, false] {
                let base64 = format!("\"{}\"", STANDARD.encode(bytes));
                let encoding = text.is_none().then_some("base64");
                check(bytes, whole, Profile::Extended, text.unwrap_or(&base64), encoding);
            }
            let value = BodyField::new(bytes.into(), true, Profile::Plugin);
            let shown: String = serde_json::from_str(&serde_json::to_string(&value).unwrap()).unwrap();
            assert_eq!(shown, String::from_utf8_lossy(bytes), "{what}");
        }
    }

    #[test]
    fn a_character_that_was_cut_in_two_is_left_out() {
        let text = "a\u{e9}\u{20ac}\u{10ffff}";
        for cut in 0..text.len() {
            let bytes = &text.as_bytes()[..cut];
            let kept = (0..=cut).rev().find_map(|end| text.get(..end)).unwrap();
            let expected = serde_json::to_string(kept).unwrap();
            check(bytes, false, Profile::Extended, &expected, None);
            if kept.len() < cut {
                let base64 = format!("\"{}\"", STANDARD.encode(bytes));
                check(bytes, true, Profile::Extended, &base64, Some("base64"));
            }
        }
    }
}
