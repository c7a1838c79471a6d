//! Recordings: any bytes give records, or say that they are none, and the pipeline makes messages of what they hold.

use kongtap::capture::decode::decode;
use kongtap::capture::event::KernelTime;
use kongtap::capture::recording::reader::{Next, Reader};
use kongtap::message::Profile;
use kongtap_common::record::ABI;

use crate::gateway;

/// Places at which a recording is cut.
const CUTS: usize = 6;

/// Reads `data` as a recording; one without a header is given one.
///
/// # Panics
/// When a recording that is cut does not give a prefix of its records, when a message is no JSON, or when the ledger does not balance.
pub fn run(data: &[u8]) {
    let file = if data.starts_with(b"kongtap-recording") {
        data.to_vec()
    } else {
        let header = format!(
            "kongtap-recording 2\n{{\"abi\":{ABI},\"byte_order\":\"{ORDER}\",\"boot_unix_ns\":1,\"recorded_by\":\"\",\"redaction\":\"default\",\"gateway\":{{}}}}\n"
        );
        [header.as_bytes(), data].concat()
    };
    let Some((records, has_trailer)) = read(&file) else {
        return;
    };
    for cut in (1..=CUTS).map(|part| file.len() / (CUTS + 1) * part) {
        let Some((part, is_told)) = file.get(..cut).and_then(read) else {
            continue;
        };
        assert!(records.starts_with(&part), "a cut recording has other records");
        assert!(
            has_trailer || !is_told,
            "a cut recording has a trailer, the whole one has none"
        );
    }
    replay(&records);
}

#[cfg(target_endian = "little")]
const ORDER: &str = "little";
#[cfg(target_endian = "big")]
const ORDER: &str = "big";

/// Its records, and whether it has a trailer; `None` if it is no recording.
fn read(file: &[u8]) -> Option<(Vec<Vec<u8>>, bool)> {
    let (_, mut reader) = Reader::of(file).ok()?;
    let mut records = Vec::new();
    loop {
        match reader.next_record().ok()? {
            Next::Record(record) => records.push(record.to_vec()),
            Next::Trailer(_) => return Some((records, true)),
            Next::End | Next::Damaged => return Some((records, false)),
        }
    }
}

fn replay(records: &[Vec<u8>]) {
    let (mut pipeline, ledger) = gateway::pipeline(Profile::Extended);
    let mut now = KernelTime(0);
    for event in records.iter().filter_map(|record| decode(record).ok()) {
        now = now.max(event.at());
        pipeline.apply(event);
    }
    pipeline.sweep(now);
    pipeline.flush(now);
    let ledger = ledger.snapshot();
    assert!(ledger.is_balanced(), "{ledger:?}");
    for message in pipeline.into_sink().messages {
        let json = serde_json::from_slice::<serde_json::Value>(message.json());
        assert!(json.is_ok(), "no JSON: {}", message.json().escape_ascii());
    }
}
