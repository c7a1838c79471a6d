//! Where a body ends: by length, by chunks, by the connection's end, or at once (RFC 9112 section 6).

use super::head::{RequestHead, ResponseHead};
use crate::http::headers::Headers;

/// Longest chunk-size line, chunk extensions included, bytes.
const SIZE_LINE_LIMIT_BYTES: u32 = 4096;

/// Longest trailer section, bytes.
const TRAILER_LIMIT_BYTES: u32 = 64 << 10;

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
}

/// Where in the chunk framing the next byte is.
#[derive(Debug)]
pub(crate) enum Chunk {
    /// In the hexadecimal digits of a size.
    Size { value: u64, digits: u32 },
    /// In the rest of the size line.
    Extension { value: u64, seen: u32 },
    /// In the data.
    Data(u64),
    /// In the line end after the data.
    DataEnd,
    /// In the trailer section; `line` counts the bytes of the current line.
    Trailer { line: u32, seen: u32 },
}

/// What became of some bytes of a body.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Step {
    /// Bytes used up.
    pub(crate) taken: u64,
    /// Whether they are data and not framing.
    pub(crate) is_data: bool,
    /// The body ended with them.
    pub(crate) ended: bool,
    /// The framing makes no sense (any more); the rest is not part of this body as far as can be told.
    pub(crate) lost: bool,
}

impl Step {
    /// The data among `bytes`, from which this step was made.
    pub(crate) fn data_of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let taken = if self.is_data {
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

/// The framing of a request's body.
pub(crate) fn of_request(head: &RequestHead) -> Framing {
    by_headers(&head.headers).unwrap_or(Framing::Empty)
}

/// The framing of a response's body. `method`: the request's, if it was seen.
pub(crate) fn of_response(head: &ResponseHead, method: Option<&[u8]>) -> Framing {
    if head.status == 101 || (method == Some(b"CONNECT") && (200..300).contains(&head.status)) {
        return Framing::Tunnel;
    }
    if method == Some(b"HEAD") || matches!(head.status, 204 | 304) {
        return Framing::Empty;
    }
    by_headers(&head.headers).unwrap_or(Framing::UntilClose)
}

/// `Transfer-Encoding` wins over `Content-Length`, as it does in nginx.
fn by_headers(headers: &Headers) -> Option<Framing> {
    let chunked = headers.all("transfer-encoding").last().is_some_and(|value| {
        value
            .rsplit(|byte| *byte == b',')
            .next()
            .is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"))
    });
    if chunked {
        return Some(Framing::Chunked(Chunk::Size { value: 0, digits: 0 }));
    }
    let length = headers.text("content-length")?.trim();
    if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    length.parse().ok().map(|length| {
        if length == 0 {
            Framing::Empty
        } else {
            Framing::Length(length)
        }
    })
}

impl Framing {
    pub(crate) const fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// The length that the head declared, if that frames it.
    pub(super) const fn declared(&self) -> Option<u64> {
        match self {
            Self::Length(length) => Some(*length),
            Self::Empty | Self::Chunked(_) | Self::Adrift | Self::UntilClose | Self::Tunnel => None,
        }
    }

    pub(crate) const fn is_tunnel(&self) -> bool {
        matches!(self, Self::Tunnel)
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
            Self::Empty | Self::Tunnel => Step {
                ended: true,
                ..Step::default()
            },
            Self::UntilClose => Step {
                taken: available,
                is_data: true,
                ..Step::default()
            },
            Self::Length(remaining) => {
                let taken = available.min(*remaining);
                *remaining -= taken;
                Step {
                    taken,
                    is_data: true,
                    ended: *remaining == 0,
                    lost: false,
                }
            }
            Self::Chunked(chunk) => chunk.read(bytes),
            Self::Adrift => Step {
                taken: available,
                is_data: true,
                ended: ends_chunks(bytes),
                lost: false,
            },
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
            Self::Empty | Self::Chunked(_) | Self::Adrift | Self::Tunnel => 0,
        }
    }

    /// Passes over `hole` bytes that were not seen.
    pub(crate) fn skip(&mut self, hole: u64) -> Step {
        match self {
            Self::Empty | Self::Tunnel => Step {
                ended: true,
                ..Step::default()
            },
            Self::UntilClose | Self::Adrift => Step {
                taken: hole,
                is_data: true,
                ..Step::default()
            },
            Self::Length(remaining) => {
                let taken = hole.min(*remaining);
                *remaining -= taken;
                Step {
                    taken,
                    is_data: true,
                    ended: *remaining == 0,
                    lost: false,
                }
            }
            Self::Chunked(chunk) => chunk.skip(hole),
        }
    }
}

impl Chunk {
    fn read(&mut self, bytes: &[u8]) -> Step {
        if let Self::Data(remaining) = self {
            let taken = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(*remaining);
            *remaining -= taken;
            if *remaining == 0 {
                *self = Self::DataEnd;
            }
            return Step {
                taken,
                is_data: true,
                ..Step::default()
            };
        }
        let mut taken = 0;
        for byte in bytes {
            taken += 1;
            match self.frame(*byte) {
                Frame::Goes if matches!(self, Self::Data(_)) => break,
                Frame::Goes => {}
                Frame::Ends => {
                    return Step {
                        taken,
                        is_data: false,
                        ended: true,
                        lost: false,
                    };
                }
                Frame::Breaks => {
                    return Step {
                        taken: taken - 1,
                        is_data: false,
                        ended: false,
                        lost: true,
                    };
                }
            }
        }
        Step {
            taken,
            ..Step::default()
        }
    }

