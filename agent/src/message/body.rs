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

    use super::BodyField;
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
}
