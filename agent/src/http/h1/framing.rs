//! Where a body ends: by length, by chunks, by the connection's end, or at once (RFC 9112 section 6).
//!
//! In: a head's fields, then the bytes that follow it. Out: [`Framing`], and what was odd about what the head said. Where a
//! request says several things, or nothing that can be read, it is taken as nginx 1.25 takes it, which refuses most of them
//! with 400 or 501 and reads no further (`src/http/ngx_http_request.c`).

mod chunk;

pub(crate) use self::chunk::Chunk;
#[cfg(test)]
pub(super) use self::chunk::{SIZE_LINE_LIMIT_BYTES, TRAILER_LIMIT_BYTES};
use super::head::{RequestHead, ResponseHead};
use crate::http::anomaly::{Anomalies, Anomaly};
use crate::http::exchange::Version;
use crate::http::headers::Headers;

/// How a body is framed, and how far into it the reader is.
#[derive(Debug)]
pub(crate) enum Framing {
    /// There is no body.
    Empty,
    /// So many bytes are left.
    Length(u64),
    /// Chunks.
    Chunked(Chunk),
    /// Chunks, of which one was left uncopied together with what says how long the next one is. Its end is looked for.
    Adrift,
    /// Everything until the connection ends.
    UntilClose,
    /// What follows is not HTTP.
    Tunnel,
    /// The gateway answers with an error and reads no further, so what follows is nothing.
    Refused,
}

/// What bytes of a body are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Part {
    /// Chunk sizes, extensions and line ends.
    #[default]
    Framing,
    /// The body itself.
    Data,
    /// The trailer section, with the empty line that ends it.
    Trailer,
}

/// What became of some bytes of a body.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Step {
    /// Bytes used up.
    pub(crate) taken: u64,
    /// What they are.
    pub(crate) part: Part,
    /// The body ended with them.
    pub(crate) ended: bool,
    /// The framing makes no sense (any more); the rest is not part of this body as far as can be told.
    pub(crate) lost: bool,
    /// A line of the framing ended in LF alone.
    pub(crate) bare_line_feed: bool,
}

impl Step {
    /// `taken` bytes of the body itself.
    const fn data(taken: u64, ended: bool) -> Self {
        Self {
            taken,
            part: Part::Data,
            ended,
            lost: false,
            bare_line_feed: false,
        }
    }

    /// Those of `bytes`, from which this step was made, that are `part`.
    pub(crate) fn bytes_of<'a>(&self, part: Part, bytes: &'a [u8]) -> &'a [u8] {
        let taken = if self.part == part {
            usize::try_from(self.taken).unwrap_or(usize::MAX)
        } else {
            0
        };
        bytes.get(..taken).unwrap_or(bytes)
    }
}

/// Whether `bytes`, the end of a call, are the end of a chunked body without trailers.
fn ends_chunks(bytes: &[u8]) -> bool {
    const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
    bytes
        .strip_suffix(LAST_CHUNK)
        .is_some_and(|before| before.is_empty() || before.ends_with(b"\r\n"))
}

/// The framing of a request's body, with what was odd about its head.
pub(crate) fn of_request(head: &RequestHead) -> (Framing, Anomalies) {
    let said = Said::by(&head.headers);
    let mut anomalies = said.anomalies(head.version);
    anomalies.extend(head.anomalies);
    // Of a head that was not read to its end it is not known.
    let is_read = !anomalies.contains_any(&[Anomaly::BadRequestLine, Anomaly::UnfinishedHead]);
    anomalies.insert_if(
        said.hosts == 0 && head.version == Version::Http11 && is_read,
        Anomaly::MissingHost,
    );
    anomalies.insert_if(said.hosts > 1, Anomaly::RepeatedHost);
    let framing = if anomalies.contains_any(ALWAYS_REFUSED) {
        Framing::Refused
    } else if said.coding_lines > 0 {
        Framing::Chunked(Chunk::START)
    } else {
        said.length().unwrap_or(Framing::Empty)
    };
    (framing, anomalies)
}