    /// Takes one byte of framing.
    fn frame(&mut self, byte: u8) -> Frame {
        match self {
            Self::Size { value, digits } => {
                if let Some(digit) = char::from(byte).to_digit(16) {
                    // 16 digits are a u64; more could only be leading zeros, which nobody sends.
                    if *digits == 16 {
                        return Frame::Breaks;
                    }
                    *value = (*value << 4) | u64::from(digit);
                    *digits += 1;
                    return Frame::Goes;
                }
                if *digits == 0 || !matches!(byte, b'\r' | b'\n' | b';' | b' ' | b'\t') {
                    return Frame::Breaks;
                }
                let value = *value;
                if byte == b'\n' {
                    self.begin_chunk(value);
                } else {
                    *self = Self::Extension { value, seen: 1 };
                }
                Frame::Goes
            }
            Self::Extension { value, seen } => {
                *seen += 1;
                if byte == b'\n' {
                    let value = *value;
                    self.begin_chunk(value);
                } else if *seen > SIZE_LINE_LIMIT_BYTES {
                    return Frame::Breaks;
                }
                Frame::Goes
            }
            Self::Data(_) => Frame::Goes,
            Self::DataEnd => match byte {
                b'\r' => Frame::Goes,
                b'\n' => {
                    *self = Self::Size { value: 0, digits: 0 };
                    Frame::Goes
                }
                _ => Frame::Breaks,
            },
            Self::Trailer { line, seen } => {
                *seen += 1;
                match byte {
                    b'\n' if *line == 0 => return Frame::Ends,
                    b'\n' => *line = 0,
                    b'\r' => {}
                    _ => *line += 1,
                }
                if *seen > TRAILER_LIMIT_BYTES {
                    Frame::Breaks
                } else {
                    Frame::Goes
                }
            }
        }
    }

    const fn begin_chunk(&mut self, size: u64) {
        *self = if size == 0 {
            Self::Trailer { line: 0, seen: 0 }
        } else {
            Self::Data(size)
        };
    }

    fn skip(&mut self, hole: u64) -> Step {
        let Self::Data(remaining) = self else {
            return Step {
                lost: true,
                ..Step::default()
            };
        };
        let taken = hole.min(*remaining);
        *remaining -= taken;
        if *remaining == 0 {
            *self = Self::DataEnd;
        }
        Step {
            taken,
            is_data: true,
            ended: false,
            lost: taken < hole,
        }
    }
}

enum Frame {
    Goes,
    Ends,
    Breaks,
}
