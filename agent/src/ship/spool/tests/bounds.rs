//! No more than it may take, and whatever does not fit is counted.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use super::{Scene, destination, files, numbered, options};
use crate::clock;
use crate::ship::spool::age::{Aging, Boot};
use crate::ship::spool::format::acks::Entry;
use crate::ship::spool::format::{
    Flags, HEADER_BYTES, Header, HeaderState, Item, MOST_BATCH_BYTES, MOST_BATCH_RECORDS, MOST_MESSAGE_BYTES,
    SegmentReader, read_header,
};
use crate::ship::spool::identity::{self, Identity};
use crate::ship::spool::recover::MOST_LIST_BYTES;
use crate::ship::spool::segment::{MOST_SPAN, Place, Segment, Stage};
use crate::ship::spool::state::{
    Bounds, MOST_DESTINATIONS, MOST_UNWRITTEN_BYTES, MOST_UNWRITTEN_MESSAGES, State,
};
use crate::ship::spool::{Appended, DestinationKey, Memory, SpoolOptions};

#[test]
fn the_oldest_segments_give_way_and_only_what_nobody_else_has_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::open(SpoolOptions {
        bytes: 1 << 20,
        segment_bytes: 256 << 10,
        ..options(directory.path())
    });
    let other = scene.spool.key(&destination("http://127.0.0.1:2/")).unwrap();
    let text: Bytes = "y".repeat(1000).into();
    for _ in 0..100 {
        assert!(matches!(
            scene.spool.append(other, &text, Flags::default(), Memory::Room),
            Appended::Held(_)
        ));
    }
    scene.spool.flush();
    let all = numbered(0..3000, 1000);
    for some in all.chunks(200) {
        some.iter().for_each(|text| scene.store(text));
        scene.spool.flush();
        let on_disk: u64 = files(directory.path()).values().sum();
        assert!(on_disk <= 1 << 20, "{on_disk}");
    }
    let stats = scene.spool.stats();
    assert_eq!(
        stats.disk_bytes,
        files(directory.path())
            .iter()
            .filter(|(name, _)| *name != "endpoint")
            .map(|(_, length)| length)
            .sum::<u64>()
    );
    // The other destination's were the oldest, and in memory.
    let lost = scene.told.messages("spool_full");
    assert_eq!(lost, stats.lost["spool_full"].messages);
    let rest = scene.texts();
    assert!(rest.len() > 500, "{}", rest.len());
    assert_eq!(lost + u64::try_from(rest.len()).unwrap(), 3000);
    assert_eq!(rest, all[3000 - rest.len()..]);
    drop(scene);
    let again = Scene::open(options(directory.path()));
    assert_eq!(again.texts(), rest);
}

fn state(max_age: Duration) -> (State, DestinationKey) {
    let mut state = State::new(Bounds {
        bytes: 1 << 30,
        segment_bytes: 64 << 20,
        max_age,
    });
    let destination = destination("http://127.0.0.1:1/");
    let identity = Identity::of_name("00ff10203040506070809000aabbccdd").unwrap();
    assert_eq!(identity::endpoint(&destination), "http://127.0.0.1:1");
    let key = state.learn(&destination, identity).unwrap();
    (state, key)
}

fn header(number: u64, first_seq: u64) -> Header {
    Header {
        number,
        nonce: 0,
        first_seq,
        boot: [0; 16],
    }
}

#[test]
fn a_segment_whose_newest_message_is_too_old_goes() {
    let start = clock::instant();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let (mut state, key) = state(Duration::from_secs(100));
    for (number, seconds) in [(1, 0), (2, 50)] {
        for memory in [Memory::Room, Memory::Full] {
            state.append(key, &"text".into(), Flags::default(), memory, at(seconds), 0);
        }
        let work = state.take_work();
        state.written(
            key,
            &header(number, work[0].entries[0].seq),
            (60, 200),
            &work[0].entries,
            at(seconds),
        );
        state.end_writing(key);
        state.close_segment(key);
    }
    let mut check = |seconds: u64, waiting: u64, lost: u64, files: usize| {
        state.expire(at(seconds));
        let (condemned, losses) = state.take_losses();
        let told: u64 = losses.iter().map(|loss| loss.tally.messages).sum();
        assert_eq!(
            (state.waiting(key).messages, told, condemned.len()),
            (waiting, lost, files),
            "{seconds}"
        );
    };
    check(100, 3, 0, 0);
    // One of the first segment was in memory; the second one's both wait, behind the first one's.
    check(101, 2, 1, 1);
    check(150, 2, 0, 0);
    check(151, 0, 2, 1);
}

