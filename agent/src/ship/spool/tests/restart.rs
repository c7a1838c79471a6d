//! What a spool that is opened again has.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::{Scene, destination, files, numbered, options, texts};
use crate::message::tests::config;
use crate::plugin::Destination;
use crate::ship::spool::{Appended, Flags, Memory, Spool, SpoolError};
use crate::telemetry::secret::Secret;
use std::sync::Arc;

#[test]
fn what_was_not_acknowledged_comes_back_in_order_and_what_was_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::open(options(directory.path()));
    let all = numbered(0..100, 10);
    let ids: Vec<_> = all.iter().map(|text| scene.hold(text)).collect();
    // Some before they are written, some after, not in order.
    (10..20).for_each(|at| scene.spool.acknowledge(ids[at]));
    scene.spool.flush();
    [97, 3, 55, 54, 56, 0, 99]
        .iter()
        .for_each(|at| scene.spool.acknowledge(ids[*at]));
    let stats = scene.spool.stats();
    assert_eq!((stats.stored.messages, stats.waiting.messages), (83, 0));
    assert_eq!(stats.counts["spool_spared"], 10);
    drop(scene);

    let again = Scene::open(options(directory.path()));
    assert_eq!(again.recovery.recovered.messages, 83);
    assert!(again.recovery.ended_well);
    assert_eq!(again.waiting(), 83);
    let expected: Vec<String> = all
        .iter()
        .enumerate()
        .filter(|(at, _)| !(10..20).contains(at) && ![97, 3, 55, 54, 56, 0, 99].contains(at))
        .map(|(_, text)| text.clone())
        .collect();
    let mut read = again.read(40);
    assert_eq!(texts(&read), expected[..40]);
    assert!(read.iter().all(|message| message.flags.has(Flags::RECOGNISABLE)));
    assert!(read.iter().all(|message| !message.flags.has(Flags::ERROR)));
    read.extend(again.read(usize::MAX));
    assert_eq!(texts(&read), expected);
    assert_eq!(again.waiting(), 0);
    assert!(again.read(10).is_empty());

    // All done: nothing is left on the disk.
    read.iter()
        .for_each(|message| again.spool.acknowledge(message.id));
    drop(again);
    let last = Scene::open(options(directory.path()));
    assert_eq!(last.recovery.recovered.messages, 0);
    assert!(
        files(directory.path()).keys().all(|name| name == "endpoint"),
        "{:?}",
        files(directory.path())
    );
}

#[test]
fn what_waits_is_read_in_order_and_new_messages_wait_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::open(options(directory.path()));
    let held = scene.hold("0");
    let mut expected = Vec::new();
    for (at, text) in numbered(1..3000, 2000).into_iter().enumerate() {
        if at % 2 == 0 {
            scene.store(&text);
        } else {
            // Room in memory does not let it pass the others.
            assert_eq!(scene.append(&text, Memory::Room), Appended::Waiting);
        }
        expected.push(text);
    }
    scene.spool.flush();
    let mut read = Vec::new();
    while scene.waiting() > 0 {
        let some = scene.read(700);
        assert!(!some.is_empty() && some.len() <= 700, "{}", some.len());
        read.extend(some);
    }
    assert_eq!(texts(&read), expected);
    assert!(matches!(scene.append("x", Memory::Room), Appended::Held(_)));

    // Memory lets go of some, in any order.
    for at in [2500, 7, 8, 2998] {
        assert!(scene.spool.put_back(read[at].id));
        assert!(!scene.spool.put_back(read[at].id), "it has it already");
    }
    assert_eq!(scene.waiting(), 4);
    scene.spool.acknowledge(held);
    let [a, b, c, d] = [7, 8, 2500, 2998].map(|at: usize| expected[at].clone());
    assert_eq!(scene.texts(), [a, b, c, d]);
    assert_eq!(scene.told.0.lock().unwrap().len(), 0);
}

#[test]
fn one_read_is_bounded_by_bytes_too() {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::open(options(directory.path()));
    numbered(0..10, 1000).iter().for_each(|text| scene.store(text));
    scene.spool.flush();
    let count = |most_bytes: usize| scene.spool.read(scene.key, 100, most_bytes).unwrap().len();
    assert_eq!(
        [count(1), count(2500), count(3000), count(usize::MAX)],
        [1, 3, 3, 3]
    );
}

#[test]
fn a_message_can_be_put_back_before_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::open(options(directory.path()));
    let first = scene.hold("first");
    let second = scene.hold("second");
    assert!(scene.spool.put_back(second));
    scene.spool.acknowledge(first);
    scene.spool.flush();
    assert_eq!(scene.texts(), ["second"]);
    assert!(!scene.spool.put_back(first), "it is done with");
}

