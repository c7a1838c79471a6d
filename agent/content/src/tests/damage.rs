//! Bodies that are cut, damaged, too long, or bombs.

use proptest::prelude::{ProptestConfig, any, prop, prop_assert, proptest};

use super::{ZSTD_19, ZSTD_STREAMED, bare, brotli, check, each, gzip, noise, text, undo, zlib, zstd};
use crate::{Coding, FREE_BYTES, Limit, Limits, Verdict, decode};
use flate2::Compression;

/// A frame of zstd whose every block is 128 KiB of one byte: 4 bytes each.
fn zstd_bomb(blocks: usize) -> Vec<u8> {
    let mut bomb = b"\x28\xb5\x2f\xfd\x00\x58".to_vec();
    for block in 1..=blocks {
        let header = (128 << 10) << 3 | 1 << 1 | u32::from(block == blocks);
        bomb.extend_from_slice(&header.to_le_bytes()[..3]);
        bomb.push(b'a');
    }
    bomb
}

#[test]
fn every_cut_gives_a_prefix_and_says_so() {
    for text in [text(), noise()] {
        for (coding, coded) in each(&text).into_iter().chain([("zstd", ZSTD_19.to_vec())]) {
            let expected = undo(coding, &coded).bytes.into_owned();
            let mut longest = 0;
            for cut in (1..coded.len()).step_by(coded.len() / 97 + 1) {
                let decoded = undo(coding, &coded[..cut]);
                assert_eq!(decoded.verdict, Verdict::Truncated, "{coding} cut at {cut}");
                assert!(expected.starts_with(&decoded.bytes), "{coding} cut at {cut}");
                assert!(decoded.bytes.len() >= longest, "{coding} cut at {cut}");
                longest = decoded.bytes.len();
            }
            // zstd's 21 KB are one block.
            assert!(
                coding == "zstd" || longest > expected.len() / 2,
                "{coding}: {longest}"
            );
        }
    }
}

#[test]
fn a_cut_costs_zstd_a_block_and_no_more() {
    let text = text().repeat(20);
    let coded = zstd(&text);
    let decoded = undo("zstd", &coded[..coded.len() - 1]);
    assert_eq!(decoded.verdict, Verdict::Truncated);
    assert!(decoded.bytes.len() + (128 << 10) >= text.len() && text.starts_with(&decoded.bytes));
    check(
        "its check sum",
        "zstd",
        &ZSTD_19[..ZSTD_19.len() - 1],
        &super::text(),
        &Verdict::Truncated,
    );
}

#[test]
fn damage_is_found_where_it_is() {
    let text = text();
    let damaged = |coding, at| Verdict::Damaged { coding, at };
    let flipped = |mut coded: Vec<u8>, from_end: usize| {
        let at = coded.len() - from_end;
        coded[at] ^= 0x40;
        (coded, at)
    };
    let (coded, at) = flipped(gzip(&text), 8);
    check(
        "gzip's check sum",
        "gzip",
        &coded,
        &text,
        &damaged(Coding::Gzip, at),
    );
    let (coded, at) = flipped(gzip(&text), 4);
    check(
        "gzip's length",
        "gzip",
        &coded,
        &text,
        &damaged(Coding::Gzip, at - 4),
    );
    let (coded, at) = flipped([gzip(&text), gzip(b"")].concat(), 1);
    check(
        "the second member",
        "gzip",
        &coded,
        &text,
        &damaged(Coding::Gzip, at - 7),
    );
    let (coded, at) = flipped(ZSTD_19.to_vec(), 1);
    check(
        "zstd's check sum",
        "zstd",
        &coded,
        &text,
        &damaged(Coding::Zstd, at - 3),
    );
    let (coded, at) = flipped(zlib(&text), 1);
    check(
        "zlib's check sum",
        "deflate",
        &coded,
        &text,
        &damaged(Coding::Deflate, at + 1),
    );
    check("no gzip", "gzip", b"plain text", b"", &damaged(Coding::Gzip, 0));
    check(
        "another method",
        "gzip",
        b"\x1f\x8b\x07 and more",
        b"",
        &damaged(Coding::Gzip, 2),
    );
    check(
        "a reserved flag",
        "gzip",
        b"\x1f\x8b\x08\x80\0\0\0\0\0\xff",
        b"",
        &damaged(Coding::Gzip, 3),
    );
    check(
        "no deflate",
        "deflate",
        b"\x07plain text",
        b"",
        &damaged(Coding::Deflate, 1),
    );
    check(
        "no brotli: a large window",
        "br",
        b"\x11\x0f",
        b"",
        &damaged(Coding::Brotli, 0),
    );
    check("no zstd", "zstd", b"plain text", b"", &damaged(Coding::Zstd, 0));
    check(
        "a reserved bit",
        "zstd",
        b"\x28\xb5\x2f\xfd\x08\x58",
        b"",
        &damaged(Coding::Zstd, 4),
    );
    check(
        "a reserved block",
        "zstd",
        b"\x28\xb5\x2f\xfd\x00\x58\x0f\0\0 ",
        b"",
        &damaged(Coding::Zstd, 6),
    );
    let declared = b"\x28\xb5\x2f\xfd\x20\x02\x09\0\0a";
    check("zstd's length", "zstd", declared, b"a", &damaged(Coding::Zstd, 6));
}

