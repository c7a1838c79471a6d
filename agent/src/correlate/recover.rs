//! Fills in what is not known of a client's request from what the gateway passed on.
//!
//! In: a client's exchange whose head is partial (HTTP/2 refers to fields that were sent before the connection was watched), and its
//! upstream legs. Out: the same with the method, the path, the host and the fields that the upstream leg shows, marked as such.
//! Kong says in `X-Forwarded-Path` and `X-Forwarded-Host` what the client asked for (3.9 `kong/runloop/handler.lua`); behind a
//! trusted proxy these may be that proxy's own. Deliberately absent: anything for a request of which no head was seen at all.

use bytes::{Bytes, BytesMut};

use super::merge::is_handled_by_nginx;
use crate::http::exchange::{Exchange, HeadState, Request};
use crate::http::headers::Header;

/// Fills in `client`'s request, if it is partial and an upstream leg has a whole one. One that still has no target or host stays
/// partial.
pub(super) fn from_upstream(client: &mut Exchange, upstream: &[Exchange]) {
    let passed_on = upstream
        .iter()
        .rev()
        .filter_map(|leg| leg.request.as_ref())
        .find(|request| request.head == HeadState::Whole);
    let (Some(request), Some(passed_on)) = (&mut client.request, passed_on) else {
        return;
    };
    if request.head != HeadState::Partial {
        return;
    }
    if request.method.is_empty() {
        request.method = passed_on.method.clone();
    }
    if request.target.is_empty()
        && let Some(target) = target(passed_on)
    {
        request.target = target;
    }
    if !request.headers.contains("host")
        && let Some(host) = passed_on.headers.first("X-Forwarded-Host")
    {
        request.headers.push(Bytes::from_static(b"host"), host.clone());
    }
    // Fields of a name that is there already were seen; the others stand for what was not. Those that Kong's plugins added are
    // among them, so none of these can be told from the client's own any more, and no consumer is believed for them alone.
    let known = request.headers.0.len();
    for header in &passed_on.headers.0 {
        let is_known = request
            .headers
            .0
            .iter()
            .take(known)
            .any(|other| other.name.eq_ignore_ascii_case(&header.name));
        if !is_handled_by_nginx(header) && !is_known {
            request.headers.0.push(Header {
                name: header.name.to_ascii_lowercase().into(),
                value: header.value.clone(),
            });
        }
    }
    if request.names_its_target() {
        request.head = HeadState::FromUpstream;
    }
}

/// The client's target: the path as it was, the query as it went on.
fn target(passed_on: &Request) -> Option<Bytes> {
    let path = passed_on.headers.first("X-Forwarded-Path")?;
    let mut target = BytesMut::from(&**path);
    if let Some(query) = passed_on.target.iter().position(|byte| *byte == b'?') {
        target.extend_from_slice(passed_on.target.get(query..)?);
    }
    Some(target.freeze())
}

#[cfg(test)]
mod tests {
    use super::from_upstream;
    use crate::correlate::fixture::{exchange, headers, request, response};
    use crate::http::exchange::{Exchange, HeadState, Leg};
    use crate::http::headers::Headers;

    const PASSED_ON: &[(&str, &str)] = &[
        ("Via", "2 kong/3.9.1"),
        ("Host", "orders.internal"),
        ("X-Forwarded-Host", "api.example.com"),
        ("X-Forwarded-Path", "/v1/orders"),
        ("X-Kong-Request-Id", "1"),
        ("user-agent", "curl"),
        ("X-Consumer-Username", "alice"),
        ("accept", "*/*"),
    ];

    fn client(method: &str, target: &str, fields: &[(&str, &str)]) -> Exchange {
        let mut request = request(headers(fields), 1);
        request.method = method.to_owned().into();
        request.target = target.to_owned().into();
        request.head = HeadState::Partial;
        let answer = response(200, Headers::default(), 1);
        exchange(Leg::Downstream, 1, 1, Some(request), Some(answer))
    }

    fn upstream(fields: &[(&str, &str)]) -> Exchange {
        let mut request = request(headers(fields), 2);
        request.method = "POST".into();
        request.target = "/orders?x=1".into();
        exchange(
            Leg::Upstream,
            1,
            2,
            Some(request),
            Some(response(200, Headers::default(), 2)),
        )
    }

    #[track_caller]
    fn check(
        mut client: Exchange,
        upstream: &[Exchange],
        expected: (&str, &str, HeadState, &[(&str, &str)]),
    ) {
        from_upstream(&mut client, upstream);
        let request = client.request.unwrap();
        let (method, target, head, fields) = expected;
        assert_eq!(
            (
                &request.method[..],
                &request.target[..],
                request.head,
                request.headers
            ),
            (method.as_bytes(), target.as_bytes(), head, headers(fields))
        );
    }

    #[test]
    fn what_is_not_known_is_taken_from_the_last_attempt() {
        use HeadState::{FromUpstream, Partial};
        check(
            client("", "", &[("accept", "text/html"), ("x-b3", "1")]),
            &[upstream(&[("X-Kong-Request-Id", "1")]), upstream(PASSED_ON)],
            (
                "POST",
                "/v1/orders?x=1",
                FromUpstream,
                &[
                    ("accept", "text/html"),
                    ("x-b3", "1"),
                    ("host", "api.example.com"),
                    ("user-agent", "curl"),
                    ("x-consumer-username", "alice"),
                ],
            ),
        );
        // What was seen stays.
        check(
            client("PUT", "/a?b", &[("host", "h:1")]),
            &[upstream(&[("user-agent", "curl")])],
            (
                "PUT",
                "/a?b",
                FromUpstream,
                &[("host", "h:1"), ("user-agent", "curl")],
            ),
        );
        // Without the path that the client asked for there is no target to tell.
        check(
            client("", "", &[("host", "h")]),
            &[upstream(&[("user-agent", "curl")])],
            ("POST", "", Partial, &[("host", "h"), ("user-agent", "curl")]),
        );
        check(client("", "", &[]), &[], ("", "", Partial, &[]));
    }

    #[test]
    fn a_whole_request_is_left_alone() {
        let mut client = client("GET", "/a", &[]);
        client.request.as_mut().unwrap().head = HeadState::Whole;
        check(
            client,
            &[upstream(PASSED_ON)],
            ("GET", "/a", HeadState::Whole, &[]),
        );
    }
}