/// The framing of a response's body, with what was odd about its head. `method`: the request's, if it was seen.
pub(crate) fn of_response(head: &ResponseHead, method: Option<&[u8]>) -> (Framing, Anomalies) {
    let said = Said::by(&head.headers);
    let mut anomalies = said.anomalies(head.version);
    anomalies.extend(head.anomalies);
    let framing = if head.status == 101 || (method == Some(b"CONNECT") && (200..300).contains(&head.status)) {
        Framing::Tunnel
    } else if method == Some(b"HEAD") || matches!(head.status, 204 | 304) {
        Framing::Empty
    } else if said.coding_lines > 0 {
        // RFC 9112 section 6.3, item 4.
        if said.ends_in_chunked {
            Framing::Chunked(Chunk::START)
        } else {
            Framing::UntilClose
        }
    } else {
        said.length().unwrap_or(Framing::UntilClose)
    };
    (framing, anomalies)
}

/// What every nginx answers with an error at once. Bodies by such heads have no reading that all agree on.
const ALWAYS_REFUSED: &[Anomaly] = &[
    Anomaly::ConflictingContentLength,
    Anomaly::RepeatedContentLength,
    Anomaly::BadContentLength,
    Anomaly::TransferEncodingNotChunked,
    Anomaly::RepeatedTransferEncoding,
    Anomaly::BadMethod,
    Anomaly::BadRequestLine,
    Anomaly::Http09,
];

/// What nginx refuses since 1.21.1 or so, and took one way or the other before: what its answer says decides.
const PERHAPS_REFUSED: &[Anomaly] = &[
    Anomaly::ContentLengthAndTransferEncoding,
    Anomaly::TransferEncodingInHttp10,
    Anomaly::ObsFold,
    Anomaly::SpaceBeforeColon,
    Anomaly::BadFieldLine,
    Anomaly::ControlByte,
    Anomaly::BlanksInRequestLine,
    Anomaly::UnknownVersion,
    Anomaly::UnfinishedHead,
    Anomaly::MissingHost,
    Anomaly::RepeatedHost,
];

/// Whether a request with these oddities may be one that the gateway refuses.
pub(super) fn may_be_refused(anomalies: Anomalies) -> bool {
    anomalies.contains_any(ALWAYS_REFUSED) || anomalies.contains_any(PERHAPS_REFUSED)
}

/// What the fields of a head say about its body.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    hosts: u32,
    lengths: u32,
    length: Option<u64>,
    lengths_differ: bool,
    a_length_is_bad: bool,
    coding_lines: u32,
    codings: u32,
    chunked: u32,
    ends_in_chunked: bool,
}

impl Said {
    fn by(headers: &Headers) -> Self {
        let mut said = Self::default();
        for field in &headers.0 {
            // Most fields are told by the length of their names.
            match field.name.len() {
                4 if field.name.eq_ignore_ascii_case(b"host") => said.hosts += 1,
                14 if field.name.eq_ignore_ascii_case(b"content-length") => said.add_length(&field.value),
                17 if field.name.eq_ignore_ascii_case(b"transfer-encoding") => said.add_codings(&field.value),
                _ => {}
            }
        }
        said
    }

    fn add_length(&mut self, value: &[u8]) {
        for member in value.split(|byte| *byte == b',') {
            self.lengths += 1;
            match decimal(member.trim_ascii()) {
                None => self.a_length_is_bad = true,
                Some(length) => {
                    self.lengths_differ |= *self.length.get_or_insert(length) != length;
                }
            }
        }
    }

    fn add_codings(&mut self, value: &[u8]) {
        self.coding_lines += 1;
        for coding in value.split(|byte| *byte == b',') {
            self.codings += 1;
            self.ends_in_chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
            self.chunked += u32::from(self.ends_in_chunked);
        }
    }

    /// What the length says, if there is one that can be followed.
    const fn length(&self) -> Option<Framing> {
        match self.length {
            None => None,
            Some(_) if self.a_length_is_bad || self.lengths_differ => None,
            Some(0) => Some(Framing::Empty),
            Some(length) => Some(Framing::Length(length)),
        }
    }

