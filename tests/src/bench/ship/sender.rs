//! The agent's shipping alone, in a process of its own: messages into the queue, as fast as its bounds allow, and out of it.
//!
//! In: [`Sending`]. Out: [`Sent`], a line on standard output. Queue, shipper, clients and runtime are the agent's own, configured by its
//! configuration. A thread offers, as the agent's worker does; it waits when the queue is full, so that nothing is dropped.

use std::iter::Cycle;
use std::path::{Path, PathBuf};
use std::slice::Iter;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kongtap::app::{runtime, setup};
use kongtap::clock;
use kongtap::config::{self, Config};
use kongtap::message::Message;
use kongtap::ship::{self, ShipHandle, ShipLimits, Shipper};
use kongtap::telemetry::ledger::{ExchangeLedger, LedgerSnapshot};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::case::{Arrival, Case};
use super::messages;
use crate::bench::cpu::{Cpus, pin};
use crate::bench::figures::number;

/// Sent before anything is measured: connections are open then, and buffers have their sizes.
pub const WARM_UP: usize = 500;
/// How long all of it may take.
const BUDGET: Duration = Duration::from_secs(120);
/// How long a full queue is left alone. It holds many times what leaves it meanwhile.
const PAUSE: Duration = Duration::from_millis(2);

/// What to send.
#[derive(Clone, Debug, clap::Args)]
pub struct Sending {
    /// How.
    #[arg(long, hide = true, value_enum)]
    case: Option<Case>,
    /// Where to.
    #[arg(long, hide = true, requires = "case")]
    endpoint: Option<String>,
    /// How many.
    #[arg(long, hide = true, default_value_t = 1000)]
    messages: usize,
    /// Where the spool may be.
    #[arg(long, hide = true, default_value = "spool")]
    spool: PathBuf,
}

/// What was measured of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// Messages that were measured.
    pub messages: u64,
    /// Bytes of their JSON.
    pub bytes: u64,
    /// Messages shipped in all, those of the warm-up included.
    pub shipped: u64,
    /// CPU time of this process, user and system, ns.
    pub cpu_ns: u64,
    /// From the first offer to the last answer, ns.
    pub took_ns: u64,
}

impl Sent {
    /// µs of CPU time a message.
    #[must_use]
    pub fn cpu_us(&self) -> f64 {
        micros(self.cpu_ns) / number(self.messages)
    }

    /// Messages a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        number(self.messages) / (micros(self.took_ns) / 1e6)
    }
}

fn micros(ns: u64) -> f64 {
    number(ns / 1000)
}

impl Sending {
    /// Sends, when that is what this program was started for. `false`: it was not.
    ///
    /// # Errors
    /// When this agent does not know the case, or a message was not shipped.
    #[expect(clippy::print_stdout, reason = "that is where its parent reads")]
    pub fn run(&self) -> anyhow::Result<bool> {
        let (Some(case), Some(endpoint)) = (self.case, &self.endpoint) else {
            return Ok(false);
        };
        pin(Cpus::choose()?.gateway)?;
        let queue = Queue::new(&configured(case, &self.spool)?);
        let messages = messages::make(endpoint)?;
        let sent = measure(queue, &messages, case.arrival(), self.messages)?;
        println!("{}", serde_json::to_string(&sent)?);
        Ok(true)
    }
}

/// The agent's configuration for `case`.
///
/// # Errors
/// When this agent does not know it.
pub fn configured(case: Case, spool: &Path) -> anyhow::Result<Config> {
    config::from_toml("bench.toml".as_ref(), &case.configuration(spool))
        .context("this kongtap does not know it")
}

/// Messages over and over.
pub type InTurn<'m> = Cycle<Iter<'m, Message>>;

/// The agent's queue with both its ends.
#[derive(Debug)]
pub struct Queue {
    limits: ShipLimits,
    ledger: Arc<ExchangeLedger>,
    handle: ShipHandle,
    shipper: Shipper,
}

