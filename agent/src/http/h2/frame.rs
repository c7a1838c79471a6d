//! Frame headers (RFC 9113 sections 4.1 and 6), and where a stream of frames can be taken up again.
//!
//! In: bytes. Out: [`FrameHeader`]s, and whether bytes look like the start of one. Deliberately absent: payloads.

/// Length of a frame header.
pub(super) const HEADER_BYTES: usize = 9;
/// RFC 9113 section 6.5.2: longest payload until a peer allows more.
pub(super) const DEFAULT_PAYLOAD_BYTES: usize = 16_384;
/// The most that a peer can allow, and that a frame header can say.
pub(super) const MOST_PAYLOAD_BYTES: usize = (1 << 24) - 1;
/// Longest payload of a frame at which a lost stream is taken up again. Text has no such bytes where the length stands.
const JOINING_PAYLOAD_BYTES: usize = 64 << 10;

/// Frame types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// An extension, to be passed over (section 5.5).
    Extension,
}

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

/// A frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) length: usize,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
    has_reserved_bit: bool,
}

impl FrameHeader {
    pub(super) fn parse(bytes: [u8; HEADER_BYTES]) -> Self {
        let [l2, l1, l0, kind, flags, s3, s2, s1, s0] = bytes;
        Self {
            length: usize::from(l2) << 16 | usize::from(l1) << 8 | usize::from(l0),
            kind: match kind {
                0 => Kind::Data,
                1 => Kind::Headers,
                2 => Kind::Priority,
                3 => Kind::Reset,
                4 => Kind::Settings,
                5 => Kind::PushPromise,
                6 => Kind::Ping,
                7 => Kind::GoAway,
                8 => Kind::WindowUpdate,
                9 => Kind::Continuation,
                _ => Kind::Extension,
            },
            flags,
            stream: u32::from_be_bytes([s3 & 0x7f, s2, s1, s0]),
            has_reserved_bit: s3 & 0x80 != 0,
        }
    }

    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether section 6 allows it. A peer answers one that is not with the end of the connection, so whoever meets one has
    /// lost its place.
    pub(super) const fn is_legal(&self, most_payload_bytes: usize) -> bool {
        let may_be_padded = matches!(self.kind, Kind::Data | Kind::Headers | Kind::PushPromise);
        if self.length > most_payload_bytes || (may_be_padded && self.has(PADDED) && self.length == 0) {
            return false;
        }
        match self.kind {
            Kind::Data | Kind::Headers | Kind::PushPromise | Kind::Continuation => self.stream != 0,
            // Another length than 5 is an error of the stream alone (section 6.3).
            Kind::Priority => self.stream != 0,
            Kind::Reset => self.stream != 0 && self.length == 4,
            Kind::Settings if self.has(ACK) => self.stream == 0 && self.length == 0,
            Kind::Settings => self.stream == 0 && self.length.is_multiple_of(6),
            Kind::Ping => self.stream == 0 && self.length == 8,
            Kind::GoAway => self.stream == 0 && self.length >= 8,
            Kind::WindowUpdate => self.length == 4,
            Kind::Extension => true,
        }
    }

    /// Whether a stream may be taken up at it: nothing in it is unusual.
    const fn is_plausible(&self) -> bool {
        let flags = match self.kind {
            Kind::Data => END_STREAM | PADDED,
            Kind::Headers => END_STREAM | END_HEADERS | PADDED | PRIORITY,
            Kind::PushPromise => END_HEADERS | PADDED,
            Kind::Continuation => END_HEADERS,
            Kind::Settings | Kind::Ping => ACK,
            Kind::Priority | Kind::Reset | Kind::GoAway | Kind::WindowUpdate => 0,
            Kind::Extension => return false,
        };
        let is_usual = !matches!(self.kind, Kind::Priority) || self.length == 5;
        is_usual && self.is_legal(JOINING_PAYLOAD_BYTES) && self.flags & !flags == 0 && !self.has_reserved_bit
    }
}

