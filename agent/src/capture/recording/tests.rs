//! Recordings on disk: what was written is read, within the bound, as far as the file goes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use kongtap_common::record::{ABI, KIND_DATA};
use proptest::prelude::*;
use tempfile::TempDir;

use super::mask::names::Names;
use super::reader::{Next, Reader};
use super::tape::{Finished, Tape};
use super::writer::{Writer, Written};
use super::{
    ByteOrder, Counts, Ended, Header, RecordingError, SMALLEST_LIMIT_BYTES, TRAILER_LIMIT_BYTES, Trailer,
};

fn header() -> Header {
    Header {
        abi: ABI,
        boot_unix_ns: 7,
        recorded_by: "test".into(),
        ..Header::default()
    }
}

fn trailer() -> Trailer {
    Trailer {
        ended: Ended::Signal,
        ended_unix_ns: 9,
        counts: Counts::default(),
        kernel: BTreeMap::from([
            ("seen_bytes".to_owned(), 10),
            ("lost_fault_bytes".to_owned(), 3),
            ("lost_lifecycle_records".to_owned(), 5),
        ]),
        ring_records: 2,
    }
}

fn record(payload: &[u8], slack: usize) -> Vec<u8> {
    let mut record = vec![9; 48];
    record[0] = KIND_DATA;
    record[1] = ABI;
    record[4..8].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_ne_bytes());
    record.extend_from_slice(payload);
    record.resize(record.len() + slack, 0xEE);
    record
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.rec");
    (directory, path)
}

fn create(path: &Path) -> Writer {
    Writer::create(path, &header(), SMALLEST_LIMIT_BYTES).unwrap()
}

#[test]
fn what_was_written_is_read_without_the_slack() {
    let (_directory, path) = place();
    let mut writer = create(&path);
    assert_eq!(writer.push(&record(b"hello", 80)).unwrap(), Written::Yes);
    assert_eq!(writer.push(&record(b"", 0)).unwrap(), Written::Yes);
    assert_eq!(writer.push(b"none").unwrap(), Written::Refused);
    assert_eq!(writer.push(&record(&[0; 20_000], 0)).unwrap(), Written::Refused);
    assert_eq!(writer.counts(), (2, 5));
    let bytes = writer.finish(&trailer()).unwrap();
    assert_eq!(bytes, fs::metadata(&path).unwrap().len());

    let (read, mut reader) = Reader::open(&path).unwrap();
    assert_eq!(read, header());
    assert_eq!(reader.next_record().unwrap(), Next::Record(&record(b"hello", 0)));
    assert_eq!(reader.next_record().unwrap(), Next::Record(&record(b"", 0)));
    assert_eq!(reader.next_record().unwrap(), Next::Trailer(Box::new(trailer())));
    assert_eq!(trailer().lost_bytes(), 3);
}

#[test]
fn the_bound_holds_for_the_whole_file() {
    let (_directory, path) = place();
    let mut writer = create(&path);
    let mut records = 0;
    while writer.push(&record(&[b'a'; 1000], 0)).unwrap() == Written::Yes {
        records += 1;
    }
    assert!(records > 900, "{records}");
    assert_eq!(
        writer.push(&record(b"", 0)).unwrap(),
        Written::Yes,
        "a smaller one still fits"
    );
    let bytes = writer.finish(&trailer()).unwrap();
    let most = u64::from(TRAILER_LIMIT_BYTES) + 2000;
    assert!(
        (SMALLEST_LIMIT_BYTES - most..=SMALLEST_LIMIT_BYTES).contains(&bytes),
        "{bytes}"
    );
}

#[test]
fn a_recording_is_private_and_never_overwritten() {
    let (_directory, path) = place();
    create(&path).finish(&trailer()).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = Writer::create(&path, &header(), SMALLEST_LIMIT_BYTES);
    assert!(matches!(again, Err(RecordingError::Create(_))));
}

#[test]
fn a_file_that_breaks_off_is_good_up_to_there() {
    let (_directory, path) = place();
    let mut writer = create(&path);
    writer.push(&record(b"first", 0)).unwrap();
    writer.push(&record(b"second", 0)).unwrap();
    // As a recorder leaves it that is killed.
    writer.flush().unwrap();
    let whole = fs::read(&path).unwrap();
    drop(writer);
    let last = 5 + 48 + 6;
    for cut in 0..=last {
        let (_, mut reader) = Reader::of(&whole[..whole.len() - cut]).unwrap();
        assert!(matches!(reader.next_record().unwrap(), Next::Record(_)));
        let second = matches!(reader.next_record().unwrap(), Next::Record(_));
        assert_eq!(second, cut == 0, "cut {cut}");
        if cut == 0 || cut == last {
            assert_eq!(reader.next_record().unwrap(), Next::End, "cut {cut}");
        }
    }
}

