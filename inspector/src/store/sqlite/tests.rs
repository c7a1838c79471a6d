use std::ops::ControlFlow;
use std::time::Duration;

use uuid::Uuid;

use super::SqliteStore;
use crate::clock::{UnixMicros, message_uuid};
use crate::message::{Warning, check};
use crate::store::filter::{Order, Parameters};
use crate::store::{Bound, Filter, Kept, NewMessage, Query, Retention, Store as _, StoreError};

const KEEP_ALL: Retention = Retention {
    messages: u64::MAX,
    bytes: u64::MAX,
    age: None,
};

fn message(bucket: &str, json: &str) -> NewMessage {
    let checked = check(json).unwrap();
    NewMessage {
        uuid: message_uuid(),
        bucket: bucket.to_owned(),
        received: UnixMicros(1_000_000),
        summary: checked.summary,
        warnings: checked.warnings,
        json: json.to_owned(),
    }
}

fn get(url: &str, seconds: u32, status: u16) -> NewMessage {
    message(
        "b",
        &format!(
            r#"{{"request":{{"method":"GET","url":"{url}","timestamp":{seconds}}},"response":{{"status":{status}}}}}"#
        ),
    )
}

fn query(parameters: &str) -> Query {
    let found = Parameters::parse(parameters).unwrap();
    Query {
        filter: found.filter,
        since: found.since,
        before: found.before,
        order: Order::Time,
        most: found.count.unwrap_or(1_000),
    }
}

fn urls(store: &SqliteStore, query: &Query) -> Vec<String> {
    let entries = store.list(query).unwrap();
    entries
        .into_iter()
        .map(|entry| entry.summary.url.unwrap())
        .collect()
}

fn everywhere(test: impl Fn(&SqliteStore)) {
    test(&SqliteStore::in_memory().unwrap());
    let directory = tempfile::tempdir().unwrap();
    test(&SqliteStore::open(&directory.path().join("store")).unwrap());
}

#[test]
fn what_was_appended_is_found_whole() {
    everywhere(|store| {
        let json = r#"{"unique_identifier":"u","request":{"method":"GET","url":"http://a/","body":"%","body_encoding":"base64","timestamp":5},"kong":{"route":{"name":"r"}},"unknown":[1]}"#;
        let new = message("b", json);
        assert_eq!(
            store.append(std::slice::from_ref(&new)).unwrap(),
            [Kept::New(new.uuid)]
        );
        let (entry, text) = store.find(new.uuid).unwrap().unwrap();
        assert_eq!(text, json);
        assert_eq!(entry.summary, new.summary);
        assert_eq!(entry.warnings, [Warning::BodyNotBase64]);
        assert_eq!(entry.at, UnixMicros(5_000_000));
        assert_eq!(store.find(Uuid::nil()).unwrap().map(|found| found.1), None);
        assert_eq!(store.buckets(10).unwrap(), ["b"]);
        assert_eq!(store.newest().unwrap(), entry.arrival);
    });
}

#[test]
fn one_half_of_one_exchange_is_kept_once_in_a_bucket() {
    everywhere(|store| {
        let request = r#"{"unique_identifier":"u","request":{"method":"GET","url":"/"}}"#;
        let response = r#"{"unique_identifier":"u","response":{"status":200}}"#;
        let anonymous = r#"{"response":{"status":200}}"#;
        let first = message("b", request);
        let batch = [
            first.clone(),
            message("b", request),
            message("b", response),
            message("other", request),
            message("b", anonymous),
            message("b", anonymous),
        ];
        let kept = store.append(&batch).unwrap();
        assert_eq!(kept[1], Kept::Already(first.uuid));
        assert_eq!(kept.iter().filter(|kept| matches!(kept, Kept::New(_))).count(), 5);
        assert_eq!(store.append(&batch[..1]).unwrap(), [Kept::Already(first.uuid)]);
        assert_eq!(store.totals().messages, 5);
        let (entry, _) = store.find(first.uuid).unwrap().unwrap();
        let others = store.same_exchange(&entry).unwrap();
        assert_eq!(others.iter().map(|o| o.uuid).collect::<Vec<_>>(), [batch[2].uuid]);
        assert_eq!(store.buckets(10).unwrap(), ["b", "other"]);
    });
}

#[test]
fn filters_and_pages() {
    everywhere(|store| {
        let mut post = get("/post%41_x", 3, 201);
        post.summary.method = Some("post".to_owned());
        post.summary.consumer = Some("Alice".to_owned());
        // Arrival order differs from time order on purpose; 2a and 2b share an instant.
        let batch = [get("/2a", 2, 404), get("/1", 1, 200), post, get("/2b", 2, 500)];
        store.append(&batch).unwrap();
        for (parameters, expected) in [
            ("", &["/post%41_x", "/2b", "/2a", "/1"][..]),
            ("method=post", &["/post%41_x"]),
            ("status=4xx", &["/2a"]),
            ("status=200", &["/1"]),
            ("text=ALICE", &["/post%41_x"]),
            ("text=%2541_", &["/post%41_x"]),
            ("text=_a", &[]),
            ("text=/2", &["/2b", "/2a"]),
            ("text=/2&status=5xx", &["/2b"]),
            ("bucket=none", &[]),
            ("bucket=b&since=2", &["/post%41_x", "/2b", "/2a"]),
            ("before=2", &["/1"]),
            ("since=2&before=3", &["/2b", "/2a"]),
            ("count=1", &["/post%41_x"]),
        ] {
            assert_eq!(urls(store, &query(parameters)), expected, "{parameters}");
        }
        // Page by page, by message: nothing skipped, nothing twice.
        let mut seen = Vec::new();
        let mut before = None;
        loop {
            let page = store
                .list(&Query {
                    before,
                    ..query("count=1")
                })
                .unwrap();
            let Some(entry) = page.first() else { break };
            before = Some(Bound::Message(entry.uuid));
            seen.push(entry.summary.url.clone().unwrap());
        }
        assert_eq!(seen, ["/post%41_x", "/2b", "/2a", "/1"]);
        let newer = store
            .list(&Query {
                since: Some(Bound::Message(batch[0].uuid)),
                ..query("")
            })
            .unwrap();
        assert_eq!(newer.len(), 2);
        let gone = Query {
            before: Some(Bound::Message(Uuid::nil())),
            ..query("")
        };
        assert_eq!(urls(store, &gone), Vec::<String>::new());
    });
}

