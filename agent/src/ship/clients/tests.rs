use std::sync::Arc;

use super::{ClientError, Clients, MAX_CLIENTS, MAX_MS, duration, is_this_host};
use crate::clock;
use crate::message::tests::config;
use crate::plugin::Destination;
use crate::plugin::transport::{HttpVersion, ProxyChoice};
use crate::telemetry::secret::Secret;

fn destination(url: &str) -> Destination {
    Destination::clone(&config(true, url).destination)
}

#[test]
fn clients_are_bounded() {
    let mut clients = Clients::new(1);
    for port in 0..2 * MAX_CLIENTS.get() {
        let destination = Arc::new(destination(&format!("http://127.0.0.1:{}/", 1000 + port)));
        for _ in 0..2 {
            clients.endpoint(&destination, clock::instant()).unwrap();
        }
        let most = (port + 1).min(MAX_CLIENTS.get());
        assert_eq!((clients.endpoints.len(), clients.pools.len()), (most, most));
    }
}

#[test]
fn a_pool_is_of_one_endpoint_one_token_and_one_way() {
    let base = destination("http://127.0.0.1:1/buckets/a/messages");
    let check = |what: &str, change: &dyn Fn(&mut Destination), pools: usize| {
        let mut clients = Clients::new(1);
        let mut other = base.clone();
        change(&mut other);
        for destination in [base.clone(), other] {
            clients
                .endpoint(&Arc::new(destination), clock::instant())
                .unwrap();
        }
        assert_eq!(clients.pools.len(), pools, "{what}");
    };
    let url = |url: &'static str| move |it: &mut Destination| it.url = url.parse().unwrap();
    check("another bucket", &url("http://127.0.0.1:1/buckets/b/messages"), 1);
    check("another timeout", &|it| it.timeout_ms = 1, 1);
    check("another port", &url("http://127.0.0.1:2/buckets/a/messages"), 2);
    check("another token", &|it| it.access_token = Secret::new("t2"), 2);
    check("another keepalive", &|it| it.keepalive_ms = 1, 2);
    check(
        "another version",
        &|it| it.transport.http_version = HttpVersion::Two,
        2,
    );
    check(
        "another proxy",
        &|it| it.transport.proxy = Some(ProxyChoice::Direct),
        2,
    );
}

#[test]
fn an_address_that_no_request_can_carry_is_refused_at_once() {
    let destination = Arc::new(destination(&format!(
        "http://127.0.0.1:1/{}",
        "a".repeat(1 << 16)
    )));
    let error = Clients::new(1)
        .endpoint(&destination, clock::instant())
        .unwrap_err();
    assert!(
        matches!(error, ClientError::Address(_)) && !error.may_pass(),
        "{error:?}"
    );
}

#[test]
fn what_is_shown_of_an_endpoint_has_no_secret() {
    let mut destination = destination("http://192.0.2.1/buckets/a/messages");
    destination.access_token = Secret::new("t0ken");
    destination.transport.proxy = ProxyChoice::parse("http://me:passw0rd@192.0.2.2:3128");
    let endpoint = Clients::new(1)
        .endpoint(&Arc::new(destination), clock::instant())
        .unwrap();
    let shown = format!("{endpoint:?}");
    assert!(shown.contains("192.0.2.2"), "{shown}");
    assert!(!shown.contains("t0ken") && !shown.contains("passw0rd"), "{shown}");
}

#[test]
fn this_host_has_several_names() {
    let check = |url: &str, expected| assert_eq!(is_this_host(&url.parse().unwrap()), expected, "{url}");
    check("http://localhost:80/", true);
    check("http://127.0.0.53:80/", true);
    check("http://[::1]:80/", true);
    check("http://localhost.example:80/", false);
    check("http://192.0.2.1:80/", false);
    check("http://[2001:db8::1]:80/", false);
}

#[test]
fn a_duration_is_at_most_a_day() {
    assert_eq!(duration(MAX_MS - 1).as_millis(), u128::from(MAX_MS - 1));
    assert_eq!(duration(u64::MAX).as_millis(), u128::from(MAX_MS));
}
