//! `kongtap-bench-ship`: what a shipped message costs the agent, for `cargo xtask bench ship`. docs/benchmarks.md has the method.
//!
//! In: [`Options`]. Out: a table, and with `--json` a file. Sender and receiver are processes of their own, so that the one's CPU time is not
//! the other's. It judges nothing but this: every message arrives, once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

pub mod allocations;
pub mod case;
pub mod children;
pub mod messages;
pub mod receiver;
pub mod sender;

use super::cpu::Cpus;
use super::figures::{number, spread};
use super::report::Report;
use case::{Arrival, Case, Transport};
use children::Receiver;
use sender::Sending;

/// The program that counts allocations, from the directory of the one that asks it.
const ALLOCATIONS_PROGRAM: &str = "examples/kongtap-bench-ship-allocations";

/// Messages of a measurement that measures nothing.
const QUICK_MESSAGES: usize = 500;

/// Why the list form is not measured where the configuration for it is taken and changes nothing.
pub const ONE_A_POST: &str = "this kongtap sends one message a POST";

/// What the bench is asked to do.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "kongtap-bench-ship",
    version,
    about = "Measures what a shipped message costs the agent: started by `cargo xtask bench ship`"
)]
pub struct Options {
    /// Write the figures there: an array of {name, value, unit, low, high}.
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
    /// Measure these alone (repeatable).
    #[arg(long, value_enum, value_name = "CASE")]
    pub only: Vec<Case>,
    /// Rounds: measurements of each case.
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// One short round: shows that the bench works, and measures nothing.
    #[arg(long)]
    pub quick: bool,
    /// Be the receiver.
    #[arg(long, hide = true, value_enum)]
    pub receive: Option<Transport>,
    /// Be the sender.
    #[command(flatten)]
    pub sending: Sending,
}

/// What was measured of a case: one value a round.
#[derive(Debug, Default)]
struct Measured {
    cpu_us: Vec<f64>,
    rate: Vec<f64>,
    bytes_rate: Vec<f64>,
    messages_a_post: Vec<f64>,
    failed: Option<anyhow::Error>,
}

/// Runs the bench, or what the bench started this program for.
///
/// # Errors
/// When nothing can be measured, or a message does not arrive.
#[expect(clippy::print_stdout, reason = "a command-line tool")]
pub fn run(options: &Options) -> anyhow::Result<()> {
    if let Some(transport) = options.receive {
        return receiver::run(transport);
    }
    if options.sending.run()? {
        return Ok(());
    }
    let program = std::env::current_exe().context("which program is this?")?;
    let cases: Vec<Case> = Case::ALL
        .into_iter()
        .filter(|case| options.only.is_empty() || options.only.contains(case))
        .collect();
    let mut report = Report::default();
    let cpus = Cpus::choose()?;
    println!("sender on CPU {}, receiver on CPU {}", cpus.gateway, cpus.others);
    if !cpus.are_apart() {
        report.note("one CPU only: rates are those of sender and receiver together".to_owned());
    }
    let mut receivers = Transport::ALL
        .into_iter()
        .map(|transport| Receiver::start(&program, transport))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut measured: BTreeMap<&str, Measured> = BTreeMap::new();
    let rounds = if options.quick { 1 } else { options.rounds };
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        for case in &cases {
            let of_case = measured.entry(case.name()).or_default();
            let messages = if options.quick {
                QUICK_MESSAGES
            } else {
                case.messages()
            };
            of_case.measure(&program, *case, messages, receiver_of(&mut receivers, *case)?)?;
        }
    }
    for case in &cases {
        let of_case = measured.remove(case.name()).unwrap_or_default();
        let endpoint = receiver_of(&mut receivers, *case)?.endpoint().to_owned();
        tell(&mut report, &program, *case, of_case, &endpoint)?;
    }
    println!("\n{}", report.table());
    anyhow::ensure!(!report.is_empty(), "nothing was measured");
    if let Some(path) = &options.json {
        report.write_json(path)?;
    }
    Ok(())
}

fn receiver_of(receivers: &mut [Receiver], case: Case) -> anyhow::Result<&mut Receiver> {
    let index = Transport::ALL
        .iter()
        .position(|transport| *transport == case.transport());
    index
        .and_then(|index| receivers.get_mut(index))
        .context("a receiver for each transport")
}

impl Measured {
    /// A case that this kongtap does not know is not asked again; any other failure is one of the bench.
    fn measure(
        &mut self,
        program: &Path,
        case: Case,
        messages: usize,
        receiver: &mut Receiver,
    ) -> anyhow::Result<()> {
        if self.failed.is_some() {
            return Ok(());
        }
        if let Err(unknown) = sender::configured(case, Path::new("spool")) {
            self.failed = Some(unknown);
            return Ok(());
        }
        let (sent, taken) = children::send(program, case, messages, receiver)
            .with_context(|| format!("case {}", case.name()))?;
        if case.is_list() && taken.posts == taken.messages {
            self.failed = Some(anyhow::anyhow!("{ONE_A_POST}"));
            return Ok(());
        }
        self.cpu_us.push(sent.cpu_us());
        self.rate.push(sent.rate());
        self.bytes_rate
            .push(sent.rate() * number(sent.bytes) / number(sent.messages));
        self.messages_a_post
            .push(number(taken.messages) / number(taken.posts));
        Ok(())
    }
}

fn tell(
    report: &mut Report,
    program: &Path,
    case: Case,
    measured: Measured,
    endpoint: &str,
) -> anyhow::Result<()> {
    let title = case.title();
    if let Some(error) = measured.failed {
        report.missing(title, &format!("{error:#}"));
        return Ok(());
    }
    let mut figure = |kind: &str, words: &str, values: &[f64], unit, target| {
        report.figure(
            &format!("{}.{kind}", case.name()),
            &format!("{title}: {words}"),
            spread(values),
            unit,
            target,
        );
    };
    figure("cpu", "CPU time", &measured.cpu_us, "µs", case.target());
    if case.arrival() == Arrival::FullRate {
        figure(
            "rate",
            "on one core",
            &measured.rate,
            "messages/s",
            case.rate_target(),
        );
        figure("bytes_rate", "their JSON", &measured.bytes_rate, "bytes/s", "");
    }
    figure(
        "messages_a_post",
        "in a POST",
        &measured.messages_a_post,
        "messages",
        "",
    );
    // What goes by the disk does so on another thread than the one that is counted.
    if !case.is_spooled() {
        let counter = program.with_file_name(ALLOCATIONS_PROGRAM);
        if counter.is_file() {
            let found = allocations::counted_by(&counter, case, endpoint)?;
            figure("allocations", "allocated", &[found.times], "times", "");
            figure("allocated_bytes", "allocated", &[found.bytes], "bytes", "");
        } else {
            report.missing(
                &format!("{title}: allocated"),
                "the program that counts is not built",
            );
        }
    }
    Ok(())
}
