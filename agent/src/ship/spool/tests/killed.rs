//! A writer that is killed at any moment: what had been flushed is there, what was acknowledged before that is not, and the next start
//! says what is missing.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Scene, options};
use crate::clock;
use crate::ship::spool::{Memory, SpoolOptions};

/// The variable that makes [`writer`] one.
const WRITER: &str = "KONGTAP_TEST_SPOOL_WRITER";

/// What the child says that it did, one line each: in the page cache, which outlives it.
const DIARY: &str = "diary";

fn child_options(path: &Path) -> SpoolOptions {
    SpoolOptions {
        segment_bytes: 4 << 20,
        bytes: 512 << 20,
        ..options(&path.join("spool"))
    }
}

/// A text that says its number and is of a length of its own, up to 60 KB.
fn text(number: u64) -> String {
    let length = 20 + usize::try_from(number * 7919 % 60_013).unwrap();
    format!("{number:>length$}")
}

/// Not a test of its own: the process that [`a_writer_that_is_killed_loses_at_most_what_it_had_not_flushed`] kills.
#[test]
fn writer() {
    let Some(path) = std::env::var_os(WRITER) else {
        return;
    };
    let path = Path::new(&path);
    let mut diary = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path.join(DIARY))
        .unwrap();
    let mut note = |what: &str, number: u64| {
        diary.write_all(format!("{what} {number}\n").as_bytes()).unwrap();
    };
    let scene = Scene::open(child_options(path));
    assert_eq!(scene.waiting(), 0);
    let mut ids = Vec::new();
    for number in 0.. {
        // "Does" before, "did" after: a kill may come between the two.
        note("does", number);
        let memory = if number % 3 == 0 {
            Memory::Full
        } else {
            Memory::Room
        };
        let appended = scene.append(&text(number), memory);
        note(
            if appended == crate::ship::spool::Appended::Refused {
                "refused"
            } else {
                "did"
            },
            number,
        );
        if let crate::ship::spool::Appended::Held(id) = appended {
            ids.push((number, id));
        }
        if number % 5 == 0 && !ids.is_empty() {
            // Out of order.
            let at = usize::try_from(number * 31).unwrap() % ids.len();
            let (number, id) = ids.swap_remove(at);
            note("acknowledges", number);
            scene.spool.acknowledge(id);
        }
        if number % 97 == 0 {
            scene.spool.flush();
            note("flushed", number);
        }
        if number % 50 == 0 {
            // What waits comes back now and then, so that later ones are held.
            drop(scene.read(1000));
        }
    }
}

/// What the child's diary says, up to its last whole line.
#[derive(Debug, Default)]
struct Diary {
    tried: BTreeSet<u64>,
    did: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
    /// The last number before the last flush, and what had been acknowledged by then.
    flushed: Option<u64>,
    acknowledged_at_flush: BTreeSet<u64>,
}

fn diary(path: &Path) -> Diary {
    let text = fs::read_to_string(path.join(DIARY)).unwrap_or_default();
    let mut diary = Diary::default();
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let (what, number) = line.trim().split_once(' ').unwrap();
        let number = number.parse().unwrap();
        match what {
            "does" => drop(diary.tried.insert(number)),
            "did" => drop(diary.did.insert(number)),
            "acknowledges" => drop(diary.acknowledged.insert(number)),
            "flushed" => {
                diary.flushed = Some(number);
                diary.acknowledged_at_flush = diary.acknowledged.clone();
            }
            _ => {}
        }
    }
    diary
}

#[test]
fn a_writer_that_is_killed_loses_at_most_what_it_had_not_flushed() {
    let mut lost_in_all = 0;
    for round in 0..20_u64 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["ship::spool::tests::killed::writer", "--exact", "--nocapture"])
            .env(WRITER, path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = clock::instant();
        let least = usize::try_from(100 + round * 13).unwrap();
        while diary(path).did.len() < least {
            assert!(began.elapsed() < Duration::from_secs(30), "it writes nothing");
            std::thread::yield_now();
        }
        // Another moment each time.
        let more = Duration::from_micros(round * 731);
        let waiting = clock::instant();
        while waiting.elapsed() < more {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let diary = diary(path);
        let scene = Scene::open(child_options(path));
        assert!(!scene.recovery.ended_well);
        assert!(
            scene.recovery.damaged.messages == 0 && scene.recovery.damaged.bytes == 0,
            "{:?}",
            scene.recovery
        );
        let texts = scene.texts();
        let numbers: Vec<u64> = texts.iter().map(|text| text.trim().parse().unwrap()).collect();
        assert!(
            numbers.windows(2).all(|pair| pair[0] < pair[1]),
            "{round}: out of order, or twice"
        );
        for (found, number) in texts.iter().zip(&numbers) {
            assert!(
                diary.tried.contains(number),
                "{round}: {number} was never written"
            );
            assert!(*found == text(*number), "{round}: {number} is another text");
            assert!(
                !diary.acknowledged_at_flush.contains(number),
                "{round}: {number} had been delivered"
            );
        }
        let found: BTreeSet<u64> = numbers.into_iter().collect();
        let missing: Vec<u64> = diary
            .did
            .iter()
            .filter(|number| !found.contains(number) && !diary.acknowledged.contains(number))
            .copied()
            .collect();
        let flushed = diary.flushed.unwrap_or(0);
        assert!(
            missing.iter().all(|number| *number > flushed),
            "{round}: {missing:?} of {flushed}"
        );
        // What is missing is the newest.
        if let (Some(first), Some(last)) = (missing.first(), found.last()) {
            assert!(first > last, "{round}: {missing:?} {last}");
        }
        let lost = scene.recovery.lost.messages;
        assert!(
            lost <= u64::try_from(missing.len()).unwrap() + 1,
            "{round}: {lost} {missing:?}"
        );
        assert_eq!(
            scene.recovery.recovered.messages,
            u64::try_from(found.len()).unwrap()
        );
        lost_in_all += lost;
        drop(scene);
        let again = Scene::open(child_options(path));
        assert!(
            again.recovery.ended_well && again.recovery.lost.is_nothing(),
            "{:?}",
            again.recovery
        );
        assert_eq!(
            again.recovery.recovered.messages,
            u64::try_from(found.len()).unwrap()
        );
    }
    // Whether a kill hits a write is chance; that what it cuts is counted, `format` proves byte by byte.
    tracing::info!(lost_in_all, "Killed.");
}
