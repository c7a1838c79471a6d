//! A captured body as something to read.
//!
//! In: [`Content`]. Out: text or a hex view, and notes on what was done. Every step is capped. Deliberately absent: rendering.
//! HTML, SVG and images are shown as text or hex.

use kongtap_content::{Limit, Verdict};

use super::json_text;
use super::text::{Lines, size, visible};
use crate::content::{Content, DECODED_BYTES};

/// The most of a body that a page shows as text.
const SHOWN_BYTES: usize = 256 * 1024;
/// The most of a body that a page shows as hex.
const HEX_BYTES: usize = 4 * 1024;
/// Bytes on a line of the hex view.
const HEX_LINE: usize = 16;
/// The longest name of a coding that is shown.
const CODING_BYTES: usize = 32;

/// A body, ready for a page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct BodyView {
    /// What it is shown as: "JSON", "text", "hex".
    pub(crate) kind: &'static str,
    /// What to read.
    pub(crate) text: String,
    /// What was done to it, and what is missing.
    pub(crate) notes: Vec<String>,
    /// The bytes as they were sent, in hex, where those are others than what is shown.
    pub(crate) sent: String,
}

/// Makes a body readable.
pub(crate) fn view(content: &Content) -> BodyView {
    let mut notes = Vec::new();
    if content.is_not_base64 {
        notes.push("marked base64, but it is not; shown as it came".to_owned());
    }
    note_decoding(content, &mut notes);
    let (kind, text) = match content.text().filter(|text| is_text(&text.text)) {
        Some(text) => {
            if let Some(charset) = text.charset {
                let errors = if text.has_errors {
                    ", not all of it is that"
                } else {
                    ""
                };
                notes.push(format!("read as {charset}{errors}"));
            }
            if text.is_cut {
                notes.push(format!("read up to {}", shown_size(DECODED_BYTES)));
            }
            as_text(&text.text, &mut notes)
        }
        None => as_hex(content.bytes(), &mut notes),
    };
    let sent = if content.undone.is_empty() {
        String::new()
    } else {
        as_hex(&content.sent, &mut Vec::new()).1
    };
    BodyView {
        kind,
        text,
        notes,
        sent,
    }
}

/// What was undone, and why not all of it.
fn note_decoding(content: &Content, notes: &mut Vec<String>) {
    let undone: Vec<&str> = content.undone.iter().map(|coding| coding.name()).collect();
    if !undone.is_empty() {
        notes.push(format!(
            "decoded from {}, {} as sent",
            undone.join(" of "),
            shown_size(content.sent.len())
        ));
    }
    match &content.verdict {
        Verdict::Whole => {}
        Verdict::Truncated if undone.is_empty() => {
            notes.push("too little of it to decode; shown as it was sent".to_owned());
        }
        Verdict::Truncated => notes.push("the compressed data breaks off".to_owned()),
        Verdict::Damaged { coding, .. } if undone.is_empty() => {
            notes.push(format!(
                "does not decode as `{}`; shown as it was sent",
                coding.name()
            ));
        }
        Verdict::Damaged { coding, at } => notes.push(format!(
            "the compressed data is damaged, about byte {at} of {}",
            coding.name()
        )),
        Verdict::Limited(limit) => {
            notes.push(format!(
                "decoding stopped after {}",
                shown_size(content.bytes().len())
            ));
            notes.push(
                match limit {
                    Limit::Output => "there is more of it",
                    Limit::Ratio => "it grows more than a thousandfold",
                    Limit::Window => "it asks for too large a window",
                    Limit::Layers => "it is under too many codings",
                    Limit::Steps => "it takes too much work",
                }
                .to_owned(),
            );
        }
        Verdict::Unknown(name) => notes.push(format!(
            "content coding `{}` is not decoded here; shown as it was sent",
            visible(&String::from_utf8_lossy(name), CODING_BYTES, Lines::Shown)
        )),
    }
    if content.trailing_bytes > 0 {
        notes.push(format!(
            "{} behind the end of the data left out",
            shown_size(content.trailing_bytes)
        ));
    }
}

