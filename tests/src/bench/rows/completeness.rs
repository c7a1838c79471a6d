//! Completeness: of the exchanges that a client completes at the gateway's full speed, how many kongtap saw whole.
//!
//! Whole is an exchange both legs of which were put together by their request id, with no hole in a stream.

use std::time::Duration;

use serde_json::Value;

use super::super::Bench;
use super::super::beside::{Beside, Bodies, Running, Setting};
use super::super::cpu;
use super::super::figures::{Spread, number};
use super::super::load::Load;
use super::super::report::Report;
use super::super::series::sum;
use super::super::stage::Body;
use crate::client::Scheme;
use crate::wait::eventually;

/// The load: as fast as it goes.
const LOAD: Load = Load {
    scheme: Scheme::Http,
    body: Body::Small,
    connections: 8,
    pause_ms: None,
};
/// How long kongtap may take to finish what it has.
const SETTLE: Duration = Duration::from_secs(30);

/// Measures the row.
///
/// # Errors
/// When kongtap does not start, or does not come to an end with what it has.
pub async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    // kongtap as it comes: the default ring, every probe that it would place.
    let setting = Setting {
        capture: vec![],
        bodies: Bodies::On,
    };
    let (stage, companions) = (&bench.stage, &bench.companions);
    let running = companions.start(stage, &Beside::Kongtap(setting)).await?;
    let outcome = at_full_speed(bench, &running).await;
    running.end().await?;
    let (taken, status) = outcome?;

    let percent = number(taken.whole) / number(taken.completed) * 100.0;
    let mut exact = |name, title, value, unit, target| {
        let spread = Spread {
            median: value,
            low: value,
            high: value,
        };
        report.figure(name, title, Some(spread), unit, target);
    };
    exact(
        "completeness.whole",
        "exchanges seen whole at full speed",
        percent,
        "%",
        "100",
    );
    exact(
        "completeness.completed",
        "  exchanges that the client completed",
        number(taken.completed),
        "exchanges",
        "",
    );
    exact(
        "completeness.lost_bytes",
        "  bytes lost",
        number(sum(&status, "/bytes/lost")),
        "bytes",
        "0",
    );
    exact(
        "completeness.rate",
        "  rate",
        number(taken.completed) / number(bench.seconds),
        "exchanges/s",
        "",
    );
    exact(
        "completeness.busy",
        "  the worker's share of its CPU",
        taken.busy * 100.0,
        "%",
        "",
    );
    for part in ["bytes", "connections", "joins"] {
        report.note(format!("completeness, {part}: {}", not_zero(status.get(part))));
    }
    Ok(())
}

/// What was counted.
#[derive(Clone, Copy, Debug)]
struct Counts {
    completed: u64,
    whole: u64,
    busy: f64,
}

async fn at_full_speed(bench: &Bench, running: &Running) -> anyhow::Result<(Counts, Value)> {
    let worker = bench.stage.worker();
    let before = cpu::of_process(worker)?;
    let counted = LOAD.run(&bench.stage, bench.seconds).await?;
    let busy = cpu::of_process(worker)?.saturating_sub(before);
    let mut last = None;
    let status = eventually("kongtap to finish what it has", SETTLE, async || {
        let status = running.status().await.map_err(|error| format!("{error:#}"))?;
        let status = status.unwrap_or_default();
        let progress = ["/bytes/seen", "/bytes/read", "/exchanges/seen"].map(|part| sum(&status, part));
        let is_read = sum(&status, "/bytes/read") == sum(&status, "/bytes/copied");
        let is_joined = sum(&status, "/joins/waiting") == 0;
        if is_read && is_joined && last.replace(progress) == Some(progress) {
            Ok(status)
        } else {
            Err(format!("seen and read: {progress:?}"))
        }
    })
    .await?;
    let joined = sum(&status, "/joins/joined");
    let spoilt =
        sum(&status, "/connections/holes").saturating_add(sum(&status, "/connections/lost_framings"));
    Ok((
        Counts {
            completed: counted.completed,
            // wrk leaves the exchanges that are under way when its time is over; kongtap may have seen those too.
            whole: joined.saturating_sub(spoilt).min(counted.completed),
            busy: busy.as_secs_f64() / Duration::from_secs(bench.seconds).as_secs_f64(),
        },
        status,
    ))
}

/// The counts of a part of the status that are not zero.
fn not_zero(part: Option<&Value>) -> String {
    let mut counts = Vec::new();
    if let Some(Value::Object(part)) = part {
        for (name, value) in part {
            if value.is_object() {
                counts.push(format!("{name} ({})", not_zero(Some(value))));
            } else if value.as_u64() != Some(0) {
                counts.push(format!("{name} {value}"));
            }
        }
    }
    counts.join(", ")
}
