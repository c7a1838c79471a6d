//! Joins legs that no request id ties: by worker, order and time, where only one answer is possible.
//!
//! In: exchanges of either leg without a common id, the clients' requests that are still under way, and the time. Out: clients with
//! the legs that are certainly theirs. A worker of the gateway does one thing after another, so an upstream leg lies within its
//! client's exchange; `evidence` says what else ties the two or keeps them apart, `assign` what follows for certain.
//!
//! What is not known must not look like an answer, so whatever is forgotten leaves a mark: legs of before it are nobody's,
//! clients of before it stay alone. Deliberately absent: counters and request ids, which are the correlator's.

mod assign;
mod evidence;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet, VecDeque};

use self::assign::Verdict;
use self::evidence::{Attempt, Client};
use super::held::bytes_of;
use super::shelf::{Key, Shelf};
use crate::capture::event::KernelTime;
use crate::http::exchange::{Exchange, HeadState, Outcome};
use crate::http::open::{OpenHead, OpenRequest};

/// Clients that left while legs of theirs may still come, in number; over it the oldest is forgotten.
const GONE_MAX: usize = 1024;
/// Ids of legs that are nobody's for certain, in number; over it they are forgotten together.
const CONTESTED_IDS_MAX: usize = 4096;

/// A client whose turn has come.
#[derive(Debug)]
pub(super) struct Due {
    /// What its response names, if it does.
    pub(super) key: Option<Key>,
    /// When it was taken in.
    pub(super) since: KernelTime,
    pub(super) client: Exchange,
}

/// A client with what is certainly its own.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) due: Due,
    /// In the order of their requests.
    pub(super) upstream: Vec<Exchange>,
    /// Legs were there that can be its own, but not for certain.
    pub(super) is_ambiguous: bool,
}

/// A leg without a request id.
#[derive(Debug)]
struct HeldLeg {
    since: KernelTime,
    leg: Exchange,
    /// It can belong to a client that left without it, so no other will get it.
    is_contested: bool,
}

/// A client that left while legs of its own may still come.
#[derive(Debug)]
struct Gone {
    asked: OpenRequest,
    /// When the last of them can have started.
    until: KernelTime,
}

/// What is held without an id.
#[derive(Debug, Default)]
pub(super) struct Order {
    clients: VecDeque<(KernelTime, Exchange)>,
    client_bytes: usize,
    /// By the number of their arrival.
    legs: BTreeMap<u64, HeldLeg>,
    leg_bytes: usize,
    next_arrival: u64,
    /// As [`HeldLeg::is_contested`], for legs on the shelf.
    contested: HashSet<Key>,
    gone: VecDeque<Gone>,
    /// Clients that asked before this are forgotten: a leg that started before it may be one of theirs.
    clients_forgotten: KernelTime,
    /// Legs that started before this are forgotten: a client that started before it may have had one of them.
    legs_forgotten: KernelTime,
}

/// Where a leg is kept.
#[derive(Clone, Debug)]
enum Place {
    Held(u64),
    Shelf(Key),
}

