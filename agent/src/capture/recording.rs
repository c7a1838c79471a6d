//! Recordings: the ring's records in a file, so that everything after capture runs again elsewhere, bit for bit.
//!
//! A recording is a line that names the format, a line of JSON ([`Header`]), then items: a tag byte, a little-endian `u32`
//! length, and that many bytes. An item is a record as the probes wrote it (masked, unless that was switched off), or at the
//! end the [`Trailer`]: what was lost while it was recorded. Items of other tags are passed over. A recording that breaks off
//! is good up to its last whole item. Deliberately absent: decoding.

pub mod mask;
pub mod reader;
pub mod tape;
#[cfg(test)]
mod tests;
pub mod writer;

use std::collections::BTreeMap;
use std::io;

use kongtap_common::record::{ABI, MAX_PAYLOAD_BYTES, RecordHeader};
use serde::{Deserialize, Serialize};

use self::mask::MaskCounts;

/// First line of a recording.
const FORMAT: &str = "kongtap-recording 2";

/// Longest header line, bytes.
const HEADER_LIMIT_BYTES: u64 = 64 << 10;

/// Tag of a record.
const TAG_RECORD: u8 = b'R';
/// Tag of the trailer.
const TAG_TRAILER: u8 = b'T';
/// Tag and length, bytes.
const ITEM_HEAD_BYTES: u64 = 5;

const RECORD_HEADER_BYTES: u32 = 48;
const _: () = assert!(size_of::<RecordHeader>() == 48);

/// Longest record: a header and the largest payload.
const RECORD_LIMIT_BYTES: u32 = MAX_PAYLOAD_BYTES + RECORD_HEADER_BYTES;

/// Longest trailer, bytes; so much of a recording's bound is kept for it.
const TRAILER_LIMIT_BYTES: u32 = 16 << 10;

/// Smallest bound of a recording, bytes.
pub const SMALLEST_LIMIT_BYTES: u64 = 1 << 20;

/// What a replay must know beside the records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`ABI`] of the records.
    pub abi: u8,
    /// Of the records.
    pub byte_order: ByteOrder,
    /// Unix nanoseconds at the recorded host's monotonic zero.
    pub boot_unix_ns: u64,
    /// kongtap's version.
    pub recorded_by: String,
    /// The recorded host's kernel.
    #[serde(default)]
    pub kernel: String,
    /// What was done about credentials.
    pub redaction: Redacted,
    /// What the gateway said of itself.
    #[serde(default)]
    pub gateway: RecordedGateway,
}

/// In which order a number's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ByteOrder {
    /// Least significant first.
    Little,
    /// Most significant first.
    Big,
}

impl Default for ByteOrder {
    /// This machine's.
    fn default() -> Self {
        if cfg!(target_endian = "big") {
            Self::Big
        } else {
            Self::Little
        }
    }
}

/// What was done about credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Redacted {
    /// They are masked.
    #[default]
    Masked,
    /// Nothing: the recording holds traffic in the clear.
    No,
}

/// What the gateway's Admin API said, where it was asked, and files do not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedGateway {
    /// `3.9.1`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `router_flavor`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_flavor: Option<String>,
    /// Ports of its Admin and Status API, whose calls are no client's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_ports: Vec<u16>,
}

/// How a recording went: its last item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trailer {
    /// What ended it.
    pub ended: Ended,
    /// Unix nanoseconds when it ended.
    pub ended_unix_ns: u64,
    /// What is in the file, and what is not.
    pub counts: Counts,
    /// What the probes counted, by name: bytes seen, copied, left and lost by reason.
    pub kernel: BTreeMap<String, u64>,
    /// Records that the ring's reader took out of it.
    pub ring_records: u64,
}

impl Trailer {
    /// Bytes that moved and were not seen, by the probes' own count and by the recorder's.
    #[must_use]
    pub fn lost_bytes(&self) -> u64 {
        let by_probes = self
            .kernel
            .iter()
            .filter(|(name, _)| name.starts_with("lost_") && name.ends_with("_bytes"));
        let by_probes: u64 = by_probes.map(|(_, count)| *count).sum();
        by_probes.saturating_add(self.counts.dropped_bytes)
    }
}

/// What ended a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// A signal.
    Signal,
    /// The time that was asked for.
    Seconds,
    /// The bound on its size.
    Full,
}

impl Ended {
    /// In words.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Signal => "a signal",
            Self::Seconds => "the time that was asked for",
            Self::Full => "its bound on bytes",
        }
    }
}

/// What became of the records. `copied by the probes = payload + mask.left_out + dropped`, when no bound ended it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Records in the file.
    pub records: u64,
    /// Payload bytes of data records in the file.
    pub payload_bytes: u64,
    /// Records that came faster than the file could be written.
    pub dropped_records: u64,
    /// Their payload bytes.
    pub dropped_bytes: u64,
    /// What masking did.
    pub mask: MaskCounts,
}

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be created.
    #[error("cannot create the recording")]
    Create(#[source] io::Error),
    /// The file cannot be written.
    #[error("cannot write the recording")]
    Write(#[source] io::Error),
    /// The file cannot be opened or read.
    #[error("cannot read the recording")]
    Read(#[source] io::Error),
    /// No thread can be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// It is not a recording.
    #[error("this is not a kongtap recording of format 2")]
    NotARecording,
    /// Its header is malformed.
    #[error("the recording's header is malformed")]
    Header(#[source] serde_json::Error),
    /// Its records have another layout.
    #[error("the recording's records have layout {found}; this kongtap reads layout {ABI}")]
    Layout {
        /// The recording's.
        found: u8,
    },
    /// It was made on a machine of the other byte order.
    #[error("the recording was made on a machine with another byte order")]
    ByteOrder,
}

/// The running kernel's version, such as `6.18.5`; empty where `/proc` does not say.
#[must_use]
pub fn kernel_version() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let is_version = |c: &char| c.is_ascii_digit() || *c == '.';
    release.chars().take_while(is_version).collect()
}

/// Header and payload of a record, without what its size class left over.
fn used_part(record: &[u8]) -> Option<&[u8]> {
    let used = u64::from(RECORD_HEADER_BYTES).checked_add(payload_bytes(record)?)?;
    record.get(..usize::try_from(used).ok()?)
}

/// Payload bytes that a record's header announces.
fn payload_bytes(record: &[u8]) -> Option<u64> {
    let captured = record.get(4..8)?.try_into().ok().map(u32::from_ne_bytes)?;
    Some(u64::from(captured))
}
