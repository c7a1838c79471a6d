//! A gateway whose configuration nobody gives: what headers alone tell.

use super::{Resolution, Snapshot, exchange, name, request, response};
use crate::correlate::JoinedExchange;
use crate::gateway::ports::PortMap;
use crate::http::exchange::Leg;

type Fields<'a> = &'a [(&'a str, &'a str)];

/// What the client sent, what the service got (`None`: not seen) and answered, what the client got.
fn resolve(
    own: Fields<'_>,
    sent: Option<Fields<'_>>,
    answered: Option<Fields<'_>>,
    got: Fields<'_>,
) -> Resolution {
    let leg = |fields| {
        exchange(
            Leg::Upstream,
            false,
            Some(request("GET", "/", fields)),
            answered.map(|it| response(200, it, "")),
        )
    };
    let joined = JoinedExchange {
        client: exchange(
            Leg::Downstream,
            false,
            Some(request("GET", "/", own)),
            Some(response(200, got, "")),
        ),
        upstream: sent.map(leg).into_iter().collect(),
        request_id: None,
    };
    Snapshot::empty()
        .with_ports(PortMap::parse(["80:8000"]).expect("ports"))
        .resolve(&joined)
}

const ALICE: Fields<'_> = &[("X-Consumer-ID", "c1"), ("X-Consumer-Username", "alice")];
const DEBUG: Fields<'_> = &[("Kong-Debug", "1")];
const ROUTE: Fields<'_> = &[
    ("Kong-Route-Id", "r1"),
    ("Kong-Route-Name", "r"),
    ("Kong-Service-Id", "s1"),
    ("Kong-Service-Name", "s"),
];
const BY_KONG: Fields<'_> = &[
    ("X-Kong-Response-Latency", "1"),
    ("Kong-Route-Id", "r1"),
    ("Kong-Route-Name", "r"),
];

#[test]
fn headers_alone_tell_what_they_prove_and_nothing_else() {
    let unknown = "?NoConfiguration";
    for (what, own, sent, answered, got, route, service, consumer) in [
        ("nothing", &[][..], None, None, &[][..], unknown, "-", "?"),
        (
            "a consumer that Kong added",
            &[],
            Some(ALICE),
            None,
            &[],
            unknown,
            "-",
            "alice",
        ),
        (
            "a consumer that the client sent",
            ALICE,
            Some(ALICE),
            None,
            &[],
            unknown,
            "-",
            "?",
        ),
        (
            "a consumer without a leg",
            ALICE,
            None,
            None,
            &[],
            unknown,
            "-",
            "?",
        ),
        ("no consumer", &[], Some(&[][..]), None, &[], unknown, "-", "?"),
        (
            "debug headers",
            DEBUG,
            Some(&[]),
            Some(&[][..]),
            ROUTE,
            "r",
            "s",
            "?",
        ),
        (
            "debug headers that nobody asked for",
            &[],
            Some(&[]),
            Some(&[]),
            ROUTE,
            unknown,
            "-",
            "?",
        ),
        (
            "debug headers of the service's",
            DEBUG,
            Some(&[]),
            Some(ROUTE),
            ROUTE,
            unknown,
            "-",
            "?",
        ),
        (
            "debug headers, and the service's answer unseen",
            DEBUG,
            Some(&[]),
            None,
            ROUTE,
            unknown,
            "-",
            "?",
        ),
        (
            "debug headers without a leg",
            DEBUG,
            None,
            None,
            ROUTE,
            unknown,
            "-",
            "?",
        ),
        (
            "debug headers on an answer of Kong's own",
            DEBUG,
            None,
            None,
            BY_KONG,
            "r",
            "-",
            "?",
        ),
    ] {
        let resolution = resolve(own, sent, answered, got);
        let expected = (route.to_owned(), service.to_owned(), consumer.to_owned());
        assert_eq!(name(&resolution), expected, "{what}");
        assert!(!resolution.credentials.is_empty(), "{what}: every place counts");
        assert_eq!(resolution.outer_port, Some(80), "{what}");
    }
}

#[test]
fn a_value_of_any_length_is_no_name() {
    let long = "x".repeat(600);
    let resolution = resolve(&[], Some(&[("X-Consumer-ID", &long)]), None, &[]);
    assert_eq!(name(&resolution).2, "?");
}
