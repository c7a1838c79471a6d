//! What the endpoint does is the endpoint's: the gateway answers as ever, the agent stays small, every message is accounted for,
//! and what could be delivered was delivered once.
//!
//! A trial goes through a table of faults. For each it alternates windows of the same load with the endpoint well and with it at
//! fault. The figures are printed (`--nocapture` shows them).

#![expect(unused_crate_dependencies, reason = "they are the library's")]
#![expect(clippy::tests_outside_test_module, reason = "an integration test")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod answers;
mod judge;
mod spool;
mod stopped;
mod unreachable;

use std::collections::BTreeSet;
use std::time::Duration;

use kongtap_tests::client::Scheme;
use kongtap_tests::faults::Manner;
use kongtap_tests::kernel::require_kernel;
use kongtap_tests::trial::figures::{Figures, compare};
use kongtap_tests::trial::{Setup, Trial};

use crate::judge::{Account, Moment};

/// Windows of each kind, at least, and at most where the machine was too busy to compare them.
const ROUNDS: (usize, usize) = (2, 6);
/// Windows until what is to be dropped in part begins to be.
const MOST_WINDOWS: usize = 10;
/// What kongtap may have resident in these trials, bytes.
const MOST_RESIDENT: u64 = 128 << 20;
/// How kongtap delivers in these trials: as by default, but that what takes seconds takes a fraction of one.
const SHIP: &str = "[ship]\ndrain_timeout_ms = 200\n\
    [ship.retry]\nmax_age_seconds = 30\nfirst_ms = 40\nmost_ms = 200\n\
    [ship.breaker]\nopen_ms = 40\nmost_ms = 200\n";

/// How long a state may take to come about.
const ARRIVAL: Duration = Duration::from_secs(20);
/// `timeout` where faults last until then,
const SHORT_MS: u64 = 300;
/// and where it must not get in the way.
const LONG_MS: u64 = 5_000;

/// One fault.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    fault: Manner,
    outcome: Outcome,
}

/// What becomes of the messages of faulty windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Once the endpoint is well again, each of them is delivered.
    Delivered,
    /// While it is still at fault, each of them is counted as dropped for this reason.
    Dropped(&'static str),
    /// Each of them is delivered or dropped for this reason, and there are of both.
    Partly(&'static str),
}

/// A trial with kongtap set up for faults that end by themselves, or by `timeout`.
fn setup(scheme: Scheme, toml: &str, cases: &[Case]) -> Setup {
    let until_timeout = cases.iter().any(|case| case.fault.lasts_until_timeout());
    Setup {
        scheme,
        timeout_ms: if until_timeout { SHORT_MS } else { LONG_MS },
        toml: toml.to_owned(),
        ..Setup::default()
    }
}

/// Goes through the table with one kongtap.
async fn go_through(name: &str, setup: Setup, cases: &[Case]) {
    let Some(turn) = require_kernel(name).unwrap() else {
        return;
    };
    let mut trial = Trial::set(turn, setup).await.unwrap();
    for case in cases {
        check(&mut trial, *case).await;
    }
    let resident = trial.most_resident_bytes().unwrap();
    assert!(resident < MOST_RESIDENT, "{name}: {resident} bytes resident");
}

/// Goes through one fault, and leaves everything settled and the endpoint well.
async fn check(trial: &mut Trial, case: Case) {
    let before = Moment::of(trial, trial.settle().await.unwrap());
    let (mut well, mut faulty) = (Vec::<Figures>::new(), Vec::<Figures>::new());
    let mut at_fault = BTreeSet::new();
    let mut compared = Ok(());
    for round in 1..=ROUNDS.1 {
        well.push(trial.window().await.unwrap().figures);
        trial.settle().await.unwrap();
        trial.endpoint.behave(case.fault).await.unwrap();
        let dropped = trial.settle_with(u64::MAX).await.unwrap().dropped();
        let mut windows = 0;
        loop {
            let window = trial.window().await.unwrap();
            faulty.push(window.figures);
            at_fault.extend(window.ids);
            windows += 1;
            let status = trial.settle_with(u64::MAX).await.unwrap();
            let Outcome::Partly(_) = case.outcome else {
                break;
            };
            if status.dropped() > dropped || windows == MOST_WINDOWS {
                break;
            }
        }
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
    let after = Moment::of(trial, trial.settle().await.unwrap());
    let account = Account::between(&before, &after, at_fault, faulty.len());
    report(case.name, &well, &faulty, &account);
    compared.unwrap_or_else(|error| panic!("{}: {error}\n{well:?}\n{faulty:?}", case.name));
    trial.require_honest().unwrap();
    account
        .judge(case, trial.profile())
        .unwrap_or_else(|error| panic!("{}: {error:#}\n{account}", case.name));
}

/// What a test prints.
#[expect(clippy::print_stderr, reason = "the figures are what these tests measure")]
fn report(name: &str, well: &[Figures], faulty: &[Figures], account: &Account) {
    for (well, faulty) in well.iter().zip(faulty) {
        eprintln!("{name}: well {well}; at fault {faulty}");
    }
    eprintln!("{name}: {account}");
}
