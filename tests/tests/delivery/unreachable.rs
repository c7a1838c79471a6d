//! Endpoints that cannot be reached, or not as themselves: no connection, no certificate to believe.

use kongtap_tests::client::Scheme;
use kongtap_tests::faults::{Manner, Shown};
use kongtap_tests::trial::{By, Setup};

use crate::{Case, Outcome, SHIP, go_through, setup};

/// Nothing was sent, so everything is delivered once it can be.
const fn passes(name: &'static str, fault: Manner) -> Case {
    Case {
        name,
        fault,
        outcome: Outcome::Delivered,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection() {
    let cases = [
        passes("nobody answers a SYN", Manner::BlackHole),
        passes("nobody reads", Manner::Deaf),
    ];
    go_through("no connection", setup(Scheme::Http, SHIP, &cases), &cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tls_to_believe() {
    let cases = [
        passes("no TLS is spoken", Manner::NoTls),
        passes("expired", Manner::Certificate(Shown::Expired)),
        passes("another host's", Manner::Certificate(Shown::OtherName)),
        passes("a stranger's", Manner::Certificate(Shown::Stranger)),
    ];
    go_through("no TLS to believe", setup(Scheme::Https, SHIP, &cases), &cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_handshake() {
    let cases = [passes("no handshake comes about", Manner::NoHandshake)];
    go_through("no handshake", setup(Scheme::Https, SHIP, &cases), &cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name() {
    let cases = [
        passes("the name is gone", Manner::NoName),
        passes("nobody says the name", Manner::SilentNames),
    ];
    let setup = Setup {
        by: By::Name,
        ..setup(Scheme::Http, SHIP, &cases)
    };
    go_through("no name", setup, &cases).await;
}
