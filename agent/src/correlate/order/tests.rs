mod limits;

use std::net::SocketAddr;

use crate::capture::event::KernelTime;
use crate::correlate::fixture::{self, headers};
use crate::correlate::{Correlator, CorrelatorLimits, Joined, JoinedBy};
use crate::http::exchange::{Exchange, HeadState, Leg, Outcome};
use crate::http::headers::Headers;
use crate::http::open::{OpenHead, OpenRequest};

const WORKER: u32 = 11;
const PEER: &str = "203.0.113.9";
const OTHER_PEER: &str = "203.0.113.10";
const TRACE_1: (&str, &str) = (
    "traceparent",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
);
const TRACE_2: (&str, &str) = (
    "traceparent",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
);

/// A client's `GET /a` from `from` to `to`, answered 200 half a tick before its end, proxied by a Kong without request ids.
fn client(serial: u64, from: u64, to: u64) -> Exchange {
    let sent = fixture::request(headers(&[("Host", "api.example.com"), ("Accept", "*/*")]), from);
    let got = fixture::response(200, headers(&[("Via", "kong/2.8.5")]), to);
    let mut client = fixture::exchange(Leg::Downstream, WORKER, serial, Some(sent), Some(got));
    client.conn.remote = SocketAddr::new(PEER.parse().unwrap(), 50_000);
    with_target(client, "/a")
}

/// The upstream's leg of such a request, answered 200.
fn leg(serial: u64, from: u64, to: u64) -> Exchange {
    let passed_on = headers(&[
        ("Host", "up"),
        ("X-Forwarded-For", PEER),
        ("X-Real-IP", PEER),
        ("Accept", "*/*"),
    ]);
    let sent = fixture::request(passed_on, from);
    let got = fixture::response(200, Headers::default(), to);
    fixture::exchange(Leg::Upstream, WORKER, serial, Some(sent), Some(got))
}

/// A leg that got no answer.
fn failed(serial: u64, from: u64) -> Exchange {
    let mut leg = leg(serial, from, from);
    leg.response = None;
    leg.outcome = Outcome::ResponseAbsent;
    leg
}

fn with_target(mut exchange: Exchange, target: &'static str) -> Exchange {
    exchange.request.as_mut().unwrap().target = target.into();
    exchange
}

fn with_method(mut exchange: Exchange, method: &'static str) -> Exchange {
    exchange.request.as_mut().unwrap().method = method.into();
    exchange
}

fn with_line(mut exchange: Exchange, (name, value): (&'static str, &'static str)) -> Exchange {
    let lines = &mut exchange.request.as_mut().unwrap().headers;
    lines
        .0
        .retain(|line| !line.name.eq_ignore_ascii_case(name.as_bytes()));
    lines.push(name, value);
    exchange
}

fn with_answer_line(mut exchange: Exchange, (name, value): (&'static str, &'static str)) -> Exchange {
    exchange.response.as_mut().unwrap().headers.push(name, value);
    exchange
}

fn with_status(mut exchange: Exchange, status: u16) -> Exchange {
    exchange.response.as_mut().unwrap().status = status;
    exchange
}

fn without_answer(mut exchange: Exchange) -> Exchange {
    exchange.response = None;
    exchange.outcome = Outcome::ResponseAbsent;
    exchange
}

fn from_peer(mut client: Exchange, peer: &str) -> Exchange {
    client.conn.remote.set_ip(peer.parse().unwrap());
    client
}

fn on_worker(mut exchange: Exchange, worker: u32) -> Exchange {
    exchange.conn.id.tgid = worker;
    exchange
}

fn over_tls(mut client: Exchange) -> Exchange {
    client.conn.tls = true;
    client
}

/// The same request, while it is under way.
fn open(client: &Exchange) -> OpenRequest {
    let request = client.request.as_ref().unwrap();
    OpenRequest {
        conn: client.conn,
        started: request.started,
        answered: None,
        head: Some(OpenHead {
            target: request.target.clone(),
            headers: request.headers.clone(),
            is_whole: true,
        }),
    }
}

const GRACE_NS: u64 = 1000;

