//! What gives way when the queue is full, and what of it is counted.

use super::{ShipHandle, ShipLimits, destination, idle, once};
use crate::clock::{self, WallClock};
use crate::message::redact::Redaction;
use crate::message::tests::{config, exchange, nowhere};
use crate::message::{BuildInput, Message, Profile, build};
use crate::ship::account::Ticket;
use crate::ship::batch::AnswerForm;
use crate::ship::lane::Lent;
use crate::ship::lane::health::Ended;
use crate::ship::queue::claim::End;
use crate::ship::shed::{GoesFirst, ShedPolicy, ShedStats};
use crate::telemetry::ledger::{ExchangeLedger, LedgerSnapshot};

const SLOW: &str = "http://127.0.0.1:9/slow";
const OTHER: &str = "http://127.0.0.1:9/other";
const BODY_BYTES: usize = 1000;

/// The answer `status`, with a body of `BODY_BYTES`; the method tells messages apart.
fn message(url: &str, method: &str, status: u16) -> Message {
    let joined = exchange(method, "/", &[], "", status, &[], &"x".repeat(BODY_BYTES));
    build(&BuildInput {
        joined: &joined,
        request_headers: &joined.client.request.as_ref().unwrap().headers,
        resolution: &nowhere(),
        config: &config(true, url),
        profile: Profile::Extended,
        redaction: &Redaction::Default,
        decoded_bytes: 0,
        wall: WallClock { boot_unix_ns: 0 },
    })
}

/// Bytes of a message with its body, and without.
fn sizes() -> (usize, usize) {
    let whole = message(SLOW, "A", 200);
    let bare = whole.without_bodies().unwrap();
    (whole.json().len(), bare.json().len())
}

/// Offers messages, each named by a letter: `a` for a success, `A` for an error.
fn offer(handle: &ShipHandle, ledger: &ExchangeLedger, url: &str, names: &str) {
    for name in names.chars() {
        let status = if name.is_ascii_uppercase() { 503 } else { 200 };
        ledger.saw();
        handle.offer(message(url, &name.to_string(), status));
        assert!(ledger.snapshot().is_balanced());
    }
}

/// The names of what waits for `url`, in the order in which it would be sent; `-` follows those without a body.
fn waiting(handle: &ShipHandle, url: &str) -> String {
    let mut claims = handle.queue.claims(clock::instant());
    claims.retain(|claim| **claim.destination() == destination(url));
    let Some(claim) = claims.first() else {
        return String::new();
    };
    let mut names = String::new();
    while let Some(ticket) = claim.next(clock::instant()).pop() {
        let json: serde_json::Value = serde_json::from_slice(ticket.message().json()).unwrap();
        names += json["request"]["method"].as_str().unwrap();
        if json["response"]["body"] == "" {
            assert_eq!(json["kong"]["completeness"]["response"]["shed_in_queue"], true);
            names.push('-');
        }
        ticket.ship();
    }
    names
}

fn dropped(snapshot: &LedgerSnapshot) -> Vec<(&'static str, u64)> {
    let some = snapshot.dropped.iter().copied();
    some.filter(|(_, count)| *count > 0).collect()
}

/// Bodies by cause; dropped messages by reason, successes and errors. Only what there is.
type Counted = (Vec<(&'static str, u64)>, Vec<(&'static str, u64, u64)>);

fn counted(stats: &ShedStats) -> Counted {
    let bodies = stats.bodies.iter().map(|shed| (shed.cause, shed.messages));
    let dropped = stats.dropped.iter();
    let dropped = dropped.map(|of| (of.reason, of.successes, of.errors));
    (
        bodies.filter(|(_, messages)| *messages > 0).collect(),
        dropped
            .filter(|(_, successes, errors)| successes + errors > 0)
            .collect(),
    )
}

const DEFAULT: ShedPolicy = ShedPolicy {
    bodies: true,
    errors_last: true,
    first: GoesFirst::Newest,
};
const OLDEST: ShedPolicy = ShedPolicy {
    first: GoesFirst::Oldest,
    ..DEFAULT
};
const ALIKE: ShedPolicy = ShedPolicy {
    errors_last: false,
    ..DEFAULT
};
const WHOLE: ShedPolicy = ShedPolicy {
    bodies: false,
    ..DEFAULT
};

