//! Waiting for something to become true, with a budget. The only place that sleeps, and never for the thing itself.

use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(25);

/// Asks `probe` until it answers with a value.
///
/// # Errors
/// When `budget` is over: says what was waited for, and the probe's last word on why not.
pub async fn eventually<T>(
    what: &str,
    budget: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + budget;
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(why_not) if Instant::now() >= deadline => {
                bail!("after {} s still waiting for {what}: {why_not}", budget.as_secs())
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
