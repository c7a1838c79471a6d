//! What shipping a message takes from the allocator.
//!
//! In: a way to count, which is the program's that has a counting allocator (`kongtap-bench-ship-allocations`). Out: [`Allocations`].
//! Everything runs on the one thread that is counted, in another kind of runtime than the agent's: that takes the same memory.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::case::Case;
use super::messages;
use super::sender::{Offering, Queue, WARM_UP, configured};
use crate::bench::figures::number;
use crate::bench::parse::allocations::Count;

/// Messages that are counted. They all fit into the queue.
const MESSAGES: usize = 5000;
/// How long that may take.
const BUDGET: Duration = Duration::from_secs(60);

/// What a message takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Allocations {
    /// Times a message.
    pub times: f64,
    /// Bytes a message.
    pub bytes: f64,
}

/// What the program that counts is asked.
#[derive(Clone, Debug, clap::Parser)]
pub struct Options {
    /// How messages are shipped.
    #[arg(long, value_enum)]
    case: Case,
    /// Where to.
    #[arg(long)]
    endpoint: String,
}

/// Counts.
///
/// # Errors
/// When this agent does not know the case, or a message was not shipped.
pub fn of(options: &Options, count: Count) -> anyhow::Result<Allocations> {
    // A spool is for rows of its own: what it takes is not on this thread.
    let config = configured(options.case, Path::new("spool"))?;
    let messages = messages::make(&options.endpoint)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _entered = runtime.enter();
    let (offering, shipper) = Queue::new(&config).split();
    let shipping = tokio::spawn(shipper.run(CancellationToken::new()));
    let mut in_turn = messages.iter().cycle();
    offering.offer(&mut in_turn, WARM_UP);
    runtime.block_on(emptied(&offering))?;

    let mut emptied_again = Ok(());
    let counted = count(&mut || {
        offering.offer(&mut in_turn, MESSAGES);
        emptied_again = runtime.block_on(emptied(&offering));
    });
    emptied_again?;
    shipping.abort();
    Ok(Allocations {
        times: number(counted.times) / number(MESSAGES),
        bytes: number(counted.bytes) / number(MESSAGES),
    })
}

async fn emptied(offering: &Offering) -> anyhow::Result<()> {
    let waiting = async {
        while !offering.is_empty()? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    };
    tokio::time::timeout(BUDGET, waiting)
        .await
        .context("the queue did not become empty")?
}

/// Has them counted by `program`.
///
/// # Errors
/// When it cannot be started, fails, or prints something else.
pub fn counted_by(program: &Path, case: Case, endpoint: &str) -> anyhow::Result<Allocations> {
    let output = Command::new(program)
        .args(["--case", case.name(), "--endpoint", endpoint])
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} failed: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("its answer")
}
