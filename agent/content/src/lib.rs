//! HTTP content codings undone, for whoever searches or reads a captured body.
//!
//! In: the values of `Content-Encoding`, the body or the beginning of one, and [`Limits`]. Out: [`Decoded`], the bytes as far as they
//! could be had and a [`Verdict`] that says why they end there. Nothing here fails: what is cut, damaged or not known is a
//! value. Deliberately absent: IO, clocks, encoding, transfer codings (the parser undoes those), and what the bytes mean.

use std::borrow::Cow;

use output::{Output, Stop};

mod brotli;
mod deflate;
mod output;
mod zstd;

/// What decoding may take. No more memory than [`Limits::memory_bytes`] is in use at any moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that may come out of any one coding.
    pub output_bytes: usize,
    /// How many times as many bytes as went in may come out, beyond the first [`FREE_BYTES`].
    pub ratio: usize,
    /// The window, in bytes, that data may ask a decoder to keep. RFC 9659 lets zstd have 8 MiB; brotli's largest is 16 MiB.
    pub window_bytes: usize,
    /// Codings that may be on top of each other.
    pub layers: usize,
    /// Steps that one coding may take: each takes at most 512 bytes in or gives at most 32 KiB, or it is a gzip member, a zstd
    /// frame or a zstd block.
    pub steps: u32,
}

/// Bytes to which [`Limits::ratio`] does not apply.
pub const FREE_BYTES: usize = 64 << 10;

impl Limits {
    /// Limits for at most `output_bytes`, the others as they suit HTTP.
    #[must_use]
    pub const fn of_output(output_bytes: usize) -> Self {
        Self {
            output_bytes,
            ratio: 1_000,
            window_bytes: 8 << 20,
            layers: 3,
            steps: 1 << 16,
        }
    }

    /// The most memory, in bytes, that is in use while decoding, the result included and the input not.
    ///
    /// Output grows by doubling, and what was decoded of one coding is there while the next is undone: three times the output.
    /// A decoder's window grows by doubling too and holds a block more than was asked for.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        let output = self.output_bytes.saturating_mul(3);
        let window = self.window_bytes.saturating_mul(3);
        output.saturating_add(window).saturating_add(Self::TABLE_BYTES)
    }

    /// A decoder's tables: brotli's can have 3 times 256 Huffman codes, zstd's a few blocks of 128 KiB and their sequences.
    const TABLE_BYTES: usize = 6 << 20;
}

/// A content coding (RFC 9110 section 8.4.1, RFC 7932, RFC 8878).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`, `x-gzip`.
    Gzip,
    /// `deflate`: zlib's format, or the bare stream that some servers send under this name.
    Deflate,
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
}

impl Coding {
    /// The coding's registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The coding that a header field names, in any case.
    #[must_use]
    pub fn of_name(name: &[u8]) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match () {
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () if is("deflate") => Some(Self::Deflate),
            () if is("br") => Some(Self::Brotli),
            () if is("zstd") => Some(Self::Zstd),
            () => None,
        }
    }
}

/// A body with its codings undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded<'b> {
    /// What there is: the body itself where nothing had to be undone, all of it or its beginning otherwise.
    pub bytes: Cow<'b, [u8]>,
    /// The codings that were undone, the one applied last first.
    pub undone: Vec<Coding>,
    /// Whether that is all, and why not.
    pub verdict: Verdict,
    /// Bytes behind the end of coded data, which belong to nothing.
    pub trailing_bytes: usize,
}

/// How decoding ended. With more than one coding it is the first that did not end well, the one applied last first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of the body is there, every coding undone and every checksum right.
    Whole,
    /// The body ends before its coded data does.
    Truncated,
    /// A limit was reached.
    Limited(Limit),
    /// The data is not what the coding makes.
    Damaged {
        /// The coding that was being undone.
        coding: Coding,
        /// About where in that coding's data, counted from its first byte; never before the damage's own data block.
        at: usize,
    },
    /// A coding that is not known here, by its name as sent. The bytes are still under it.
    Unknown(Vec<u8>),
}

/// Which limit ended the decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`Limits::output_bytes`].
    Output,
    /// [`Limits::ratio`].
    Ratio,
    /// [`Limits::window_bytes`].
    Window,
    /// [`Limits::layers`]: nothing was undone.
    Layers,
    /// [`Limits::steps`].
    Steps,
}

/// Undoes the codings of `body`, the one applied last first (RFC 9110 section 8.4).
///
/// `content_encoding` are the values of that field, line after line.
pub fn decode<'b, V: AsRef<[u8]>>(
    content_encoding: impl IntoIterator<Item = V>,
    body: &'b [u8],
    limits: &Limits,
) -> Decoded<'b> {
    let mut decoded = Decoded {
        bytes: Cow::Borrowed(body),
        undone: Vec::new(),
        verdict: Verdict::Whole,
        trailing_bytes: 0,
    };
    let Some(names) = names(content_encoding, limits.layers) else {
        decoded.verdict = Verdict::Limited(Limit::Layers);
        return decoded;
    };
    for name in names.into_iter().rev() {
        if decoded.bytes.is_empty() {
            break;
        }
        let Some(coding) = Coding::of_name(&name) else {
            decoded.end_with(Verdict::Unknown(name));
            break;
        };
        let mut output = Output::new(decoded.bytes.len(), limits);
        let end = match coding {
            Coding::Gzip => deflate::gzip(&decoded.bytes, &mut output),
            Coding::Deflate => deflate::zlib_or_bare(&decoded.bytes, &mut output),
            Coding::Brotli => brotli::decode(&decoded.bytes, &mut output, limits.window_bytes),
            Coding::Zstd => zstd::decode(&decoded.bytes, &mut output, limits.window_bytes),
        };
        match end {
            Ok(consumed) => {
                let left = decoded.bytes.len().saturating_sub(consumed);
                decoded.trailing_bytes = decoded.trailing_bytes.saturating_add(left);
            }
            Err(Stop::Truncated) => decoded.end_with(Verdict::Truncated),
            Err(Stop::Limited(limit)) => decoded.end_with(Verdict::Limited(limit)),
            Err(Stop::Damaged { at }) => decoded.end_with(Verdict::Damaged { coding, at }),
        }
        decoded.undone.push(coding);
        decoded.bytes = Cow::Owned(output.into_bytes());
    }
    decoded
}

impl Decoded<'_> {
    /// An inner coding that ends badly because an outer one did says nothing new.
    fn end_with(&mut self, verdict: Verdict) {
        if self.verdict == Verdict::Whole {
            self.verdict = verdict;
        }
    }
}

/// Whether any coding but `identity` is named.
pub fn is_coded<V: AsRef<[u8]>>(content_encoding: impl IntoIterator<Item = V>) -> bool {
    names(content_encoding, 0).is_none()
}

/// The names in the order in which they were applied, or nothing if there are more than `most`.
///
/// `identity` says nothing (RFC 9110 section 8.4.1), and an empty element of a list is none (section 5.6.1).
fn names<V: AsRef<[u8]>>(content_encoding: impl IntoIterator<Item = V>, most: usize) -> Option<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for value in content_encoding {
        for name in value.as_ref().split(|byte| *byte == b',') {
            let name = name.trim_ascii();
            if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            if names.len() >= most {
                return None;
            }
            names.push(name.to_vec());
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests;
