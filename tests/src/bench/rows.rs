//! The rows, one file each, and what they have in common.

pub mod bodies;
pub mod completeness;
pub mod plain;
pub mod tls;
pub mod unrelated;

use super::Bench;
use super::beside::{Beside, Bodies, Setting};
use super::figures::spread;
use super::report::Report;
use super::series::{Case, Series};

/// Cost for an exchange.
const US_AN_EXCHANGE: &str = "µs/exchange";

/// A socket source of kongtap's.
#[derive(Clone, Copy, Debug)]
struct Source {
    name: &'static str,
    line: &'static str,
}

/// Its socket sources.
const SOURCES: [Source; 3] = [
    Source {
        name: "sock",
        line: "sockets = \"sock\"",
    },
    Source {
        name: "syscalls",
        line: "sockets = \"syscalls\"",
    },
    Source {
        name: "uprobes",
        line: "sockets = \"uprobes\"",
    },
];

/// The lines that choose each source, and which sources this build does not know. A build that knows none has one, `sock`,
/// and needs no line.
async fn sources(
    bench: &Bench,
) -> anyhow::Result<(Vec<(&'static str, Vec<&'static str>)>, Vec<&'static str>)> {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for source in SOURCES {
        if bench.companions.knows(&bench.stage, source.line).await? {
            known.push((source.name, vec![source.line]));
        } else if source.name == "sock" {
            known.push((source.name, vec![]));
        } else {
            unknown.push(source.name);
        }
    }
    if bench.is_quick {
        known.truncate(1);
    }
    Ok((known, unknown))
}

/// kongtap without TLS probes.
fn plain_kongtap(mut capture: Vec<&'static str>, bodies: Bodies) -> Beside {
    capture.push("tls = \"off\"");
    Beside::Kongtap(Setting { capture, bodies })
}

/// Takes all rounds of a series.
async fn take(bench: &Bench, series: &mut Series) -> anyhow::Result<()> {
    for _ in 0..bench.rounds {
        series.round(&bench.stage, &bench.companions, bench.pace).await?;
    }
    series.base(&bench.stage, &bench.companions, bench.pace).await
}

/// The gateway alone: its spread is how far the base drifted.
fn report_base(report: &mut Report, series: &Series, name: &str, title: &str) {
    let of = |value: fn(&super::series::Window) -> f64| {
        let values: Vec<f64> = series.windows(None).map(value).collect();
        spread(&values)
    };
    report.figure(name, title, of(|window| window.cost_us), US_AN_EXCHANGE, "");
    if let (Some(rate), Some(busy)) = (of(|window| window.rate), of(|window| window.busy)) {
        report.note(format!(
            "{title}: {:.0} exchanges/s, the worker busy {:.0} % of the time",
            rate.median,
            busy.median * 100.0
        ));
    }
}

/// Each case above the base, and what its windows had that puts them in doubt.
fn report_cases(report: &mut Report, series: &Series, targets: &[(&str, &'static str)]) {
    for (index, case) in series.cases().iter().enumerate() {
        if let Some(why) = series.missing(index) {
            report.missing(case.title, why);
            continue;
        }
        let target = targets
            .iter()
            .find_map(|(name, target)| (*name == case.name).then_some(*target));
        report.figure(
            case.name,
            case.title,
            spread(&series.above_base(index)),
            US_AN_EXCHANGE,
            target.unwrap_or_default(),
        );
        doubt(report, series, index, case);
    }
}

/// Losses make a case look cheaper than it is; so does a load that came down.
fn doubt(report: &mut Report, series: &Series, index: usize, case: &Case) {
    let watched = series
        .windows(Some(index))
        .filter_map(|window| window.kongtap.as_ref());
    let lost: u64 = watched.map(|watched| watched.lost_bytes).sum();
    if lost > 0 {
        report.note(format!(
            "{}: {lost} bytes were lost in its windows, which makes it look cheaper",
            case.title.trim()
        ));
    }
    let rates = |case| -> Vec<f64> { series.windows(case).map(|window| window.rate).collect() };
    if let (Some(base), Some(own)) = (spread(&rates(None)), spread(&rates(Some(index))))
        && own.median < base.median * RATE_KEPT
    {
        report.note(format!(
            "{}: the rate came down to {:.0}/s from {:.0}/s, which makes an exchange dearer in itself",
            case.title.trim(),
            own.median,
            base.median
        ));
    }
}

/// A case whose rate is below this share of the base's is not under the same load.
const RATE_KEPT: f64 = 0.9;