#[test]
fn what_gives_way_is_what_the_policy_says() {
    fn check(limits: ShipLimits, policy: ShedPolicy, names: &str, left: &str, counts: Counted) {
        let (handle, ledger, _shipper) = idle(ShipLimits {
            shed: policy,
            ..limits
        });
        offer(&handle, &ledger, SLOW, names);
        let stats = handle.stats();
        assert!(stats.queued_bytes <= limits.queue_bytes && stats.queued_messages <= limits.queue_messages);
        assert_eq!(counted(&stats.shed), counts, "{names} {policy:?}");
        let by_reason = counts
            .1
            .iter()
            .map(|(reason, successes, errors)| (*reason, successes + errors));
        assert_eq!(dropped(&ledger.snapshot()), by_reason.collect::<Vec<_>>());
        assert_eq!(waiting(&handle, SLOW), left, "{names} {policy:?}");
        assert!(ledger.snapshot().is_balanced());
    }
    let (whole, bare) = sizes();
    let bodies = |count| vec![("queue_full_bytes", count)];
    let full = |successes, errors| vec![("queue_full_count", successes, errors)];
    let by_bytes = |successes, errors| vec![("queue_full_bytes", successes, errors)];

    let three = ShipLimits {
        queue_messages: 3,
        ..once()
    };
    check(three, DEFAULT, "abc", "abc", (vec![], vec![]));
    check(three, DEFAULT, "abcde", "abc", (vec![], full(2, 0)));
    check(three, DEFAULT, "abcDE", "aDE", (vec![], full(2, 0)));
    check(three, DEFAULT, "ABCdE", "ABC", (vec![], full(1, 1)));
    check(three, OLDEST, "abcde", "cde", (vec![], full(2, 0)));
    check(three, OLDEST, "AbcDE", "ADE", (vec![], full(2, 0)));
    check(three, OLDEST, "ABCd", "ABC", (vec![], full(1, 0)));
    check(three, ALIKE, "abcDE", "abc", (vec![], full(0, 2)));

    // Room for two with bodies and one without.
    let room = ShipLimits {
        queue_bytes: 2 * whole + bare,
        ..once()
    };
    check(room, DEFAULT, "abc", "abc-", (bodies(1), vec![]));
    check(room, DEFAULT, "aBC", "a-BC", (bodies(1), vec![]));
    check(room, DEFAULT, "ABC", "ABC-", (bodies(1), vec![]));
    check(room, OLDEST, "abc", "a-bc", (bodies(1), vec![]));
    check(room, OLDEST, "Abc", "Ab-c", (bodies(1), vec![]));
    check(room, ALIKE, "abC", "abC-", (bodies(1), vec![]));
    check(room, WHOLE, "abc", "ab", (vec![], by_bytes(1, 0)));
    check(room, WHOLE, "abC", "aC", (vec![], by_bytes(1, 0)));

    // Room for three without bodies.
    let little = ShipLimits {
        queue_bytes: 3 * bare,
        ..once()
    };
    check(little, DEFAULT, "abcd", "a-b-c-", (bodies(4), by_bytes(1, 0)));
    check(little, DEFAULT, "abcD", "a-b-D-", (bodies(4), by_bytes(1, 0)));
    check(little, DEFAULT, "ABCd", "A-B-C-", (bodies(4), by_bytes(1, 0)));
    check(little, OLDEST, "abcd", "b-c-d-", (bodies(4), by_bytes(1, 0)));
}

#[test]
fn a_message_that_cannot_fit_costs_nobody_anything() {
    let (whole, bare) = sizes();
    for (limit, left) in [(whole, "a"), (whole - 1, "a-"), (bare, "a-"), (bare - 1, "")] {
        let (handle, ledger, _shipper) = idle(ShipLimits {
            queue_bytes: limit,
            ..once()
        });
        offer(&handle, &ledger, SLOW, "a");
        assert_eq!(waiting(&handle, SLOW), left, "{limit}");
    }
    let (handle, ledger, _shipper) = idle(ShipLimits {
        queue_bytes: 2 * bare,
        shed: WHOLE,
        ..once()
    });
    ledger.saw();
    handle.offer(message(SLOW, "a", 200).without_bodies().unwrap());
    offer(&handle, &ledger, SLOW, "B");
    assert_eq!(waiting(&handle, SLOW), "a-");
}

#[test]
fn who_holds_most_bytes_gives_way_first() {
    let (whole, bare) = sizes();
    let (handle, ledger, _shipper) = idle(ShipLimits {
        queue_bytes: 4 * whole,
        ..once()
    });
    offer(&handle, &ledger, SLOW, "abcd");
    offer(&handle, &ledger, OTHER, "ef");
    assert_eq!(handle.stats().queued_bytes, 2 * whole + 4 * bare);
    assert_eq!(waiting(&handle, SLOW), "a-b-c-d-");
    assert_eq!(waiting(&handle, OTHER), "ef");
}

