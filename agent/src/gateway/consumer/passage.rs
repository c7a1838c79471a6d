//! Whether the gateway let a request past its auth plugins.
//!
//! In: an exchange and what is in force on its route. Out: a [`Passage`], read off the legs and the answer. Priorities decide which
//! plugin answers what (reference: Kong 3.9 kong/plugins/*/handler.lua): limits and caches come after authentication, `cors`,
//! `pre-function` and `acme` before it.

use crate::correlate::{JoinedExchange, provenance};
use crate::gateway::credentials::RouteAuth;

/// What `acl` answers to a consumer that it knows and does not let in [K@0.13.1 and 3.9 kong/plugins/acl/handler.lua].
const ACL_REFUSAL: &[u8] = b"You cannot consume this service";

/// Whether a request got past authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// It did.
    Passed,
    /// An auth plugin refused it.
    Refused,
    /// It was answered before any plugin was asked.
    Before,
    /// It cannot be said.
    Unclear,
}

pub(super) fn passage(joined: &JoinedExchange, auth: &RouteAuth) -> Passage {
    let response = joined.client.response.as_ref();
    if !joined.upstream.is_empty() || response.is_some_and(provenance::says_proxied) {
        return Passage::Passed;
    }
    let Some(response) = response.filter(|response| provenance::says_own(response)) else {
        return Passage::Unclear;
    };
    let body = &response.body.bytes;
    let is_by_acl = || body.windows(ACL_REFUSAL.len()).any(|part| part == ACL_REFUSAL);
    if auth.answers_before {
        return Passage::Unclear;
    }
    match response.status {
        // Old auth plugins refuse strangers with 403, access lists refuse consumers that are known.
        403 if auth.has_acl && is_by_acl() => Passage::Passed,
        401 | 403 if auth.may_refuse => Passage::Unclear,
        401 | 403 => Passage::Refused,
        426 if !auth.may_refuse => Passage::Before,
        // rate-limiting and its like; the error pages for a service that does not answer; caches and functions.
        200 | 429 | 502..=504 => Passage::Passed,
        _ => Passage::Unclear,
    }
}
