//! A message that comes again, as after a lost answer, is kept once: told by `unique_identifier`, bucket by bucket.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{BUDGET, Inspector, TOKEN, message};

fn identified(identifier: &str) -> Value {
    let mut message = message("http://a/", 1.0, 200);
    message["unique_identifier"] = json!(identifier);
    message
}

/// The uuids that an answer's items have, in order.
fn uuids(items: &[Value]) -> Vec<String> {
    let uuid = |item: &Value| {
        item["uuid"]
            .as_str()
            .unwrap_or_else(|| panic!("{item}"))
            .to_owned()
    };
    items.iter().map(uuid).collect()
}

/// `kept` and `repeated` of `/status`.
async fn counts(inspector: &Inspector) -> (u64, u64) {
    let status: Value = inspector.get("/status").await.json().await.unwrap();
    let count = |name: &str| status["messages"][name].as_u64().unwrap();
    (count("kept"), count("repeated"))
}

async fn start(store: &Path) -> Inspector {
    Inspector::start_with(|config| config.store = Some(store.to_owned())).await
}

#[tokio::test]
async fn the_same_messages_from_many_senders_at_once_are_kept_once() {
    const SENDERS: usize = 8;
    const MESSAGES: usize = 60;
    let directory = tempfile::tempdir().unwrap();
    let inspector = start(&directory.path().join("store")).await;
    let url = format!("{}/buckets/b/messages", inspector.base);
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (client, url) = (inspector.client.clone(), url.clone());
        senders.spawn(async move {
            let mut told = Vec::new();
            // Each in an order and in lists of its own, every list with a repeat in itself.
            let mut numbers: Vec<usize> = (0..MESSAGES).collect();
            numbers.rotate_left(sender * 7);
            for part in numbers.chunks(sender + 1) {
                let mut identifiers: Vec<String> = part.iter().map(ToString::to_string).collect();
                identifiers.push(identifiers[0].clone());
                let list: Vec<Value> = identifiers.iter().map(|number| identified(number)).collect();
                let body = Value::Array(list).to_string();
                let answer = client
                    .post(&url)
                    .bearer_auth(TOKEN)
                    .body(body)
                    .send()
                    .await
                    .unwrap();
                let answer: Value = answer.json().await.unwrap();
                assert_eq!(answer["meta"]["success_count"], identifiers.len());
                let items = answer["data"].as_array().unwrap();
                for (item, identifier) in items.iter().zip(&identifiers) {
                    assert_eq!(item["status"], "success");
                    assert_eq!(item["unique_identifier"], identifier.as_str());
                }
                told.extend(identifiers.into_iter().zip(uuids(items)));
            }
            told
        });
    }
    let told = timeout(BUDGET, senders.join_all())
        .await
        .expect("too slow")
        .concat();
    let mut by_identifier: HashMap<&str, HashSet<&str>> = HashMap::new();
    for (identifier, uuid) in &told {
        by_identifier.entry(identifier).or_default().insert(uuid);
    }
    assert_eq!(by_identifier.len(), MESSAGES);
    for (identifier, uuids) in by_identifier {
        assert_eq!(uuids.len(), 1, "{identifier} has several: {uuids:?}");
    }
    let list = inspector.data("/buckets/b/messages?count=1000").await;
    assert_eq!(list.as_array().unwrap().len(), MESSAGES);
    let repeated = told.len() - MESSAGES;
    assert_eq!(
        counts(&inspector).await,
        (u64::try_from(MESSAGES).unwrap(), u64::try_from(repeated).unwrap())
    );
    inspector.stop().await;
}

#[tokio::test]
async fn a_repeat_is_known_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let list = json!([identified("one"), identified("two")]);
    let inspector = start(&path).await;
    let first = uuids(&inspector.keep(&list).await);
    inspector.stop().await;
    let inspector = start(&path).await;
    assert_eq!(uuids(&inspector.keep(&list).await), first);
    assert_eq!(counts(&inspector).await, (0, 2));
    inspector.stop().await;
}

#[tokio::test]
async fn what_retention_removed_is_new_when_it_comes_again() {
    let inspector = Inspector::start_with(|config| config.retention.messages = 2).await;
    let first = inspector.keep_one(&identified("old")).await;
    assert_eq!(inspector.keep_one(&identified("old")).await, first);
    inspector
        .keep(&json!([identified("a"), identified("b"), identified("c")]))
        .await;
    let pruned = async {
        while inspector
            .get(&format!("/buckets/b/messages/{first}"))
            .await
            .status()
            .is_success()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(BUDGET, pruned).await.expect("not pruned in time");
    let again = inspector.keep_one(&identified("old")).await;
    assert_ne!(again, first);
    assert_eq!(inspector.keep_one(&identified("old")).await, again);
    assert_eq!(counts(&inspector).await, (5, 2));
    inspector.stop().await;
}

#[tokio::test]
async fn the_first_one_stays_as_it_was_and_followers_do_not_see_a_repeat() {
    let inspector = Inspector::start().await;
    let uuid = inspector.keep_one(&identified("one")).await;
    let mut shed = identified("one");
    shed["response"]["body"] = json!("");
    shed["response"]["status"] = json!(500);
    assert_eq!(inspector.keep_one(&shed).await, uuid, "whatever else it says");
    let kept = inspector.data(&format!("/buckets/b/messages/{uuid}")).await;
    assert_eq!(kept["response"]["status"], 200);
    assert_eq!(kept["response"]["body"], "answer");
    // Without an identifier nothing tells a repeat from another exchange.
    let anonymous = message("http://a/", 1.0, 200);
    assert_ne!(
        inspector.keep_one(&anonymous).await,
        inspector.keep_one(&anonymous).await
    );
    assert_eq!(counts(&inspector).await, (3, 1));
    inspector.stop().await;
}
