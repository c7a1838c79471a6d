//! What waits in a lane, held against a list that is searched from end to end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Portion, Relief, Short, Waiting};
use crate::clock;
use crate::message::redact::Redaction;
use crate::message::tests::{exchange, message_of, nowhere};
use crate::message::{Message, Outcome, Profile};
use crate::ship::account::{Account, Ticket};
use crate::ship::shed::{GoesFirst, ShedCause, ShedPolicy};
use crate::telemetry::ledger::ExchangeLedger;

/// Of each outcome one message without bodies and two with.
fn samples() -> Vec<Message> {
    let sample = |status: u16, bytes: usize| {
        let joined = exchange("GET", "/", &[], "", status, &[], &"x".repeat(bytes));
        message_of(&joined, &nowhere(), true, Profile::Extended, &Redaction::Default)
    };
    [
        (200, 0),
        (200, 100),
        (200, 3000),
        (503, 0),
        (503, 100),
        (503, 3000),
    ]
    .map(|(status, bytes)| sample(status, bytes))
    .into()
}

/// A message that waits, in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listed {
    number: u64,
    outcome: Outcome,
    bytes: usize,
    has_bodies: bool,
    due: Option<Instant>,
}

impl Listed {
    fn of(ticket: &Ticket, due: Option<Instant>) -> Self {
        Self {
            number: ticket.number(),
            outcome: ticket.message().outcome(),
            bytes: ticket.bytes(),
            has_bodies: ticket.message().shed_bytes() > 0,
            due,
        }
    }
}

/// The same as [`Waiting`], without any order.
#[derive(Debug, Default)]
struct List(Vec<Listed>);

impl List {
    fn remove(&mut self, number: u64) -> Listed {
        let at = self.0.iter().position(|listed| listed.number == number).unwrap();
        self.0.remove(at)
    }

    fn is_ready(listed: &Listed, now: Instant) -> bool {
        listed.due.is_none_or(|due| due <= now)
    }

    fn take(&mut self, now: Instant, portion: Portion) -> Vec<u64> {
        let mut ready: Vec<Listed> = self.0.clone();
        ready.retain(|listed| Self::is_ready(listed, now));
        ready.sort_by_key(|listed| (listed.due.is_none(), listed.due, listed.number));
        let mut taken = Vec::new();
        let mut bytes = 0;
        for listed in ready {
            bytes += listed.bytes;
            let fits = taken.len() < portion.messages && bytes <= portion.bytes;
            if !taken.is_empty() && !fits {
                break;
            }
            taken.push(self.remove(listed.number).number);
        }
        taken
    }

