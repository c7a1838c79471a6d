//! What a list of fields says: pseudo fields apart, the rest as HTTP/1 would have it.
//!
//! In: a decoded list. Out: [`Head`]. Deliberately absent: whether a peer should have sent it like that.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::hpack::{Field, FieldList};
use crate::http::exchange::HeadState;
use crate::http::headers::Headers;

/// The fields of a request, of a response, or after a body.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) method: Option<Bytes>,
    pub(super) authority: Option<Bytes>,
    pub(super) path: Option<Bytes>,
    pub(super) status: Option<u16>,
    /// Whether there are pseudo fields of a request.
    pub(super) asks: bool,
    /// Whether there is a `:status`, known or not.
    pub(super) answers: bool,
    /// The other fields, with `host` and one `cookie`.
    pub(super) headers: Headers,
    /// Whether these are all.
    pub(super) is_whole: bool,
    /// Fields of which the name or the value is not known.
    pub(super) unknown: u64,
}

impl Head {
    pub(super) fn read(list: FieldList) -> Self {
        let mut head = Self {
            is_whole: list.is_whole,
            ..Self::default()
        };
        let mut cookies = Vec::new();
        for field in list.fields {
            let Field { name, value } = field;
            match &name {
                Some(name) if name.starts_with(b":") => head.note(name),
                Some(_) | None => {}
            }
            let (Some(name), Some(value)) = (name, value) else {
                head.unknown += 1;
                continue;
            };
            match &*name {
                b":method" => head.method = Some(value),
                b":authority" => head.authority = Some(value),
                b":path" => head.path = Some(value),
                b":status" => {
                    head.status = str::from_utf8(&value)
                        .ok()
                        .and_then(|digits| digits.parse().ok())
                        .filter(|status| (100..1000).contains(status));
                }
                b"cookie" => {
                    if cookies.is_empty() {
                        head.headers.push(name, Bytes::new());
                    }
                    cookies.push(value);
                }
                _ if name.starts_with(b":") => {}
                _ => head.headers.push(name, value),
            }
        }
        head.is_whole &= head.unknown == 0;
        head.join_cookies(&cookies);
        if let Some(authority) = head.authority.clone()
            && !head.headers.contains("host")
        {
            head.headers.0.insert(
                0,
                crate::http::headers::Header {
                    name: Bytes::from_static(b"host"),
                    value: authority,
                },
            );
        }
        head
    }

    pub(super) const fn state(&self) -> HeadState {
        if self.is_whole {
            HeadState::Whole
        } else {
            HeadState::Partial
        }
    }

    fn note(&mut self, name: &[u8]) {
        if name == b":status" {
            self.answers = true;
        } else {
            self.asks = true;
        }
    }

    /// RFC 9113 section 8.2.3: the pieces are one field, as HTTP/1 and everything behind the gateway has it.
    fn join_cookies(&mut self, pieces: &[Bytes]) {
        let joined = match pieces {
            [] => return,
            [whole] => whole.clone(),
            pieces => {
                let mut joined = BytesMut::new();
                for piece in pieces {
                    if !joined.is_empty() {
                        joined.put_slice(b"; ");
                    }
                    joined.put_slice(piece);
                }
                joined.freeze()
            }
        };
        if let Some(cookie) = self
            .headers
            .0
            .iter_mut()
            .find(|header| *header.name == *b"cookie")
        {
            cookie.value = joined;
        }
    }
}
