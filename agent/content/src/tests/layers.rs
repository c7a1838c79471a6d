//! Lists of codings.

use super::{brotli, check, check_whole, gzip, text, undo, zlib, zstd};
use crate::{Coding, Limit, Limits, Verdict, decode};

#[test]
fn the_one_applied_last_is_undone_first() {
    let text = text();
    check_whole("two", "gzip, br", &brotli(&gzip(&text), 22));
    check_whole(
        "three",
        "deflate ,zstd,, identity, gzip",
        &gzip(&zstd(&zlib(&text))),
    );
    check_whole("twice the same", "gzip, gzip", &gzip(&gzip(&text)));
    let undone = undo("gzip, br", &brotli(&gzip(b"a"), 22)).undone;
    assert_eq!(undone, [Coding::Brotli, Coding::Gzip]);
    let lines = decode(
        ["gzip", "identity", "br"],
        &brotli(&gzip(b"a"), 22),
        &Limits::of_output(99),
    )
    .bytes
    .into_owned();
    assert_eq!(lines, b"a", "over several lines");
}

#[test]
fn what_is_not_known_stays() {
    let coded = gzip(b"abc");
    let unknown = |name: &[u8]| Verdict::Unknown(name.to_vec());
    check(
        "alone",
        "Compress",
        b"\x1f\x9d",
        b"\x1f\x9d",
        &unknown(b"Compress"),
    );
    check("below", "dcz, gzip", &coded, b"abc", &unknown(b"dcz"));
    check("on top", "gzip, aes", &coded, &coded, &unknown(b"aes"));
    let decoded = decode([b"\xff\0"], b"abc", &Limits::of_output(9));
    assert_eq!(
        (&*decoded.bytes, decoded.verdict),
        (&b"abc"[..], unknown(b"\xff\0"))
    );
}

#[test]
fn too_many_are_left_alone() {
    let coded = gzip(&gzip(&gzip(&gzip(b"abc"))));
    check(
        "four",
        "gzip,gzip,gzip,gzip",
        &coded,
        &coded,
        &Verdict::Limited(Limit::Layers),
    );
    let many = "gzip,".repeat(100_000);
    check(
        "a long list",
        &many,
        &coded,
        &coded,
        &Verdict::Limited(Limit::Layers),
    );
}

#[test]
fn the_first_bad_end_is_the_verdict() {
    let text = text();
    let coded = gzip(&brotli(&text, 22));
    let decoded = undo("br, gzip", &coded[..coded.len() / 2]);
    assert_eq!(decoded.verdict, Verdict::Truncated);
    assert_eq!(decoded.undone, [Coding::Gzip, Coding::Brotli]);
    assert!(decoded.bytes.len() > 500 && text.starts_with(&decoded.bytes));
    let damaged = gzip(b"no brotli, this");
    check(
        "within",
        "br, gzip",
        &damaged,
        b"",
        &Verdict::Damaged {
            coding: Coding::Brotli,
            at: 0,
        },
    );
}
