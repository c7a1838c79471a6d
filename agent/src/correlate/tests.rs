use std::collections::BTreeSet;

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

use crate::capture::event::KernelTime;
use crate::correlate::fixture::{self, exchange, headers, request, response};
use crate::correlate::{Correlator, CorrelatorLimits, CorrelatorStats, Joined, REQUEST_ID_BYTES_MAX};
use crate::http::exchange::{Exchange, Leg, Outcome};
use crate::http::headers::Headers;

const WORKER: u32 = 11;
const OTHER_WORKER: u32 = 12;
const LIMITS: CorrelatorLimits = CorrelatorLimits {
    upstream_legs: 4,
    upstream_age_ns: 1000,
    waiting: 2,
    bytes: 1 << 20,
    grace_ns: 100,
};

fn with_id(id: &str, more: &[(&str, &str)]) -> Headers {
    let mut lines = more.to_vec();
    lines.push(("x-kong-request-id", id));
    headers(&lines)
}

/// A client's exchange that was proxied.
fn proxied(serial: u64, id: &str, status: u16) -> Exchange {
    let got = response(status, with_id(id, &[("via", "1.1 kong/3.9.1")]), serial);
    let sent = request(Headers::default(), serial);
    exchange(Leg::Downstream, WORKER, serial, Some(sent), Some(got))
}

/// A client's exchange that the gateway answered by itself.
fn refused(serial: u64, id: &str) -> Exchange {
    let got = response(401, with_id(id, &[("X-Kong-Response-Latency", "1")]), serial);
    let sent = request(Headers::default(), serial);
    exchange(Leg::Downstream, WORKER, serial, Some(sent), Some(got))
}

/// An upstream leg whose request started at `serial` and was answered.
fn leg(serial: u64, id: &str) -> Exchange {
    let mut leg = failed_leg(serial, id);
    leg.response = Some(response(200, Headers::default(), serial));
    leg
}

/// An upstream leg that ended before its response.
fn failed_leg(serial: u64, id: &str) -> Exchange {
    let sent = request(with_id(id, &[]), serial);
    exchange(Leg::Upstream, WORKER, serial, Some(sent), None)
}

fn on_worker(worker: u32, mut exchange: Exchange) -> Exchange {
    exchange.conn.id.tgid = worker;
    exchange
}

/// Something that happens to a correlator.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "tests make few of them, and plain values keep the tables readable"
)]
enum Step {
    Offer(Exchange),
    Sweep,
    Flush,
}

fn apply(correlator: &mut Correlator, step: Step, at: u64) -> Vec<Joined> {
    let mut out = Vec::new();
    match step {
        Step::Offer(exchange) => correlator.offer(exchange, KernelTime(at), &mut out),
        Step::Sweep => correlator.sweep(KernelTime(at), &[], &mut out),
        Step::Flush => correlator.flush(&mut out),
    }
    out
}

fn serial(exchange: &Exchange) -> u64 {
    exchange.conn.id.generation_ns
}

/// `10<1,2` is client 10 with legs 1 and 2, `orphan 3` an orphan.
fn show(joined: &Joined) -> String {
    match joined {
        Joined::Exchange(joined) => {
            let legs: Vec<String> = joined
                .upstream
                .iter()
                .map(|leg| serial(leg).to_string())
                .collect();
            format!("{}<{}", serial(&joined.client), legs.join(","))
        }
        Joined::Orphan(leg) => format!("orphan {}", serial(leg)),
    }
}

fn figure(stats: &CorrelatorStats, name: &str) -> u64 {
    stats
        .named()
        .find_map(|(other, figure)| (other == name).then_some(figure))
        .unwrap_or_else(|| panic!("there is no figure {name}"))
}

/// Runs `steps`, each with its time, its expected output and after it all the figures that are not zero.
#[track_caller]
fn check(what: &str, steps: Vec<(u64, Step, &[&str])>, figures: &[(&str, u64)]) {
    let mut correlator = Correlator::new(LIMITS);
    for (at, step, expected) in steps {
        let out: Vec<String> = apply(&mut correlator, step, at).iter().map(show).collect();
        assert_eq!(out, expected, "{what}, at {at}");
    }
    let stats = correlator.stats();
    let left: Vec<(&str, u64)> = stats
        .named()
        .filter(|(name, figure)| *figure > 0 && *name != "held_bytes")
        .collect();
    assert_eq!(left, figures, "{what}");
}

