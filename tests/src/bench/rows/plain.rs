//! Plain HTTP, 1 KiB, bodies on: what each socket source costs the worker, beside what other ways cost; and the reader.

use super::super::Bench;
use super::super::beside::{Beside, Bodies, Tracer};
use super::super::figures::spread;
use super::super::load::Load;
use super::super::report::Report;
use super::super::series::{Case, Series};
use super::super::stage::Body;
use super::{US_AN_EXCHANGE, plain_kongtap, report_base, report_cases, sources, take};
use crate::client::Scheme;

/// The load: one that leaves room for the dearest comparison.
pub(super) const LOAD: Load = Load {
    scheme: Scheme::Http,
    body: Body::Small,
    connections: 40,
    pause_ms: Some((4, 8)),
};

/// The usual pair: the buffer's address is kept at the entry of a call for its exit. Nothing is copied, nothing is sent.
const ENTER_EXIT: &str = "
tracepoint:syscalls:sys_enter_recvfrom /pid == WORKER/ { @b[tid] = (uint64)args->ubuf; }
tracepoint:syscalls:sys_enter_sendto /pid == WORKER/ { @b[tid] = (uint64)args->buff; }
tracepoint:syscalls:sys_enter_read, tracepoint:syscalls:sys_enter_write /pid == WORKER/ { @b[tid] = (uint64)args->buf; }
tracepoint:syscalls:sys_enter_readv, tracepoint:syscalls:sys_enter_writev /pid == WORKER/ { @b[tid] = (uint64)args->vec; }
tracepoint:syscalls:sys_exit_recvfrom, tracepoint:syscalls:sys_exit_sendto,
tracepoint:syscalls:sys_exit_read, tracepoint:syscalls:sys_exit_write,
tracepoint:syscalls:sys_exit_readv, tracepoint:syscalls:sys_exit_writev
/pid == WORKER && @b[tid]/ { @hits = count(); delete(@b[tid]); }";

/// The same calls, each handed to user space by a record of its own that wakes the reader.
const WAKE_UPS: &str = "
tracepoint:sock:sock_recv_length, tracepoint:sock:sock_send_length
/pid == WORKER && args->ret > 0/ { @hits = count(); printf(\"%d\\n\", args->ret); }";

/// libc's functions, entry and return, in the gateway's worker alone.
const LIBC: &str = "
uprobe:libc:recv, uprobe:libc:read, uprobe:libc:readv, uprobe:libc:send, uprobe:libc:write, uprobe:libc:writev
/pid == WORKER/ { @hits = count(); }
uretprobe:libc:recv, uretprobe:libc:read, uretprobe:libc:readv, uretprobe:libc:send, uretprobe:libc:write,
uretprobe:libc:writev /pid == WORKER/ { @hits = count(); }";

/// Measures the row.
///
/// # Errors
/// When the gateway cannot be measured.
pub async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let (known, unknown) = sources(bench).await?;
    let mut cases: Vec<Case> = known
        .into_iter()
        .map(|(source, lines)| Case {
            name: name(source),
            title: title(source),
            beside: plain_kongtap(lines, Bodies::On),
        })
        .collect();
    if !bench.is_quick {
        cases.extend(comparisons());
    }
    let mut series = Series::new(LOAD, cases);
    take(bench, &mut series).await?;
    report_base(report, &series, "plain.base", "plain, 1 KiB, gateway alone");
    report_cases(report, &series, &[("plain.sock", "3.5 at most")]);
    for source in unknown {
        report.missing(title(source), "this build of kongtap does not know it");
    }
    if let Some(index) = series.find("plain.sock") {
        let windows = series.windows(Some(index));
        let reader: Vec<f64> = windows
            .filter_map(|window| Some(window.kongtap.as_ref()?.reader_us))
            .collect();
        report.figure(
            "reader.sock",
            "the ring's reader, CPU time",
            spread(&reader),
            US_AN_EXCHANGE,
            "1 at most",
        );
    }
    Ok(())
}

fn comparisons() -> [Case; 3] {
    let case = |name, title, program| Case {
        name,
        title,
        beside: Beside::Tracer(Tracer { program }),
    };
    [
        case(
            "plain.enter_exit",
            "  for comparison: enter and exit tracepoints, no copy",
            ENTER_EXIT,
        ),
        case(
            "plain.wake_ups",
            "  for comparison: a wake-up for each record",
            WAKE_UPS,
        ),
        case(
            "plain.libc_uprobes",
            "  for comparison: libc by uprobes, entry and return",
            LIBC,
        ),
    ]
}

fn name(source: &str) -> &'static str {
    match source {
        "syscalls" => "plain.syscalls",
        "uprobes" => "plain.uprobes",
        _ => "plain.sock",
    }
}

fn title(source: &str) -> &'static str {
    match source {
        "syscalls" => "  + kongtap by syscalls",
        "uprobes" => "  + kongtap by uprobes",
        _ => "  + kongtap by sock",
    }
}