#[test]
fn lowering_the_bound_sheds_at_once() {
    let (whole, bare) = sizes();
    let (handle, ledger, _shipper) = idle(once());
    offer(&handle, &ledger, SLOW, &"a".repeat(300));
    offer(&handle, &ledger, SLOW, "B");
    assert_eq!(handle.stats().limit_bytes, once().queue_bytes);

    handle.set_byte_limit(300 * bare + whole);
    let stats = handle.stats();
    assert_eq!(
        (stats.queued_bytes, stats.queued_messages),
        (300 * bare + whole, 301)
    );
    assert_eq!(counted(&stats.shed), (vec![("pressure", 300)], vec![]));
    assert_eq!(
        stats.shed.bodies[1].bytes,
        u64::try_from(300 * (whole - bare)).unwrap()
    );

    // What comes in meanwhile is no exception.
    offer(&handle, &ledger, SLOW, "c");
    let stats = handle.stats();
    assert_eq!(counted(&stats.shed).0, [("pressure", 302)], "`c` and `B`");

    handle.set_byte_limit(100 * bare);
    let stats = handle.stats();
    assert_eq!((stats.queued_messages, stats.limit_bytes), (100, 100 * bare));
    assert_eq!(counted(&stats.shed).1, [("queue_full_bytes", 202, 0)]);
    handle.set_byte_limit(usize::MAX);
    assert_eq!(handle.stats().limit_bytes, once().queue_bytes);
    offer(&handle, &ledger, SLOW, "d");
    assert_eq!(waiting(&handle, SLOW), format!("{}B-d", "a-".repeat(99)));
    assert!(ledger.snapshot().is_balanced());
}

#[test]
fn nothing_is_left_of_a_lane_that_gave_up_everything() {
    let (handle, ledger, _shipper) = idle(once());
    offer(&handle, &ledger, SLOW, "aB");
    offer(&handle, &ledger, OTHER, "c");
    handle.set_byte_limit(0);
    assert_eq!(handle.queue.lanes(), 0);
    offer(&handle, &ledger, SLOW, "d");
    assert_eq!(handle.queue.lanes(), 0);
    let snapshot = ledger.snapshot();
    assert_eq!(dropped(&snapshot), [("queue_full_bytes", 4)]);
    assert!(snapshot.is_balanced());
}

#[test]
fn what_is_under_way_is_not_shed() {
    let (handle, ledger, _shipper) = idle(once());
    let (_, bare) = sizes();
    offer(&handle, &ledger, SLOW, "ab");
    let now = clock::instant();
    let claim = handle.queue.claims(now).remove(0);
    let mut under_way: Vec<Ticket> = (0..2).flat_map(|_| claim.next(now)).collect();
    handle.set_byte_limit(bare);
    assert_eq!(handle.stats().queued_messages, 2);
    under_way.remove(0).ship();
    let ticket = under_way.remove(0);
    assert!(ticket.message().shed_bytes() > 0);

    // To be sent again, it waits.
    let again = vec![Lent { ticket, due: now }];
    let end = End {
        ended: Ended::Failed,
        form: AnswerForm::Other,
        last_failure: None,
    };
    claim.finish(end, again, now);
    let stats = handle.stats();
    assert_eq!((stats.queued_messages, stats.queued_bytes), (1, bare));
    assert_eq!(counted(&stats.shed), (vec![("pressure", 1)], vec![]));
    drop(claim);
    assert_eq!(waiting(&handle, SLOW), "b-");
    assert_eq!(ledger.snapshot().shipped, 2);
}

#[test]
fn a_queue_that_stays_full_stays_within_its_bounds() {
    let (whole, _) = sizes();
    let limits = ShipLimits {
        queue_messages: 200,
        queue_bytes: 100 * whole,
        ..once()
    };
    let samples = [
        message(SLOW, "a", 200),
        message(OTHER, "b", 200),
        message(SLOW, "C", 503),
    ];
    for policy in [DEFAULT, OLDEST, ALIKE, WHOLE] {
        let (handle, ledger, shipper) = idle(ShipLimits {
            shed: policy,
            ..limits
        });
        for round in 0..3000 {
            ledger.saw();
            handle.offer(samples[round % 7 % 3].clone());
            let stats = handle.stats();
            assert!(stats.queued_messages <= 200 && stats.queued_bytes <= limits.queue_bytes);
        }
        let snapshot = ledger.snapshot();
        assert!(snapshot.is_balanced() && snapshot.queued >= 99, "{snapshot:?}");
        drop(shipper);
        let stats = handle.stats();
        assert_eq!((stats.queued_messages, stats.queued_bytes), (0, 0));
        assert!(ledger.snapshot().is_balanced());
    }
}
