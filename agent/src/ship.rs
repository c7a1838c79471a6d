//! Delivery: messages go out, one POST each, and every one of them ends up in the ledger exactly once.
//!
//! In: [`Message`]s, from any thread, without waiting. Out: POSTs to each message's destination, counts in the
//! [`ExchangeLedger`], a [`ShipStats`] and few log lines.
//!
//! ```text
//! offer ─ queue ─┬─ lane::waiting   what waits for one destination, what gives way when the queue is full (shed)
//!                ├─ batch           how many messages one POST may hold
//!                └─ lane::health    how many attempts an endpoint may have at once: none while its breaker is open
//! run ── deliver ─ attempt ─ clients   one POST over pooled connections, and what became of each message in it
//!           │         │    └── tls     private authorities
//!           │         └── answer        what the endpoint says of each message
//!           └── retry               whether and when a message is sent again
//! queue::stored ─ spool             messages on disk: ahead of a crash, and what memory has no room for
//! account ─ faults                  the ledger, the figures of `/status`, the log lines
//! ```

mod account;
mod answer;
mod attempt;
mod batch;
mod body;
mod clients;
mod deliver;
mod failure;
mod faults;
mod lane;
pub mod probe;
mod queue;
pub mod retry;
pub mod shed;
pub mod spool;
#[cfg(test)]
mod tests;
pub mod tls;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::message::Message;
use crate::plugin::Destination;
use crate::plugin::transport::ProxyChoice;
use crate::ship::account::Account;
pub use crate::ship::account::ShipStats;
use crate::ship::clients::Clients;
use crate::ship::deliver::deliver;
pub use crate::ship::faults::LastError;
pub use crate::ship::lane::endpoint::{EndpointFailure, EndpointStats};
pub use crate::ship::lane::health::EndpointState;
pub use crate::ship::lane::health::breaker::BreakerLimits;
use crate::ship::queue::Queue;
use crate::ship::retry::RetryLimits;
use crate::ship::shed::ShedPolicy;
use crate::ship::spool::{Recovery, SpoolError, SpoolOptions};
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
    /// Messages in one POST, where the endpoint answers in list form.
    pub batch: usize,
    /// Bytes of JSON in one such POST.
    pub batch_bytes: usize,
    /// What gives way when more is offered than may be held.
    pub shed: ShedPolicy,
    /// Repeats.
    pub retry: RetryLimits,
    /// When an endpoint is left alone.
    pub breaker: BreakerLimits,
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
            batch: 1,
            batch_bytes: 1 << 20,
            shed: ShedPolicy::default(),
            retry: RetryLimits::default(),
            breaker: BreakerLimits::default(),
            answer_bytes: 64 << 10,
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// How often lines about failures are written at most, for each reason.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How long the disk may take for what is left when the agent stops.
const SPOOL_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// Takes a message, perhaps without its bodies, or drops and counts it. Never waits.
    ///
    /// When the bounds are reached the destination that holds the most gives way, so that one that does not keep up
    /// cannot take the others' room. What of its messages goes first, [`ShedPolicy`] says; the one that comes in is no
    /// exception.
    pub fn offer(&self, message: Message) {
        self.queue.offer(message);
    }

    /// Opens the spool: from now on messages are written ahead to disk, and those that it holds are sent to the destinations that
    /// [`configured`](Self::configured) names or messages are offered for. They count as seen and queued. Blocks on the disk; once only.
    ///
    /// # Errors
    /// [`SpoolError`]: another agent has it, or the disk refuses, which `/status` shows; shipping goes on without.
    pub fn open_spool(&self, options: SpoolOptions) -> Result<Recovery, SpoolError> {
        self.queue.open_spool(options)
    }

    /// Where configurations post to now: only there, what the spool holds is sent.
    pub fn configured(&self, destinations: &[Arc<Destination>]) {
        self.queue.configured(destinations);
    }

    /// Lowers the bound by bytes (or raises it again: `ShipLimits::queue_bytes` is the most), and sheds down to it before it
    /// returns, as far as what is held is not under way. For whoever watches the agent's memory; from any thread.
    ///
    /// Bodies that go although the configured bound would have had room for them are counted as `pressure`.
    pub fn set_byte_limit(&self, bytes: usize) {
        self.queue.set_byte_limit(bytes);
    }

    /// Memory is short, or no longer: the queue may hold half of its bytes, or all of them.
    pub fn set_pressure(&self, is_short: bool) {
        let most = self.queue.limits().queue_bytes;
        self.set_byte_limit(if is_short { most / 2 } else { most });
    }

    /// The counts now.
    #[must_use]
    pub fn stats(&self) -> ShipStats {
        self.queue.stats()
    }
}