/// SETTINGS_MAX_FRAME_SIZE in the payload of a SETTINGS frame, if it is there. Section 6.5: the last one counts. The table's size is
/// said again in the header blocks (RFC 7541 section 4.2), so it is not taken from here.
pub(super) fn most_payload(settings: &[u8]) -> Option<usize> {
    let (settings, _) = settings.as_chunks::<6>();
    let most = settings
        .iter()
        .rev()
        .find(|setting| setting.starts_with(&[0, 5]))?;
    let [_, _, value @ ..] = *most;
    let most = usize::try_from(u32::from_be_bytes(value)).ok()?;
    Some(most.min(MOST_PAYLOAD_BYTES))
}

/// Whether a stream can be taken up at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boundary {
    Yes,
    No,
    /// The bytes after these will say.
    NotYet,
}

/// Looks whether frames begin where `bytes` begin: each header must be plausible, and either a second one follows where the
/// first frame ends, or the bytes end there too, as they do when a program sends a frame a call.
pub(super) fn boundary(bytes: &[u8]) -> Boundary {
    let mut rest = bytes;
    let mut met = 0usize;
    while let Some((header, after)) = rest.split_first_chunk() {
        let header = FrameHeader::parse(*header);
        if !header.is_plausible() {
            return Boundary::No;
        }
        met = met.saturating_add(1);
        let Some((_, next)) = after.split_at_checked(header.length) else {
            return if met >= 2 { Boundary::Yes } else { Boundary::NotYet };
        };
        rest = next;
    }
    match (met, rest.is_empty()) {
        (0, _) | (1, false) => Boundary::NotYet,
        (1, true) | (2.., _) => Boundary::Yes,
    }
}

/// The frames that lie whole in `bytes`, with their payloads.
pub(super) fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (FrameHeader, &[u8])> {
    std::iter::from_fn(move || {
        let (header, after) = bytes.split_first_chunk()?;
        let header = FrameHeader::parse(*header);
        let (payload, rest) = after.split_at_checked(header.length)?;
        bytes = rest;
        Some((header, payload))
    })
}

#[cfg(test)]
mod tests {
    use super::Boundary::{No, NotYet, Yes};
    use super::{Boundary, boundary};

    #[track_caller]
    fn check(bytes: &[u8], expected: Boundary) {
        assert_eq!(boundary(bytes), expected, "{}", bytes.escape_ascii());
    }

    #[test]
    fn a_stream_is_taken_up_at_plausible_frames() {
        const PING: &[u8] = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00pingpong";
        const DATA: &[u8] = b"\x00\x00\x02\x00\x01\x00\x00\x00\x05ok";
        check(b"", NotYet);
        check(PING, Yes);
        check(&PING[..9], NotYet);
        check(&PING[..16], NotYet);
        check(DATA, Yes);
        check(&[DATA, &DATA[..3]].concat(), NotYet); // two bytes of payload and any three bytes
        check(&[DATA, &DATA[..9]].concat(), Yes);
        check(&[DATA, b"not a frame header"].concat(), No);
        check(b"\x00\x00\x02\x00\x01\x00\x00\x00\x00ok", No); // DATA on stream 0
        check(b"\x00\x00\x02\x00\x41\x00\x00\x00\x05ok", No); // a flag that DATA has not
        check(b"\x00\x00\x02\x00\x01\x80\x00\x00\x05ok", No); // the reserved bit
        check(b"\x00\x00\x02\x0b\x00\x00\x00\x00\x05ok", No); // an unknown type
        check(b"\x00\x00\x07\x06\x00\x00\x00\x00\x00pingpon", No); // a short PING
        check(b"\x02\x00\x00\x00\x01\x00\x00\x00\x05", No); // longer than is taken up
        check(b"some text that lies in a body", No);
        check(&[0; 64], No);
    }
}
