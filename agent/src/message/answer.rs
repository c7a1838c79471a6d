//! Who made the answer that the client got: the upstream, Kong's own code, or nginx on Kong's behalf.
//!
//! In: a joined exchange. Out: an [`AnsweredBy`], and the two questions that the message's shape and the `plugin`
//! profile hang on. Everything is inferred from the two legs and from headers that Kong sets; where they leave a doubt,
//! the answer is the one that loses no message.

use serde::Serialize;

use crate::correlate::{JoinedExchange, provenance};
use crate::gateway::snapshot::{Resolution, RouteMatch};
use crate::http::exchange::Response;
use crate::message::form::contains_ignoring_case;

/// Who made an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AnsweredBy {
    /// The Service.
    Upstream,
    /// Kong's own code: a plugin, or the router that found no route.
    Gateway,
    /// nginx, through the gateway's error page: 502 for a dead upstream, 413, 414, …
    GatewayError,
    /// The upstream leg was not seen and no header tells.
    Unknown,
}

/// Who made the client's answer; `None` when there was none.
#[must_use]
pub fn answered_by(joined: &JoinedExchange) -> Option<AnsweredBy> {
    let response = joined.client.response.as_ref()?;
    let headers = &response.headers;
    let served = joined
        .upstream
        .last()
        .is_some_and(|attempt| attempt.response.is_some());
    Some(if is_gateway_made_error(joined) {
        AnsweredBy::GatewayError
    } else if served || headers.contains(UPSTREAM_LATENCY) {
        // Before the next test: an upstream that is a Kong itself may pass its own X-Kong-Response-Latency through.
        AnsweredBy::Upstream
    } else if headers.contains(RESPONSE_LATENCY) || is_marked_by_kong(response) {
        AnsweredBy::Gateway
    } else if headers.contains("via") {
        AnsweredBy::Upstream
    } else {
        AnsweredBy::Unknown
    })
}

/// Whether nginx made the answer: bad gateway, timeouts, requests it refused by itself. The old plugin never saw these
/// (reference: Kong 0.13.1 `templates/nginx_kong.lua`, `/kong_error_handler` has no log phase), so `profile = "plugin"`
/// leaves them out.
///
/// An upstream may answer with the same status, and its leg may be unseen: then the text of Kong's error page decides.
/// Without a readable text, a gateway error of the 5xx kind is believed when the gateway had been to the upstream.
#[must_use]
pub fn is_gateway_made_error(joined: &JoinedExchange) -> bool {
    let Some(response) = &joined.client.response else {
        return false;
    };
    let Some((_, text)) = ERROR_PAGES.iter().find(|(status, _)| *status == response.status) else {
        return false;
    };
    let upstream_status = joined
        .upstream
        .last()
        .map(|attempt| attempt.response.as_ref().map(|answer| answer.status));
    let is_bad_gateway = matches!(response.status, 502..=504);
    match upstream_status {
        Some(Some(status)) if status == response.status => false,
        Some(None) if is_bad_gateway => true,
        Some(_) | None if !is_text(response) => {
            is_bad_gateway && upstream_status.is_none() && response.headers.contains(UPSTREAM_LATENCY)
        }
        Some(_) | None => contains_ignoring_case(&response.body.bytes, text.as_bytes()),
    }
}

/// Whether the answer says that the request went upstream, and no upstream leg was seen. A service that refuses connections has
/// none, so this says nothing of whose fault it is.
#[must_use]
pub fn is_upstream_unseen(joined: &JoinedExchange) -> bool {
    joined.upstream.is_empty()
        && joined
            .client
            .response
            .as_ref()
            .is_some_and(provenance::says_proxied)
}

/// Whether the plugin's `access` phase did not run, because something before it answered: an auth plugin (401, 403), a
/// rate limit (429), an ACL (403), the router (404). The old plugin then sent a message without the request's body.
pub(super) fn was_access_skipped(joined: &JoinedExchange, resolution: &Resolution) -> bool {
    match resolution.route {
        RouteMatch::NoRoute => true,
        RouteMatch::Matched(_) if resolution.refusal.is_some() => true,
        RouteMatch::Matched(_) | RouteMatch::Unknown(_) => {
            answered_by(joined) == Some(AnsweredBy::Gateway)
                && joined
                    .client
                    .response
                    .as_ref()
                    .is_some_and(|response| matches!(response.status, 401 | 403 | 404 | 429))
        }
    }
}

/// On proxied answers, milliseconds until the upstream's response head.
pub(super) const UPSTREAM_LATENCY: &str = "x-kong-upstream-latency";
/// On proxied answers, milliseconds that Kong itself took.
pub(super) const PROXY_LATENCY: &str = "x-kong-proxy-latency";
/// On Kong's own answers (1.4 on), milliseconds that they took.
pub(super) const RESPONSE_LATENCY: &str = "x-kong-response-latency";

