//! Who a request was authenticated as.
//!
//! In: the upstream leg's `X-Consumer-*` headers, the client leg's own, its credentials, and what is in force on the route. Out: a
//! [`ConsumerMatch`] that says how it was known. The headers are trusted where an auth plugin is in force (Kong then overwrites what
//! the client sent) or where they differ from the client's own; a client can forge all of them elsewhere. Where there is no
//! upstream leg, or a plugin takes the headers away, credentials are looked up (`chain`), if the gateway let them pass
//! (`passage`).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::correlate::JoinedExchange;
use crate::gateway::credentials::RouteAuth;
use crate::gateway::credentials::store::Store;
use crate::gateway::entities::{Consumer, Credential, CredentialKind, Reference};
use crate::gateway::groups::Members;
use crate::gateway::snapshot::{ConsumerMatch, KnownBy};
use crate::http::exchange::Request;

pub mod chain;
mod passage;

use self::chain::Outcome;
use self::passage::{Passage, passage};

const HEADERS: [&str; 3] = ["x-consumer-id", "x-consumer-username", "x-consumer-custom-id"];

/// The gateway's consumers, by everything that names them.
#[derive(Debug, Default)]
pub struct Directory {
    by_id: HashMap<Arc<str>, Arc<Consumer>>,
    by_username: HashMap<Arc<str>, Arc<Consumer>>,
    by_custom_id: HashMap<Arc<str>, Arc<Consumer>>,
    credentials: Store,
}

/// What a request says of its consumer: id, user name, custom id.
type Claims<'a> = [Option<&'a [u8]>; 3];

impl Directory {
    pub(in crate::gateway) fn of(
        consumers: Vec<Consumer>,
        mut members: Members,
        credentials: Vec<Credential>,
        unread: BTreeSet<CredentialKind>,
    ) -> Self {
        let mut directory = Self::default();
        for consumer in consumers {
            let groups = members.groups_of(&consumer.id);
            let consumer = Arc::new(Consumer { groups, ..consumer });
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
        directory.credentials = Store::of(credentials, unread, |id| directory.by_id.get(id));
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
            return self.by_credentials(joined, auth);
        };
        let claims = claims_of(upstream);
        if claims == [None; 3] {
            // Every Consumer has an id, which an auth plugin passes on.
            return if auth.authenticates && auth.hides_consumer {
                self.by_credentials(joined, auth)
            } else {
                ConsumerMatch::Nobody
            };
        }
        let is_the_clients = joined.client.request.as_ref().map(claims_of) == Some(claims);
        let was_asked = &*upstream.method != b"OPTIONS" || !auth.chain.iter().any(|it| it.skips_preflight);
        match (is_the_clients, auth.authenticates) {
            (false, _) => self.claimed(claims),
            (true, false) => ConsumerMatch::Nobody,
            (true, true) if was_asked => self.claimed(claims),
            // Whoever was not asked did not overwrite anything either.
            (true, true) if auth.chain.iter().all(|it| it.skips_preflight) => ConsumerMatch::Nobody,
            (true, true) => ConsumerMatch::Unknown,
        }
    }

    /// Who the credentials name, if the gateway let them pass.
    fn by_credentials(&self, joined: &JoinedExchange, auth: &RouteAuth) -> ConsumerMatch {
        if !auth.authenticates {
            return ConsumerMatch::Nobody;
        }
        let Some(request) = &joined.client.request else {
            return ConsumerMatch::Unknown;
        };
        match passage(joined, auth) {
            Passage::Unclear => ConsumerMatch::Unknown,
            Passage::Before => ConsumerMatch::Nobody,
            // Of several plugins the first may have found somebody before the next refused: Kong forgets nobody then.
            Passage::Refused if auth.chain.len() > 1 && self.judge(auth, request).found_somebody() => {
                ConsumerMatch::Unknown
            }
            Passage::Refused => ConsumerMatch::Nobody,
            Passage::Passed => match self.judge(auth, request).outcome {
                Outcome::Consumer(consumer, by) => ConsumerMatch::Known(consumer, by),
                Outcome::Nobody => ConsumerMatch::Nobody,
                // The gateway let in what this configuration would not: it is not the gateway's, or not its newest.
                Outcome::Refused(_) | Outcome::Unclear => ConsumerMatch::Unknown,
            },
        }
    }

    /// How many credentials are known.
    pub(in crate::gateway) fn credentials(&self) -> usize {
        self.credentials.len()
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
            ConsumerMatch::Known(Arc::clone(found), KnownBy::UpstreamHeaders)
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