#[test]
fn the_middle_of_damaged_data_is_shown_up_to_the_damage() {
    // A byte of data for two of text: there is much of it before the damage under every coding.
    let text: Vec<u8> = noise()
        .iter()
        .flat_map(|byte| format!("{byte:02x}").into_bytes())
        .collect();
    // Brotli and bare deflate have no check sum: most damage is nothing but other data to them.
    for (coding, mut coded) in [
        ("gzip", gzip(&text)),
        ("deflate", zlib(&text)),
        ("zstd", zstd(&text)),
    ] {
        let at = coded.len() / 2;
        coded[at..at + 64].fill(0xff);
        let decoded = undo(coding, &coded);
        assert!(
            matches!(decoded.verdict, Verdict::Damaged { .. }),
            "{coding}: {:?}",
            decoded.verdict
        );
        let common = decoded
            .bytes
            .iter()
            .zip(&text)
            .take_while(|(one, other)| one == other)
            .count();
        assert!(common > text.len() / 4, "{coding}: {common} of {}", text.len());
    }
    // The last block becomes metadata with its reserved bit set (RFC 7932 section 9.2).
    let mut coded = brotli(&noise(), 22);
    *coded.last_mut().unwrap() = 0b1110;
    let decoded = undo("br", &coded);
    assert!(
        matches!(decoded.verdict, Verdict::Damaged { coding: Coding::Brotli, at } if at + 512 >= coded.len())
    );
    assert!(
        decoded.bytes.len() > 39_000 && noise().starts_with(&decoded.bytes),
        "{}",
        decoded.bytes.len()
    );
}

#[test]
fn what_follows_the_end_is_counted() {
    let text = text();
    let empty: &[u8] = b"";
    for (coding, coded) in each(&text).into_iter().chain([("zstd", ZSTD_STREAMED.to_vec())]) {
        for garbage in [empty, b"\0", b"\0\0\0\0\0\0", b"&apikey=secret"] {
            let decoded = decode([coding], &[&coded, garbage].concat(), &Limits::of_output(1 << 20)).verdict;
            assert_eq!(decoded, Verdict::Whole, "{coding} {garbage:?}");
            let body = [&coded, garbage].concat();
            assert_eq!(
                undo(coding, &body).trailing_bytes,
                garbage.len(),
                "{coding} {garbage:?}"
            );
        }
    }
}

#[test]
fn output_ends_at_its_cap() {
    let text = text();
    for (coding, coded) in each(&text) {
        for (cap, expected) in [
            (text.len(), Verdict::Whole),
            (text.len() - 1, Verdict::Limited(Limit::Output)),
            (100, Verdict::Limited(Limit::Output)),
            (0, Verdict::Limited(Limit::Output)),
        ] {
            let decoded = decode([coding], &coded, &Limits::of_output(cap));
            assert_eq!(decoded.verdict, expected, "{coding} {cap}");
            assert_eq!(&*decoded.bytes, &text[..cap], "{coding} {cap}");
        }
    }
}

