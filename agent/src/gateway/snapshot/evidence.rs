//! What an exchange itself says against a match.
//!
//! In: the router's answer and the exchange. Out: whether they contradict each other; then the configuration read here is not
//! the one that the gateway decided by (it changed between two readings, or a proxy in front is mistaken for a client). And whether the
//! gateway refused the request before any plugin ran.
//! Sources: reference headers of K@3.9 runloop/handler.lua; X-Kong-Response-Latency is there since 1.4.

use crate::correlate::JoinedExchange;
use crate::gateway::entities::Route;
use crate::gateway::router::{self, Approach, Found, Matched, PathMatch, Refusal, normalise};
use crate::http::exchange::{Response, Version};

/// What Kong answers when no route matches: 3.x, 1.x to 2.x, before.
const NO_ROUTE_BODIES: [&[u8]; 3] = [
    b"no Route matched with those values",
    b"no route and no API found with those values",
    b"no API found with those values",
];

/// Statuses with which Kong itself answers only once it has a route.
const STATUSES_OF_ROUTES: [u16; 5] = [401, 403, 426, 429, 200];

/// Whether the exchange shows that `found` is not what the gateway found.
pub(super) fn contradicts(found: &Found<'_>, joined: &JoinedExchange) -> bool {
    match found {
        Found::Route(matched) => says_no_route(joined) || strips_otherwise(joined, matched),
        Found::Nothing => shows_a_route(joined),
        Found::Unknown(_) => false,
    }
}

/// Whether the gateway refused a request for its route's protocols: it should have, and nothing shows that it did not. (A proxy in
/// front that it trusts may have told it of TLS.)
pub(super) fn refusal_of(route: &Route, joined: &JoinedExchange) -> Option<Refusal> {
    let request = joined.client.request.as_ref()?;
    let content_type = request.headers.first("content-type");
    let refusal = router::refusal(
        route,
        Approach {
            tls: joined.client.conn.tls,
            http2: request.version == Version::Http2,
            content_type: content_type.map(|value| &**value),
        },
    )?;
    let shows_it = |response: &Response| response.status == refusal.status() && !is_proxied(response);
    let is_shown = joined.client.response.as_ref().is_none_or(shows_it);
    (joined.upstream.is_empty() && is_shown).then_some(refusal)
}

fn says_no_route(joined: &JoinedExchange) -> bool {
    let Some(response) = &joined.client.response else {
        return false;
    };
    let body = &response.body.bytes;
    let says_so = |text: &&[u8]| body.windows(text.len()).any(|part| part == *text);
    response.status == 404
        && joined.upstream.is_empty()
        && !is_proxied(response)
        && NO_ROUTE_BODIES.iter().any(says_so)
}

fn shows_a_route(joined: &JoinedExchange) -> bool {
    let response = joined.client.response.as_ref();
    let by_a_plugin = |response: &Response| {
        response.headers.contains("x-kong-response-latency") && STATUSES_OF_ROUTES.contains(&response.status)
    };
    !joined.upstream.is_empty()
        || response.is_some_and(|response| is_proxied(response) || by_a_plugin(response))
}

/// Whether this gateway says that it proxied. (`Via` may be an upstream's own.)
fn is_proxied(response: &Response) -> bool {
    response.headers.contains("x-kong-upstream-latency")
}

/// Whether the upstream leg names another stripped prefix.
fn strips_otherwise(joined: &JoinedExchange, matched: &Matched<'_>) -> bool {
    const NAME: &str = "x-forwarded-prefix";
    let sent = joined.upstream.last().and_then(|leg| leg.request.as_ref());
    let own = joined.client.request.as_ref();
    let Some(prefix) = sent.and_then(|request| request.headers.first(NAME)) else {
        return false;
    };
    // A trusted client's own value is passed on.
    if own.is_some_and(|request| request.headers.contains(NAME)) {
        return false;
    }
    match (matched.stripped(), &matched.path) {
        (Some(expected), _) => normalise(prefix) != normalise(expected),
        (None, PathMatch::Unbounded) => !matched.route.strip_path,
        (None, PathMatch::None | PathMatch::Text(_)) => true,
    }
}
