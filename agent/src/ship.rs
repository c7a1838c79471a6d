//! Delivery: messages go out, one POST each, and every one of them ends up in the ledger exactly once.
//!
//! In: [`Message`]s, from any thread, without waiting. Out: POSTs to each message's destination, counts in the
//! [`ExchangeLedger`], a [`ShipStats`] and few log lines. `queue` holds what waits, `attempt` makes one POST and says
//! what became of it, `clients` pools connections, `account` counts.
//!
//! Deliberately absent, for now: retries, batches, a breaker and a spool. What an attempt's `attempt::Failure` leads to
//! is decided in one place, `deliver`; that is where they go.

mod account;
mod attempt;
mod clients;
mod faults;
pub mod probe;
mod queue;
pub mod spool;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::message::Message;
use crate::ship::account::Account;
pub use crate::ship::account::ShipStats;
use crate::ship::clients::Clients;
pub use crate::ship::faults::LastError;
use crate::ship::queue::{Claim, Queue};
use crate::telemetry::ledger::ExchangeLedger;

/// What shipping may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShipLimits {
    /// Messages that may be held, waiting and in flight, over all destinations.
    pub queue_messages: usize,
    /// Bytes of JSON that may be held, likewise.
    pub queue_bytes: usize,
    /// Attempts in flight to one destination.
    pub in_flight: usize,
    /// How much of an endpoint's answer is read, bytes.
    pub answer_bytes: usize,
    /// How long what is held may take to leave when the agent stops.
    pub drain_timeout: Duration,
}

impl Default for ShipLimits {
    fn default() -> Self {
        Self {
            queue_messages: 10_000,
            queue_bytes: 64 << 20,
            in_flight: 16,
            answer_bytes: 64 << 10,
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// How often lines about failures are written at most, for each reason.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A queue: the handle puts messages in, the shipper, once it runs, takes them out.
#[must_use]
pub fn new(limits: ShipLimits, ledger: Arc<ExchangeLedger>) -> (ShipHandle, Shipper) {
    let account = Arc::new(Account::new(ledger));
    let queue = Arc::new(Queue::new(limits, account));
    let handle = ShipHandle {
        queue: Arc::clone(&queue),
    };
    let shipper = Shipper {
        queue,
        clients: Clients::new(limits.in_flight),
        limits,
    };
    (handle, shipper)
}

/// Where messages are put in. Clones put into the same queue.
#[derive(Clone, Debug)]
pub struct ShipHandle {
    queue: Arc<Queue>,
}

impl ShipHandle {
    /// Takes a message, or drops and counts it. Never waits.
    ///
    /// When the bounds are reached the destination that holds the most gives way, so that one that does not keep up
    /// cannot take the others' room.
    pub fn offer(&self, message: Message) {
        self.queue.offer(message);
    }

    /// The counts now.
    #[must_use]
    pub fn stats(&self) -> ShipStats {
        self.queue.account().stats()
    }
}

/// Sends what was put in. Dropping it, running or not, drops what is left in the queue as [`Shutdown`].
///
/// [`Shutdown`]: crate::telemetry::ledger::DropReason::Shutdown
#[derive(Debug)]
pub struct Shipper {
    queue: Arc<Queue>,
    clients: Clients,
    limits: ShipLimits,
}

impl Shipper {
    /// Sends until `cancel`, then takes no more and goes on with what it has for at most `drain_timeout`.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut senders = JoinSet::new();
        let mut lines = tokio::time::interval(LINE_EVERY);
        loop {
            self.start_senders(&mut senders);
            tokio::select! {
                () = cancel.cancelled() => break,
                () = self.queue.work() => {}
                Some(ended) = senders.join_next() => note_end(ended),
                _ = lines.tick() => self.queue.account().write_lines(clock::instant()),
            }
        }
        self.queue.close();
        let queue = Arc::clone(&self.queue);
        let drain_timeout = self.limits.drain_timeout;
        let drain = async {
            while queue.account().holds_any() {
                self.start_senders(&mut senders);
                tokio::select! {
                    () = queue.work() => {}
                    Some(ended) = senders.join_next() => note_end(ended),
                }
            }
        };
        if tokio::time::timeout(drain_timeout, drain).await.is_err() {
            tracing::warn!(
                messages = queue.account().stats().queued_messages,
                "Stopped before everything was shipped."
            );
        }
        senders.shutdown().await;
    }

    fn start_senders(&mut self, senders: &mut JoinSet<()>) {
        for claim in self.queue.claims() {
            let client = self.clients.client(claim.destination());
            senders.spawn(deliver(claim, client, self.limits.answer_bytes));
        }
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        self.queue.close();
        self.queue.clear();
        self.queue.account().write_lines(clock::instant());
    }
}

/// Sends the messages of one destination, one after the other, until none waits.
async fn deliver(
    claim: Claim,
    client: Result<clients::PooledClient, clients::ClientError>,
    answer_bytes: usize,
) {
    let account = claim.account();
    let endpoint = client.and_then(|client| attempt::Endpoint::new(client, claim.destination()));
    while let Some(ticket) = claim.next() {
        let attempt = account.start_attempt();
        let outcome = match &endpoint {
            Ok(endpoint) => attempt::post(endpoint, ticket.message(), answer_bytes).await,
            Err(error) => Err(attempt::Failure::unsendable(error)),
        };
        attempt.end();
        match outcome {
            Ok(()) => ticket.ship(),
            Err(failure) => ticket.give_up(failure),
        }
    }
}

/// A sender that panicked has dropped its ticket and its claim, which count and hand on; only the line is left to do.
fn note_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("A sender failed; the message it had is counted as dropped.");
    }
}