#[test]
fn bombs_end_at_the_ratio() {
    let zeros = vec![0; 16 << 20];
    for (coding, bomb) in [
        ("br", brotli(&zeros, 22)),
        ("zstd", zstd_bomb(128)),
        ("gzip", gzip(&zeros)),
        ("deflate", bare(&zeros, Compression::best())),
    ] {
        let limits = Limits {
            ratio: 100,
            ..Limits::of_output(32 << 20)
        };
        let decoded = decode([coding], &bomb, &limits);
        assert_eq!(decoded.verdict, Verdict::Limited(Limit::Ratio), "{coding}");
        assert_eq!(
            decoded.bytes.len(),
            (bomb.len() * 100).max(FREE_BYTES),
            "{coding}"
        );
    }
    // Twice as dense, one in the other.
    let twice = gzip(&gzip(&zeros));
    let decoded = decode(["gzip, gzip"], &twice, &Limits::of_output(1 << 20));
    assert_eq!(decoded.verdict, Verdict::Limited(Limit::Output));
}

#[test]
fn steps_are_limited() {
    let skips = b"\x50\x2a\x4d\x18\0\0\0\0".repeat(1_000);
    let empty_blocks = [b"\x28\xb5\x2f\xfd\x00\x58".to_vec(), vec![0; 30_000]].concat();
    for (what, coding, body) in [
        ("members", "gzip", gzip(b"").repeat(1_000)),
        ("frames", "zstd", zstd(b"").repeat(1_000)),
        ("frames to skip", "zstd", skips),
        ("empty blocks", "zstd", empty_blocks),
        ("input", "br", brotli(&noise(), 22)),
    ] {
        let limits = Limits {
            steps: 50,
            ..Limits::of_output(1 << 20)
        };
        let decoded = decode([coding], &body, &limits);
        assert_eq!(decoded.verdict, Verdict::Limited(Limit::Steps), "{what}");
    }
}

const CODINGS: [&str; 6] = ["gzip", "deflate", "br", "zstd", "gzip, br", "deflate, zstd"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_truncation_gives_a_prefix(
        pieces in prop::collection::vec(prop::sample::select(vec!["a", "order ", "{\"x\":1}", "\0\0\0", "é"]), 1..400),
        noise in prop::collection::vec(any::<u8>(), 0..200),
        cut in any::<prop::sample::Index>(),
    ) {
        let text = [pieces.concat().as_bytes(), &noise].concat();
        for (coding, coded) in each(&text) {
            let whole = undo(coding, &coded);
            prop_assert!(whole.bytes == text && whole.verdict == Verdict::Whole, "{coding}");
            let cut = cut.index(coded.len());
            let decoded = undo(coding, &coded[..cut]);
            prop_assert!(text.starts_with(&decoded.bytes), "{coding} {cut}");
            let expected = if cut == 0 { Verdict::Whole } else { Verdict::Truncated };
            prop_assert!(decoded.verdict == expected, "{coding} {cut} {:?}", decoded.verdict);
        }
    }

    #[test]
    fn any_bytes_stay_within_the_cap(
        coding in prop::sample::select(CODINGS.to_vec()),
        body in prop::collection::vec(any::<u8>(), 0..2_000),
        cap in 0_usize..5_000,
    ) {
        prop_assert!(decode([coding], &body, &Limits::of_output(cap)).bytes.len() <= cap.max(body.len()));
    }

    /// Deeper than random bytes get: sound data with a few bytes changed.
    #[test]
    fn changed_data_stays_within_the_cap(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        lines in 1_usize..400,
        cap in 0_usize..30_000,
    ) {
        let text = text();
        let text = &text[..lines * 50];
        for (coding, mut coded) in each(text).into_iter().chain([("zstd", ZSTD_19.to_vec()), ("zstd", ZSTD_STREAMED.to_vec())]) {
            for (at, byte) in &changes {
                let at = at.index(coded.len());
                coded[at] = *byte;
            }
            prop_assert!(decode([coding], &coded, &Limits::of_output(cap)).bytes.len() <= cap);
        }
    }
}
