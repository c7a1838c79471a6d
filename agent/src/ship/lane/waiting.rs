//! What waits in one lane: messages in the order they came, and those that are to be sent again at their time.
//!
//! In: tickets. Out: the next ones to send, and what gives way when the queue is full. Every operation is a few steps in
//! search trees, however much waits. No clock, no lock.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::message::Outcome;
use crate::ship::account::Ticket;
use crate::ship::shed::{GoesFirst, ShedCause, ShedPolicy};
use crate::telemetry::ledger::DropReason;

/// What the queue is short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Short {
    Messages,
    Bytes(ShedCause),
}

impl Short {
    pub(crate) const fn reason(self) -> DropReason {
        match self {
            Self::Messages => DropReason::QueueFullCount,
            Self::Bytes(_) => DropReason::QueueFullBytes,
        }
    }
}

/// The most that one POST takes. One message always fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Portion {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// What was given up for room.
#[derive(Debug)]
pub(crate) enum Relief {
    /// A message's bodies.
    Bodies,
    /// A message.
    Message(Ticket),
}

#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Not sent before.
    fresh: Shelves<Ticket>,
    /// To be sent again, with the time for it.
    again: Shelves<(Instant, Ticket)>,
    /// The same by time: those whose time had not come at the last look, and those whose had.
    later: BTreeMap<(Instant, Arrival), Kind>,
    due: BTreeMap<(Instant, Arrival), Kind>,
    bytes: usize,
}

/// A ticket's number: which of two messages came first.
type Arrival = u64;

/// What matters of a message to who must choose between messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    SuccessWithBodies,
    ErrorWithBodies,
    BareSuccess,
    BareError,
}

/// Tickets by kind, then in the order they came.
#[derive(Debug)]
struct Shelves<T> {
    success_with_bodies: BTreeMap<Arrival, T>,
    error_with_bodies: BTreeMap<Arrival, T>,
    bare_success: BTreeMap<Arrival, T>,
    bare_error: BTreeMap<Arrival, T>,
}

impl Waiting {
    pub(crate) fn push(&mut self, ticket: Ticket) {
        self.bytes += ticket.bytes();
        self.fresh
            .shelf(Kind::of(&ticket))
            .insert(ticket.number(), ticket);
    }

    /// Takes back one that is to be sent again, not before `due`.
    pub(crate) fn put_back(&mut self, ticket: Ticket, due: Instant) {
        self.bytes += ticket.bytes();
        let kind = Kind::of(&ticket);
        self.later.insert((due, ticket.number()), kind);
        self.again.shelf(kind).insert(ticket.number(), (due, ticket));
    }

    /// The next messages to send: repeats that are due first, then those that have waited longest.
    pub(crate) fn take(&mut self, now: Instant, portion: Portion) -> Vec<Ticket> {
        self.look_at(now);
        let mut taken = Vec::new();
        let mut room = portion.bytes;
        while taken.len() < portion.messages.max(1) {
            let Some(next) = self.next() else { break };
            let bytes = self.peek(next).map_or(0, Ticket::bytes);
            if bytes > room && !taken.is_empty() {
                break;
            }
            room = room.saturating_sub(bytes);
            taken.extend(self.remove(next));
        }
        taken
    }

    /// How many could be taken now.
    pub(crate) fn ready(&mut self, now: Instant) -> usize {
        self.look_at(now);
        self.fresh.len() + self.due.len()
    }

