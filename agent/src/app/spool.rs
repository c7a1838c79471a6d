//! Opens the spool. One that another agent has ends this one; a disk that refuses does not: shipping goes on from memory, and the spool is
//! tried again.

use std::time::Duration;

use super::AppError;
use crate::ship::ShipHandle;
use crate::ship::spool::{Recovery, SpoolError, SpoolOptions};

/// How often a spool that could not be opened is tried again.
const AGAIN_EVERY: Duration = Duration::from_secs(30);

/// Opens it, or goes on trying in the background.
///
/// # Errors
/// Another agent has it.
pub(super) async fn open(ship: &ShipHandle, options: SpoolOptions) -> Result<(), AppError> {
    match attempt(ship, options.clone()).await? {
        Ok(recovery) => say(&recovery),
        Err(error @ SpoolError::InUse { .. }) => return Err(error.into()),
        Err(error @ SpoolError::Disk { .. }) => {
            tracing::error!(error = %chain(&error), "The spool cannot be opened; messages are kept in memory alone until it can.");
            tokio::spawn(again(ship.clone(), options));
        }
    }
    Ok(())
}

async fn attempt(ship: &ShipHandle, options: SpoolOptions) -> Result<Result<Recovery, SpoolError>, AppError> {
    let ship = ship.clone();
    tokio::task::spawn_blocking(move || ship.open_spool(options))
        .await
        .map_err(|error| AppError::Os {
            action: "read the spool",
            source: std::io::Error::other(error),
        })
}

/// Until it is open, or the runtime ends.
async fn again(ship: ShipHandle, options: SpoolOptions) {
    loop {
        tokio::time::sleep(AGAIN_EVERY).await;
        match attempt(&ship, options.clone()).await {
            Ok(Ok(recovery)) => return say(&recovery),
            Ok(Err(error)) => tracing::debug!(error = %chain(&error), "The spool still cannot be opened."),
            Err(error) => return tracing::error!(%error, "The spool is not tried again."),
        }
    }
}

fn say(recovery: &Recovery) {
    let Recovery {
        recovered,
        lost,
        damaged,
        foreign,
        ended_well,
        destinations,
    } = recovery;
    let is_clean = lost.is_nothing() && damaged.is_nothing() && damaged.bytes == 0 && *foreign == 0;
    if is_clean && *ended_well {
        tracing::info!(
            messages = recovered.messages,
            bytes = recovered.bytes,
            destinations = destinations.len(),
            "The spool is open."
        );
    } else {
        tracing::warn!(
            messages = recovered.messages,
            bytes = recovered.bytes,
            destinations = destinations.len(),
            lost = lost.messages,
            lost_bytes = lost.bytes,
            damaged = damaged.messages,
            damaged_bytes = damaged.bytes,
            left_alone = foreign,
            was_killed = !ended_well,
            "The spool is open. Not all of it was as it should be."
        );
    }
}

fn chain(error: &SpoolError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
