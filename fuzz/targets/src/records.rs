//! The ring's records: any bytes decode to an event within them, or to an error.

use kongtap::capture::decode::{Arena, decode, decode_in};
use kongtap::capture::event::CaptureEvent;
use kongtap::conn::{ConnLimits, ConnTable};
use kongtap_common::record::RecordHeader;

use crate::record::encode;

/// Connections that are followed at once: few, so that they give way to each other.
const CONNECTIONS: usize = 4;

/// Decodes records, each behind two bytes with its length, and gives them to a connection table.
///
/// # Panics
/// When an event has more bytes than its record, when memory or slack make a difference, when what decodes does not encode to the same,
/// or when more connections are held than may be.
pub fn run(data: &[u8]) {
    let mut arena = Arena::default();
    let mut table = ConnTable::new(ConnLimits {
        connections: CONNECTIONS,
        ..ConnLimits::default()
    });
    let mut exchanges = Vec::new();
    let mut end = None;
    for record in Pieces(data) {
        let Some(event) = check(record, &mut arena) else {
            continue;
        };
        end = end.max(Some(event.at()));
        table.apply(event, &mut exchanges);
        assert!(table.names().count() <= CONNECTIONS);
    }
    if let Some(end) = end {
        table.sweep(end, &mut exchanges);
        table.flush(end, &mut exchanges);
        assert_eq!(table.names().count(), 0);
    }
}

fn check(record: &[u8], arena: &mut Arena) -> Option<CaptureEvent> {
    let decoded = decode(record);
    assert_eq!(decode_in(record, arena), decoded, "memory makes a difference");
    let event = decoded.ok()?;
    let slack = [record, &[0xee; 64]].concat();
    assert_eq!(decode(&slack).as_ref(), Ok(&event), "slack makes a difference");
    if let CaptureEvent::Data(chunk) = &event {
        let most = record.len().saturating_sub(size_of::<RecordHeader>());
        assert!(chunk.bytes.len() <= most, "more bytes than there are");
        assert!(chunk.bytes.is_empty() || u64::try_from(chunk.bytes.len()) == Ok(chunk.len));
    }
    assert_eq!(decode(&encode(&event)).as_ref(), Ok(&event));
    Some(event)
}

/// What stands behind lengths of two bytes; the last may be shorter.
struct Pieces<'a>(&'a [u8]);

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.0.split_first_chunk()?;
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (piece, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(piece)
    }
}