/// Mostly printable: a binary format can be valid UTF-8 and still be no text.
fn is_text(text: &str) -> bool {
    let (mut seen, mut controls) = (0_usize, 0_usize);
    for character in text.chars().take(4_096) {
        seen += 1;
        controls += usize::from(character.is_control() && !matches!(character, '\n' | '\r' | '\t'));
    }
    controls * 10 <= seen
}

fn as_text(text: &str, notes: &mut Vec<String>) -> (&'static str, String) {
    let (kind, shown, cut) = match json_text::pretty(text, SHOWN_BYTES) {
        Some(laid) => ("JSON", laid.text, laid.cut),
        None => ("text", text.to_owned(), text.len() > SHOWN_BYTES),
    };
    if cut {
        notes.push(format!(
            "only the first {} of {} are shown",
            shown_size(SHOWN_BYTES),
            shown_size(text.len())
        ));
    }
    (kind, visible(&shown, SHOWN_BYTES, Lines::Kept).into_owned())
}

fn as_hex(bytes: &[u8], notes: &mut Vec<String>) -> (&'static str, String) {
    if bytes.len() > HEX_BYTES {
        notes.push(format!(
            "only the first {} of {} are shown",
            shown_size(HEX_BYTES),
            shown_size(bytes.len())
        ));
    }
    let mut out = String::new();
    for (index, line) in bytes.chunks(HEX_LINE).take(HEX_BYTES / HEX_LINE).enumerate() {
        let mut hex = String::with_capacity(HEX_LINE * 3);
        let mut ascii = String::with_capacity(HEX_LINE);
        for byte in line {
            hex.push_str(&format!("{byte:02x} "));
            ascii.push(if byte.is_ascii_graphic() || *byte == b' ' {
                char::from(*byte)
            } else {
                '·'
            });
        }
        let width = HEX_LINE * 3;
        out.push_str(&format!("{:08x}  {hex:width$} {ascii}\n", index * HEX_LINE));
    }
    ("hex", out)
}

