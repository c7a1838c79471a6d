//! Endpoints that cannot be reached, that do not answer, and that answer no.

use std::time::Duration;

use kongtap_tests::client::Scheme;
use kongtap_tests::faults::{Manner, Moment, RetryAfter, Shown};
use kongtap_tests::trial::Setup;

use super::{Case, Outcome, check};

async fn plain(name: &'static str, fault: Manner, outcome: Outcome) {
    check(Case {
        name,
        fault,
        setup: Setup::default(),
        outcome,
    })
    .await;
}

async fn tls(name: &'static str, fault: Manner) {
    check(Case {
        name,
        fault,
        setup: Setup {
            scheme: Scheme::Https,
            ..Setup::default()
        },
        outcome: Outcome::Dropped(&["unreachable"]),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_listens() {
    plain("refuses", Manner::Refuse, Outcome::Dropped(&["unreachable"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_answers_a_syn() {
    plain("black hole", Manner::BlackHole, Outcome::Dropped(&["timeout"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_read() {
    plain("deaf", Manner::Deaf, Outcome::Dropped(&["timeout"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_answered() {
    plain("mute", Manner::Mute, Outcome::Dropped(&["timeout"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_a_second_is_answered() {
    let drip = Manner::Drip(Duration::from_secs(1));
    plain("drips", drip, Outcome::Dropped(&["timeout"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_reset_in_the_request() {
    let reset = Manner::Reset(Moment::InRequest);
    plain("reset in the request", reset, Outcome::Dropped(&["bad_answer"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_reset_before_the_answer() {
    let reset = Manner::Reset(Moment::BeforeAnswer);
    plain(
        "reset before the answer",
        reset,
        Outcome::Dropped(&["bad_answer"]),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_reset_in_the_answer() {
    let reset = Manner::Reset(Moment::InAnswer);
    plain("reset in the answer", reset, Outcome::Dropped(&["bad_answer"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_is_no_http() {
    plain("noise", Manner::Noise, Outcome::Dropped(&["bad_answer"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_endpoint_has_no_time() {
    let busy = Manner::Status(429, RetryAfter::Unsaid);
    plain("429", busy, Outcome::Dropped(&["rejected"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_endpoint_fails() {
    let failing = Manner::Status(500, RetryAfter::Unsaid);
    plain("500", failing, Outcome::Dropped(&["endpoint_error"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_refused() {
    let refusing = Manner::Status(400, RetryAfter::Unsaid);
    plain("400", refusing, Outcome::Dropped(&["rejected"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_are_not_followed() {
    let moved = Manner::Status(301, RetryAfter::Unsaid);
    plain("301", moved, Outcome::Dropped(&["bad_answer"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_messages_are_refused() {
    plain("some errors", Manner::SomeErrors(3), Outcome::Some(&["rejected"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tls_is_spoken() {
    tls("no TLS", Manner::NoTls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_is_expired() {
    tls("expired", Manner::Certificate(Shown::Expired)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_is_another_hosts() {
    tls("wrong name", Manner::Certificate(Shown::OtherName)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_is_by_a_stranger() {
    tls("untrusted", Manner::Certificate(Shown::Stranger)).await;
}