#[test]
fn legs_meet_by_request_id() {
    use Step::{Flush, Offer, Sweep};
    check(
        "the upstream leg is there first",
        vec![
            (0, Offer(leg(1, "a")), &[]),
            (5, Offer(proxied(10, "a", 200)), &["10<1"]),
            (9, Flush, &[]),
        ],
        &[("joined", 1)],
    );
    check(
        "a waiting client leaves with the leg that arrives",
        vec![
            (0, Offer(proxied(10, "a", 200)), &[]),
            (99, Sweep, &[]),
            (99, Offer(leg(1, "a")), &["10<1"]),
            (500, Sweep, &[]),
        ],
        &[("joined", 1)],
    );
    check(
        "a waiting client leaves alone when the grace has run out, and its late leg is held for its age",
        vec![
            (0, Offer(proxied(10, "a", 502)), &[]),
            (100, Sweep, &["10<"]),
            (101, Offer(leg(1, "a")), &[]),
            (1100, Sweep, &[]),
            (1101, Sweep, &["orphan 1"]),
        ],
        &[("grace_expired", 1), ("orphans", 1)],
    );
    check(
        "attempts attach in the order of their requests, whatever order they came in",
        vec![
            (0, Offer(leg(3, "a")), &[]),
            (0, Offer(failed_leg(1, "a")), &[]),
            (0, Offer(failed_leg(2, "a")), &[]),
            (0, Offer(proxied(10, "a", 200)), &["10<1,2,3"]),
        ],
        &[("joined", 1), ("retries", 2)],
    );
    check(
        "a failed attempt is not what served a 200",
        vec![
            (0, Offer(failed_leg(1, "a")), &[]),
            (0, Offer(proxied(10, "a", 200)), &[]),
            (1, Offer(leg(2, "a")), &["10<1,2"]),
        ],
        &[("joined", 1), ("retries", 1)],
    );
    check(
        "with nothing but a failed attempt a 200 leaves after the grace",
        vec![
            (0, Offer(proxied(10, "a", 200)), &[]),
            (1, Offer(failed_leg(1, "a")), &[]),
            (100, Sweep, &["10<1"]),
        ],
        &[("joined", 1)],
    );
    check(
        "a 502 is the answer to failed attempts",
        vec![
            (0, Offer(failed_leg(1, "a")), &[]),
            (0, Offer(failed_leg(2, "a")), &[]),
            (0, Offer(proxied(10, "a", 502)), &["10<1,2"]),
        ],
        &[("joined", 1), ("retries", 1)],
    );
    check(
        "what the gateway answered itself does not wait",
        vec![(0, Offer(refused(10, "a")), &["10<"])],
        &[("answered_by_gateway", 1)],
    );
    check(
        "either of the two headers shows that it was proxied",
        vec![
            (0, Offer(latency_only(10, "a")), &[]),
            (0, Offer(leg(1, "a")), &["10<1"]),
        ],
        &[("joined", 1)],
    );
    check(
        "another worker's leg of the same id is another request's",
        vec![
            (0, Offer(on_worker(OTHER_WORKER, leg(1, "a"))), &[]),
            (0, Offer(proxied(10, "a", 200)), &[]),
            (0, Flush, &["10<", "orphan 1"]),
        ],
        &[("grace_expired", 1), ("orphans", 1)],
    );
}

#[test]
fn every_kind_of_retry_is_one_exchange() {
    use Step::{Flush, Offer, Sweep};
    let answered = |serial, status| {
        let mut leg = leg(serial, "a");
        leg.response.as_mut().unwrap().status = status;
        leg
    };
    let gone = |serial| {
        let mut client = proxied(serial, "a", 200);
        client.response = None;
        client.outcome = Outcome::ResponseAbsent;
        client
    };
    check(
        "502 from the first, 200 from the second",
        vec![
            (0, Offer(answered(1, 502)), &[]),
            (0, Offer(answered(2, 200)), &[]),
            (0, Offer(proxied(10, "a", 200)), &["10<1,2"]),
        ],
        &[("joined", 1), ("retries", 1)],
    );
    check(
        "timeouts all the way to a 504",
        vec![
            (0, Offer(failed_leg(1, "a")), &[]),
            (0, Offer(failed_leg(2, "a")), &[]),
            (0, Offer(proxied(10, "a", 504)), &["10<1,2"]),
        ],
        &[("joined", 1), ("retries", 1)],
    );
    check(
        "no connection: there is no leg, and a 502 after the grace",
        vec![(0, Offer(proxied(10, "a", 502)), &[]), (100, Sweep, &["10<"])],
        &[("grace_expired", 1)],
    );
    let mut steps: Vec<(u64, Step, &[&str])> = Vec::new();
    for serial in 1..=3 {
        steps.push((0, Offer(failed_leg(serial, "a")), &[]));
    }
    steps.push((0, Offer(leg(4, "a")), &[]));
    steps.push((0, Offer(proxied(10, "a", 200)), &["10<1,2,3,4"]));
    check("as many as are held", steps, &[("joined", 1), ("retries", 3)]);
    check(
        "the client was gone during the retry, and there is no answer to name an id: nothing says for whom the legs were",
        vec![
            (0, Offer(failed_leg(11, "a")), &[]),
            (0, Offer(failed_leg(12, "a")), &[]),
            (20, Offer(gone(10)), &[]),
            (120, Sweep, &["10<"]),
            (120, Flush, &["orphan 11", "orphan 12"]),
        ],
        &[("left_apart", 1), ("without_request_id", 1), ("orphans", 2)],
    );
}

