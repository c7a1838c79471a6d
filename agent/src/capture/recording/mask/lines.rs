//! Header lines: finds the values of hidden fields, cookies and query parameters, byte by byte.

use super::names::{Name, Names};
use super::pairs::Pairs;

/// What may follow the target of a request, and is no part of a value in it.
const VERSION: &[u8] = b" HTTP/1.";

/// Where in its lines a head is, or a text that may hold header lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    at: At,
    field: Field,
    name: Name,
    pairs: Pairs,
    /// Bytes of [`VERSION`], and the digit after it, that stand where a hidden value could have ended.
    version: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Before the first byte of a line.
    #[default]
    Start,
    /// In a name, if this line has one.
    Name,
    /// In the blanks before a value.
    Blank,
    /// In a value.
    Value,
}

/// What a line's value is. A folded line has the field of the line before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Field {
    #[default]
    Plain,
    Hidden,
    Cookies(Cookie),
    Url,
    StartLine,
}

/// Where in a `cookie` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cookie {
    Name,
    Shown,
    Hidden,
}

impl Lines {
    /// Before the start line of a head.
    pub(super) fn of_head() -> Self {
        Self {
            at: At::Value,
            field: Field::StartLine,
            pairs: Pairs::of_url(),
            ..Self::default()
        }
    }

    /// Masks what is hidden in `bytes`.
    pub(super) fn mask(&mut self, bytes: &mut [u8], names: &Names) -> u64 {
        let mut masked = 0;
        for byte in bytes {
            if self.hides(*byte, names) {
                *byte = super::MASK;
                masked += 1;
            }
        }
        masked
    }

    /// Takes the next byte; whether it belongs to a hidden value.
    pub(super) fn hides(&mut self, byte: u8, names: &Names) -> bool {
        match self.at {
            At::Start => self.begin_line(byte, names),
            At::Name => self.name(byte, names),
            At::Blank if matches!(byte, b' ' | b'\t' | b'\r') => {}
            At::Blank | At::Value if byte == b'\n' => self.at = At::Start,
            At::Blank | At::Value => {
                self.at = At::Value;
                return self.value(byte, names);
            }
        }
        false
    }

    fn begin_line(&mut self, byte: u8, names: &Names) {
        match byte {
            // RFC 9112 section 5.2: a line that begins with a blank continues the one before.
            b' ' | b'\t' => self.at = At::Blank,
            b'\r' | b'\n' => self.field = Field::Plain,
            _ => {
                self.field = Field::Plain;
                self.name.clear();
                self.at = At::Name;
                self.name(byte, names);
            }
        }
    }

    fn name(&mut self, byte: u8, names: &Names) {
        match byte {
            b':' => {
                self.field = self.named(names);
                self.at = At::Blank;
            }
            b'\r' | b'\n' => self.at = At::Start,
            // Blanks in a name are wrong, and some servers pass over them.
            b' ' | b'\t' => {}
            _ => self.name.push(byte, &names.watched_headers),
        }
    }

    fn named(&mut self, names: &Names) -> Field {
        if self.name.is_in(&names.headers) {
            Field::Hidden
        } else if self.name.is_in(&names.cookie_headers) {
            self.name.clear();
            Field::Cookies(Cookie::Name)
        } else if self.name.is_in(&names.url_headers) {
            self.pairs = Pairs::of_url();
            Field::Url
        } else {
            Field::Plain
        }
    }

    fn value(&mut self, byte: u8, names: &Names) -> bool {
        match self.field {
            Field::Plain => {
                // A bare CR ends a line for some; what hides behind it is looked at too.
                if byte == b'\r' {
                    self.at = At::Start;
                }
                false
            }
            _ if byte == b'\r' => false,
            Field::Hidden => true,
            Field::Cookies(cookie) => self.cookie(cookie, byte, names),
            Field::Url => self.pairs.hides(byte, names),
            Field::StartLine => self.start_line(byte, names),
        }
    }

    /// Cookies are separated by `;`; nginx also takes a `,` before a name, but a value runs to the `;`.
    fn cookie(&mut self, at: Cookie, byte: u8, names: &Names) -> bool {
        let next = match (at, byte) {
            (_, b';') | (Cookie::Name | Cookie::Shown, b',') => {
                self.name.clear();
                Cookie::Name
            }
            (Cookie::Name, b'=') if self.name.is_in(&names.cookies) => Cookie::Hidden,
            (Cookie::Name, b'=') => Cookie::Shown,
            (Cookie::Name, b' ' | b'\t') => Cookie::Name,
            (Cookie::Name, _) => {
                self.name.push(byte, &names.cookies);
                Cookie::Name
            }
            (Cookie::Shown | Cookie::Hidden, _) => at,
        };
        let is_hidden = at == Cookie::Hidden && next == Cookie::Hidden;
        self.field = Field::Cookies(next);
        is_hidden
    }

    /// A hidden value may have blanks in it (nginx takes a target as far as the last one), and a blank may be its end: what
    /// spells the version after a blank stays, and says nothing.
    fn start_line(&mut self, byte: u8, names: &Names) -> bool {
        if !self.pairs.is_hiding() {
            return self.pairs.hides(byte, names);
        }
        let spells_on = match VERSION.get(self.version) {
            Some(expected) => *expected == byte,
            None => self.version == VERSION.len() && byte.is_ascii_digit(),
        };
        if spells_on {
            self.version += 1;
            return false;
        }
        self.version = usize::from(byte == b' ');
        self.version == 0 && self.pairs.hides(byte, names)
    }
}
