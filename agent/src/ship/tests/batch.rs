//! Several messages in one POST: only where the endpoint answers in list form, and each counted once whatever it says.

use std::collections::BTreeSet;

use super::list_endpoint::{Got, ListEndpoint, Reply};
use super::{Run, destination, eventually, fates, message, once};
use crate::ship::ShipLimits;

/// How many messages a run has, the first one not counted.
const MESSAGES: u64 = 60;

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap()
}

fn limits() -> ShipLimits {
    ShipLimits {
        batch: 8,
        in_flight: 2,
        ..once()
    }
}

fn entries(got: &Got, status: &'static str) -> Vec<&'static str> {
    vec![status; got.messages()]
}

/// The messages of a request, known by their length.
fn lengths(got: &Got) -> Vec<usize> {
    let length = |message: &serde_json::Value| message["response"]["body"].as_str().unwrap().len();
    match got.body.as_array() {
        Some(list) => list.iter().map(length).collect(),
        None => vec![length(&got.body)],
    }
}

/// Sends one message and then [`MESSAGES`] at once; gives the endpoint and what became of them.
async fn run(
    limits: ShipLimits,
    answer: impl Fn(&Got) -> Reply + Send + Sync + 'static,
) -> (ListEndpoint, (u64, Vec<(&'static str, u64)>)) {
    let endpoint = ListEndpoint::start(answer).await;
    let run = Run::start(limits);
    let destination = destination(&endpoint.url());
    let (handle, ledger) = (run.handle.clone(), &run.ledger);
    let offer = |bytes| {
        ledger.saw();
        handle.offer(message(&destination, bytes));
    };
    offer(0);
    offer(1);
    eventually("the first answers", || ledger.snapshot().queued == 0).await;
    for bytes in 2..=usize::try_from(MESSAGES).unwrap() {
        offer(bytes);
    }
    run.settle().await;
    (endpoint, fates(&run.stop().await))
}

#[tokio::test]
async fn lists_travel_where_answers_are_lists() {
    let (endpoint, fates) = run(limits(), |got| Reply::list(200, entries(got, "success"))).await;
    assert_eq!(fates, (MESSAGES + 1, vec![]));
    let sizes = endpoint.of_each(Got::messages);
    assert_eq!(sizes[0], 1, "the first one is alone");
    assert!(sizes.iter().all(|size| *size <= 8), "{sizes:?}");
    assert!(sizes.contains(&8), "{sizes:?}");
    let all: Vec<usize> = endpoint.of_each(lengths).concat();
    assert_eq!(count(all.len()), MESSAGES + 1);
    assert_eq!(count(all.iter().collect::<BTreeSet<_>>().len()), MESSAGES + 1);
    assert!(
        endpoint
            .of_each(|got| got.head.headers["content-type"] == "application/json")
            .iter()
            .all(|is| *is)
    );
}

#[tokio::test]
async fn no_list_travels_by_default_or_where_answers_are_none() {
    let check = async |limits, answer: fn(&Got) -> Reply| {
        let (endpoint, fates) = run(limits, answer).await;
        assert_eq!(fates, (MESSAGES + 1, vec![]));
        assert!(endpoint.of_each(Got::messages).iter().all(|size| *size == 1));
        assert!(endpoint.of_each(|got| got.body.is_object()).iter().all(|is| *is));
    };
    check(once(), |got| Reply::list(200, entries(got, "success"))).await;
    check(limits(), |_| Reply::new(200, "{}")).await;
    check(limits(), |_| Reply::new(204, "")).await;
    check(limits(), |_| {
        Reply::new(200, r#"{"data":[{"status":"success"},{"status":"success"}]}"#)
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_takes_no_lists_gets_each_message_alone() {
    for status in [400, 404, 405, 415, 422] {
        let (endpoint, fates) = run(limits(), move |got| match got.body.is_array() {
            true => Reply::new(status, r#"{"meta":{"status":"error"},"error":{"status":1}}"#),
            false => Reply::list(200, ["success"]),
        })
        .await;
        assert_eq!(fates, (MESSAGES + 1, vec![]), "{status}");
        let refused = endpoint.of_each(|got| got.body.is_array());
        let lists = refused.iter().filter(|is_list| **is_list).count();
        // One for each sender that was under way at that time.
        assert!((1..=2).contains(&lists), "{status}: {lists}");
    }
}

#[tokio::test]
async fn a_list_that_is_too_large_is_halved() {
    let (endpoint, fates) = run(limits(), |got| match got.messages() {
        1..=2 => Reply::list(200, entries(got, "success")),
        _ => Reply::new(413, ""),
    })
    .await;
    assert_eq!(fates, (MESSAGES + 1, vec![]));
    let sizes = endpoint.of_each(Got::messages);
    let refused: Vec<usize> = sizes.iter().copied().filter(|size| *size > 2).collect();
    assert!(refused.contains(&8) && refused.len() <= 12, "{sizes:?}");
}

#[tokio::test]
async fn each_entry_of_a_list_counts_for_its_own_message() {
    let answer = |got: &Got| {
        let status = |length: usize| match length % 3 {
            0 => "error",
            1 => "warning",
            _ => "success",
        };
        Reply::list(200, lengths(got).into_iter().map(status))
    };
    let endpoint = ListEndpoint::start(answer).await;
    let run = Run::start(limits());
    let destination = destination(&endpoint.url());
    for bytes in 0..90 {
        run.offer(message(&destination, bytes));
    }
    assert_eq!(fates(&run.settle().await), (60, vec![("invalid", 30)]));
    let stats = run.handle.stats();
    assert_eq!(stats.warnings, 30);
    assert_eq!(
        stats.last_errors[0].detail,
        "the answer marks the message as an error, code bad_message"
    );
    run.stop().await;
    assert!(endpoint.of_each(Got::messages).contains(&8));
}

#[tokio::test]
async fn a_list_of_which_nothing_was_taken_is_not_sent_again() {
    let (endpoint, fates) = run(limits(), |got| match got.body.is_array() {
        true => Reply::list(400, entries(got, "error")),
        false => Reply::list(200, ["success"]),
    })
    .await;
    let lists: u64 = endpoint
        .of_each(|got| {
            if got.body.is_array() {
                count(got.messages())
            } else {
                0
            }
        })
        .iter()
        .sum();
    assert!(lists > 0);
    assert_eq!(fates, (MESSAGES + 1 - lists, vec![("invalid", lists)]));
}

#[tokio::test]
async fn a_list_with_another_number_of_entries_is_in_doubt() {
    let (endpoint, fates) = run(limits(), |_| Reply::list(200, ["success"])).await;
    // These messages do not carry an identifier, so whatever was in a list is counted and not sent again.
    let lists: u64 = endpoint
        .of_each(|got| {
            if got.body.is_array() {
                count(got.messages())
            } else {
                0
            }
        })
        .iter()
        .sum();
    assert!(lists > 0);
    assert_eq!(fates, (MESSAGES + 1 - lists, vec![("bad_answer", lists)]));
    assert!(
        endpoint
            .of_each(|got| got.body.is_array())
            .iter()
            .filter(|is| **is)
            .count()
            <= 4
    );
}

#[tokio::test]
async fn errors_that_are_not_about_lists_count_for_all_of_one() {
    for (status, reason) in [(401, "unauthorized"), (500, "endpoint_error"), (429, "throttled")] {
        let (endpoint, fates) = run(limits(), move |got| match got.body.is_array() {
            true => Reply::new(status, ""),
            false => Reply::list(200, ["success"]),
        })
        .await;
        let all: usize = endpoint.of_each(Got::messages).iter().sum();
        assert_eq!(count(all), MESSAGES + 1, "{status}: nothing is sent again");
        assert_eq!(fates.0 + fates.1[0].1, MESSAGES + 1);
        assert_eq!(fates.1[0].0, reason);
    }
}
