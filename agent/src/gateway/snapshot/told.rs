//! What an exchange tells by itself of its route and consumer, for a gateway whose configuration nobody gives: a hybrid data plane.
//!
//! In: a joined exchange. Out: a [`Resolution`] with what headers prove, and "unknown" for the rest. A consumer is told by the
//! upstream leg's `X-Consumer-*` where they are not the client's own; a route by `Kong-Route-*` on the answer, which Kong gives to
//! `Kong-Debug` where that is allowed, unless the service sent them. Whatever else there is may be forged, or says too little: a
//! request without such headers may have had any route. Deliberately absent: where credentials stand (every place counts then).

use std::sync::Arc;

use crate::correlate::JoinedExchange;
use crate::gateway::entities::{Consumer, Route, Service, Upstream};
use crate::gateway::groups::Groups;
use crate::gateway::snapshot::{ConsumerMatch, KnownBy, Resolution, RouteMatch, UnknownRoute};
use crate::http::headers::Headers;

/// The longest value that is taken for an id or a name, bytes.
const MAX_NAME_BYTES: usize = 512;

/// What the headers of `joined` tell.
pub(super) fn resolution(joined: &JoinedExchange) -> Resolution {
    let (route, service) = match route(joined) {
        Some((route, service)) => (RouteMatch::Matched(Arc::new(route)), service.map(Arc::new)),
        None => (RouteMatch::Unknown(UnknownRoute::NoConfiguration), None),
    };
    let consumer = consumer(joined).map_or(ConsumerMatch::Unknown, |consumer| {
        ConsumerMatch::Known(Arc::new(consumer), KnownBy::UpstreamHeaders)
    });
    Resolution {
        route,
        service,
        consumer,
        credentials: Arc::from([]),
        refusal: None,
        outer_port: None,
    }
}

fn route(joined: &JoinedExchange) -> Option<(Route, Option<Service>)> {
    let asked = joined.client.request.as_ref()?.headers.contains("kong-debug");
    let answer = &joined.client.response.as_ref()?.headers;
    let by_service = joined.upstream.iter().any(|leg| {
        let response = leg.response.as_ref();
        // What was not seen may have brought it.
        response.is_none_or(|response| response.headers.contains("kong-route-id"))
    });
    let is_kongs = answer.contains("x-kong-response-latency") || !joined.upstream.is_empty();
    let id = text(answer, "kong-route-id").filter(|_| asked && is_kongs && !by_service)?;
    let service = text(answer, "kong-service-id").map(|id| Service {
        id,
        name: text(answer, "kong-service-name"),
        enabled: true,
        upstream: Upstream::default(),
    });
    let route = Route {
        id,
        id_is_known: true,
        name: text(answer, "kong-route-name"),
        service_id: service.as_ref().map(|service| Arc::clone(&service.id)),
        ..Route::default()
    };
    Some((route, service))
}

fn consumer(joined: &JoinedExchange) -> Option<Consumer> {
    let upstream = joined
        .upstream
        .iter()
        .rev()
        .find_map(|leg| leg.request.as_ref())?;
    let own = joined.client.request.as_ref()?;
    let id = text(&upstream.headers, "x-consumer-id")?;
    // Auth plugins overwrite all of them or leave all of them alone.
    let is_the_clients = own.headers.first("x-consumer-id") == upstream.headers.first("x-consumer-id");
    (!is_the_clients).then(|| Consumer {
        id,
        id_is_known: true,
        username: text(&upstream.headers, "x-consumer-username"),
        custom_id: text(&upstream.headers, "x-consumer-custom-id"),
        groups: Groups::default(),
    })
}

fn text(headers: &Headers, name: &str) -> Option<Arc<str>> {
    let value = headers.text(name)?;
    (!value.is_empty() && value.len() <= MAX_NAME_BYTES).then(|| Arc::from(value))
}
