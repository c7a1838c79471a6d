//! Whatever happens to a file's bytes: no panic, nothing that was not written, and all that stands before the damage.

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;

use super::{Scene, files, options};
use crate::ship::spool::format::acks::{self, Entry};
use crate::ship::spool::format::{
    Flags, HEADER_BYTES, Header, HeaderState, Item, NewRecord, SegmentReader, Short, Written, put_batch,
    read_header,
};

const HEADER: Header = Header {
    number: 7,
    nonce: 0x1234_5678_9abc_def0,
    first_seq: 100,
    boot: [3; 16],
};

/// A segment, with where each of its batches ends, and each record with where it ends.
struct Made {
    bytes: Vec<u8>,
    records: Vec<(usize, u64, Vec<u8>)>,
}

fn made(batches: &[Vec<Vec<u8>>]) -> Made {
    let mut bytes = HEADER.encode();
    let mut records = Vec::new();
    let mut seq = HEADER.first_seq;
    for batch in batches {
        let numbered: Vec<(u64, &Vec<u8>)> = batch
            .iter()
            .map(|json| {
                seq += 1 + u64::try_from(json.len() % 3).unwrap();
                (seq, json)
            })
            .collect();
        let new = numbered.iter().map(|(seq, json)| NewRecord {
            seq: *seq,
            flags: Flags::ERROR,
            unix_ms: *seq * 2,
            json,
        });
        let begin = bytes.len();
        put_batch(&mut bytes, HEADER.seal(), Written::default(), new);
        let mut end = begin + 44;
        for (seq, json) in numbered {
            end += 28 + json.len();
            records.push((end, seq, json.clone()));
        }
        assert_eq!(if batch.is_empty() { begin } else { end }, bytes.len());
    }
    Made { bytes, records }
}

/// Whatever can be read of a segment.
#[derive(Debug, Default)]
struct Read {
    records: Vec<(u64, Vec<u8>)>,
    shorts: Vec<Short>,
    tail: Option<u64>,
}

fn read(bytes: &[u8]) -> Read {
    let mut read = Read::default();
    let mut input = bytes;
    let HeaderState::Ours(header) = read_header(&mut input).unwrap() else {
        return read;
    };
    let at = u64::try_from(HEADER_BYTES).unwrap();
    let mut reader = SegmentReader::at(input, &header, header.seal(), at);
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Batch { .. } => {}
            Item::Record(record) => {
                assert_eq!(record.unix_ms, record.seq * 2);
                read.records.push((record.seq, record.json));
            }
            Item::Short(short) => read.shorts.push(short),
            Item::Tail { bytes, .. } => read.tail = Some(bytes),
        }
    }
    read
}

#[test]
fn what_was_written_is_read() {
    let batches = [
        vec![b"a".to_vec(), b"bb".to_vec()],
        vec![],
        vec![vec![0; 100_000]],
    ];
    let made = made(&batches);
    let read = read(&made.bytes);
    let expected: Vec<_> = made
        .records
        .into_iter()
        .map(|(_, seq, json)| (seq, json))
        .collect();
    assert_eq!(read.records, expected);
    assert_eq!((read.shorts.len(), read.tail), (0, None));
}

#[test]
fn a_file_that_ends_early_says_how_much_is_missing() {
    let batches = [vec![vec![b'a'; 10]; 3], vec![vec![b'b'; 10]; 4]];
    let made = made(&batches);
    for length in HEADER_BYTES..made.bytes.len() {
        let read = read(&made.bytes[..length]);
        let whole = made.records.iter().filter(|(end, ..)| *end <= length).count();
        assert_eq!(read.records.len(), whole, "{length}");
        let second_batch = HEADER_BYTES + 44 + 3 * 38;
        let expected = match length {
            _ if length < HEADER_BYTES + 44 => 0,
            _ if length < second_batch + 44 => 3 - whole.min(3),
            _ => 7 - whole,
        };
        let lost: u64 = read.shorts.iter().map(|short| short.lost_messages).sum();
        assert_eq!(lost, u64::try_from(expected).unwrap(), "{length}");
    }
}