#[test]
fn what_a_start_finds_is_not_expired_by_a_clock_that_jumped() {
    let start = clock::instant();
    let max_age = Duration::from_secs(86_400);
    let (mut state, _) = state(max_age);
    let years = Duration::from_secs(5 * 365 * 86_400);
    let mut segment = Segment::new(
        header(1, 1),
        Stage::Closed,
        Boot::Another,
        Aging::found(years, start, max_age),
    );
    segment.add(1, 10, Place::Waiting);
    let identity = Identity::of_name("11ff10203040506070809000aabbccdd").unwrap();
    state.adopt(identity, String::new(), [segment].into());
    let mut lost = |seconds: u64| {
        state.expire(start + Duration::from_secs(seconds));
        !state.take_losses().1.is_empty()
    };
    assert_eq!([lost(0), lost(59), lost(61)], [false, false, true]);
}

#[test]
fn what_waits_to_be_written_is_bounded() {
    let now = clock::instant();
    let check = |text: Bytes, expected: usize| {
        let (mut state, key) = state(Duration::from_secs(1));
        let mut append = || state.append(key, &text, Flags::default(), Memory::Room, now, 0);
        let taken = (0..=expected)
            .take_while(|_| append() != Appended::Refused)
            .count();
        assert_eq!(taken, expected, "{} bytes", text.len());
        assert_eq!(state.counters.behind, 1);
        // What is acknowledged leaves room.
        let work = state.take_work();
        assert_eq!(work[0].entries.len(), expected);
        assert!(matches!(
            state.append(key, &text, Flags::default(), Memory::Room, now, 0),
            Appended::Held(_)
        ));
    };
    check("x".into(), MOST_UNWRITTEN_MESSAGES);
    let megabyte: Bytes = vec![b'x'; 1 << 20].into();
    check(megabyte, usize::try_from(MOST_UNWRITTEN_BYTES).unwrap() >> 20);
}

#[test]
fn a_message_that_is_too_large_stays_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let append = |scene: &Scene, bytes: usize| scene.append(&"x".repeat(bytes), Memory::Full);
    let scene = Scene::open(options(directory.path()));
    assert_eq!(
        append(&scene, (512 << 10) + 1),
        Appended::Refused,
        "half a segment is the most"
    );
    assert_eq!(append(&scene, 512 << 10), Appended::Waiting);
    scene.spool.flush();
    assert_eq!(scene.texts()[0].len(), 512 << 10);
    assert_eq!(scene.spool.stats().counts["spool_too_large"], 1);
    drop(scene);
    let scene = Scene::open(SpoolOptions {
        segment_bytes: 1 << 30,
        bytes: 2 << 30,
        ..options(directory.path())
    });
    assert_eq!(append(&scene, MOST_MESSAGE_BYTES + 1), Appended::Refused);
    assert_eq!(append(&scene, 0), Appended::Refused);
}

#[test]
fn destinations_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::open(options(directory.path()));
    let key = |port: usize| {
        scene
            .spool
            .key(&destination(&format!("http://127.0.0.1:{port}/")))
    };
    // One is there.
    let taken = (2..).take_while(|port| key(*port).is_some()).count();
    assert_eq!(taken, MOST_DESTINATIONS - 1);
    assert_eq!(key(1), Some(scene.key));
}