    /// The number of what gives way, and whether only its bodies do.
    fn relieve(&self, short: Short, policy: &ShedPolicy) -> Option<(u64, bool)> {
        let mut order = self.0.clone();
        order.sort_by_key(|listed| listed.number);
        if policy.first == GoesFirst::Newest {
            order.reverse();
        }
        if policy.errors_last {
            order.sort_by_key(|listed| listed.outcome == Outcome::Error);
        }
        let sheds_bodies = policy.bodies && short != Short::Messages;
        let bodies = order.iter().find(|listed| sheds_bodies && listed.has_bodies);
        let message = || order.first().map(|listed| (listed.number, false));
        bodies.map(|listed| (listed.number, true)).or_else(message)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push { sample: usize },
    Take { messages: usize, bytes: usize },
    PutBack { lent: usize, after_ms: u64 },
    Relieve { short: Short },
    Wait { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let short = prop_oneof![
        Just(Short::Messages),
        Just(Short::Bytes(ShedCause::QueueFull)),
        Just(Short::Bytes(ShedCause::Pressure)),
    ];
    prop_oneof![
        5 => (0..6_usize).prop_map(|sample| Step::Push { sample }),
        2 => (0..5_usize, 0..9000_usize).prop_map(|(messages, bytes)| Step::Take { messages, bytes }),
        2 => (0..9_usize, 0..30_u64).prop_map(|(lent, after_ms)| Step::PutBack { lent, after_ms }),
        2 => short.prop_map(|short| Step::Relieve { short }),
        1 => (0..20_u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

fn policy() -> impl Strategy<Value = ShedPolicy> {
    let first = prop_oneof![Just(GoesFirst::Newest), Just(GoesFirst::Oldest)];
    (any::<bool>(), any::<bool>(), first).prop_map(|(bodies, errors_last, first)| ShedPolicy {
        bodies,
        errors_last,
        first,
    })
}

fn check(samples: &[Message], steps: &[Step], policy: &ShedPolicy) {
    let account = Arc::new(Account::new(Arc::new(ExchangeLedger::default())));
    let mut now = clock::instant();
    let (mut waiting, mut list) = (Waiting::default(), List::default());
    let mut lent: Vec<Ticket> = Vec::new();
    for step in steps {
        match *step {
            Step::Push { sample } => {
                let ticket = Ticket::new(samples[sample].clone(), Arc::clone(&account), now);
                list.0.push(Listed::of(&ticket, None));
                waiting.push(ticket);
            }
            Step::Take { messages, bytes } => {
                let portion = Portion { messages, bytes };
                let taken = waiting.take(now, portion);
                let numbers: Vec<u64> = taken.iter().map(Ticket::number).collect();
                assert_eq!(numbers, list.take(now, portion), "{portion:?}");
                lent.extend(taken);
            }
            Step::PutBack { lent: at, after_ms } if at < lent.len() => {
                let due = now + Duration::from_millis(after_ms);
                let ticket = lent.remove(at);
                list.0.push(Listed::of(&ticket, Some(due)));
                waiting.put_back(ticket, due);
            }
            Step::PutBack { .. } => {}
            Step::Relieve { short } => match (waiting.relieve(short, policy), list.relieve(short, policy)) {
                (Some(Relief::Bodies), Some((number, true))) => {
                    let listed = list.0.iter_mut().find(|listed| listed.number == number).unwrap();
                    listed.has_bodies = false;
                    let sample = samples.iter().find(|sample| sample.json().len() == listed.bytes);
                    let bare = sample.unwrap().without_bodies().unwrap();
                    listed.bytes = bare.json().len();
                }
                (Some(Relief::Message(ticket)), Some((number, false))) => {
                    assert_eq!(ticket.number(), number);
                    assert_eq!(Listed::of(&ticket, list.remove(number).due).number, number);
                }
                (None, None) => {}
                other => panic!("{short:?}: {other:?}"),
            },
            Step::Wait { ms } => now += Duration::from_millis(ms),
        }
        let ready = list.0.iter().filter(|listed| List::is_ready(listed, now)).count();
        assert_eq!(waiting.ready(now), ready, "{step:?}");
        let later = list.0.iter().filter_map(|listed| listed.due);
        assert_eq!(
            waiting.next_due(),
            later.filter(|due| *due > now).min(),
            "{step:?}"
        );
        assert_eq!(waiting.held(Short::Messages), list.0.len(), "{step:?}");
        let bytes: usize = list.0.iter().map(|listed| listed.bytes).sum();
        assert_eq!(
            waiting.held(Short::Bytes(ShedCause::QueueFull)),
            bytes,
            "{step:?}"
        );
        assert_eq!(waiting.is_empty(), list.0.is_empty(), "{step:?}");
        let lent_bytes: usize = lent.iter().map(Ticket::bytes).sum();
        assert_eq!(account.held_bytes(), bytes + lent_bytes, "{step:?}");
        assert_eq!(account.held_messages(), list.0.len() + lent.len(), "{step:?}");
    }
}

proptest! {
    #[test]
    fn it_does_what_a_list_does(steps in proptest::collection::vec(step(), 1..120), policy in policy()) {
        thread_local! {
            static SAMPLES: Vec<Message> = samples();
        }
        SAMPLES.with(|samples| check(samples, &steps, &policy));
    }
}

#[test]
fn what_came_first_goes_first_and_repeats_before_it() {
    let account = Arc::new(Account::new(Arc::new(ExchangeLedger::default())));
    let now = clock::instant();
    let later = now + Duration::from_secs(1);
    let sample = samples().remove(1);
    let mut waiting = Waiting::default();
    for _ in 0..4 {
        waiting.push(Ticket::new(sample.clone(), Arc::clone(&account), now));
    }
    let one = Portion {
        messages: 1,
        bytes: usize::MAX,
    };
    let mut first = waiting.take(now, one);
    assert_eq!(first[0].number(), 0);
    waiting.put_back(first.remove(0), later);
    assert_eq!((waiting.ready(now), waiting.next_due()), (3, Some(later)));
    let mut next = |at: Instant| waiting.take(at, one).first().map(Ticket::number);
    assert_eq!(next(now), Some(1));
    assert_eq!(next(later), Some(0));
    assert_eq!((next(later), next(later), next(later)), (Some(2), Some(3), None));
}