#[test]
fn followers_see_arrivals_only_once() {
    everywhere(|store| {
        store.append(&[get("/1", 9, 200), get("/2", 1, 200)]).unwrap();
        let newest = store.newest().unwrap();
        store.append(&[get("/3", 1, 200)]).unwrap();
        let follow = |after| Query {
            filter: Filter::default(),
            since: None,
            before: None,
            order: Order::ArrivedAfter(after),
            most: 10,
        };
        assert_eq!(urls(store, &follow(newest)), ["/3"]);
        assert_eq!(urls(store, &follow(Default::default())), ["/3", "/2", "/1"]);
    });
}

#[test]
fn visiting_gives_the_texts_and_stops_when_told() {
    everywhere(|store| {
        store.append(&[get("/1", 1, 200), get("/2", 2, 200)]).unwrap();
        let mut seen = Vec::new();
        store
            .visit(&query(""), &mut |entry, json| {
                assert!(json.contains(entry.summary.url.as_deref().unwrap()));
                seen.push(entry.summary.url.clone().unwrap());
                ControlFlow::Break(())
            })
            .unwrap();
        assert_eq!(seen, ["/2"]);
    });
}

#[test]
fn the_oldest_arrivals_are_pruned_by_count_bytes_and_age() {
    let size = u64::try_from(get("/1", 1, 200).json.len()).unwrap();
    let now = UnixMicros(10_000_000);
    for (retention, most, gone, left) in [
        (KEEP_ALL, 100, 0, &["/4", "/3", "/2", "/1"][..]),
        (
            Retention {
                messages: 3,
                ..KEEP_ALL
            },
            100,
            1,
            &["/4", "/3", "/2"],
        ),
        (
            Retention {
                messages: 1,
                ..KEEP_ALL
            },
            2,
            2,
            &["/4", "/3"],
        ),
        (
            Retention {
                bytes: 2 * size,
                ..KEEP_ALL
            },
            100,
            2,
            &["/4", "/3"],
        ),
        (
            Retention {
                bytes: 2 * size - 1,
                ..KEEP_ALL
            },
            100,
            3,
            &["/4"],
        ),
        (Retention { bytes: 0, ..KEEP_ALL }, 100, 3, &["/4"]),
        (
            Retention {
                age: Some(Duration::from_secs(8)),
                ..KEEP_ALL
            },
            100,
            2,
            &["/4", "/3"],
        ),
        (
            Retention {
                age: Some(Duration::ZERO),
                ..KEEP_ALL
            },
            100,
            3,
            &["/4"],
        ),
    ] {
        everywhere(|store| {
            for second in 1..=4_u32 {
                let mut message = get(&format!("/{second}"), second, 200);
                message.received = UnixMicros(i64::from(second.saturating_sub(1)) * 1_000_000);
                store.append(&[message]).unwrap();
            }
            assert_eq!(store.prune(&retention, now, most).unwrap(), gone, "{retention:?}");
            assert_eq!(urls(store, &query("")), left, "{retention:?}");
            let left_count = u64::try_from(left.len()).unwrap();
            assert_eq!(store.totals().messages, left_count);
            assert_eq!(store.totals().bytes, left_count * size);
        });
    }
}

#[test]
fn a_file_is_private_survives_reopening_and_is_opened_once() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let new = get("/1", 1, 200);
    let store = SqliteStore::open(&path).unwrap();
    store.append(std::slice::from_ref(&new)).unwrap();
    assert!(matches!(SqliteStore::open(&path), Err(StoreError::InUse { .. })));
    for name in ["store", "store-wal"] {
        let mode = directory
            .path()
            .join(name)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.find(new.uuid).unwrap().unwrap().1, new.json);
    assert_eq!(store.totals().messages, 1);
}

#[test]
fn a_file_that_is_not_a_store_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    std::fs::write(
        &path,
        "not a database, and longer than one hundred bytes ".repeat(4),
    )
    .unwrap();
    assert!(matches!(
        SqliteStore::open(&path),
        Err(StoreError::NotOurs { .. })
    ));
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .starts_with("not a database")
    );

    let path = directory.path().join("other");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE mine (x)").unwrap();
    drop(other);
    assert!(matches!(
        SqliteStore::open(&path),
        Err(StoreError::NotOurs { .. })
    ));

    let path = directory.path().join("newer");
    drop(SqliteStore::open(&path).unwrap());
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    assert!(matches!(
        SqliteStore::open(&path),
        Err(StoreError::Newer { found: 99, .. })
    ));
}