#[test]
fn more_attempts_than_ten_are_one_exchange() {
    let mut correlator = Correlator::new(CorrelatorLimits::default());
    let mut out = Vec::new();
    for serial in 1..=30 {
        correlator.offer(failed_leg(serial, "a"), KernelTime(serial), &mut out);
    }
    correlator.offer(leg(31, "a"), KernelTime(31), &mut out);
    correlator.offer(proxied(100, "a", 200), KernelTime(32), &mut out);
    let [Joined::Exchange(joined)] = &out[..] else {
        panic!("{out:?}");
    };
    assert_eq!(joined.upstream.len(), 31);
    assert_eq!(serial(joined.upstream.last().unwrap()), 31);
    assert_eq!(correlator.stats().retries, 30);
}

fn latency_only(serial: u64, id: &str) -> Exchange {
    let got = response(200, with_id(id, &[("X-Kong-Upstream-Latency", "1")]), serial);
    exchange(Leg::Downstream, WORKER, serial, None, Some(got))
}

#[test]
fn an_id_that_comes_twice_neither_steals_nor_shares() {
    use Step::{Flush, Offer, Sweep};
    check(
        "after the first has left with the leg",
        vec![
            (0, Offer(leg(1, "a")), &[]),
            (0, Offer(proxied(10, "a", 200)), &["10<1"]),
            (0, Offer(proxied(20, "a", 200)), &[]),
            (100, Sweep, &["20<"]),
        ],
        &[("joined", 1), ("grace_expired", 1)],
    );
    check(
        "while the first waits",
        vec![
            (0, Offer(proxied(10, "a", 200)), &[]),
            (0, Offer(proxied(20, "a", 200)), &["20<"]),
            (0, Offer(leg(1, "a")), &["10<1"]),
            (0, Flush, &[]),
        ],
        &[("joined", 1), ("duplicate_ids", 1)],
    );
}

#[test]
fn without_an_id_only_what_may_be_joined_otherwise_is_held() {
    use Step::{Offer, Sweep};
    let long = "f".repeat(REQUEST_ID_BYTES_MAX + 1);
    let longest = "f".repeat(REQUEST_ID_BYTES_MAX);
    let bare = |leg: Leg, serial: u64| exchange(leg, WORKER, serial, None, None);
    check(
        "heads that were lost",
        vec![
            (0, Offer(bare(Leg::Upstream, 1)), &["orphan 1"]),
            (0, Offer(bare(Leg::Downstream, 10)), &["10<"]),
        ],
        &[("without_request_id", 1), ("orphans", 1)],
    );
    check(
        "ids that are none",
        vec![
            (0, Offer(leg(1, "")), &["orphan 1"]),
            (0, Offer(leg(2, &long)), &["orphan 2"]),
            (0, Offer(proxied(10, "", 200)), &[]),
            (0, Offer(proxied(20, &long, 200)), &[]),
            (0, Offer(leg(3, &longest)), &[]),
            (0, Offer(proxied(30, &longest, 200)), &["30<3"]),
            (100, Sweep, &["10<", "20<"]),
        ],
        &[("joined", 1), ("without_request_id", 2), ("orphans", 2)],
    );
}