#[test]
fn a_segment_spans_a_bounded_number_of_messages() {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::open(options(directory.path()));
    scene.hold("first");
    scene.spool.flush();
    for _ in 0..MOST_SPAN {
        let id = scene.hold("delivered at once");
        scene.spool.acknowledge(id);
    }
    let last = scene.hold("last");
    scene.spool.flush();
    assert_eq!(scene.spool.stats().segments, 2);
    assert!(scene.spool.put_back(last));
    assert_eq!(scene.texts(), ["last"]);
    drop(scene);
    let again = Scene::open(options(directory.path()));
    assert_eq!(again.texts(), ["first", "last"]);
}

#[test]
fn a_segment_that_is_done_with_does_not_stay() {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::open(options(directory.path()));
    for round in 0..20 {
        let ids: Vec<_> = numbered(0..200, 1000)
            .iter()
            .map(|text| scene.hold(text))
            .collect();
        scene.spool.flush();
        ids.into_iter().for_each(|id| scene.spool.acknowledge(id));
        scene.spool.flush();
        let on_disk: u64 = files(directory.path()).values().sum();
        assert!(on_disk < 1 << 20, "round {round}: {on_disk}");
    }
    assert!(scene.spool.stats().counts["spool_segments_begun"] >= 4);
}

/// The one segment of a spool, with its header.
fn segment(directory: &Path) -> (PathBuf, Vec<u8>, Header) {
    let lines = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let line = lines.into_iter().find(|path| path.is_dir()).unwrap();
    let name = files(directory)
        .into_keys()
        .find(|name| name.ends_with(".seg"))
        .unwrap();
    let bytes = fs::read(line.join(&name)).unwrap();
    let HeaderState::Ours(header) = read_header(&mut bytes.as_slice()).unwrap() else {
        panic!("{name}")
    };
    (line.join(name), bytes, header)
}

#[test]
fn batches_are_bounded() {
    let check = |count: usize, bytes: usize, expected: usize| {
        let directory = tempfile::tempdir().unwrap();
        let scene = Scene::open(SpoolOptions {
            segment_bytes: 64 << 20,
            sync: Duration::from_secs(3600),
            ..options(directory.path())
        });
        // All at once, as if they had gathered.
        let text: Bytes = vec![b'x'; bytes].into();
        let mut inner = scene.spool.shared.lock();
        for _ in 0..count {
            let memory = Memory::Full;
            let now = clock::instant();
            inner
                .state
                .append(scene.key, &text, Flags::default(), memory, now, 0);
        }
        drop(inner);
        scene.spool.flush();
        let (_, file, header) = segment(directory.path());
        let first = HEADER_BYTES;
        let mut reader = SegmentReader::at(
            &file[first..],
            &header,
            header.seal(),
            u64::try_from(first).unwrap(),
        );
        let mut batches = 0;
        while let Some(item) = reader.next().unwrap() {
            batches += usize::from(matches!(item, Item::Batch { .. }));
        }
        assert_eq!(batches, expected, "{count} of {bytes}");
        assert_eq!(scene.texts().len(), count);
    };
    check(MOST_BATCH_RECORDS, 1, 1);
    check(2 * MOST_BATCH_RECORDS + 1, 1, 3);
    check(3, MOST_BATCH_BYTES / 2 - 100, 2);
    check(3, MOST_BATCH_BYTES + 1, 3);
}

#[test]
fn a_list_is_read_no_further_than_its_bound() {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::open(options(directory.path()));
    scene.hold("one");
    scene.hold("two");
    drop(scene);
    let (path, _, header) = segment(directory.path());
    let done = |seq: u64| Entry::Done { first: seq, count: 1 };
    let mut bytes = Vec::new();
    done(header.first_seq).put(&mut bytes, header.seal());
    for _ in 1..MOST_LIST_BYTES / 20 {
        done(header.first_seq + 100).put(&mut bytes, header.seal());
    }
    done(header.first_seq + 1).put(&mut bytes, header.seal());
    fs::write(path.with_extension("ack"), bytes).unwrap();
    assert_eq!(Scene::open(options(directory.path())).texts(), ["two"]);
}