#[test]
fn each_destination_has_its_own_files_and_gets_its_own_messages_back() {
    let directory = tempfile::tempdir().unwrap();
    let to = |url: &str, token: &str| {
        Arc::new(Destination {
            access_token: Secret::new(token),
            ..Destination::clone(&config(true, url).destination)
        })
    };
    let all = [
        to("http://127.0.0.1:1/a", "very-secret-1"),
        to("http://127.0.0.1:1/a", "very-secret-2"),
        to("http://127.0.0.1:1/b", "very-secret-1"),
    ];
    let scene = Scene::open(options(directory.path()));
    for (at, to) in all.iter().enumerate() {
        let key = scene.spool.key(to).unwrap();
        let text = format!("message {at}").into();
        scene.spool.append(key, &text, Flags::default(), Memory::Room);
    }
    drop(scene);

    let scene = Scene::open(options(directory.path()));
    assert_eq!(scene.recovery.destinations.len(), 3);
    assert_eq!(scene.spool.stats().destinations.len(), 3);
    assert!(
        scene
            .spool
            .stats()
            .destinations
            .iter()
            .all(|line| !line.is_configured)
    );
    for (at, to) in all.iter().enumerate().skip(1) {
        // How it is posted may have changed.
        let mut to = Destination::clone(to);
        to.timeout_ms += 1;
        let key = scene.spool.key(&Arc::new(to)).unwrap();
        let read = scene.spool.read(key, 10, usize::MAX).unwrap();
        assert_eq!(texts(&read), [format!("message {at}")]);
    }
    let [rest] = &scene.spool.stats().destinations[..] else {
        panic!("one is left")
    };
    assert_eq!(
        (&*rest.endpoint, rest.waiting.messages, rest.is_configured),
        ("http://127.0.0.1:1", 1, false)
    );

    // Only the agent's user may look, and even then there is no token and no bucket key beside the messages.
    let mut seen = 0;
    let mut below: Vec<PathBuf> = vec![
        directory
            .path()
            .join("spool-is-here")
            .parent()
            .unwrap()
            .to_owned(),
    ];
    while let Some(path) = below.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            if entry.path().is_dir() {
                assert_eq!(mode, 0o700, "{entry:?}");
                below.push(entry.path());
            } else {
                assert_eq!(mode, 0o600, "{entry:?}");
                let bytes = fs::read(entry.path()).unwrap();
                assert!(!bytes.windows(11).any(|part| part == b"very-secret"), "{entry:?}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 8, "{seen}");
}

#[test]
fn two_agents_do_not_share_a_spool() {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::open(options(directory.path()));
    let refused = Spool::open(options(directory.path()), Arc::<super::Told>::default());
    let Err(error @ SpoolError::InUse { .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        error.to_string().contains("another kongtap uses this spool"),
        "{error}"
    );
    scene.hold("kept");
    scene.spool.close();
    // Closed is closed, even while the handle is still there.
    assert_eq!(Scene::open(options(directory.path())).texts(), ["kept"]);
    drop(scene);
}

#[test]
fn a_file_of_another_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::open(options(directory.path()));
    scene.hold("kept");
    drop(scene);
    let line = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let line = line.into_iter().find(|path| path.is_dir()).unwrap();
    let foreign = line.join("0000000000000007.seg");
    let mut bytes = b"ktspool\n\x09\0\0\0".to_vec();
    bytes.resize(size_of_header() - 4, 0);
    let crc = crc32c::crc32c_append(0, &bytes);
    bytes.extend(crc.to_le_bytes());
    bytes.extend(b"whatever it is in version 9");
    fs::write(&foreign, &bytes).unwrap();
    fs::write(line.join("notes.txt"), "somebody's").unwrap();
    fs::create_dir(line.join("0000000000000003.seg")).unwrap();

    let scene = Scene::open(options(directory.path()));
    assert_eq!(
        (scene.recovery.foreign, scene.texts()),
        (2, vec!["kept".to_owned()])
    );
    scene.hold("new");
    drop(scene);
    assert_eq!(fs::read(&foreign).unwrap(), bytes);
    assert!(files(directory.path()).contains_key("notes.txt"));
    assert!(
        files(directory.path()).contains_key("0000000000000008.seg"),
        "{:?}",
        files(directory.path())
    );
}

fn size_of_header() -> usize {
    usize::try_from(super::super::files::first_batch()).unwrap()
}

#[test]
fn an_unknown_destination_is_nobodys_until_somebody_posts_there() {
    let directory = tempfile::tempdir().unwrap();
    let scene = Scene::open(options(directory.path()));
    let other = scene.spool.key(&destination("http://127.0.0.1:2/")).unwrap();
    scene.spool.append(other, &"x".into(), Flags::ERROR, Memory::Room);
    drop(scene);
    let scene = Scene::open(options(directory.path()));
    assert_eq!((scene.waiting(), scene.spool.stats().waiting.messages), (0, 1));
    let other = scene.spool.key(&destination("http://127.0.0.1:2/")).unwrap();
    let read = scene.spool.read(other, 1, 1).unwrap();
    assert!(read[0].flags.has(Flags::ERROR) && !read[0].flags.has(Flags::RECOGNISABLE));
    assert!(read[0].age.as_secs() < 60, "{:?}", read[0].age);
}
