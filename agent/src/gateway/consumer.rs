//! Who a request was authenticated as.
//!
//! In: the upstream leg's `X-Consumer-*` headers, the client leg's own, and what is in force on the route. Out: a
//! [`ConsumerMatch`]. The headers are trusted where an auth plugin is in force (Kong then overwrites what the client
//! sent) or where they differ from the client's own; a client can forge all of them elsewhere. Deliberately absent:
//! finding a Consumer by credential.

use std::collections::HashMap;
use std::sync::Arc;

use crate::correlate::{JoinedExchange, provenance};
use crate::gateway::credentials::RouteAuth;
use crate::gateway::entities::{Consumer, Reference};
use crate::gateway::snapshot::ConsumerMatch;
use crate::http::exchange::Request;

const HEADERS: [&str; 3] = ["x-consumer-id", "x-consumer-username", "x-consumer-custom-id"];

/// The gateway's consumers, by everything that names them.
#[derive(Debug, Default)]
pub struct Directory {
    by_id: HashMap<Arc<str>, Arc<Consumer>>,
    by_username: HashMap<Arc<str>, Arc<Consumer>>,
    by_custom_id: HashMap<Arc<str>, Arc<Consumer>>,
}

/// What a request says of its consumer: id, user name, custom id.
type Claims<'a> = [Option<&'a [u8]>; 3];

impl Directory {
    pub(in crate::gateway) fn of(consumers: Vec<Consumer>) -> Self {
        let mut directory = Self::default();
        for consumer in consumers.into_iter().map(Arc::new) {
            if let Some(name) = &consumer.username {
                directory
                    .by_username
                    .insert(Arc::clone(name), Arc::clone(&consumer));
            }
            if let Some(custom_id) = &consumer.custom_id {
                directory
                    .by_custom_id
                    .insert(Arc::clone(custom_id), Arc::clone(&consumer));
            }
            directory.by_id.insert(Arc::clone(&consumer.id), consumer);
        }
        directory
    }

    pub(in crate::gateway) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(in crate::gateway) fn named(&self, reference: &Reference) -> Option<&Arc<Consumer>> {
        let by_id = |text: &str| self.by_id.get(text.to_ascii_lowercase().as_str());
        match reference {
            Reference::Id(text) => by_id(text),
            Reference::Name(text) => self.by_username.get(text.as_str()),
            Reference::Any(text) => by_id(text).or_else(|| self.by_username.get(text.as_str())),
        }
    }

    /// The consumer of an exchange whose route is known.
    pub(in crate::gateway) fn on_route(
        &self,
        joined: &JoinedExchange,
        auth: Option<&RouteAuth>,
    ) -> ConsumerMatch {
        let none = RouteAuth::default();
        let auth = auth.unwrap_or(&none);
        let Some(upstream) = upstream_request(joined) else {
            return without_upstream(joined, auth);
        };
        let claims = claims_of(upstream);
        let is_the_clients = joined.client.request.as_ref().map(claims_of) == Some(claims);
        if claims == [None; 3] {
            return if auth.authenticates && auth.hides_consumer {
                ConsumerMatch::Unknown
            } else {
                ConsumerMatch::Nobody
            };
        }
        // Auth plugins may be told to let preflight requests pass unseen, headers and all.
        let may_be_skipped = &*upstream.method == b"OPTIONS";
        match (is_the_clients, auth.authenticates) {
            (false, _) => self.claimed(claims),
            (true, false) => ConsumerMatch::Nobody,
            (true, true) if may_be_skipped => ConsumerMatch::Unknown,
            (true, true) => self.claimed(claims),
        }
    }

    /// The consumer of an exchange whose route is not known: only what the client cannot have sent counts.
    pub(in crate::gateway) fn on_unknown_route(&self, joined: &JoinedExchange) -> ConsumerMatch {
        let (Some(upstream), Some(own)) = (upstream_request(joined), &joined.client.request) else {
            return ConsumerMatch::Unknown;
        };
        let claims = claims_of(upstream);
        if claims == [None; 3] || claims == claims_of(own) {
            ConsumerMatch::Unknown
        } else {
            self.claimed(claims)
        }
    }

    /// The one consumer that all claims name. An id that was only derived here may differ from the gateway's own, so then
    /// the names alone must agree.
    fn claimed(&self, claims: Claims<'_>) -> ConsumerMatch {
        let [id, username, custom_id] =
            claims.map(|claim| claim.and_then(|bytes| str::from_utf8(bytes).ok()));
        let by_id = id.and_then(|id| self.by_id.get(id));
        let by_username = username.and_then(|name| self.by_username.get(name));
        let by_custom_id = custom_id.and_then(|custom_id| self.by_custom_id.get(custom_id));
        let Some(found) = by_id.or(by_username).or(by_custom_id) else {
            return ConsumerMatch::Unknown;
        };
        let id_agrees = id.is_none_or(|id| *found.id == *id || !found.id_is_known);
        let agrees = |claim: Option<&str>, own: &Option<Arc<str>>| {
            claim.is_none_or(|claim| own.as_deref() == Some(claim))
        };
        if id_agrees && agrees(username, &found.username) && agrees(custom_id, &found.custom_id) {
            ConsumerMatch::Known(Arc::clone(found))
        } else {
            ConsumerMatch::Unknown
        }
    }
}

/// The last attempt's request: the one that was answered.
fn upstream_request(joined: &JoinedExchange) -> Option<&Request> {
    joined.upstream.iter().rev().find_map(|leg| leg.request.as_ref())
}

fn claims_of(request: &Request) -> Claims<'_> {
    HEADERS.map(|name| {
        request
            .headers
            .first(name)
            .map(|value| &**value)
            .filter(|value| !value.is_empty())
    })
}

/// Kong answered by itself, or the upstream leg was not seen.
fn without_upstream(joined: &JoinedExchange, auth: &RouteAuth) -> ConsumerMatch {
    if !auth.authenticates {
        return ConsumerMatch::Nobody;
    }
    let Some(response) = &joined.client.response else {
        return ConsumerMatch::Unknown;
    };
    // Where nothing tells (Kong's `headers` are off), the upstream may have said so to a consumer that Kong had accepted.
    let is_kongs_own = provenance::says_own(response);
    match response.status {
        401 if is_kongs_own => ConsumerMatch::Nobody,
        // Access lists and the like refuse consumers that are known; old auth plugins refuse strangers with the same status.
        403 if is_kongs_own && !auth.may_refuse => ConsumerMatch::Nobody,
        _ => ConsumerMatch::Unknown,
    }
}