fn correlator() -> Correlator {
    Correlator::new(CorrelatorLimits {
        upstream_legs: 64,
        upstream_age_ns: 100_000,
        waiting: 64,
        bytes: 1 << 20,
        grace_ns: GRACE_NS,
    })
}

/// `10<1,2` is client 10 with legs 1 and 2.
fn show(out: &[Joined]) -> Vec<String> {
    let serial = |exchange: &Exchange| exchange.conn.id.generation_ns;
    let mut shown = Vec::new();
    for joined in out {
        if let Joined::Exchange(joined) = joined {
            let legs: Vec<String> = joined
                .upstream
                .iter()
                .map(|leg| serial(leg).to_string())
                .collect();
            shown.push(format!("{}<{}", serial(&joined.client), legs.join(",")));
            let by = (!legs.is_empty()).then_some(JoinedBy::Order);
            assert_eq!(joined.joined_by(), by);
        }
    }
    shown.sort();
    shown
}

/// Offers all of it at time 1000, sweeps after the grace with `open` under way, and compares what left: `10<1` or `10<`.
#[track_caller]
fn check(what: &str, offered: Vec<Exchange>, open: &[OpenRequest], expected: &[&str]) {
    let mut correlator = correlator();
    let mut out = Vec::new();
    for exchange in offered {
        correlator.offer(exchange, KernelTime(1000), &mut out);
    }
    correlator.sweep(KernelTime(1000 + GRACE_NS), open, &mut out);
    assert_eq!(show(&out), expected, "{what}");
    let stats = correlator.stats();
    let by_order = expected.iter().filter(|shown| !shown.ends_with('<')).count();
    assert_eq!(stats.joined_by_order, u64::try_from(by_order).unwrap(), "{what}");
    assert_eq!(stats.joined, stats.joined_by_order, "{what}");
}

#[test]
fn a_lone_request_is_joined() {
    check("plain", vec![leg(1, 20, 30), client(10, 10, 40)], &[], &["10<1"]);
    check(
        "in the other order",
        vec![client(10, 10, 40), leg(1, 20, 30)],
        &[],
        &["10<1"],
    );
    check(
        "path, method and credentials changed by plugins",
        vec![
            with_target(with_method(leg(1, 20, 30), "POST"), "/elsewhere?x=1"),
            with_target(with_line(client(10, 10, 40), ("apikey", "k")), "/a?apikey=k"),
        ],
        &[],
        &["10<1"],
    );
    check(
        "the client names addresses of its own",
        vec![
            with_line(leg(1, 20, 30), ("X-Forwarded-For", "192.0.2.1, 203.0.113.9")),
            with_line(client(10, 10, 40), ("X-Forwarded-For", "192.0.2.1")),
        ],
        &[],
        &["10<1"],
    );
    check(
        "a trusted proxy names the client",
        vec![
            with_line(leg(1, 20, 30), ("X-Forwarded-For", "192.0.2.1")),
            with_line(client(10, 10, 40), ("X-Real-IP", "192.0.2.1")),
        ],
        &[],
        &["10<1"],
    );
    check(
        "a tracing plugin put its own span in",
        vec![
            with_line(
                leg(1, 20, 30),
                (
                    "traceparent",
                    "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
                ),
            ),
            with_line(client(10, 10, 40), TRACE_1),
        ],
        &[],
        &["10<1"],
    );
    check(
        "the client went away",
        vec![leg(1, 20, 30), without_answer(client(10, 10, 40))],
        &[],
        &["10<1"],
    );
    check(
        "nothing in the answer says that it was proxied",
        vec![leg(1, 20, 30), {
            let mut bare = client(10, 10, 40);
            bare.response.as_mut().unwrap().headers = Headers::default();
            bare
        }],
        &[],
        &["10<1"],
    );
    check(
        "one after another",
        vec![
            leg(1, 20, 30),
            client(10, 10, 40),
            leg(2, 60, 70),
            client(20, 50, 80),
        ],
        &[],
        &["10<1", "20<2"],
    );
    check(
        "beside calls of the gateway's own",
        vec![
            with_line(leg(1, 20, 30), ("X-Forwarded-For", PEER)),
            fixture::exchange(
                Leg::Upstream,
                WORKER,
                2,
                Some(fixture::request(headers(&[("Host", "logs")]), 22)),
                Some(fixture::response(200, Headers::default(), 25)),
            ),
            client(10, 10, 40),
        ],
        &[],
        &["10<1"],
    );
}

