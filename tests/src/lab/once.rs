//! `--once`: every sample is sent, and each has to be at the inspector once, as it was.

use anyhow::{bail, ensure};

use super::{ARRIVAL, Stage, table};
use crate::compare::{Expected, Report, compare};
use crate::inspector::uuid;
use crate::samples;
use crate::shipped::Shipped;
use crate::wait::eventually;

/// The inspector's list is asked for this many.
const LIST: usize = 1000;

pub(super) async fn once(stage: &Stage) -> anyhow::Result<()> {
    let listeners = stage.gateway.listeners();
    let mut expected = Vec::new();
    for sample in stage.samples() {
        expected.push(samples::send(&sample, listeners).await?);
    }
    wait_for(stage, expected.len()).await;
    let report = report(stage, &expected).await?;
    table::print_report(&report);
    ensure!(
        report.is_clean(),
        "not everything arrived once, as it was: see the table"
    );
    stage.kongtap.status().await?.require_balance()
}

/// Waits until so many messages are there and kongtap has none left. What is missing after that is missing.
async fn wait_for(stage: &Stage, count: usize) {
    let arrived = eventually("every sample to arrive", ARRIVAL, async || {
        let there = stage
            .inspector
            .newest(LIST)
            .await
            .map_err(|error| format!("{error:#}"))?
            .len();
        let status = stage
            .kongtap
            .status()
            .await
            .map_err(|error| format!("{error:#}"))?;
        if there >= count && status.exchanges.queued == 0 {
            Ok(())
        } else {
            Err(format!(
                "{there} of {count} are there, kongtap says {:?}",
                status.exchanges
            ))
        }
    });
    // The report says what is missing, better than the wait can.
    let _why_not = arrived.await;
}

async fn report(stage: &Stage, expected: &[Expected]) -> anyhow::Result<Report> {
    let mut shipped = Vec::new();
    for message in stage.inspector.newest(LIST).await? {
        shipped.push(Shipped::read(&stage.inspector.detail(uuid(&message)?).await?)?);
    }
    if stage.is_shared() {
        shipped.retain(|message| {
            expected
                .iter()
                .any(|expected| Some(&expected.id) == message.id.as_ref())
        });
    }
    if expected.is_empty() {
        bail!("nothing was sent");
    }
    Ok(compare(expected, &shipped))
}
