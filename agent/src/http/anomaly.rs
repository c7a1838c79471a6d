//! What was odd about a message: allowed by nobody, or read differently by different programs.
//!
//! An anomaly never changes what is recorded. It says that the message was not plain HTTP, so that whoever looks at the
//! exchange knows where request smuggling, broken clients and rejected requests come from.

use serde::ser::{Serialize, Serializer};

/// One oddity of a request or a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Anomaly {
    /// Several lengths that differ (RFC 9112 section 6.3, item 5).
    ConflictingContentLength,
    /// The same length several times, as lines or as a list (RFC 9110 section 8.6).
    RepeatedContentLength,
    /// A length that is no plain decimal number, or is too large for one.
    BadContentLength,
    /// A length and a transfer coding (RFC 9112 section 6.3, item 3).
    ContentLengthAndTransferEncoding,
    /// Transfer codings other than `chunked` alone, which is the only one that nginx reads (RFC 9112 section 6.1).
    TransferEncodingNotChunked,
    /// Several `Transfer-Encoding` lines, or `chunked` more than once (RFC 9112 section 6.1).
    RepeatedTransferEncoding,
    /// A transfer coding in HTTP/1.0, which has none (RFC 9112 section 6.1).
    TransferEncodingInHttp10,
    /// A chunk's framing that cannot be read (RFC 9112 section 7.1).
    BadChunk,
    /// A field over several lines (RFC 9112 section 5.2).
    ObsFold,
    /// A blank between a field's name and its colon (RFC 9112 section 5.1).
    SpaceBeforeColon,
    /// A line in the place of a field that is none: no colon, no name, or bytes that no name has.
    BadFieldLine,
    /// A line that ends in LF alone (RFC 9112 section 2.2).
    BareLineFeed,
    /// A CR, a NUL or another control byte within a line of the head (RFC 9110 section 5.5).
    ControlByte,
    /// More fields than are read; the rest is left out.
    TooManyFields,
    /// A method with bytes that nginx takes for none: small letters, digits, signs.
    BadMethod,
    /// A request line that is no method, target and version.
    BadRequestLine,
    /// Blanks within the target, or more than one between the parts of the request line.
    BlanksInRequestLine,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    UnknownVersion,
    /// The gateway answered before the head had ended: it was too long, too slow, or no head at all.
    UnfinishedHead,
    /// A request of HTTP/0.9: one line, and the answer has no head.
    Http09,
    /// No `Host` in HTTP/1.1 (RFC 9112 section 3.2).
    MissingHost,
    /// Several `Host` fields (RFC 9112 section 3.2).
    RepeatedHost,
}

impl Anomaly {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 22] = [
        Self::ConflictingContentLength,
        Self::RepeatedContentLength,
        Self::BadContentLength,
        Self::ContentLengthAndTransferEncoding,
        Self::TransferEncodingNotChunked,
        Self::RepeatedTransferEncoding,
        Self::TransferEncodingInHttp10,
        Self::BadChunk,
        Self::ObsFold,
        Self::SpaceBeforeColon,
        Self::BadFieldLine,
        Self::BareLineFeed,
        Self::ControlByte,
        Self::TooManyFields,
        Self::BadMethod,
        Self::BadRequestLine,
        Self::BlanksInRequestLine,
        Self::UnknownVersion,
        Self::UnfinishedHead,
        Self::Http09,
        Self::MissingHost,
        Self::RepeatedHost,
    ];

    /// Its name in messages: stable, snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConflictingContentLength => "conflicting_content_length",
            Self::RepeatedContentLength => "repeated_content_length",
            Self::BadContentLength => "bad_content_length",
            Self::ContentLengthAndTransferEncoding => "content_length_and_transfer_encoding",
            Self::TransferEncodingNotChunked => "transfer_encoding_not_chunked",
            Self::RepeatedTransferEncoding => "repeated_transfer_encoding",
            Self::TransferEncodingInHttp10 => "transfer_encoding_in_http10",
            Self::BadChunk => "bad_chunk",
            Self::ObsFold => "obs_fold",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::BadFieldLine => "bad_field_line",
            Self::BareLineFeed => "bare_line_feed",
            Self::ControlByte => "control_byte",
            Self::TooManyFields => "too_many_fields",
            Self::BadMethod => "bad_method",
            Self::BadRequestLine => "bad_request_line",
            Self::BlanksInRequestLine => "blanks_in_request_line",
            Self::UnknownVersion => "unknown_version",
            Self::UnfinishedHead => "unfinished_head",
            Self::Http09 => "http09",
            Self::MissingHost => "missing_host",
            Self::RepeatedHost => "repeated_host",
        }
    }

    const fn bit(self) -> u64 {
        1 << self.number()
    }

    #[expect(
        clippy::as_conversions,
        reason = "the number of an enum without fields; there is no other const way"
    )]
    const fn number(self) -> u8 {
        self as u8
    }
}

/// A set of anomalies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Anomalies(u64);

impl Anomalies {
    /// None.
    pub const NONE: Self = Self(0);

    /// Adds one.
    pub const fn insert(&mut self, anomaly: Anomaly) {
        self.0 |= anomaly.bit();
    }

    /// Adds one, if `is_there`.
    pub const fn insert_if(&mut self, is_there: bool, anomaly: Anomaly) {
        if is_there {
            self.insert(anomaly);
        }
    }

    /// Adds all of `other`.
    pub const fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether it holds `anomaly`.
    #[must_use]
    pub const fn contains(self, anomaly: Anomaly) -> bool {
        self.0 & anomaly.bit() != 0
    }

    /// Whether it holds any of `others`.
    #[must_use]
    pub fn contains_any(self, others: &[Anomaly]) -> bool {
        others.iter().any(|anomaly| self.contains(*anomaly))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Those that it holds, in the order of [`Anomaly::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Anomaly> {
        Anomaly::ALL
            .into_iter()
            .filter(move |anomaly| self.contains(*anomaly))
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.iter().map(Anomaly::name)
    }
}

impl FromIterator<Anomaly> for Anomalies {
    fn from_iter<I: IntoIterator<Item = Anomaly>>(anomalies: I) -> Self {
        let mut set = Self::NONE;
        for anomaly in anomalies {
            set.insert(anomaly);
        }
        set
    }
}

impl Serialize for Anomalies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Anomalies, Anomaly};

    #[test]
    fn every_anomaly_has_a_bit_and_a_name_of_its_own() {
        let names: HashSet<&str> = Anomaly::ALL.iter().map(|anomaly| anomaly.name()).collect();
        assert_eq!(names.len(), Anomaly::ALL.len());
        for (number, anomaly) in Anomaly::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(anomaly.number()), number, "{anomaly:?}");
            let set: Anomalies = [anomaly].into_iter().collect();
            assert_eq!(set.iter().collect::<Vec<_>>(), [anomaly]);
            assert!(
                anomaly
                    .name()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            );
        }
    }

    #[test]
    fn a_set_is_shown_as_a_list_of_names() {
        let set: Anomalies = [Anomaly::ObsFold, Anomaly::ConflictingContentLength]
            .into_iter()
            .collect();
        assert_eq!(
            serde_json::to_value(set).unwrap(),
            serde_json::json!(["conflicting_content_length", "obs_fold"])
        );
        assert!(Anomalies::default().is_empty() && !set.is_empty());
    }
}
