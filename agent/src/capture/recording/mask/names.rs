//! Names whose values are masked, and the collecting of a name byte by byte.

use crate::message::redact::{HiddenNames, URL_HEADERS};

/// Never masked, though somebody asked for it: without these a replay could neither frame nor join what was recorded.
const NEEDED_HEADERS: [&str; 3] = ["content-length", "transfer-encoding", "x-kong-request-id"];

/// The header field of cookies.
const COOKIE: &str = "cookie";

/// What is looked up while a stream passes by. In lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Header fields.
    pub(super) headers: List,
    /// Header fields that hold cookies.
    pub(super) cookie_headers: List,
    /// Header fields that hold a URL.
    pub(super) url_headers: List,
    /// Any of the three.
    pub(super) watched_headers: List,
    /// Cookies.
    pub(super) cookies: List,
    /// `name=value` in queries and bodies.
    pub(super) pairs: List,
    /// `"name": value` in bodies.
    pub(super) members: List,
    /// Whether credentials may stand in bodies that cannot be searched, so that those are masked whole.
    pub(super) hides_fields: bool,
}

impl Names {
    /// Prepares `hidden` for the search.
    #[must_use]
    pub fn new(hidden: &HiddenNames) -> Self {
        let needed = |name: &&String| !NEEDED_HEADERS.contains(&name.as_str());
        let headers = || hidden.headers.iter().filter(needed);
        let pairs = || hidden.queries.iter().chain(&hidden.fields);
        let cookie_headers = || [COOKIE].into_iter().filter(|_| !hidden.cookies.is_empty());
        let url_headers = || URL_HEADERS.into_iter().filter(|_| pairs().next().is_some());
        let others = || cookie_headers().chain(url_headers());
        Self {
            cookie_headers: cookie_headers().collect(),
            url_headers: url_headers().collect(),
            watched_headers: headers().map(String::as_str).chain(others()).collect(),
            headers: headers().map(String::as_str).collect(),
            cookies: hidden.cookies.iter().map(String::as_str).collect(),
            pairs: pairs().map(String::as_str).collect(),
            // A service that answers with what it was asked has header fields as members.
            members: pairs().chain(headers()).map(String::as_str).collect(),
            hides_fields: !hidden.fields.is_empty(),
        }
    }
}

/// Names of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    names: Vec<Box<[u8]>>,
    longest: usize,
}

impl<'a> FromIterator<&'a str> for List {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let mut names: Vec<Box<[u8]>> = names
            .into_iter()
            .map(|name| name.to_ascii_lowercase().into_bytes().into())
            .collect();
        names.sort_unstable();
        names.dedup();
        Self {
            longest: names.iter().map(|name| name.len()).max().unwrap_or(0),
            names,
        }
    }
}

/// A name on its way in. Kept only as far as the longest name that is looked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Name {
    bytes: Vec<u8>,
    is_too_long: bool,
    escape: Escape,
}

/// How far into a percent escape or a JSON escape the name is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Percent,
    PercentDigit(u8),
    Backslash,
    Unicode {
        value: u16,
        digits: u8,
    },
}

impl Name {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.is_too_long = false;
        self.escape = Escape::None;
    }

    pub(super) fn is_in(&self, list: &List) -> bool {
        !self.is_too_long
            && self.escape == Escape::None
            && list.names.iter().any(|name| **name == *self.bytes)
    }

    /// Takes a byte as it stands.
    pub(super) fn push(&mut self, byte: u8, list: &List) {
        if self.bytes.len() < list.longest {
            self.bytes.push(byte.to_ascii_lowercase());
        } else {
            self.is_too_long = true;
        }
    }

    /// Takes a byte of a name that may have percent escapes and `+`.
    pub(super) fn push_encoded(&mut self, byte: u8, list: &List) {
        match (self.escape, hex(byte)) {
            (Escape::Percent, Some(_)) => self.escape = Escape::PercentDigit(byte),
            (Escape::PercentDigit(first), Some(low)) => {
                self.escape = Escape::None;
                self.push((hex(first).unwrap_or(0) << 4) | low, list);
            }
            (Escape::None, _) if byte == b'%' => self.escape = Escape::Percent,
            (Escape::None, _) if byte == b'+' => self.push(b' ', list),
            (Escape::None, _) => self.push(byte, list),
            // It was no escape after all.
            (before, _) => {
                self.escape = Escape::None;
                self.push(b'%', list);
                if let Escape::PercentDigit(first) = before {
                    self.push(first, list);
                }
                self.push_encoded(byte, list);
            }
        }
    }

    /// Takes a byte of a JSON string. `true`: it is a quotation mark that ends or begins one.
    pub(super) fn push_json(&mut self, byte: u8, list: &List) -> bool {
        match self.escape {
            Escape::Backslash if byte == b'u' => self.escape = Escape::Unicode { value: 0, digits: 0 },
            Escape::Backslash => {
                self.escape = Escape::None;
                self.push(byte, list);
            }
            Escape::Unicode { value, digits } => {
                let value = (value << 4) | u16::from(hex(byte).unwrap_or(0));
                if digits < 3 {
                    self.escape = Escape::Unicode {
                        value,
                        digits: digits + 1,
                    };
                } else {
                    self.escape = Escape::None;
                    let text = char::from_u32(u32::from(value)).unwrap_or(char::REPLACEMENT_CHARACTER);
                    for byte in text.encode_utf8(&mut [0; 4]).bytes() {
                        self.push(byte, list);
                    }
                }
            }
            Escape::None if byte == b'\\' => self.escape = Escape::Backslash,
            Escape::None if byte == b'"' => return true,
            Escape::None | Escape::Percent | Escape::PercentDigit(_) => self.push(byte, list),
        }
        false
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}
