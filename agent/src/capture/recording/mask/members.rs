//! `"name": value` in JSON, wherever it stands: finds hidden values, byte by byte, and keeps the text JSON.
//!
//! It does not follow the document, so that it also finds its way in half of one: whatever stands between two quotation marks
//! and before a colon is taken for a name.

use super::names::{Name, Names};

/// What becomes of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Shown,
    Hidden,
    /// A digit of a number, which must stay one.
    Digit,
}

/// Where in a text is looked.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    at: At,
    name: Name,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Before a quotation mark, or in a string.
    #[default]
    Anywhere,
    /// After the quotation mark that may end a hidden name.
    AfterName,
    /// After a hidden name and its colon.
    Value(Value),
}

/// Where in a hidden value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Value {
    /// Objects and arrays that are open; names in them are masked too.
    depth: u32,
    token: Token,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// Between tokens.
    None,
    String {
        escaped: bool,
    },
    Number,
    /// `true`, `false` or `null`, as far as it goes; anything else is masked.
    Literal {
        word: &'static [u8],
        spelt: usize,
    },
    /// Not JSON.
    Other,
}

impl Members {
    /// Takes the next byte.
    pub(super) fn fate(&mut self, byte: u8, names: &Names) -> Fate {
        match self.at {
            At::Value(value) => {
                let (next, fate) = value.next(byte);
                match next {
                    Some(value) => self.at = At::Value(value),
                    None => {
                        self.at = At::Anywhere;
                        self.name.clear();
                    }
                }
                return fate;
            }
            At::AfterName if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') => {}
            At::AfterName if byte == b':' => {
                self.at = At::Value(Value {
                    depth: 0,
                    token: Token::None,
                });
            }
            At::AfterName | At::Anywhere => {
                self.at = At::Anywhere;
                if self.name.push_json(byte, &names.members) {
                    if self.name.is_in(&names.members) {
                        self.at = At::AfterName;
                    }
                    self.name.clear();
                }
            }
        }
        Fate::Shown
    }
}

impl Value {
    /// What comes after `byte`, if the value goes on, and what becomes of it.
    fn next(self, byte: u8) -> (Option<Self>, Fate) {
        let Self { depth, token } = self;
        let go = |depth, token| Some(Self { depth, token });
        // A value that was a single token has ended with it.
        let after_token = |depth| {
            (depth > 0).then_some(Self {
                depth,
                token: Token::None,
            })
        };
        match (token, byte) {
            (Token::String { escaped: true }, _) => {
                (go(depth, Token::String { escaped: false }), Fate::Hidden)
            }
            (Token::String { .. }, b'"') => (after_token(depth), Fate::Shown),
            (Token::String { .. }, _) => {
                let escaped = byte == b'\\';
                (go(depth, Token::String { escaped }), Fate::Hidden)
            }
            (Token::None, b'"') => (go(depth, Token::String { escaped: false }), Fate::Shown),
            (_, b'{' | b'[') => (go(depth.saturating_add(1), Token::None), Fate::Shown),
            (_, b'}' | b']') => (after_token(depth.saturating_sub(1)), Fate::Shown),
            (Token::None, b' ' | b'\t' | b'\r' | b'\n') => (Some(self), Fate::Shown),
            (_, b',' | b':' | b' ' | b'\t' | b'\r' | b'\n') => (after_token(depth), Fate::Shown),
            (Token::None, b'0'..=b'9' | b'-') => (go(depth, Token::Number), number(byte)),
            (Token::Number, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') => (Some(self), number(byte)),
            (Token::None, b't') => (go(depth, literal(b"true")), Fate::Shown),
            (Token::None, b'f') => (go(depth, literal(b"false")), Fate::Shown),
            (Token::None, b'n') => (go(depth, literal(b"null")), Fate::Shown),
            (Token::Literal { word, spelt }, _) if word.get(spelt) == Some(&byte) => {
                let spelt = spelt + 1;
                (go(depth, Token::Literal { word, spelt }), Fate::Shown)
            }
            (Token::None | Token::Number | Token::Literal { .. } | Token::Other, _) => {
                (go(depth, Token::Other), Fate::Hidden)
            }
        }
    }
}

const fn literal(word: &'static [u8]) -> Token {
    Token::Literal { word, spelt: 1 }
}

const fn number(byte: u8) -> Fate {
    if byte.is_ascii_digit() {
        Fate::Digit
    } else {
        Fate::Shown
    }
}