#[test]
fn the_oldest_make_room() {
    use Step::{Flush, Offer};
    check(
        "upstream legs",
        vec![
            (0, Offer(leg(1, "a")), &[]),
            (0, Offer(leg(2, "b")), &[]),
            (0, Offer(leg(3, "a")), &[]),
            (0, Offer(leg(4, "c")), &[]),
            (0, Offer(leg(5, "d")), &["orphan 1"]),
            (0, Offer(proxied(10, "a", 200)), &["10<3"]),
            (0, Offer(leg(6, "e")), &[]),
        ],
        &[
            ("joined", 1),
            ("orphans", 1),
            ("evicted", 1),
            ("upstream_held", 4),
        ],
    );
    check(
        "a leg that had to go leaves no trace",
        vec![
            (0, Offer(leg(1, "a")), &[]),
            (1000, Step::Sweep, &["orphan 1"]),
            (1000, Offer(refused(10, "a")), &["10<"]),
        ],
        &[("answered_by_gateway", 1), ("orphans", 1)],
    );
    check(
        "waiting clients",
        vec![
            (0, Offer(failed_leg(1, "a")), &[]),
            (0, Offer(proxied(10, "a", 200)), &[]),
            (0, Offer(proxied(20, "b", 200)), &[]),
            (0, Offer(proxied(30, "c", 200)), &["10<1"]),
            (0, Offer(proxied(40, "d", 200)), &["20<"]),
            (0, Flush, &["30<", "40<"]),
        ],
        &[("joined", 1), ("grace_expired", 3), ("evicted", 2)],
    );
}

#[test]
fn what_waits_is_bounded_by_its_bytes_and_the_oldest_of_the_most_leaves() {
    let padded = |mut exchange: Exchange, bytes: usize| {
        let request = exchange.request.as_mut().unwrap();
        request.body.bytes = vec![b'x'; bytes].into();
        exchange
    };
    let mut correlator = Correlator::new(CorrelatorLimits {
        upstream_legs: 100,
        waiting: 100,
        bytes: 40_000,
        ..LIMITS
    });
    let mut out = Vec::new();
    for serial in 0..100 {
        let at = KernelTime(serial);
        let id = format!("c{serial}");
        correlator.offer(padded(proxied(serial, &id, 200), 2000), at, &mut out);
        let id = format!("l{serial}");
        correlator.offer(padded(leg(1000 + serial, &id), 100), at, &mut out);
        assert!(correlator.stats().held_bytes <= 40_000);
    }
    let stats = correlator.stats();
    assert!(stats.waiting > 5 && stats.upstream_held > 5, "{stats:?}");
    let left: Vec<u64> = out.iter().flat_map(serials).collect();
    assert_eq!(u64::try_from(left.len()).unwrap(), stats.evicted);
    let clients: Vec<u64> = left.iter().copied().filter(|serial| *serial < 1000).collect();
    assert!(
        clients.is_sorted() && clients[0] == 0,
        "the oldest first: {clients:?}"
    );
    let (clients, legs) = (clients.len(), left.len() - clients.len());
    assert!(clients > 0 && legs > 0, "{clients} clients, {legs} legs");
    correlator.flush(&mut out);
    assert_eq!(correlator.stats().held_bytes, 0);
}

#[test]
fn the_recorded_gateway_is_joined() {
    for legs_first in [true, false] {
        let mut correlator = Correlator::new(CorrelatorLimits::default());
        let mut out = Vec::new();
        let mut legs = fixture::recorded_upstream_legs();
        let mut clients: Vec<Exchange> = fixture::recorded_calls()
            .into_iter()
            .map(|call| call.client)
            .collect();
        let offered = if legs_first {
            legs.append(&mut clients);
            legs
        } else {
            clients.append(&mut legs);
            clients
        };
        for exchange in offered {
            correlator.offer(exchange, KernelTime(1), &mut out);
        }
        correlator.sweep(KernelTime(1).plus_ns(500_000_000), &[], &mut out);
        let stats = correlator.stats();
        // 52 calls: seven refused by Kong, one to a port where nothing listens, one that took seven attempts.
        assert_eq!(figure(&stats, "joined"), 44, "legs first: {legs_first}");
        assert_eq!(
            figure(&stats, "answered_by_gateway"),
            7,
            "legs first: {legs_first}"
        );
        assert_eq!(figure(&stats, "grace_expired"), 1, "legs first: {legs_first}");
        let held = figure(&stats, "retries") + figure(&stats, "upstream_held");
        assert_eq!(held, 6, "legs first: {legs_first}");
        if legs_first {
            assert_eq!(figure(&stats, "retries"), 6);
        }
    }
}

