//! One post through all of its phases: the deadline bounds each of them, and what a failure leaves certain is told from what
//! it leaves in doubt.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::endpoint::{Behaviour, Endpoint};
use super::{BUDGET, destination, eventually, message};
use crate::clock;
use crate::message::Message;
use crate::plugin::Destination;
use crate::plugin::transport::HttpVersion;
use crate::ship::account::{Account, Ticket};
use crate::ship::attempt::{self, Posted};
use crate::ship::clients::Clients;
use crate::ship::failure::Again;
use crate::ship::lane::health::Ended;
use crate::ship::{ShipLimits, clients};
use crate::telemetry::ledger::{DropReason, ExchangeLedger};

const SURELY_NOT: Again = Again::Always { after: None };

fn tickets(messages: &[Message]) -> Vec<Ticket> {
    let account = Arc::new(Account::new(Arc::new(ExchangeLedger::default())));
    let ticket = |message: &Message| Ticket::new(message.clone(), Arc::clone(&account), clock::instant());
    messages.iter().map(ticket).collect()
}

fn client_of(destination: &Destination) -> Arc<clients::Endpoint> {
    let mut clients = Clients::new(4);
    clients
        .endpoint(&Arc::new(destination.clone()), clock::instant())
        .unwrap()
}

/// Posts `messages` once, with connections of its own.
pub(super) async fn post(destination: &Destination, messages: &[Message]) -> Posted {
    post_by(&client_of(destination), messages).await
}

/// The same, over the connections of `endpoint`.
pub(super) async fn post_by(endpoint: &clients::Endpoint, messages: &[Message]) -> Posted {
    attempt::post(endpoint, &tickets(messages), ShipLimits::default().answer_bytes).await
}

/// Posts a message of `bytes` to `url`, which fails, after a tenth of a second at the latest.
async fn check(phase: &str, url: &str, bytes: usize, reason: DropReason, again: Again) {
    let mut destination = destination(url);
    destination.timeout_ms = 100;
    let started = clock::instant();
    let posted = post(&destination, &[message(&destination, bytes)]).await;
    assert!(started.elapsed() < BUDGET / 4, "{phase}: {:?}", started.elapsed());
    let failure = posted.fates[0].as_ref().unwrap_err();
    assert_eq!(
        (failure.reason, failure.again),
        (reason, again),
        "{phase}: {failure:?}"
    );
    assert_eq!(posted.ended, Ended::Failed, "{phase}");
}

/// A listener whose queue is full: whoever connects now is not even refused.
async fn black_hole() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        waiting.push(stream.unwrap());
    }
    (listener, waiting)
}

#[tokio::test]
async fn the_deadline_bounds_every_phase() {
    use DropReason::{Timeout, Unreachable};
    let hole = black_hole().await;
    let url = format!("http://{}/", hole.0.local_addr().unwrap());
    check("connecting", &url, 10, Unreachable, SURELY_NOT).await;

    // The kernel accepts, nobody reads.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = deaf.local_addr().unwrap();
    check("TLS", &format!("https://{address}/"), 10, Unreachable, SURELY_NOT).await;
    check(
        "sending",
        &format!("http://{address}/"),
        16 << 20,
        Timeout,
        Again::WhereRecognised,
    )
    .await;

    let silent = Endpoint::start(Behaviour::Silent).await;
    check(
        "the answer's head",
        &silent.url(),
        10,
        Timeout,
        Again::WhereRecognised,
    )
    .await;
    let slow = Endpoint::start(Behaviour::Trickles).await;
    check(
        "the answer's body",
        &slow.url(),
        10,
        Timeout,
        Again::WhereRecognised,
    )
    .await;
}

#[tokio::test]
async fn what_was_never_sent_is_told_from_what_may_have_arrived() {
    use DropReason::{BadAnswer, Unreachable};
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    check("refused", &format!("http://{gone}/"), 10, Unreachable, SURELY_NOT).await;
    check(
        "no such name",
        "http://nowhere.invalid/",
        10,
        Unreachable,
        SURELY_NOT,
    )
    .await;
    let plain = Endpoint::start(super::OK).await;
    let url = plain.url().replace("http:", "https:");
    check("no TLS", &url, 10, Unreachable, SURELY_NOT).await;
    let closes = Endpoint::start(Behaviour::AnswersAndCloses("")).await;
    check("closes", &closes.url(), 10, BadAnswer, Again::WhereRecognised).await;
    let resets = Endpoint::start(Behaviour::AnswersAndResets("HTTP/1.1 200 OK\r\n")).await;
    check("resets", &resets.url(), 10, BadAnswer, Again::WhereRecognised).await;
}