#[test]
fn items_of_later_versions_are_passed_over() {
    let (_directory, path) = place();
    let mut writer = create(&path);
    writer.push(&record(b"first", 0)).unwrap();
    writer.flush().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"?\x03\0\0\0abc");
    let mut second = b"R\x30\0\0\0".to_vec();
    second.extend_from_slice(&record(b"", 0));
    bytes.extend_from_slice(&second);
    let (_, mut reader) = Reader::of(bytes.as_slice()).unwrap();
    assert!(matches!(reader.next_record().unwrap(), Next::Record(_)));
    assert_eq!(reader.next_record().unwrap(), Next::Record(&record(b"", 0)));
    assert_eq!(reader.passed_over(), 1);
}

#[test]
fn other_files_and_other_layouts_are_refused() {
    let read = |bytes: &[u8]| Reader::of(Cursor::new(bytes.to_vec())).map(|(header, _)| header);
    assert!(matches!(
        read(b"something else"),
        Err(RecordingError::NotARecording)
    ));
    assert!(matches!(
        read(b"kongtap-recording 1\n{}\n"),
        Err(RecordingError::NotARecording)
    ));
    assert!(matches!(
        read(b"kongtap-recording 2\n{}\n"),
        Err(RecordingError::Header(_))
    ));
    let with = |header: &Header| {
        let line = serde_json::to_string(header).unwrap();
        read(format!("kongtap-recording 2\n{line}\n").as_bytes())
    };
    assert!(with(&header()).is_ok());
    let abi = Header { abi: 99, ..header() };
    assert!(matches!(with(&abi), Err(RecordingError::Layout { found: 99 })));
    let byte_order = match ByteOrder::default() {
        ByteOrder::Little => ByteOrder::Big,
        ByteOrder::Big => ByteOrder::Little,
    };
    let other = Header {
        byte_order,
        ..header()
    };
    assert!(matches!(with(&other), Err(RecordingError::ByteOrder)));
}

#[test]
fn a_tape_writes_what_it_is_offered_and_says_when_it_is_full() {
    let (_directory, path) = place();
    let (tape, mut tap) = Tape::start(create(&path), None).unwrap();
    for _ in 0..2000 {
        tap(&record(&[b'a'; 1000], 8));
    }
    drop(tap);
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(tape.over());
    let Finished {
        writer,
        counts,
        is_full,
    } = tape.finish().unwrap();
    assert!(is_full);
    assert_eq!(
        (counts.dropped_records, counts.payload_bytes),
        (0, counts.records * 1000)
    );
    assert!(counts.records > 900 && counts.records < 1100, "{counts:?}");
    writer.finish(&trailer()).unwrap();
}

#[test]
fn a_tape_with_names_masks() {
    let (_directory, path) = place();
    let names = Arc::new(ArcSwap::from_pointee(Names::default()));
    let (tape, mut tap) = Tape::start(create(&path), Some(names)).unwrap();
    // In the middle of a connection that nothing is known of.
    let mut late = record(b"a secret", 0);
    late[40..44].copy_from_slice(&8_u32.to_ne_bytes());
    late[2..4].fill(0);
    late[44] = 0;
    tap(&late);
    let mut unknown = record(b"another secret", 0);
    unknown[0] = 77;
    tap(&unknown);
    drop(tap);
    let Finished {
        writer,
        counts,
        is_full,
    } = tape.finish().unwrap();
    assert!(!is_full);
    assert_eq!(
        (
            counts.records,
            counts.mask.masked_bytes,
            counts.mask.unknown_records
        ),
        (1, 8, 1)
    );
    writer.finish(&trailer()).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert!(!bytes.windows(6).any(|part| part == b"secret"));
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_finite_number_of_items(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let line = serde_json::to_string(&header()).unwrap();
        let file = [format!("kongtap-recording 2\n{line}\n").as_bytes(), &bytes].concat();
        let (_, mut reader) = Reader::of(file.as_slice()).unwrap();
        let mut records = 0;
        while let Next::Record(_) = reader.next_record().unwrap() {
            records += 1;
            prop_assert!(records <= bytes.len());
        }
    }
}
