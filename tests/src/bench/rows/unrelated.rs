//! A process that is not watched, while kongtap watches the gateway: what its calls cost more.

use super::super::Bench;
use super::super::beside::{Beside, Bodies};
use super::super::figures::{Taken, above_base, spread};
use super::super::report::Report;
use super::super::spin::{self, Nanoseconds};
use super::{plain_kongtap, sources};

/// Measures the row.
///
/// # Errors
/// When the loop cannot be measured.
pub async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let (mut known, _) = sources(bench).await?;
    // uprobes stand in the gateway's process and nowhere else: there is nothing that others could pay.
    known.retain(|(source, _)| *source != "uprobes");
    let mut taken: Vec<(Option<usize>, Nanoseconds)> = Vec::new();
    let mut missing: Vec<Option<String>> = vec![None; known.len()];
    for _ in 0..bench.rounds {
        for (index, (_, lines)) in known.iter().enumerate() {
            let Some(why @ None) = missing.get_mut(index) else {
                continue;
            };
            taken.push((None, loop_beside(bench, &Beside::Nobody).await?));
            match loop_beside(bench, &plain_kongtap(lines.clone(), Bodies::On)).await {
                Ok(nanoseconds) => taken.push((Some(index), nanoseconds)),
                Err(error) => *why = Some(format!("{error:#}")),
            }
        }
    }
    taken.push((None, loop_beside(bench, &Beside::Nobody).await?));

    let values = |value: fn(&Nanoseconds) -> f64| -> Vec<Taken> {
        taken
            .iter()
            .map(|(case, nanoseconds)| Taken {
                case: *case,
                value: value(nanoseconds),
            })
            .collect()
    };
    let kinds = [
        (
            "socket_call",
            "a socket call",
            values(|ns| ns.socket_call),
            "50 at most",
        ),
        ("other_call", "any other call", values(|ns| ns.other_call), ""),
    ];
    for (kind, title, values, target) in &kinds {
        let base: Vec<f64> = values
            .iter()
            .filter(|taken| taken.case.is_none())
            .map(|taken| taken.value)
            .collect();
        report.figure(
            &format!("unrelated.{kind}_base"),
            &format!("unrelated process, {title}, nobody watches"),
            spread(&base),
            "ns/call",
            "",
        );
        for (index, (source, _)) in known.iter().enumerate() {
            let title = format!("  + kongtap by {source} elsewhere, {title}");
            if let Some(Some(why)) = missing.get(index) {
                report.missing(&title, why);
                continue;
            }
            report.figure(
                &format!("unrelated.{kind}.{source}"),
                &title,
                spread(&above_base(values, index)),
                "ns/call",
                if *source == "sock" { target } else { "" },
            );
        }
    }
    Ok(())
}

async fn loop_beside(bench: &Bench, beside: &Beside) -> anyhow::Result<Nanoseconds> {
    let running = bench.companions.start(&bench.stage, beside).await?;
    // Half of a window for each of the two kinds of calls.
    let measured = spin::measure(bench.cpus.gateway, bench.pace.window / 2);
    running.end().await?;
    measured
}