#[test]
fn what_cannot_be_is_not_considered() {
    let alone: &[&str] = &["10<"];
    let pairs = [
        ("before the request", leg(1, 5, 30), client(10, 10, 40)),
        ("after the answer", leg(1, 41, 50), client(10, 10, 40)),
        (
            "answered after the client was",
            leg(1, 20, 50),
            client(10, 10, 40),
        ),
        (
            "of another worker",
            on_worker(leg(1, 20, 30), 12),
            client(10, 10, 40),
        ),
        (
            "for another address",
            leg(1, 20, 30),
            from_peer(client(10, 10, 40), OTHER_PEER),
        ),
        (
            "for another list of addresses",
            with_line(leg(1, 20, 30), ("X-Forwarded-For", "192.0.2.1, 203.0.113.9")),
            client(10, 10, 40),
        ),
        (
            "for another path",
            with_line(leg(1, 20, 30), ("X-Forwarded-Path", "/b")),
            client(10, 10, 40),
        ),
        (
            "for another host",
            with_line(leg(1, 20, 30), ("X-Forwarded-Host", "www.example.com")),
            client(10, 10, 40),
        ),
        (
            "for another scheme",
            with_line(leg(1, 20, 30), ("X-Forwarded-Proto", "http")),
            over_tls(client(10, 10, 40)),
        ),
        (
            "answered otherwise",
            with_status(leg(1, 20, 30), 404),
            client(10, 10, 40),
        ),
        (
            "answered at another time",
            with_answer_line(leg(1, 20, 30), ("Date", "Sun, 22 Nov 2026 09:59:39 GMT")),
            with_answer_line(client(10, 10, 40), ("Date", "Sun, 22 Nov 2026 09:59:40 GMT")),
        ),
        ("unanswered, to a 200", failed(1, 20), client(10, 10, 40)),
        (
            "with another trace id",
            with_line(leg(1, 20, 30), TRACE_2),
            with_line(client(10, 10, 40), TRACE_1),
        ),
        (
            "without most of what the client sent",
            leg(1, 20, 30),
            with_line(with_line(client(10, 10, 40), TRACE_1), ("User-Agent", "curl")),
        ),
        ("for a request that was seen in part", leg(1, 20, 30), {
            let mut partial = client(10, 10, 40);
            partial.request.as_mut().unwrap().head = HeadState::Partial;
            partial
        }),
    ];
    for (what, leg, client) in pairs {
        check(what, vec![leg, client], &[], alone);
    }
    check(
        "Kong says that it answered itself: it does not even wait",
        vec![leg(1, 20, 30), {
            let mut own = client(10, 10, 40);
            own.response.as_mut().unwrap().headers = headers(&[("X-Kong-Response-Latency", "1")]);
            own
        }],
        &[],
        alone,
    );
    // What differs from the rules above in nothing that matters.
    for (name, value) in [
        ("X-Forwarded-Path", "/a"),
        ("X-Forwarded-Host", "API.example.com"),
        ("X-Forwarded-Proto", "http"),
    ] {
        check(
            name,
            vec![with_line(leg(1, 20, 30), (name, value)), client(10, 10, 40)],
            &[],
            &["10<1"],
        );
    }
}

