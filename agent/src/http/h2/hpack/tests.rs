//! HPACK: the RFC's examples, other implementations, and blocks that were never seen.

mod appendix_c;
mod encoder;
mod losses;
mod properties;

use bytes::Bytes;

use super::{Decoder, Field, FieldList, ListLimit};

const ALL: ListLimit = ListLimit {
    bytes: 1 << 20,
    fields: 1 << 10,
};
const TABLE_BYTES: usize = 64 << 10;

type Line = (Vec<u8>, Vec<u8>);
/// A name or a value; `None` if it is not known.
type Part = Option<Vec<u8>>;

/// A field as text; `?` for what is not known.
fn line(field: &Field) -> String {
    let part = |part: &Option<Bytes>| {
        part.as_ref()
            .map_or_else(|| "?".to_owned(), |bytes| bytes.escape_ascii().to_string())
    };
    format!("{}: {}", part(&field.name), part(&field.value))
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Decodes blocks one after the other; each must be whole and hold `expected`.
#[track_caller]
fn check(decoder: &mut Decoder, blocks: &[(&str, &[&str])]) {
    for (block, expected) in blocks {
        check_one(decoder, block, expected, true);
    }
}

#[track_caller]
fn check_one(decoder: &mut Decoder, block: &str, expected: &[&str], is_whole: bool) {
    let list = decoder.decode(&bytes(block), ALL);
    let lines: Vec<String> = list.fields.iter().map(line).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!((lines.as_slice(), list.is_whole), (expected, is_whole), "{block}");
}

fn lines_of(list: &FieldList) -> Vec<(Part, Part)> {
    let part = |part: &Option<Bytes>| part.as_ref().map(|bytes| bytes.to_vec());
    list.fields
        .iter()
        .map(|field| (part(&field.name), part(&field.value)))
        .collect()
}
