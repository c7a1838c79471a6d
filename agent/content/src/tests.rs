//! Tables of bodies under each coding, made by encoders that share no code with what undoes them wherever there is one.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;

use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use flate2::{Compression, GzBuilder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use crate::{Coding, Decoded, Limit, Limits, Verdict, decode, is_coded};

use peak_alloc as _; // for `tests/memory.rs`

mod damage;
mod layers;

/// Made by the zstd and gzip tools of [`text`].
const ZSTD_19: &[u8] = include_bytes!("../testdata/level19-checksum.zst");
const ZSTD_STREAMED: &[u8] = include_bytes!("../testdata/streamed-no-checksum.zst");
const ZSTD_WIDE: &[u8] = include_bytes!("../testdata/window-128m.zst");
const GZIP_NAMED: &[u8] = include_bytes!("../testdata/named.gz");

/// 21 KB of lines that compress well.
fn text() -> Vec<u8> {
    let mut text = String::new();
    for order in 0..400 {
        let price = order * order % 97;
        writeln!(
            text,
            r#"{{"order":{order},"price":{price}.5,"note":"left at the door"}}"#
        )
        .unwrap();
    }
    text.into_bytes()
}

/// 40 KB that do not compress.
fn noise() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..40_000).map(|_| next()).collect()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn bare(text: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), level);
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn brotli(mut text: &[u8], window_bits: i32) -> Vec<u8> {
    let mut coded = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams {
        lgwin: window_bits,
        quality: 5,
        ..Default::default()
    };
    brotli::BrotliCompress(&mut text, &mut coded, &parameters).unwrap();
    coded
}

fn zstd(text: &[u8]) -> Vec<u8> {
    compress_to_vec(text, CompressionLevel::Fastest)
}

/// One of each, for rules that hold for all.
fn each(text: &[u8]) -> [(&'static str, Vec<u8>); 5] {
    [
        ("gzip", gzip(text)),
        ("deflate", zlib(text)),
        ("deflate", bare(text, Compression::fast())),
        ("br", brotli(text, 22)),
        ("zstd", zstd(text)),
    ]
}

fn undo<'b>(codings: &str, body: &'b [u8]) -> Decoded<'b> {
    decode([codings], body, &Limits::of_output(1 << 20))
}

/// `body` under `codings` gives `expected` and ends so.
fn check(what: &str, codings: &str, body: &[u8], expected: &[u8], verdict: &Verdict) {
    let decoded = undo(codings, body);
    assert_eq!(&decoded.verdict, verdict, "{what}");
    assert!(
        decoded.bytes == expected,
        "{what}: {} bytes, expected {}",
        decoded.bytes.len(),
        expected.len()
    );
}

/// The same for all of [`text`].
fn check_whole(what: &str, codings: &str, body: &[u8]) {
    check(what, codings, body, &text(), &Verdict::Whole);
}

#[test]
fn gzip_as_it_comes() {
    let text = text();
    let (one, two) = text.split_at(7_000);
    let headed = |builder: GzBuilder| {
        let mut encoder = builder.write(Vec::new(), Compression::best());
        encoder.write_all(&text).unwrap();
        encoder.finish().unwrap()
    };
    check_whole("one member", "gzip", &gzip(&text));
    check_whole("its old name", "x-gzip", &gzip(&text));
    check_whole("any case", "GZip", &gzip(&text));
    check_whole("by the gzip tool, with a file name", "gzip", GZIP_NAMED);
    let fields = GzBuilder::new()
        .filename("n")
        .comment("c")
        .extra(vec![7; 300])
        .mtime(1);
    check_whole("every header field", "gzip", &headed(fields));
    check_whole("two members", "gzip", &[gzip(one), gzip(two)].concat());
    check_whole("an empty member last", "gzip", &[gzip(&text), gzip(b"")].concat());
    check("an empty member alone", "gzip", &gzip(b""), b"", &Verdict::Whole);
    check(
        "stored blocks",
        "gzip",
        &gzip(&noise()),
        &noise(),
        &Verdict::Whole,
    );
    let mut with_sum = b"\x1f\x8b\x08\x02\0\0\0\0\0\xff".to_vec();
    let mut sum = flate2::Crc::new();
    sum.update(&with_sum);
    with_sum.extend_from_slice(&sum.sum().to_le_bytes()[..2]);
    with_sum.extend_from_slice(&gzip(&text)[10..]);
    check_whole("a check sum of the header", "gzip", &with_sum);
}