#[test]
fn what_has_two_answers_is_left_apart() {
    check(
        "two clients, two legs",
        vec![
            leg(1, 20, 30),
            leg(2, 21, 31),
            client(10, 10, 40),
            client(20, 11, 41),
        ],
        &[],
        &["10<", "20<"],
    );
    check(
        "two clients, one leg",
        vec![leg(1, 20, 30), client(10, 10, 40), client(20, 11, 41)],
        &[],
        &["10<", "20<"],
    );
    check(
        "one client, two legs that were both answered",
        vec![leg(1, 20, 30), leg(2, 21, 31), client(10, 10, 40)],
        &[],
        &["10<"],
    );
    let slow = client(20, 11, 9000);
    check(
        "a client that is still under way",
        vec![leg(1, 20, 30), client(10, 10, 40)],
        &[open(&slow)],
        &["10<"],
    );
    check(
        "a request of which nothing is known",
        vec![leg(1, 20, 30), client(10, 10, 40)],
        &[OpenRequest {
            started: KernelTime(0),
            head: None,
            ..open(&slow)
        }],
        &["10<"],
    );
    let lost = fixture::exchange(
        Leg::Downstream,
        WORKER,
        20,
        None,
        Some(fixture::response(200, Headers::default(), 45)),
    );
    check(
        "a request whose head was lost",
        vec![leg(1, 20, 30), client(10, 10, 40), lost],
        &[],
        &["10<", "20<"],
    );
    check(
        "a leg whose head was lost",
        vec![
            leg(1, 20, 30),
            fixture::exchange(Leg::Upstream, WORKER, 2, None, None),
            client(10, 10, 40),
        ],
        &[],
        &["10<"],
    );
}

#[test]
fn evidence_tells_clients_apart() {
    let pair = |line: fn(u64) -> (&'static str, &'static str)| {
        vec![
            with_line(leg(1, 20, 30), line(1)),
            with_line(leg(2, 21, 31), line(2)),
            with_line(client(10, 10, 40), line(1)),
            with_line(client(20, 11, 41), line(2)),
        ]
    };
    let traced = pair(|which| if which == 1 { TRACE_1 } else { TRACE_2 });
    check("a trace of its own", traced, &[], &["10<1", "20<2"]);
    check(
        "a short word may be a plugin's",
        pair(|which| ("X-Env", if which == 1 { "a" } else { "b" })),
        &[],
        &["10<", "20<"],
    );
    check(
        "addresses",
        vec![
            leg(1, 20, 30),
            with_line(leg(2, 21, 31), ("X-Forwarded-For", OTHER_PEER)),
            client(10, 10, 40),
            from_peer(client(20, 11, 41), OTHER_PEER),
        ],
        &[],
        &["10<1", "20<2"],
    );
    check(
        "addresses behind one load balancer",
        vec![
            with_line(leg(1, 20, 30), ("X-Forwarded-For", "192.0.2.1, 203.0.113.9")),
            with_line(leg(2, 21, 31), ("X-Forwarded-For", "192.0.2.2, 203.0.113.9")),
            with_line(client(10, 10, 40), ("X-Forwarded-For", "192.0.2.1")),
            with_line(client(20, 11, 41), ("X-Forwarded-For", "192.0.2.2")),
        ],
        &[],
        &["10<1", "20<2"],
    );
    check(
        "paths, since Kong 2.2",
        vec![
            with_line(leg(1, 20, 30), ("X-Forwarded-Path", "/a")),
            with_line(leg(2, 21, 31), ("X-Forwarded-Path", "/b")),
            client(10, 10, 40),
            with_target(client(20, 11, 41), "/b?x"),
        ],
        &[],
        &["10<1", "20<2"],
    );
    check(
        "who is still under way asks for something else",
        vec![
            with_line(leg(1, 20, 30), ("X-Forwarded-Path", "/a")),
            client(10, 10, 40),
        ],
        &[open(&with_target(client(20, 11, 41), "/b"))],
        &["10<1"],
    );
    check(
        "who is still under way has been answered before",
        vec![leg(1, 20, 30), client(10, 10, 40)],
        &[OpenRequest {
            answered: Some(KernelTime(15)),
            ..open(&client(20, 5, 0))
        }],
        &["10<1"],
    );
    check(
        "a client that has its answer asked for nothing more",
        // Leg 2 lies within both clients; leg 1 is certainly client 10's.
        vec![
            leg(1, 12, 14),
            leg(2, 20, 30),
            client(10, 10, 50),
            client(20, 16, 40),
        ],
        &[],
        &["10<1", "20<2"],
    );
}

