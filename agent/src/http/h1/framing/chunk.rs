//! The chunked coding (RFC 9112 section 7.1), byte for byte as nginx reads it (`ngx_http_parse_chunked` in
//! `src/http/ngx_http_parse.c`): extensions unread, lines that end in LF alone, a size by its value and not by its digits.

use super::{Part, Step};

/// Longest chunk-size line, chunk extensions included, bytes.
pub(crate) const SIZE_LINE_LIMIT_BYTES: u32 = 4096;

/// Longest trailer section, bytes.
pub(crate) const TRAILER_LIMIT_BYTES: u32 = 64 << 10;

/// Where in the chunk framing the next byte is.
#[derive(Debug)]
pub(crate) enum Chunk {
    /// In a size line.
    Size(SizeLine),
    /// In the data.
    Data(u64),
    /// In the line end after the data.
    DataEnd { after_cr: bool },
    /// In the trailer section; `line` counts the bytes of the current line, `seen` all of them.
    Trailer { line: u32, seen: u32, after_cr: bool },
}

/// A size line that is being read.
#[derive(Debug, Default)]
pub(crate) struct SizeLine {
    value: u64,
    seen: u32,
    /// The digits are over.
    in_extension: bool,
    after_cr: bool,
}

enum Frame {
    Goes,
    /// A line ended in LF alone.
    GoesBare,
    Ends,
    EndsBare,
    Breaks,
}

impl Frame {
    const fn line_end(after_cr: bool) -> Self {
        if after_cr { Self::Goes } else { Self::GoesBare }
    }
}

impl Chunk {
    /// Before the first chunk.
    pub(crate) const START: Self = Self::Size(SizeLine {
        value: 0,
        seen: 0,
        in_extension: false,
        after_cr: false,
    });

    pub(super) fn read(&mut self, bytes: &[u8]) -> Step {
        if let Self::Data(remaining) = self {
            let available = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let taken = available.min(*remaining);
            return self.skip(taken);
        }
        let mut step = Step {
            part: self.part(),
            ..Step::default()
        };
        for byte in bytes {
            let frame = self.frame(*byte);
            step.bare_line_feed |= matches!(frame, Frame::GoesBare | Frame::EndsBare);
            match frame {
                Frame::Breaks => {
                    step.lost = true;
                    return step;
                }
                Frame::Ends | Frame::EndsBare => {
                    step.taken += 1;
                    step.ended = true;
                    return step;
                }
                Frame::Goes | Frame::GoesBare => step.taken += 1,
            }
            if self.part() != step.part {
                return step;
            }
        }
        step
    }

    const fn part(&self) -> Part {
        match self {
            Self::Size(_) | Self::DataEnd { .. } => Part::Framing,
            Self::Data(_) => Part::Data,
            Self::Trailer { .. } => Part::Trailer,
        }
    }

    /// Takes one byte of framing.
    fn frame(&mut self, byte: u8) -> Frame {
        match self {
            Self::Size(line) => {
                let frame = line.frame(byte);
                if byte == b'\n' && !matches!(frame, Frame::Breaks) {
                    *self = match line.value {
                        0 => Self::Trailer {
                            line: 0,
                            seen: 0,
                            after_cr: false,
                        },
                        size => Self::Data(size),
                    };
                }
                frame
            }
            Self::Data(_) => Frame::Goes,
            Self::DataEnd { after_cr } => match byte {
                b'\n' => {
                    let frame = Frame::line_end(*after_cr);
                    *self = Self::START;
                    frame
                }
                b'\r' if !*after_cr => {
                    *after_cr = true;
                    Frame::Goes
                }
                _ => Frame::Breaks,
            },
            Self::Trailer { line, seen, after_cr } => {
                *seen += 1;
                if *seen > TRAILER_LIMIT_BYTES {
                    return Frame::Breaks;
                }
                match byte {
                    b'\n' if *line == 0 && *after_cr => Frame::Ends,
                    b'\n' if *line == 0 => Frame::EndsBare,
                    b'\n' => {
                        let frame = Frame::line_end(*after_cr);
                        (*line, *after_cr) = (0, false);
                        frame
                    }
                    _ if *after_cr => Frame::Breaks,
                    b'\r' => {
                        *after_cr = true;
                        Frame::Goes
                    }
                    _ => {
                        *line += 1;
                        Frame::Goes
                    }
                }
            }
        }
    }

    /// Passes over `hole` bytes, of which only data can be told what they are.
    pub(super) fn skip(&mut self, hole: u64) -> Step {
        let Self::Data(remaining) = self else {
            return Step {
                lost: true,
                ..Step::default()
            };
        };
        let taken = hole.min(*remaining);
        *remaining -= taken;
        if *remaining == 0 {
            *self = Self::DataEnd { after_cr: false };
        }
        Step {
            lost: taken < hole,
            ..Step::data(taken, false)
        }
    }
}

impl SizeLine {
    fn frame(&mut self, byte: u8) -> Frame {
        self.seen += 1;
        if self.seen > SIZE_LINE_LIMIT_BYTES {
            return Frame::Breaks;
        }
        let has_digits = self.seen > 1;
        match byte {
            b'\n' if has_digits => Frame::line_end(self.after_cr),
            _ if self.after_cr => Frame::Breaks,
            b'\r' if has_digits => {
                self.after_cr = true;
                Frame::Goes
            }
            _ if self.in_extension => Frame::Goes,
            b';' | b' ' | b'\t' if has_digits => {
                self.in_extension = true;
                Frame::Goes
            }
            _ => self.digit(byte),
        }
    }

    fn digit(&mut self, byte: u8) -> Frame {
        // nginx: more than its `off_t` holds is an error, leading zeros are not.
        match char::from(byte).to_digit(16) {
            Some(digit) if self.value <= i64::MAX.unsigned_abs() >> 4 => {
                self.value = (self.value << 4) | u64::from(digit);
                Frame::Goes
            }
            Some(_) | None => Frame::Breaks,
        }
    }
}
