//! What a list of fields says: pseudo fields apart, the rest as HTTP/1 would have it.
//!
//! In: a decoded list. Out: [`Head`], with what is odd about it.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::hpack::{Field, FieldList};
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::exchange::HeadState;
use crate::http::headers::{Header, Headers};

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
    /// Whether it begins with a field that is no pseudo field, as only trailers do: in a head those come first (RFC 9113 section 8.3).
    pub(super) begins_regular: bool,
    /// The other fields, with `host` and one `cookie`.
    pub(super) headers: Headers,
    /// How long the body is to be.
    pub(super) content_length: Option<u64>,
    pub(super) anomalies: Anomalies,
    /// Whether its block is not all there.
    pub(super) is_cut: bool,
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
        head.anomalies.insert_if(list.has_more, Anomaly::TooManyFields);
        let mut cookies = Vec::new();
        let first = list.fields.first().and_then(|field| field.name.as_ref());
        head.begins_regular = first.is_some_and(|name| !name.starts_with(b":"));
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
            head.look_at(&name, &value);
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
        head.read_length();
        head.settle_host();
        head
    }

    /// The same block when it may just as well be trailers: nothing that it says can be told as a head's.
    pub(super) fn without_fields(self) -> Self {
        Self {
            is_cut: self.is_cut,
            unknown: self.unknown,
            ..Self::default()
        }
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

    /// RFC 9113 section 8.2.1: what no name and no value may have. A gateway that passes it on in HTTP/1 lets a client write lines of
    /// its own.
    fn look_at(&mut self, name: &[u8], value: &[u8]) {
        let word = name.strip_prefix(b":").unwrap_or(name);
        let is_name_byte =
            |byte: &u8| (0x21..0x7f).contains(byte) && !byte.is_ascii_uppercase() && *byte != b':';
        self.anomalies.insert_if(
            word.is_empty() || !word.iter().all(is_name_byte),
            Anomaly::BadFieldLine,
        );
        let is_control = |byte: &u8| matches!(byte, 0 | b'\r' | b'\n');
        self.anomalies
            .insert_if(value.iter().any(is_control), Anomaly::ControlByte);
    }

    fn read_length(&mut self) {
        let mut lengths = Vec::new();
        for value in self.headers.all("content-length") {
            let length = str::from_utf8(value)
                .ok()
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse::<u64>().ok());
            self.anomalies
                .insert_if(length.is_none(), Anomaly::BadContentLength);
            lengths.extend(length);
        }
        if let [first, more @ ..] = lengths.as_slice() {
            let is_one = more.iter().all(|length| length == first);
            self.content_length = is_one.then_some(*first);
            self.anomalies
                .insert_if(!is_one, Anomaly::ConflictingContentLength);
            self.anomalies
                .insert_if(is_one && !more.is_empty(), Anomaly::RepeatedContentLength);
        }
    }

    /// RFC 9113 section 8.3.1: whoever passes a request on in HTTP/1 makes its `Host` of `:authority`, in the place of any that came
    /// with it.
    fn settle_host(&mut self) {
        let differs = {
            let mut hosts = self.headers.all("host");
            match &self.authority {
                Some(authority) => hosts.any(|host| host != authority),
                None => hosts.count() > 1,
            }
        };
        self.anomalies.insert_if(differs, Anomaly::RepeatedHost);
        if let Some(authority) = self.authority.clone() {
            let headers = &mut self.headers.0;
            headers.retain(|header| !header.name.eq_ignore_ascii_case(b"host"));
            let host = Header {
                name: Bytes::from_static(b"host"),
                value: authority,
            };
            headers.insert(0, host);
        } else if self.asks && self.is_whole && !self.headers.contains("host") {
            self.anomalies.insert(Anomaly::MissingHost);
        }
    }

    /// RFC 9113 section 8.2.3: the pieces are one field, as HTTP/1 and everything behind the gateway has it.
    fn join_cookies(&mut self, pieces: &[Bytes]) {
        let joined = match pieces {
            [] => return,
            [whole] => whole.clone(),
            pieces => {
                let mut joined = BytesMut::new();
                for (number, piece) in pieces.iter().enumerate() {
                    if number > 0 {
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