/// Sends what was put in. Dropping it, running or not, drops what is left in the queue as [`Shutdown`], unless the spool has it.
///
/// [`Shutdown`]: crate::telemetry::ledger::DropReason::Shutdown
#[derive(Debug)]
pub struct Shipper {
    queue: Arc<Queue>,
    clients: Clients,
    limits: ShipLimits,
}

impl Shipper {
    /// The proxy of destinations that name none; by default what the environment says.
    #[must_use]
    pub fn by_proxy(mut self, proxy: ProxyChoice) -> Self {
        self.clients.set_proxy(proxy);
        self
    }

    /// Sends until `cancel`, then takes no more and goes on with what it has for at most `drain_timeout`.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut senders = JoinSet::new();
        let mut refills = JoinSet::new();
        let mut lines = tokio::time::interval(LINE_EVERY);
        loop {
            self.start_senders(&mut senders);
            for refill in self.queue.refills() {
                refills.spawn_blocking(move || refill.run());
            }
            tokio::select! {
                () = cancel.cancelled() => break,
                () = self.queue.work() => {}
                () = self.until_due() => {}
                Some(ended) = senders.join_next() => note_end(ended),
                Some(ended) = refills.join_next() => note_end(ended),
                _ = lines.tick() => self.write_lines(),
            }
        }
        self.queue.close();
        let queue = Arc::clone(&self.queue);
        let drain_timeout = self.limits.drain_timeout;
        let end = clock::instant() + drain_timeout;
        let drain = async {
            while queue.account().holds_any() {
                self.start_senders(&mut senders);
                let next = self.queue.next_due();
                if senders.is_empty() && next.is_none_or(|due| due > end) {
                    // All that is left waits for endpoints that will be left alone for longer.
                    break;
                }
                tokio::select! {
                    () = queue.work() => {}
                    () = self.until_due() => {}
                    Some(ended) = senders.join_next() => note_end(ended),
                }
            }
        };
        let in_time = tokio::time::timeout(drain_timeout, drain).await;
        if in_time.is_err() || queue.account().holds_any() {
            tracing::warn!(
                messages = queue.stats().queued_messages,
                "Stopped before everything was shipped."
            );
        }
        senders.shutdown().await;
        self.queue.clear();
        if let Some(spool) = queue.account().spool().cloned() {
            let closing = tokio::task::spawn_blocking(move || spool.close());
            if tokio::time::timeout(SPOOL_TIMEOUT, closing).await.is_err() {
                tracing::error!("The disk keeps the spool waiting; what it did not take is lost.");
            }
        }
    }

    fn start_senders(&mut self, senders: &mut JoinSet<()>) {
        let now = clock::instant();
        for claim in self.queue.claims(now) {
            let endpoint = self.clients.endpoint(claim.destination(), now);
            senders.spawn(deliver(claim, endpoint));
        }
    }

    fn write_lines(&self) {
        let now = clock::instant();
        self.queue.account().write_lines(now);
        self.queue.write_lines(now);
    }

    /// Waits until a repeat falls due or a breaker lets an attempt through; for ever when time alone changes nothing.
    async fn until_due(&self) {
        match self.queue.next_due() {
            Some(due) => tokio::time::sleep_until(due.into()).await,
            None => std::future::pending().await,
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

/// A sender that panicked has dropped its ticket and its claim, which count and hand on; only the line is left to do.
fn note_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("A sender failed; the message it had is counted as dropped.");
    }
}