fn shown_size(bytes: usize) -> String {
    size(u64::try_from(bytes).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use serde_json::{Value, json};

    use super::{BodyView, view};
    use crate::content::Content;

    fn shown(half: &Value) -> BodyView {
        view(&Content::of(half.as_object().unwrap()).unwrap())
    }

    fn plain(body: &str) -> BodyView {
        shown(&json!({"body": body}))
    }

    fn coded(bytes: &[u8], coding: &str) -> BodyView {
        shown(&json!({
            "headers": {"content-encoding": coding}, "body": BASE64.encode(bytes), "body_encoding": "base64",
        }))
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn text_json_and_binary_are_told_apart() {
        assert_eq!(plain("hello").kind, "text");
        assert_eq!(plain(r#"{"a":1}"#).text, "{\n  \"a\": 1\n}");
        assert_eq!(
            plain("<script>alert(1)</script>").text,
            "<script>alert(1)</script>"
        );
        assert_eq!(
            plain("a\0b and plenty more text").text,
            "a␀b and plenty more text"
        );
        assert_eq!(plain("\0\0\0\x01").kind, "hex");
        let hex = coded(b"\x89PNG\r\n\x1a\n\xff", "");
        assert_eq!(
            hex.text,
            "00000000  89 50 4e 47 0d 0a 1a 0a ff                       ·PNG·····\n"
        );
        assert_eq!(coded("ja é".as_bytes(), "").text, "ja é");
    }

    #[test]
    fn compressed_bodies_are_shown_decoded() {
        let text = b"{\"compressed\":true}";
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(text).unwrap();
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::fast());
        deflate.write_all(text).unwrap();
        for (bytes, coding, note) in [
            (gzip(text), "gzip", "decoded from gzip, "),
            (gzip(text), "X-GZIP", "decoded from gzip, "),
            (zlib.finish().unwrap(), "deflate", "decoded from deflate, "),
            (deflate.finish().unwrap(), "deflate", "decoded from deflate, "),
            (gzip(&gzip(text)), "gzip, gzip", "decoded from gzip of gzip, "),
            (BROTLI.to_vec(), "br", "decoded from br, 23 B as sent"),
            (ZSTD.to_vec(), "zstd", "decoded from zstd, 28 B as sent"),
        ] {
            let view = coded(&bytes, coding);
            assert_eq!(
                (view.kind, view.text.as_str()),
                ("JSON", "{\n  \"compressed\": true\n}"),
                "{coding}"
            );
            assert!(view.notes[0].starts_with(note), "{:?}", view.notes);
            assert_eq!(view.notes.len(), 1, "{:?}", view.notes);
            assert!(view.sent.starts_with("00000000  "), "{}", view.sent);
        }
    }

    /// `{"compressed":true}` in one block, as it is.
    const BROTLI: &[u8] = b"\x0b\x09\x80{\"compressed\":true}\x03";
    const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x20\x13\x99\0\0{\"compressed\":true}";

    /// The notes on `bytes` under `coding`, together.
    fn check_notes(bytes: &[u8], coding: &str, text: &str, notes: &str) {
        let view = coded(bytes, coding);
        assert_eq!(view.notes.join(" | "), notes, "{coding}");
        assert_eq!(view.text, text, "{coding}");
    }

    #[test]
    fn what_is_wrong_with_a_compressed_body_is_said() {
        check_notes(
            b"abc",
            "dcb",
            "abc",
            "content coding `dcb` is not decoded here; shown as it was sent",
        );
        check_notes(
            b"not gzip",
            "gzip",
            "not gzip",
            "does not decode as `gzip`; shown as it was sent",
        );
        check_notes(
            b"abc",
            "gzip,gzip,gzip,gzip",
            "abc",
            "decoding stopped after 3 B | it is under too many codings",
        );
        let whole = gzip(b"hello");
        let sent = format!("decoded from gzip, {} B as sent", whole.len());
        let cut = &whole[..whole.len() - 5];
        let note = format!(
            "decoded from gzip, {} B as sent | the compressed data breaks off",
            cut.len()
        );
        check_notes(cut, "gzip", "hello", &note);
        let mut damaged = whole.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let at = whole.len() - 8;
        let note = format!("{sent} | the compressed data is damaged, about byte {at} of gzip");
        check_notes(&damaged, "gzip", "hello", &note);
        let behind = [&whole, &b"\0\0"[..]].concat();
        let note = format!(
            "decoded from gzip, {} B as sent | 2 B behind the end of the data left out",
            behind.len()
        );
        check_notes(&behind, "gzip", "hello", &note);
    }

    #[test]
    fn the_charset_is_named() {
        let view = shown(&json!({
            "headers": {"content-type": "text/plain; charset=latin1"}, "body": "Y2Fm6Q==", "body_encoding": "base64",
        }));
        assert_eq!((view.kind, view.text.as_str()), ("text", "café"));
        assert_eq!(view.notes, ["read as windows-1252"]);
    }

    #[test]
    fn a_bomb_and_a_large_body_are_capped() {
        let view = coded(&gzip(&vec![b'a'; 32 << 20]), "gzip");
        assert!(view.text.len() < 300_000);
        assert!(
            view.notes
                .iter()
                .any(|note| note == "decoding stopped after 1.0 MB"),
            "{:?}",
            view.notes
        );
        let large = plain(&"é".repeat(1 << 20));
        assert!(large.text.len() < 300_000);
        assert!(large.notes.iter().any(|note| note.contains("only the first")));
        assert!(coded(&[0xff; 1 << 20], "").text.len() < 30_000);
    }

    #[test]
    fn what_is_not_base64_is_shown_as_it_came() {
        let view = shown(&json!({"body": "%%%", "body_encoding": "base64"}));
        assert_eq!(view.text, "%%%");
        assert_eq!(view.notes.len(), 1);
    }
}