#[test]
fn one_damaged_message_does_not_cost_the_others() {
    let batches = [vec![vec![b'a'; 10]; 3], vec![vec![b'b'; 10]; 4]];
    let made = made(&batches);
    let check = |name: &str, at: usize, expected: usize, damaged: u64, tail: bool| {
        let mut bytes = made.bytes.clone();
        bytes[at] ^= 0x10;
        let read = read(&bytes);
        assert_eq!(read.records.len(), expected, "{name}");
        let counted: u64 = read.shorts.iter().map(|short| short.damaged_messages).sum();
        assert_eq!((counted, read.tail.is_some()), (damaged, tail), "{name}");
    };
    let first = HEADER_BYTES + 44;
    check("a text", first + 28 + 4, 6, 1, false);
    check("the last text", made.bytes.len() - 1, 6, 1, false);
    check("a sequence number", first + 8, 6, 1, false);
    check("a checksum", first + 24, 6, 1, false);
    check(
        "a length that is too long: the rest of the batch",
        first + 3,
        4,
        3,
        false,
    );
    check("the second one's, likewise", first + 38 + 2, 5, 2, false);
    check("the second batch's beginning", first + 3 * 38, 3, 0, true);
    check("the first batch's", HEADER_BYTES + 5, 0, 0, true);
    check("the header", 9, 0, 0, false);
}

#[test]
fn bytes_of_another_segment_do_not_pass_for_this_ones() {
    let one = made(&[vec![b"mine".to_vec()]]);
    let mut other = one.bytes.clone();
    let header = Header {
        nonce: HEADER.nonce + 1,
        ..HEADER
    };
    other[..HEADER_BYTES].copy_from_slice(&header.encode());
    assert_eq!(read(&other).records.len(), 0);
    assert_eq!(read(&one.bytes).records.len(), 1);
}

fn batches() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    let json = prop::collection::vec(any::<u8>(), 1..200);
    prop::collection::vec(prop::collection::vec(json, 0..8), 0..6)
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(read(&bytes).records.is_empty());
        let mut with_header = HEADER.encode();
        with_header.extend(&bytes);
        prop_assert!(read(&with_header).records.is_empty());
        prop_assert_eq!(acks::read(&bytes, HEADER.seal()).0.len(), 0);
    }

    #[test]
    fn damage_never_makes_a_message_and_never_costs_what_stands_before_it(
        batches in batches(), at in any::<prop::sample::Index>(), kind in 0..4_u8, noise in prop::collection::vec(any::<u8>(), 1..64),
    ) {
        let made = made(&batches);
        let at = at.index(made.bytes.len());
        let mut bytes = made.bytes.clone();
        match kind {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= noise[0] | 1,
            2 => { bytes.splice(at..at, noise.iter().copied()); }
            _ => { let end = (at + noise.len()).min(bytes.len()); bytes.drain(at..end); }
        }
        let read = read(&bytes);
        let written: BTreeMap<u64, &Vec<u8>> = made.records.iter().map(|(_, seq, json)| (*seq, json)).collect();
        for (seq, json) in &read.records {
            prop_assert_eq!(written.get(seq), Some(&json));
        }
        prop_assert!(read.records.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let before = made.records.iter().filter(|(end, ..)| *end <= at).count();
        prop_assert!(read.records.len() >= before, "{} of {before}", read.records.len());
        let missing: u64 = read.shorts.iter().map(|short| short.lost_messages + short.damaged_messages).sum();
        prop_assert!(read.records.len() + usize::try_from(missing).unwrap() <= made.records.len());
    }

    #[test]
    fn a_list_is_read_up_to_its_damage(mut numbers in prop::collection::btree_set(100..400_u64, 0..80), at in any::<prop::sample::Index>()) {
        let mut sorted: Vec<u64> = numbers.iter().copied().collect();
        sorted.reverse();
        let entries = acks::runs(&mut sorted);
        for entry in &entries {
            let Entry::Done { first, count } = entry else { panic!("{entry:?}") };
            for number in *first..*first + u64::from(*count) {
                prop_assert!(numbers.remove(&number), "{number} twice, or never done");
            }
        }
        prop_assert!(numbers.is_empty());
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| entry.put(&mut bytes, HEADER.seal()));
        prop_assert_eq!(&acks::read(&bytes, HEADER.seal()).0, &entries);
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] ^= 4;
            let (read, whole) = acks::read(&bytes, HEADER.seal());
            prop_assert_eq!((&*read, whole), (&entries[..at / 20], at / 20 * 20));
        }
    }
}

