//! What the auth plugins on a route make of a request together.
//!
//! In: the [`Authenticator`]s in their order and a request. Out: a [`Judgement`]: who the gateway would take the request for, with
//! what each plugin found. A plugin without `anonymous` must be satisfied, and the last one names the Consumer; one with `anonymous`
//! is asked when nobody was authenticated before it (Kong 3.9 kong/plugins/key-auth/handler.lua, logical_AND_authentication and
//! logical_OR_authentication; the others alike). Whether the gateway agreed is `passage`.

use std::sync::Arc;

use crate::gateway::consumer::Directory;
use crate::gateway::credentials::RouteAuth;
use crate::gateway::credentials::authenticator::{Authenticator, Finding};
use crate::gateway::entities::{Consumer, Reference};
use crate::gateway::snapshot::KnownBy;
use crate::http::exchange::Request;

/// Who the gateway would take a request for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This Consumer.
    Consumer(Arc<Consumer>, KnownBy),
    /// No Consumer: no auth plugin asked, or it knows people who are none.
    Nobody,
    /// Nobody: this plugin refuses the request.
    Refused(&'static str),
    /// It cannot be said.
    Unclear,
}

/// What each plugin found, in their order, and what comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Each plugin with its finding.
    pub steps: Vec<(&'static str, Finding)>,
    /// What comes of it.
    pub outcome: Outcome,
}

impl Judgement {
    /// Whether somebody may have been authenticated before a plugin refused.
    pub(super) fn found_somebody(&self) -> bool {
        self.steps.iter().any(|(_, finding)| match finding {
            Finding::Known(_) | Finding::Claimed(_) | Finding::NoConsumer | Finding::Unclear => true,
            Finding::NotAsked | Finding::Absent | Finding::Refused => false,
        })
    }
}

/// Whether a plugin before has authenticated somebody (`anonymous` is nobody).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Authenticated {
    No,
    Perhaps,
    Yes,
}

impl Directory {
    /// Asks the plugins one after another.
    #[must_use]
    pub fn judge(&self, auth: &RouteAuth, request: &Request) -> Judgement {
        let mut steps = Vec::new();
        let mut outcome = Outcome::Nobody;
        let mut authenticated = Authenticated::No;
        for plugin in &*auth.chain {
            let is_passed_by = plugin.skips_preflight && &*request.method == b"OPTIONS"
                || !plugin.refuses() && authenticated != Authenticated::No;
            if is_passed_by {
                steps.push((plugin.plugin, Finding::NotAsked));
                continue;
            }
            let finding = plugin.find(request, &self.credentials);
            (outcome, authenticated) = if plugin.refuses() {
                must(plugin, &finding)
            } else {
                self.may(plugin, &finding, outcome)
            };
            steps.push((plugin.plugin, finding));
            if matches!(outcome, Outcome::Refused(_)) {
                break;
            }
        }
        Judgement { steps, outcome }
    }

    /// A plugin that takes whom it does not know for somebody.
    fn may(&self, plugin: &Authenticator, finding: &Finding, before: Outcome) -> (Outcome, Authenticated) {
        match (finding, &plugin.anonymous) {
            (Finding::Known(consumer), _) => (known(plugin, consumer), Authenticated::Yes),
            (Finding::Absent | Finding::Refused | Finding::NotAsked, Some(name)) => {
                let found = self.named(&Reference::Any(name.clone()));
                let anonymous = found.map_or(Outcome::Unclear, |consumer| {
                    Outcome::Consumer(Arc::clone(consumer), KnownBy::Anonymous)
                });
                (anonymous, Authenticated::No)
            }
            (Finding::Absent | Finding::Refused | Finding::NotAsked, None) => (before, Authenticated::No),
            // It may have been proven, or taken for nobody's.
            (Finding::Claimed(_) | Finding::NoConsumer | Finding::Unclear, _) => {
                (Outcome::Unclear, Authenticated::Perhaps)
            }
        }
    }
}

/// A plugin that must be satisfied: whatever follows, it was.
fn must(plugin: &Authenticator, finding: &Finding) -> (Outcome, Authenticated) {
    let outcome = match finding {
        Finding::Known(consumer) | Finding::Claimed(consumer) => known(plugin, consumer),
        Finding::NoConsumer => Outcome::Nobody,
        Finding::Absent | Finding::Refused => Outcome::Refused(plugin.plugin),
        Finding::Unclear | Finding::NotAsked => Outcome::Unclear,
    };
    (outcome, Authenticated::Yes)
}

fn known(plugin: &Authenticator, consumer: &Arc<Consumer>) -> Outcome {
    let by = if plugin.reads_tokens() {
        KnownBy::TokenUnverified
    } else {
        KnownBy::Credentials
    };
    Outcome::Consumer(Arc::clone(consumer), by)
}
