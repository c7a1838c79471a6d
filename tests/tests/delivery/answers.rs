//! Endpoints that are reached, and answer no, or late, or not to the end.

use std::time::Duration;

use kongtap_tests::client::Scheme;
use kongtap_tests::faults::{Manner, Moment, RetryAfter};
use kongtap_tests::trial::{Profile, Setup};

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
        refused("400", 400, "invalid"),
        refused("401", 401, "unauthorized"),
        refused("301", 301, "bad_answer"),
        Case {
            name: "every third entry is an error",
            fault: Manner::SomeErrors(3),
            outcome: Outcome::Partly("invalid"),
        },
    ];
    go_through("final answers", setup(Scheme::Http, SHIP, &cases), &cases).await;
}

/// `max_age_seconds` is the least there is.
const SOON_TOO_OLD: &str = "[ship]\ndrain_timeout_ms = 200\n\
    [ship.retry]\nmax_age_seconds = 1\nfirst_ms = 40\nmost_ms = 200\n\
    [ship.breaker]\nopen_ms = 40\nmost_ms = 200\n";

/// What was tried too often or for too long is given up; the rest is delivered once the fault has passed.
const fn given_up(name: &'static str, fault: Manner, reason: &'static str) -> Case {
    Case {
        name,
        fault,
        outcome: Outcome::Partly(reason),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_old() {
    let cases = [
        given_up("nobody listens for too long", Manner::Refuse, "unreachable"),
        given_up(
            "500 for too long",
            Manner::Status(500, RetryAfter::Unsaid),
            "endpoint_error",
        ),
        given_up(
            "429 for too long",
            Manner::Status(429, RetryAfter::Seconds(3)),
            "throttled",
        ),
        given_up("no answer for too long", Manner::Mute, "timeout"),
    ];
    go_through("too old", setup(Scheme::Http, SOON_TOO_OLD, &cases), &cases).await;
}

/// Messages that nobody could tell from their repeats: what may have been taken is not sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_identifiers() {
    let cases = [
        passes("nobody listens", Manner::Refuse),
        passes("500", Manner::Status(500, RetryAfter::Unsaid)),
        given_up(
            "reset before the answer",
            Manner::Reset(Moment::BeforeAnswer),
            "bad_answer",
        ),
        given_up("no answer", Manner::Mute, "timeout"),
    ];
    let setup = Setup {
        profile: Profile::Plugin,
        ..setup(Scheme::Http, SHIP, &cases)
    };
    go_through("without identifiers", setup, &cases).await;
}

/// Much more comes than it takes: what there is no room for is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slower_than_traffic() {
    let cases = [Case {
        name: "a hundredth of the traffic",
        fault: Manner::Slow(Duration::from_millis(100)),
        outcome: Outcome::Partly("queue_full_count"),
    }];
    let toml = SHIP.replace("[ship]\n", "[ship]\nqueue_messages = 300\n");
    go_through("slower than traffic", setup(Scheme::Http, &toml, &cases), &cases).await;
}

/// Several messages in one post, each with an entry of the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_lists() {
    let cases = [
        passes("500", Manner::Status(500, RetryAfter::Unsaid)),
        passes("reset before the answer", Manner::Reset(Moment::BeforeAnswer)),
        Case {
            name: "every third entry is an error",
            fault: Manner::SomeErrors(3),
            outcome: Outcome::Partly("invalid"),
        },
    ];
    let toml = SHIP.replace("[ship]\n", "[ship]\nbatch = 16\n");
    go_through("in lists", setup(Scheme::Http, &toml, &cases), &cases).await;
}

/// Messages that do not fit into a connection's buffers, so that the reset meets their sender while it writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages() {
    let cases = [passes(
        "reset in a large request",
        Manner::Reset(Moment::InRequest),
    )];
    let setup = Setup {
        answer_bytes: 250_000,
        ..setup(Scheme::Http, SHIP, &cases)
    };
    go_through("large messages", setup, &cases).await;
}
