//! Bodies: which of the searches applies, and masking by it.

use super::MASK;
use super::lines::Lines;
use super::members::{Fate, Members};
use super::names::Names;
use super::pairs::Pairs;
use crate::http::headers::Headers;
use crate::message::redact::BodyType;

/// A body on its way by.
#[derive(Clone, Debug)]
pub(super) struct Body {
    search: Search,
    /// Bytes went by unseen: everything is masked up to the next place where no value can go on.
    is_blind: bool,
}

#[derive(Clone, Debug)]
enum Search {
    /// A form: pairs, and nothing else ends a value.
    Form(Pairs),
    /// Anything: pairs, JSON members and header lines.
    Text(Box<Text>),
    /// Nothing can be found in it although a credential may be there: all of it is masked.
    Everything,
}

#[derive(Clone, Debug)]
struct Text {
    pairs: Pairs,
    members: Members,
    lines: Lines,
}

impl Text {
    fn new() -> Self {
        Self {
            pairs: Pairs::of_text(),
            members: Members::default(),
            lines: Lines::default(),
        }
    }
}

impl Body {
    /// The body of a request with these headers.
    pub(super) fn of_request(headers: &Headers, names: &Names) -> Self {
        let search = match BodyType::of(headers) {
            BodyType::Form => Search::Form(Pairs::of_form()),
            // What a message withholds, a recording does too.
            BodyType::Opaque if names.hides_fields => Search::Everything,
            BodyType::Json | BodyType::Opaque | BodyType::Other => Search::Text(Box::new(Text::new())),
        };
        Self {
            search,
            is_blind: false,
        }
    }

    /// The body of any response.
    pub(super) fn of_response() -> Self {
        Self {
            search: Search::Text(Box::new(Text::new())),
            is_blind: false,
        }
    }

    /// Bytes of it went by unseen.
    pub(super) const fn lose_place(&mut self) {
        self.is_blind = true;
    }

    /// Masks what is hidden in `bytes`; answers how many bytes that were.
    pub(super) fn mask(&mut self, bytes: &mut [u8], names: &Names) -> u64 {
        let mut masked = 0;
        for byte in bytes {
            let fate = if self.is_blind {
                self.find_place(*byte)
            } else {
                self.search.fate(*byte, names)
            };
            match fate {
                Fate::Shown => continue,
                Fate::Hidden => *byte = MASK,
                Fate::Digit => *byte = b'9',
            }
            masked += 1;
        }
        masked
    }

    /// No value of a form goes on after `&`, and none of a text after a line end.
    fn find_place(&mut self, byte: u8) -> Fate {
        let (mark, afresh) = match &self.search {
            Search::Form(_) => (b'&', Search::Form(Pairs::of_form())),
            Search::Text(_) => (b'\n', Search::Text(Box::new(Text::new()))),
            Search::Everything => return Fate::Hidden,
        };
        if byte != mark {
            return Fate::Hidden;
        }
        self.search = afresh;
        self.is_blind = false;
        Fate::Shown
    }
}

impl Search {
    fn fate(&mut self, byte: u8, names: &Names) -> Fate {
        match self {
            Self::Everything => Fate::Hidden,
            Self::Form(pairs) => {
                if pairs.hides(byte, names) {
                    Fate::Hidden
                } else {
                    Fate::Shown
                }
            }
            Self::Text(text) => {
                let in_pairs = text.pairs.hides(byte, names);
                let in_lines = text.lines.hides(byte, names);
                let in_members = text.members.fate(byte, names);
                if in_pairs || in_lines {
                    Fate::Hidden
                } else {
                    in_members
                }
            }
        }
    }
}
