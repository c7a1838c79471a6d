//! The spool on a real disk: what goes in comes out once, in order, or is counted.

mod bounds;
mod cost;
mod disk;
mod format;
mod killed;
mod restart;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::{
    Appended, DestinationKey, Flags, Loss, Memory, Observer, Recovery, Spool, SpoolId, SpoolOptions,
    SpooledMessage, Tally,
};
use crate::message::tests::config;
use crate::plugin::Destination;

/// Keeps what it is told.
#[derive(Debug, Default)]
struct Told(Mutex<BTreeMap<&'static str, Tally>>);

impl Observer for Told {
    fn lost(&self, loss: &Loss) {
        let mut told = self.0.lock().unwrap();
        told.entry(loss.reason.label()).or_default().add(loss.tally);
    }

    fn readable(&self) {}
}

impl Told {
    fn messages(&self, reason: &str) -> u64 {
        self.0
            .lock()
            .unwrap()
            .get(reason)
            .map_or(0, |tally| tally.messages)
    }
}

fn options(path: &Path) -> SpoolOptions {
    SpoolOptions {
        path: path.to_owned(),
        bytes: 64 << 20,
        segment_bytes: 1 << 20,
        max_age: Duration::from_secs(86_400),
        sync: Duration::from_secs(1),
    }
}

/// An open spool, whom it tells, and one destination of it.
struct Scene {
    spool: Spool,
    told: Arc<Told>,
    recovery: Recovery,
    key: DestinationKey,
}

fn destination(url: &str) -> Arc<Destination> {
    Arc::clone(&config(true, url).destination)
}

impl Scene {
    fn open(options: SpoolOptions) -> Self {
        let told = Arc::new(Told::default());
        let (spool, recovery) = Spool::open(options, Arc::<Told>::clone(&told)).unwrap();
        let key = spool.key(&destination("http://127.0.0.1:1/")).unwrap();
        Self {
            spool,
            told,
            recovery,
            key,
        }
    }

    /// Puts a message in that memory keeps too.
    fn hold(&self, text: &str) -> SpoolId {
        match self.append(text, Memory::Room) {
            Appended::Held(id) => id,
            other @ (Appended::Waiting | Appended::Refused) => panic!("{text}: {other:?}"),
        }
    }

    /// Puts a message in that only the disk has.
    fn store(&self, text: &str) {
        assert_eq!(self.append(text, Memory::Full), Appended::Waiting, "{text}");
    }

    fn append(&self, text: &str, memory: Memory) -> Appended {
        let json = Bytes::copy_from_slice(text.as_bytes());
        self.spool.append(self.key, &json, Flags::RECOGNISABLE, memory)
    }

    fn read(&self, most_messages: usize) -> Vec<SpooledMessage> {
        self.spool.read(self.key, most_messages, usize::MAX).unwrap()
    }

    /// The texts of all that waits.
    fn texts(&self) -> Vec<String> {
        texts(&self.read(usize::MAX))
    }

    fn waiting(&self) -> u64 {
        self.spool.waiting(self.key).messages
    }
}

fn texts(messages: &[SpooledMessage]) -> Vec<String> {
    messages
        .iter()
        .map(|message| String::from_utf8(message.json.to_vec()).unwrap())
        .collect()
}

/// `from`, `from + 1`, … as texts of about `bytes`.
fn numbered(range: std::ops::Range<u32>, bytes: usize) -> Vec<String> {
    range.map(|number| format!("{number:>bytes$}")).collect()
}

/// All files of a spool with their lengths, by their names below it.
fn files(path: &Path) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for line in std::fs::read_dir(path).unwrap() {
        let line = line.unwrap();
        if line.path().is_dir() {
            for file in std::fs::read_dir(line.path()).unwrap() {
                let file = file.unwrap();
                let name = file.file_name().into_string().unwrap();
                all.insert(name, file.metadata().unwrap().len());
            }
        }
    }
    all
}
