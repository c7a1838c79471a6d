//! The bounds of the queue, and who gets what of it.

use std::time::Duration;

use super::{destination, dropped, fates, idle, message, once, taken};
use crate::clock;
use crate::ship::ShipLimits;
use crate::ship::batch::AnswerForm;
use crate::ship::lane::Lent;
use crate::ship::lane::health::Ended;
use crate::ship::queue::claim::End;
use crate::ship::shed::ShedPolicy;

#[tokio::test]
async fn the_queue_is_bounded_by_count() {
    let (handle, ledger, shipper) = idle(ShipLimits {
        queue_messages: 3,
        ..once()
    });
    let destination = destination("http://127.0.0.1:9/");
    for _ in 0..5 {
        ledger.saw();
        handle.offer(message(&destination, 10));
    }
    let snapshot = ledger.snapshot();
    assert_eq!(snapshot.queued, 3);
    assert_eq!(fates(&snapshot), dropped("queue_full_count", 2));
    assert!(snapshot.is_balanced());
    drop(shipper);
    let snapshot = ledger.snapshot();
    assert_eq!(
        fates(&snapshot),
        (0, vec![("queue_full_count", 2), ("shutdown", 3)])
    );
    assert!(snapshot.is_balanced());
}

#[tokio::test]
async fn the_queue_is_bounded_by_bytes() {
    let destination = destination("http://127.0.0.1:9/");
    let one = message(&destination, 1000).json().len();
    let (handle, ledger, shipper) = idle(ShipLimits {
        queue_bytes: 2 * one + one / 2,
        shed: ShedPolicy {
            bodies: false,
            ..ShedPolicy::default()
        },
        ..once()
    });
    for bytes in [1000, 1000, 1000, 100_000] {
        ledger.saw();
        handle.offer(message(&destination, bytes));
    }
    assert_eq!(handle.stats().queued_bytes, 2 * one);
    let snapshot = ledger.snapshot();
    assert_eq!(fates(&snapshot), dropped("queue_full_bytes", 2));
    assert!(snapshot.is_balanced());
    drop(shipper);
    assert!(ledger.snapshot().is_balanced());
    assert_eq!(handle.stats().queued_bytes, 0);
}

#[tokio::test]
async fn a_full_queue_is_shared_between_destinations() {
    let (handle, ledger, _shipper) = idle(ShipLimits {
        queue_messages: 10,
        ..once()
    });
    let slow = destination("http://127.0.0.1:9/slow");
    let other = destination("http://127.0.0.1:10/other");
    for _ in 0..20 {
        ledger.saw();
        handle.offer(message(&slow, 10));
    }
    assert_eq!(fates(&ledger.snapshot()), dropped("queue_full_count", 10));
    // Each of these costs the slow one a message, until both hold the same.
    for _ in 0..20 {
        ledger.saw();
        handle.offer(message(&other, 10));
    }
    let snapshot = ledger.snapshot();
    assert_eq!(snapshot.queued, 10);
    assert_eq!(fates(&snapshot), dropped("queue_full_count", 30));
    assert!(snapshot.is_balanced());
    let mut held = handle.queue.claims(clock::instant());
    held.retain(|claim| **claim.destination() == other);
    let taken = std::iter::from_fn(|| taken(&held[0])).count();
    assert_eq!(taken, 5);
}

#[test]
fn a_repeat_that_falls_due_behind_a_look_is_not_slept_through() {
    let (handle, ledger, _shipper) = idle(once());
    ledger.saw();
    handle.offer(message(&destination("http://127.0.0.1:9/"), 10));
    let now = clock::instant();
    let due = now + Duration::from_millis(1);
    let claim = handle.queue.claims(now).remove(0);
    let ticket = taken(&claim).unwrap();
    let end = End {
        ended: Ended::Failed,
        form: AnswerForm::Other,
        last_failure: None,
    };
    claim.finish(end, vec![Lent { ticket, due }], now);
    assert!(claim.next(now).is_empty());
    drop(claim);
    assert!(handle.queue.claims(now).is_empty());
    assert_eq!(handle.queue.next_due(), Some(due));
    assert_eq!(handle.queue.claims(due).len(), 1);
    assert_eq!(handle.queue.next_due(), None);
}
