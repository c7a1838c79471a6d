//! `name=value` in queries, forms and texts: finds hidden values, byte by byte.

use super::names::{Name, Names};

/// Where in its pairs a text is.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs {
    rules: Rules,
    at: At,
    name: Name,
}

/// Where pairs begin and end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Rules {
    /// From the first `?` on, between `&`.
    #[default]
    Url,
    /// From the first byte on, between `&`.
    Form,
    /// After anything that is no part of a word; a value ends where a URL in a text would.
    Text,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Before the first pair.
    #[default]
    Before,
    Name,
    Shown,
    Hidden,
    /// After a backslash in a hidden value in a text: the next byte belongs to it, whatever it is.
    Escaped,
}

impl Pairs {
    /// Before a URL or the start line of a request.
    pub(super) fn of_url() -> Self {
        Self::default()
    }

    /// Before a form.
    pub(super) fn of_form() -> Self {
        Self {
            rules: Rules::Form,
            at: At::Name,
            ..Self::default()
        }
    }

    /// Before a text that may hold pairs.
    pub(super) fn of_text() -> Self {
        Self {
            rules: Rules::Text,
            at: At::Name,
            ..Self::default()
        }
    }

    pub(super) fn is_hiding(&self) -> bool {
        matches!(self.at, At::Hidden | At::Escaped)
    }

    /// Takes the next byte; whether it belongs to a hidden value.
    pub(super) fn hides(&mut self, byte: u8, names: &Names) -> bool {
        let begins = match self.rules {
            Rules::Url => byte == if self.at == At::Before { b'?' } else { b'&' },
            Rules::Form => byte == b'&',
            Rules::Text => self.at != At::Escaped && is_between(byte, self.at),
        };
        if begins {
            self.name.clear();
            self.at = At::Name;
            return false;
        }
        match self.at {
            At::Before | At::Shown => false,
            At::Name if byte == b'=' => {
                let is_hidden = self.name.is_in(&names.pairs);
                self.at = if is_hidden { At::Hidden } else { At::Shown };
                false
            }
            At::Name => {
                self.name.push_encoded(byte, &names.pairs);
                false
            }
            At::Hidden => {
                if self.rules == Rules::Text && byte == b'\\' {
                    self.at = At::Escaped;
                }
                true
            }
            At::Escaped => {
                self.at = At::Hidden;
                true
            }
        }
    }
}

/// Whether a byte of a text stands between pairs. More bytes end what is no hidden value than end one.
const fn is_between(byte: u8, at: At) -> bool {
    match byte {
        b'&' | b'"' | b'\'' | b'<' | b'>' | b' ' | b'\t' | b'\r' | b'\n' => true,
        b'?' | b',' | b';' | b'{' | b'(' | b'[' => !matches!(at, At::Hidden),
        _ => false,
    }
}
