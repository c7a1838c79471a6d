//! A captured body as something to read.
//!
//! In: the body as the message holds it, its encoding there, and what its headers say. Out: text or a hex view, and notes on
//! what was done. Every step is capped. Deliberately absent: rendering. HTML, SVG and images are shown as text or hex.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::json_text;
use super::text::{Lines, size, visible};

/// The most of a body that a page shows as text.
const SHOWN_BYTES: usize = 256 * 1024;
/// The most of a body that a page shows as hex.
const HEX_BYTES: usize = 4 * 1024;
/// Bytes on a line of the hex view.
const HEX_LINE: usize = 16;
/// The most that is made of a compressed body.
const DECODED_BYTES: u64 = 1 << 20;

/// A body, ready for a page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct BodyView {
    /// What it is shown as: "JSON", "text", "hex".
    pub(crate) kind: &'static str,
    /// What to read.
    pub(crate) text: String,
    /// What was done to it, and what is missing.
    pub(crate) notes: Vec<String>,
}

/// What the message says about a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Captured<'a> {
    /// `body`.
    pub(crate) body: &'a str,
    /// `body_encoding`.
    pub(crate) encoding: Option<&'a str>,
    /// The `content-encoding` header, coding after coding.
    pub(crate) coding: &'a str,
}

/// Makes a body readable.
pub(crate) fn view(captured: Captured<'_>) -> BodyView {
    let mut notes = Vec::new();
    let bytes = match captured.encoding {
        Some("base64") => BASE64.decode(captured.body).unwrap_or_else(|_not_base64| {
            notes.push("marked base64, but it is not; shown as it came".to_owned());
            captured.body.as_bytes().to_vec()
        }),
        _ => captured.body.as_bytes().to_vec(),
    };
    let bytes = decoded(bytes, captured.coding, &mut notes);
    let (kind, text) = match String::from_utf8(bytes) {
        Ok(text) if is_text(&text) => as_text(&text, &mut notes),
        Ok(text) => as_hex(text.as_bytes(), &mut notes),
        Err(error) => as_hex(error.as_bytes(), &mut notes),
    };
    BodyView { kind, text, notes }
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

/// Undoes content codings, the last applied first (RFC 9110 section 8.4), as far as they are known and the caps allow.
fn decoded(mut bytes: Vec<u8>, codings: &str, notes: &mut Vec<String>) -> Vec<u8> {
    let codings: Vec<String> = codings
        .split(',')
        .map(|coding| coding.trim().to_ascii_lowercase())
        .filter(|coding| !coding.is_empty() && coding != "identity")
        .collect();
    // Each coding could multiply the size; real messages have one, rarely two.
    for coding in codings.iter().rev().take(2) {
        if bytes.is_empty() {
            break;
        }
        let shown = visible(coding, 32, Lines::Shown).into_owned();
        let decoded = match coding.as_str() {
            "gzip" | "x-gzip" => inflate(gzip(&bytes)),
            // RFC 9110 says zlib; some servers send the bare stream.
            "deflate" => inflate(flate2::read::ZlibDecoder::new(bytes.as_slice()))
                .or_else(|| inflate(flate2::read::DeflateDecoder::new(bytes.as_slice()))),
            _ => {
                notes.push(format!(
                    "content coding `{shown}` is not decoded here; shown as it was sent"
                ));
                break;
            }
        };
        let Some(decoded) = decoded else {
            notes.push(format!("does not decode as `{shown}`; shown as it was sent"));
            break;
        };
        notes.push(format!(
            "decoded from {shown}, {} as sent",
            shown_size(bytes.len())
        ));
        match decoded.end {
            End::Whole => {}
            End::Capped => notes.push(format!("decoding stopped after {}", size(DECODED_BYTES))),
            End::Broken => notes.push("the compressed data breaks off".to_owned()),
        }
        bytes = decoded.bytes;
    }
    bytes
}

#[expect(clippy::disallowed_types, reason = "`inflate` caps what is read from it")]
fn gzip(bytes: &[u8]) -> impl Read + '_ {
    flate2::read::MultiGzDecoder::new(bytes)
}

struct Inflated {
    bytes: Vec<u8>,
    end: End,
}

enum End {
    Whole,
    Capped,
    Broken,
}

/// What a decoder gives, up to the cap; `None` when it gives nothing but an error.
fn inflate(decoder: impl Read) -> Option<Inflated> {
    let mut bytes = Vec::new();
    let read = decoder.take(DECODED_BYTES + 1).read_to_end(&mut bytes);
    let cap = usize::try_from(DECODED_BYTES).unwrap_or(usize::MAX);
    let end = match read {
        Ok(_) if bytes.len() > cap => {
            bytes.truncate(cap);
            End::Capped
        }
        Ok(_) => End::Whole,
        Err(_) if bytes.is_empty() => return None,
        Err(_) => End::Broken,
    };
    Some(Inflated { bytes, end })
}

fn shown_size(bytes: usize) -> String {
    size(u64::try_from(bytes).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use base64::Engine as _;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::{BASE64, BodyView, Captured, view};

    fn plain(body: &str) -> BodyView {
        view(Captured {
            body,
            encoding: None,
            coding: "",
        })
    }

    fn coded(bytes: &[u8], coding: &str) -> BodyView {
        view(Captured {
            body: &BASE64.encode(bytes),
            encoding: Some("base64"),
            coding,
        })
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
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(text).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(text).unwrap();
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::fast());
        deflate.write_all(text).unwrap();
        let mut twice = GzEncoder::new(Vec::new(), Compression::fast());
        twice.write_all(&gzip).unwrap();
        for (bytes, coding) in [
            (&gzip, "gzip"),
            (&gzip, "X-GZIP"),
            (&zlib.finish().unwrap(), "deflate"),
            (&deflate.finish().unwrap(), "deflate"),
            (&twice.finish().unwrap(), "gzip, gzip"),
        ] {
            let view = coded(bytes, coding);
            assert_eq!(
                (view.kind, view.text.as_str()),
                ("JSON", "{\n  \"compressed\": true\n}"),
                "{coding}"
            );
            assert!(view.notes[0].starts_with("decoded from"), "{:?}", view.notes);
        }
        assert!(coded(b"abc", "br").notes[0].contains("not decoded"));
        assert!(coded(b"not gzip", "gzip").notes[0].contains("does not decode"));
        assert_eq!(coded(b"not gzip", "gzip").text, "not gzip");
    }

    #[test]
    fn a_bomb_and_a_large_body_are_capped() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&vec![b'a'; 32 << 20]).unwrap();
        let view = coded(&gzip.finish().unwrap(), "gzip");
        assert!(view.text.len() < 300_000);
        assert!(
            view.notes.iter().any(|note| note.contains("decoding stopped")),
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
        let view = view(Captured {
            body: "%%%",
            encoding: Some("base64"),
            coding: "",
        });
        assert_eq!(view.text, "%%%");
        assert_eq!(view.notes.len(), 1);
    }
}