#[tokio::test]
async fn a_connection_that_was_closed_after_an_answer_costs_nothing() {
    let endpoint = Endpoint::start(Behaviour::AnswersAndCloses(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    ))
    .await;
    let mut destination = destination(&endpoint.url());
    destination.keepalive_ms = 60_000;
    let client = client_of(&destination);
    for round in 1..=20 {
        let posted = post_by(&client, &[message(&destination, 10)]).await;
        assert!(posted.fates[0].is_ok(), "{round}: {posted:?}");
        eventually("the endpoint to have closed", || endpoint.open() == 0).await;
    }
    assert_eq!(endpoint.received().len(), 20);
}

/// An endpoint in a thread of its own, which goes on while the test's runtime stands still: for each item that it is sent it
/// answers one request, says so, and closes the connection when it is sent another item.
fn scripted(listener: std::net::TcpListener) -> (Sender<()>, Receiver<()>) {
    let (go, steps) = channel::<()>();
    let (done, said) = channel();
    std::thread::spawn(move || {
        while steps.recv().is_ok() {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                let mut bytes = [0; 4096];
                let count = stream.read(&mut bytes).unwrap();
                assert_ne!(count, 0);
                request.extend_from_slice(&bytes[..count]);
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .unwrap();
            steps.recv().unwrap();
            drop(stream);
            done.send(()).unwrap();
        }
    });
    (go, said)
}

#[tokio::test]
async fn a_close_that_crosses_a_message_on_its_way_leaves_it_in_doubt() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut destination = destination(&format!("http://{}/", listener.local_addr().unwrap()));
    destination.keepalive_ms = 60_000;
    let client = client_of(&destination);
    let (go, closed) = scripted(listener);
    go.send(()).unwrap();
    let posted = post_by(&client, &[message(&destination, 10)]).await;
    assert!(posted.fates[0].is_ok(), "{posted:?}");
    go.send(()).unwrap();
    // Waiting here keeps the runtime, which has one thread, from noticing: the next message is on its way by then.
    closed.recv().unwrap();
    let posted = post_by(&client, &[message(&destination, 10)]).await;
    let failure = posted.fates[0].as_ref().unwrap_err();
    assert_eq!(
        (failure.reason, failure.again),
        (DropReason::BadAnswer, Again::WhereRecognised),
        "{failure:?}"
    );
    // That connection is not used a third time.
    go.send(()).unwrap();
    let posted = post_by(&client, &[message(&destination, 10)]).await;
    assert!(posted.fates[0].is_ok(), "{posted:?}");
}

#[tokio::test]
async fn an_http2_stream_that_was_refused_is_sent_anew() {
    let check = async |what: &str, reason: h2::Reason, is_sent_anew: bool| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut destination = destination(&format!("http://{}/", listener.local_addr().unwrap()));
        destination.transport.http_version = HttpVersion::Two;
        let server = tokio::spawn(async move {
            let mut seen = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_request, mut respond))) = connection.accept().await {
                    seen += 1;
                    if seen == 1 {
                        respond.send_reset(reason);
                    } else {
                        let mut stream = respond.send_response(http::Response::new(()), false).unwrap();
                        stream.send_data(Bytes::from_static(b"{}"), true).unwrap();
                    }
                }
            }
        });
        let posted = post(&destination, &[message(&destination, 10)]).await;
        server.abort();
        match &posted.fates[0] {
            Ok(()) => assert!(is_sent_anew, "{what}"),
            Err(failure) => {
                assert!(!is_sent_anew, "{what}: {failure:?}");
                assert_eq!(failure.again, Again::WhereRecognised, "{what}");
                assert!(failure.detail.starts_with("HTTP/2: "), "{what}: {failure:?}");
            }
        }
    };
    check("refused", h2::Reason::REFUSED_STREAM, true).await;
    check("failed", h2::Reason::INTERNAL_ERROR, false).await;
}