impl Order {
    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }

    pub(super) fn legs(&self) -> usize {
        self.legs.len()
    }

    /// What the clients hold.
    pub(super) const fn client_bytes(&self) -> usize {
        self.client_bytes
    }

    /// What the legs hold.
    pub(super) const fn leg_bytes(&self) -> usize {
        self.leg_bytes
    }

    /// Whether a leg is worth keeping: the gateway made it for a client.
    pub(super) fn takes(leg: &Exchange) -> bool {
        leg.request.as_ref().is_some_and(evidence::is_on_behalf)
    }

    pub(super) fn hold_client(&mut self, client: Exchange, now: KernelTime) {
        self.client_bytes = self.client_bytes.saturating_add(bytes_of(&client));
        self.clients.push_back((now, client));
    }

    pub(super) fn hold_leg(&mut self, leg: Exchange, now: KernelTime) {
        self.leg_bytes = self.leg_bytes.saturating_add(bytes_of(&leg));
        let held = HeldLeg {
            since: now,
            leg,
            is_contested: false,
        };
        self.legs.insert(self.next_arrival, held);
        self.next_arrival += 1;
    }

    /// A client is gone of which nothing is kept, and which may have asked until `until`.
    pub(super) fn forget_client(&mut self, until: KernelTime) {
        self.clients_forgotten = self.clients_forgotten.max(until);
    }

    /// A leg is gone that started at `started` and was nobody's.
    pub(super) fn forget_leg(&mut self, started: KernelTime) {
        self.legs_forgotten = self.legs_forgotten.max(started);
    }

    /// Whether a client has waited for `grace_ns`.
    pub(super) fn is_due(&self, now: KernelTime, grace_ns: u64) -> bool {
        self.clients
            .front()
            .is_some_and(|(since, _)| now.ns_since(*since) >= grace_ns)
    }

    /// Takes out the oldest client, if it has waited for `grace_ns`.
    pub(super) fn pop_due(&mut self, now: KernelTime, grace_ns: u64) -> Option<Due> {
        self.is_due(now, grace_ns).then(|| self.pop_client()).flatten()
    }

    /// Takes out the oldest client.
    pub(super) fn pop_client(&mut self) -> Option<Due> {
        let (since, client) = self.clients.pop_front()?;
        self.client_bytes = self.client_bytes.saturating_sub(bytes_of(&client));
        Some(Due {
            key: None,
            since,
            client,
        })
    }

    /// Takes out the oldest leg.
    pub(super) fn pop_leg(&mut self) -> Option<Exchange> {
        let (_, held) = self.legs.pop_first()?;
        self.leg_bytes = self.leg_bytes.saturating_sub(bytes_of(&held.leg));
        self.forget_leg(asked_at(&held.leg).unwrap_or(held.since));
        Some(held.leg)
    }

    /// Takes out the oldest leg, if it has been here for `age_ns`.
    pub(super) fn pop_aged_leg(&mut self, now: KernelTime, age_ns: u64) -> Option<Exchange> {
        let oldest = self.legs.first_entry()?;
        (now.ns_since(oldest.get().since) >= age_ns)
            .then(|| self.pop_leg())
            .flatten()
    }

    /// Forgets clients of whom no leg can come any more.
    pub(super) fn age(&mut self, now: KernelTime, age_ns: u64) {
        while let Some(gone) = self.gone.pop_front_if(|gone| now.ns_since(gone.until) >= age_ns) {
            self.forget_client(gone.until);
        }
    }

    /// Gives each of `due` what is certainly its own, from what is held here and from `shelf` (legs with an id that no client's
    /// response named). `waiting` are clients with an id, which wait for their legs.
    pub(super) fn settle(
        &mut self,
        due: Vec<Due>,
        shelf: &mut Shelf<Exchange>,
        waiting: &Shelf<Exchange>,
        open: &[OpenRequest],
    ) -> Vec<Settled> {
        let (places, verdicts) = if due.is_empty() || (self.legs.is_empty() && shelf.len() == 0) {
            (Vec::new(), Vec::new())
        } else {
            self.choose(&due, shelf, waiting, open)
        };
        let place_of = |attempt: usize| places.get(attempt).cloned();
        let mut verdicts = verdicts.into_iter();
        let mut settled = Vec::with_capacity(due.len());
        for due in due {
            self.note_gone(&due);
            let (own, is_ambiguous) = match verdicts.next() {
                Some(Verdict::Its(own)) => (own, false),
                Some(Verdict::Apart(possible)) => {
                    for place in possible.into_iter().filter_map(place_of) {
                        self.contest(place, due.since);
                    }
                    (Vec::new(), true)
                }
                Some(Verdict::None) | None => (Vec::new(), false),
            };
            let upstream = own
                .into_iter()
                .filter_map(place_of)
                .flat_map(|place| self.take(place, shelf))
                .collect();
            settled.push(Settled {
                due,
                upstream,
                is_ambiguous,
            });
        }
        settled
    }

    /// Where the legs are, and which of them each of `due` gets.
    fn choose(
        &self,
        due: &[Due],
        shelf: &Shelf<Exchange>,
        waiting: &Shelf<Exchange>,
        open: &[OpenRequest],
    ) -> (Vec<Place>, Vec<Verdict>) {
        let earliest = due.iter().filter_map(|due| asked_at(&due.client)).min();
        let earliest = earliest.unwrap_or(KernelTime(u64::MAX));
        let held = self
            .legs
            .iter()
            .map(|(arrival, held)| (Place::Held(*arrival), &held.leg, None));
        let on_shelf = shelf
            .iter()
            .map(|(key, leg)| (Place::Shelf(key.clone()), leg, Some(&key.id)));
        let (places, attempts): (Vec<Place>, Vec<Attempt<'_>>) = held
            .chain(on_shelf)
            .filter_map(|(place, leg, id)| Some((place, Attempt::of(leg, id)?)))
            .filter(|(_, attempt)| attempt.started() >= earliest)
            .unzip();

        let clients: Vec<Client<'_>> = due
            .iter()
            .map(|due| Client::finished(&due.client, due.since, due.key.as_ref().map(|key| &key.id)))
            .chain(
                self.clients
                    .iter()
                    .map(|(since, client)| Client::finished(client, *since, None)),
            )
            .chain(waiting.iter().map(|(key, client)| {
                // It has a response, or it would have no id.
                Client::finished(client, KernelTime(u64::MAX), Some(&key.id))
            }))
            .chain(open.iter().map(Client::open))
            .chain(self.gone.iter().map(|gone| Client::gone(&gone.asked, gone.until)))
            .collect();

        let is_free = |index: usize| {
            let is_contested = match places.get(index) {
                Some(Place::Held(arrival)) => self.legs.get(arrival).is_none_or(|held| held.is_contested),
                Some(Place::Shelf(key)) => self.contested.contains(key),
                None => true,
            };
            let started = attempts.get(index).map(Attempt::started);
            !is_contested && started.is_some_and(|started| started > self.clients_forgotten)
        };
        let mut verdicts = assign::assign(&clients, due.len(), &attempts, is_free);
        for (due, verdict) in due.iter().zip(&mut verdicts) {
            if let Verdict::Its(own) = verdict
                && asked_at(&due.client).is_none_or(|started| started <= self.legs_forgotten)
            {
                *verdict = Verdict::Apart(std::mem::take(own));
            }
        }
        (places, verdicts)
    }

    /// Remembers a client that did not get all of its answer: the gateway may still be asking for it.
    fn note_gone(&mut self, due: &Due) {
        let client = &due.client;
        let Some(request) = client
            .request
            .as_ref()
            .filter(|_| client.outcome != Outcome::Complete)
        else {
            return;
        };
        let response = client.response.as_ref();
        self.gone.push_back(Gone {
            asked: OpenRequest {
                conn: client.conn,
                started: request.started,
                answered: response.map(|response| response.started),
                head: Some(OpenHead {
                    target: request.target.clone(),
                    headers: request.headers.clone(),
                    is_whole: request.head == HeadState::Whole,
                }),
            },
            until: response.map_or(due.since, |response| response.started),
        });
        while self.gone.len() > GONE_MAX
            && let Some(oldest) = self.gone.pop_front()
        {
            self.forget_client(oldest.until);
        }
    }

    /// A leg can belong to a client that left without it at `at`.
    fn contest(&mut self, place: Place, at: KernelTime) {
        match place {
            Place::Held(arrival) => {
                if let Some(held) = self.legs.get_mut(&arrival) {
                    held.is_contested = true;
                }
            }
            Place::Shelf(key) => {
                if self.contested.len() >= CONTESTED_IDS_MAX {
                    self.contested.clear();
                    self.forget_client(at);
                }
                self.contested.insert(key);
            }
        }
    }

    fn take(&mut self, place: Place, shelf: &mut Shelf<Exchange>) -> Vec<Exchange> {
        match place {
            Place::Held(arrival) => {
                let held = self.legs.remove(&arrival);
                let bytes = held.as_ref().map_or(0, |held| bytes_of(&held.leg));
                self.leg_bytes = self.leg_bytes.saturating_sub(bytes);
                held.map(|held| held.leg).into_iter().collect()
            }
            Place::Shelf(key) => shelf.take(&key),
        }
    }
}

fn asked_at(exchange: &Exchange) -> Option<KernelTime> {
    exchange.request.as_ref().map(|request| request.started)
}