/// An exchange of either leg, from few workers and ids so that they collide. The serial number is filled in later.
fn any_exchange() -> impl Strategy<Value = Exchange> {
    let id = prop_oneof![1 => Just(None), 6 => (0..4_u8).prop_map(Some)];
    (any::<[bool; 3]>(), id, 0..2_u32, 0..50_u64).prop_map(
        |([is_client, is_proxied, has_response], id, worker, started)| {
            let id = id.map(|id| id.to_string());
            let named = match &id {
                Some(id) => with_id(id, &[]),
                None => Headers::default(),
            };
            let status = if started % 5 == 0 { 502 } else { 200 };
            if is_client {
                let mut got = response(status, named, started);
                if is_proxied {
                    got.headers.push("Via", "1.1 kong/3.9.1");
                }
                let got = has_response.then_some(got);
                exchange(
                    Leg::Downstream,
                    worker,
                    0,
                    Some(request(Headers::default(), started)),
                    got,
                )
            } else {
                let got = has_response.then(|| response(status, Headers::default(), started));
                exchange(Leg::Upstream, worker, 0, Some(request(named, started)), got)
            }
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => any_exchange().prop_map(Step::Offer),
        2 => Just(Step::Sweep),
        1 => Just(Step::Flush),
    ]
}

fn any_limits() -> impl Strategy<Value = CorrelatorLimits> {
    (0..6_usize, 0..200_u64, 0..4_usize, 0..20_000_usize, 0..60_u64).prop_map(
        |(upstream_legs, upstream_age_ns, waiting, bytes, grace_ns)| CorrelatorLimits {
            upstream_legs,
            upstream_age_ns,
            waiting,
            bytes,
            grace_ns,
        },
    )
}

fn id_of(headers: Option<&Headers>) -> Option<&str> {
    headers.and_then(|headers| headers.text("x-kong-request-id"))
}

/// Whether everything that left together belongs together, in order.
fn assert_belongs_together(joined: &Joined) {
    let Joined::Exchange(joined) = joined else {
        return;
    };
    let mut last_start = None;
    for leg in &joined.upstream {
        assert_eq!(leg.leg, Leg::Upstream);
        assert_eq!(leg.conn.id.tgid, joined.client.conn.id.tgid);
        let id = id_of(leg.request.as_ref().map(|request| &request.headers));
        assert!(id.is_some());
        assert_eq!(
            id,
            id_of(joined.client.response.as_ref().map(|response| &response.headers))
        );
        let start = leg.request.as_ref().map(|request| request.started);
        assert!(last_start <= start, "attempts are in the order of their requests");
        last_start = start;
    }
    assert_eq!(joined.client.leg, Leg::Downstream);
}

fn serials(joined: &Joined) -> Vec<u64> {
    match joined {
        Joined::Exchange(joined) => {
            let legs = joined.upstream.iter().map(serial);
            legs.chain([serial(&joined.client)]).collect()
        }
        Joined::Orphan(leg) => vec![serial(leg)],
    }
}

proptest! {
    #[test]
    fn every_exchange_leaves_exactly_once(
        limits in any_limits(),
        steps in prop::collection::vec((any_step(), 0..40_u64), 0..120),
    ) {
        let mut correlator = Correlator::new(limits);
        let mut offered = 0;
        let mut left = BTreeSet::new();
        let mut at = 0;
        let ending = [(Step::Flush, 0)];
        for (mut step, passed) in steps.into_iter().chain(ending) {
            at += passed;
            if let Step::Offer(exchange) = &mut step {
                offered += 1;
                exchange.conn.id.generation_ns = offered;
            }
            for joined in apply(&mut correlator, step, at) {
                assert_belongs_together(&joined);
                for serial in serials(&joined) {
                    assert!(left.insert(serial), "{serial} left twice");
                }
            }
            let stats = correlator.stats();
            let held = stats.upstream_held + stats.waiting;
            let clients = stats.joined + stats.answered_by_gateway + stats.without_request_id
                + stats.grace_expired + stats.duplicate_ids;
            let legs = stats.joined + stats.retries + stats.orphans;
            let gone = u64::try_from(left.len()).expect("a small number");
            assert_eq!(clients + legs, gone, "each figure counts what left");
            assert_eq!(gone + held, offered, "nothing is lost");
            assert!(stats.held_bytes <= u64::try_from(limits.bytes).expect("a small number"));
            assert_eq!(stats.held_bytes == 0, held == 0, "each holds something, nothing holds nothing");
            assert!(stats.upstream_held <= 2 * u64::try_from(limits.upstream_legs).expect("a small number"));
            assert!(stats.waiting <= 2 * u64::try_from(limits.waiting).expect("a small number"));
        }
        assert_eq!(left, (1..=offered).collect());
    }
}
