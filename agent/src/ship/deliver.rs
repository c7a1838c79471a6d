//! What one sender does: POST after POST for one destination, until there is nothing to send now.
//!
//! Each message's fate is decided here, in one place: it arrived, it is sent again later, or it is given up for a reason.

use std::sync::Arc;

use fastrand::Rng;

use crate::clock;
use crate::ship::attempt;
use crate::ship::clients::{ClientError, Endpoint};
use crate::ship::failure::Failure;
use crate::ship::lane::Lent;
use crate::ship::queue::claim::{Claim, End};
use crate::ship::retry;

/// Sends a destination's messages as long as there are any to send now.
pub(super) async fn deliver(claim: Claim, endpoint: Result<Arc<Endpoint>, ClientError>) {
    let account = claim.account();
    let limits = claim.limits();
    // Seeded anew for each sender, from the thread's own.
    let mut rng = Rng::new();
    loop {
        let mut tickets = claim.next(clock::instant());
        if tickets.is_empty() {
            return;
        }
        for ticket in &mut tickets {
            ticket.begin_attempt();
        }
        let attempt = account.start_attempt();
        let posted = match &endpoint {
            Ok(endpoint) => attempt::post(endpoint, &tickets, limits.answer_bytes).await,
            Err(error) => attempt::Posted::all(&tickets, &Failure::unsendable(error)),
        };
        attempt.end();
        account.note_warnings(posted.warnings);
        let now = clock::instant();
        let mut again = Vec::new();
        let mut last_failure = None;
        for (mut ticket, fate) in tickets.into_iter().zip(posted.fates) {
            match fate {
                Ok(()) => ticket.ship(),
                Err(failure) => {
                    last_failure = Some(failure.clone());
                    match retry::next_attempt(&failure, &ticket, &claim.retry(&ticket), &mut rng, now) {
                        Some(due) => {
                            ticket.postpone(failure);
                            again.push(Lent { ticket, due });
                        }
                        None => ticket.give_up(&failure),
                    }
                }
            }
        }
        let end = End {
            ended: posted.ended,
            form: posted.form,
            last_failure,
        };
        claim.finish(end, again, now);
    }
}