    fn anomalies(&self, version: Version) -> Anomalies {
        let mut anomalies = Anomalies::NONE;
        let coded = self.coding_lines > 0;
        anomalies.insert_if(self.a_length_is_bad, Anomaly::BadContentLength);
        anomalies.insert_if(self.lengths_differ, Anomaly::ConflictingContentLength);
        let repeats = self.lengths > 1 && !self.lengths_differ && !self.a_length_is_bad;
        anomalies.insert_if(repeats, Anomaly::RepeatedContentLength);
        anomalies.insert_if(
            coded && self.lengths > 0,
            Anomaly::ContentLengthAndTransferEncoding,
        );
        let is_repeated = self.coding_lines > 1 || self.chunked > 1;
        anomalies.insert_if(is_repeated, Anomaly::RepeatedTransferEncoding);
        let has_others = self.codings > self.chunked;
        anomalies.insert_if(has_others, Anomaly::TransferEncodingNotChunked);
        anomalies.insert_if(
            coded && version == Version::Http10,
            Anomaly::TransferEncodingInHttp10,
        );
        anomalies
    }
}

/// A number of digits alone that nginx's `off_t` holds.
fn decimal(digits: &[u8]) -> Option<u64> {
    let is_plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number: i64 = str::from_utf8(digits).ok().filter(|_| is_plain)?.parse().ok()?;
    u64::try_from(number).ok()
}

impl Framing {
    pub(crate) const fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// The length that the head declared, if that frames it.
    pub(super) const fn declared(&self) -> Option<u64> {
        match self {
            Self::Length(length) => Some(*length),
            Self::Empty
            | Self::Chunked(_)
            | Self::Adrift
            | Self::UntilClose
            | Self::Tunnel
            | Self::Refused => None,
        }
    }

    pub(crate) const fn is_tunnel(&self) -> bool {
        matches!(self, Self::Tunnel)
    }

    pub(crate) const fn is_refused(&self) -> bool {
        matches!(self, Self::Refused)
    }

    /// Whether its end, once it is seen, is all that is left to know.
    pub(super) const fn is_adrift(&self) -> bool {
        matches!(self, Self::Adrift)
    }

    pub(crate) const fn ends_with_the_connection(&self) -> bool {
        matches!(self, Self::UntilClose)
    }

    /// Reads from `bytes`, which are not empty. Always makes progress, ends or gives up.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Step {
        let available = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        match self {
            Self::Chunked(chunk) => chunk.read(bytes),
            Self::Adrift => Step::data(available, ends_chunks(bytes)),
            Self::Empty | Self::Length(_) | Self::UntilClose | Self::Tunnel | Self::Refused => {
                self.skip(available)
            }
        }
    }

    /// Passes over `left` bytes that were left uncopied on purpose. Nothing is lost by that: where the next chunk begins is
    /// not known any more then, but the probes copy the end of the last one.
    pub(super) fn leave(&mut self, left: u64) -> Step {
        if let Self::Chunked(chunk) = self {
            if let Chunk::Data(remaining) = *chunk {
                return chunk.skip(left.min(remaining));
            }
            *self = Self::Adrift;
        }
        self.skip(left)
    }

    /// How many of the next bytes are known to be data, whatever they are.
    pub(super) const fn known_data(&self) -> u64 {
        match self {
            Self::Length(remaining) | Self::Chunked(Chunk::Data(remaining)) => *remaining,
            Self::UntilClose => u64::MAX,
            Self::Empty | Self::Chunked(_) | Self::Adrift | Self::Tunnel | Self::Refused => 0,
        }
    }

    /// Passes over `hole` bytes that were not seen.
    pub(crate) fn skip(&mut self, hole: u64) -> Step {
        match self {
            Self::Empty | Self::Tunnel | Self::Refused => Step {
                ended: true,
                ..Step::default()
            },
            Self::UntilClose | Self::Adrift => Step::data(hole, false),
            Self::Length(remaining) => {
                let taken = hole.min(*remaining);
                *remaining -= taken;
                Step::data(taken, *remaining == 0)
            }
            Self::Chunked(chunk) => chunk.skip(hole),
        }
    }
}
