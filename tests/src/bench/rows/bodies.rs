//! Bodies off: a 5 MiB response costs by its calls, as a 1 KiB one does, not by its bytes.

use super::super::Bench;
use super::super::beside::{Beside, Bodies, Tracer};
use super::super::figures::{Spread, number, spread};
use super::super::load::Load;
use super::super::report::Report;
use super::super::series::{Case, Series};
use super::super::stage::Body;
use super::{plain_kongtap, report_base, report_cases, take};
use crate::client::Scheme;

/// Few connections with long pauses: a response takes the worker milliseconds.
const LARGE: Load = Load {
    scheme: Scheme::Http,
    body: Body::Large,
    connections: 2,
    pause_ms: Some((15, 25)),
};
/// How long the calls of exchanges are counted.
const COUNTED_SECONDS: u64 = 2;
/// Socket calls of the worker that moved bytes.
const CALLS: Tracer = Tracer {
    program: "tracepoint:sock:sock_recv_length, tracepoint:sock:sock_send_length
/pid == WORKER && args->ret > 0/ { @hits = count(); }",
};

/// Measures the row.
///
/// # Errors
/// When the gateway cannot be measured.
pub async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let series = |load, name, title| {
        let beside = plain_kongtap(vec![], Bodies::Off);
        Series::new(load, vec![Case { name, title, beside }])
    };
    let mut small = series(
        super::plain::LOAD,
        "bodies_off.small",
        "  + kongtap, bodies off, 1 KiB",
    );
    let mut large = series(LARGE, "bodies_off.large", "  + kongtap, bodies off, 5 MiB");
    take(bench, &mut small).await?;
    take(bench, &mut large).await?;
    report_base(report, &small, "bodies_off.small_base", "1 KiB, gateway alone");
    report_cases(report, &small, &[]);
    report_base(report, &large, "bodies_off.large_base", "5 MiB, gateway alone");
    report_cases(report, &large, &[]);
    if bench.is_quick {
        return Ok(());
    }
    let mut by_call = Vec::new();
    for (series, load, name, title) in [
        (
            &small,
            super::plain::LOAD,
            "bodies_off.small_call",
            "  1 KiB: for a data call",
        ),
        (&large, LARGE, "bodies_off.large_call", "  5 MiB: for a data call"),
    ] {
        let calls = match calls_an_exchange(bench, load).await {
            Ok(calls) => calls,
            Err(error) => {
                report.missing(title, &format!("{error:#}"));
                return Ok(());
            }
        };
        let cost: Vec<f64> = series.above_base(0).iter().map(|us| us / calls * 1e3).collect();
        let cost = spread(&cost);
        report.figure(name, title, cost, "ns/call", "");
        report.note(format!("{}: {calls:.1} data calls an exchange", title.trim()));
        by_call.extend(cost);
    }
    if let [small, large] = by_call[..] {
        report.figure(
            "bodies_off.ratio",
            "  a call of 5 MiB to a call of 1 KiB",
            Some(ratio(large, small.median)),
            "ratio",
            "1.2 at most",
        );
    }
    Ok(())
}

/// The large response's spread in units of the small one's median.
const fn ratio(of: Spread, to: f64) -> Spread {
    Spread {
        median: of.median / to,
        low: of.low / to,
        high: of.high / to,
    }
}

/// How many calls move the bytes of an exchange, by the kernel's own tracepoints.
async fn calls_an_exchange(bench: &Bench, load: Load) -> anyhow::Result<f64> {
    let stage = &bench.stage;
    let tracer = bench.companions.start(stage, &Beside::Tracer(CALLS)).await?;
    let mut counter = stage.counter().await?;
    let before = counter.requests().await?;
    let ran = load.run(stage, COUNTED_SECONDS).await;
    let requests = counter.requests().await?.saturating_sub(before);
    let calls = tracer.end().await?.unwrap_or(0);
    ran?;
    Ok(number(calls) / number(requests))
}
