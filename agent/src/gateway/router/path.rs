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

    use super::normalise;

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

    proptest! {
        #[test]
        fn normalising_never_panics_nor_grows(path in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(normalise(&path).len() <= path.len());
        }
    }
}