    /// When the first repeat falls due of those that were not at the last look.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.later.first_key_value().map(|((due, _), _)| *due)
    }

    /// How much of what is short it holds.
    pub(crate) fn held(&self, short: Short) -> usize {
        match short {
            Short::Messages => self.fresh.len() + self.due.len() + self.later.len(),
            Short::Bytes(_) => self.bytes,
        }
    }

    /// How many are to be sent again.
    pub(crate) fn repeats(&self) -> usize {
        self.again.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held(Short::Messages) == 0
    }

    /// Gives up what the policy says is to go first: where bytes are short, bodies, then messages; of either successes', then
    /// errors'; of those the newest or the oldest. `None` if nothing waits.
    pub(crate) fn relieve(&mut self, short: Short, policy: &ShedPolicy) -> Option<Relief> {
        use Kind::{BareError, BareSuccess, ErrorWithBodies, SuccessWithBodies};
        let (bodies, messages): (&[&[Kind]], &[&[Kind]]) = if policy.errors_last {
            (
                &[&[SuccessWithBodies], &[ErrorWithBodies]],
                &[&[SuccessWithBodies, BareSuccess], &[ErrorWithBodies, BareError]],
            )
        } else {
            (&[&[SuccessWithBodies, ErrorWithBodies]], &[&Kind::ALL])
        };
        if policy.bodies
            && let Short::Bytes(cause) = short
            && let Some(place) = bodies.iter().find_map(|kinds| self.end(kinds, policy.first))
        {
            self.shed_bodies(place, cause);
            return Some(Relief::Bodies);
        }
        let place = messages.iter().find_map(|kinds| self.end(kinds, policy.first))?;
        self.remove(place).map(Relief::Message)
    }

    /// The newest message, if the spool has it as well.
    pub(crate) fn newest_stored(&mut self) -> Option<Ticket> {
        let place = self.end(&Kind::ALL, GoesFirst::Newest)?;
        if !self.peek(place)?.is_stored() {
            return None;
        }
        self.remove(place)
    }

    /// Tells apart the repeats whose time has come.
    fn look_at(&mut self, now: Instant) {
        while let Some(first) = self.later.first_entry()
            && first.key().0 <= now
        {
            let (key, kind) = first.remove_entry();
            self.due.insert(key, kind);
        }
    }

    /// The message to send next.
    fn next(&self) -> Option<Place> {
        if let Some(((_, arrival), kind)) = self.due.first_key_value() {
            return Some(Place {
                again: true,
                kind: *kind,
                arrival: *arrival,
            });
        }
        let (arrival, kind) = self.fresh.end(&Kind::ALL, GoesFirst::Oldest)?;
        Some(Place {
            again: false,
            kind,
            arrival,
        })
    }

    /// The oldest or newest message of these kinds.
    fn end(&self, kinds: &[Kind], first: GoesFirst) -> Option<Place> {
        let fresh = self.fresh.end(kinds, first);
        let again = self.again.end(kinds, first);
        let is_repeat = match (fresh, again) {
            (None, _) => true,
            (_, None) => false,
            (Some((fresh, _)), Some((again, _))) => (again < fresh) == (first == GoesFirst::Oldest),
        };
        let (arrival, kind) = if is_repeat { again? } else { fresh? };
        Some(Place {
            again: is_repeat,
            kind,
            arrival,
        })
    }

    fn peek(&self, place: Place) -> Option<&Ticket> {
        if place.again {
            self.again
                .of(place.kind)
                .get(&place.arrival)
                .map(|(_, ticket)| ticket)
        } else {
            self.fresh.of(place.kind).get(&place.arrival)
        }
    }

    fn remove(&mut self, place: Place) -> Option<Ticket> {
        let Place { again, kind, arrival } = place;
        let ticket = if again {
            let (due, ticket) = self.again.shelf(kind).remove(&arrival)?;
            let is_due = self.due.remove(&(due, arrival)).is_some();
            if !is_due {
                self.later.remove(&(due, arrival));
            }
            ticket
        } else {
            self.fresh.shelf(kind).remove(&arrival)?
        };
        self.bytes -= ticket.bytes();
        Some(ticket)
    }

    /// Whatever comes of it, the message counts as bare from now on, so that nobody tries twice.
    fn shed_bodies(&mut self, place: Place, cause: ShedCause) {
        let Place { again, kind, arrival } = place;
        if again {
            let Some((due, mut ticket)) = self.again.shelf(kind).remove(&arrival) else {
                return;
            };
            self.bytes -= ticket.shed_bodies(cause);
            for schedule in [&mut self.later, &mut self.due] {
                if let Some(noted) = schedule.get_mut(&(due, arrival)) {
                    *noted = kind.bare();
                }
            }
            self.again.shelf(kind.bare()).insert(arrival, (due, ticket));
        } else if let Some(mut ticket) = self.fresh.shelf(kind).remove(&arrival) {
            self.bytes -= ticket.shed_bodies(cause);
            self.fresh.shelf(kind.bare()).insert(arrival, ticket);
        }
    }
}

/// Where a ticket is.
#[derive(Clone, Copy, Debug)]
struct Place {
    again: bool,
    kind: Kind,
    arrival: Arrival,
}

impl Kind {
    const ALL: [Self; 4] = [
        Self::SuccessWithBodies,
        Self::ErrorWithBodies,
        Self::BareSuccess,
        Self::BareError,
    ];

    const fn of(ticket: &Ticket) -> Self {
        let message = ticket.message();
        match (message.outcome(), message.shed_bytes()) {
            (Outcome::Success, 0) => Self::BareSuccess,
            (Outcome::Error, 0) => Self::BareError,
            (Outcome::Success, _) => Self::SuccessWithBodies,
            (Outcome::Error, _) => Self::ErrorWithBodies,
        }
    }

    const fn bare(self) -> Self {
        match self {
            Self::SuccessWithBodies | Self::BareSuccess => Self::BareSuccess,
            Self::ErrorWithBodies | Self::BareError => Self::BareError,
        }
    }
}

impl<T> Shelves<T> {
    const fn of(&self, kind: Kind) -> &BTreeMap<Arrival, T> {
        match kind {
            Kind::SuccessWithBodies => &self.success_with_bodies,
            Kind::ErrorWithBodies => &self.error_with_bodies,
            Kind::BareSuccess => &self.bare_success,
            Kind::BareError => &self.bare_error,
        }
    }

    const fn shelf(&mut self, kind: Kind) -> &mut BTreeMap<Arrival, T> {
        match kind {
            Kind::SuccessWithBodies => &mut self.success_with_bodies,
            Kind::ErrorWithBodies => &mut self.error_with_bodies,
            Kind::BareSuccess => &mut self.bare_success,
            Kind::BareError => &mut self.bare_error,
        }
    }

    fn len(&self) -> usize {
        Kind::ALL.iter().map(|kind| self.of(*kind).len()).sum()
    }

    /// The oldest or newest of these kinds.
    fn end(&self, kinds: &[Kind], first: GoesFirst) -> Option<(Arrival, Kind)> {
        let ends = kinds.iter().filter_map(|kind| {
            let shelf = self.of(*kind);
            let end = match first {
                GoesFirst::Newest => shelf.last_key_value(),
                GoesFirst::Oldest => shelf.first_key_value(),
            };
            end.map(|(arrival, _)| (*arrival, *kind))
        });
        match first {
            GoesFirst::Newest => ends.max_by_key(|(arrival, _)| *arrival),
            GoesFirst::Oldest => ends.min_by_key(|(arrival, _)| *arrival),
        }
    }
}

impl<T> Default for Shelves<T> {
    fn default() -> Self {
        Self {
            success_with_bodies: BTreeMap::new(),
            error_with_bodies: BTreeMap::new(),
            bare_success: BTreeMap::new(),
            bare_error: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests;
