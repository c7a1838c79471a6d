//! Load through a gateway's life, and the judgement of what was missed meanwhile: how long kongtap was blind after each
//! event, for plain connections and for TLS, as figures.
//!
//! In: listeners, and the moments at which something was done to the gateway. Out: [`Blind`] times, or what no blind time
//! explains. Absent: the things that are done; those are the tests'.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{Connection, Scheme};
use crate::compare::{Expected, Verdict, compare};
use crate::gateway::Listeners;
use crate::kongtap::Kongtap;
use crate::load::plan;
use crate::payload::Numbers;
use crate::receiver::Receiver;
use crate::shipped::Shipped;
use crate::status::Status;
use crate::wait::eventually;

/// How long traffic may pass unseen after a gateway's processes were replaced.
pub const MOST_BLIND: Duration = Duration::from_secs(1);
/// How long the last messages may take.
const ARRIVAL: Duration = Duration::from_secs(30);
/// How long nothing more must come before the last message is held to be the last.
const QUIET: Duration = Duration::from_millis(400);
/// How many exchanges a connection makes before another one is opened, so that every moment has new connections too.
const EXCHANGES_A_CONNECTION: usize = 12;

/// Connections that send until they are told to stop.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    connections: JoinSet<anyhow::Result<Sent>>,
    count: watch::Receiver<usize>,
}

/// What was sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// Exchanges that the client has an answer to.
    pub whole: Vec<Timed>,
    /// Ids of requests that the gateway broke off.
    pub broken: HashSet<String>,
}

/// An exchange and when it was made.
#[derive(Clone, Debug)]
pub struct Timed {
    /// When its request was sent.
    pub began: Instant,
    /// Over what.
    pub scheme: Scheme,
    /// What has to arrive.
    pub expected: Expected,
}

/// How long kongtap was blind after one event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blind {
    /// From the event to the last plain exchange that was missed.
    pub plain: Duration,
    /// From the event to the last exchange over TLS that was missed.
    pub tls: Duration,
    /// Plain exchanges missed, of how many that began in the second after the event.
    pub plain_missed: (usize, usize),
    /// The same over TLS.
    pub tls_missed: (usize, usize),
}

impl fmt::Display for Blind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "plain {} ms ({} of {} missed), TLS {} ms ({} of {} missed)",
            self.plain.as_millis(),
            self.plain_missed.0,
            self.plain_missed.1,
            self.tls.as_millis(),
            self.tls_missed.0,
            self.tls_missed.1
        )
    }
}

impl Load {
    /// Starts so many connections of each scheme.
    #[must_use]
    pub fn start(listeners: Listeners, connections: u64) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (counter, count) = watch::channel(0);
        let mut tasks = JoinSet::new();
        for number in 0..connections {
            for scheme in [Scheme::Http, Scheme::Https] {
                let seed = number * 2 + u64::from(scheme == Scheme::Https) + 1;
                tasks.spawn(keep_sending(
                    listeners,
                    scheme,
                    seed,
                    stopped.clone(),
                    counter.clone(),
                ));
            }
        }
        Self {
            stop,
            connections: tasks,
            count,
        }
    }

    /// Waits until so many more exchanges were made.
    ///
    /// # Errors
    /// When they are not.
    pub async fn reach(&self, more: usize) -> anyhow::Result<()> {
        let goal = self.count.borrow().saturating_add(more);
        let mut count = self.count.clone();
        tokio::time::timeout(ARRIVAL, count.wait_for(|count| *count >= goal))
            .await
            .context("the load does not go on")?
            .context("the load has ended")?;
        Ok(())
    }

    /// Stops, and gives what was sent.
    ///
    /// # Errors
    /// When the gateway answered wrongly.
    pub async fn end(mut self) -> anyhow::Result<Sent> {
        let _all_ended = self.stop.send(true);
        let mut sent = Sent::default();
        while let Some(done) = self.connections.join_next().await {
            let done = done??;
            sent.whole.extend(done.whole);
            sent.broken.extend(done.broken);
        }
        sent.whole.sort_by_key(|timed| timed.began);
        Ok(sent)
    }
}

