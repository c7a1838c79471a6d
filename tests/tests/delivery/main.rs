//! What the endpoint does is the endpoint's: the gateway answers as ever, the agent stays small, every message is accounted for,
//! and what could be delivered was delivered once.
//!
//! Each case alternates windows of the same load with the endpoint well and with it at fault. The figures are printed
//! (`--nocapture` shows them).

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::BTreeSet;

use kongtap_tests::faults::Manner;
use kongtap_tests::kernel::require_kernel;
use kongtap_tests::status::Status;
use kongtap_tests::trial::figures::{Figures, compare};
use kongtap_tests::trial::{Setup, Trial};

mod answers;

/// Windows of each kind, at least, and at most where the machine was too busy to compare them.
const ROUNDS: (usize, usize) = (2, 6);
/// What kongtap may have resident, bytes, in these trials.
const MOST_RESIDENT: u64 = 128 << 20;

/// One fault.
struct Case {
    name: &'static str,
    fault: Manner,
    setup: Setup,
    outcome: Outcome,
}

/// What becomes of the messages of faulty windows.
#[derive(Clone, Copy)]
enum Outcome {
    /// Once the endpoint is well again, each of them is delivered.
    Delivered,
    /// Each of them is counted as dropped for one of these reasons.
    Dropped(&'static [&'static str]),
    /// Each of them is delivered or so counted, and there are of both.
    Some(&'static [&'static str]),
}

/// Runs the case.
async fn check(case: Case) {
    let Some(turn) = require_kernel(case.name).unwrap() else {
        return;
    };
    let name = case.name;
    let mut trial = Trial::set(turn, case.setup).await.unwrap();
    let (mut well, mut faulty) = (Vec::<Figures>::new(), Vec::<Figures>::new());
    let mut at_fault = BTreeSet::new();
    let mut compared = Ok(());
    for round in 1..=ROUNDS.1 {
        well.push(trial.window().await.unwrap().figures);
        trial.settle().await.unwrap();
        trial.endpoint.behave(case.fault).await.unwrap();
        let window = trial.window().await.unwrap();
        faulty.push(window.figures);
        at_fault.extend(window.ids);
        if let Outcome::Dropped(_) = case.outcome {
            trial.settle().await.unwrap();
        }
        trial.endpoint.behave(Manner::Well).await.unwrap();
        trial.settle().await.unwrap();
        compared = compare(&well, &faulty);
        if round >= ROUNDS.0 && compared.is_ok() {
            break;
        }
    }
    let status = trial.settle().await.unwrap();
    report(name, &well, &faulty, &mut trial, &status);
    compared.unwrap_or_else(|error| panic!("{name}: {error}\n{well:?}\n{faulty:?}"));
    let resident = trial.most_resident_bytes().unwrap();
    assert!(resident < MOST_RESIDENT, "{name}: {resident} bytes resident");
    assert_eq!(status.lost_bytes(), 0, "{name}: {:?}", status.bytes.lost);
    trial.require_honest().unwrap();
    judge(name, case.fault, case.outcome, &at_fault, &trial, &status);
}

/// What became of the messages: by kongtap's own count, and by the endpoint's book.
fn judge(
    name: &str,
    fault: Manner,
    outcome: Outcome,
    at_fault: &BTreeSet<String>,
    trial: &Trial,
    status: &Status,
) {
    let book = trial.endpoint.book();
    let (kept, sent) = (book.kept(), trial.sent());
    let missing: BTreeSet<_> = sent.difference(&kept).cloned().collect();
    let counts = &status.exchanges;
    let count = |ids: &BTreeSet<String>| u64::try_from(ids.len()).unwrap();
    let reasons = match outcome {
        Outcome::Delivered => &[][..],
        Outcome::Dropped(reasons) | Outcome::Some(reasons) => reasons,
    };
    let known: u64 = reasons
        .iter()
        .filter_map(|reason| counts.dropped.get(*reason))
        .sum();
    assert_eq!(
        known,
        status.dropped(),
        "{name}: for other reasons than {reasons:?}: {counts:?}"
    );
    assert!(
        missing.is_subset(at_fault),
        "{name}: lost while the endpoint was well"
    );
    match outcome {
        Outcome::Delivered => assert_eq!(
            (counts.shipped, missing.len()),
            (count(sent), 0),
            "{name}: {counts:?}"
        ),
        Outcome::Dropped(_) => assert_eq!(
            (counts.shipped, status.dropped()),
            (count(sent) - count(at_fault), count(at_fault)),
            "{name}: {counts:?}"
        ),
        Outcome::Some(_) => assert!(
            counts.shipped > count(sent) - count(at_fault) && status.dropped() > 0,
            "{name}: {counts:?}"
        ),
    }
    if fault.loses_answers() {
        // What it took without saying so may be counted as dropped, and may have come again.
        assert!(
            count(&kept) >= counts.shipped,
            "{name}: {} kept, {counts:?}",
            kept.len()
        );
    } else {
        assert_eq!(
            (count(&kept), book.repeats()),
            (counts.shipped, 0),
            "{name}: {counts:?}"
        );
    }
}

/// What a test prints.
#[expect(clippy::print_stderr, reason = "the figures are what these tests measure")]
fn report(name: &str, well: &[Figures], faulty: &[Figures], trial: &mut Trial, status: &Status) {
    for (well, faulty) in well.iter().zip(faulty) {
        eprintln!("{name}: well {well}; at fault {faulty}");
    }
    let book = trial.endpoint.book();
    eprintln!(
        "{name}: {} attempts seen, {} repeats, {} connections; {} MiB resident, {:.2} s of CPU; {:?}",
        book.attempts.len(),
        book.repeats(),
        book.connections,
        trial.most_resident_bytes().unwrap() >> 20,
        status.usage.cpu_seconds,
        status.exchanges
    );
}
