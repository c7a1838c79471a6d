//! TLS to the client, plain to the service, 0.5 KiB: what the OpenSSL probes cost apart from the sockets, placed on emulated
//! instructions and by entry and return.

use super::super::Bench;
use super::super::beside::{Beside, Bodies, Setting};
use super::super::figures::{differences, spread};
use super::super::load::Load;
use super::super::report::Report;
use super::super::series::{Case, Series};
use super::super::stage::Body;
use super::{US_AN_EXCHANGE, report_base, report_cases, take};
use crate::client::Scheme;

/// The load.
const LOAD: Load = Load {
    scheme: Scheme::Https,
    body: Body::Half,
    connections: 40,
    pause_ms: Some((4, 8)),
};
/// Probes placed by disassembly, and at entry and return.
const PLACED: &str = "placement = \"auto\"";
const ENTRY: &str = "placement = \"entry\"";
const PLACED_TITLE: &str = "  + kongtap, placed probes";

/// Measures the row.
///
/// # Errors
/// When the gateway cannot be measured.
pub async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let case = |name, title, line: Option<&'static str>| Case {
        name,
        title,
        beside: Beside::Kongtap(Setting {
            capture: line.into_iter().collect(),
            bodies: Bodies::On,
        }),
    };
    let has_placement = bench.companions.knows(&bench.stage, PLACED).await?;
    let mut cases = vec![case(
        "tls.sockets",
        "  + kongtap, sockets alone",
        Some("tls = \"off\""),
    )];
    if has_placement {
        cases.push(case("tls.placed", PLACED_TITLE, Some(PLACED)));
    }
    if !has_placement || !bench.is_quick {
        let line = has_placement.then_some(ENTRY);
        cases.push(case("tls.entry", "  + kongtap, entry and return probes", line));
    }
    let mut series = Series::new(LOAD, cases);
    take(bench, &mut series).await?;
    report_base(
        report,
        &series,
        "tls.base",
        "TLS to the client, 0.5 KiB, gateway alone",
    );
    report_cases(report, &series, &[]);
    if !has_placement {
        report.missing(PLACED_TITLE, "this build of kongtap does not know it");
    }
    for (case, name, title, target) in [
        (
            "tls.placed",
            "tls.placed_probes",
            "  the placed probes alone",
            "9 at most",
        ),
        (
            "tls.entry",
            "tls.entry_probes",
            "  the entry and return probes alone",
            "",
        ),
    ] {
        if let (Some(sockets), Some(index)) = (series.find("tls.sockets"), series.find(case)) {
            let alone = differences(&series.above_base(index), &series.above_base(sockets));
            report.figure(name, title, spread(&alone), US_AN_EXCHANGE, target);
        }
    }
    Ok(())
}
