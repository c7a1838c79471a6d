//! Whatever becomes of shippers, senders and tickets, the ledger balances.

use std::sync::Arc;
use std::time::Duration;

use super::endpoint::{Behaviour, Endpoint, OK};
use super::{BUDGET, Run, destination, dropped, eventually, fates, message, once, taken};
use crate::clock;
use crate::plugin::Destination;
use crate::ship::ShipLimits;
use crate::ship::account::{Account, Ticket};
use crate::ship::queue::Queue;
use crate::telemetry::ledger::ExchangeLedger;

#[tokio::test]
async fn a_shipper_that_is_aborted_loses_nothing_silently() {
    let endpoint = Endpoint::start(Behaviour::Silent).await;
    let run = Run::start(ShipLimits {
        in_flight: 2,
        ..once()
    });
    let destination = destination(&endpoint.url());
    for _ in 0..5 {
        run.offer(message(&destination, 10));
    }
    eventually("one in flight", || run.handle.stats().in_flight == 1).await;
    run.task.abort();
    let snapshot = run.settle().await;
    assert_eq!(fates(&snapshot), dropped("shutdown", 5));
    assert!(snapshot.is_balanced());
    run.offer(message(&destination, 10));
    assert_eq!(fates(&run.ledger.snapshot()), dropped("shutdown", 6));
}

#[tokio::test]
async fn a_sender_that_panics_is_accounted_for_and_replaced() {
    let ledger = Arc::new(ExchangeLedger::default());
    let account = Arc::new(Account::new(Arc::clone(&ledger)));
    let limits = ShipLimits {
        in_flight: 1,
        ..once()
    };
    let queue = Arc::new(Queue::new(limits, account));
    for _ in 0..2 {
        ledger.saw();
        queue.offer(message(&destination("http://127.0.0.1:9/"), 10));
    }
    queue.work().await;
    let mut claims = queue.claims(clock::instant());
    assert_eq!(claims.len(), 1);
    assert!(
        queue.claims(clock::instant()).is_empty(),
        "the lane has its one sender"
    );
    let claim = claims.remove(0);
    let sender = tokio::spawn(async move {
        let _ticket = taken(&claim);
        panic!("as a defect would");
    });
    assert!(sender.await.unwrap_err().is_panic());
    assert_eq!(fates(&ledger.snapshot()), dropped("shutdown", 1));
    tokio::time::timeout(BUDGET, queue.work()).await.unwrap();
    let claim = queue.claims(clock::instant()).remove(0);
    let ticket = taken(&claim).unwrap();
    ticket.ship();
    drop(claim);
    let snapshot = ledger.snapshot();
    assert_eq!(fates(&snapshot), (1, vec![("shutdown", 1)]));
    assert!(snapshot.is_balanced());
}

#[tokio::test]
async fn a_ticket_without_a_fate_is_counted() {
    let ledger = Arc::new(ExchangeLedger::default());
    let account = Arc::new(Account::new(Arc::clone(&ledger)));
    ledger.saw();
    let ticket = Ticket::new(
        message(&destination("http://127.0.0.1:9/"), 10),
        Arc::clone(&account),
        clock::instant(),
    );
    assert!(ledger.snapshot().is_balanced() && account.holds_any());
    drop(ticket);
    assert_eq!(fates(&ledger.snapshot()), dropped("shutdown", 1));
    assert!(ledger.snapshot().is_balanced() && !account.holds_any());
}

#[tokio::test]
async fn the_ledger_balances_whatever_mixture_it_meets() {
    let endpoints = [
        Endpoint::start(OK).await,
        Endpoint::start(Behaviour::Silent).await,
        Endpoint::start(Behaviour::HangsUp).await,
        Endpoint::start(Behaviour::Trickles).await,
        Endpoint::start(Behaviour::AnswersAndResets("HTTP/1.1 200 OK\r\n")).await,
        Endpoint::start(Behaviour::Answers("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")).await,
    ];
    let run = Run::start(ShipLimits {
        queue_messages: 100,
        queue_bytes: 100_000,
        in_flight: 3,
        drain_timeout: Duration::from_millis(100),
        ..once()
    });
    let mut destinations: Vec<Destination> = endpoints
        .iter()
        .map(|endpoint| {
            let mut destination = destination(&endpoint.url());
            destination.timeout_ms = 40;
            destination
        })
        .collect();
    // A busy machine must not make the good one look like the silent one.
    destinations[0].timeout_ms = 10_000;
    for round in 0..1200 {
        run.offer(message(&destinations[round % destinations.len()], round % 3000));
        if round % 50 == 0 {
            tokio::task::yield_now().await;
        }
        let stats = run.handle.stats();
        assert!(
            stats.queued_messages <= 100 && stats.queued_bytes <= 100_000,
            "{stats:?}"
        );
    }
    eventually("some of each", || {
        run.handle.stats().attempts > 60 && run.ledger.snapshot().shipped > 0
    })
    .await;
    let snapshot = run.stop().await;
    assert_eq!(snapshot.seen, 1200);
    assert!(snapshot.shipped > 0, "{snapshot:?}");
}