impl Queue {
    /// As `app::run` makes it.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let limits = setup::ship_limits(config);
        let ledger = Arc::new(ExchangeLedger::default());
        let (handle, shipper) = ship::new(limits, Arc::clone(&ledger));
        Self {
            limits,
            ledger,
            handle,
            shipper,
        }
    }

    /// Both ends apart.
    #[must_use]
    pub fn split(self) -> (Offering, Shipper) {
        let offering = Offering {
            limits: self.limits,
            ledger: self.ledger,
            handle: self.handle,
        };
        (offering, self.shipper)
    }
}

/// The end where messages are put in.
#[derive(Debug)]
pub struct Offering {
    limits: ShipLimits,
    ledger: Arc<ExchangeLedger>,
    handle: ShipHandle,
}

impl Offering {
    /// Puts in so many of `messages`, in turn.
    pub fn offer(&self, messages: &mut InTurn<'_>, count: usize) {
        for message in messages.take(count) {
            self.ledger.saw();
            self.handle.offer(message.clone());
        }
    }

    /// For how many messages of so many bytes there is room.
    fn room(&self, message_bytes: usize) -> usize {
        let held = self.handle.stats();
        let messages = self.limits.queue_messages.saturating_sub(held.queued_messages);
        let bytes = self.limits.queue_bytes.saturating_sub(held.queued_bytes);
        messages.min(bytes / message_bytes)
    }

    /// Whether everything that was put in has left, and arrived.
    ///
    /// # Errors
    /// When something was lost.
    pub fn is_empty(&self) -> anyhow::Result<bool> {
        let counts = self.ledger.snapshot();
        ensure!(dropped(&counts) == 0, "messages were lost: {:?}", counts.dropped);
        Ok(counts.queued == 0)
    }

    /// Messages shipped so far.
    #[must_use]
    pub fn shipped(&self) -> u64 {
        self.ledger.snapshot().shipped
    }
}

fn dropped(counts: &LedgerSnapshot) -> u64 {
    counts.dropped.iter().map(|(_, count)| count).sum()
}

fn measure(queue: Queue, messages: &[Message], arrival: Arrival, count: usize) -> anyhow::Result<Sent> {
    let runtime = runtime::build().context("start the runtime")?;
    let (offering, shipper) = queue.split();
    let stop = CancellationToken::new();
    let shipping = runtime.spawn(shipper.run(stop.clone()));
    let mut in_turn = messages.iter().cycle();
    pass(&offering, &mut in_turn, Arrival::FullRate, WARM_UP)?;

    let bytes: usize = in_turn
        .clone()
        .take(count)
        .map(|message| message.json().len())
        .sum();
    let (began, cpu_began) = (clock::instant(), process_time()?);
    pass(&offering, &mut in_turn, arrival, count)?;
    let (took, cpu) = (began.elapsed(), process_time()?.saturating_sub(cpu_began));
    stop.cancel();
    runtime.block_on(shipping).context("the shipper")?;
    Ok(Sent {
        messages: u64::try_from(count)?,
        bytes: u64::try_from(bytes)?,
        shipped: offering.shipped(),
        cpu_ns: u64::try_from(cpu.as_nanos())?,
        took_ns: u64::try_from(took.as_nanos())?,
    })
}

/// Puts `count` messages in and waits until all have left.
fn pass(
    offering: &Offering,
    messages: &mut InTurn<'_>,
    arrival: Arrival,
    count: usize,
) -> anyhow::Result<()> {
    let began = clock::instant();
    let mut left = count;
    let mut bursts = 0_u32;
    while left > 0 || !offering.is_empty()? {
        ensure!(
            began.elapsed() < BUDGET,
            "{left} messages are left after {BUDGET:?}"
        );
        let (now, pause) = match arrival {
            Arrival::FullRate => (offering.room(messages::BYTES * 2), PAUSE),
            Arrival::Bursts { messages, every_us } => {
                bursts += 1;
                let due = Duration::from_micros(every_us) * bursts;
                (messages, due.saturating_sub(began.elapsed()))
            }
        };
        let now = now.min(left);
        offering.offer(messages, now);
        left -= now;
        std::thread::sleep(pause);
    }
    Ok(())
}

fn process_time() -> anyhow::Result<Duration> {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Ok(Duration::new(
        u64::try_from(now.tv_sec)?,
        u32::try_from(now.tv_nsec)?,
    ))
}
