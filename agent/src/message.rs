//! The message: what the `runscope` plugin posted for one exchange, field for field, and what kongtap adds to it.
//!
//! In: a joined exchange, the request headers as plugins saw them, what the gateway's configuration says of it, and the
//! `runscope` configuration in force. Out: a [`Message`], redacted. `docs/message.md` describes every field.
//!
//! Deliberately absent: whether an exchange is shipped at all (the pipeline asks `plugin` and
//! [`answer::is_gateway_made_error`] before it calls [`build`]), clocks, and any way to a `Message` that passes
//! redaction by (invariant I7: the fields are private; [`Message::without_bodies`] only leaves out, and what [`build`] did not make now
//! it made before a restart, see `Message::from_spool`).

pub mod answer;
mod body;
mod document;
mod fields;
mod form;
mod kong;
mod latencies;
pub mod redact;
mod shed;
pub mod shedding;
mod target;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::WallClock;
use crate::correlate::JoinedExchange;
use crate::gateway::snapshot::Resolution;
use crate::guard::levels::Shed;
use crate::http::headers::Headers;
use crate::message::redact::Redaction;
use crate::message::shed::Bodies;
use crate::plugin::{Destination, PluginConfig};

/// What is posted: the plugin's JSON message, redacted, and where it goes. Only [`build`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    destination: Arc<Destination>,
    json: Bytes,
    bodies: Bodies,
    outcome: Outcome,
    profile: Profile,
}

/// How the exchange went, for who must choose between messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered with a status below 400.
    Success,
    /// It was answered with 400 or above, or not at all.
    Error,
}

impl Message {
    /// A message that [`build`] made and the spool kept, whose checksum says that it is the same. The one exception to the rule that
    /// only [`build`] makes one: it was redacted then, by the rules of then.
    pub(crate) fn from_spool(
        destination: Arc<Destination>,
        json: Bytes,
        outcome: Outcome,
        profile: Profile,
    ) -> Self {
        Self {
            destination,
            json,
            // Where its bodies stand was not kept: it gives way whole, and back to the spool.
            bodies: Bodies::default(),
            outcome,
            profile,
        }
    }

    /// Where it goes.
    #[must_use]
    pub fn destination(&self) -> &Arc<Destination> {
        &self.destination
    }

    /// The JSON text.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// How its exchange went.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Whether a receiver can tell that it has it: whether it carries `unique_identifier`.
    #[must_use]
    pub const fn is_recognisable(&self) -> bool {
        matches!(self.profile, Profile::Extended)
    }
}

/// How much a message says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Exactly the keys that the old plugin sent, with its omissions.
    Plugin,
    /// The same, and what kongtap knows beyond it: `unique_identifier`, `body_encoding` and `kong`.
    #[default]
    Extended,
}

/// Everything that a message is made of.
#[derive(Clone, Copy, Debug)]
pub struct BuildInput<'a> {
    /// The exchange.
    pub joined: &'a JoinedExchange,
    /// The request headers as plugins left them: client headers with what plugins added and took away, without what
    /// nginx adds on the upstream leg.
    pub request_headers: &'a Headers,
    /// Route, Service, Consumer, and where credentials stand.
    pub resolution: &'a Resolution,
    /// The configuration in force.
    pub config: &'a PluginConfig,
    /// How much to say.
    pub profile: Profile,
    /// What to hide.
    pub redaction: &'a Redaction,
    /// At most so many bytes are decoded of a request body to look for what to hide.
    pub decoded_bytes: usize,
    /// Unix time of the captured host.
    pub wall: WallClock,
}

/// Makes the message of one exchange. Whatever is missing in the exchange is missing in the message: without a request
/// head there is no `request`, without a response head no `response` (the Runscope API takes either).
#[must_use]
pub fn build(input: &BuildInput<'_>) -> Message {
    build_within(input, Shed::default())
}

/// The same while some is left undone: bodies are cut, and the message says so.
#[must_use]
pub fn build_within(input: &BuildInput<'_>, shed: Shed) -> Message {
    let status = input
        .joined
        .client
        .response
        .as_ref()
        .map(|response| response.status);
    let (json, bodies) = document::write(input, shed);
    Message {
        destination: Arc::clone(&input.config.destination),
        json: json.into(),
        bodies,
        outcome: match status {
            Some(..400) => Outcome::Success,
            Some(_) | None => Outcome::Error,
        },
        profile: input.profile,
    }
}