#[test]
fn deflate_with_and_without_zlib() {
    let text = text();
    check_whole("zlib's format", "deflate", &zlib(&text));
    check_whole("bare", "deflate", &bare(&text, Compression::best()));
    check(
        "bare, stored",
        "deflate",
        &bare(b"abc", Compression::none()),
        b"abc",
        &Verdict::Whole,
    );
    check("empty", "deflate", &zlib(b""), b"", &Verdict::Whole);
    check(
        "empty, bare",
        "deflate",
        &bare(b"", Compression::fast()),
        b"",
        &Verdict::Whole,
    );
    // A stored block that is not the last one, with padding bits set, and a length that makes the check bits right: bare data
    // which begins like zlib's format.
    let mut alike = vec![0x78, 0x01, 0x00, 0xfe, 0xff, b'x', 1, 0, 0, 0xff, 0xff];
    alike[0] = 0x78;
    check("bare, and alike", "deflate", &alike, b"x", &Verdict::Whole);
}

#[test]
fn brotli_of_every_window() {
    let text = text();
    for bits in 10..=23 {
        check_whole(&format!("a window of 2^{bits}"), "br", &brotli(&text, bits));
    }
    check(
        "a window over the limit",
        "br",
        &brotli(&text, 24),
        b"",
        &Verdict::Limited(Limit::Window),
    );
    check("empty", "br", &brotli(b"", 22), b"", &Verdict::Whole);
    check(
        "what does not compress",
        "br",
        &brotli(&noise(), 22),
        &noise(),
        &Verdict::Whole,
    );
    // RFC 7932 section 9.2: an empty last block.
    check("the shortest stream", "br", &[6], b"", &Verdict::Whole);
}

#[test]
fn zstd_as_it_comes() {
    let text = text();
    let (one, two) = text.split_at(7_000);
    check_whole("by the zstd tool, level 19, check sum", "zstd", ZSTD_19);
    check_whole("by the zstd tool, streamed", "zstd", ZSTD_STREAMED);
    check_whole("by another encoder", "zstd", &zstd(&text));
    check_whole("two frames", "zstd", &[zstd(one), zstd(two)].concat());
    let skipped = [&b"\x5f\x2a\x4d\x18\x03\0\0\0abc"[..], ZSTD_19].concat();
    check_whole("a frame to skip first", "zstd", &skipped);
    let skipped = [ZSTD_19, b"\x50\x2a\x4d\x18\0\0\0\0"].concat();
    check_whole("an empty frame to skip last", "zstd", &skipped);
    check(
        "a window over the limit",
        "zstd",
        ZSTD_WIDE,
        b"",
        &Verdict::Limited(Limit::Window),
    );
    check("empty", "zstd", &zstd(b""), b"", &Verdict::Whole);
    check(
        "what does not compress",
        "zstd",
        &zstd(&noise()),
        &noise(),
        &Verdict::Whole,
    );
    let dictionary = b"\x28\xb5\x2f\xfd\x21\x07\x01\x09\0\0a";
    check(
        "a dictionary",
        "zstd",
        dictionary,
        b"",
        &Verdict::Damaged {
            coding: Coding::Zstd,
            at: 7,
        },
    );
}

#[test]
fn what_needs_no_undoing_is_lent() {
    for codings in ["", "identity", "Identity, identity", " , ,", "identity,"] {
        let decoded = undo(codings, b"abc");
        assert_eq!(decoded.bytes, Cow::Borrowed(b"abc"), "{codings:?}");
        assert!(matches!(decoded.bytes, Cow::Borrowed(_)), "{codings:?}");
        assert_eq!(
            (decoded.undone.len(), decoded.verdict),
            (0, Verdict::Whole),
            "{codings:?}"
        );
        assert!(!is_coded([codings]), "{codings:?}");
    }
    for codings in ["gzip", "x", "identity, br"] {
        assert!(is_coded([codings]), "{codings:?}");
        // The answer to HEAD names a coding too, and has no body.
        check("no body", codings, b"", b"", &Verdict::Whole);
    }
}
