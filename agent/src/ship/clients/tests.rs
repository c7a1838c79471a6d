use std::sync::Arc;

use hyper::Uri;

use super::{Clients, MAX_CLIENTS, MAX_MS, duration, intercept, is_this_host};
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
fn a_chosen_proxy_is_taken_with_its_credentials() {
    let target: Uri = "https://endpoint.example:443/".parse().unwrap();
    let choice = ProxyChoice::parse("http://me:pass%20word@proxy.example:3128").unwrap();
    let proxy = intercept(&choice, &target).unwrap().unwrap();
    assert_eq!(proxy.uri().authority().unwrap().as_str(), "proxy.example:3128");
    assert_eq!(proxy.basic_auth().unwrap(), "Basic bWU6cGFzcyB3b3Jk");
    assert!(intercept(&ProxyChoice::Direct, &target).unwrap().is_none());
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
