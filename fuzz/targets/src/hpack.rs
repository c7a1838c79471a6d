//! HPACK: header blocks beside another decoder, joined late, and with some lost.

use bytes::Bytes;
use kongtap::http::h2::blocks::{HeaderBlocks, Line};

/// More than any input has.
const ALL: usize = usize::MAX;

/// The table of a running agent, bytes.
const TABLE_BYTES: usize = 64 << 10;

/// Decodes blocks, each behind a byte with its length, or with which block is lost (from 250 on). The first byte: before which block a
/// decoder joins, and the bound of the small table.
///
/// # Panics
/// When another decoder takes a block for something else, when who joins late or lost a block is wrong about a field, or when a table
/// grows beyond its bound.
pub fn run(data: &[u8]) {
    let Some((first, mut rest)) = data.split_first() else {
        return;
    };
    let join_at = usize::from(first & 7);
    let small_bytes = usize::from(first >> 3) * 16;
    let mut whole = HeaderBlocks::new(TABLE_BYTES);
    let mut small = HeaderBlocks::new(small_bytes);
    let mut lossy = HeaderBlocks::new(TABLE_BYTES);
    let mut late = HeaderBlocks::joining(TABLE_BYTES);
    let mut other = Some(loona_hpack::Decoder::new());
    let mut number = 0;
    while let Some((length, after)) = rest.split_first() {
        let is_lost = *length >= 250;
        let length = usize::from(*length).min(after.len());
        let (block, after) = after.split_at_checked(length).unwrap_or((after, &[]));
        rest = after;
        let Some(lines) = whole.decode(block, ALL, ALL) else {
            // Malformed: its connection is over (RFC 9113 section 4.3), and what the decoders hold from here on is anybody's guess.
            assert!(small.table_bytes() <= small_bytes);
            return;
        };
        compare(&mut other, block, &lines);
        is_part(small.decode(block, ALL, ALL), &lines, "a small table");
        if is_lost {
            lossy.lose();
        } else {
            is_part(lossy.decode(block, ALL, ALL), &lines, "a lost block");
        }
        if number >= join_at {
            is_part(late.decode(block, ALL, ALL), &lines, "a late join");
        }
        number += 1;
        assert!(
            small.table_bytes() <= small_bytes,
            "a table of {}",
            small.table_bytes()
        );
        assert!(
            whole.table_bytes() <= TABLE_BYTES,
            "a table of {}",
            whole.table_bytes()
        );
    }
}

/// Where the other decoder takes the block too, it takes it for the same. It is asked no more once it has refused one.
fn compare(other: &mut Option<loona_hpack::Decoder<'_>>, block: &[u8], lines: &[Line]) {
    let Some(decoder) = other else { return };
    let Ok(expected) = decoder.decode(block) else {
        *other = None;
        return;
    };
    let expected: Vec<Line> = expected
        .into_iter()
        .map(|(name, value)| (Some(Bytes::from(name)), Some(Bytes::from(value))))
        .collect();
    assert_eq!(lines, expected, "another decoder differs");
}

/// Who does not know everything knows nothing that is not so.
fn is_part(known: Option<Vec<Line>>, lines: &[Line], why: &str) {
    let Some(known) = known else {
        assert!(known.is_some(), "{why}: a block that can be decoded was not");
        return;
    };
    assert_eq!(known.len(), lines.len(), "{why}");
    for (known, line) in known.iter().zip(lines) {
        let is_same = |known: &Option<Bytes>, part: &Option<Bytes>| known.is_none() || known == part;
        assert!(
            is_same(&known.0, &line.0) && is_same(&known.1, &line.1),
            "{why}: {known:?} for {line:?}"
        );
    }
}
