//! The live table: what arrives at the inspector, in order of arrival, while a trickle of samples goes through the gateway.

use std::collections::HashSet;
use std::time::Duration;

use super::{Stage, table};
use crate::inspector::uuid;
use crate::payload::Numbers;
use crate::samples;
use crate::shipped::Shipped;

/// How often the inspector is asked.
const LOOK: Duration = Duration::from_millis(250);
/// How often a sample is sent after the first round.
const TRICKLE: Duration = Duration::from_millis(1500);
/// How many of the newest messages are looked at each time.
const LIST: usize = 200;

/// Runs until it is dropped, or something breaks.
#[expect(clippy::print_stdout, reason = "the lab talks to the person who started it")]
pub(super) async fn live(stage: &mut Stage) -> anyhow::Result<()> {
    println!("page       {}", stage.inspector.url());
    println!("Ctrl-C ends it all and leaves nothing behind.\n");
    table::print_head();
    let mut first_round = stage.samples().into_iter();
    let mut numbers = Numbers::new(u64::from(std::process::id()));
    let mut known = HashSet::new();
    let mut looking = tokio::time::interval(LOOK);
    let mut trickle = tokio::time::interval(TRICKLE);
    loop {
        tokio::select! {
            _ = looking.tick() => {
                stage.kongtap.process().require_running()?;
                if let Some(sample) = first_round.next() {
                    samples::send(&sample, stage.gateway.listeners()).await?;
                }
                known = show_new(stage, &known).await?;
            }
            _ = trickle.tick(), if first_round.len() == 0 => {
                let samples = stage.samples();
                let count = u64::try_from(samples.len())?;
                let pick = usize::try_from(numbers.below(count))?;
                if let Some(sample) = samples.get(pick) {
                    samples::send(sample, stage.gateway.listeners()).await?;
                }
                // Nobody compares in this mode, and it may run for long.
                drop(stage.upstream.take());
            }
        }
    }
}

/// Prints what was not there the last time; gives what is there now.
async fn show_new(stage: &Stage, known: &HashSet<String>) -> anyhow::Result<HashSet<String>> {
    let mut now = HashSet::new();
    for message in stage.inspector.newest(LIST).await? {
        let uuid = uuid(&message)?.to_owned();
        if !known.contains(&uuid) {
            table::print_message(&Shipped::read(&message)?);
        }
        now.insert(uuid);
    }
    Ok(now)
}