#[test]
fn retries_are_joined_as_one() {
    check(
        "nobody answered, then somebody did",
        vec![failed(1, 20), failed(2, 22), leg(3, 24, 30), client(10, 10, 40)],
        &[],
        &["10<1,2,3"],
    );
    check(
        "502, then 200",
        vec![
            with_status(leg(1, 20, 22), 502),
            leg(2, 24, 30),
            client(10, 10, 40),
        ],
        &[],
        &["10<1,2"],
    );
    check(
        "a 502 for them all",
        vec![failed(1, 20), failed(2, 22), with_status(client(10, 10, 40), 502)],
        &[],
        &["10<1,2"],
    );
    check(
        "the client left during the second",
        vec![failed(1, 20), failed(2, 22), without_answer(client(10, 10, 40))],
        &[],
        &["10<1,2"],
    );
    check(
        "another request in between is no retry",
        vec![
            failed(1, 20),
            with_target(leg(2, 24, 30), "/b"),
            client(10, 10, 40),
        ],
        &[],
        &["10<"],
    );
    check(
        "at the same time is no retry",
        vec![
            with_status(leg(1, 20, 29), 502),
            leg(2, 24, 30),
            client(10, 10, 40),
        ],
        &[],
        &["10<"],
    );
}

#[test]
fn ids_on_one_side_help() {
    let id = ("X-Kong-Request-Id", "0af7651916cd43dd8448eb211c80319c");
    check(
        "the upstream leg has one and the client left before its answer",
        vec![with_line(leg(1, 20, 30), id), without_answer(client(10, 10, 40))],
        &[],
        &["10<1"],
    );
    check(
        "the answer has one and the upstream leg has none",
        vec![leg(1, 20, 30), with_answer_line(client(10, 10, 40), id)],
        &[],
        &["10<1"],
    );
    let other = ("X-Kong-Request-Id", "ffffffffffffffffffffffffffffffff");
    check(
        "two that differ",
        vec![
            with_line(leg(1, 20, 30), other),
            with_answer_line(client(10, 10, 40), id),
        ],
        &[],
        &["10<"],
    );
}

#[test]
fn what_has_left_is_not_forgotten() {
    // Client 10 leaves alone, since leg 1 may be client 20's, which is under way. When that has ended, leg 1 is still not
    // certain to be its.
    let mut correlator = correlator();
    let mut out = Vec::new();
    let second = client(20, 11, 2500);
    correlator.offer(leg(1, 20, 30), KernelTime(30), &mut out);
    correlator.offer(client(10, 10, 40), KernelTime(40), &mut out);
    correlator.sweep(KernelTime(1100), &[open(&second)], &mut out);
    correlator.offer(second, KernelTime(2500), &mut out);
    correlator.sweep(KernelTime(4000), &[], &mut out);
    assert_eq!(show(&out), ["10<", "20<"]);
    assert_eq!(correlator.stats().left_apart, 2);

    // Client 10 went away before its leg ended; that one must not become client 20's.
    let mut correlator = self::correlator();
    let mut out = Vec::new();
    correlator.offer(without_answer(client(10, 10, 40)), KernelTime(40), &mut out);
    correlator.sweep(KernelTime(1100), &[], &mut out);
    correlator.offer(leg(1, 20, 1500), KernelTime(1500), &mut out);
    correlator.offer(client(20, 15, 1600), KernelTime(1600), &mut out);
    correlator.sweep(KernelTime(3000), &[], &mut out);
    assert_eq!(show(&out), ["10<", "20<"]);

    // A leg of the client's own time was given up, so another one is not certainly its.
    let mut correlator = Correlator::new(CorrelatorLimits {
        upstream_legs: 1,
        grace_ns: GRACE_NS,
        ..CorrelatorLimits::default()
    });
    let mut out = Vec::new();
    correlator.offer(leg(1, 20, 30), KernelTime(30), &mut out);
    correlator.offer(leg(2, 21, 31), KernelTime(31), &mut out);
    correlator.offer(client(10, 10, 40), KernelTime(40), &mut out);
    correlator.sweep(KernelTime(2000), &[], &mut out);
    assert_eq!(show(&out), ["10<"]);
}
