//! Content codings: any bytes under any codings come out within the limits, and the same however much may come out.

use kongtap_content::{Limits, Verdict, decode};

/// Values of `Content-Encoding`.
const CODINGS: [&str; 8] = [
    "gzip",
    "deflate",
    "br",
    "zstd",
    "gzip, br",
    "identity, x-gzip",
    "zstd, gzip, deflate, br",
    "nobody-knows",
];

/// Undoes codings. The first byte: which, and in its upper half how much may come out. The rest is the body.
///
/// # Panics
/// When a limit does not hold, when decoding twice differs, or when what comes out under a small limit is not the beginning of what comes out
/// under a large one.
pub fn run(data: &[u8]) {
    let Some((first, body)) = data.split_first() else {
        return;
    };
    let codings = CODINGS.get(usize::from(first & 7)).copied().unwrap_or_default();
    let small = Limits::of_output(1 << (first >> 4));
    let large = Limits::of_output(1 << 20);
    let [part, whole] = [small, large].map(|limits| {
        let decoded = decode([codings], body, &limits);
        assert_eq!(
            decode([codings], body, &limits),
            decoded,
            "decoded again, it differs"
        );
        if decoded.undone.is_empty() {
            assert_eq!(&*decoded.bytes, body, "nothing was undone");
        } else {
            assert!(
                decoded.bytes.len() <= limits.output_bytes,
                "{} bytes",
                decoded.bytes.len()
            );
        }
        assert!(decoded.undone.len() <= limits.layers);
        decoded
    });
    if part.verdict == Verdict::Whole {
        assert_eq!(part, whole, "a larger limit changes what is whole");
    }
    // Of several codings, the outer one's beginning says nothing of the inner one's bytes.
    if part.undone.len() == 1 && whole.undone == part.undone {
        assert!(
            whole.bytes.starts_with(&part.bytes),
            "a smaller limit gives other bytes"
        );
    }
}
