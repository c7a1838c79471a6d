//! A gateway's declarative file, from bytes to the route that a request takes.

use std::net::SocketAddr;

use kongtap::gateway::declarative;
use kongtap::gateway::entities::Entities;
use kongtap::gateway::router::{RequestFacts, RouterProfile, ServerName};
use kongtap::gateway::snapshot::{RouteMatch, Snapshot};
use kongtap::http::headers::Headers;

use crate::file::{as_json, source};

/// Reads the file up to the first zero byte, and routes the request behind it: lines with method, target, host, and `name: value`.
///
/// # Panics
/// When there is an error without a mistake in it, when the file means another thing as JSON, when a request takes a route that the file
/// does not have, or another one when it is asked again.
pub fn run(data: &[u8]) {
    let (text, request) = match data.iter().position(|byte| *byte == 0) {
        Some(end) => (data.get(..end), data.get(end + 1..)),
        None => (Some(data), None),
    };
    let file = source(text.unwrap_or_default());
    let entities = match declarative::read(std::slice::from_ref(&file)) {
        Ok(entities) => entities,
        Err(mistakes) => {
            assert!(!mistakes.0.is_empty(), "refused without a reason");
            assert!(mistakes.0.iter().all(|mistake| !mistake.to_string().is_empty()));
            return;
        }
    };
    if let Some(json) = as_json(&file) {
        let again = declarative::read(&[json]).ok();
        assert_eq!(again.as_ref(), Some(&entities), "another thing as JSON");
    }
    route(&entities, request.unwrap_or_default());
}

fn route(entities: &Entities, request: &[u8]) {
    let mut lines = request.split(|byte| *byte == b'\n');
    let method = lines.next().unwrap_or_default();
    let target = lines.next().unwrap_or_default();
    let host = lines.next().filter(|host| !host.is_empty());
    let mut headers = Headers::default();
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let mut part = || parts.next().unwrap_or_default().trim_ascii().to_vec();
        headers.push(part(), part());
    }
    let facts = RequestFacts {
        tls: method.len() & 1 == 1,
        method,
        target,
        host,
        headers: &headers,
        server_name: ServerName::Unknown,
        client: SocketAddr::from(([127, 0, 0, 1], 50_000)),
        local: SocketAddr::from(([127, 0, 0, 1], 8_000)),
    };
    for flavor in ["traditional", "traditional_compatible", "expressions"] {
        let profile = RouterProfile::of(None, Some(flavor));
        let (snapshot, _) = Snapshot::build(entities.clone(), &profile);
        let found = snapshot.router().route(&facts);
        assert_eq!(snapshot.router().route(&facts), found, "asked again, it differs");
        if let RouteMatch::Matched(route) = found {
            assert!(
                entities.routes.contains(&route),
                "a route that is not there: {route:?}"
            );
        }
    }
}