async fn keep_sending(
    listeners: Listeners,
    scheme: Scheme,
    seed: u64,
    stop: watch::Receiver<bool>,
    counter: watch::Sender<usize>,
) -> anyhow::Result<Sent> {
    let gateway = listeners.of(scheme).context("a listener")?;
    let (mut numbers, mut sent) = (Numbers::new(seed), Sent::default());
    while !*stop.borrow() {
        // While a gateway is stopped, nobody answers.
        let Ok(mut connection) = Connection::open(gateway, scheme).await else {
            tokio::task::yield_now().await;
            continue;
        };
        for _ in 0..EXCHANGES_A_CONNECTION {
            if *stop.borrow() {
                break;
            }
            let planned = plan(&mut numbers);
            let began = Instant::now();
            let Ok(answer) = connection.exchange(&planned.request).await else {
                sent.broken.insert(planned.request.id);
                break;
            };
            counter.send_modify(|count| *count = count.saturating_add(1));
            sent.whole.push(Timed {
                began,
                scheme,
                expected: planned.expected((scheme, gateway), &answer)?,
            });
        }
    }
    Ok(sent)
}

impl Sent {
    /// Leaves out what was sent before `moment`.
    pub fn forget_before(&mut self, moment: Instant) -> HashSet<String> {
        let (before, after): (Vec<_>, Vec<_>) = std::mem::take(&mut self.whole)
            .into_iter()
            .partition(|timed| timed.began < moment);
        self.whole = after;
        before.into_iter().map(|timed| timed.expected.id).collect()
    }

    /// Compares what was sent with what arrived. What is missing or half seen must have begun within [`MOST_BLIND`] after
    /// one of `events`. `excused` are ids of messages that may arrive or not.
    ///
    /// # Errors
    /// Everything that no event explains.
    pub fn judge(
        &self,
        shipped: &[Shipped],
        events: &[Instant],
        excused: &HashSet<String>,
    ) -> anyhow::Result<Vec<Blind>> {
        let expected: Vec<Expected> = self.whole.iter().map(|timed| timed.expected.clone()).collect();
        let shipped: Vec<Shipped> = shipped
            .iter()
            .filter(|message| {
                let id = message.id.as_deref().unwrap_or_default();
                !excused.contains(id) && !self.broken.contains(id)
            })
            .cloned()
            .collect();
        let report = compare(&expected, &shipped);
        let mut blind: HashMap<Instant, Blind> = HashMap::new();
        let mut complaints = Vec::new();
        for (row, timed) in report.rows.iter().zip(&self.whole) {
            let event = events.iter().rev().find(|event| **event <= timed.began);
            let after = event.map(|event| (*event, timed.began.duration_since(*event)));
            let explained = after.filter(|(_, after)| *after < MOST_BLIND);
            if let Some((event, after)) = explained {
                let blind = blind.entry(event).or_default();
                let (longest, (missed, all)) = match timed.scheme {
                    Scheme::Http => (&mut blind.plain, &mut blind.plain_missed),
                    Scheme::Https => (&mut blind.tls, &mut blind.tls_missed),
                };
                *all = all.saturating_add(1);
                if matches!(row.verdict, Verdict::Missing | Verdict::HalfSeen) {
                    *missed = missed.saturating_add(1);
                    *longest = after.max(*longest);
                    continue;
                }
            }
            if row.verdict != Verdict::Same {
                complaints.push(format!(
                    "{} {}: {} ({:?} after an event)",
                    row.expected.method,
                    row.expected.url,
                    row.verdict,
                    after.map(|(_, after)| after)
                ));
            }
        }
        complaints.extend(
            report
                .strangers
                .iter()
                .map(|stranger| format!("unexpected: {stranger}")),
        );
        ensure!(
            complaints.is_empty(),
            "{} of {} exchanges are wrong:\n{}",
            complaints.len(),
            report.rows.len(),
            complaints.iter().take(12).cloned().collect::<Vec<_>>().join("\n")
        );
        Ok(events
            .iter()
            .map(|event| blind.get(event).copied().unwrap_or_default())
            .collect())
    }
}

/// Waits until nothing more arrives, kongtap has nothing left to send, and both sums hold.
///
/// # Errors
/// When that does not come to be.
pub async fn quiet(kongtap: &Kongtap, receiver: &Receiver) -> anyhow::Result<Status> {
    let mut last = (0, Instant::now());
    eventually("the last message", ARRIVAL, async || {
        let status = kongtap.status().await.map_err(|error| format!("{error:#}"))?;
        let posts = receiver.count();
        if posts != last.0 {
            last = (posts, Instant::now());
        }
        status.require_balance().map_err(|error| format!("{error:#}"))?;
        if status.exchanges.queued > 0 || last.1.elapsed() < QUIET {
            return Err(format!("{posts} posts; {:?}", status.exchanges));
        }
        Ok(status)
    })
    .await
}