/// A spool whose one segment was damaged by `damage` between two runs.
fn damaged(damage: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, Scene) {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::open(options(directory.path()));
    for batch in 0..3 {
        for message in 0..4 {
            scene.hold(&format!("batch {batch} message {message}"));
        }
        scene.spool.flush();
    }
    drop(scene);
    let name = files(directory.path())
        .into_keys()
        .find(|name| name.ends_with(".seg"))
        .unwrap();
    let line = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let path = line.into_iter().find(|path| path.is_dir()).unwrap().join(name);
    let mut bytes = fs::read(&path).unwrap();
    damage(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    let scene = Scene::open(options(directory.path()));
    (directory, scene)
}

/// Where each batch of [`damaged`] begins: one is 44 bytes and 4 records of 28 and 17.
const BATCH: usize = 44 + 4 * 45;

#[test]
fn damage_is_counted_once_and_what_is_whole_is_delivered() {
    type Damage = fn(&mut Vec<u8>);
    let check =
        |name: &str, damage: Damage, recovered: u64, lost: u64, damaged_messages: u64, has_bytes: bool| {
            let (directory, scene) = damaged(damage);
            let recovery = &scene.recovery;
            assert_eq!(
                (
                    recovery.recovered.messages,
                    recovery.lost.messages,
                    recovery.damaged.messages
                ),
                (recovered, lost, damaged_messages),
                "{name}: {recovery:?}"
            );
            assert_eq!(recovery.damaged.bytes > 0, has_bytes, "{name}: {recovery:?}");
            assert_eq!(scene.waiting(), recovered, "{name}");
            assert_eq!(scene.texts().len(), usize::try_from(recovered).unwrap(), "{name}");
            assert_eq!(
                scene.told.0.lock().unwrap().len(),
                0,
                "{name}: it was counted already"
            );
            drop(scene);
            let scene = Scene::open(options(directory.path()));
            let again = &scene.recovery;
            assert_eq!(again.recovered.messages, recovered, "{name}");
            assert!(
                again.lost.is_nothing() && again.damaged.messages == 0 && again.damaged.bytes == 0,
                "{name}: {again:?}"
            );
        };
    check("nothing", |_| {}, 12, 0, 0, false);
    check(
        "a flipped text",
        |bytes| bytes[HEADER_BYTES + 44 + 30] ^= 1,
        11,
        0,
        1,
        true,
    );
    check(
        "cut in the last message",
        |bytes| bytes.truncate(bytes.len() - 1),
        11,
        1,
        0,
        false,
    );
    check(
        "cut behind the last batch's beginning",
        |bytes| bytes.truncate(HEADER_BYTES + 2 * BATCH + 44),
        8,
        4,
        0,
        false,
    );
    check(
        "cut within the last batch's beginning",
        |bytes| bytes.truncate(HEADER_BYTES + 2 * BATCH + 9),
        8,
        0,
        0,
        true,
    );
    check(
        "zeros behind the end",
        |bytes| bytes.extend([0; 5000]),
        12,
        0,
        0,
        true,
    );
    check(
        "flipped and cut",
        |bytes| {
            bytes[HEADER_BYTES + 50] ^= 1;
            bytes.truncate(bytes.len() - 50);
        },
        9,
        2,
        1,
        true,
    );
    check("the header", |bytes| bytes[3] ^= 1, 0, 0, 0, true);
    check("emptied", Vec::clear, 0, 0, 0, false);
}

#[test]
fn damage_that_shows_only_when_it_is_read_is_counted_then() {
    let (directory, scene) = damaged(|_| {});
    let name = files(directory.path())
        .into_keys()
        .find(|name| name.ends_with(".seg"))
        .unwrap();
    let line = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let path = line.into_iter().find(|path| path.is_dir()).unwrap().join(name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[HEADER_BYTES + 44 + 30] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(scene.read(3).len(), 3);
    assert_eq!(scene.waiting(), 9);
    assert_eq!(scene.texts().len(), 8);
    assert_eq!((scene.waiting(), scene.told.messages("spool_damaged")), (0, 1));
}

#[test]
fn files_that_somebody_removes_are_counted_when_they_are_missed() {
    let (directory, scene) = damaged(|_| {});
    assert_eq!(scene.read(5).len(), 5);
    for entry in fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        }
    }
    assert!(scene.texts().is_empty());
    assert_eq!((scene.waiting(), scene.told.messages("spool_damaged")), (0, 7));
}
