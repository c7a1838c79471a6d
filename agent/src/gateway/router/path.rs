//! Kong's path normalisation.
//!
//! In: a path as sent. Out: percent-encoded bytes decoded unless reserved, dot segments resolved, slashes merged. Rules:
//! K@3.9 kong/tools/uri.lua, which differs from RFC 3986 in what it decodes.

use std::borrow::Cow;

/// Bytes that stay percent-encoded.
const RESERVED: &[u8] = b"!*'();:@&=+$,/?%#[]";

/// Normalises a path (no query).
#[must_use]
pub fn normalise(path: &[u8]) -> Cow<'_, [u8]> {
    let decoded = if path.contains(&b'%') {
        Cow::Owned(decode(path))
    } else {
        Cow::Borrowed(path)
    };
    let has_dots = decoded.contains(&b'.');
    let has_double_slash = decoded.windows(2).any(|pair| pair == b"//");
    if has_dots || has_double_slash {
        Cow::Owned(resolve(&decoded))
    } else {
        decoded
    }
}

/// Bytes that mean something in a regular expression and are not reserved.
const META: &[u8] = b".^-{}\\|";

/// Decodes a regular expression of Kong 2.4 to 2.8 (kong/router.lua normalize_regex): what was encoded is taken literally.
pub(super) fn normalise_regex(regex: &str) -> String {
    let mut out = String::with_capacity(regex.len());
    let mut rest = regex;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let digits = after
            .get(..2)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.zip(digits) {
            Some((byte, _)) if byte.is_ascii() && !RESERVED.contains(&byte) => {
                if META.contains(&byte) {
                    out.push('\\');
                }
                out.push(char::from(byte));
            }
            // Half of a longer character: as PCRE sees bytes, so does the class of one.
            Some((byte, _)) if !byte.is_ascii() => out.push_str(&format!("\\x{byte:02x}")),
            Some((_, digits)) => {
                out.push('%');
                out.push_str(&digits.to_ascii_uppercase());
            }
            None => out.push('%'),
        }
        rest = match digits {
            Some(_) => after.get(2..).unwrap_or_default(),
            None => after,
        };
    }
    out.push_str(rest);
    out
}

fn decode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    loop {
        rest = match rest {
            [b'%', high, low, tail @ ..] => match hex(*high).zip(hex(*low)) {
                Some((high_value, low_value)) => {
                    let byte = high_value.wrapping_mul(16).wrapping_add(low_value);
                    if RESERVED.contains(&byte) {
                        out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
                    } else {
                        out.push(byte);
                    }
                    tail
                }
                None => {
                    out.push(b'%');
                    rest.get(1..).unwrap_or_default()
                }
            },
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
            [] => return out,
        };
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

fn resolve(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut rest = path;
    loop {
        rest = match rest {
            [] => return segments.concat(),
            b"/." => b"/",
            b"/.." => {
                segments.pop();
                b"/"
            }
            b"." | b".." => b"",
            [b'.', b'.', b'/', tail @ ..] | [b'.', b'/', tail @ ..] => tail,
            [b'/', b'.', b'/', ..] => rest.get(2..).unwrap_or_default(),
            [b'/', b'.', b'.', b'/', ..] => {
                segments.pop();
                rest.get(3..).unwrap_or_default()
            }
            [b'/', b'/', ..] => rest.get(1..).unwrap_or_default(),
            [_, tail @ ..] => {
                let to_next_slash = tail.iter().position(|byte| *byte == b'/');
                let length = to_next_slash.map_or(rest.len(), |at| at.saturating_add(1));
                let (segment, tail) = rest.split_at_checked(length).unwrap_or((rest, b""));
                segments.push(segment);
                tail
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{normalise, normalise_regex};

    #[test]
    fn paths_are_normalised_as_the_gateway_does() {
        for (sent, normal) in [
            ("", ""),
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a//b///c", "/a/b/c"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/%61%2e%2E/b", "/a../b"),
            ("/a/%2e%2e/b", "/b"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a%3Bb%20c", "/a%3Bb c"),
            ("/%25%7e", "/%25~"),
            ("/a%zz%4", "/a%zz%4"),
            ("/a.b", "/a.b"),
            ("/.a", "/.a"),
            ("/...", "/..."),
            ("..", ""),
            ("../a", "a"),
        ] {
            let got = normalise(sent.as_bytes());
            assert_eq!(String::from_utf8_lossy(&got), normal, "{sent}");
        }
    }

    #[test]
    fn regular_expressions_are_decoded_as_2_4_does() {
        for (written, decoded) in [
            ("/a%20b", "/a b"),
            ("/a%2eb", "/a\\.b"),
            ("/a%2fb", "/a%2Fb"),
            ("/%c3%a4", "/\\xc3\\xa4"),
            ("/100%", "/100%"),
            ("/%zz%2", "/%zz%2"),
            ("/%7B1%7d", "/\\{1\\}"),
        ] {
            assert_eq!(normalise_regex(written), decoded, "{written}");
        }
    }

    proptest! {
        #[test]
        fn normalising_never_panics_nor_grows(path in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(normalise(&path).len() <= path.len());
        }
    }
}
