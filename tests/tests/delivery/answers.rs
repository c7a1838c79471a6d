//! Endpoints that are reached, and answer no, or late, or not to the end.

use std::time::Duration;

use kongtap_tests::client::Scheme;
use kongtap_tests::faults::{Manner, Moment, RetryAfter};

use crate::{Case, Outcome, SHIP, go_through, setup};

/// It is delivered once the fault has passed.
const fn passes(name: &'static str, fault: Manner) -> Case {
    Case {
        name,
        fault,
        outcome: Outcome::Delivered,
    }
}

/// The answer is final.
const fn refused(name: &'static str, status: u16, reason: &'static str) -> Case {
    Case {
        name,
        fault: Manner::Status(status, RetryAfter::Unsaid),
        outcome: Outcome::Dropped(reason),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_in_time() {
    let cases = [
        passes("no answer", Manner::Mute),
        passes("a byte a second", Manner::Drip(Duration::from_secs(1))),
    ];
    go_through("no answer in time", setup(Scheme::Http, SHIP, &cases), &cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_answers() {
    let cases = [
        passes("nobody listens", Manner::Refuse),
        passes("reset in the request", Manner::Reset(Moment::InRequest)),
        passes("reset before the answer", Manner::Reset(Moment::BeforeAnswer)),
        passes("reset in the answer", Manner::Reset(Moment::InAnswer)),
        passes("an answer that is no HTTP", Manner::Noise),
    ];
    go_through("broken answers", setup(Scheme::Http, SHIP, &cases), &cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn try_again() {
    let cases = [
        passes("500", Manner::Status(500, RetryAfter::Unsaid)),
        passes("503, in a second", Manner::Status(503, RetryAfter::Seconds(1))),
        passes("429", Manner::Status(429, RetryAfter::Unsaid)),
        passes("429, in a second", Manner::Status(429, RetryAfter::Seconds(1))),
        passes("429, at a date", Manner::Status(429, RetryAfter::Date(2))),
    ];
    go_through("try again", setup(Scheme::Http, SHIP, &cases), &cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn final_answers() {
    let cases = [
        refused("400", 400, "rejected"),
        refused("401", 401, "rejected"),
        refused("301", 301, "bad_answer"),
        Case {
            name: "every third entry is an error",
            fault: Manner::SomeErrors(3),
            outcome: Outcome::Partly("rejected"),
        },
    ];
    go_through("final answers", setup(Scheme::Http, SHIP, &cases), &cases).await;
}
