//! Each bound of the join by order, reached: at it all is as ever, and one over it nothing is made up.

use super::*;
use crate::correlate::order::assign::{COMPARED_MAX, CONCURRENT_MAX};
use crate::correlate::order::{CONTESTED_IDS_MAX, GONE_MAX};

/// Requests for `target` that are under way on the worker at the same time as client 10's.
fn crowd(target: &'static str, number: usize) -> Vec<OpenRequest> {
    (0..number)
        .map(|_| open(&with_target(client(99, 11, 41), target)))
        .collect()
}

/// A correlator that holds as much as it does by default.
fn roomy() -> Correlator {
    Correlator::new(CorrelatorLimits {
        grace_ns: GRACE_NS,
        ..CorrelatorLimits::default()
    })
}

/// What leaves after the grace when `offered` come at `now`, and how many were left apart until then.
fn settle(correlator: &mut Correlator, offered: Vec<Exchange>, now: u64) -> (Vec<String>, u64) {
    settle_beside(&[], correlator, offered, now)
}

/// The same while `open` are under way.
fn settle_beside(
    open: &[OpenRequest],
    correlator: &mut Correlator,
    offered: Vec<Exchange>,
    now: u64,
) -> (Vec<String>, u64) {
    let mut out = Vec::new();
    for exchange in offered {
        correlator.offer(exchange, KernelTime(now), &mut out);
    }
    correlator.sweep(KernelTime(now + GRACE_NS), open, &mut out);
    (show(&out), correlator.stats().left_apart)
}

#[test]
fn more_clients_at_once_than_are_looked_at_are_left_apart() {
    // Nobody else asked for what the leg is for.
    let pair = || {
        vec![
            with_line(leg(1, 20, 30), ("X-Forwarded-Path", "/a")),
            client(10, 10, 40),
        ]
    };
    let beside = |others| settle_beside(&crowd("/b", others), &mut roomy(), pair(), 1000);
    assert_eq!(beside(CONCURRENT_MAX - 1), (vec!["10<1".to_owned()], 0));
    // Who it may be for is not even looked at.
    assert_eq!(beside(CONCURRENT_MAX), (vec!["10<".to_owned()], 0));
}

#[test]
fn more_possible_clients_than_are_compared_are_left_apart() {
    // All asked for it, and client 10 alone in this trace.
    let pair = || {
        vec![
            with_line(leg(1, 20, 30), TRACE_1),
            with_line(client(10, 10, 40), TRACE_1),
        ]
    };
    let beside = |others| settle_beside(&crowd("/a", others), &mut roomy(), pair(), 1000);
    assert_eq!(beside(COMPARED_MAX - 1), (vec!["10<1".to_owned()], 0));
    assert_eq!(beside(COMPARED_MAX), (vec!["10<".to_owned()], 1));
}

#[test]
fn of_more_clients_that_left_than_are_kept_the_oldest_is_forgotten() {
    // They left unanswered at 1000 and were another worker's, so none of the legs below is theirs. Once one of them is forgotten,
    // nobody knows that of legs of its time.
    let after = |gone: usize| {
        let mut correlator = roomy();
        let left = on_worker(without_answer(client(99, 5, 8)), 12);
        settle(&mut correlator, vec![left; gone], 1000);
        let offered = vec![
            leg(1, 20, 30),
            client(10, 10, 40),
            leg(2, 1500, 1600),
            client(20, 1400, 1700),
        ];
        let (mut shown, left_apart) = settle(&mut correlator, offered, 3000);
        shown.retain(|shown| !shown.starts_with("99"));
        (shown.join(" "), left_apart)
    };
    assert_eq!(after(GONE_MAX), ("10<1 20<2".to_owned(), 0));
    assert_eq!(after(GONE_MAX + 1), ("10< 20<2".to_owned(), 1));
}

#[test]
fn more_ids_that_are_nobodys_than_are_kept_are_forgotten_together() {
    // Client 10 can have asked for all of the legs with an id. It left without them at 1000, and whoever comes later must not get
    // one: neither when they are remembered, nor when only their time is.
    let after = |contested: usize| {
        let mut correlator = roomy();
        let ids: Vec<String> = (0..contested).map(|number| format!("id-{number}")).collect();
        let with_id = |(number, id): (usize, &String)| {
            // One that fits nobody's answer, but for the first.
            let mut one = if number == 0 {
                leg(1, 15, 16)
            } else {
                with_status(leg(2, 20, 30), 404)
            };
            let headers = &mut one.request.as_mut().unwrap().headers;
            headers.push("X-Kong-Request-Id", id.clone());
            one
        };
        let mut offered: Vec<Exchange> = ids.iter().enumerate().map(with_id).collect();
        offered.push(client(10, 10, 40));
        assert_eq!(
            settle(&mut correlator, offered, 1000),
            (vec!["10<".to_owned()], 1)
        );
        let offered = vec![
            client(20, 12, 18), // Leg 1 lies in it, and no other.
            leg(3, 60, 70),
            client(30, 50, 80),
            leg(4, 1500, 1600),
            client(40, 1400, 1700),
        ];
        let (shown, left_apart) = settle(&mut correlator, offered, 3000);
        (shown.join(" "), left_apart)
    };
    assert_eq!(after(CONTESTED_IDS_MAX), ("20< 30<3 40<4".to_owned(), 2));
    assert_eq!(after(CONTESTED_IDS_MAX + 1), ("20< 30< 40<4".to_owned(), 3));
}
