//! Which upstream attempts belong to which client, where only one answer is possible.
//!
//! In: views of clients and attempts. Out: a [`Verdict`] for each client. An attempt is given to a client if that is the only one it can belong to,
//! and no other attempt can belong to that client but its failed predecessors. What follows from one such certainty counts for
//! the next: a client that has its answer asked for nothing more. Deliberately absent: choosing the likeliest.

use std::collections::VecDeque;

use super::evidence::{self, Attempt, Client};

/// Clients that one worker may have at once while its attempts are still looked at, in number. Over it an attempt is left apart.
pub(super) const CONCURRENT_MAX: usize = 1024;
/// Possible clients of one attempt among which the evidence is searched, in number.
pub(super) const COMPARED_MAX: usize = 32;

/// What is certain of one client. Attempts are named by index, in the order of their requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No attempt can belong to it.
    None,
    /// These belong to it and to nobody else.
    Its(Vec<usize>),
    /// These can belong to it, which is not certain.
    Apart(Vec<usize>),
}

/// Answers for the first `asked` of `clients`. `is_free` says whether an attempt may be given to anybody.
pub(super) fn assign(
    clients: &[Client<'_>],
    asked: usize,
    attempts: &[Attempt<'_>],
    is_free: impl Fn(usize) -> bool,
) -> Vec<Verdict> {
    let mut possible = possible_clients(clients, attempts);
    for (attempt, candidates) in attempts.iter().zip(&mut possible) {
        tell_apart(clients, attempt, candidates);
    }
    let mut attempts_of = inverted(&possible, clients.len());
    settle(clients, attempts, &mut possible, &mut attempts_of);

    let is_alone = |client: usize, attempt: usize| {
        let only = matches!(possible.get(attempt), Some(Candidates::These(only)) if *only == [client]);
        only && is_free(attempt)
    };
    clients
        .iter()
        .zip(attempts_of)
        .take(asked)
        .enumerate()
        .map(|(index, (client, mut own))| {
            own.sort_by_key(|attempt| attempts.get(*attempt).map(Attempt::started));
            let requests: Vec<&Attempt<'_>> =
                own.iter().filter_map(|attempt| attempts.get(*attempt)).collect();
            let Some(last) = requests.last() else {
                return Verdict::None;
            };
            let is_one_request = requests
                .windows(2)
                .all(|pair| matches!(pair, [one, next] if one.is_repeated_by(next)));
            if is_one_request
                && evidence::fits(client, last)
                && own.iter().all(|attempt| is_alone(index, *attempt))
            {
                Verdict::Its(own)
            } else {
                Verdict::Apart(own)
            }
        })
        .collect()
}

/// The clients that an attempt can belong to.
#[derive(Debug)]
enum Candidates {
    /// These, by index.
    These(Vec<usize>),
    /// Too many to be looked at.
    Many,
}

/// For each attempt the clients that it can belong to. One pass in the order of time: only those that a worker has under way are
/// compared.
fn possible_clients(clients: &[Client<'_>], attempts: &[Attempt<'_>]) -> Vec<Candidates> {
    let mut arriving: Vec<(usize, &Client<'_>)> = clients.iter().enumerate().collect();
    arriving.sort_by_key(|(_, client)| (client.worker(), client.started));
    let mut arriving = arriving.into_iter().peekable();
    let mut order: Vec<(usize, &Attempt<'_>)> = attempts.iter().enumerate().collect();
    order.sort_by_key(|(_, attempt)| (attempt.worker(), attempt.started()));

    let mut possible: Vec<Candidates> = attempts.iter().map(|_| Candidates::Many).collect();
    let mut under_way: Vec<(usize, &Client<'_>)> = Vec::new();
    for (index, attempt) in order {
        let here = (attempt.worker(), attempt.started());
        while let Some(next) = arriving.next_if(|(_, client)| (client.worker(), client.started) <= here) {
            under_way.push(next);
        }
        under_way.retain(|(_, client)| client.worker() == here.0 && client.until >= here.1);
        if under_way.len() > CONCURRENT_MAX {
            continue;
        }
        let those = under_way
            .iter()
            .filter(|(_, client)| evidence::can_belong(client, attempt))
            .map(|(client, _)| *client)
            .collect();
        if let Some(slot) = possible.get_mut(index) {
            *slot = Candidates::These(those);
        }
    }
    possible
}

/// Leaves the one candidate that its own fields tell from every other.
fn tell_apart(clients: &[Client<'_>], attempt: &Attempt<'_>, candidates: &mut Candidates) {
    let Candidates::These(those) = candidates else {
        return;
    };
    if those.len() < 2 || those.len() > COMPARED_MAX {
        return;
    }
    let is_told = |one: &usize, other: &usize| {
        let views = clients.get(*one).zip(clients.get(*other));
        views.is_some_and(|(one, other)| evidence::is_told_from(one, other, attempt))
    };
    let only = those
        .iter()
        .find(|one| those.iter().all(|other| *one == other || is_told(one, other)))
        .copied();
    if let Some(only) = only {
        *those = vec![only];
    }
}

/// For each client the attempts that can belong to it. Attempts with too many clients belong to nobody.
fn inverted(possible: &[Candidates], clients: usize) -> Vec<Vec<usize>> {
    let mut attempts_of = vec![Vec::new(); clients];
    for (attempt, candidates) in possible.iter().enumerate() {
        if let Candidates::These(those) = candidates {
            for client in those {
                if let Some(own) = attempts_of.get_mut(*client) {
                    own.push(attempt);
                }
            }
        }
    }
    attempts_of
}

/// A client that certainly has its answer asked for nothing after it, and for nothing before it that did not fail.
fn settle(
    clients: &[Client<'_>],
    attempts: &[Attempt<'_>],
    possible: &mut [Candidates],
    attempts_of: &mut [Vec<usize>],
) {
    let mut certain: VecDeque<usize> = (0..attempts.len()).collect();
    while let Some(index) = certain.pop_front() {
        let (Some(answer), Some(Candidates::These(those))) = (attempts.get(index), possible.get(index))
        else {
            continue;
        };
        let &[owner] = those.as_slice() else {
            continue;
        };
        let Some((client, own)) = clients.get(owner).zip(attempts_of.get_mut(owner)) else {
            continue;
        };
        if answer.may_be_repeated() || !evidence::fits(client, answer) {
            continue;
        }
        own.retain(|other| {
            let Some(attempt) = attempts.get(*other) else {
                return false;
            };
            if *other == index || attempt.is_repeated_by(answer) {
                return true;
            }
            match possible.get_mut(*other) {
                Some(Candidates::These(others)) if others.len() > 1 => {
                    others.retain(|candidate| *candidate != owner);
                    certain.push_back(*other);
                    false
                }
                // It can be nobody else's: something was not seen, and nothing of this client's is certain.
                Some(Candidates::These(_) | Candidates::Many) | None => true,
            }
        });
    }
}