/// What Kong's error pages say (Kong 0.13.1 `core/error_handlers.lua`, worded alike to 3.9). Left out are 404 and 500,
/// whose texts plugins send as their own answers too.
const ERROR_PAGES: &[(u16, &str)] = &[
    (400, "Bad request"),
    (408, "Request timeout"),
    (411, "Length required"),
    (412, "Precondition failed"),
    (413, "Payload too large"),
    (414, "URI too long"),
    (417, "Expectation failed"),
    (494, "Request Header Or Cookie Too Large"),
    (502, "An invalid response was received from the upstream server"),
    (503, "The upstream server is currently unavailable"),
    (504, "The upstream server is timing out"),
];

/// Before 1.4 Kong's own answers carry nothing but its name.
fn is_marked_by_kong(response: &Response) -> bool {
    response
        .headers
        .text("server")
        .is_some_and(|server| server.starts_with("kong/"))
        && !response.headers.contains("via")
}

fn is_text(response: &Response) -> bool {
    !response.body.bytes.is_empty() && !response.headers.contains("content-encoding")
}

#[cfg(test)]
mod tests {
    use super::{AnsweredBy, answered_by, is_gateway_made_error};
    use crate::http::exchange::Outcome;
    use crate::message::tests::{exchange, with_upstream};

    const BAD_GATEWAY: &str = "{\"message\":\"An invalid response was received from the upstream server\"}";

    /// `upstream`: `None` is a leg that was not seen, `Some(None)` one without an answer.
    fn check(
        status: u16,
        headers: &[(&str, &str)],
        body: &str,
        upstream: Option<Option<u16>>,
        expected: AnsweredBy,
    ) {
        let mut joined = exchange("GET", "/a", &[("host", "h")], "", status, headers, body);
        if let Some(upstream_status) = upstream {
            joined = with_upstream(joined, upstream_status);
        }
        assert_eq!(
            answered_by(&joined),
            Some(expected),
            "{status} {headers:?} {body} {upstream:?}"
        );
        assert_eq!(
            is_gateway_made_error(&joined),
            expected == AnsweredBy::GatewayError
        );
    }

    #[test]
    fn the_legs_and_the_headers_say_who_answered() {
        use AnsweredBy::{Gateway, GatewayError, Unknown, Upstream};
        let proxied: &[(&str, &str)] = &[("X-Kong-Upstream-Latency", "3"), ("Via", "1.1 kong/3.9.1")];
        let own: &[(&str, &str)] = &[("X-Kong-Response-Latency", "1"), ("Server", "kong/3.9.1")];
        let nested: &[(&str, &str)] = &[("X-Kong-Response-Latency", "1"), ("X-Kong-Upstream-Latency", "3")];

        check(200, proxied, "ok", Some(Some(200)), Upstream);
        check(200, proxied, "ok", None, Upstream);
        check(404, nested, "no Route", None, Upstream);
        check(200, &[("Via", "kong/0.13.1")], "ok", None, Upstream);
        check(200, &[], "ok", None, Unknown);
        check(401, own, "Unauthorized", None, Gateway);
        check(401, &[("Server", "kong/0.13.1")], "Unauthorized", None, Gateway);

        check(502, proxied, BAD_GATEWAY, None, GatewayError);
        check(502, proxied, BAD_GATEWAY, Some(None), GatewayError);
        check(502, proxied, "a template of one's own", Some(None), GatewayError);
        check(502, proxied, "", None, GatewayError); // HEAD
        check(502, proxied, BAD_GATEWAY, Some(Some(502)), Upstream);
        check(502, proxied, "the service's own words", None, Upstream);
        check(502, proxied, BAD_GATEWAY, Some(Some(200)), GatewayError); // an upstream head that nginx refused
        check(
            413,
            own,
            "{\"message\":\"Payload too large\"}",
            None,
            GatewayError,
        );
        check(
            413,
            own,
            "{\"message\":\"Request size limit exceeded\"}",
            None,
            Gateway,
        ); // the plugin
        check(503, own, "{\"message\":\"Service unavailable\"}", None, Gateway); // request-termination
        check(400, &[], "<p>Bad request.</p>", None, GatewayError);
    }

    #[test]
    fn without_an_answer_nobody_answered() {
        let mut joined = exchange("GET", "/a", &[], "", 200, &[], "");
        joined.client.response = None;
        joined.client.outcome = Outcome::ResponseAbsent;
        assert_eq!(answered_by(&joined), None);
        assert!(!is_gateway_made_error(&joined));
    }
}
